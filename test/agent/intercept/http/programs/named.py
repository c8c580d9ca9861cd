"""A WSGI application that says which it is (NAME), and what it was asked."""

import os

NAME = os.environ['NAME']


def application(environ, start_response):
    body = environ['wsgi.input'].read()
    start_response('200 OK', [('Content-Type', 'text/plain')])
    yield f"{NAME} {environ['REQUEST_METHOD']} {environ['PATH_INFO']} {len(body)}\n".encode()
