"""Who may do what: lists, revocation, ends of certificates, and every kind of wrong certificate, with the real programs."""
import concurrent.futures
import datetime
import signal
import socket
import subprocess
import time

from lab import Lab, end_of, echo, read_exact, socks5, until

LIMIT = 5.0
CARRIERS = {
    "remux2": ([], []),
    "classic": (["-remux.wire", "classic"], ["-remux.wire", "classic"]),
    "eager": (["-eagersocks.net", "tls"], ["-eagersocks.net", "tls"]),
}


class Papers:
    """A CA of OpenSSL, as operators have one, and what it signs."""

    def __init__(self, folder, name="Real CA"):
        self.dir = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.txt").write_text("")
        (folder / "index.txt.attr").write_text("unique_subject = no\n")
        (folder / "crlnumber").write_text("01\n")
        (folder / "ca.cnf").write_text(
            f"[ca]\ndefault_ca=c\n[c]\ndir={folder}\ndatabase={folder}/index.txt\nnew_certs_dir={folder}\nrand_serial=yes\n"
            f"crlnumber={folder}/crlnumber\ndefault_md=sha256\ndefault_crl_days=30\npolicy=p\ncopy_extensions=none\n"
            f"[p]\ncommonName=supplied\n[req]\ndistinguished_name=d\nprompt=no\nx509_extensions=v\n[d]\nCN={name}\n"
            "[v]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n")
        self.ca = folder / "ca.crt"
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                     "-keyout", folder / "ca.key", "-out", self.ca, "-config", folder / "ca.cnf")

    def openssl(self, *args):
        done = subprocess.run(["openssl", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def issue(self, name, use="clientAuth", san=None, begins=-3600, ends=3600, signs_itself=False):
        """Writes NAME.crt and NAME.key; times are seconds from now."""
        key, crt = self.dir / f"{name}.key", self.dir / f"{name}.crt"
        csr, ext = self.dir / f"{name}.csr", self.dir / f"{name}.ext"
        ext.write_text("basicConstraints=critical,CA:FALSE\n"
                       + (f"extendedKeyUsage={use}\n" if use else "") + f"subjectAltName={san or 'DNS:' + name}\n")
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", csr,
                     "-subj", f"/CN={name}")
        key.chmod(0o600)
        if signs_itself:
            self.openssl("x509", "-req", "-in", csr, "-signkey", key, "-days", "1", "-extfile", ext, "-out", crt)
            return self
        at = [(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=s)).strftime("%y%m%d%H%M%SZ")
              for s in (begins, ends)]
        self.openssl("ca", "-batch", "-config", self.dir / "ca.cnf", "-cert", self.ca, "-keyfile", self.dir / "ca.key", "-in", csr,
                     "-out", crt, "-extfile", ext, "-startdate", at[0], "-enddate", at[1], "-notext")
        return self

    def crl(self):
        self.openssl("ca", "-config", self.dir / "ca.cnf", "-cert", self.ca, "-keyfile", self.dir / "ca.key", "-gencrl",
                     "-out", self.dir / "crl.pem")
        return self.dir / "crl.pem"

    def revoke(self, name):
        self.openssl("ca", "-config", self.dir / "ca.cnf", "-cert", self.ca, "-keyfile", self.dir / "ca.key", "-revoke",
                     self.dir / f"{name}.crt")

    def fingerprint(self, name):
        return self.openssl("x509", "-in", self.dir / f"{name}.crt", "-noout", "-fingerprint", "-sha256").strip().split("=")[1]

    def client(self, name="client", ca=None):
        return ["-tls.server.ca", ca or self.ca, "-tls.client.cert", self.dir / f"{name}.crt",
                "-tls.client.key", self.dir / f"{name}.key"]

    def server(self, name="server", ca=None):
        return ["-tls.client.ca", ca or self.ca, "-tls.server.cert", self.dir / f"{name}.crt",
                "-tls.server.key", self.dir / f"{name}.key"]


def papers(lab):
    return Papers(lab.dir / "papers").issue("server", "serverAuth", "IP:127.0.0.1").issue("client")


def flow(lab, port):
    """A stream that runs: an application's socket with an answer behind it."""
    sock, code = socks5(lab.socks, "127.0.0.1", port, b"ping")
    assert code == 0 and read_exact(sock, 4) == b"ping"
    return sock


def cut(sock, began, clean=("rst",)):
    """Waits for the end of a stream; the seconds it took. It is a reset, never a clean end."""
    sock.settimeout(LIMIT + 5)
    end = end_of(sock)
    took = time.monotonic() - began
    assert end in clean, end
    assert took < LIMIT, took
    return took


def reload(server, count=1):
    server.kill(signal.SIGHUP)
    until("the reload is over", lambda: len(server.events(event="reloaded") + server.events(event="reload_failed")) >= count)


def figure(name, seconds):
    print(f"  figure: {name}: {seconds * 1000:.0f} ms", flush=True)


def test_removed_or_revoked_identity_is_cut_and_not_let_in_again():
    for carrier, (of_server, of_client) in CARRIERS.items():
        for how in ["removed", "identity", "fingerprint"]:
            with Lab() as lab:
                made = papers(lab)
                listed = lab.dir / "identities.yaml"
                listed.write_text("identities: {client: {}}\n")
                lab.init()
                server = lab.server(*made.server(), "-server.identities.file", listed, *of_server)
                client = lab.client(*made.client(), *of_client)
                port = lab.listen(echo)
                sock = flow(lab, port)
                listed.write_text({
                    "removed": "identities: {another: {}}\n",
                    "identity": "identities: {client: {}}\nrevoked: [client]\n",
                    "fingerprint": f"identities: {{client: {{}}}}\nrevoked: ['sha256:{made.fingerprint('client')}']\n",
                }[how])
                began = time.monotonic()
                server.kill(signal.SIGHUP)
                figure(f"{carrier}, {how}: from SIGHUP to the application's reset", cut(sock, began))
                until("the server tells of the cut", lambda: server.events(event="peer_cut", identity="client"))
                assert len(server.events(event="peer_cut")) == 1
                again, _ = socks5(lab.socks, "127.0.0.1", port, b"ping")
                assert end_of(again) == "rst"
                refused = until("it is refused", lambda: server.events(event="peer_refused", identity="client"))
                assert ("TLS-138" if how == "removed" else "TLS-139") in refused[0]["cause"]
                word = "access_denied" if how == "removed" else "certificate_revoked"
                client.wait_text(word)
                assert "TLS-120" in client.text() and "127.0.0.1" in client.text()


def test_certificate_that_ends_is_cut_at_either_side_within_five_seconds():
    runs = [(carrier, whose) for carrier in CARRIERS for whose in ["client", "server"]]
    with concurrent.futures.ThreadPoolExecutor(len(runs)) as all_at_once:
        for done in [all_at_once.submit(certificate_ends, *run) for run in runs]:
            done.result()


def certificate_ends(carrier, whose, lives=10):
    of_server, of_client = CARRIERS[carrier]
    with Lab() as lab:
        made = papers(lab)
        ends = time.time() + lives
        if whose == "client":
            made.issue("client", ends=lives)
        else:
            made.issue("server", "serverAuth", "IP:127.0.0.1", ends=lives)
        lab.init()
        server = lab.server(*made.server(), *of_server)
        client = lab.client(*made.client(), *of_client)
        sock = flow(lab, lab.listen(echo))
        sock.settimeout(lives + LIMIT + 10)
        assert end_of(sock) == "rst"
        late = time.time() - ends
        assert -1 <= late < LIMIT, late
        figure(f"{carrier}: from the end of the {whose}'s certificate to the reset", max(late, 0))
        judge = server if whose == "client" else client
        told = until("the cut is told", lambda: judge.events(event="peer_cut"))
        assert "expired" in told[0]["cause"], told


def test_connection_outlives_its_certificate_where_that_is_set():
    with Lab() as lab:
        made = papers(lab).issue("client", ends=4)
        lab.init()
        lab.server(*made.server(), "-tls.cut.expired=false")
        lab.client(*made.client())
        sock = flow(lab, lab.listen(echo))
        time.sleep(4 + LIMIT)
        sock.sendall(b"late")
        assert read_exact(sock, 4) == b"late"


def test_revocation_list_of_the_ca_and_a_changed_ca_cut_at_reload():
    for how in ["crl", "ca"]:
        with Lab() as lab:
            made = papers(lab)
            trusted = lab.dir / "trusted.crt"
            trusted.write_bytes(made.ca.read_bytes())
            lab.init()
            server = lab.server(*made.server(ca=trusted), "-tls.client.crl", made.crl())
            lab.client(*made.client())
            sock = flow(lab, lab.listen(echo))
            reload(server)
            sock.sendall(b"on")
            assert read_exact(sock, 2) == b"on", "a plain reload cuts nobody"
            if how == "crl":
                made.revoke("client")
                made.crl()
            else:
                other = Papers(lab.dir / "other", "Other CA")
                trusted.write_bytes(other.ca.read_bytes())
            began = time.monotonic()
            server.kill(signal.SIGHUP)
            figure(f"{how}: from SIGHUP to the application's reset", cut(sock, began))


def test_narrowed_grant_cuts_that_stream_and_no_other():
    with Lab() as lab:
        made = papers(lab)
        one, two = lab.listen(echo), lab.listen(echo)
        listed = lab.dir / "identities.yaml"
        listed.write_text(f"identities:\n  client: {{only: ['127.0.0.1:{one}', '127.0.0.1:{two}']}}\n")
        lab.init()
        server = lab.server(*made.server(), "-server.identities.file", listed)
        lab.client(*made.client(), "-eagersocks.reply", "strict")
        goes, stays = flow(lab, one), flow(lab, two)
        listed.write_text(f"identities:\n  client: {{only: ['127.0.0.1:{two}']}}\n")
        began = time.monotonic()
        server.kill(signal.SIGHUP)
        figure("from SIGHUP to the reset of a stream whose grant is gone", cut(goes, began))
        stays.sendall(b"stay")
        assert read_exact(stays, 4) == b"stay"
        assert socks5(lab.socks, "127.0.0.1", one)[1] == 2, "and new ones are denied"
        assert server.events(event="acl_denied", identity="client")


def test_failed_reload_changes_nothing_and_names_line_and_key():
    with Lab() as lab:
        made = papers(lab)
        listed = lab.dir / "identities.yaml"
        listed.write_text("identities: {client: {}}\n")
        lab.init()
        server = lab.server(*made.server(), "-server.identities.file", listed)
        lab.client(*made.client())
        sock = flow(lab, lab.listen(echo))
        listed.write_text("identities:\n  another: {}\n  third: {stream: 5}\n")
        reload(server)
        told = server.events(event="reload_failed")[0]["cause"]
        assert "identities.yaml:3:11" in told and "did you mean streams?" in told, told
        time.sleep(1)
        sock.sendall(b"on")
        assert read_exact(sock, 2) == b"on"


def test_limits_of_an_identity_hold_and_change_with_a_reload():
    with Lab() as lab:
        made = papers(lab)
        listed = lab.dir / "identities.yaml"
        listed.write_text("identities: {client: {streams: 2}}\n")
        lab.init()
        server = lab.server(*made.server(), "-server.identities.file", listed)
        lab.client(*made.client(), "-eagersocks.reply", "strict")
        port = lab.listen(echo)
        held = [flow(lab, port) for _ in range(2)]
        assert socks5(lab.socks, "127.0.0.1", port)[1] == 1
        listed.write_text("identities: {client: {streams: 3}}\n")
        reload(server)
        held.append(flow(lab, port))
        assert socks5(lab.socks, "127.0.0.1", port)[1] == 1
        assert server.events(event="limit_reached")


def test_matrix_of_wrong_certificates():
    """Each is refused, nothing of it is served, both logs say why, and a good peer gets in afterwards."""
    at_client = {  # the client's certificate is wrong: the server's words, the client's words
        "expired": (dict(begins=-7200, ends=-3600), "TLS-132", "certificate_expired"),
        "not yet valid": (dict(begins=3600, ends=7200), "TLS-133", "certificate_expired"),
        "no use": (dict(use=None), "TLS-134", "unsupported_certificate"),
        "a server's": (dict(use="serverAuth"), "TLS-134", "unsupported_certificate"),
        "signed by itself": (dict(signs_itself=True), "TLS-131", "TLS-120"),
    }
    at_server = {  # the server's certificate is wrong: the client's words
        "expired": (dict(begins=-7200, ends=-3600), "TLS-103"),
        "not yet valid": (dict(begins=3600, ends=7200), "TLS-111"),
        "no use": (dict(use=None), "TLS-104"),
        "a client's": (dict(use="clientAuth"), "TLS-104"),
        "another name": (dict(san="DNS:other.example"), "TLS-101"),
        "signed by itself": (dict(signs_itself=True), "TLS-102"),
    }
    with Lab() as lab:
        made = papers(lab)
        for side, matrix in [("client", at_client), ("server", at_server)]:
            for name, (how, *_) in matrix.items():
                facts = {"use": "clientAuth" if side == "client" else "serverAuth",
                         "san": "DNS:x" if side == "client" else "IP:127.0.0.1", **how}
                made.issue(f"{side}-{name.replace(' ', '-')}", **facts)
        other = Papers(lab.dir / "other", "Other CA").issue("client").issue("server", "serverAuth", "IP:127.0.0.1")
        # Our own programs refuse to start with such a certificate: OpenSSL plays the peer.
        lab.init()
        server = lab.server(*made.server())
        cases = {name: (made, f"client-{name.replace(' ', '-')}", code) for name, (_, code, _) in at_client.items()}
        cases["another CA's"] = (other, "client", "TLS-131")
        for name, (of, file, code) in cases.items():
            seen = len(server.events(event="handshake_failed"))
            subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{lab.port}", "-tls1_3", "-alpn", "remux/2",
                            "-CAfile", made.ca, "-cert", of.dir / f"{file}.crt", "-key", of.dir / f"{file}.key"],
                           input=b"x" * 64, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
            told = until(name, lambda: server.events(event="handshake_failed")[seen:])[0]["cause"]
            assert code in told, (name, told)
        assert not server.events(event="conn_open"), "no wire was ever spoken"
        good = lab.client(*made.client())
        sock = flow(lab, lab.listen(echo))
        sock.close()
        good.stop()
        server.stop()

        cases = {name: (made, f"server-{name.replace(' ', '-')}", code) for name, (_, code) in at_server.items()}
        cases["another CA's"] = (other, "server", "TLS-102")
        for name, (of, file, code) in cases.items():
            peer = subprocess.Popen(["openssl", "s_server", "-accept", f"127.0.0.1:{lab.port}", "-tls1_3", "-alpn", "remux/2",
                                     "-cert", of.dir / f"{file}.crt", "-key", of.dir / f"{file}.key", "-Verify", "1",
                                     "-CAfile", made.ca, "-quiet"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL)
            try:
                until("s_server listens", lambda: can_connect(lab.port))
                client = lab.client(*made.client(), "-remux.dial.max.sec", "3")
                asked, _ = socks5(lab.socks, "127.0.0.1", 9, b"x")
                assert end_of(asked) == "rst", name
                told = until(name, lambda: client.events(event="dial_failed"))[0]["cause"]
                assert code in told, (name, told)
                assert not client.events(event="conn_open"), name
                client.kill()
                client.popen.wait()
            finally:
                peer.kill()
                peer.wait()


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False
