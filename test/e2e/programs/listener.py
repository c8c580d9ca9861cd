"""listener.py HOST PORT: greets with the client's address, echoes, and says "bye" after the client's end.

Lines of its standard input: "close" closes the listening socket, "open" opens it anew, the end ends it all.
A client whose first byte is "!" is reset.
"""
import socket
import struct
import sys
import threading

host, port = sys.argv[1], int(sys.argv[2])


def talk(s, peer):
    s.sendall(f"from {peer[0]}\n".encode())
    try:
        while data := s.recv(65536):
            if data[:1] == b"!":
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return s.close()
            s.sendall(data)
        s.sendall(b"bye\n")
    except ConnectionResetError:
        print("was reset", flush=True)
    s.close()


def serve(listener):
    while True:
        try:
            s, peer = listener.accept()
        except OSError:
            return
        threading.Thread(target=talk, args=(s, peer), daemon=True).start()


def listen():
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    print("listening", flush=True)
    return listener


listener = listen()
for line in sys.stdin:
    if line.strip() == "open":
        listener = listen()
    else:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        print("closed", flush=True)
