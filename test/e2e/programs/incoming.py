"""incoming.py PORT ADDRESS[,ADDRESS…] [WORKERS]: says what it gets, and answers each connection with its two ends.

Each worker has sockets of its own for all addresses, by SO_REUSEPORT. Answers by HTTP, so that curl shows them, and reads
until the end of a request without a body.
"""
import os
import socket
import sys
import threading

port, addresses = int(sys.argv[1]), sys.argv[2].split(",")
workers = int(sys.argv[3]) if len(sys.argv) > 3 else 1


def talk(s, peer, worker):
    own = s.getsockname()
    request = b""
    while b"\r\n\r\n" not in request:
        data = s.recv(65536)
        if not data:
            break
        request += data
    line = request.split(b"\r\n")[0].decode()
    print(f"got {line} from {peer[0]} {peer[1]} at {own[0]} {own[1]}", flush=True)
    body = f"local {peer[0]} {peer[1]} at {own[0]} {own[1]} worker {worker}\n".encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    try:
        s.sendall(head.encode() + body)
    except OSError as error:
        print(error, flush=True)
    s.close()


def serve(listener, worker):
    while True:
        s, peer = listener.accept()
        threading.Thread(target=talk, args=(s, peer, worker), daemon=True).start()


def listen(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    dual = address == "::"
    return socket.create_server((address, port), family=family, reuse_port=workers > 1, dualstack_ipv6=dual)


def work(worker, listeners):
    for listener in listeners:
        threading.Thread(target=serve, args=(listener, worker), daemon=True).start()


children = []
for worker in range(1, workers):
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        work(worker, [listen(address) for address in addresses])
        os.write(done, b"x")
        threading.Event().wait()
    os.read(ready, 1)
    children.append(pid)
work(0, [listen(address) for address in addresses])
print("listening", flush=True)
for line in sys.stdin:
    pass
for pid in children:
    os.kill(pid, 9)
