"""Names that get no answer: whom they keep waiting, and a stop meanwhile."""
import os
import pathlib
import signal
import subprocess
import sys
import time

import lab
from lab import BIN, Lab, Proc, free_port, read_exact, socks5, until
from cases_identities import Papers

HERE = pathlib.Path(lab.__file__).resolve().parent
RESOLVER = "127.7.7.7"
SHARE = 32  # look-ups of one identity


class Place(Lab):
    """A server whose name service says nothing about silent.*, for two and a half minutes each, and clients of two identities."""

    def __enter__(self):
        names = subprocess.Popen([sys.executable, HERE / "names.py", RESOLVER], stdout=subprocess.PIPE)
        self.closers.append(names.kill)
        assert names.stdout.readline() == b"ready\n"
        self.made = Papers(self.dir / "papers").issue("server", "serverAuth", "IP:127.0.0.1").issue("mallory").issue("alice")
        conf = self.dir / "resolv.conf"
        conf.write_text(f"nameserver {RESOLVER}\noptions timeout:30 attempts:5\n")
        own_names = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', conf]
        self.own = Proc(self, "server", [*own_names, BIN / "tunnels-server", "-server.addr", f"127.0.0.1:{self.port}",
                                         "-server.allow", "127.0.0.0/8", *self.made.server()]).ready()
        return self

    def of(self, identity):
        """A client, and its port."""
        port = free_port()
        argv = [BIN / "tunnels-client", "-server.addr", f"127.0.0.1:{self.port}", "-client.addr", f"127.0.0.1:{port}"]
        return Proc(self, identity, [*argv, *self.made.client(identity)]).ready(), port

    def threads(self):
        return len(os.listdir(f"/proc/{self.own.popen.pid}/task"))


def test_look_ups_that_hang_cost_their_identity_alone_and_no_stop_waits_for_them():
    if os.geteuid() != 0:
        return print("skipped: needs root")
    with Place() as place:
        port = place.listen(lab.echo)
        base, memory = place.threads(), place.own.rss_mib()
        for round_ in range(3):
            mallory, socks = place.of("mallory")
            held = [socks5(socks, f"silent.{round_}.{n}.test", port, early=b"x")[0] for n in range(64)]
            if round_ == 0:
                until("its look-ups hang", lambda: place.threads() >= base + SHARE)
            time.sleep(1)
            mallory.kill()
            mallory.popen.wait()
            for sock in held:
                sock.close()
        hang = place.threads() - base
        each = (place.own.rss_mib() - memory) * 1024 / hang
        assert hang <= SHARE + 2, hang

        alice, socks = place.of("alice")
        slowest = 0.0
        for n in range(10):
            began = time.monotonic()
            sock, _ = socks5(socks, f"good.{n}.test", port, early=b"ping")
            assert read_exact(sock, 4) == b"ping"
            slowest = max(slowest, time.monotonic() - began)
            sock.close()
        alice.stop()
        began = time.monotonic()
        assert place.own.stop() == 0
        took = time.monotonic() - began
        assert place.own.events(event="stopped"), "the log was finished"
        print(f"      {hang} look-ups hang, {each:.0f} KiB each; slowest of another identity {slowest:.2f} s; stopped in {took:.1f} s")
        assert slowest < 2 and took < 5, (slowest, took)


def test_second_signal_ends_a_server_whose_stream_waits_for_a_name():
    if os.geteuid() != 0:
        return print("skipped: needs root")
    with Place() as place:
        _alice, socks = place.of("alice")
        base = place.threads()
        sock, _ = socks5(socks, "silent.test", 80, early=b"x")
        until("its look-up hangs", lambda: place.threads() > base)
        place.own.kill(signal.SIGTERM)
        place.own.wait_text("draining")
        began = time.monotonic()
        assert place.own.stop() == 0
        took = time.monotonic() - began
        sock.close()
        print(f"      ended {took:.1f} s after the second signal")
        assert took < 5, took
