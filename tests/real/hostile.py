#!/usr/bin/env python3
"""Hostile peers against the real programs; see scripts/hostile.

The server stands in a network namespace of its own, so that strangers have addresses that no loopback exemption covers, and
so that every SYN that leaves it can be counted. Where there are no namespaces, strangers come from this machine's own address
(not loopback either, but one address for all), and the rows that need more are printed as missing.

For each attack:
  1. it runs as long as its limit needs, beside a well-behaved user who asks now and then: how were its connections closed,
     what stands in the log, how much did memory grow, was the user served?
  2. rounds in turn against the server and against a plain sink (`hostile sink`), the same attacker at the same pace, beside
     the same user: the ratio of the user's p99. The machine's cores are shared by everybody, so only this ratio says what the
     attack does to the server beyond what it does to the machine.
"""
import argparse
import collections
import contextlib
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import threading
import time

import lab
from lab import BIN, Lab, Proc, until

HOSTILE = BIN / "hostile"
MEMORY_MIB = 32
RATIO = 1.2
"""Lines a second that an attack may put into the log, over its whole time."""
LINES = 100
"""Addresses that strangers come from."""
CROWD = [f"10.77.0.{n}" for n in range(16, 80)]


# How each attack must end: what the attacker sees, and what the log says once for each connection that was closed.
# (attacker's view, log event, its cause) are regular expressions; None: nothing is closed, it is only borne.
Ends = collections.namedtuple("Ends", "seen event cause seconds")


def ends(seen, event="", cause="", seconds=4):
    return Ends(seen, event, cause, seconds)


DEADLINE = ends(r"fin|rst", "handshake_failed|note", r"TLS-140|LIM-60", 13)
REFUSED = ends(r"fin|rst|alert", "handshake_failed|note", r"TLS-1[34]|LIM-60")


def calm(limit, seconds=4):
    return ends(rf"GOAWAY calm: .*{limit}", "limit_reached", limit, seconds)


def broken(what="", seconds=4):
    return ends(rf"GOAWAY (protocol|unknown).*{what}", "limit_reached", what, seconds)


EXPECTED = {
    "silent": DEADLINE, "slow-loris": DEADLINE, "stalled-after-hello": DEADLINE, "stalled-before-finished": DEADLINE,
    "connect-flood": ends(r"fin|rst"), "hello-flood": REFUSED, "garbage": REFUSED, "plain-http": REFUSED,
    "truncated-hello": ends(r"fin|rst"), "fragmented-hello": REFUSED, "no-certificate": REFUSED, "wrong-ca": REFUSED,
    "expired": REFUSED, "server-as-client": REFUSED,
}


class Field(Lab):
    """A place to fight: the server apart, the good client and all attackers here."""
    made = 0

    def __init__(self, namespace=True):
        super().__init__()
        self.name, self.server_ip, self.crowd, self.inside = None, None, [], []
        if namespace and os.geteuid() == 0:
            self._separate()
        if self.name is None:
            self.server_ip = own_address()
        self.good_ip = self.server_ip if self.name else "127.0.0.1"
        hostile("pki", self.pki, "--name", self.good_ip)
        targets = subprocess.Popen([*self.inside, HOSTILE, "destinations", "--ip", "127.0.0.1"], stdout=subprocess.PIPE, text=True)
        self.closers.append(targets.kill)
        self.echo, self.deaf, self.endless = (targets.stdout.readline().split()[1] for _ in range(3))
        sink = subprocess.Popen([*self.inside, HOSTILE, "sink", "--listen", f"{self.server_ip or '127.0.0.1'}:0", "--pki", self.pki],
                                stdout=subprocess.PIPE, text=True)
        self.closers.append(sink.kill)
        self.sink = sink.stdout.readline().split()[1]

    def _separate(self):
        Field.made += 1
        name = f"tls{os.getpid() % 10000}x{Field.made % 1000}"
        etc = pathlib.Path("/etc/netns") / name
        etc.mkdir(parents=True, exist_ok=True)
        (etc / "hosts").write_text("127.0.0.1 localhost\n::1 localhost ip6-localhost\n" +
                                   "".join(f"{ip} {host}\n" for host, ip in NAMES.items()))
        (etc / "nsswitch.conf").write_text("hosts: files\n")
        (etc / "resolv.conf").write_text("")
        batch = [f"link add {name} type veth peer name peer netns {name}",
                 f"addr add 10.77.0.1/24 dev {name}", f"link set {name} up"]
        batch += [f"addr add {ip}/24 dev {name}" for ip in CROWD]
        inner = ["link set lo up", "addr add 10.77.0.254/24 dev peer", "link set peer up", "route add default via 10.77.0.1",
                 "addr add fd77::254/64 dev peer nodad", "route add ::/0 dev peer"]
        done = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
        self.closers.append(lambda: (subprocess.run(["ip", "netns", "del", name], capture_output=True),
                                     [file.unlink() for file in etc.iterdir()], etc.rmdir()))
        done = done and subprocess.run(["ip", "-batch", "-"], input="\n".join(batch), text=True, capture_output=True).returncode == 0
        done = done and subprocess.run(["ip", "-n", name, "-batch", "-"], input="\n".join(inner), text=True, capture_output=True).returncode == 0
        if done:
            self.name, self.server_ip, self.crowd = name, "10.77.0.254", CROWD
            self.inside = ["ip", "netns", "exec", name]

    def start_server(self, *flags):
        self.port = lab.free_port()
        argv = [*self.inside, BIN / "tunnels-server", "-server.addr", f"0.0.0.0:{self.port}", "-tls.server.cert", self.pki / "server.crt",
                "-tls.server.key", self.pki / "server.key", "-tls.client.ca", self.pki / "ca.crt", "-server.allow", "127.0.0.0/8", *flags]
        return Proc(self, "server", argv, level="info").ready()

    def start_client(self, *flags, servers=None):
        servers = servers or f"{self.good_ip}:{self.port}"
        argv = [BIN / "tunnels-client", "-server.addr", servers, "-client.addr", f"127.0.0.1:{self.socks}",
                "-tls.client.cert", self.pki / "good.crt", "-tls.client.key", self.pki / "good.key", "-tls.server.ca", self.pki / "ca.crt",
                *flags]
        return Proc(self, "client", argv, level="info").ready()

    def attack(self, name, seconds, to=None, crowd=False, lanes=None):
        source = ["--from", ",".join(self.crowd if crowd else self.crowd[:1])] if self.crowd else []
        more = ["--lanes", str(lanes)] if lanes else []
        return subprocess.Popen([HOSTILE, "attack", name, "--to", to or f"{self.server_ip}:{self.port}", "--pki", self.pki,
                                 "--echo", self.echo, "--deaf", self.deaf, "--endless", self.endless, "--for", str(seconds), *source, *more],
                                stdout=subprocess.PIPE, text=True)

    def probe(self, seconds, every):
        return subprocess.Popen([HOSTILE, "probe", "--socks", f"127.0.0.1:{self.socks}", "--to", self.echo, "--every", str(every),
                                 "--for", str(seconds)], stdout=subprocess.PIPE, text=True)

    def active_opens(self):
        """Connections that anything in the server's namespace has tried to open."""
        text = subprocess.run([*self.inside, "cat", "/proc/net/snmp"], capture_output=True, text=True).stdout
        names, values = [line.split() for line in text.splitlines() if line.startswith("Tcp:")]
        return int(values[names.index("ActiveOpens")])


def own_address():
    """An address of this machine that is not loopback; None where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        ip = probe.getsockname()[0]
        return None if ip.startswith("127.") else ip


def hostile(*argv):
    done = subprocess.run([str(a) for a in (HOSTILE, *argv)], capture_output=True, text=True)
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout


def result(process, limit=120):
    out, _ = process.communicate(timeout=limit)
    assert process.returncode == 0, process.args
    return json.loads(out)


def p99(samples):
    samples = sorted(samples)
    return samples[min(len(samples) - 1, int(len(samples) * 0.99))]


class Watch:
    """The largest memory of a process while something goes on."""

    def __init__(self, proc):
        self.proc, self.most, self.on = proc, proc.rss_mib(), True
        self.thread = threading.Thread(target=self._look)
        self.thread.start()

    def _look(self):
        while self.on:
            self.most = max(self.most, self.proc.rss_mib())
            time.sleep(0.03)

    def stop(self):
        self.on = False
        self.thread.join()
        return self.most
