"""What operators read: the seed's text format, JSON lines, the report, rotation, alerts."""
import base64
import hashlib
import hmac
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

import lab
from lab import BIN, Lab, end_of, read_exact, run, socks5, until

LINE = re.compile(r"\d{4}\.\d\d\.\d\d \d\d:\d\d:\d\d \[(debg|info|warn|erro|fata)\] \[[a-z]+\] .+")


def test_text_log_has_the_seeds_lines():
    with Lab() as l:
        port = l.listen(lab.echo)
        l.server()
        log = l.dir / "text.log"
        proc = subprocess.Popen([BIN / "tunnels-client", "--config", l.pki / "client.yaml", "-server.addr", f"127.0.0.1:{l.port}",
                                 "-client.addr", f"127.0.0.1:{l.socks}", "-sla.log.path", log, "-sla.log.level", "debug"])
        try:
            until("it listens", lambda: log.exists() and "listening" in log.read_text())
            sock, _ = socks5(l.socks, "127.0.0.1", port, early=b"x")
            read_exact(sock, 1)
            sock.shutdown(socket.SHUT_WR)
            assert end_of(sock) == "fin"
            until("the connection closes when idle", lambda: re.search(r"\[conn\] - [0-9a-f]{8} = 0 \S", log.read_text()), 15)
            text = log.read_text()
            for line in text.splitlines():
                assert LINE.fullmatch(line), line
            conn = re.search(r"\[info\] \[conn\] \+ ([0-9a-f]{8}) = 1\n", text).group(1)
            assert re.search(rf"\[debg\] \[sess\] \+ {conn}:1 = 1\n", text), text
            assert re.search(rf"\[debg\] \[sess\] - {conn}:1 = 0", text), text
            assert re.search(rf"\[info\] \[sock\] \+ 127\.0\.0\.1:{port} = 1", text), text
            assert re.search(rf"\[info\] \[sock\] - 127\.0\.0\.1:{port} = 0", text), text
        finally:
            proc.terminate()
            proc.wait()


def test_the_report_rebuilds_what_the_run_really_did():
    with Lab() as l:
        port, dead = l.listen(lab.http), lab.free_port()
        server, client = l.pair()
        sizes = [1, 1000, 70_000, 500_000]
        for size in sizes:
            answer = run("curl", "-sS", "--fail", "--socks5-hostname", f"127.0.0.1:{l.socks}", f"http://127.0.0.1:{port}/bytes/{size}")
            assert len(answer.stdout) == size
        for _ in range(2):
            sock, _ = socks5(l.socks, "127.0.0.1", dead, early=b"x")
            assert end_of(sock) == "rst"
        until("every flow has its line", lambda: len(client.events(event="access")) == 6 and len(server.events(event="access")) == 6)
        for proc in (client, server):
            report = json.loads(run(lab.ROOT / "scripts" / "logs-report", "--json", proc.log_path).stdout)
            text = json.dumps(report)
            streams = report["streams"][proc.name]
            assert (streams["finished"], streams["failed"]) == (6, 2), text
            assert abs(streams["error_share"] - 2 / 6) < 1e-5, text
            assert sum(sizes) <= streams["bytes_down"] <= sum(sizes) + 4 * 200, text
            assert report["sess"]["opened"] == report["sess"]["closed"] == 6, text
            assert report["socks"]["open"] == 0, text
            assert report["conns"][proc.name]["open"] == 1, text


def test_two_processes_never_rotate_one_file():
    with Lab() as l:
        l.init()
        shared = l.dir / "shared.log"
        def start(name, yaml, *flags):
            err = open(l.dir / f"{name}.err", "wb")
            return subprocess.Popen([BIN / name, "--config", l.pki / yaml, "-sla.log.path", shared, *flags], stderr=err)
        server = start("tunnels-server", "server.yaml", "-server.addr", f"127.0.0.1:{l.port}")
        until("the server logs", lambda: shared.exists() and "listening" in shared.read_text())
        client = start("tunnels-client", "client.yaml", "-client.addr", f"127.0.0.1:{l.socks}")
        try:
            until("the second says so", lambda: "shared.log" in (l.dir / "tunnels-client.err").read_text())
            until("and logs to standard error", lambda: "listening" in (l.dir / "tunnels-client.err").read_text())
        finally:
            for proc in (server, client):
                proc.terminate()
                proc.wait()


def test_rotation_keeps_a_bounded_number_of_files_and_usr1_reopens():
    with Lab() as l:
        port = l.listen(lab.echo)
        l.server()
        client = l.client("-sla.log.max.bytes", "20000", "-sla.log.max.files.cnt", "3")
        for _ in range(300):
            sock, _ = socks5(l.socks, "127.0.0.1", port, early=b"x")
            read_exact(sock, 1)
            sock.close()
        name = client.log_path.name
        def logs():
            return [p for p in os.listdir(l.dir) if p.startswith(name) and "lock" not in p]
        until("old files appear", lambda: len(logs()) >= 3)
        assert len(logs()) <= 4, logs()
        client.log_path.rename(l.dir / "moved")
        client.kill(signal.SIGUSR1)
        until("a fresh file", lambda: client.log_path.exists())


def test_full_disk_never_stops_traffic():
    with Lab() as l:
        port = l.listen(lab.http)
        l.init()
        mount = l.dir / "small"
        mount.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", mount, check=True)
        try:
            l.server()
            client = subprocess.Popen([BIN / "tunnels-client", "--config", l.pki / "client.yaml", "-server.addr", f"127.0.0.1:{l.port}",
                                       "-client.addr", f"127.0.0.1:{l.socks}", "-sla.log.path", mount / "log", "-sla.log.level", "debug"],
                                      stderr=subprocess.PIPE)
            try:
                until("it listens", lambda: not socket.socket().connect_ex(("127.0.0.1", l.socks)))
                (mount / "filler").write_bytes(b"x" * 40_000)
                for number in range(600):
                    sock, _ = socks5(l.socks, "127.0.0.1", port, early=b"GET /bytes/5 HTTP/1.1\r\n\r\n")
                    assert read_exact(sock, 4) == b"HTTP", number
                    sock.close()
            finally:
                client.terminate()
                assert client.wait(40) == 0
                assert b"log" in client.stderr.read()
        finally:
            run("umount", "-l", mount)


def test_an_asked_for_log_that_cannot_be_opened_refuses_to_start():
    with Lab() as l:
        l.init()
        answer = run(BIN / "tunnels-client", "--config", l.pki / "client.yaml", "-sla.log.path", "/nonexistent/folder/x.log")
        assert answer.returncode == 78 and b"/nonexistent/folder/x.log" in answer.stderr, answer


def test_errors_are_sent_signed_to_the_robot():
    secret, seen = "SECabc", []

    class Robot(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
            body = self.rfile.read(int(self.headers["content-length"]))
            stamp = query["timestamp"][0]
            want = base64.b64encode(hmac.new(secret.encode(), f"{stamp}\n{secret}".encode(), hashlib.sha256).digest()).decode()
            seen.append((query["sign"][0] == want, query["access_token"][0], json.loads(body)))
            answer = b'{"errcode":0,"errmsg":"ok"}'
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with Lab() as l:
        robot = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Robot)
        threading.Thread(target=robot.serve_forever, daemon=True).start()
        l.closers.append(robot.shutdown)
        l.init()
        (l.dir / "secret").write_text(secret)
        (l.dir / "secret").chmod(0o600)
        # Nothing listens where the server should be: an error an operator must learn of.
        client = l.client("-sla.dingtalk.token", "tok", "-sla.dingtalk.secret", secret,
                          "-sla.dingtalk.url", f"http://127.0.0.1:{robot.server_port}/robot/send")
        for _ in range(3):
            sock, _ = socks5(l.socks, "127.0.0.1", 9, early=b"x")
            assert end_of(sock) == "rst"
        until("an alert arrives", lambda: seen, 40)
        signed, token, body = seen[0]
        assert signed and token == "tok" and body["msgtype"] == "text", seen
        assert str(l.port) in body["text"]["content"], body
        assert secret not in client.text()
        before = len(seen)
        l.server()
        sock, _ = socks5(l.socks, "127.0.0.1", l.listen(lab.echo), early=b"x")
        read_exact(sock, 1)
        until("a recovery message arrives", lambda: len(seen) > before, 90)
        assert all(ok for ok, _, _ in seen)
