#!/usr/bin/env python3
"""The classic ReMux wire and the eager request, written from the wire's description alone.

Frame: u16 session, u16 length, data; big-endian. The first frame with an unused session opens it; length 0 ends
it, in both directions. A session starts with one eager request (05 01 00 ATYP ADDR PORT), never answered.

    classic_peer.py server --listen PORT --cert F --key F --ca F      serves real destinations
    classic_peer.py client --connect PORT --cert F --key F --ca F --target HOST:PORT < in > out
"""
import argparse
import select
import socket
import ssl
import struct
import sys
import threading


def context(args, server):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    ctx.minimum_version = ssl.TLSVersion.TLSv1_3
    ctx.load_cert_chain(args.cert, args.key)
    ctx.load_verify_locations(args.ca)
    ctx.verify_mode = ssl.CERT_REQUIRED
    if args.alpn:
        ctx.set_alpn_protocols([args.alpn])
    return ctx


def read_exact(stream, count):
    data = b""
    while len(data) < count:
        part = stream.recv(count - len(data))
        if not part:
            return None
        data += part
    return data


def frames(stream):
    while (head := read_exact(stream, 4)) is not None:
        session, length = struct.unpack(">HH", head)
        data = read_exact(stream, length) if length else b""
        if data is None:
            return
        yield session, data


class Tls:
    """A TLS socket that one thread may read while others write."""

    def __init__(self, stream):
        self.stream, self.lock = stream, threading.Lock()
        stream.setblocking(False)

    def recv(self, count):
        while True:
            with self.lock:
                try:
                    return self.stream.recv(count)
                except ssl.SSLWantReadError:
                    pass
            select.select([self.stream], [], [])

    def sendall(self, data):
        view = memoryview(data)
        while view:
            with self.lock:
                try:
                    view = view[self.stream.send(view):]
                    continue
                except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    pass
            select.select([], [self.stream], [], 0.1)


class Writer:
    def __init__(self, stream):
        self.stream, self.lock = stream, threading.Lock()

    def send(self, session, data):
        with self.lock:
            self.stream.sendall(struct.pack(">HH", session, len(data)) + data)


def parse_eager(data):
    """Returns (host, port, rest), or None while it is incomplete."""
    if len(data) < 5:
        return None
    assert data[:3] == b"\x05\x01\x00", data[:8]
    kind = data[3]
    size = {1: 4, 4: 16}.get(kind) or 1 + data[4]
    if len(data) < 4 + size + 2:
        return None
    raw = data[4:4 + size]
    host = raw[1:].decode() if kind == 3 else socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, raw)
    return host, struct.unpack(">H", data[4 + size:6 + size])[0], data[6 + size:]


def serve_connection(stream):
    writer, waiting, open_ = Writer(stream), {}, {}

    def pump(session, target):
        try:
            while data := target.recv(16000):
                writer.send(session, data)
            writer.send(session, b"")
        except OSError:
            pass

    for session, data in frames(stream):
        if not data:
            waiting.pop(session, None)
            if target := open_.pop(session, None):
                target.close()
        elif session in open_:
            open_[session].sendall(data)
        else:
            waiting[session] = waiting.get(session, b"") + data
            if (request := parse_eager(waiting[session])) is None:
                continue
            del waiting[session]
            host, port, rest = request
            print(f"session {session}: {host}:{port} with {len(rest)} early bytes", file=sys.stderr, flush=True)
            try:
                target = socket.create_connection((host, port), timeout=10)
                target.settimeout(None)
                target.sendall(rest)
            except OSError:
                writer.send(session, b"")
                continue
            open_[session] = target
            threading.Thread(target=pump, args=(session, target), daemon=True).start()
    for target in open_.values():
        target.close()


def server(args):
    ctx = context(args, True)
    listener = socket.create_server(("127.0.0.1", args.listen))
    print("listening", file=sys.stderr, flush=True)
    while True:
        raw, _ = listener.accept()

        def one(raw=raw):
            try:
                serve_connection(Tls(ctx.wrap_socket(raw, server_side=True)))
            except (OSError, ssl.SSLError) as error:
                print(f"connection: {error}", file=sys.stderr, flush=True)

        threading.Thread(target=one, daemon=True).start()


def client(args):
    ctx = context(args, False)
    ctx.check_hostname = False
    raw = socket.create_connection(("127.0.0.1", args.connect))
    stream = Tls(ctx.wrap_socket(raw))
    writer = Writer(stream)
    host, port = args.target.rsplit(":", 1)
    request = b"\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + struct.pack(">H", int(port))
    data = sys.stdin.buffer.read()
    # Several sessions on one connection, interleaved; the answers must not mix.
    sessions = range(1, args.sessions + 1)
    def send_all():
        for session in sessions:
            writer.send(session, request + data[:1000])
        rest = data[1000:]
        for offset in range(0, len(rest), 16000):
            for session in sessions:
                writer.send(session, rest[offset:offset + 16000])

    threading.Thread(target=send_all, daemon=True).start()
    answers = {session: b"" for session in sessions}
    left = set(sessions)
    for session, part in frames(stream):
        if not part:
            left.discard(session)
        else:
            answers[session] += part
            if len(answers[session]) == args.expect:
                writer.send(session, b"")
                left.discard(session)
        if not left:
            break
    assert len(set(answers.values())) == 1, "the sessions' answers differ"
    sys.stdout.buffer.write(answers[1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["server", "client"])
    for name in ("--cert", "--key", "--ca"):
        parser.add_argument(name, required=True)
    parser.add_argument("--alpn")
    parser.add_argument("--listen", type=int)
    parser.add_argument("--connect", type=int)
    parser.add_argument("--target")
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--expect", type=int, default=-1)
    args = parser.parse_args()
    server(args) if args.role == "server" else client(args)


if __name__ == "__main__":
    main()
