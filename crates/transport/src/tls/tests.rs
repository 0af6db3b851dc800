//! Two ends in memory, with each fault a certificate can have: both sides must say the right thing.

mod torn;

use std::io;
use std::sync::Arc;

use framing::Host;
use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, SimplexStream, WriteHalf, duplex,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::provider::provider;
use super::*;
use crate::cert::{Identity, Role};
use crate::limits::Outcome;
use crate::socket::Socket;
use crate::testing::{Ca, Leaf};

mod standing;

const SERVER: &str = "a.example";

#[tokio::test]
async fn both_ends_meet_with_the_hybrid_exchange_and_know_each_other() {
    let world = World::new();
    let (server, client) = world.meet().await;
    let (mut server, mut client) = (server.expect("server"), client.expect("client"));
    assert_eq!((server.group(), client.group()), ("X25519MLKEM768", "X25519MLKEM768"));
    assert_eq!(server.alpn(), Some(ALPN_REMUX2));
    assert_eq!(client.alpn(), Some(ALPN_REMUX2));
    assert_eq!(server.identity(), &Identity::Dns("laptop-7".to_owned()));
    assert_eq!(client.identity(), &Identity::Dns(SERVER.to_owned()));
    client.write_all(b"hello").await.expect("write");
    client.shutdown().await.expect("shutdown");
    let mut text = String::new();
    server.read_to_string(&mut text).await.expect("read to close_notify");
    assert_eq!(text, "hello");
}

#[tokio::test]
async fn plain_exchange_is_used_when_the_hybrid_is_switched_off() {
    let mut world = World::new();
    world.client.post_quantum = false;
    let (server, client) = world.meet().await;
    assert_eq!((server.expect("server").group(), client.expect("client").group()), ("X25519", "X25519"));
}

#[tokio::test]
async fn server_prefers_and_a_peer_without_alpn_is_accepted() {
    let (one, two, odd): (&[u8], &[u8], &[u8]) = (ALPN_REMUX1, ALPN_REMUX2, b"h2");
    for (server, client, chosen) in [
        (vec![two, one], vec![one, two], Some(two)),
        (vec![one, two], vec![two, one], Some(one)),
        (vec![two, one], vec![one], Some(one)),
        (vec![two, one], vec![odd, one], Some(one)),
        (vec![two, one], vec![], None),
        (vec![], vec![two, one], None),
        (vec![], vec![], None),
    ] {
        let mut world = World::new();
        world.server.alpn = server.iter().map(|name| name.to_vec()).collect();
        world.client.alpn = client.iter().map(|name| name.to_vec()).collect();
        let (server, client) = world.meet().await;
        assert_eq!(server.expect("server").alpn(), chosen);
        assert_eq!(client.expect("client").alpn(), chosen);
    }
}

#[tokio::test]
async fn peer_that_speaks_only_other_protocols_is_refused_and_told() {
    let mut world = World::new();
    world.client.alpn = vec![b"h2".to_vec()];
    let (server, client) = world.quarrel().await;
    assert_says(&server, &["TLS-143", "remux/2, remux/1", "remux.wire"]);
    assert_says(&client, &["TLS-120", "alert: no_application_protocol", "remux.wire"]);
}

#[tokio::test]
async fn client_of_an_unknown_ca_is_refused_and_both_sides_name_the_cas() {
    let mut world = World::new();
    let old = Ca::new("Old Root");
    world.client.files = world.keep(&old.issue(&Leaf::client("laptop-7")), "old", &world.ca);
    let (server, client) = world.quarrel().await;
    assert_says(
        &server,
        &[
            "TLS-131",
            "client pipe",
            "\"laptop-7\"",
            "\"Old Root\"",
            "server.ca.pem",
            "1 CA: \"Root\"",
            "tls.client.ca",
        ],
    );
    assert_says(
        &client,
        &["TLS-120", "server pipe", "\"laptop-7\"", "unknown_ca", "\"Old Root\"", "tls.client.ca"],
    );
}

#[tokio::test]
async fn server_of_an_unknown_ca_is_refused_and_both_sides_name_the_cas() {
    let mut world = World::new();
    let proxy = Ca::new("Corp Proxy CA");
    world.server.files = world.keep(&proxy.issue(&Leaf::server(SERVER)), "proxy", &world.ca);
    let (server, client) = world.quarrel().await;
    assert_says(
        &client,
        &["TLS-102", "signed by \"Corp Proxy CA\"", "1 CA: \"Root\"", "intercepting", "tls.server.ca"],
    );
    assert_says(
        &server,
        &["TLS-136", "refused our certificate", "unknown_ca", "\"Corp Proxy CA\"", "tls.server.ca"],
    );
}

#[tokio::test]
async fn ca_made_again_under_the_same_name_is_recognised() {
    let mut world = World::new();
    let again = Ca::new("Root");
    world.client.files = world.keep(&again.issue(&Leaf::client("laptop-7")), "again", &world.ca);
    let (server, client) = world.quarrel().await;
    assert_says(&server, &["TLS-131", "made again under the same name"]);
    // rustls may tell it as unknown_ca or as decrypt_error; both name the issuer.
    assert_says(&client, &["TLS-120", "\"Root\""]);
}

#[tokio::test]
async fn expired_client_is_refused_and_told_to_renew() {
    let mut world = World::new();
    world.client.files =
        world.keep(&world.ca.issue(&Leaf::client("laptop-7").expired()), "expired", &world.ca);
    let (server, client) = world.quarrel().await;
    assert_says(&server, &["TLS-132", "\"laptop-7\"", "expired", "2021-01-01 00:00 UTC", "clock here says"]);
    assert_says(&client, &["TLS-120", "certificate_expired", "2021-01-01 00:00 UTC", "renew it"]);
}

#[tokio::test]
async fn client_from_the_future_is_refused_and_the_clock_suspected() {
    let mut world = World::new();
    world.client.files =
        world.keep(&world.ca.issue(&Leaf::client("laptop-7").not_yet_valid()), "future", &world.ca);
    let (server, client) = world.quarrel().await;
    assert_says(&server, &["TLS-133", "not valid before 2999-01-01", "NTP"]);
    assert_says(&client, &["TLS-120", "certificate_expired", "valid 2999-01-01"]);
}

#[tokio::test]
async fn expired_and_future_servers_are_refused() {
    let mut world = World::new();
    world.server.files = world.keep(&world.ca.issue(&Leaf::server(SERVER).expired()), "expired", &world.ca);
    let (server, client) = world.quarrel().await;
    assert_says(&client, &["TLS-103", "\"a.example\"", "expired", "2021-01-01"]);
    assert_says(&server, &["TLS-136", "certificate_expired", "renew it"]);
    world.server.files =
        world.keep(&world.ca.issue(&Leaf::server(SERVER).not_yet_valid()), "future", &world.ca);
    let (_, client) = world.quarrel().await;
    assert_says(&client, &["TLS-111", "not valid before 2999-01-01", "NTP"]);
}

#[tokio::test]
async fn server_of_another_name_is_refused_and_its_names_are_listed() {
    let mut world = World::new();
    let leaf = Leaf::server("vpn.example.org").ip([192, 0, 2, 1]);
    world.server.files = world.keep(&world.ca.issue(&leaf), "other", &world.ca);
    let (server, client) = world.quarrel().await;
    assert_says(
        &client,
        &["TLS-101", "vpn.example.org, 192.0.2.1", "not for a.example", "tls.server.name to vpn.example.org"],
    );
    assert_says(&server, &["TLS-136", "bad_certificate", "vpn.example.org, 192.0.2.1", "tls.server.name"]);
    world.client.server_name = Some("vpn.example.org".to_owned());
    let (_, client) = world.meet().await;
    client.expect("named");
}

#[tokio::test]
async fn ip_literal_is_a_name_like_another() {
    let mut world = World::new();
    world.server.files =
        world.keep(&world.ca.issue(&Leaf::server(SERVER).ip([192, 0, 2, 1])), "ip", &world.ca);
    world.client.server_name = Some("192.0.2.1".to_owned());
    let (_, client) = world.meet().await;
    client.expect("listed");
    world.client.server_name = Some("192.0.2.2".to_owned());
    let (_, client) = world.quarrel().await;
    assert_says(&client, &["TLS-101", "192.0.2.1", "not for 192.0.2.2"]);
}

#[tokio::test]
async fn no_name_and_no_usable_name_are_refused_before_anything_is_sent() {
    let mut world = World::new();
    let client = ClientTls::load(world.client.clone()).expect("client");
    let error = client.connect(duplex(1).0, None, "/run/s").await.expect_err("no name").to_string();
    assert_says(&error, &["TLS-145", "/run/s", "tls.server.name"]);
    world.client.server_name = Some("not a name".to_owned());
    let client = ClientTls::load(world.client.clone()).expect("client");
    let error = client.connect(duplex(1).0, None, "/run/s").await.expect_err("bad name").to_string();
    assert_says(&error, &["TLS-145", "\"not a name\""]);
}

#[tokio::test]
async fn certificate_without_the_roles_use_is_refused_by_either_side() {
    for leaf in [
        Leaf::server("laptop-7"),
        Leaf::client("laptop-7").without_usage(),
        Leaf::client("laptop-7").any_usage(),
    ] {
        let mut world = World::new();
        world.client.files = world.keep(&world.ca.issue(&leaf), "use", &world.ca);
        let (server, client) = world.quarrel().await;
        assert_says(
            &server,
            &["TLS-134", "\"laptop-7\"", "not for a client", "extended key usage", "clientAuth"],
        );
        assert_says(&client, &["TLS-120", "unsupported_certificate", "wants clientAuth"]);
    }
    for leaf in [Leaf::client(SERVER), Leaf::server(SERVER).without_usage(), Leaf::server(SERVER).any_usage()]
    {
        let mut world = World::new();
        world.server.files = world.keep(&world.ca.issue(&leaf), "use", &world.ca);
        let (server, client) = world.quarrel().await;
        assert_says(&client, &["TLS-104", "not for a server", "serverAuth"]);
        assert_says(&server, &["TLS-136", "unsupported_certificate", "wants serverAuth"]);
    }
}

#[tokio::test]
async fn client_without_a_certificate_is_refused() {
    let world = World::new();
    let server = ServerTls::load(world.server.clone()).expect("server");
    let (near, far) = duplex(64 * 1024);
    let client = async {
        let mut stream = world.stranger().connect(name(), near).await.expect("TLS 1.3: not judged yet");
        explain_alert(&stream.read(&mut [0]).await.expect_err("alert")).expect("an alert")
    };
    let (server, client) = tokio::join!(server.accept(far, "pipe"), client);
    let error = server.expect_err("no certificate");
    assert_says(&error.to_string(), &["TLS-130", "client pipe sent no certificate", "tls.client.cert"]);
    assert_eq!(error.outcome(), Outcome::BadCertificate);
    assert_says(&client, &["certificate_required"]);
}

#[tokio::test]
async fn session_is_never_resumed_even_by_a_client_that_wants_to() {
    let world = World::new();
    let server = ServerTls::load(world.server.clone()).expect("server");
    let connector = world.resumer();
    for _ in 0..2 {
        let (near, far) = duplex(64 * 1024);
        let (server, client) = tokio::join!(server.accept(far, "pipe"), connector.connect(name(), near));
        let (mut server, mut client) = (server.expect("server"), client.expect("client"));
        server.write_all(b"x").await.expect("write");
        server.flush().await.expect("flush");
        client.read_exact(&mut [0]).await.expect("read past any ticket");
        let session = client.get_ref().1;
        assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(session.tls13_tickets_received(), 0);
    }
}

#[tokio::test]
async fn what_is_not_tls_is_called_so() {
    let world = World::new();
    let server = ServerTls::load(world.server.clone()).expect("server");
    let (mut near, far) = duplex(64 * 1024);
    near.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.expect("write");
    let (error, ()) = tokio::join!(server.accept(far, "pipe"), drain(near));
    let error = error.expect_err("not TLS");
    assert_says(&error.to_string(), &["TLS-142", "client pipe", "does not speak TLS"]);
    assert_eq!(error.outcome(), Outcome::Malformed);
    let client = ClientTls::load(world.client.clone()).expect("client");
    let (near, mut far) = duplex(64 * 1024);
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("write");
    let error = client.connect(near, Some(&host()), "pipe").await.expect_err("not TLS").to_string();
    assert_says(
        &error,
        &["TLS-142", "server pipe", "it said \"HTTP/1.1 400 Bad Request\"", "address and port"],
    );
}

#[tokio::test(start_paused = true)]
async fn silent_peer_is_let_go_at_the_deadline() {
    let world = World::new();
    let start = Instant::now();
    let server = ServerTls::load(world.server.clone()).expect("server");
    let (_near, far) = duplex(64);
    let error = server.accept(far, "pipe").await.expect_err("silence");
    assert_eq!(start.elapsed().as_secs(), 10);
    assert_says(&error.to_string(), &["TLS-140", "did not finish", "10 s"]);
    assert_eq!(error.outcome(), Outcome::Deadline);
    let client = ClientTls::load(world.client.clone()).expect("client");
    let (near, _far) = duplex(64 * 1024);
    let error = client.connect(near, Some(&host()), "pipe").await.expect_err("silence");
    assert_eq!(start.elapsed().as_secs(), 20);
    assert_says(&error.to_string(), &["TLS-140", "server pipe"]);
}

#[tokio::test(start_paused = true)]
async fn refused_client_that_neither_reads_nor_leaves_is_let_go_within_a_second() {
    let mut world = World::new();
    world.client.files = world.keep(&Ca::new("Old").issue(&Leaf::client("c")), "old", &world.ca);
    let server = ServerTls::load(world.server.clone()).expect("server");
    let client = ClientTls::load(world.client.clone()).expect("client");
    let (near, far) = duplex(64 * 1024);
    let start = Instant::now();
    let host = host();
    let (refusal, stays) =
        tokio::join!(server.accept(far, "pipe"), client.connect(near, Some(&host), "pipe"));
    assert_eq!(refusal.expect_err("refused").code(), "TLS-131");
    assert_eq!(start.elapsed().as_secs(), 1);
    drop(stays);
}

#[tokio::test]
async fn visitor_who_leaves_before_a_hello_is_told_from_one_who_made_us_work() {
    let world = World::new();
    let server = ServerTls::load(world.server.clone()).expect("server");
    let (near, far) = duplex(64);
    drop(near);
    let error = server.accept(far, "pipe").await.expect_err("gone");
    assert_eq!((error.code(), error.outcome()), ("TLS-141", Outcome::Gone));
    let client = ClientTls::load(world.client.clone()).expect("client");
    let (near, far) = one_way();
    let host = host();
    let (hello, server) = tokio::join!(client.connect(near, Some(&host), "pipe"), server.accept(far, "pipe"));
    hello.expect_err("no answer can come");
    assert_eq!(server.err().map(|error| error.outcome()), Some(Outcome::Abandoned));
}

#[tokio::test]
async fn stream_cut_without_close_notify_is_an_error_and_never_a_clean_end() {
    let world = World::new();
    let (server, client) = world.meet().await;
    drop(client);
    let error = server.expect("server").read(&mut [0]).await.expect_err("cut");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn received_plaintext_can_be_read_in_place() {
    let world = World::new();
    let (server, client) = world.meet().await;
    let (mut server, mut client) = (server.expect("server"), client.expect("client"));
    client.write_all(&[7; 1000]).await.expect("write");
    client.flush().await.expect("flush");
    assert_eq!(server.fill_buf().await.expect("read"), [7; 1000]);
    server.consume(999);
    assert_eq!(server.fill_buf().await.expect("read"), [7]);
}

#[tokio::test]
async fn reload_serves_new_certificates_and_a_failed_one_keeps_the_old() {
    let world = World::new();
    let server = ServerTls::load(world.server.clone()).expect("server");
    let client = ClientTls::load(world.client.clone()).expect("client");
    let before = server.certificate();
    world.keep(&world.ca.issue(&Leaf::server(SERVER)), "server", &world.ca);
    server.reload().expect("reload");
    let after = server.certificate();
    assert_ne!(before.spki_sha256, after.spki_sha256);
    let (_, seen) = meet(&server, &client).await;
    assert_eq!(seen.expect("client").certificate().spki_sha256, after.spki_sha256);
    std::fs::write(&world.server.files.certificate, "rubbish").expect("write");
    assert_eq!(server.reload().expect_err("rubbish").code(), "TLS-114");
    assert_eq!(server.certificate().spki_sha256, after.spki_sha256);
    let (server, _) = meet(&server, &client).await;
    server.expect("still serves");
    // A CA that no longer covers the server counts from the next handshake on.
    std::fs::write(&world.client.files.ca, Ca::new("Other").pem()).expect("write");
    client.reload().expect("reload");
    assert_eq!(client.authorities()[0].subject, "Other");
}

#[tokio::test]
async fn refused_client_reads_the_alert_although_it_has_sent_data_already() {
    let mut world = World::new();
    world.client.files = world.keep(&Ca::new("Old Root").issue(&Leaf::client("laptop-7")), "old", &world.ca);
    let server = ServerTls::load(world.server.clone()).expect("server");
    let client = ClientTls::load(world.client.clone()).expect("client");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let serve = async {
        let (socket, from) = listener.accept().await.expect("accept");
        server.accept(Socket::from(socket), &from.to_string()).await.expect_err("refused")
    };
    let dial = async {
        let socket = Socket::from(TcpStream::connect(address).await.expect("connect"));
        let mut stream =
            client.connect(socket, Some(&host()), "a.example:443").await.expect("not judged yet");
        let probe = stream.get_ref().probe().expect("tcp");
        let received = || probe.path().expect("facts").bytes_received;
        let before = received();
        // More than the server reads in one go, so that some of it lies unread when the certificate is judged.
        stream.write_all(&[0; 48 * 1024]).await.expect("write");
        while received() == before {
            tokio::task::yield_now().await;
        }
        // The alert is here. A server that had closed with data unread would have reset the connection by now.
        stream.write_all(b"more").await.expect("the connection still takes data");
        let error = stream.read(&mut [0]).await.expect_err("alert");
        stream.explainer().early_death(Some(&error))
    };
    let (refusal, told) = tokio::join!(serve, dial);
    assert_eq!(refusal.code(), "TLS-131");
    assert_says(&told, &["TLS-120", "server a.example:443", "unknown_ca"]);
}

#[tokio::test]
async fn early_death_without_an_alert_points_to_the_servers_log() {
    let world = World::new();
    let (_, client) = world.meet().await;
    let explainer = client.expect("client").explainer();
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    assert_eq!(explainer.explain(&reset), None);
    assert_eq!(explain_alert(&reset), None);
    assert_says(&explainer.early_death(Some(&reset)), &["TLS-121", "server pipe", "\"laptop-7\"", "its log"]);
    assert_says(&explainer.early_death(None), &["end of input"]);
}

/// A folder with a good server and a good client of one CA; a test spoils what it is about.
struct World {
    folder: TempDir,
    ca: Ca,
    server: TlsSettings,
    client: TlsSettings,
}

impl World {
    fn new() -> Self {
        let folder = TempDir::new().expect("folder");
        let ca = Ca::new("Root");
        let server = ca.issue(&Leaf::server(SERVER)).write(folder.path(), "server", &ca);
        let client = ca.issue(&Leaf::client("laptop-7")).write(folder.path(), "client", &ca);
        let alpn = [ALPN_REMUX2, ALPN_REMUX1];
        Self { folder, ca, server: TlsSettings::new(server, &alpn), client: TlsSettings::new(client, &alpn) }
    }

    fn keep(&self, issued: &crate::testing::Issued, name: &str, trusts: &Ca) -> TlsFiles {
        issued.write(self.folder.path(), name, trusts)
    }

    async fn meet(&self) -> (Met, Met) {
        let server = ServerTls::load(self.server.clone()).expect("server");
        meet(&server, &ClientTls::load(self.client.clone()).expect("client")).await
    }

    /// Both sides' words when the handshake, or the client's first read, fails.
    async fn quarrel(&self) -> (String, String) {
        let server = ServerTls::load_unjudged(self.server.clone()).expect("server");
        let client = ClientTls::load_unjudged(self.client.clone()).expect("client");
        let (near, far) = duplex(64 * 1024);
        let client = async {
            match client.connect(near, Some(&host()), "pipe").await {
                Err(error) => {
                    assert_eq!(error.side(), Role::Client);
                    error.to_string()
                }
                Ok(mut stream) => {
                    let error = stream.read(&mut [0]).await.expect_err("refused");
                    let told = stream.explainer().explain(&error).expect("an alert");
                    assert_eq!(error.to_string(), told, "the error itself says it too");
                    assert_eq!(explain_alert(&error), Some(told.clone()));
                    told
                }
            }
        };
        // An accepted stream is dropped at once, so that a fault nobody found ends in an end and not in a wait.
        let server = async { server.accept(far, "pipe").await.map(drop) };
        let (server, client) = tokio::join!(server, client);
        (server.expect_err("refused").to_string(), client)
    }

    /// A client of somebody else's making, without a certificate.
    fn stranger(&self) -> TlsConnector {
        let config = self.foreign().with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    /// One with a certificate, that resumes sessions wherever it can.
    fn resumer(&self) -> TlsConnector {
        let issued = self.ca.issue(&Leaf::client("resumer"));
        let key = rustls_pki_types::PrivateKeyDer::try_from(issued.key_der()).expect("key");
        let chain = vec![CertificateDer::from(issued.der().to_vec())];
        let mut config = self.foreign().with_client_auth_cert(chain, key).expect("certificate");
        config.resumption = Resumption::in_memory_sessions(8);
        TlsConnector::from(Arc::new(config))
    }

    fn foreign(&self) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.ca.der().to_vec())).expect("root");
        ClientConfig::builder_with_provider(provider(true))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("versions")
            .with_root_certificates(roots)
    }
}

type Met = Result<TlsStream<DuplexStream>, HandshakeError>;

async fn meet(server: &ServerTls, client: &ClientTls) -> (Met, Met) {
    let (near, far) = duplex(64 * 1024);
    let host = host();
    tokio::join!(server.accept(far, "pipe"), client.connect(near, Some(&host), "pipe"))
}

/// The first end can only send and the second can only receive; then both see the end of the other.
fn one_way() -> (
    tokio::io::Join<tokio::io::Empty, WriteHalf<SimplexStream>>,
    impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
) {
    let (reader, writer): (ReadHalf<SimplexStream>, _) = tokio::io::simplex(64 * 1024);
    (tokio::io::join(tokio::io::empty(), writer), tokio::io::join(reader, tokio::io::sink()))
}

async fn drain(mut near: DuplexStream) {
    let _ = near.read_to_end(&mut Vec::new()).await;
}

fn host() -> Host {
    Host::Name(framing::Name::new(SERVER).expect("name"))
}

fn name() -> ServerName<'static> {
    ServerName::try_from(SERVER).expect("name")
}

#[track_caller]
fn assert_says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
    assert!(message.contains('→') || message.contains("alert"), "no remedy in: {message}");
    assert!(!message.contains('\n'), "more than a line: {message}");
}

const _: fn() = || {
    fn sent<T: Send>(_: T) {}
    fn each(server: &ServerTls, client: &ClientTls, io: DuplexStream, other: DuplexStream) {
        sent(server.accept(io, ""));
        sent(client.connect(other, None, ""));
    }
    let _ = each;
};
