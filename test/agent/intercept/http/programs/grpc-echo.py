"""A gRPC service without generated code: `serve NAME` listens and prints its port; `call PORT USER` asks it in every way."""

import json
import queue
import sys
from concurrent import futures

import grpc

METHODS = {
    'Unary': grpc.unary_unary_rpc_method_handler,
    'Down': grpc.unary_stream_rpc_method_handler,
    'Up': grpc.stream_unary_rpc_method_handler,
    'Both': grpc.stream_stream_rpc_method_handler,
    'Refuse': grpc.unary_unary_rpc_method_handler,
}
MESSAGES = [b'a', b'b' * 300_000, b'c']
KEY = 'x-side'


def serve(name):
    side = name.encode()

    def begin(context):
        context.send_initial_metadata(((KEY, name),))
        context.set_trailing_metadata(((KEY, name),))

    def unary(request, context):
        begin(context)
        return side + b' ' + request

    def down(request, context):
        begin(context)
        for at in range(3):
            yield side + b' ' + request + str(at).encode()

    def up(requests, context):
        begin(context)
        return side + b' ' + str(sum(len(each) for each in requests)).encode()

    def both(requests, context):
        begin(context)
        for request in requests:
            yield side + b' ' + request

    def refuse(request, context):
        # Nothing was sent yet: an answer of trailers only.
        context.abort(grpc.StatusCode.PERMISSION_DENIED, name)

    behaviours = {'Unary': unary, 'Down': down, 'Up': up, 'Both': both, 'Refuse': refuse}
    handlers = {key: make(behaviours[key]) for key, make in METHODS.items()}
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('test.Echo', handlers),))
    print(server.add_insecure_port('127.0.0.1:0'), flush=True)
    server.start()
    sys.stdin.read()


def call(port, user):
    metadata = (('x-user', user),)
    with grpc.insecure_channel(f'127.0.0.1:{port}') as channel:
        def path(name):
            return f'/test.Echo/{name}'
        found = {}
        answer, unary = channel.unary_unary(path('Unary')).with_call(b'x', metadata=metadata)
        found['unary'] = answer.decode()
        found['metadata'] = [dict(unary.initial_metadata())[KEY], dict(unary.trailing_metadata())[KEY]]
        found['down'] = [each.decode() for each in channel.unary_stream(path('Down'))(b'x', metadata=metadata)]
        found['up'] = channel.stream_unary(path('Up'))(iter(MESSAGES), metadata=metadata).decode()
        # One message after the other, each only when the one before was answered.
        answered = []
        messages = queue.Queue()
        messages.put(MESSAGES[0])
        stream = channel.stream_stream(path('Both'))(iter(messages.get, None), metadata=metadata)
        for each in stream:
            answered.append(len(each))
            messages.put(MESSAGES[len(answered)] if len(answered) < len(MESSAGES) else None)
        found['both'] = answered
        try:
            channel.unary_unary(path('Refuse'))(b'x', metadata=metadata)
        except grpc.RpcError as error:
            found['refused'] = [error.code().name, error.details()]
    print(json.dumps(found))


if sys.argv[1] == 'serve':
    serve(sys.argv[2])
else:
    call(*sys.argv[2:])
