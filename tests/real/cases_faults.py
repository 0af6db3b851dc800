"""Things go wrong on purpose: the right end must reach the right side, and everything is given back."""
import signal
import socket
import statistics
import struct
import subprocess
import threading
import time

import lab
from lab import BIN, Lab, end_of, read_exact, run, socks5, until


def hold(sock):
    """A destination that sends a little and then waits."""
    sock.sendall(b"begin")
    sock.recv(1)


def rst(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_strict_tells_the_true_code_and_eager_resets():
    with Lab() as l:
        dead, echo = lab.free_port(), l.listen(lab.echo)
        l.server()
        eager, strict = lab.free_port(), lab.free_port()
        l.client(socks=eager)
        l.client("-eagersocks.reply", "strict", socks=strict)

        def strict_code(host, port):
            sock, code = socks5(strict, host, port)
            sock.close()
            return code

        assert strict_code("127.0.0.1", echo) == 0
        assert strict_code("127.0.0.1", dead) == 5
        assert strict_code("10.1.2.3", 80) == 2
        assert strict_code("169.254.169.254", 80) == 2
        assert strict_code("no-such-host.invalid", 80) == 4
        answer = run("curl", "-sS", "-p", "-x", f"http://127.0.0.1:{strict}", f"http://127.0.0.1:{dead}/")
        assert b"502" in answer.stderr, answer
        for host, port in (("127.0.0.1", dead), ("10.1.2.3", 80), ("no-such-host.invalid", 80)):
            sock, code = socks5(eager, host, port, early=b"hello")
            assert (code, end_of(sock)) == (0, "rst"), (host, port)


def test_denied_loopback_v6_does_not_deny_the_allowed_v4_of_the_same_name():
    with Lab() as l:
        port = l.listen(lab.echo)
        l.server("-server.deny", "::1")
        l.client()
        sock, _ = socks5(l.socks, "localhost", port, early=b"x")
        assert read_exact(sock, 1) == b"x"


def test_destinations_reset_reaches_the_application_as_a_reset():
    with Lab() as l:
        port = l.listen(lab.reset_now)
        l.server()
        for number, flags in enumerate(([], ["-eagersocks.net", "tls"])):
            if number:
                l.procs[0].stop()
                l.procs.pop(0)
                l.server(*flags)
            socks = lab.free_port()
            l.client(*flags, socks=socks)
            sock, _ = socks5(socks, "127.0.0.1", port, early=b"x")
            assert end_of(sock) == "rst", flags


def test_applications_reset_reaches_the_destination_as_a_reset():
    with Lab() as l:
        ends, started = [], threading.Event()

        def watch(sock):
            sock.recv(1)
            started.set()
            ends.append(end_of(sock))

        port = l.listen(watch)
        l.pair()
        sock, _ = socks5(l.socks, "127.0.0.1", port, early=b"x")
        assert started.wait(10)
        rst(sock)
        until("the destination sees the end", lambda: ends)
        assert ends == ["rst"]


def test_killed_server_is_a_reset_for_the_application_and_its_successor_is_used_at_once():
    with Lab() as l:
        port, echo = l.listen(hold), l.listen(lab.echo)
        server, client = l.pair()
        socks = [socks5(l.socks, "127.0.0.1", port)[0] for _ in range(20)]
        for sock in socks:
            assert read_exact(sock, 5) == b"begin"
        server.kill()
        assert [end_of(sock) for sock in socks] == ["rst"] * 20
        server.popen.wait()
        l.server()
        began = time.monotonic()
        sock, _ = socks5(l.socks, "127.0.0.1", echo, early=b"again")
        assert read_exact(sock, 5) == b"again"
        assert time.monotonic() - began < 2.0, "a restarted server must be used again within 2 s"
        until("the dead connections are gone", lambda: {e["connection_id"] for e in client.events(event="conn_open")} -
              {e["connection_id"] for e in client.events(event="conn_close")} <= {client.events(event="conn_open")[-1]["connection_id"]})


def test_killed_client_is_a_reset_for_both_outer_ends_and_the_server_frees_everything():
    with Lab() as l:
        ends = []

        def watch(sock):
            sock.sendall(b"begin")
            ends.append(end_of(sock))

        port = l.listen(watch)
        server, client = l.pair()
        before = server.descriptors()
        socks = [socks5(l.socks, "127.0.0.1", port)[0] for _ in range(20)]
        for sock in socks:
            assert read_exact(sock, 5) == b"begin"
        client.kill()
        assert [end_of(sock) for sock in socks] == ["rst"] * 20
        until("all destinations see it", lambda: len(ends) == 20)
        assert ends == ["rst"] * 20
        until("the server frees its descriptors", lambda: server.descriptors() <= before + 1, 35)
        assert server.events(event="conn_close")[-1]["open"] == 0


def test_cut_download_never_looks_complete():
    """Without a length HTTP/1.0 ends at the end of the connection: only a reset tells a cut one."""
    def body(sock):
        sock.recv(1000)
        sock.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100000)
        time.sleep(60)

    with Lab() as l:
        port = l.listen(body)
        for flags in ([], ["-remux.wire", "classic"], ["-eagersocks.net", "tls"]):
            for sig in (signal.SIGKILL, signal.SIGTERM):
                server, client = l.pair(server=["-drain.max.sec", "1", *flags], client=flags)
                out = l.dir / "out"
                out.unlink(missing_ok=True)
                with subprocess.Popen(["curl", "-sS", "-o", out, "--socks5-hostname", f"127.0.0.1:{l.socks}",
                                       f"http://127.0.0.1:{port}/"], stderr=subprocess.PIPE) as curl:
                    until("bytes come", lambda: out.exists() and out.stat().st_size >= 50000)
                    server.kill(sig)
                    assert curl.wait(30) != 0, (flags, sig)
                server.popen.wait(10)
                client.stop()


def certificate_case(l, client_pki, server_pki, *needles, side="client", server_flags=(), client_flags=()):
    server = lab.Proc(l, "server", [BIN / "tunnels-server", "--config", server_pki / "server.yaml", "-server.addr",
                      f"127.0.0.1:{l.port}", "-server.allow", "127.0.0.0/8", *server_flags]).ready()
    socks = lab.free_port()
    client = lab.Proc(l, "client", [BIN / "tunnels-client", "--config", client_pki / "client.yaml", "-server.addr",
                      f"127.0.0.1:{l.port}", "-client.addr", f"127.0.0.1:{socks}", *client_flags]).ready()
    sock, _ = socks5(socks, "127.0.0.1", 9, early=b"x")
    assert end_of(sock) == "rst"
    for needle in needles:
        (client if side == "client" else server).wait_text(needle, 10)
    for proc in (client, server):
        assert proc.popen.poll() is None, "a refused peer must not end the process"
        proc.stop()


def test_wrong_ca_and_wrong_name_are_refused_with_the_fault_named():
    with Lab() as l:
        right, other = l.init(), l.init(folder=l.dir / "other")
        certificate_case(l, other, right, "TunneLS", "ca.crt")
        # The client trusts the server, but its own certificate is another CA's.
        mixed = ["-tls.client.cert", other / "client.crt", "-tls.client.key", other / "client.key"]
        certificate_case(l, right, right, "is signed by", side="server", client_flags=mixed)
        certificate_case(l, right, right, "refused our certificate", client_flags=mixed)
        certificate_case(l, right, right, "wrong.example", "127.0.0.1", client_flags=["-tls.server.name", "wrong.example"])


def test_server_certificate_used_as_clients_is_refused_before_anything_starts():
    with Lab() as l:
        l.init()
        answer = run(BIN / "tunnels-client", "--config", l.pki / "client.yaml", "-tls.client.cert", l.pki / "server.crt",
                     "-tls.client.key", l.pki / "server.key", "-sla.log.path", l.dir / "log")
        assert answer.returncode == 78 and b"client" in answer.stderr, answer


def test_a_server_that_refuses_us_is_left_for_the_next_one():
    with Lab() as l:
        good, other = l.init(), l.init(folder=l.dir / "other")
        port, bad_port = l.listen(lab.echo), lab.free_port()
        for flags in ([], ["-remux.wire", "classic"], ["-eagersocks.net", "tls"]):
            # The first server shows a certificate that we trust, but wants clients of another CA.
            bad = lab.Proc(l, "server", [BIN / "tunnels-server", "--config", good / "server.yaml", "-server.addr",
                           f"127.0.0.1:{bad_port}", "-tls.client.ca", other / "ca.crt", *flags]).ready()
            server = l.server(*flags)
            socks = lab.free_port()
            client = lab.Proc(l, "client", [BIN / "tunnels-client", "--config", good / "client.yaml", "-server.addr",
                              f"127.0.0.1:{bad_port},127.0.0.1:{l.port}", "-client.addr", f"127.0.0.1:{socks}", *flags]).ready()

            def served():
                try:
                    sock, _ = socks5(socks, "127.0.0.1", port, early=b"hello")
                    heard = read_exact(sock, 5)
                    rst(sock)  # the classic wire has no half-close for an orderly one
                    return heard == b"hello"
                except (ConnectionResetError, EOFError):
                    return False
            until(f"the second server is used with {flags}", served, 5)
            assert [served() for _ in range(5)] == [True] * 5, flags
            client.wait_text("refused our certificate")
            for proc in (client, server, bad):
                proc.stop()


def test_ends_with_different_settings_find_out_in_the_handshake():
    with Lab() as l:
        port = l.listen(lab.echo)
        for ours, theirs in (([], ["-eagersocks.net", "tls"]), (["-eagersocks.net", "tls"], []),
                             (["-remux.wire", "remux2"], ["-remux.wire", "classic"])):
            server, client = l.pair(server=theirs, client=ours)
            sock, _ = socks5(l.socks, "127.0.0.1", port, early=b"hello")
            sock.settimeout(10)
            try:
                assert sock.recv(100) == b"", "bytes of the tunnel reached the application"
                raise AssertionError("a clean end")
            except ConnectionResetError:
                pass
            client.wait_text("TLS-1", 5)
            client.stop()
            server.stop()


def test_no_certificate_gets_no_further_than_the_handshake():
    with Lab() as l:
        server = l.server()
        answer = run("openssl", "s_client", "-connect", f"127.0.0.1:{l.port}", "-CAfile", l.pki / "ca.crt", "-quiet",
                     input=b"\x00\x01\x00\x05hello")
        assert b"certificate required" in answer.stderr, answer.stderr
        server.wait_text("certificate", 10)
        assert not server.events(event="conn_open")


def test_sixty_four_stopped_readers_beside_fifteen_active_ones():
    with Lab() as l:
        port = l.apart("endless")
        server, client = l.pair()

        def rate(seconds):
            counts, stop = [0] * 15, time.monotonic() + seconds
            active = [socks5(l.socks, "127.0.0.1", port)[0] for _ in range(15)]

            def read(i):
                while time.monotonic() < stop:
                    counts[i] += len(active[i].recv(1 << 18))

            threads = [threading.Thread(target=read, args=(i,)) for i in range(15)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            for sock in active:
                rst(sock)
            return sum(counts) / seconds / 1e6

        alone, beside, memory = [], [], 0
        for _ in range(5):  # in turn, as the machine's speed drifts
            alone.append(rate(2))
            stopped = [socks5(l.socks, "127.0.0.1", port)[0] for _ in range(64)]
            for sock in stopped:
                read_exact(sock, 1000)
            time.sleep(1)
            beside.append(rate(2))
            memory = max(memory, server.rss_mib(), client.rss_mib())
            for sock in stopped:
                rst(sock)
        ratio = statistics.median(beside) / statistics.median(alone)
        print(f"  15 active readers: {', '.join(f'{r:.0f}' for r in alone)} MB/s alone, {', '.join(f'{r:.0f}' for r in beside)} beside "
              f"64 stopped ones; {ratio:.2f} of their rate by the medians; at most {memory:.0f} MiB")
        assert ratio >= 0.8, (alone, beside)
        assert memory < 400, memory


def test_stopped_client_process_is_noticed_and_its_destinations_are_reset():
    with Lab() as l:
        ends = []

        def watch(sock):
            sock.sendall(b"begin")
            ends.append(end_of(sock))

        port = l.listen(watch)
        server, client = l.pair()
        sock, _ = socks5(l.socks, "127.0.0.1", port)
        assert read_exact(sock, 5) == b"begin"
        client.kill(signal.SIGSTOP)
        began = time.monotonic()
        until("the server gives the silent client up", lambda: ends, 45)
        print(f"  a stopped client was given up after {time.monotonic() - began:.0f} s")
        assert ends == ["rst"]
        client.kill(signal.SIGCONT)
        assert end_of(sock) == "rst"


def test_terminate_drains_and_a_second_signal_ends_at_once():
    with Lab() as l:
        port = l.listen(lab.echo)
        for role in ("server", "client"):
            server, client = l.pair()
            sock, _ = socks5(l.socks, "127.0.0.1", port, early=b"a")
            assert read_exact(sock, 1) == b"a"
            proc = server if role == "server" else client
            proc.kill(signal.SIGTERM)
            proc.wait_text("drain")
            sock.sendall(b"still")
            assert read_exact(sock, 5) == b"still"
            sock.shutdown(socket.SHUT_WR)
            assert end_of(sock) == "fin"
            assert proc.popen.wait(15) == 0
            for other in l.procs:
                other.kill()
                other.popen.wait()
            server, client = l.pair()
            sock, _ = socks5(l.socks, "127.0.0.1", port, early=b"a")
            assert read_exact(sock, 1) == b"a"
            proc = server if role == "server" else client
            proc.kill(signal.SIGTERM)
            proc.wait_text("drain")
            began = time.monotonic()
            proc.kill(signal.SIGTERM)
            proc.popen.wait(15)
            assert time.monotonic() - began < 5
            assert end_of(sock) == "rst"
            for other in l.procs:
                other.kill()
                other.popen.wait()


def test_drain_limit_resets_what_does_not_end():
    with Lab() as l:
        port = l.listen(lab.echo)
        server, client = l.pair(server=["-drain.max.sec", "2"])
        sock, _ = socks5(l.socks, "127.0.0.1", port, early=b"a")
        assert read_exact(sock, 1) == b"a"
        server.kill(signal.SIGTERM)
        assert end_of(sock) == "rst"
        assert server.popen.wait(10) == 0


def test_hangup_reloads_grants_users_and_certificates_without_touching_live_streams():
    with Lab() as l:
        l.init()
        kept, closed = l.listen(lab.echo), l.listen(lab.echo)
        config = (l.pki / "server.yaml").read_text()
        l.server(config=True)
        l.procs[-1].stop()
        # Grants in the file, so that the file can change them.
        (l.pki / "server.yaml").write_text(config + "\n")
        grants = l.pki / "server.yaml"
        text = "\n".join(line for line in config.splitlines() if not line.strip().startswith("allow:"))
        assert "server:" in text
        open_ = text.replace("server:", "server:\n  allow: [\"127.0.0.0/8\"]", 1)
        grants.write_text(open_)
        server = lab.Proc(l, "server", [BIN / "tunnels-server", "--config", grants, "-server.addr", f"127.0.0.1:{l.port}"]).ready()
        l.client("-eagersocks.reply", "strict")
        live, code = socks5(l.socks, "127.0.0.1", kept, early=b"a")
        assert code == 0 and read_exact(live, 1) == b"a"
        assert socks5(l.socks, "127.0.0.1", closed)[1] == 0
        grants.write_text(text.replace("server:", f"server:\n  allow: [\"127.0.0.0/8:{kept}\"]", 1))
        server.kill(signal.SIGHUP)
        server.wait_text("reload")

        def denied():
            sock, code = socks5(l.socks, "127.0.0.1", closed)
            sock.close()
            return code == 2
        until("the new grants hold", denied, 10)
        live.sendall(b"live")
        assert read_exact(live, 4) == b"live"
        grants.write_text("server: [")
        server.kill(signal.SIGHUP)
        server.wait_text("server.yaml:2:1", 10)
        live.sendall(b"live")
        assert read_exact(live, 4) == b"live"


def test_bad_configurations_end_with_their_exit_code_and_one_line():
    with Lab() as l:
        l.init()
        base = [BIN / "tunnels-client", "--config", l.pki / "client.yaml", "-sla.log.path", l.dir / "log"]
        cases = [
            (64, ["-remux.reuse.max.sek", "1"], b"remux.reuse.max.sec"),
            (64, ["-remux.reuse.max.sec", "soon"], b"soon"),
            (78, ["-client.addr", "0.0.0.0:1080"], b"0.0.0.0:1080"),
            (64, ["-client.addr", ""], b"client.addr"),
            (78, ["-tls.client.key", "/nonexistent.key"], b"/nonexistent.key"),
            (78, ["-tls.client.key", l.pki / "server.key"], b"server.key"),
            (78, ["-eagersocks.reply", "strict", "-remux.wire", "classic"], b"classic"),
        ]
        for code, flags, needle in cases:
            answer = run(*base, *flags)
            assert answer.returncode == code and needle in answer.stderr, (flags, answer)
            assert answer.stderr.count(b"\n") == 1, answer.stderr.decode()
        (l.pki / "client.key").chmod(0o644)
        answer = run(*base)
        assert answer.returncode == 78 and b"chmod 600" in answer.stderr, answer
