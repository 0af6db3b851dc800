"""Faults that need no root: signals, and the fault relay between client and server."""
import os
import resource
import signal
import socket
import struct
import subprocess
import threading
import time

import lab
from lab import BIN, Proc, end_of, read_exact, socks5, until
from rows import row, sleep_until
from scene import Box, Caller, Judge, Missing, Scene, closed, no_request_to_the_dead, opened

WIRES = {"remux2": [], "classic": ["-remux.wire", "classic"], "eager": ["-eagersocks.net", "tls"]}


# Processes.

def killed(victim, mix="mixed"):
    with Scene() as s:
        server, client = s.pair()
        echo = s.destination()
        judge = Judge(s, mix, bytes=100_000, for_=3)
        caller = Caller(s, echo)
        caller.works()
        time.sleep(1)
        if victim == "server":
            server.kill()
            server.popen.wait()
            time.sleep(0.5)
            s.server()
        else:
            client.kill()
            client.popen.wait()
            time.sleep(0.5)
            s.client()
        back = time.monotonic()
        recovery = caller.recovery(back)
        caller.stop()
        return judge.verdict(), recovery


@row("server killed (-9) under 64 flows, started again", smoke=True)
def _():
    return killed("server")


@row("client killed (-9) under 64 flows, started again", smoke=True)
def _():
    return killed("client")


def stopped(victim, seconds):
    with Scene() as s:
        server, client = s.pair()
        caller = Caller(s, s.destination())
        judge = Judge(s, "mixed", flows=32, bytes=100_000, at_once=16)
        caller.works()
        proc = server if victim == "server" else client
        proc.kill(signal.SIGSTOP)
        time.sleep(seconds)
        cpu = proc.cpu_seconds()
        proc.kill(signal.SIGCONT)
        woken = time.monotonic()
        time.sleep(1)
        used = proc.cpu_seconds() - cpu
        recovery = caller.recovery(woken)
        caller.stop()
        no_request_to_the_dead(client)
        return f"{judge.verdict()}; {used:.2f} s of CPU in the first second", recovery


@row("server stopped (SIGSTOP) for 5 s", smoke=True)
def _():
    return stopped("server", 5)


@row("client stopped (SIGSTOP) for 5 s")
def _():
    return stopped("client", 5)


@row("server stopped (SIGSTOP) for 60 s", seconds=90)
def _():
    return stopped("server", 60)


@row("client stopped (SIGSTOP) for 60 s", seconds=90)
def _():
    return stopped("client", 60)


@row("server restarted (SIGTERM) under load", smoke=True)
def _():
    with Scene() as s:
        server, client = s.pair("-drain.max.sec", "2")
        caller = Caller(s, s.destination())
        judge = Judge(s, "mixed", bytes=100_000, for_=3)
        caller.works()
        server.kill(signal.SIGTERM)
        server.popen.wait()
        s.server()
        recovery = caller.recovery(time.monotonic())
        caller.stop()
        return judge.verdict(), recovery


@row("both reloaded (SIGHUP) 20 times under load", bound=None, smoke=True)
def _():
    with Scene() as s:
        server, client = s.pair()
        judge = Judge(s, "calm", flows=2000, bytes="1000-100000", at_once=32)
        for _ in range(20):
            for proc in (server, client):
                proc.kill(signal.SIGHUP)
            time.sleep(0.1)
        verdict = judge.verdict(faulted=False)
        for proc in (server, client):
            assert len(proc.events(event="reloaded")) >= 10, proc.name
        return verdict, None


# The path.

def dark(seconds, wire="remux2", which="", every=0.25, scene=Scene, size=1_000_000, limit=120):
    """Streams that move, streams that wait, and new ones all the time; then nothing passes."""
    with scene() as s:
        server, client = s.pair(*WIRES[wire])
        caller = Caller(s, s.destination(), every)
        mix = "classic" if wire == "classic" else "mixed"
        judge = Judge(s, mix, flows=48, at_once=16, bytes=size)
        caller.works()
        gone = s.dark(which)
        before = opened(client) - closed(client)
        sleep_until(gone + seconds)
        back = s.light()
        recovery = caller.recovery(back)
        caller.stop()
        asked, lost = caller.lost(gone, back)
        no_request_to_the_dead(client)
        if seconds > 30:
            assert before <= closed(client), "connections of before the fault were never given up"
        return f"{judge.verdict(limit=limit)}; of {asked} streams asked for meanwhile {lost} failed", recovery


for seconds, smoke in ((1, False), (3, False), (5, True), (12, False), (30, False), (120, False)):
    row(f"black hole, {seconds} s", smoke=smoke, seconds=seconds + 15)(lambda seconds=seconds: dark(seconds))
row("black hole, 12 s, classic wire", seconds=30)(lambda: dark(12, "classic"))
row("black hole, 12 s, no mux (tls)", seconds=30)(lambda: dark(12, "eager"))
row("black hole, 30 s, classic wire", seconds=45)(lambda: dark(30, "classic"))
row("one way dark (to the server), 8 s", smoke=True)(lambda: dark(8, which="up"))
row("one way dark (to the client), 8 s")(lambda: dark(8, which="down"))


@row("link flaps: 2 s dark, 2 s light, ten times", seconds=60)
def _():
    return flap(10)


@row("link flaps: 2 s dark, 2 s light, three times")
def _():
    return flap(3)


def flap(times):
    with Scene() as s:
        server, client = s.pair()
        caller = Caller(s, s.destination())
        judge = Judge(s, "mixed", flows=48, at_once=16, bytes=300_000)
        caller.works()
        worst = 0.0
        for _ in range(times):
            gone = s.dark()
            sleep_until(gone + 2)
            back = s.light()
            sleep_until(back + 2)
            firsts = [end - back for asked, end, how in caller.calls if asked >= back and how == "ok"]
            worst = max(worst, min(firsts, default=99.0))
        recovery = max(worst, caller.recovery(back))
        caller.stop()
        dials = len(opened(client))
        no_request_to_the_dead(client)
        return f"{judge.verdict()}; {dials} connections", recovery


@row("every connection reset by the path, each second", smoke=True)
def _():
    with Scene() as s:
        server, client = s.pair()
        caller = Caller(s, s.destination())
        judge = Judge(s, "mixed", bytes=100_000, for_=3)
        caller.works()
        for _ in range(4):
            last = s.box.say("reset")
            time.sleep(1)
        recovery = caller.recovery(last)
        caller.stop()
        return judge.verdict(), recovery


@row("one direction ended (FIN) by the path")
def _():
    with Scene() as s:
        server, client = s.pair()
        caller = Caller(s, s.destination())
        judge = Judge(s, "mixed", bytes=100_000, for_=3)
        caller.works()
        s.box.say("halfclose down")
        time.sleep(1)
        last = s.box.say("halfclose up")
        recovery = caller.recovery(last)
        caller.stop()
        return judge.verdict(), recovery


@row("40 ms, jitter, writes of 1 to 50 bytes: nothing is lost", bound=None, smoke=True)
def _():
    with Scene() as s:
        s.pair()
        s.box.say("delay 20ms", "jitter 10ms", "slice 50")
        judge = Judge(s, "calm", flows=64, at_once=32, bytes="1-20000")
        return judge.verdict(faulted=False), None


@row("1 Mbit/s, 30 ms: nothing is lost, no connection given up", bound=None, seconds=30)
def _():
    with Scene() as s:
        server, client = s.pair()
        s.box.say("delay 15ms", "rate 1mbit")
        judge = Judge(s, "calm", flows=16, at_once=16, bytes=60_000)
        verdict = judge.verdict(faulted=False)
        assert not [e for e in client.events(event="conn_close") if "life" in e["cause"]]
        return verdict, None


@row("connections cut after 200 kB each, at any byte", bound=None)
def _():
    with Scene() as s:
        s.pair()
        s.box.say("limit 200kb")
        judge = Judge(s, "mixed", bytes="1000-100000", for_=3)
        return judge.verdict(), None


# When a dead connection is known.

def known(wire, traffic):
    """Seconds until the client, then the server, give a connection up that nothing passes on."""
    with Scene() as s:
        server, client = s.pair(*WIRES[wire])
        port = s.destination()
        sock, _ = socks5(s.socks, "127.0.0.1", port, early=b"x")
        assert read_exact(sock, 1) == b"x"
        if wire == "eager":
            time.sleep(0.2)
        gone = s.dark()
        end = []
        if traffic:
            sock.sendall(b"more")
        threading.Thread(target=lambda: end.append((end_of(sock), time.monotonic())), daemon=True).start()
        until("the application learns of it", lambda: end, 60)
        assert end[0][0] == "rst", end
        return end[0][1] - gone


@row("dead connection, traffic waiting: known to the client", bound=10, smoke=True)
def _():
    return "remux2", known("remux2", traffic=True)


@row("dead connection, quiet: known to the client", bound=30, seconds=40)
def _():
    return "remux2", known("remux2", traffic=False)


# Servers.

@row("first of two servers dead (black hole): requests served meanwhile", bound=None, smoke=True)
def _():
    with Scene() as s:
        second = lab.free_port()
        s.init()
        s.server()
        s.server(port=second)
        client = s.client(to=f"127.0.0.1:{s.box.port},127.0.0.1:{second}")
        caller = Caller(s, s.destination())
        caller.works()
        gone = s.dark()
        time.sleep(12)
        asks = [call for call in caller.calls if gone + 3 <= call[0] <= gone + 10]
        late = [asked - gone for asked, end, how in asks if how != "ok" or end - asked > 1]
        slow = max(end - asked for asked, end, _ in asks)
        assert not late, f"asks {late} s after the fault were not served at once"
        no_request_to_the_dead(client)
        first = [end - gone for asked, end, how in caller.calls if asked >= gone and how == "ok"]
        return f"served by the second after {min(first):.1f} s, slowest answer from 3 s on {slow:.2f} s", None


@row("first of two servers refuses our certificate: no request fails", bound=None, smoke=True)
def _():
    results = []
    for wire in ("remux2", "classic"):
        with Scene() as s:
            s.init()
            other = s.init(folder=s.dir / "other")
            bad = lab.free_port()
            s.server("-tls.client.ca", other / "ca.crt", *WIRES[wire], port=bad)
            s.server(*WIRES[wire])
            client = s.client(*WIRES[wire], to=f"127.0.0.1:{bad},127.0.0.1:{s.port}")
            port = s.destination()
            answers = []

            def ask():
                try:
                    sock, _ = socks5(s.socks, "127.0.0.1", port, early=b"hello")
                    answers.append(read_exact(sock, 5))
                except (OSError, EOFError) as error:
                    answers.append(error)

            threads = [threading.Thread(target=ask) for _ in range(40)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            failed = [a for a in answers if a != b"hello"]
            assert not failed, (wire, len(failed), failed[:3])
            named = {e["server"] for e in client.events(event="dial_failed")}
            assert named == {f"127.0.0.1:{bad}"}, named
            results.append(f"{wire}: {len(answers)} of {len(answers)}")
    return ", ".join(results), None


# Destinations.

@row("destinations slow, stalled, resetting, refusing: neighbours complete", bound=None, smoke=True)
def _():
    def stall(sock):
        time.sleep(3600)

    def drip(sock):
        while True:
            sock.sendall(b"x")
            time.sleep(0.2)

    def reset(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with Scene() as s:
        server, client = s.pair()
        ports = [s.listen(stall), s.listen(drip), s.listen(lab.reset_now), s.listen(reset), lab.free_port()]
        stop = time.monotonic() + 5
        ends = []

        def bother(port):
            while time.monotonic() < stop:
                sock, _ = socks5(s.socks, "127.0.0.1", port, early=b"x" * 1000)
                sock.settimeout(1)
                try:
                    while sock.recv(1000):
                        if time.monotonic() > stop:
                            return
                    ends.append("fin")
                except TimeoutError:
                    pass
                except ConnectionResetError:
                    ends.append("rst")

        threads = [threading.Thread(target=bother, args=(port,)) for port in ports for _ in range(8)]
        for thread in threads:
            thread.start()
        judge = Judge(s, "calm", flows=1000, at_once=16, bytes="1000-50000")
        for thread in threads:
            thread.join()
        assert "fin" not in ends, "a destination's reset became a clean end"
        return f"{judge.verdict(faulted=False)}; {len(ends)} resets passed on", None


# Limits of the machine.

@row("descriptor limit of 128 hit by 400 requests at once", smoke=True)
def _():
    with Scene() as s:
        s.init()
        s.server()
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        client = s.client(before=["prlimit", f"--nofile=128:{hard}"])
        echo = s.destination()
        live, _ = socks5(s.socks, "127.0.0.1", echo, early=b"a")
        assert read_exact(live, 1) == b"a"
        held = []
        for _ in range(400):
            sock = socket.create_connection(("127.0.0.1", s.socks))
            sock.sendall(b"\x05\x01\x00")
            held.append(sock)
        cpu = client.cpu_seconds()
        time.sleep(3)
        spin = (client.cpu_seconds() - cpu) / 3
        live.sendall(b"still")
        assert read_exact(live, 5) == b"still"
        for sock in held:
            sock.close()
        freed = time.monotonic()
        caller = Caller(s, echo)
        recovery = caller.recovery(freed)
        assert spin < 0.2, f"{spin:.0%} of a core while out of descriptors"
        return f"live stream unharmed, {spin:.0%} of a core meanwhile", recovery


@row("disk full for the log", bound=None)
def _():
    import cases_logs
    cases_logs.test_full_disk_never_stops_traffic()
    return "traffic goes on, lost lines counted", None


# Clocks.

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


class Clock:
    """The wall clock of a process; the monotonic one stays."""

    def __init__(self, scene):
        if not os.path.exists(FAKETIME):
            raise Missing("needs libfaketime (Debian: faketime)")
        self.file = scene.dir / "clock"
        self.set("+0d")
        self.env = {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
                    "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}

    def set(self, offset):
        fresh = self.file.with_suffix(".new")
        fresh.write_text(offset + "\n")
        fresh.replace(self.file)
        return time.monotonic()


def jump(offset, who, cut, flags=()):
    """`cut`: by the new time the other side's certificate has ended, and its connections with it."""
    with Scene() as s:
        clock = Clock(s)
        s.server(*flags, env=clock.env if who == "server" else None)
        s.client(*flags, env=clock.env if who == "client" else None)
        echo = s.destination()
        live, _ = socks5(s.socks, "127.0.0.1", echo, early=b"a")
        assert read_exact(live, 1) == b"a"
        judge = Judge(s, "calm", flows=16, at_once=16, bytes=30_000_000)
        time.sleep(0.3)
        clock.set(offset)
        if cut:
            began = time.monotonic()
            assert end_of(live) == "rst", "a connection past its certificate's end ended cleanly"
            took = time.monotonic() - began
            assert took < 5, f"cut after {took:.1f} s"
        else:
            time.sleep(3)
            live.sendall(b"still")
            assert read_exact(live, 5) == b"still", "a running stream felt the wall clock"
        verdict = judge.verdict(faulted=cut)
        back = clock.set("+0d")
        caller = Caller(s, echo)
        recovery = caller.recovery(back)
        return verdict, recovery


for who in ("client", "server"):
    row(f"wall clock of the {who} jumps by +3650d, certificates have ended by it, and back", smoke=who == "client")(
        lambda who=who: jump("+3650d", who, cut=True))
    row(f"wall clock of the {who} jumps by +3650d, tls.cut.expired: false, and back")(
        lambda who=who: jump("+3650d", who, cut=False, flags=["-tls.cut.expired", "false"]))
    row(f"wall clock of the {who} jumps by -3650d, and back")(lambda who=who: jump("-3650d", who, cut=False))


def short_lived(scene, name, seconds):
    """A certificate of our CA for the client, that ends in so many seconds: made with a clock that stands a day back."""
    if not os.path.exists(FAKETIME):
        raise Missing("needs libfaketime (Debian: faketime)")
    csr, cert = scene.dir / f"{name}.csr", scene.dir / f"{name}.crt"
    ext = scene.dir / "ext"
    ext.write_text("extendedKeyUsage=clientAuth\nsubjectAltName=DNS:client\n")
    key = scene.pki / "client.key"
    env = {**os.environ, "LD_PRELOAD": FAKETIME, "FAKETIME": f"-{86400 - seconds}s"}
    made = lab.run("openssl", "req", "-new", "-key", key, "-subj", "/CN=client", "-out", csr)
    assert made.returncode == 0, made.stderr
    made = lab.run("openssl", "x509", "-req", "-in", csr, "-CA", scene.pki / "ca.crt", "-CAkey", scene.pki / "ca.key",
                   "-CAcreateserial", "-days", "1", "-extfile", ext, "-out", cert, env=env)
    assert made.returncode == 0, made.stderr
    return cert


@row("client's certificate ends while connected, then is renewed", seconds=30)
def _():
    with Scene() as s:
        s.init()
        server = s.server()
        (s.pki / "client.crt").write_bytes(short_lived(s, "short", 8).read_bytes())
        ends_at = time.monotonic() + 8
        client = s.client()
        echo = s.destination()
        live, _ = socks5(s.socks, "127.0.0.1", echo, early=b"a")
        assert read_exact(live, 1) == b"a"
        time.sleep(3)
        live.sendall(b"still")
        assert read_exact(live, 5) == b"still"
        end = end_of(live)
        cut = time.monotonic() - ends_at
        assert end == "rst", end
        assert -1 < cut < 6, f"cut {cut:.1f} s after the certificate's end"
        (s.pki / "client.crt").write_bytes(short_lived(s, "renewed", 3600).read_bytes())
        client.kill(signal.SIGHUP)
        client.wait_text("reloaded")
        renewed = time.monotonic()
        recovery = Caller(s, echo).recovery(renewed)
        return f"streams reset {max(cut, 0):.1f} s after its end", recovery
