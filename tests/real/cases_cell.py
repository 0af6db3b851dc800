"""The process's cell: whom it becomes, what it may still do, what never leaves it."""
import os
import pathlib
import pwd
import re
import signal
import socket
import subprocess

import lab
from lab import BIN, Lab, end_of, read_exact, run, socks5, until

USER = "nobody"


def status(pid):
    """Each thread's /proc status, as pairs."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        yield dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)


def low_port():
    """A port that only root may take."""
    for port in range(600, 1000):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no port below 1024 is free")


def opened(l):
    """The lab's folders, open to the user; what is closed in them stays closed."""
    l.init()
    for folder in (l.dir, l.pki):
        folder.chmod(0o755)
    logs = l.dir / "logs"
    logs.mkdir()
    user = pwd.getpwnam(USER)
    for mine in (logs, l.pki / "server.yaml"):
        os.chown(mine, user.pw_uid, user.pw_gid)
    return user, logs


def test_started_as_root_it_becomes_its_user_for_good_and_serves():
    if os.geteuid() != 0:
        return print("skipped: needs root")
    with Lab() as l:
        user, logs = opened(l)
        l.port = low_port()
        port = l.listen(lab.echo)
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.bind(str(l.dir / "notify"))
        (l.dir / "notify").chmod(0o777)
        told.settimeout(lab.WAIT)
        argv = [BIN / "tunnels-server", "--config", l.pki / "server.yaml", "-server.addr", f"127.0.0.1:{l.port}",
                "-server.allow", "127.0.0.0/8", "-process.user", USER]
        log, err = logs / "server.log", open(l.dir / "server.err", "wb")
        env = {**os.environ, "NOTIFY_SOCKET": str(l.dir / "notify"), "WATCHDOG_USEC": "300000"}
        server = subprocess.Popen([*map(str, argv), "-sla.log.path", str(log)], stderr=err, env=env)
        l.closers.append(server.kill)
        heard = [told.recv(100) for _ in range(4)]
        assert b"READY=1" in heard and heard.count(b"WATCHDOG=1") >= 2, heard

        threads = list(status(server.pid))
        assert len(threads) > 2, "workers of the runtime, too"
        for thread in threads:
            assert thread["Uid"].split() == [str(user.pw_uid)] * 4, thread["Uid"]
            assert thread["Gid"].split() == [str(user.pw_gid)] * 4, thread["Gid"]
            assert thread["Groups"].split() == [str(user.pw_gid)], thread["Groups"]
            assert {int(thread[cap], 16) for cap in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}, thread
            assert thread["NoNewPrivs"].strip() == "1"
        assert log.stat().st_uid == user.pw_uid

        client = l.client()
        sock, _ = socks5(l.socks, "127.0.0.1", port, early=b"hello")
        assert read_exact(sock, 5) == b"hello"

        # The key is root's alone: a reload says so, and keeps what it has.
        server.send_signal(signal.SIGHUP)
        until("it says that it may not", lambda: "reload failed" in log.read_text())
        line = next(line for line in log.read_text().splitlines() if "reload failed" in line)
        assert "server.key" in line and "ermission denied" in line and USER in line, line
        os.chown(l.pki / "server.key", user.pw_uid, user.pw_gid)
        server.send_signal(signal.SIGHUP)
        until("it reloads what it may read", lambda: "] reloaded" in log.read_text())

        # And it moves and opens its log by itself.
        log.rename(logs / "old.log")
        server.send_signal(signal.SIGUSR1)
        until("a new log is there", lambda: log.exists())
        sock.shutdown(socket.SHUT_WR)
        assert end_of(sock) == "fin"
        server.send_signal(signal.SIGTERM)
        until("it says that it stops", lambda: told.recv(100) == b"STOPPING=1")
        client.stop()
        assert server.wait(lab.WAIT) == 0


def test_root_that_stays_root_is_warned_of_once():
    if os.geteuid() != 0:
        return print("skipped: needs root")
    with Lab() as l:
        for proc in l.pair():
            assert len([e for e in proc.log() if "process.user" in str(e)]) == 1, proc.text()


def test_a_user_that_is_not_there_or_out_of_reach_stops_the_start():
    with Lab() as l:
        opened(l) if os.geteuid() == 0 else l.init()
        for name, role in (("tunnels-server", "server"), ("tunnels-client", "client")):
            answer = run(BIN / name, "--config", l.pki / f"{role}.yaml", "-process.user", "tunnelz")
            assert answer.returncode == 78, answer
            line = answer.stderr.decode()
            assert line.count("\n") == 1 and '"tunnelz"' in line and "useradd" in line, line
        if os.geteuid() == 0:
            for name in ("server.key", "server.crt", "ca.crt", "server.yaml"):
                (l.pki / name).chmod(0o600)
                os.chown(l.pki / name, 65534, 65534)
            answer = run("setpriv", "--reuid=65534", "--clear-groups", BIN / "tunnels-server", "--config", l.pki / "server.yaml",
                         "-server.addr", f"127.0.0.1:{l.port}", "-process.user", "daemon", "-sla.log.path", "-")
            assert answer.returncode == 78 and b"only root can become another user" in answer.stderr, answer


def test_no_core_is_dumped_and_no_other_process_of_the_user_looks_inside():
    with Lab() as l:
        for proc in l.pair():
            limits = pathlib.Path(f"/proc/{proc.popen.pid}/limits").read_text()
            assert re.search(r"Max core file size +0 +0 ", limits), limits
            # The kernel gives what belongs to a process that is not to be looked into to root; with root that shows
            # only where the process is somebody else.
            proc.kill(signal.SIGABRT)
            code = proc.popen.wait(lab.WAIT)
            assert code == -signal.SIGABRT and not list(pathlib.Path.cwd().glob("core*")), code
        demo = subprocess.Popen([BIN / "tunnels", "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        l.closers.append(demo.kill)
        until("the demo runs", lambda: demo.stdout.readline())
        assert "Max core file size        0" in pathlib.Path(f"/proc/{demo.pid}/limits").read_text()


def test_no_secret_is_in_any_output_argument_or_line():
    with Lab() as l:
        port = l.listen(lab.echo)
        l.init()
        words = {name: f"hush-{name}-7fQ" for name in ("listed", "filed", "signing", "environment")}
        (l.pki / "users.txt").write_text(f"bob:{words['filed']}\n")
        (l.pki / "signing").write_text(words["signing"] + "\n")
        for name in ("users.txt", "signing"):
            (l.pki / name).chmod(0o600)
        robot = lab.free_port()
        for role in ("client", "server"):
            users = f"client.users.list: ['ann:{words['listed']}']\nclient.users.file: users.txt\n" if role == "client" else ""
            with open(l.pki / f"{role}.yaml", "a") as file:
                file.write(f"\n{users}sla.dingtalk.secret: file:signing\nsla.dingtalk.url: http://127.0.0.1:{robot}/send\n")
            (l.pki / f"{role}.yaml").chmod(0o600)
        env = {"TUNNELS_SLA_DINGTALK_TOKEN": words["environment"]}
        keys = [line for name in ("server.key", "client.key", "ca.key")
                for line in (l.pki / name).read_text().splitlines() if len(line) > 20 and "-----" not in line]
        secrets = [*words.values(), *keys]
        start = [BIN / "tunnels-server", "--config", l.pki / "server.yaml", "-server.addr", f"127.0.0.1:{l.port}",
                 "-server.allow", "127.0.0.0/8"]
        server = lab.Proc(l, "server", start, env=env).ready()
        client = lab.Proc(l, "client", [BIN / "tunnels-client", "--config", l.pki / "client.yaml", "-server.addr",
                                        f"127.0.0.1:{l.port}", "-client.addr", f"127.0.0.1:{l.socks}"], env=env).ready()
        for user in (("ann", words["listed"]), ("bob", words["filed"])):
            sock, _ = socks5(l.socks, "127.0.0.1", port, early=b"x", user=user)
            with sock:
                assert read_exact(sock, 1) == b"x"
        # Wrong in a way that nearly is the secret; an alert nobody takes; a reload, a failed one.
        with socket.create_connection(("127.0.0.1", l.socks)) as wrong:
            wrong.sendall(b"\x05\x01\x02\x01\x03ann" + bytes([len(words["listed"]) + 1]) + words["listed"].encode() + b"x")
            wrong.settimeout(lab.WAIT)
            while wrong.recv(100):
                pass
        for proc, role in ((client, "client"), (server, "server")):
            proc.kill(signal.SIGHUP)
            until("it reloads", lambda proc=proc: proc.events(event="reloaded") or "reload" in proc.text())
            (l.pki / f"{role}.key").write_text("no key\n")
            proc.kill(signal.SIGHUP)
            until("it fails to reload", lambda proc=proc: "reload failed" in proc.text() or proc.events(event="reload_failed"))
        outputs = {"server": server.text(), "client": client.text()}
        for proc in (server, client):
            outputs[f"{proc.name} arguments"] = pathlib.Path(f"/proc/{proc.popen.pid}/cmdline").read_text()
        for role in ("client", "server"):
            program, file = BIN / f"tunnels-{role}", l.pki / f"{role}.yaml"
            for argv in ([program, "--config", file, "--print-config"], [program, "--config", file, "--check"],
                         [BIN / "tunnels", "check", file]):
                answer = run(*argv, env={**os.environ, **env})
                outputs[" ".join(map(str, argv))] = (answer.stdout + answer.stderr).decode()
        for proc in (client, server):
            proc.stop()
            outputs[f"{proc.name} at its end"] = proc.text()
        assert all(outputs.values()), outputs
        for name, text in outputs.items():
            for secret in secrets:
                assert secret not in text, f"a secret is in {name}: {text[:3000]}"
