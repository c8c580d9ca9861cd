"""unix.py serve|talk|records|connect|watch TYPE NAME ARG...: both ends of unix sockets; an abstract NAME begins with @."""
import errno
import hashlib
import os
import random
import socket
import sys
import threading
import time

TYPES = {"stream": socket.SOCK_STREAM, "seqpacket": socket.SOCK_SEQPACKET}
LARGEST = 1 << 20


def address(name):
    return "\0" + name[1:] if name.startswith("@") else name


def received(connection):
    """All bytes until the other side has shut down."""
    pieces = []
    while piece := connection.recv(LARGEST):
        pieces.append(piece)
    return b"".join(pieces)


def answer_stream(connection):
    """The hash of what came, and all of it again, once the client has shut down."""
    data = received(connection)
    connection.sendall(hashlib.sha256(data).hexdigest().encode() + data)
    connection.close()


def answer_records(connection):
    """Each record comes back, upper case; its end is answered by a last one."""
    while True:
        connection.settimeout(60)
        data, ancillary, _, _ = connection.recvmsg(LARGEST, 1024)
        if not data and not ancillary:
            break
        connection.send(data.upper())
    connection.send(b"over")
    connection.close()


def serve(kind, name):
    server = socket.socket(socket.AF_UNIX, TYPES[kind])
    if name.startswith("/"):
        os.makedirs(os.path.dirname(name), exist_ok=True)
        if os.path.lexists(name):
            os.unlink(name)
    server.bind(address(name))
    server.listen(64)
    print("listening", flush=True)
    while True:
        connection, _ = server.accept()
        if kind == "seqpacket":
            # Tells an empty record from the end.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
        answer = answer_stream if kind == "stream" else answer_records
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def connected(kind, name):
    client = socket.socket(socket.AF_UNIX, TYPES[kind])
    client.settimeout(60)
    client.connect(address(name))
    return client


def talk(kind, name, size, count="1"):
    """Sends so many bytes on each of so many connections, ends, and compares what comes back."""
    data = random.Random(1).randbytes(int(size))
    clients = [connected(kind, name) for _ in range(int(count))]
    for client in clients:
        threading.Thread(target=lambda c: (c.sendall(data), c.shutdown(socket.SHUT_WR)), args=(client,)).start()
    for client in clients:
        answer = received(client)
        print(answer[:64] == hashlib.sha256(data).hexdigest().encode(), answer[64:] == data, flush=True)


def records(kind, name, *sizes):
    """Sends a record of each size, then ends; prints the sizes of what comes back."""
    client = connected(kind, name)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    for size in sizes:
        client.send(b"a" * int(size))
        data, ancillary, _, _ = client.recvmsg(LARGEST, 1024)
        print(len(data), data == b"A" * int(size), bool(data or ancillary))
    client.shutdown(socket.SHUT_WR)
    print(client.recv(LARGEST).decode(), len(client.recv(LARGEST)))


def attempt(kind, name):
    try:
        client = connected(kind, name)
        client.shutdown(socket.SHUT_WR)
        return "answered" if received(client) else "closed"
    except OSError as error:
        return errno.errorcode[error.errno]


def connect(kind, name):
    print(attempt(kind, name))


def watch(kind, name):
    """Prints how connecting goes, whenever that changes."""
    last = None
    while True:
        now = attempt(kind, name)
        if now != last:
            print(now, flush=True)
        last = now
        time.sleep(0.02)


globals()[sys.argv[1]](*sys.argv[2:])
