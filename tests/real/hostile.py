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
import signal
import socket
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
NET = f"10.77.{os.getpid() % 250}"
CROWD = [f"{NET}.{n}" for n in range(16, 80)]


# How each attack must end: what the attacker sees, and what the log says of it. Regular expressions over the attacker's ends and
# over event and text of the log's lines; `seen` None: nothing is closed, it is borne within its limits.
Ends = collections.namedtuple("Ends", "limit seen logged seconds crowd")


def ends(limit, seen, logged, seconds=4, crowd=False):
    return Ends(limit, seen, logged, seconds, crowd)


def calm(limit, seconds=4):
    return ends(f"GOAWAY calm, {limit}", rf"GOAWAY calm: .*{limit}", rf"conn_cut .*evil.*limit on {limit}", seconds)


def broken(what, seconds=4):
    return ends(f"GOAWAY, {what}", rf"GOAWAY (protocol|unknown_critical): .*({what})", rf"conn_cut .*evil.*({what})", seconds)


def classic(limit, seconds=4):
    return ends(f"closed, {limit}", r"fin|rst", rf"conn_cut .*evil.*limit on {limit}", seconds)


def refused(code, limit="alert, then penalties: RST"):
    return ends(limit, r"alert|rst|fin", rf"handshake_failed .*{code}|note LIM-601")


SLOW = ends("handshake deadline, half of the room", r"fin|rst", r"handshake_failed .*TLS-140|note LIM-601", 13)
CROWDED = ends("makes room after 500 ms; deadline", r"fin|rst", r"handshake_failed .*TLS-14[06]|note LIM-601", 13, crowd=True)
BORNE = ends("borne", None, None)

EXPECTED = {
    "silent": SLOW, "slow-loris": SLOW, "stalled-after-hello": SLOW, "stalled-before-finished": SLOW,
    "silent@crowd": CROWDED, "stalled-after-hello@crowd": CROWDED,
    "connect-flood": ends("nothing was asked", r"fin|rst", r"handshake_failed .*TLS-141"),
    "hello-flood": refused("TLS-141", "penalties: RST"), "garbage": refused("TLS-142"), "plain-http": refused("TLS-142"),
    "truncated-hello": ends("closed", r"fin|rst", r"handshake_failed .*TLS-14[12]"),
    "fragmented-hello": ends("handshake deadline", r"fin|rst|alert", r"handshake_failed .*TLS-1", 13),
    "no-certificate": refused("TLS-130"), "wrong-ca": refused("TLS-131"), "expired": refused("TLS-132"),
    "server-as-client": refused("TLS-134"),
    "no-settings": ends("no SETTINGS in 5 s", r"GOAWAY protocol|fin", r"conn_cut .*evil.*no settings", 8),
    "before-settings": broken("first frame is not SETTINGS"),
    "idle-connections": ends("connections of one identity", r"fin|rst", r"limit_reached .*evil.*connections already"),
    "stream-flood": calm("refusals"), "rapid-reset": calm("resets"), "slow-rapid-reset": BORNE, "provoked-resets": calm("resets"),
    "data-beyond-credit": calm("resets"), "credit-overflow": calm("resets"), "credit-unsent": calm("resets"),
    "credit-taken-back": calm("resets"), "credit-unchanged": calm("credits"), "credit-crumbs": calm("credits"), "tiny-frames": calm("tiny"),
    "empty-data": broken("DATA is empty"), "ping-flood": calm("pings"), "settings-flood": calm("settings"),
    "pad-flood": calm("padding"), "unknown-flood": calm("strays"), "priority-flood": calm("strays"), "stray-flood": calm("strays"),
    "goaway-flood": calm("strays"), "oversize": broken("longer than the settings"),
    "out-of-state": broken("can't be opened|never opened|datagram|reserved|critical|malformed|names the connection"),
    "unread-streams": BORNE,
    "never-read": ends("answers no PING", r".*", r"conn_(cut|close) .*evil.*(no progress|transport failed|no sign of life)", 36),
    "never-read-pings": ends("takes no byte for 30 s", r".*", r"conn_(cut|close) .*evil.*(no progress|transport failed|no sign of life)", 36),
    "dial-denied": ends("refused, nothing dialled", None, r"acl_denied .*evil"), "dial-refused": BORNE,
    "dial-nowhere": BORNE,
    "open-and-finish": BORNE,
    "session-flood": classic("refusals"), "session-ends": classic("resets"), "session-tiny": classic("tiny"),
    "session-unread": BORNE, "session-never-read": ends("takes no byte for 30 s", r".*", r"conn_(cut|close) .*evil.*(no progress|transport failed|no sign of life)", 36),
    "session-half-request": BORNE, "session-bad-request": classic("resets"),
    "eager-denied": ends("refused, nothing dialled", r"fin|rst", r"acl_denied .*evil"),
    "eager-half-request": ends("request deadline", r"fin|rst", r"request_refused .*evil", 13),
    "eager-bad-request": ends("closed", r"fin|rst", r"request_refused .*evil"),
    "eager-never-read": BORNE, "eager-unread": BORNE,
}

# What becomes of a client whose server has turned on it, and what its log says of that server. Each is given up for the next.
TURNS = {
    "refuses-tcp-politely": "dial_failed|server_down", "rst-storm": "dial_failed|server_down", "tls-silence": "dial_failed|server_down",
    "tls-garbage": "dial_failed|server_down", "mute": "dial_failed|server_down|conn_cut", "never-answers": "conn_close .*no sign of life",
    "pings-only": "", "reset-all": "", "refuse-all": "", "goaway-loop": "", "opens-streams": "conn_cut", "ping-flood": "conn_cut .*pings",
    "settings-flood": "conn_cut .*settings", "settings-lies": "conn_cut .*window", "pad-flood": "conn_cut .*padding",
    "stray-flood": "conn_cut .*strays", "credit-overflow": "", "credit-taken-back": "", "opened-lies": "conn_cut .*strays",
    "endless-text": "conn_cut .*RST is malformed", "oversize": "conn_cut .*longer", "data-beyond-credit": "conn_cut .*(resets|strays)|conn_close",
    "data-unopened": "conn_cut .*never opened", "tiny-frames": "conn_cut .*tiny", "allows-nothing": "",
}

# These keep to the protocol, or break it for one stream at a time, and answer nothing: no client can tell them from a server whose
# destinations are like that. It stays with them, small and answering.
STAYS = ("pings-only", "reset-all", "refuse-all", "credit-overflow", "credit-taken-back", "allows-nothing")

# Names that the server's resolver sends to closed addresses.
NAMES = {f"closed-{n}.test": ip for n, ip in enumerate((
    "10.1.2.3", "100.64.0.1", "127.0.0.1", "168.63.129.16", "169.254.169.254", "172.16.0.1", "192.0.0.1", "192.168.0.1", "198.18.0.1",
    "224.0.0.1", "0.0.0.0", "::1", "fd00:ec2::254", "fe80::1", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "2002:a01:203::1", "ff02::1",
    f"{NET}.254"))}


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
        self.echo, self.deaf, self.endless, self.nowhere = (targets.stdout.readline().split()[1] for _ in range(4))
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
                 f"addr add {NET}.1/24 dev {name}", f"link set {name} up"]
        batch += [f"addr add {ip}/24 dev {name}" for ip in CROWD]
        inner = ["link set lo up", f"addr add {NET}.254/24 dev peer", "link set peer up", f"route add default via {NET}.1",
                 "addr add fd77::254/64 dev peer nodad", "route add ::/0 dev peer"]
        done = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
        self.closers.append(lambda: (subprocess.run(["ip", "netns", "del", name], capture_output=True),
                                     [file.unlink() for file in etc.iterdir()], etc.rmdir()))
        done = done and subprocess.run(["ip", "-batch", "-"], input="\n".join(batch), text=True, capture_output=True).returncode == 0
        done = done and subprocess.run(["ip", "-n", name, "-batch", "-"], input="\n".join(inner), text=True, capture_output=True).returncode == 0
        if done:
            self.name, self.server_ip, self.crowd = name, f"{NET}.254", CROWD
            self.inside = ["ip", "netns", "exec", name]

    def start_server(self, *flags, allow=("-server.allow", "127.0.0.0/8")):
        flags = (*allow, *flags)
        self.port = lab.free_port()
        argv = [*self.inside, BIN / "tunnels-server", "-server.addr", f"0.0.0.0:{self.port}", "-tls.server.cert", self.pki / "server.crt",
                "-tls.server.key", self.pki / "server.key", "-tls.client.ca", self.pki / "ca.crt", *flags]
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
                                 "--echo", self.echo, "--deaf", self.deaf, "--endless", self.endless, "--nowhere", self.nowhere, "--for", str(seconds), *source, *more],
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


def named(attack):
    """The attack's name, whether it comes from a crowd, and the settings both ends need for it."""
    name, _, place = attack.partition("@")
    flags = ["-eagersocks.net", "tls"] if name.startswith("eager-") else []
    return name, place == "crowd", flags


def story(event):
    """A line of the log as one text, its event first."""
    rest = " ".join(str(event[key]) for key in ("identity", "remote", "source", "what", "rule", "cause", "msg") if key in event)
    return f"{event['event']} {rest}"


Row = collections.namedtuple("Row", "attack limit closed event lines mib cpu ratio ok why", defaults=("", "", True, ""))


def meet(field, attack, smoke=False, hurry=()):
    """The attack, as long as its limit needs, beside a user who asks five times a second."""
    expected = EXPECTED[attack]
    name, crowd, flags = named(attack)
    if crowd and not field.crowd:
        return Row(attack, expected.limit, "missing: needs namespaces", "", "", "", ok=None)
    server = field.start_server(*flags, *hurry)
    client = field.start_client(*flags)
    result(field.probe(0.5, 20))
    base, before, began, cpu = server.rss_mib(), len(server.log()), time.monotonic(), server.cpu_seconds()
    seconds = (2 if expected.seconds <= 4 else 4) if smoke else expected.seconds
    watch = Watch(server)
    run, user = field.attack(name, seconds, crowd=crowd), field.probe(seconds, 200)
    tally, asked = result(run), result(user)
    took = time.monotonic() - began
    most, cpu = watch.stop(), server.cpu_seconds() - cpu
    if name != "eager-unread":  # its bytes may wait 240 s for their destination
        until("the attacker's connections are gone", lambda: evil_connections(server) == 0, 45)
    after = server.rss_mib()
    log = server.log()[before:]
    user_lines = 3 * len(asked["ms"])
    lines = max(0, len(log) - user_lines) / took
    stories = [story(event) for event in log]
    told = [text for text in stories if expected.logged and re.search(expected.logged, text)]
    closed = {how: count for how, count in tally["ends"].items() if how != "still open at the end"}
    faults = []
    if expected.seen is not None and not closed and "conn_" not in expected.logged:
        faults.append("nothing was closed")
    faults += [f"closed by {how}" for how in closed if expected.seen is not None and not re.match(f"({expected.seen})", how)
               and not re.match("fin|rst|alert", how)]
    if expected.seen is not None and expected.seen.startswith("GOAWAY") and not any(re.match(expected.seen, how) for how in closed):
        faults.append(f"never closed by its limit: {closed}")
    if expected.logged and not told:
        faults.append(f"no event like {expected.logged}")
    cut = [event["connection_id"] for event in log if event["event"] == "conn_cut"]
    if len(cut) != len(set(cut)):
        faults.append("a connection has two events")
    if any(event["event"] == "conn_cut" and event.get("identity") != "evil" for event in log):
        faults.append("somebody else was cut")
    if max(most, after) - base >= MEMORY_MIB:
        faults.append(f"memory +{max(most, after) - base:.0f} MiB")
    if asked["failed"]:
        faults.append(f"{asked['failed']} of the user's {len(asked['ms'])} requests failed")
    if server.popen.poll() is not None or any(event["event"] == "task_panicked" for event in log):
        faults.append("the server died or panicked")
    # After three of the first kind an identity is kept out for a while: those are refused, not closed by the limit.
    fitting = {how: count for how, count in closed.items() if expected.seen and expected.seen.startswith("GOAWAY")
               and re.match(expected.seen, how)} or closed
    top = max(fitting, key=fitting.get) if fitting else "-"
    shown = f"{top[:60]} ({fitting.get(top, 0)})" + (f", kept out ({sum(closed.values()) - sum(fitting.values())})"
                                                     if len(fitting) < len(closed) else "")
    client.kill()
    server.kill()
    return Row(attack, expected.limit, shown, told[0].split()[0] if told else "-", f"{lines:.0f}",
               f"{most - base:.1f} / {after - base:.1f}", f"{100 * cpu / took:.0f} %", ok=not faults, why="; ".join(faults))


def evil_connections(server):
    """Connections of the attacker that the log has not closed yet."""
    events = server.log()
    opened = {event["connection_id"] for event in events if event["event"] == "conn_open" and event.get("identity") == "evil"}
    return len(opened - {event["connection_id"] for event in events if event["event"] == "conn_close"})


def compare(field, attack, rounds, seconds):
    """The user's p99 beside the attack on the server, and beside the same attack on the sink."""
    name, crowd, flags = named(attack)
    field.start_server(*flags)
    field.start_client(*flags)
    result(field.probe(0.5, 20))
    places = {f"{field.server_ip}:{field.port}": [], field.sink: []}
    for _ in range(rounds):
        for place, samples in places.items():
            run = field.attack(name, seconds + 0.5, to=place, crowd=crowd)
            time.sleep(0.4)
            samples += result(field.probe(seconds, 5))["ms"]
            result(run)
    ours, sink = (p99(samples) for samples in places.values())
    return ours, sink, len(next(iter(places.values())))


def turned(field, turn, seconds=16):
    """A client whose first server has turned on it: it stays small, answers, and is served by the second one in the end."""
    field.start_server()
    evil_port = lab.free_port()
    evil = subprocess.Popen([HOSTILE, "server", turn, "--listen", f"127.0.0.1:{evil_port}", "--pki", field.pki, "--echo", field.echo,
                             "--for", str(seconds + 5)], stdout=subprocess.PIPE, text=True)
    field.closers.append(evil.kill)
    evil.stdout.readline()
    client = field.start_client("-tls.server.name", field.good_ip,
                                servers=f"127.0.0.1:{evil_port},{field.good_ip}:{field.port}")
    base, watch = client.rss_mib(), Watch(client)
    asked = result(field.probe(seconds, 100))
    most = watch.stop()
    log = [story(event) for event in client.log()]
    told = [text for text in log if TURNS[turn] and re.search(TURNS[turn], text)]
    faults = []
    if most - base >= MEMORY_MIB:
        faults.append(f"memory +{most - base:.0f} MiB")
    if TURNS[turn] and not told:
        faults.append(f"no event like {TURNS[turn]}")
    if asked["failed_late"] and turn not in STAYS:
        faults.append(f"{asked['failed_late']} requests failed in the second half")
    if asked["unanswered"]:
        faults.append(f"the SOCKS port left {asked['unanswered']} unanswered")
    if client.popen.poll() is not None or any("task_panicked" in text for text in log):
        faults.append("the client died or panicked")
    lines = max(0, len(log) - 3 * len(asked["ms"])) / seconds
    return Row(f"server:{turn}", "stays: it keeps to the protocol" if turn in STAYS else "goes on with the next server", f"{asked['failed']} of {len(asked['ms'])} requests failed",
               told[0].split()[0] if told else "-", f"{lines:.0f}", f"{most - base:.1f}", ok=not faults, why="; ".join(faults))


def matrix(field, rounds):
    """Every closed destination in every form, on the first and the thousandth stream, before and after a reload. SYNs are counted."""
    config = field.dir / "server.yaml"
    config.write_text(f"server:\n  addr: 0.0.0.0:0\ntls:\n  server: {{cert: {field.pki}/server.crt, key: {field.pki}/server.key}}\n"
                      f"  client: {{ca: {field.pki}/ca.crt}}\n")
    config.chmod(0o600)
    server = field.start_server("--config", config, allow=())
    names = ",".join(NAMES) if field.name else "localhost"
    ask = lambda: json.loads(hostile("matrix", "--to", f"{field.server_ip}:{field.port}", "--pki", field.pki, "--own", field.server_ip,  # noqa: E731
                                     "--names", names, "--rounds", str(rounds), "--for", "300",
                                     *(["--from", field.crowd[0]] if field.crowd else [])))
    before = field.active_opens()
    answers = ask()
    server.kill(signal.SIGHUP)
    until("the grants are read anew", lambda: server.events(event="reloaded"))
    again = ask()
    opens = field.active_opens() - before
    faults = answers["not_denied"] + again["not_denied"]
    if field.name and opens:
        faults.append(f"{opens} connections were tried")
    elif field.name:
        # The counter counts: an open destination is dialled.
        server.kill()
        server.popen.wait()
        field.start_server()
        field.start_client()
        result(field.probe(0.3, 50))
        if field.active_opens() == before:
            faults.append("the counter of connections counts nothing")
    count = f"{opens} SYNs" if field.name else "SYNs: missing, needs namespaces"
    return Row("closed destinations", f"{answers['forms']} forms, {answers['streams'] + again['streams']} streams",
               ", ".join(f"{code} {n}" for code, n in sorted(answers["answers"].items())), count, "", "", ok=not faults, why="; ".join(faults[:5]))


def table(rows):
    """As the page shows it."""
    print("| attack | limit | closed by (how often) | event | lines/s | memory, MiB: most / after | CPU of a core | p99 beside server / sink | |")
    print("|---" * 9 + "|")
    for row in rows:
        print("|", " | ".join([*(str(cell).replace("|", "/") or "–" for cell in row[:8]),
                               {True: "ok", False: f"FAILED: {row.why}", None: ""}[row.ok]]), "|")


# Settings that bring the long limits into a smoke run.
HURRY = ("-remux.handshake.max.sec", "2", "-remux.stall.max.sec", "2", "-remux.settings.max.sec", "1")
SMOKE = ("silent", "stalled-before-finished", "silent@crowd", "garbage", "wrong-ca", "no-settings", "stream-flood",
         "rapid-reset", "tiny-frames", "ping-flood", "oversize", "out-of-state", "unread-streams", "never-read-pings", "dial-denied",
         "session-flood", "eager-half-request")
SMOKE_TURNS = ("server:rst-storm", "server:ping-flood", "server:endless-text")


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("attacks", nargs="*", help="some of them; hostile list names them all")
    words.add_argument("--smoke", action="store_true", help="a selection, with short limits and without the comparison of p99")
    words.add_argument("--rounds", type=int, default=4, help="rounds of the comparison; 0: none")
    words.add_argument("--seconds", type=float, default=3, help="of a round")
    options = words.parse_args()
    rounds = 0 if options.smoke else options.rounds
    chosen = options.attacks or ([*SMOKE, *SMOKE_TURNS, "matrix"] if options.smoke else [*EXPECTED, *(f"server:{turn}" for turn in TURNS), "matrix"])
    rows = []
    for attack in chosen:
        with Field() as field:
            if field.server_ip is None and not attack.startswith("server:"):
                rows.append(Row(attack, "", "missing: this machine has only loopback addresses", "", "", "", ok=None))
                continue
            if attack == "matrix":
                rows.append(matrix(field, 1 if options.smoke else 2))
            elif attack.startswith("server:"):
                rows.append(turned(field, attack.removeprefix("server:"), 6 if options.smoke else 16))
            else:
                hurry = HURRY if options.smoke and EXPECTED[attack].seconds > 4 else ()
                row = meet(field, attack, options.smoke, hurry)
                if rounds and row.ok is not None:
                    ours, sink, count = compare(field, attack, rounds, options.seconds)
                    why = "; ".join(filter(None, (row.why, "" if ours <= RATIO * sink else f"p99 {ours / sink:.2f} times")))
                    row = row._replace(ratio=f"{ours / sink:.2f} ({ours:.1f} / {sink:.1f} ms, {count})", ok=not why, why=why)
                rows.append(row)
        print(f"{rows[-1].attack}: {rows[-1].why or 'ok'}", file=sys.stderr, flush=True)
    table(rows)
    return 1 if any(row.ok is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
