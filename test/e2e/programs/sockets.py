"""sockets.py CASE...: what a kernel makes of the netstack's packets (on-tun.ts); a line of JSON with every case's result."""
import errno
import hashlib
import json
import os
import select
import signal
import socket
import struct
import sys
import threading

HOSTS = {4: "192.0.2.7", 6: "2001:db8::7"}
# The path there is narrow, and this kernel remembers it.
FAR_HOSTS = {4: "192.0.2.8", 6: "2001:db8::8"}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
ERRNOS = 8
SILENT = 7  # ETIMEDOUT


def name(number):
    return errno.errorcode[number] if number else "ok"


def tcp(version=4):
    s = socket.socket(FAMILIES[version], socket.SOCK_STREAM)
    s.settimeout(30)
    return s


def udp(version=4):
    s = socket.socket(FAMILIES[version], socket.SOCK_DGRAM)
    s.settimeout(30)
    return s


def read_all(s):
    data = b""
    while chunk := s.recv(1 << 20):
        data += chunk
    return data


def blocking_connect(version, port, results):
    with socket.socket(FAMILIES[version], socket.SOCK_STREAM) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
        results[port] = name(s.connect_ex((HOSTS[version], port)))


def connects():
    """Every errno, of connects that block."""
    answer = {}
    for version in HOSTS:
        results = {}
        threads = [threading.Thread(target=blocking_connect, args=(version, 2000 + n, results)) for n in range(ERRNOS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        answer[version] = [results[2000 + n] for n in range(ERRNOS)]
    return answer


def nonblocking_connects():
    """The same of connects that don't, but for the silent one."""
    answer = {}
    for version in HOSTS:
        answer[version] = []
        for n in range(ERRNOS):
            if n == SILENT:
                continue
            with tcp(version) as s:
                s.setblocking(False)
                first = name(s.connect_ex((HOSTS[version], 2000 + n)))
                waiting = select.poll()
                waiting.register(s, select.POLLOUT)
                waiting.poll(30000)
                answer[version].append([first, name(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))])
    return answer


def datagram_errors():
    """What a connected socket hears of a failed datagram; "alive" comes after it in any case."""
    answer = {}
    for version in HOSTS:
        answer[version] = []
        for n in range(ERRNOS):
            with udp(version) as s:
                s.connect((HOSTS[version], 2000 + n))
                s.send(b"x")
                try:
                    answer[version].append(s.recv(100).decode())
                except OSError as error:
                    answer[version].append(name(error.errno))
    return answer


def unconnected_errors():
    """One that isn't connected hears of none."""
    answer = []
    for version in HOSTS:
        with udp(version) as s:
            s.sendto(b"x", (HOSTS[version], 2000))
            answer.append(s.recv(100).decode())
    return answer


def path_mtu():
    """A datagram that may not be cut: it leaves, fails on its path, and the next one fails here. One that may be
    cut then leaves in fragments."""
    answer = {}
    for version, level, discover, option in ((4, socket.IPPROTO_IP, 10, 14), (6, socket.IPPROTO_IPV6, 23, 24)):
        with udp(version) as s:
            s.connect((FAR_HOSTS[version], 9000))
            s.setsockopt(level, discover, 2)  # IP_PMTUDISC_DO
            before = s.getsockopt(level, option)
            s.send(bytes(1400))
            # The error may be told by any call, as EMSGSIZE.
            told = []
            while s.getsockopt(level, option) == before:
                pass
            for size in (1400, 1200):
                try:
                    told.append(s.send(bytes(size)))
                except OSError as error:
                    told.append(name(error.errno))
                    s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            answer[version] = [before, s.getsockopt(level, option), told]
            s.setsockopt(level, discover, 1)  # IP_PMTUDISC_WANT
            s.send(bytes(1299))
    return answer


def upload(version, size):
    """Sends to the echo, reads what returns at the same time."""
    block = bytes((i * 7 + (i >> 8)) & 255 for i in range(1 << 16))
    sent, got = hashlib.sha256(), hashlib.sha256()
    with tcp(version) as s:
        s.connect((HOSTS[version], 7))

        def send():
            left = size
            while left:
                piece = block[: min(left, len(block))]
                sent.update(piece)
                s.sendall(piece)
                left -= len(piece)
            s.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        while chunk := s.recv(1 << 18):
            got.update(chunk)
        sender.join()
    return sent.hexdigest() == got.hexdigest()


def echoes():
    """Sizes around those of segments, windows and super-segments, and 16 MiB."""
    sizes = [1, 1439, 1440, 1441, 1459, 1460, 1461, 2920, 2921, 64240, 64241, 65495, 65535, 65536, 65537, 1 << 24]
    return {version: [size for size in sizes if not upload(version, size)] for version in HOSTS}


def download(version=4, size=1 << 24):
    with tcp(version) as s:
        s.connect((HOSTS[version], 19))
        s.sendall(b"%d" % size)
        data = read_all(s)
    wanted = hashlib.sha256()
    for start in range(0, size, 1 << 16):
        wanted.update(struct.pack("<16384I", *(((start + at) * 7) & 0xFFFFFFFF for at in range(0, 1 << 16, 4))))
    return len(data) == size and hashlib.sha256(data).digest() == wanted.digest()


def downloads():
    return [download(version) for version in HOSTS]


def one_byte_reader():
    """Reads a byte at a time, with the smallest buffer there is."""
    with tcp() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        s.connect((HOSTS[4], 19))
        s.sendall(b"%d" % 65536)
        count = 0
        while s.recv(1):
            count += 1
        return count


def closes():
    """Closes with bytes unread, with SO_LINGER 0, and by being killed with bytes unread, each at a port of its own."""
    def leave_unread(port):
        s = tcp()
        s.connect((HOSTS[4], port))
        s.sendall(b"never read")
        s.recv(1, socket.MSG_PEEK)
        return s

    leave_unread(11).close()
    with tcp() as s:
        s.connect((HOSTS[4], 9))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        s = leave_unread(13)
        os.write(writer, b"ready")
        signal.pause()
    os.read(reader, 5)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    # What comes after them has waited for them.
    upload(4, 1)


def be_reset():
    """Reads the end of what came, then the reset."""
    with tcp() as s:
        s.connect((HOSTS[4], 23))
        s.sendall(b"x")
        try:
            return s.recv(1).decode()
        except OSError as error:
            return name(error.errno)


def urgent():
    """Urgent data is delivered in line."""
    with tcp() as s:
        s.connect((HOSTS[4], 7))
        s.sendall(b"a")
        s.send(b"b", socket.MSG_OOB)
        s.sendall(b"c")
        s.shutdown(socket.SHUT_WR)
        return read_all(s).decode()


def end_first():
    """The other end closes first; the same port is used again as soon as this kernel has let go of it."""
    greetings = set()
    for _ in range(300):
        while True:
            with tcp() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("10.1.2.3", 33333))
                if (result := s.connect_ex((HOSTS[4], 21))) == 0:
                    greetings.add(read_all(s).decode())
                    break
                if result != errno.EADDRNOTAVAIL:
                    return name(result)
    return sorted(greetings)


def segmented_datagrams():
    """One send of ten datagrams (UDP_SEGMENT)."""
    for version in HOSTS:
        with udp(version) as s:
            s.setsockopt(socket.IPPROTO_UDP, 103, 1200)
            s.sendto(bytes(11_500), (HOSTS[version], 9))


def datagram_sizes():
    """Sizes that come back wrong."""
    wrong = []
    for version, largest in ((4, 65507), (6, 65527)):
        with udp(version) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            s.connect((HOSTS[version], 7))
            for size in (0, 1, 1452, 1453, 1472, 1473, 9000, largest):
                payload = bytes(i % 251 for i in range(size))
                s.send(payload)
                if s.recv(70000) != payload:
                    wrong.append([version, size])
    return wrong


def fast_open():
    """TCP fast open: the first bytes with the SYN, or after it."""
    with tcp() as s:
        s.settimeout(None)
        s.sendto(b"early", socket.MSG_FASTOPEN, (HOSTS[4], 7))
        s.shutdown(socket.SHUT_WR)
        return read_all(s).decode()


def multipath():
    """MPTCP falls back to TCP."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as s:
        s.settimeout(30)
        s.connect((HOSTS[4], 7))
        s.sendall(b"one path")
        s.shutdown(socket.SHUT_WR)
        return read_all(s).decode()


def keepalive():
    """A probe is answered: the connection outlives more of them than a dead peer's would."""
    with tcp() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 1)
        s.connect((HOSTS[4], 7))
        s.settimeout(3.5)
        try:
            return name(0) if s.recv(1) else "closed"
        except TimeoutError:
            return "alive"


def settings():
    def read(path):
        return " ".join(open(path).read().split())

    sysctls = {
        "ipv4/ip_unprivileged_port_start": None,
        "ipv4/tcp_rmem": None,
        "ipv4/tcp_wmem": None,
        "ipv4/conf/all/rp_filter": None,
        "ipv4/conf/eth0/rp_filter": None,
        "ipv4/conf/eth0/route_localnet": None,
        "ipv6/conf/eth0/accept_dad": None,
        "ipv6/conf/eth0/accept_ra": None,
        "ipv6/conf/eth0/addr_gen_mode": None,
        "core/somaxconn": None,
    }
    found = {key: read(f"/proc/sys/net/{key}") for key in sysctls}
    found["congestion"] = read("/proc/sys/net/ipv4/tcp_congestion_control") in ("reno", "cubic")
    found["ping"] = read("/proc/sys/net/ipv4/ping_group_range") == f"{os.getgid()} {os.getgid()}"
    for key in ("tx_queue_len", "mtu"):
        found[key] = read(f"/sys/class/net/eth0/{key}")
    with tcp() as s:
        s.connect((HOSTS[4], 7))
        found["mss"] = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    return found


def attempt(case):
    try:
        return globals()[case]()
    except Exception as error:  # one case must not take the others with it
        return f"{type(error).__name__}: {error}"


print(json.dumps({case: attempt(case) for case in sys.argv[1:]}))
