"""Real clients move real bytes: curl, ssh, a browser, and protocols with their own habits."""
import concurrent.futures
import datetime
import getpass
import hashlib
import os
import re
import socket
import struct
import subprocess
import time

import lab
from lab import BIN, Lab, end_of, read_exact, run, socks5, until

GIB = 1 << 30


def curl_sha(proxy, url, *more):
    """Downloads through the proxy and hashes what came; returns (exit code, sha256)."""
    with subprocess.Popen(["curl", "-sS", "--fail", *proxy, *more, url], stdout=subprocess.PIPE) as curl:
        digest = hashlib.sha256()
        while part := curl.stdout.read(1 << 20):
            digest.update(part)
    return curl.returncode, digest.hexdigest()


def gib_both_ways(proxy, port, folder):
    code, got = curl_sha(proxy, f"http://localhost:{port}/bytes/{GIB}")
    assert (code, got) == (0, lab.pattern_hash(GIB)), code
    body = folder / "gib"
    with open(body, "wb") as out:
        for part in lab.pattern(GIB):
            out.write(part)
    answer = run("curl", "-sS", "--fail", *proxy, "-T", body, "-X", "POST", f"http://localhost:{port}/up")
    body.unlink()
    assert answer.stdout.decode() == lab.pattern_hash(GIB), answer


def test_a_gibibyte_each_way_through_a_real_pair():
    with Lab() as l:
        port = l.listen(lab.http)
        l.pair()
        gib_both_ways(["--socks5-hostname", f"127.0.0.1:{l.socks}"], port, l.dir)


def test_a_gibibyte_each_way_through_the_demo_which_ends_cleanly_on_interrupt():
    with Lab() as l:
        port = l.listen(lab.http)
        demo = subprocess.Popen([BIN / "tunnels", "demo"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            hint = ""
            while "curl" not in hint:
                hint = demo.stdout.readline()
                assert hint, "the demo ended before it printed its curl line"
            address = re.search(r"socks5h://(127\.0\.0\.1:\d+)", hint).group(1)
            import threading
            threading.Thread(target=demo.stdout.read, daemon=True).start()
            gib_both_ways(["-x", f"socks5h://{address}"], port, l.dir)
            demo.send_signal(2)
            assert demo.wait(40) == 0
        finally:
            demo.kill()


def test_two_hundred_transfers_at_once():
    with Lab() as l:
        port, size = l.listen(lab.http), 1_000_003
        l.pair()
        proxy = ["--socks5-hostname", f"127.0.0.1:{l.socks}"]
        with concurrent.futures.ThreadPoolExecutor(200) as pool:
            results = list(pool.map(lambda _: curl_sha(proxy, f"http://127.0.0.1:{port}/bytes/{size}"), range(200)))
        assert set(results) == {(0, lab.pattern_hash(size))}, set(results)


def test_two_thousand_short_transfers_in_a_row():
    with Lab() as l:
        port = l.listen(lab.echo)
        _, client = l.pair()
        before = client.descriptors()
        for number in range(2000):
            sock, code = socks5(l.socks, "127.0.0.1", port, early=b"%06d" % number)
            with sock:
                assert code == 0 and read_exact(sock, 6) == b"%06d" % number
        until("descriptors return", lambda: client.descriptors() <= before + 6)


def test_every_front_protocol_of_the_one_port():
    with Lab() as l:
        port = l.listen(lab.http)
        l.pair()
        at = f"127.0.0.1:{l.socks}"
        for proxy in (f"socks5h://{at}", f"socks5://{at}", f"socks4://{at}", f"socks4a://{at}"):
            assert curl_sha(["-x", proxy], f"http://localhost:{port}/bytes/5000", "-4") == (0, lab.pattern_hash(5000)), proxy
        tunnel = ["-p", "-x", f"http://{at}"]
        assert curl_sha(tunnel, f"http://localhost:{port}/bytes/5000") == (0, lab.pattern_hash(5000))


def test_user_and_password_are_asked_for_when_users_are_configured():
    with Lab() as l:
        port = l.listen(lab.http)
        l.pair(client=["-client.users.list", "ann:secret word"])
        url, at = f"http://127.0.0.1:{port}/bytes/10", f"127.0.0.1:{l.socks}"
        right = ["--proxy-user", "ann:secret word"]
        assert curl_sha(["-x", f"socks5h://{at}", *right], url)[0] == 0
        assert curl_sha(["-p", "-x", f"http://{at}", *right], url)[0] == 0
        assert curl_sha(["-x", f"socks5h://{at}", "--proxy-user", "ann:wrong"], url)[0] != 0
        assert curl_sha(["-x", f"socks5h://{at}"], url)[0] != 0
        assert curl_sha(["-p", "-x", f"http://{at}"], url)[0] != 0
        assert curl_sha(["-x", f"socks4a://{at}"], url)[0] != 0


def test_udp_associate_and_bind_are_answered_as_not_supported():
    with Lab() as l:
        l.pair()
        for command in (2, 3):
            with socket.create_connection(("127.0.0.1", l.socks)) as sock:
                sock.sendall(b"\x05\x01\x00")
                assert read_exact(sock, 2) == b"\x05\x00"
                sock.sendall(b"\x05" + bytes([command]) + b"\x00\x01\x7f\x00\x00\x01\x00\x50")
                assert read_exact(sock, 2) == b"\x05\x07"


def test_server_speaks_first():
    with Lab() as l:
        port = l.listen(lab.speak_first)
        l.pair()
        sock, _ = socks5(l.socks, "127.0.0.1", port)
        assert read_exact(sock, 11) == b"220 ready\r\n"
        sock.sendall(b"EHLO")
        assert read_exact(sock, 13) == b"you said EHLO"


def test_target_that_answers_only_after_end_of_input():
    with Lab() as l:
        port, data = l.listen(lab.hash_after_end), lab.BLOCK * 3
        l.pair()
        for how in ([], ["-eagersocks.net", "tls"]):
            sock, _ = socks5(l.socks, "127.0.0.1", port)
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            want = f"{len(data)} {hashlib.sha256(data).hexdigest()}".encode()
            assert read_exact(sock, len(want)) == want
            assert sock.recv(1) == b""


def test_ssh_through_socks_and_through_http_connect():
    with Lab() as l:
        l.pair()
        keys = l.dir / "ssh"
        keys.mkdir(mode=0o700)
        for name in ("host", "user"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name, check=True)
        (keys / "authorized").write_bytes((keys / "user.pub").read_bytes())
        port = lab.free_port()
        (keys / "sshd_config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {keys}/host\nPidFile {keys}/pid\nStrictModes no\n"
            f"AuthorizedKeysFile {keys}/authorized\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n")
        os.makedirs("/run/sshd", exist_ok=True)
        sshd = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", keys / "sshd_config"], stderr=subprocess.DEVNULL)
        try:
            until("sshd listens", lambda: not socket.socket().connect_ex(("127.0.0.1", port)))
            for version in ("5", "4", "connect"):
                answer = run("ssh", "-F", "none", "-i", keys / "user", "-o", "StrictHostKeyChecking=no",
                             "-o", f"UserKnownHostsFile={keys}/known", "-o", "BatchMode=yes", "-p", port,
                             "-o", f"ProxyCommand=nc -X {version} -x 127.0.0.1:{l.socks} %h %p",
                             f"{getpass.getuser()}@127.0.0.1", "head -c 3000000 /dev/zero | sha256sum; echo over $((6*7))")
                assert b"over 42" in answer.stdout, (version, answer)
                assert hashlib.sha256(bytes(3_000_000)).hexdigest().encode() in answer.stdout
        finally:
            sshd.terminate()
            sshd.wait()


def test_a_browser_loads_a_page_with_sixty_objects():
    with Lab() as l:
        seen = set()

        def page(sock):
            reader = sock.makefile("rb")
            while (line := reader.readline()):
                path = line.split()[1].decode()
                while reader.readline().strip():
                    pass
                if path == "/":
                    body = "".join(f"<script src='/{i}.js'></script>" for i in range(60))
                    body = f"<html><body>{body}<p id=r></p><script>document.getElementById('r').textContent=" \
                           f"'loaded '+window.count</script></body></html>"
                    kind = "text/html"
                else:
                    seen.add(path)
                    body, kind = "window.count=(window.count||0)+1;" + "//" + "x" * 20000, "text/javascript"
                data = body.encode()
                sock.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)

        port = l.listen(page)
        _, client = l.pair()
        answer = run("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                     "--disable-background-networking", "--disable-component-update", "--disable-sync",
                     f"--user-data-dir={l.dir}/chromium", f"--proxy-server=socks5://127.0.0.1:{l.socks}",
                     "--proxy-bypass-list=<-loopback>", "--virtual-time-budget=20000", "--dump-dom",
                     f"http://127.0.0.1:{port}/")
        assert b"loaded 60" in answer.stdout, answer.stdout[-500:] + answer.stderr[-1500:]
        assert len([p for p in seen if p.endswith(".js")]) == 60
        assert client.events(event="access"), "the page did not come through the client"


def stamp(event):
    return datetime.datetime.fromisoformat(event["ts"].replace("Z", "+00:00")).timestamp()


def leave(sock, name):
    """An application goes away. The classic wire has no half-close: there a FIN waits for the other side, a reset does not."""
    if "classic" in name:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_every_combination_of_socket_and_framing_works():
    with Lab() as l:
        l.init()
        port = l.listen(lab.hash_after_end)
        unix = l.dir / "tunnel.sock"
        plain = ["-remux.net", "tcp"]
        combinations = [
            ("eager over remux over tls", [], None),
            ("classic over tls", ["-remux.wire", "classic"], None),
            ("eager over tls", ["-eagersocks.net", "tls"], None),
            ("eager over tcp", ["-eagersocks.net", "tcp", *plain], None),
            ("remux over tcp", plain + ["-remux.wire", "remux2"], None),
            ("classic over tcp", plain + ["-remux.wire", "classic"], None),
            ("remux over unix", ["-server.net", "unix", "-remux.net", "unix", "-remux.wire", "remux2"], unix),
            ("eager over unix", ["-server.net", "unix", "-remux.net", "unix", "-eagersocks.net", "unix"], unix),
            ("remux over tls over unix", ["-server.net", "unix"], unix),
            ("eager over tls over unix", ["-server.net", "unix", "-eagersocks.net", "tls"], unix),
        ]
        for name, flags, address in combinations:
            where = ["-server.addr", str(address)] if address else []
            extra = ["-tls.server.name", "127.0.0.1"] if address and "tls" in name else []
            server = lab.Proc(l, "server", [BIN / "tunnels-server", "--config", l.pki / "server.yaml",
                              *(where or ["-server.addr", f"127.0.0.1:{l.port}"]), "-server.allow", "127.0.0.0/8", *flags]).ready()
            client = lab.Proc(l, "client", [BIN / "tunnels-client", "--config", l.pki / "client.yaml",
                              *(where or ["-server.addr", f"127.0.0.1:{l.port}"]), "-client.addr", f"127.0.0.1:{l.socks}",
                              *flags, *extra]).ready()
            sock, code = socks5(l.socks, "127.0.0.1", port, early=b"early ")
            assert code == 0, name
            sock.sendall(b"late")
            if "classic" not in name:
                sock.shutdown(socket.SHUT_WR)
                want = b"10 " + hashlib.sha256(b"early late").hexdigest().encode()
                assert read_exact(sock, len(want)) == want, name
                assert end_of(sock) == "fin", name
            leave(sock, name)
            big, _ = socks5(l.socks, "127.0.0.1", l.listen(lab.http), early=b"GET /bytes/3000000 HTTP/1.1\r\n\r\n")
            data = read_exact(big, 3_000_000)
            assert data, name
            leave(big, name)
            assert client.stop() == 0 and server.stop() == 0, name


def test_a_client_on_a_unix_socket_serves_socks():
    with Lab() as l:
        port = l.listen(lab.echo)
        l.server()
        path = l.dir / "socks.sock"
        lab.Proc(l, "client", [BIN / "tunnels-client", "--config", l.pki / "client.yaml", "-server.addr",
                 f"127.0.0.1:{l.port}", "-client.net", "unix", "-client.addr", path]).ready()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.sendall(b"\x05\x01\x00")
            assert read_exact(sock, 2) == b"\x05\x00"
            sock.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big") + b"hello")
            assert read_exact(sock, 10)[1] == 0
            assert read_exact(sock, 5) == b"hello"


def test_the_independent_classic_peer_works_against_our_server_and_our_client():
    with Lab() as l:
        port = l.listen(lab.echo)
        server, _ = l.pair()
        peer, data = lab.ROOT / "tests" / "classic_peer.py", lab.BLOCK[:700_001]
        tls = ["--cert", l.pki / "client.crt", "--key", l.pki / "client.key", "--ca", l.pki / "ca.crt"]
        for alpn in ([], ["--alpn", "remux/1"]):
            answer = subprocess.run(["python3", peer, "client", "--connect", str(l.port), *tls, *alpn, "--sessions", "5",
                                     "--target", f"127.0.0.1:{port}", "--expect", str(len(data))],
                                    input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
            assert answer.stdout == data, (alpn, answer.stderr[-800:])
        tls = ["--cert", l.pki / "server.crt", "--key", l.pki / "server.key", "--ca", l.pki / "ca.crt"]
        at, socks = lab.free_port(), lab.free_port()
        for alpn in ([], ["--alpn", "remux/1"]):
            other = subprocess.Popen(["python3", peer, "server", "--listen", str(at), *tls, *alpn], stderr=subprocess.PIPE)
            try:
                assert other.stderr.readline() == b"listening\n"
                client = lab.Proc(l, "client", [BIN / "tunnels-client", "--config", l.pki / "client.yaml", "-server.addr",
                                  f"127.0.0.1:{at}", "-client.addr", f"127.0.0.1:{socks}"]).ready()
                for host in ("127.0.0.1", "localhost"):
                    sock, code = socks5(socks, host, port, early=b"first ")
                    assert code == 0
                    sock.sendall(data)
                    assert read_exact(sock, 6 + len(data)) == b"first " + data
                    leave(sock, "classic")
                dead, _ = socks5(socks, "127.0.0.1", lab.free_port())
                end_of(dead)
                client.stop()
            finally:
                other.kill()
                other.wait()


def test_thirty_three_short_requests_open_at_least_three_connections_and_idle_ones_go():
    with Lab() as l:
        port = l.listen(lab.echo)
        server, client = l.pair()
        for _ in range(33):
            sock, _ = socks5(l.socks, "127.0.0.1", port, early=b"x")
            read_exact(sock, 1)
            sock.close()
        opened = len(client.events(event="conn_open"))
        assert 3 <= opened <= 6, opened
        until("no connection is left", lambda: client.events(event="conn_close") and
              client.events(event="conn_close")[-1]["open"] == 0)
        closed = {e["connection_id"]: stamp(e) for e in client.events(event="conn_close")}
        idle = {e["connection_id"]: stamp(e) for e in client.events(event="conn_open") + client.events(event="sess_close")}
        assert closed.keys() == idle.keys()
        assert all(closed[id] - idle[id] <= 12 for id in closed), "an idle connection outlives the idle limit by more than 2 s"
        quiet = len(client.events(event="conn_open"))
        time.sleep(3)
        assert len(client.events(event="conn_open")) == quiet, "the pool redials with nothing to carry"


def test_a_connection_past_its_age_takes_no_new_stream_but_finishes_the_old_one():
    with Lab() as l:
        port = l.listen(lab.echo)
        _, client = l.pair(client=["-remux.reuse.max.sec", "2"])
        old, _ = socks5(l.socks, "127.0.0.1", port, early=b"a")
        read_exact(old, 1)
        first = client.events(event="conn_open")[0]["connection_id"]
        time.sleep(2.5)
        new, _ = socks5(l.socks, "127.0.0.1", port, early=b"b")
        read_exact(new, 1)
        streams = {e["connection_id"] for e in client.events(event="sess_open")}
        assert len(streams) == 2, streams
        old.sendall(b"still here")
        assert read_exact(old, 10) == b"still here"
        assert not client.events(event="conn_close", connection_id=first)
        old.close()
        until("the old connection closes", lambda: client.events(event="conn_close", connection_id=first))
