#!/usr/bin/env python3
"""Time to the first byte of a new request over a warm pool, on an emulated link, beside `ssh -D` in the same run.

    LINKEM=path/to/linkem tests/real/first_byte.py [--rtt 100ms] [--requests 20]

Needs root, and a link emulator with linkem's command line. The tunnel's server and the destination stand at one end of the link,
the client and its application at the other, so that everything above one round trip is the tunnel's doing.
"""
import argparse
import getpass
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent))
import lab
from lab import BIN

DESTINATION = 7007


def destination():
    """Answers the first bytes at once."""
    listener = socket.create_server(("0.0.0.0", DESTINATION), backlog=64)
    print("ready", flush=True)
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sock:
            sock.recv(100)
            sock.sendall(b"x")


def measure(port, target, count):
    times = []
    for _ in range(count):
        began = time.perf_counter()
        sock, code = lab.socks5(port, target, DESTINATION)
        sock.sendall(b"GET")
        assert code == 0 and lab.read_exact(sock, 1) == b"x"
        times.append((time.perf_counter() - began) * 1000)
        sock.close()
        time.sleep(0.15)
    return times


def probe():
    port, target, count = int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    measure(port, target, 3)  # warm
    times = sorted(measure(port, target, count))
    print(f"{statistics.median(times):.2f} {times[0]:.2f} {times[-1]:.2f}")


def inside(args):
    a, b = os.environ["LINKEM_A"], os.environ["LINKEM_B"]
    there = os.environ["LINKEM_B_ADDR"]
    rtt = float(args.rtt.removesuffix("ms"))
    started = []

    def start(side, *argv, **kw):
        proc = subprocess.Popen(["ip", "netns", "exec", side, *map(str, argv)], **kw)
        started.append(proc)
        return proc

    def at_a(*argv):
        return subprocess.run(["ip", "netns", "exec", a, *map(str, argv)], check=True, stdout=subprocess.PIPE, text=True).stdout

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        try:
            subprocess.run([BIN / "tunnels", "init", "--dir", folder / "pki", "--server", f"{there}:4433"], check=True,
                           stdout=subprocess.DEVNULL)
            start(b, sys.executable, HERE, "destination", stdout=subprocess.PIPE).stdout.readline()
            start(b, BIN / "tunnels-server", "--config", folder / "pki" / "server.yaml", "-server.addr", f"{there}:4433",
                  "-server.allow", f"{there}/32", "-sla.log.path", folder / "server.log")
            start(a, BIN / "tunnels-client", "--config", folder / "pki" / "client.yaml", "-sla.log.path", folder / "client.log",
                  "-client.addr", "127.0.0.1:1080")
            for name in ("host", "user"):
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
            (folder / "sshd_config").write_text(
                f"Port 2222\nListenAddress {there}\nHostKey {folder}/host\nPidFile {folder}/pid\nStrictModes no\nUsePAM no\n"
                f"AuthorizedKeysFile {folder}/user.pub\nPermitRootLogin yes\n")
            os.makedirs("/run/sshd", exist_ok=True)
            start(b, "/usr/sbin/sshd", "-D", "-e", "-f", folder / "sshd_config", stderr=subprocess.DEVNULL)
            time.sleep(0.5)
            start(a, "ssh", "-F", "none", "-N", "-D", "127.0.0.1:1081", "-i", folder / "user", "-p", "2222", "-o",
                  "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder}/known", "-o", "ExitOnForwardFailure=yes",
                  f"{getpass.getuser()}@{there}", stderr=subprocess.DEVNULL)
            time.sleep(2)
            print(f"round trip {rtt:.0f} ms, {args.requests} requests each; milliseconds to the first byte")
            results = {}
            for name, port in (("TunneLS, eager, warm pool", 1080), ("ssh -D", 1081)):
                median, low, high = map(float, at_a(sys.executable, HERE, "probe", port, there, args.requests).split())
                results[name] = median
                print(f"  {name:28} median {median:7.2f}   min {low:7.2f}   max {high:7.2f}   over one round trip {median - rtt:+.2f}")
            ours = results["TunneLS, eager, warm pool"] - rtt
            print("within 3 ms of one round trip" if ours <= 3 else f"MISSED: {ours:.2f} ms over one round trip")
            return 0 if ours <= 3 else 1
        finally:
            for proc in reversed(started):
                proc.kill()
                proc.wait()


def main():
    if sys.argv[1:2] == ["destination"]:
        return destination()
    if sys.argv[1:2] == ["probe"]:
        return probe()
    parser = argparse.ArgumentParser()
    parser.add_argument("--rtt", default="100ms")
    parser.add_argument("--requests", type=int, default=20)
    args = parser.parse_args()
    if "LINKEM_A" in os.environ:
        return inside(args)
    linkem = os.environ.get("LINKEM")
    if not linkem:
        print("missing: time to first byte on a link with delay (set LINKEM to a link emulator)")
        return 0
    return subprocess.run([linkem, "run", "--rtt", args.rtt, "--", sys.executable, HERE, *sys.argv[1:]]).returncode


sys.exit(main())
