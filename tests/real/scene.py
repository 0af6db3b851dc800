"""A scene for a fault: client and server, what stands between them, who asks, and who judges.

    here:   client ──▶ faultbox ──▶ server ──▶ echo, sink           no root
    apart:  client [namespace a] ══ linkem ══ [namespace b] server    real kernels, real loss; root and LINKEM
"""
import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time

import lab
from lab import BIN, Lab, Proc, until

HERE = pathlib.Path(lab.__file__).resolve().parent
ALIVE = 1.0  # an answer in more than this is no sign of a working path


class Missing(Exception):
    """What this machine lacks for a row."""


class Box:
    """A fault relay in front of the server."""

    def __init__(self, scene, to, kind="tcp", seed=1):
        self.path = scene.dir / f"box-{time.monotonic_ns()}"
        argv = [BIN / "faultbox", kind, "--listen", "127.0.0.1:0", "--to", to, "--seed", str(seed), "--control", self.path]
        self.popen = subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE, text=True)
        scene.closers.append(self.popen.kill)
        self.port = int(self.popen.stdout.readline().split()[1].rsplit(":", 1)[1])
        self.control = socket.socket(socket.AF_UNIX)
        until("the fault relay takes commands", self.connect)

    def connect(self):
        with contextlib.suppress(OSError):
            self.control.connect(str(self.path))
            self.lines = self.control.makefile("rw")
            return True

    def say(self, *commands):
        for command in commands:
            self.lines.write(command + "\n")
            self.lines.flush()
            answer = self.lines.readline().strip()
            assert answer.startswith("ok"), (command, answer)
        return time.monotonic()


class Link:
    """Two namespaces and an emulated link between them."""

    def __init__(self, *parameters):
        binary = os.environ.get("LINKEM")
        if not binary or not shutil.which(binary):
            raise Missing("needs the link emulator that LINKEM names")
        if os.geteuid() != 0 or not shutil.which("ip"):
            raise Missing("needs root and iproute2, for network namespaces")
        self.binary = binary
        began = subprocess.run([binary, "start", "--detach", *parameters], capture_output=True, text=True)
        if began.returncode:
            raise Missing(f"the link emulator does not start here: {began.stderr.strip()[:100]}")
        self.env = dict(line.removeprefix("export ").split("=", 1) for line in began.stdout.replace(";", "\n").split("\n")
                        if "=" in line)
        self.env = {key.strip(): value.strip().strip("'\"") for key, value in self.env.items()}
        self.prefix = self.env["LINKEM_PREFIX"]

    def at(self, side):
        return ["ip", "netns", "exec", self.env[f"LINKEM_{side.upper()}"]]

    def do(self, *words):
        subprocess.run([self.binary, *words], check=True, capture_output=True, env={**os.environ, **self.env})
        return time.monotonic()

    def close(self):
        subprocess.run([self.binary, "stop"], capture_output=True, env={**os.environ, **self.env})


class Caller:
    """Asks for new streams all the time; see caller.py."""

    def __init__(self, scene, port, every=0.1, host="127.0.0.1", socks=None):
        argv = scene.at("a") + [sys.executable, HERE / "caller.py", socks or scene.socks, host, port, every]
        self.popen = subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE, text=True)
        self.calls = []
        scene.closers.append(self.popen.kill)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.popen.stdout:
            asked, answered, how = line.split(" ", 2)
            self.calls.append((float(asked), float(answered), how.strip()))

    def works(self):
        """Waits until asks are answered at once."""
        def three():
            last = sorted(self.calls)[-3:]
            return len(last) == 3 and all(how == "ok" and end - begin < ALIVE for begin, end, how in last)
        until("new streams work", three)

    def recovery(self, since, watch=4.0):
        """How long after `since` every new stream works: the first answer, and the last ask that got none within 1 s."""
        until("asks were answered after the fault", lambda: any(asked > since + watch for asked, *_ in self.calls), watch + 30)
        time.sleep(0.3)
        asks = [call for call in self.calls if call[0] >= since]
        first = min((end for _, end, how in asks if how == "ok"), default=None)
        assert first is not None, "nothing was answered after the fault"
        late = [asked for asked, end, how in asks if how != "ok" or end - asked > ALIVE]
        return max([first - since] + [asked - since for asked in late])

    def lost(self, since, until_):
        """Asks of that time, and how many of them failed."""
        asks = [call for call in self.calls if since <= call[0] < until_]
        return len(asks), sum(how != "ok" for _, _, how in asks)

    def stop(self):
        self.popen.kill()


class Judge:
    """Flows whose every byte describes itself, from a generator through the tunnel to a sink."""

    def __init__(self, scene, mix="mixed", seed=7, flows=64, at_once=64, **more):
        self.scene, self.seed = scene, seed
        flows = 100_000 if "for_" in more else flows
        self.number = len(scene.judges)
        scene.judges.append(self)
        port = lab.free_port()
        self.received, self.sent = (scene.dir / f"{name}-{self.number}" for name in ("received", "sent"))
        self.sink = self.spawn("b", "sink", "--listen", f"127.0.0.1:{port}", "--seed", seed, "--ledger", self.received)
        self.sink.stdout.readline()
        flags = [str(part) for key, value in more.items() for part in (f"--{key.rstrip('_').replace('_', '-')}", value)]
        self.generator = self.spawn("a", "generate", "--socks", f"127.0.0.1:{scene.socks}", "--to", f"127.0.0.1:{port}",
                                    "--seed", seed, "--flows", flows, "--at-once", at_once, "--mix", mix,
                                    "--ledger", self.sent, *flags)

    def spawn(self, side, *words):
        argv = [str(part) for part in (*self.scene.at(side), BIN / "judge", *words)]
        popen = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.scene.closers.append(popen.kill)
        return popen

    def verdict(self, faulted=True, limit=120):
        """Waits for the last flow; returns what the judge says, in short. Broken predicates are an AssertionError."""
        self.generator.communicate(timeout=limit)
        argv = [BIN / "judge", "verdict", "--sent", self.sent, "--received", self.received]
        told = lab.run(*argv, *(["--faulted"] if faulted else []), "--wait", "30")
        self.sink.terminate()
        text = told.stdout.decode()
        assert told.returncode == 0, text[-2000:] + told.stderr.decode()
        counts = dict(part.split("=") for part in text.strip().splitlines()[-1].split() if "=" in part)
        return f"{counts['flows']} flows judged, {counts['complete']} complete, none broken"


class Scene(Lab):
    def __init__(self, link=None):
        super().__init__()
        self.link, self.judges, self.the_box = link, [], None
        if link:
            self.closers.append(link.close)
        self.host = link.env["LINKEM_B_ADDR"] if link else "127.0.0.1"

    def __exit__(self, kind, value, trace):
        self.closers.reverse()  # the link goes last
        super().__exit__(kind, value, trace)

    def at(self, side):
        return self.link.at(side) if self.link else []

    @property
    def box(self):
        if self.the_box is None:
            self.the_box = Box(self, f"127.0.0.1:{self.port}")
        return self.the_box

    def server(self, *flags, wait=True, port=None, env=None, before=()):
        if not self.pki.exists():
            self.init(self.host)
        argv = [*self.at("b"), *before, BIN / "tunnels-server", "--config", self.pki / "server.yaml", "-server.addr",
                f"{self.host}:{port or self.port}", "-server.allow", "127.0.0.0/8", *flags]
        proc = Proc(self, "server", argv, env)
        return proc.ready() if wait else proc

    def client(self, *flags, wait=True, to=None, env=None, before=(), socks=None):
        to = to or (f"{self.host}:{self.port}" if self.link else f"127.0.0.1:{self.box.port}")
        argv = [*self.at("a"), *before, BIN / "tunnels-client", "--config", self.pki / "client.yaml", "-server.addr", to,
                "-client.addr", f"127.0.0.1:{socks or self.socks}", *flags]
        proc = Proc(self, "client", argv, env)
        return proc.ready() if wait else proc

    def pair(self, *flags):
        return self.server(*flags), self.client(*flags)

    def destination(self, what="echo"):
        """In a process of its own, beside the server."""
        argv = [*self.at("b"), sys.executable, HERE / "lab.py", what]
        proc = subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE)
        self.closers.append(proc.kill)
        return int(proc.stdout.readline())

    def dark(self, which=""):
        """The path goes: nothing passes, nothing is answered, nothing is closed."""
        if self.link:
            return self.link.do("set", {"": "loss=100%", "up": "ab.loss=100%", "down": "ba.loss=100%"}[which])
        return self.box.say(f"blackhole {which}".strip())

    def light(self):
        if self.link:
            return self.link.do("set", "loss=0")
        return self.box.say("heal")


def closed(proc):
    return {e["connection_id"] for e in proc.events(event="conn_close")}


def opened(proc):
    return {e["connection_id"] for e in proc.events(event="conn_open")}


def no_request_to_the_dead(proc):
    """No stream was opened on a connection between its suspicion and its first answer, or after its end."""
    dead, count = {}, 0
    for number, event in enumerate(proc.log()):
        name, connection = event.get("event"), event.get("connection_id")
        if name in ("conn_suspect", "conn_close"):
            dead[connection] = (number, event)
        elif name == "conn_alive":
            dead.pop(connection, None)
        elif name == "sess_open":
            count += 1
            assert connection not in dead, f"a stream on a dead connection: {dead[connection]}, {event}"
    return count
