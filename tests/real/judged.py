"""Puts the judge's generator and sink around a running pair; see tests/judge."""
import subprocess

from lab import BIN, free_port, until

JUDGE = BIN / "judge"


class Judged:
    """One judged run in a Lab: a sink, any number of generators, one verdict."""

    def __init__(self, lab, seed=1, patience=60, name="judged"):
        self.lab, self.seed, self.patience = lab, seed, patience
        self.sent, self.received = lab.dir / f"{name}-sent.ledger", lab.dir / f"{name}-received.ledger"
        self.baseline = lab.dir / f"{name}-baseline.json"
        self.port, self.first = free_port(), 0
        self.sink = self._start("sink", "--listen", f"127.0.0.1:{self.port}", "--ledger", self.received)
        until("the sink listens", lambda: self.sink.stdout.readline().startswith("sink: ready"))

    def generate(self, socks=None, **flags):
        """Starts a generator; `flags` are its flags, `at_once=5` for `--at-once 5`. Flow numbers go on by themselves."""
        first, self.first = self.first, self.first + flags.get("flows", 100_000)
        words = [word for name, value in flags.items() for word in ("--" + name.replace("_", "-"), value)]
        return self._start("generate", "--socks", f"127.0.0.1:{socks or self.lab.socks}", "--to", f"127.0.0.1:{self.port}",
                           "--ledger", self.sent, "--first", first, *words)

    def traffic(self, limit=600, **flags):
        """The same to its end; returns the generator's last line."""
        out, _ = self.generate(**flags).communicate(timeout=limit)
        return out.strip().splitlines()[-1]

    def verdict(self, faulted=False, wait=10):
        """(good, what the judge says)."""
        words = ["--faulted"] if faulted else []
        done = subprocess.run([JUDGE, "verdict", "--sent", self.sent, "--received", self.received, "--wait", str(wait), *words],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode == 0, done.stdout.strip()

    def settle(self, *procs, within=90, memory=False):
        """The first call notes what the programs hold; later ones wait until they are back at it: (good, lines)."""
        words = [word for proc in procs for word in ("--pid", str(proc.popen.pid))] + ([] if memory else ["--descriptors"])
        done = subprocess.run([JUDGE, "settle", "--baseline", self.baseline, "--within", str(within), *words],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode == 0, done.stdout.strip()

    def stop(self):
        """Stops the sink: flows that are open now are written as such."""
        self.sink.terminate()
        self.sink.communicate(timeout=30)

    def _start(self, command, *words):
        argv = [JUDGE, command, "--seed", self.seed, "--patience", self.patience, *words]
        proc = subprocess.Popen([str(word) for word in argv], stdout=subprocess.PIPE, text=True)
        self.lab.closers.append(lambda: proc.poll() is None and proc.kill())
        return proc
