//! Handshakes cut off at every byte, and handed over in the smallest pieces there are: a prober's way in, if any.

use tokio::io::{AsyncRead, AsyncWrite};

use super::*;

#[tokio::test(start_paused = true)]
async fn handshake_cut_off_at_any_byte_is_refused_at_once() {
    let world = World::new();
    let server = ServerTls::load(world.server.clone()).expect("server");
    let client = ClientTls::load(world.client.clone()).expect("client");
    let (mut accepted, mut refused) = (0, 0);
    // Longer than any handshake: signatures differ in length.
    for most in 0..4000 {
        let (near, middle) = duplex(64 * 1024);
        let (hither, far) = duplex(64 * 1024);
        let dial = async { drop(client.connect(near, Some(&host()), "pipe").await) };
        let relay = cut_off(middle, hither, most);
        let accept = async { server.accept(far, "pipe").await.map(drop).map_err(|error| error.to_string()) };
        let ((), whole, outcome) = tokio::join!(dial, relay, accept);
        match outcome {
            Ok(()) => {
                assert!(whole, "accepted after {most} bytes, and more were to come");
                accepted += 1;
            }
            // TLS-141, and not TLS-140: nobody waits for a deadline.
            Err(text) => {
                assert!(!whole, "refused, and all {most} bytes had come: {text}");
                assert!(text.starts_with("TLS-141"), "cut off at {most}: {text}");
                refused += 1;
            }
        }
        if accepted == 3 {
            break;
        }
    }
    assert!(accepted == 3 && refused > 1500, "{accepted} accepted, {refused} refused");
}

#[tokio::test(start_paused = true)]
async fn handshake_that_comes_byte_by_byte_is_as_good_as_any() {
    let world = World::new();
    let server = ServerTls::load(world.server.clone()).expect("server");
    let client = ClientTls::load(world.client.clone()).expect("client");
    // Between them somebody with more room: two ends that must write before they read would wait for each other.
    let (near, middle) = duplex(64 * 1024);
    let (hither, far) = duplex(1);
    let relay = tokio::spawn(cut_off(middle, hither, usize::MAX));
    let host = host();
    let (server, client) =
        tokio::join!(server.accept(far, "pipe"), client.connect(near, Some(&host), "pipe"));
    says_hello(client.expect("client"), server.expect("server")).await;
    assert!(relay.await.expect("relay"));
}

/// The hello in records of one byte each; what follows it, sealed, in the shortest ones a client can be told to make.
#[tokio::test(start_paused = true)]
async fn handshake_in_records_of_one_byte_is_as_good_as_any() {
    let world = World::new();
    let server = ServerTls::load(world.server.clone()).expect("server");
    let mut config = foreign_client(&world, &world.ca);
    config.max_fragment_size = Some(32);
    let client = TlsConnector::from(Arc::new(config));
    let (near, middle) = duplex(64 * 1024);
    let (hither, far) = duplex(1);
    let relay = tokio::spawn(one_byte_records(middle, hither));
    let (server, client) = tokio::join!(server.accept(far, "pipe"), client.connect(name(), near));
    says_hello(client.expect("client"), server.expect("server")).await;
    assert!(relay.await.expect("relay") > 1000, "the hello went in one-byte records");
}

/// Frames of the wire behind the client's last handshake message, in the same flight, from one who has shown no
/// certificate: the server has them in its hands before it knows, and hands over nothing.
#[tokio::test(start_paused = true)]
async fn frames_sent_before_the_certificate_is_judged_reach_nobody() {
    let world = World::new();
    let server = ServerTls::load(world.server.clone()).expect("server");
    let unknown = TlsConnector::from(Arc::new(foreign_client(&world, &Ca::new("Old Root"))));
    for client in [world.stranger(), unknown] {
        let (near, far) = duplex(64 * 1024);
        let dial = async {
            let mut stream = client.connect(name(), near).await.expect("not judged yet");
            stream.write_all(&[7, 0, 0, 0, 0, 0, 0, 0]).await.expect("write");
            stream.flush().await.expect("flush");
            stream.read(&mut [0]).await.expect_err("refused")
        };
        let (outcome, told) = tokio::join!(server.accept(far, "pipe"), dial);
        assert!(outcome.is_err(), "there is a stream, and nobody proved anything");
        assert_eq!(told.kind(), io::ErrorKind::InvalidData, "an alert: {told}");
    }
}

/// A client of somebody else's making, with a certificate of `ca`.
fn foreign_client(world: &World, ca: &Ca) -> ClientConfig {
    let issued = ca.issue(&Leaf::client("laptop-7"));
    let key = rustls_pki_types::PrivateKeyDer::try_from(issued.key_der()).expect("key");
    let chain = vec![CertificateDer::from(issued.der().to_vec())];
    world.foreign().with_client_auth_cert(chain, key).expect("certificate")
}

/// Moves at most `most` bytes towards the server, then ends; whether that was all there was.
async fn cut_off(client: DuplexStream, server: DuplexStream, most: usize) -> bool {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let back = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    let there = async {
        let (mut left, mut piece) = (most, [0; 4096]);
        loop {
            match from_client.read(&mut piece).await {
                Ok(0) | Err(_) => return true,
                Ok(n) if n > left => {
                    let _ = to_server.write_all(&piece[..left]).await;
                    let _ = to_server.shutdown().await;
                    return false;
                }
                Ok(n) => {
                    let _ = to_server.write_all(&piece[..n]).await;
                    left -= n;
                }
            }
        }
    };
    let (whole, ()) = tokio::join!(there, back);
    whole
}

/// Cuts the handshake's plain records into such of one byte; how many it made.
async fn one_byte_records(client: DuplexStream, server: DuplexStream) -> usize {
    const HANDSHAKE: u8 = 22;
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut made = 0;
    loop {
        let mut head = [0; 5];
        if from_client.read_exact(&mut head).await.is_err() {
            return made;
        }
        let mut body = vec![0; u16::from_be_bytes([head[3], head[4]]).into()];
        from_client.read_exact(&mut body).await.expect("a whole record");
        let size = if head[0] == HANDSHAKE { 1 } else { body.len() };
        for piece in body.chunks(size) {
            let length = u16::try_from(piece.len()).expect("short").to_be_bytes();
            let record = [&head[..3], &length, piece].concat();
            if to_server.write_all(&record).await.is_err() {
                return made;
            }
            made += usize::from(size == 1);
        }
    }
}

async fn says_hello(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    mut server: impl AsyncRead + AsyncWrite + Unpin,
) {
    let say = async {
        client.write_all(b"hello").await.expect("write");
        client.shutdown().await.expect("shutdown");
        client
    };
    let mut text = [0; 5];
    let (_client, read) = tokio::join!(say, server.read_exact(&mut text));
    read.expect("read");
    assert_eq!(&text, b"hello");
}
