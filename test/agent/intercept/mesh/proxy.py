"""Stands in for a mesh's proxy: takes what the mesh's rules lead to it, and connects on as the real one does.

The argument is its description (meshes.ts) as JSON. Every request that it passes on gets a header; every connection is a
line on stdout, as is the start."""
import ipaddress, json, socket, struct, sys, threading

proxy = json.loads(sys.argv[1])
SO_ORIGINAL_DST, IP_TRANSPARENT, IPV6_TRANSPARENT, SO_MARK = 80, 19, 75, 36
MAPPED = "::ffff:"
OF_IPV6 = {"127.0.0.6": "::6", "127.0.0.1": "::1"}


def listen(port, transparent):
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if transparent:
        listener.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
    listener.bind(("::", port))
    listener.listen(64)
    return listener


def address(host):
    return host.removeprefix(MAPPED)


def wanted(client):
    name = client.getsockname()
    if proxy["isTransparent"] and name[1] != proxy["inbound"]:
        return address(name[0]), name[1]
    if name[0].startswith(MAPPED):
        raw = client.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
        return socket.inet_ntoa(raw[4:8]), struct.unpack("!H", raw[2:4])[0]
    raw = client.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
    return socket.inet_ntop(socket.AF_INET6, raw[8:24]), struct.unpack("!H", raw[2:4])[0]


def connect(client, to):
    host, port = to
    is_v6 = ipaddress.ip_address(host).version == 6
    upstream = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET)
    own = lambda host: OF_IPV6[host] if is_v6 else host
    if proxy["mark"]:
        upstream.setsockopt(socket.SOL_SOCKET, SO_MARK, proxy["mark"])
    if proxy["source"] == "client":
        upstream.setsockopt(*((socket.IPPROTO_IPV6, IPV6_TRANSPARENT) if is_v6 else (socket.SOL_IP, IP_TRANSPARENT)), 1)
        upstream.bind((address(client.getpeername()[0]), 0))
    elif proxy["source"]:
        upstream.bind((own(proxy["source"]), 0))
    upstream.connect((host if proxy["to"] == "original" else own(proxy["to"]), port))
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
