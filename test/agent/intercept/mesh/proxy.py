"""Stands in for a mesh's proxy: takes what the mesh's rules lead to it, and connects on as the real one does.

The argument is its description (meshes.ts) as JSON. Every request that it passes on gets a header; every connection is a
line on stdout, as is the start."""
import json, socket, struct, sys, threading

proxy = json.loads(sys.argv[1])
SO_ORIGINAL_DST, IP_TRANSPARENT, SO_MARK = 80, 19, 36


def listen(port, transparent):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if transparent:
        listener.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    listener.bind(("0.0.0.0", port))
    listener.listen(64)
    return listener


def wanted(client):
    name = client.getsockname()
    if proxy["isTransparent"] and name[1] != proxy["inbound"]:
        return name
    raw = client.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    return socket.inet_ntoa(raw[4:8]), struct.unpack("!H", raw[2:4])[0]


def connect(client, to):
    upstream = socket.socket()
    if proxy["mark"]:
        upstream.setsockopt(socket.SOL_SOCKET, SO_MARK, proxy["mark"])
    if proxy["source"] == "client":
        upstream.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
        upstream.bind((client.getpeername()[0], 0))
    elif proxy["source"]:
        upstream.bind((proxy["source"], 0))
    host, port = to
    upstream.connect((host if proxy["to"] == "original" else proxy["to"], port))
    return upstream


def pump(source, sink, header=b""):
    try:
        while data := source.recv(65536):
            sink.sendall(data.replace(b"\r\n", b"\r\n" + header, 1) if header else data)
            header = b""
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def serve(client):
    to = wanted(client)
    print("connection", *to, flush=True)
    upstream = connect(client, to)
    back = threading.Thread(target=pump, args=(upstream, client), daemon=True)
    back.start()
    pump(client, upstream, b"X-Proxied: yes\r\n")
    back.join()
    client.close()
    upstream.close()


def accept(listener, handle):
    while True:
        handle(listener.accept()[0])


def on_outbound(client):
    print("outbound", flush=True)
    client.close()


inbound = listen(proxy["inbound"], proxy["isTransparent"])
outbound = listen(proxy["outbound"], False)
threading.Thread(target=accept, args=(outbound, on_outbound), daemon=True).start()
print("ready", flush=True)
accept(inbound, lambda client: threading.Thread(target=serve, args=(client,), daemon=True).start())
