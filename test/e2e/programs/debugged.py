"""Tells the host name that it sees; line 5 is where the test's debugger stops."""
import socket

name = socket.gethostname()
print("this is", name)
