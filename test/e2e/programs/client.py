"""client.py CASE ARG...: one behaviour of sockets, seen from Python; prints what a test compares."""
import hashlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import urllib.request


def fetch(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        print(answer.status, socket.gethostname(), answer.read().decode().strip())


def environment():
    print(json.dumps(dict(os.environ)))


def datagram_socket(host):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(20)
    return s


def udp_peers(*peers):
    """Sends to several peers, written HOST,PORT, by one socket that isn't connected; prints who answered what."""
    s = datagram_socket(peers[0])
    for peer in peers:
        host, port = peer.split(",")
        s.sendto(f"to {peer}".encode(), (host, int(port)))
        data, sender = s.recvfrom(2048)
        print(f"{sender[0]},{sender[1]}", data.decode())


def udp_strict(host, port, good):
    """A connected socket: an answer from another port isn't for it, as the one after it from the right port shows."""
    s = datagram_socket(host)
    s.connect((host, int(port)))
    s.send(b"answered by another")
    other = datagram_socket(host)
    other.sendto(b"answered by another", (host, int(port)))
    print(other.recvfrom(100)[1][1])
    s.connect((host, int(good)))
    s.send(b"answered")
    print(s.recv(100).decode())


def udp_flood(host, port, count):
    """Sends more than is carried, and then asks until there is an answer: nothing is stuck."""
    flood = datagram_socket(host)
    for _ in range(int(count)):
        flood.sendto(b"x" * 1200, (host, int(port)))
    s = datagram_socket(host)
    s.settimeout(1)
    for attempt in range(20):
        s.sendto(b"still there?", (host, int(port)))
        try:
            print(s.recv(100).decode())
            return
        except TimeoutError:
            pass


def udp_sockets(host, port, count):
    """Many sockets that stay open; prints those that got another's answer. In groups that no queue is too short for."""
    sockets = [datagram_socket(host) for _ in range(int(count))]
    wrong = []
    for start in range(0, len(sockets), 50):
        group = list(enumerate(sockets))[start : start + 50]
        for i, s in group:
            s.sendto(str(i).encode(), (host, int(port)))
        wrong += [i for i, s in group if s.recv(100) != str(i).encode()]
    print(wrong)


def udp_sizes(host, port, *sizes):
    s = datagram_socket(host)
    s.connect((host, int(port)))
    for size in map(int, sizes):
        payload = bytes(i % 251 for i in range(size))
        s.send(payload)
        print(size, s.recv(70000) == payload)


def read_all(s):
    data = b""
    while chunk := s.recv(1 << 20):
        data += chunk
    return data


def half_close(host, port):
    """Sends, shuts down its side, then reads to the end."""
    s = socket.create_connection((host, int(port)), timeout=30)
    s.sendall(b"before the end")
    s.shutdown(socket.SHUT_WR)
    print(read_all(s).decode())


def half_closing_server(port):
    """Greets the first caller, shuts down its side and reads to the end; tells the second what it has read."""
    server = socket.create_server(("0.0.0.0", int(port)))
    first, _ = server.accept()
    first.sendall(b"hello and goodbye")
    first.shutdown(socket.SHUT_WR)
    heard = read_all(first)
    second, _ = server.accept()
    second.sendall(heard)
    second.close()
    signal.pause()  # an ended pod's address would be the next one's


def connect_when_open(host, port):
    """Connects to a server that may not listen yet."""
    for _ in range(1000):
        try:
            return socket.create_connection((host, int(port)), timeout=30)
        except ConnectionRefusedError:
            select.select([], [], [], 0.02)
    sys.exit("it never listens")


def talk_after_end(host, port):
    """Reads to the end, only then sends; asks by a second connection what has arrived."""
    s = connect_when_open(host, port)
    print(read_all(s).decode())
    for _ in range(1000):
        s.sendall(b"after the end " * 10)
    s.close()
    print(len(read_all(socket.create_connection((host, int(port)), timeout=30))))


def resetting_server(port):
    """Takes a byte of the first caller, then resets the connection."""
    first, _ = socket.create_server(("0.0.0.0", int(port))).accept()
    first.recv(1)
    first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    first.close()
    signal.pause()


def be_reset(host, port):
    s = connect_when_open(host, port)
    s.sendall(b"x")
    try:
        print(s.recv(1))
    except OSError as error:
        print(error.strerror)


def many(host, port, count):
    """Opens many connections at once; when all are open, uses every one of them."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(int(count))]
    waiting = select.poll()
    for s in sockets:
        s.setblocking(False)
        s.connect_ex((host, int(port)))
        waiting.register(s, select.POLLOUT)
    by_fd = {s.fileno(): s for s in sockets}
    opened = set()
    while len(opened) < len(sockets):
        for fd, _ in waiting.poll(60000) or sys.exit("stuck"):
            if error := by_fd[fd].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                sys.exit(os.strerror(error))
            opened.add(fd)
            waiting.unregister(fd)
    for i, s in enumerate(sockets):
        s.setblocking(True)
        s.settimeout(60)
        s.sendall(f"{i:06d}".encode())
    print(sum(s.recv(6, socket.MSG_WAITALL) == f"{i:06d}".encode() for i, s in enumerate(sockets)))


def upload(host, port, size):
    """Sends size bytes, prints their digest; then what the other side says it has received."""
    s = socket.create_connection((host, int(port)), timeout=100)
    block = bytes((i * 7 + (i >> 8)) & 255 for i in range(1 << 20))
    digest, left = hashlib.sha256(), int(size)
    while left:
        piece = block[: min(left, len(block))]
        digest.update(piece)
        s.sendall(piece)
        left -= len(piece)
    s.shutdown(socket.SHUT_WR)
    print(digest.hexdigest())
    print(read_all(s).decode().strip())


def download(host, port, size):
    """Asks for size bytes by a line; prints their number and digest."""
    s = socket.create_connection((host, int(port)), timeout=100)
    s.sendall(f"{size}\n".encode())
    digest, got = hashlib.sha256(), 0
    while chunk := s.recv(1 << 20):
        digest.update(chunk)
        got += len(chunk)
    print(got, digest.hexdigest())


def stopped_reader(host, port):
    """Sends to a peer that echoes, while nobody reads here, until nothing is taken any more; says how much was, waits
    for a line, then reads all: prints how much and whether it is what was sent."""
    s = socket.create_connection((host, int(port)), timeout=30)
    s.setblocking(False)
    block = bytes(i % 251 for i in range(251 * 256))
    sent, idle = 0, 0
    while idle < 8:
        try:
            sent += s.send(block[sent % len(block):])
            idle = 0
        except BlockingIOError:
            idle += 0 if select.select([], [s], [], 0.25)[1] else 1
    print(sent, flush=True)
    sys.stdin.readline()
    s.settimeout(60)
    threading.Thread(target=lambda: s.shutdown(socket.SHUT_WR)).start()
    data = read_all(s)
    print(len(data), data == (block * (sent // len(block) + 1))[:sent])


def who_answers(family, port):
    """What is behind a port of localhost: "pod", "own", or the errno."""
    address = "::1" if family == "6" else "127.0.0.1"
    try:
        s = socket.create_connection((address, int(port)), timeout=30)
    except OSError as error:
        return error.strerror
    s.sendall(b"GET / HTTP/1.0\r\n\r\n")
    return "pod" if read_all(s).startswith(b"HTTP/1.1 200") else "own"


def own_listener(family, port, times):
    """Listens on a port and connects to it at once, again and again; each time it also asks who answers afterwards."""
    address, answers = "::1" if family == "6" else "127.0.0.1", {}
    for _ in range(int(times)):
        server = socket.create_server((address, int(port)), family=socket.AF_INET6 if family == "6" else socket.AF_INET)
        client = socket.create_connection((address, int(port)), timeout=30)
        server.settimeout(30)
        accepted, _ = server.accept()
        accepted.sendall(b"own")
        accepted.close()
        during = client.recv(100).decode()
        client.close()
        server.close()
        key = f"{during} {who_answers(family, port)}"
        answers[key] = answers.get(key, 0) + 1
    print(json.dumps(answers))


def serve_localhost(port):
    """Listens on 127.0.0.1 and greets every caller."""
    server = socket.create_server(("127.0.0.1", int(port)))
    print("listening", flush=True)
    while True:
        accepted, _ = server.accept()
        accepted.sendall(b"hello")
        accepted.close()


def watch_localhost(port, *expected):
    """Connects to a port of localhost until each of these has come of it: a greeting or an error. Prints each."""
    for wanted in expected:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", int(port)), timeout=30) as s:
                    came = s.recv(100).decode()
            except OSError as error:
                came = error.strerror
            if came == wanted:
                break
        print(came, flush=True)


def own_datagrams(port):
    """Asks a UDP port of localhost before, while and after this program listens on it."""
    def ask():
        s = datagram_socket("127.0.0.1")
        s.sendto(b"ping", ("127.0.0.1", int(port)))
        return s
    print(ask().recv(100).decode())
    server = datagram_socket("127.0.0.1")
    server.bind(("127.0.0.1", int(port)))
    client = ask()
    data, sender = server.recvfrom(100)
    server.sendto(b"own " + data, sender)
    print(client.recv(100).decode())
    server.close()
    print(ask().recv(100).decode())


def listen(address, port):
    """Listens, says so, and goes on when its input ends; then tells who has called."""
    server = socket.create_server((address, int(port)))
    print("listening", flush=True)
    sys.stdin.read()
    client = socket.create_connection((address, int(port)), timeout=30)
    accepted, peer = server.accept()
    accepted.sendall(f"{os.getpid()}".encode())
    print(client.recv(100).decode() == f"{os.getpid()}", peer[0])


def daemonise(argv):
    """Starts a program as a daemon does itself: two forks and a session. Returns its number."""
    reader, writer = os.pipe()
    if (middle := os.fork()) == 0:
        os.setsid()
        if (daemon := os.fork()) == 0:
            os.execvp(argv[0], argv)
        os.write(writer, str(daemon).encode())
        os._exit(0)
    os.waitpid(middle, 0)
    return int(os.read(reader, 20))


def family():
    """A program with a child, one in a session of its own, and a daemon; prints their numbers."""
    nap = ["sleep", "1000"]
    child, apart = subprocess.Popen(nap), subprocess.Popen(nap, start_new_session=True)
    print(os.getpid(), child.pid, apart.pid, daemonise(nap), flush=True)
    if sys.stdin.readline():
        child.wait()


globals()[sys.argv[1]](*sys.argv[2:])
