"""Memory, descriptors and panics: what runs short is held back in its order, and comes back."""
import contextlib
import os
import resource
import signal
import socket
import subprocess
import threading
import time

import lab
from lab import BIN, Lab, end_of, read_exact, socks5, until

MIB = 1 << 20


def flood(sock):
    """A destination that sends without end and reads nothing."""
    block = b"d" * (1 << 18)
    while True:
        sock.sendall(block)


def mute(sock):
    """A destination that neither reads nor sends."""
    threading.Event().wait(600)


def ceiling_mib(lab_, program):
    """The ceiling that the program told at its start."""
    told = until("the resources are told", lambda: program.events(event="resources"))
    return told[0]["memory"] / MIB


class Watch:
    """The most memory a program takes while this runs."""

    def __init__(self, *programs):
        self.programs, self.most, self.on = programs, [0.0] * len(programs), True
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()

    def loop(self):
        while self.on:
            for at, program in enumerate(self.programs):
                with contextlib.suppress(OSError):
                    self.most[at] = max(self.most[at], program.rss_mib())
            time.sleep(0.02)

    def stop(self):
        self.on = False
        self.thread.join()
        return self.most


def fill(sock):
    """Sends until nobody takes any more."""
    sock.setblocking(False)
    block, sent, still = b"u" * (1 << 16), 0, 0
    while still < 20:
        try:
            sent += sock.send(block)
            still = 0
        except BlockingIOError:
            still += 1
            time.sleep(0.01)
        except OSError:
            break
    return sent


def pressure(count, server_bytes, client_bytes):
    """Streams with full windows in both directions that nobody reads; gives figures and what came after."""
    with Lab() as l:
        quiet = ["-stream.idle.max.sec", "3600", "-remux.stream.max.cnt", "4096"]
        server = l.server("-remux.memory.max.bytes", str(server_bytes), "-server.stream.identity.max.cnt", "8192", *quiet[:2],
                          "-remux.stream.max.cnt", "4096")
        client = l.client("-remux.memory.max.bytes", str(client_bytes), "-client.conn.max.cnt", "8192", *quiet[:2])
        echo, down, up = l.listen(lab.echo), l.listen(flood), l.listen(mute)
        sock, _ = socks5(l.socks, "127.0.0.1", echo, early=b"x")
        assert read_exact(sock, 1) == b"x"
        sock.close()
        base = [server.rss_mib(), client.rss_mib()]
        watch = Watch(server, client)
        held, refused = [], 0
        for n in range(count):
            try:
                sock, code = socks5(l.socks, "127.0.0.1", up if n % 2 else down, timeout=5)
            except OSError:
                refused += 1
                continue
            if code:
                refused += 1
                sock.close()
                continue
            held.append(sock)
        fillers = [threading.Thread(target=fill, args=(sock,), daemon=True) for sock in held[1::2]]
        for filler in fillers:
            filler.start()
        for filler in fillers:
            filler.join(60)
        time.sleep(3)
        most = watch.stop()
        stages = {program.name: [e["stage"] for e in program.events(event="memory_short")] for program in (server, client)}
        cut = {program.name: len([e for e in program.events(event="conn_cut") if "memory" in e["cause"]]) for program in (server, client)}
        figures = {"base": base, "most": most, "ceiling": [ceiling_mib(l, server), ceiling_mib(l, client)],
                   "stages": stages, "cut": cut, "refused": refused, "held": len(held)}
        for sock in held:
            sock.close()

        def works():
            with contextlib.suppress(OSError, EOFError):
                sock, code = socks5(l.socks, "127.0.0.1", echo, early=b"again", timeout=2)
                with sock:
                    return code == 0 and read_exact(sock, 5) == b"again"
        until("service is back", works, 60)
        until("memory is free again", lambda: all(
            not p.events(event="memory_short") or p.events(event="memory_free") for p in (server, client)), 60)
        figures["after"] = [server.rss_mib(), client.rss_mib()]
        print("     ", figures)
        assert all(m <= c for m, c in zip(figures["most"], figures["ceiling"])), figures
        return figures


def test_memory_is_short_at_the_server_stages_come_in_order_and_service_comes_back():
    figures = pressure(300, 48 * MIB, 1024 * MIB)
    order = ["no_growth", "no_opens", "no_accept", "shed"]
    stages = figures["stages"]["server"]
    assert stages and stages == [s for s in order if s in stages], figures


def test_memory_is_short_at_the_client_requests_are_refused_and_service_comes_back():
    figures = pressure(300, 1024 * MIB, 48 * MIB)
    assert figures["stages"]["client"] == ["no_growth", "no_opens", "no_accept", "shed"], figures
    assert figures["cut"]["client"] >= 1, figures


def limited(l, which, limit, *flags):
    """One of our programs with so many descriptors, which it can't raise."""
    program = {"server": "tunnels-server", "client": "tunnels-client"}[which]
    if not l.pki.exists():
        l.init()
    common = ["--config", l.pki / f"{which}.yaml", "-server.addr", f"127.0.0.1:{l.port}"]
    own = ["-server.allow", "127.0.0.0/8"] if which == "server" else ["-client.addr", f"127.0.0.1:{l.socks}"]
    shell = ["bash", "-c", f'ulimit -n {limit}; exec "$@"', "bash"]
    return lab.Proc(l, which, [*shell, BIN / program, *common, *own, *flags]).ready()


def talks(sock, word=b"still here"):
    sock.settimeout(10)
    sock.sendall(word)
    return read_exact(sock, len(word)) == word


def cpu_share(program, seconds=3.0):
    before = program.cpu_seconds()
    time.sleep(seconds)
    return (program.cpu_seconds() - before) / seconds


def opens(l, port):
    with contextlib.suppress(OSError, EOFError):
        sock, code = socks5(l.socks, "127.0.0.1", port, early=b"new", timeout=3)
        with sock:
            return code == 0 and read_exact(sock, 3) == b"new"
    return False


#: How streams are carried, and what the server and the client are told for it.
WAYS = {
    "sixteen streams a connection": ([], []),
    "three streams a connection": (["-server.conn.identity.percent", "100"], ["-remux.reuse.max.cnt", "3"]),
    "a connection each": (["-eagersocks.net", "tls"], ["-eagersocks.net", "tls"]),
}


def storm(limit, which, way="sixteen streams a connection"):
    """More applications than there are descriptors for, at the server or at the client, after a reload."""
    with Lab() as l:
        of_server, of_client = WAYS[way]
        server = limited(l, "server", limit, *of_server) if which == "server" else l.server(*of_server)
        client = limited(l, "client", limit, *of_client) if which == "client" else l.client(*of_client)
        tight = server if which == "server" else client
        idle, budget = tight.descriptors(), tight.events(event="resources")[0]["descriptors"]
        tight.kill(signal.SIGHUP)
        until("the reload is over", lambda: tight.events(event="reloaded"))
        echo = l.listen(lab.echo)
        first, _ = socks5(l.socks, "127.0.0.1", echo)
        assert talks(first)
        crowd = []
        for _ in range(limit * 2):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", l.socks))
            crowd.append(sock)
        address = socket.inet_aton("127.0.0.1") + echo.to_bytes(2, "big")
        time.sleep(0.5)
        for sock in crowd:
            with contextlib.suppress(OSError):
                sock.send(b"\x05\x01\x00" + b"\x05\x01\x00\x01" + address + b"x")
        time.sleep(1)
        share, taken = cpu_share(tight), tight.descriptors() - idle
        assert talks(first), "a stream from before goes on"
        told = [e for e in tight.log() if "RES-701" in str(e.get("cause", "")) + str(e.get("msg", ""))]
        for sock in crowd:
            sock.close()
        began = time.monotonic()
        until("service is back", lambda: opens(l, echo), 30)
        back = time.monotonic() - began
        assert talks(first), "and after"
        print(f"      ulimit -n {limit} at the {which}, {way}: {taken} of {budget} taken, {share:.0%} of a core, "
              f"back after {back:.1f} s, {len(told)} lines")
        assert taken <= budget and share <= 0.20 and told, (taken, budget, share, told)
        assert not tight.events(event="accept_failed"), "none is left for what nobody planned"


def test_descriptors_are_few_at_the_server():
    for limit in (64, 128, 256):
        storm(limit, "server")
    storm(256, "server", "three streams a connection")
    storm(256, "server", "a connection each")


def test_descriptors_are_few_at_the_client():
    for limit in (64, 128, 256):
        storm(limit, "client")
    storm(256, "client", "three streams a connection")
    storm(256, "client", "a connection each")


def test_descriptors_run_out_on_a_dial_and_that_stream_alone_is_refused():
    with Lab() as l:
        server, client = l.pair()
        echo = l.listen(lab.echo)
        first, _ = socks5(l.socks, "127.0.0.1", echo)
        assert talks(first)
        pid = server.popen.pid
        was = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (server.descriptors(), was[1]))
        began = time.monotonic()
        for _ in range(8):
            assert not opens(l, echo)
        share = cpu_share(server)
        assert talks(first), "the connection and its other streams go on"
        assert len(client.events(event="conn_close")) == 0, client.events(event="conn_close")
        lines = [e for e in server.log() if e["level"] == "error" and "RES-701" in str(e)]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, was)
        until("service is back", lambda: opens(l, echo), 10)
        refused = [e for e in server.events(event="access") if "out of file descriptors" in str(e.get("error"))]
        print(f"      dials without a descriptor: {len(refused)} refused, {len(lines)} lines, {share:.0%} of a core")
        assert refused and lines and share <= 0.20, (refused, lines, share)
        assert len(lines) <= 2 + (time.monotonic() - began) // 60, lines
