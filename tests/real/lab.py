"""Starts the real programs and the things around them: destinations, clients, faults.

Everything lives in one temporary folder and dies with the Lab.
"""
import contextlib
import hashlib
import json
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = pathlib.Path(os.environ.get("TUNNELS_BIN", ROOT / "target" / "release"))
WAIT = 30.0


def free_port():
    """A port nobody listens on, below those the kernel gives to outgoing connections: one of these could take it
    before our program does."""
    while True:
        port = random.randrange(10_000, 32_000)
        if port in GIVEN:
            continue
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            GIVEN.add(port)
            return port


GIVEN = set()


def until(what, check, limit=WAIT):
    """Waits for a fact of the outside world; says what was missing when it never came."""
    end = time.monotonic() + limit
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"never happened within {limit} s: {what}")
        time.sleep(0.02)


class Proc:
    """One of our programs, its standard error and its log."""

    def __init__(self, lab, name, argv, env=None, level=None):
        self.log_path = lab.dir / f"{name}-{len(lab.procs)}.log"
        self.err_path = lab.dir / f"{name}-{len(lab.procs)}.err"
        self.name, self.argv = name, argv
        err = open(self.err_path, "wb")
        full = [str(a) for a in argv] + ["-sla.log.path", str(self.log_path), "-sla.log.format", "json",
                                         "-sla.log.level", level or lab.level]
        self.popen = subprocess.Popen(full, stdin=subprocess.DEVNULL, stdout=err, stderr=err,
                                      env={**os.environ, **(env or {})})
        err.close()
        lab.procs.append(self)

    def log(self):
        """The events so far."""
        try:
            lines = self.log_path.read_text().splitlines()
        except FileNotFoundError:
            return []
        events = []
        for line in lines:
            with contextlib.suppress(json.JSONDecodeError):  # the last line may be half written
                events.append(json.loads(line))
        return events

    def events(self, **facts):
        return [e for e in self.log() if all(e.get(k) == v for k, v in facts.items())]

    def text(self):
        text = ""
        for path in (self.err_path, self.log_path):
            # The check of the configuration makes the log and removes it again, before the program makes it for good.
            with contextlib.suppress(FileNotFoundError):
                text += path.read_text()
        return text

    def wait_text(self, needle, limit=WAIT):
        def seen():
            return needle in self.text()
        return until(f"{self.name} says {needle!r}; it said:\n{self.text()[-2000:]}", seen, limit)

    def ready(self):
        def up():
            if self.popen.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.popen.returncode}: {self.text()[-2000:]}")
            return "listening" in self.text()
        until(f"{self.name} listens", up)
        return self

    def kill(self, sig=signal.SIGKILL):
        if self.popen.poll() is None:
            self.popen.send_signal(sig)

    def stop(self, limit=WAIT):
        self.kill(signal.SIGTERM)
        return self.popen.wait(limit)

    def rss_mib(self):
        for line in open(f"/proc/{self.popen.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0

    def descriptors(self):
        folder = f"/proc/{self.popen.pid}/fd"
        try:
            return len(os.listdir(folder))
        except PermissionError:  # a program of ours lets no other process look into it, except root's
            return len(run("sudo", "-n", "ls", folder).stdout.split())

    def cpu_seconds(self):
        fields = open(f"/proc/{self.popen.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Lab:
    def __init__(self, level="debug"):
        self.level = level
        self._tmp = tempfile.TemporaryDirectory(prefix="tunnels-real-")
        self.dir = pathlib.Path(self._tmp.name)
        self.procs, self.closers = [], []
        self.port = free_port()
        self.socks = free_port()
        self.pki = self.dir / "pki"

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for proc in self.procs:
            proc.kill()
            proc.popen.wait()
        for close in self.closers:
            close()
        if kind is not None:
            for proc in self.procs:
                print(f"--- {proc.name}: {' '.join(map(str, proc.argv))}\n{proc.text()[-1500:]}")
        self._tmp.cleanup()

    def init(self, name="127.0.0.1", folder=None):
        folder = folder or self.pki
        subprocess.run([BIN / "tunnels", "init", "--dir", folder, "--server", f"{name}:{self.port}"],
                       check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return folder

    def server(self, *flags, config=True, wait=True):
        if not self.pki.exists():
            self.init()
        base = ["--config", self.pki / "server.yaml", "-server.addr", f"127.0.0.1:{self.port}"] if config else []
        proc = Proc(self, "server", [BIN / "tunnels-server", *base, "-server.allow", "127.0.0.0/8", *flags])
        return proc.ready() if wait else proc

    def client(self, *flags, config=True, wait=True, socks=None):
        base = ["--config", self.pki / "client.yaml", "-server.addr", f"127.0.0.1:{self.port}",
                "-client.addr", f"127.0.0.1:{socks or self.socks}"] if config else []
        proc = Proc(self, "client", [BIN / "tunnels-client", *base, *flags])
        return proc.ready() if wait else proc

    def pair(self, server=(), client=()):
        return self.server(*server), self.client(*client)

    def listen(self, handle):
        """A destination: `handle(socket)` runs in a thread per connection. Returns its port."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)

        def one(sock):
            with contextlib.suppress(OSError), sock:
                handle(sock)

        def loop():
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(sock,), daemon=True).start()

        threading.Thread(target=loop, daemon=True).start()
        self.closers.append(listener.close)
        return listener.getsockname()[1]


    def apart(self, what):
        """A destination in a process of its own, so that it doesn't share an interpreter with the readers."""
        proc = subprocess.Popen([sys.executable, __file__, what], stdout=subprocess.PIPE)
        self.closers.append(proc.kill)
        return int(proc.stdout.readline())


# What destinations do.

def echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def hash_after_end(sock):
    """Answers only after end of input: the half-close test."""
    digest, count = hashlib.sha256(), 0
    while data := sock.recv(65536):
        digest.update(data)
        count += len(data)
    sock.sendall(f"{count} {digest.hexdigest()}".encode())
    sock.shutdown(socket.SHUT_WR)


def speak_first(sock):
    sock.sendall(b"220 ready\r\n")
    sock.sendall(b"you said " + sock.recv(100))


def reset_now(sock):
    sock.recv(1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def endless(sock):
    while True:
        sock.sendall(BLOCK)


def http(sock):
    """A small web server: GET /bytes/N gives N bytes, POST anything gives the body's SHA-256."""
    reader = sock.makefile("rb")
    while True:
        request = reader.readline().split()
        if len(request) < 2:
            return
        headers = {}
        while (line := reader.readline().strip()):
            key, _, value = line.partition(b":")
            headers[key.lower()] = value.strip()
        if headers.get(b"expect", b"").lower() == b"100-continue":
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request[0] == b"GET":
            count = int(request[1].rsplit(b"/", 1)[1])
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % count)
            for part in pattern(count):
                sock.sendall(part)
        else:
            digest, left = hashlib.sha256(), int(headers[b"content-length"])
            while left:
                data = reader.read1(min(left, 1 << 18))
                if not data:
                    return
                digest.update(data)
                left -= len(data)
            body = digest.hexdigest().encode()
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


BLOCK = b"".join(hashlib.sha256(i.to_bytes(4, "big")).digest() for i in range(1 << 15))  # 1 MiB, no period


def pattern(count):
    while count > 0:
        part = BLOCK[:min(count, len(BLOCK))]
        yield part
        count -= len(part)


def pattern_hash(count):
    digest = hashlib.sha256()
    for part in pattern(count):
        digest.update(part)
    return digest.hexdigest()


# A SOCKS5 client of our own.

def read_exact(sock, count):
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise EOFError(f"ended after {data!r}")
        data += part
    return data


def socks5(proxy_port, host, port, early=b"", timeout=WAIT, user=None):
    """Connects through the proxy; returns (socket, reply code)."""
    sock = socket.create_connection(("127.0.0.1", proxy_port), timeout=timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if user:
        sock.sendall(b"\x05\x01\x02")
        assert read_exact(sock, 2) == b"\x05\x02"
        name, password = (part.encode() for part in user)
        sock.sendall(b"\x01" + bytes([len(name)]) + name + bytes([len(password)]) + password)
        assert read_exact(sock, 2)[1] == 0
    else:
        sock.sendall(b"\x05\x01\x00")
        assert read_exact(sock, 2) == b"\x05\x00"
    try:
        address = b"\x01" + socket.inet_aton(host)
    except OSError:
        address = b"\x03" + bytes([len(host)]) + host.encode()
    sock.sendall(b"\x05\x01\x00" + address + struct.pack(">H", port) + early)
    reply = read_exact(sock, 4)
    read_exact(sock, {1: 6, 4: 18}[reply[3]] if reply[3] != 3 else read_exact(sock, 1)[0] + 2)
    return sock, reply[1]


def end_of(sock):
    """How the peer ended: `fin`, `rst`; bytes before it are thrown away."""
    try:
        while sock.recv(1 << 16):
            pass
        return "fin"
    except ConnectionResetError:
        return "rst"


def run(*argv, **kw):
    return subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300, **kw)


if __name__ == "__main__":  # see Lab.apart
    with Lab() as alone:
        print(alone.listen(globals()[sys.argv[1]]), flush=True)
        threading.Event().wait()
