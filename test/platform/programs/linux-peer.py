"""linux-peer.py: Linux as the one that answers packets. Run as root of a user and a network namespace; makes a TUN
device with the address 192.0.2.7, where it listens on TCP port 80. Each line of input is a JSON list: packets in hex
that arrive on the device, or calls on the socket that was accepted last. The answer to each line is the list of packets
that the kernel has sent meanwhile: what arrives is worked off before write(2) returns. "wait" is for answers that it delays."""
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys

ADDRESS = "192.0.2.7"


def make_tun():
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"tun0", 0x1001))  # TUNSETIFF, IFF_TUN | IFF_NO_PI
    # Answers to segments that make no sense are not limited in rate.
    for name, value in (("ipv6/conf/all/disable_ipv6", "1"), ("ipv4/tcp_invalid_ratelimit", "0")):
        with open(f"/proc/sys/net/{name}", "w") as setting:
            setting.write(value)
    for command in (f"addr add {ADDRESS}/32 dev tun0", "link set tun0 up", "link set lo up", "route add default dev tun0"):
        subprocess.run(["ip", *command.split()], check=True)
    return fd


def listen():
    server = socket.create_server((ADDRESS, 80))
    server.setblocking(False)
    return server


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def forget_all():
    """Nothing of a scenario is left for the next one."""
    if accepted:
        reset(accepted)
    while True:
        try:
            reset(server.accept()[0])
        except OSError:  # no more of them, or closed
            return


def drain(tun):
    packets = []
    while True:
        try:
            packets.append(os.read(tun, 65536).hex())
        except BlockingIOError:
            return packets


tun = make_tun()
server, accepted = listen(), None
for line in sys.stdin:
    for what, *values in json.loads(line):
        if what == "packet":
            os.write(tun, bytes.fromhex(values[0]))
        elif what == "accept":
            accepted = server.accept()[0]
        elif what == "write":
            accepted.send(bytes.fromhex(values[0]))
        elif what == "end":
            accepted.shutdown(socket.SHUT_WR)
        elif what == "reset":
            reset(accepted)
            accepted = None
        elif what == "wait":
            select.select([tun], [], [], 10)
        elif what == "forget":
            forget_all()
            accepted = None
        elif what == "unlisten":
            server.close()
        elif what == "listen":
            server = listen()
    print(json.dumps(drain(tun)), flush=True)
