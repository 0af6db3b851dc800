"""Faults that need kernels apart: packets really lost, unanswered SYNs, retransmissions that back off, addresses that change."""
import contextlib
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time

import lab
import rows_here
from lab import Proc, read_exact, until
from rows import row, sleep_until
from rows_here import WIRES
from scene import HERE, Caller, Judge, Link, Missing, Scene, closed, no_request_to_the_dead, opened


def apart(*parameters):
    return Scene(Link(*(parameters or ("--rtt", "40ms", "--rate", "200mbit"))))


def dark(seconds, wire="remux2", which=""):
    return rows_here.dark(seconds, wire, which, scene=apart, size=3_000_000, limit=300)


for seconds in (1, 2, 3, 5, 8, 12, 20, 30, 60, 120):
    row(f"packets lost for {seconds} s", seconds=seconds + 20)(lambda seconds=seconds: dark(seconds))
row("packets lost for 12 s, classic wire", seconds=35)(lambda: dark(12, "classic"))
row("packets lost for 60 s, classic wire", seconds=85)(lambda: dark(60, "classic"))
row("packets lost for 12 s, no mux (tls)", seconds=35)(lambda: dark(12, "eager"))
row("packets to the server lost for 15 s", seconds=35)(lambda: dark(15, which="up"))
row("packets to the client lost for 15 s", seconds=35)(lambda: dark(15, which="down"))


def loss(share, wire="remux2"):
    """Everything arrives, and no connection is taken for dead."""
    with apart("--rtt", "40ms", "--rate", "200mbit", "--loss", f"{share}%") as s:
        server, client = s.pair(*WIRES[wire])
        mix = "classic" if wire == "classic" else "calm"
        size = 200_000 if share >= 20 else 1_000_000
        judge = Judge(s, mix, flows=64, at_once=64, bytes=size, patience=240)
        began = time.monotonic()
        verdict = judge.verdict(faulted=share >= 30 or wire == "classic", limit=600)
        took = time.monotonic() - began
        dead = [e["cause"] for p in (client, server) for e in p.events(event="conn_close") if "life" in e["cause"]]
        suspect = len(client.events(event="conn_suspect"))
        assert not dead or share >= 30, dead
        no_request_to_the_dead(client)
        return f"{verdict}; {took:.0f} s, {len(opened(client))} connections, {suspect} suspect, {len(dead)} given up", None


for share in (1, 5, 10, 20, 30):
    row(f"loss of {share} % each way, 64 flows", bound=None, seconds=20 + share * 4)(lambda share=share: loss(share))
row("loss of 5 % each way, 64 flows, classic wire", bound=None, seconds=30)(lambda: loss(5, "classic"))


@row("carrier lost every 2 s, ten times", seconds=60)
def _():
    with apart() as s:
        server, client = s.pair()
        caller = Caller(s, s.destination())
        judge = Judge(s, "mixed", flows=48, at_once=16, bytes=1_000_000)
        caller.works()
        for _ in range(10):
            gone = s.link.do("down", "carrier")
            sleep_until(gone + 2)
            back = s.link.do("up")
            sleep_until(back + 2)
        recovery = caller.recovery(back)
        caller.stop()
        no_request_to_the_dead(client)
        return f"{judge.verdict(limit=300)}; {len(opened(client))} connections", recovery


@row("client's address changes under 48 flows", seconds=30)
def _():
    with apart() as s:
        server, client = s.pair()
        caller = Caller(s, s.destination())
        judge = Judge(s, "mixed", flows=48, at_once=16, bytes=3_000_000)
        caller.works()

        def ip(*words):
            subprocess.run([*s.link.at("a"), "ip", *words], check=True)
        ip("addr", "add", "10.99.0.3/24", "dev", "link0")
        ip("addr", "del", "10.99.0.1/24", "dev", "link0")
        # The first address takes the others of its network along, unless they are promoted.
        ip("addr", "replace", "10.99.0.3/24", "dev", "link0")
        changed = time.monotonic()
        recovery = caller.recovery(changed)
        caller.stop()
        no_request_to_the_dead(client)
        remotes = {e["remote"].rsplit(":", 1)[0] for e in server.events(event="conn_open")}
        assert remotes == {"10.99.0.1", "10.99.0.3"}, remotes
        return judge.verdict(limit=300), recovery


# When a dead connection is known, by real kernels.

def known(wire, traffic):
    with apart() as s:
        server, client = s.pair(*WIRES[wire])
        port = s.destination()
        program = (
            "import sys, time; sys.path.insert(0, %r); import lab\n"
            "sock, _ = lab.socks5(%d, '127.0.0.1', %d, early=b'x', timeout=90)\n"
            "assert lab.read_exact(sock, 1) == b'x'\n"
            "print('up', flush=True); sys.stdin.readline()\n"
            "%s\n"
            "print(lab.end_of(sock), time.monotonic(), flush=True)\n"
        ) % (str(HERE), s.socks, port, "sock.sendall(b'more')" if traffic else "")
        app = subprocess.Popen([*s.at("a"), sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        s.closers.append(app.kill)
        assert app.stdout.readline().strip() == "up"
        time.sleep(0.5)
        gone = s.dark()
        app.stdin.write("go\n")
        app.stdin.flush()
        end, at = app.stdout.readline().split()
        assert end == "rst", end
        client_knows = float(at) - gone
        held = opened(server)
        until("the server gives it up too", lambda: held <= closed(server), 60)
        server_knows = time.monotonic() - gone
        return f"the server's end after {server_knows:.1f} s", client_knows


for wire in WIRES:
    row(f"dead connection, traffic waiting ({wire})", bound=10)(lambda wire=wire: known(wire, True))
    row(f"dead connection, quiet ({wire})", bound=30, seconds=45)(lambda wire=wire: known(wire, False))


def known_to_the_server(wire):
    """A client vanishes in the middle of a download: it is the server that has traffic waiting."""
    with apart() as s:
        server, client = s.pair(*WIRES[wire])
        port = s.destination("endless")
        program = (
            "import sys; sys.path.insert(0, %r); import lab\n"
            "sock, _ = lab.socks5(%d, '127.0.0.1', %d, early=b'x', timeout=90)\n"
            "lab.read_exact(sock, 1_000_000); print('up', flush=True)\n"
            "while sock.recv(1 << 16): pass\n"
        ) % (str(HERE), s.socks, port)
        app = subprocess.Popen([*s.at("a"), sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        s.closers.append(app.kill)
        assert app.stdout.readline().strip() == "up"
        held = opened(server)
        gone = s.dark()
        until("the server gives it up", lambda: held <= closed(server), 60)
        return "in the middle of a download", time.monotonic() - gone


for wire in WIRES:
    row(f"dead connection, traffic waiting at the server ({wire})", bound=10, seconds=15)(lambda wire=wire: known_to_the_server(wire))


def pauses(wire):
    """A reader that pauses for longer than any limit on dead connections is not taken for one."""
    with apart() as s:
        s.pair(*WIRES[wire])
        port = s.destination("endless")
        program = (
            "import sys, time; sys.path.insert(0, %r); import lab\n"
            "sock, _ = lab.socks5(%d, '127.0.0.1', %d, early=b'x', timeout=90)\n"
            "lab.read_exact(sock, 1000); time.sleep(45); lab.read_exact(sock, 50_000_000); print('read on')\n"
        ) % (str(HERE), s.socks, port)
        told = subprocess.run([*s.at("a"), sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
        assert told.stdout.strip() == "read on", told.stderr[-500:]
        return "read on after 45 s", None


row("reader pauses for 45 s (remux2)", bound=None, seconds=60)(lambda: pauses("remux2"))
row("reader pauses for 45 s (no mux)", bound=None, seconds=60)(lambda: pauses("eager"))


# Names.

class Names:
    """A DNS server beside the server, that can be dead or lie."""

    def __init__(self, scene):
        if not scene.link:
            raise Missing("needs a namespace, for a resolv.conf of its own")
        self.conf = pathlib.Path("/etc/netns") / scene.link.env["LINKEM_B"]
        self.conf.mkdir(parents=True)
        scene.closers.append(lambda: shutil.rmtree(self.conf, ignore_errors=True))
        (self.conf / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:2\n")
        (self.conf / "nsswitch.conf").write_text("hosts: files dns\n")
        argv = [*scene.at("b"), sys.executable, HERE / "names.py"]
        proc = subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        scene.closers.append(proc.kill)
        assert proc.stdout.readline() == b"ready\n"


@row("DNS dead or lying: right code within 6 s, other names unaffected", bound=None, seconds=40)
def _():
    with apart() as s:
        Names(s)
        s.server()
        client = s.client("-eagersocks.reply", "strict")
        port = s.destination()
        program = (
            "import sys, time, threading; sys.path.insert(0, %r); import lab\n"
            "def ask(name):\n"
            "    began = time.monotonic(); sock, code = lab.socks5(%d, name, %d, timeout=30)\n"
            "    sys.stdout.write(f'{name} {code} {time.monotonic() - began:.2f}\\n'); sys.stdout.flush()\n"
            "threads = [threading.Thread(target=ask, args=(name,)) for name in sys.argv[1:]]\n"
            "[t.start() for t in threads]; [t.join() for t in threads]\n"
        ) % (str(HERE), s.socks, port)
        names = ["good.test", "silent.test", "servfail.test", "nxdomain.test", "wrongid.test", "garbage.test", "private.test",
                 "metadata.test", "good2.test"]
        told = subprocess.run([*s.at("a"), sys.executable, "-c", program, *names], capture_output=True, text=True, timeout=60)
        answers = {name: (int(code), float(took)) for name, code, took in map(str.split, told.stdout.splitlines())}
        assert set(answers) == set(names), (answers, told.stderr[-500:])
        for name, (code, took) in answers.items():
            # The name does not exist: 4; the name service failed or said nothing: 6.
            want = {"good.test": 0, "good2.test": 0, "private.test": 2, "metadata.test": 2, "nxdomain.test": 4}.get(name, 6)
            assert code == want, (name, code, answers)
            assert took < (1 if name.startswith("good") else 6), (name, took)
        slowest = max(took for _, took in answers.values())
        return f"{len(names)} names, slowest answer {slowest:.1f} s", None
