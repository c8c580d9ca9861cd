"""client.py CASE ARG...: one behaviour of sockets, seen from Python; prints what a test compares."""
import hashlib
import json
import select
import socket
import sys
import threading
import urllib.request


def fetch(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        print(answer.status, socket.gethostname(), answer.read().decode().strip())


def udp_unconnected(host, port, *more):
    """Sends to several ports by one socket; prints who answered what."""
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    for p in (port, *more):
        s.sendto(f"to {p}".encode(), (host, int(p)))
        data, peer = s.recvfrom(2048)
        print(p, peer[0], peer[1], data.decode())


def udp_sizes(host, port, *sizes):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    s.connect((host, int(port)))
    for size in map(int, sizes):
        payload = bytes(i % 251 for i in range(size))
        s.send(payload)
        print(size, s.recv(70000) == payload)


def half_close(host, port):
    """Sends, shuts down its side, then reads to the end."""
    s = socket.create_connection((host, int(port)), timeout=10)
    s.sendall(b"before the end")
    s.shutdown(socket.SHUT_WR)
    data = b""
    while chunk := s.recv(4096):
        data += chunk
    print(data.decode())


def many(host, port, count):
    """Opens many connections at once, then uses every one of them."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(int(count))]
    for s in sockets:
        s.setblocking(False)
        s.connect_ex((host, int(port)))
    poll = select.poll()
    by_fd = {s.fileno(): (i, s) for i, s in enumerate(sockets)}
    for s in sockets:
        poll.register(s, select.POLLOUT)
    good = 0
    while by_fd:
        for fd, event in poll.poll(30000) or sys.exit("stuck"):
            i, s = by_fd[fd]
            if event & select.POLLOUT and not event & (select.POLLERR | select.POLLHUP) and not event & select.POLLIN:
                s.send(f"{i:06d}".encode())
                poll.modify(s, select.POLLIN)
            else:
                good += s.recv(6) == f"{i:06d}".encode()
                poll.unregister(fd)
                del by_fd[fd]
    print(good)


def upload(host, port, size):
    """Sends size bytes, prints the digest sent; the other side answers with the one it received."""
    s = socket.create_connection((host, int(port)), timeout=60)
    block = bytes((i * 7 + (i >> 8)) & 255 for i in range(1 << 20))
    digest, left = hashlib.sha256(), int(size)
    while left:
        piece = block[: min(left, len(block))]
        digest.update(piece)
        s.sendall(piece)
        left -= len(piece)
    s.shutdown(socket.SHUT_WR)
    answer = b""
    while chunk := s.recv(4096):
        answer += chunk
    print(digest.hexdigest())
    print(answer.decode().strip())


def download(host, port, size):
    """Asks for size bytes by a line; prints their number and digest."""
    s = socket.create_connection((host, int(port)), timeout=60)
    s.sendall(f"{size}\n".encode())
    digest, got = hashlib.sha256(), 0
    while chunk := s.recv(1 << 20):
        digest.update(chunk)
        got += len(chunk)
    print(got, digest.hexdigest())


def stopped_reader(host, port):
    """Sends to a peer that echoes while nobody reads here: prints how much the kernel took before it blocked."""
    s = socket.create_connection((host, int(port)), timeout=10)
    s.setblocking(False)
    sent, idle = 0, 0
    while idle < 8:
        try:
            sent += s.send(b"z" * 65536)
            idle = 0
        except BlockingIOError:
            idle += 0 if select.select([], [s], [], 0.25)[1] else 1
    print(sent)
    s.setblocking(True)
    threading.Thread(target=lambda: s.shutdown(socket.SHUT_WR)).start()
    got = 0
    while chunk := s.recv(1 << 20):
        got += len(chunk)
    print(got)


def listen(port, *hosts):
    """Listens, says so, and serves one line to each caller of its own."""
    s = socket.create_server(("0.0.0.0", int(port)))
    print("listening", flush=True)
    c = socket.create_connection(("127.0.0.1", int(port)))
    a, peer = s.accept()
    a.sendall(f"own {peer[0]}".encode())
    print(c.recv(100).decode(), flush=True)
    sys.stdin.read()


def environment():
    import os
    print(json.dumps(dict(os.environ)))


globals()[sys.argv[1]](*sys.argv[2:])
