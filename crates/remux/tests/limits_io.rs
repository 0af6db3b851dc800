//! What the drivers bound beside the session: streams nobody accepts, and connections that don't want to end.
#![cfg(feature = "io")]

use std::time::Duration;

use framing::remux2::{Code, HEADER, Header, Kind};
use remux::session::{Open, PathInfo};
use remux::{
    ByteStream, Config, ConnectError, Connected, Dialer, LimitConfig, Listener, PeerFacts, Probe, Rate,
    SessionConfig, StreamError, Wire,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep, timeout};

#[tokio::test(start_paused = true)]
async fn stream_beyond_the_accept_queue_is_refused_safely() {
    let limits = LimitConfig {
        max_streams: Some(5000),
        opens: Rate::per_second(5000, 1),
        refusals: 5000,
        ..LimitConfig::default()
    };
    let session = SessionConfig { limits, ..SessionConfig::default() };
    let config = Config { reuse_max_count: 5000, session, ..Config::default() };
    let listener = std::sync::Arc::new(Listener::new(config.clone()));
    let server = listener.clone();
    let dialer = Dialer::new(
        move || {
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            server.serve(Connected::new(ByteStream::new(theirs), Wire::Remux2, PeerFacts::default()));
            async move {
                Ok::<_, ConnectError>(Connected::new(
                    ByteStream::new(ours),
                    Wire::Remux2,
                    PeerFacts::default(),
                ))
            }
        },
        config,
    );
    let mut waiting = Vec::new();
    for _ in 0..1024 {
        waiting.push(dialer.open(Open::stream()).await.unwrap());
    }
    let mut last = dialer.open(Open::stream()).await.unwrap();
    let error = timeout(Duration::from_secs(5), last.closed()).await.expect("refused, not queued");
    let StreamError::Reset { code: Code::REFUSED, refused_safe: true, text } = error else {
        panic!("{error:?}")
    };
    assert_eq!(text, "accept queue is full");
    let accepted = listener.accept().await.unwrap();
    drop(accepted);
    let mut next = dialer.open(Open::stream()).await.unwrap();
    next.write_all(b"x").await.unwrap();
    for _ in 0..1024 {
        drop(listener.accept().await.unwrap());
    }
    drop(waiting);
}

#[tokio::test(start_paused = true)]
async fn peer_that_is_told_goodbye_and_does_not_leave_is_left_after_two_seconds() {
    let (listener, mut peer) = served();
    let began = Instant::now();
    peer.write_all(&nonsense()).await.unwrap();
    let mut said = Vec::new();
    peer.read_to_end(&mut said).await.unwrap();
    assert!(frames(&said).contains(&(Kind::GoAway as u8)), "told why");
    listener.drain(Duration::from_secs(3600)).await;
    assert_eq!(began.elapsed(), Duration::from_secs(2));
}

/// Found by reading: a drained connection was waited for as if the last bytes of a stream were owed to its peer, so one that
/// was gone made a stop take half a minute.
#[tokio::test(start_paused = true)]
async fn peer_that_is_gone_is_waited_for_only_while_the_kernel_has_bytes_for_it() {
    for (unacked, notsent, seconds) in [(0, 0, 2), (1, 0, 30), (0, 1, 30)] {
        let listener = Listener::new(Config::default());
        let (ours, _theirs) = tokio::io::duplex(64 << 10);
        let path = PathInfo { unacked, notsent, ..PathInfo::default() };
        let connected = Connected::new(ByteStream::new(ours), Wire::Remux2, PeerFacts::default());
        listener.serve(connected.with_probe(Figures(path)));
        sleep(Duration::from_millis(100)).await;
        let began = Instant::now();
        listener.drain(Duration::from_secs(3600)).await;
        assert_eq!(began.elapsed().as_secs(), seconds, "{path:?}");
    }
}

/// A kernel that always says the same.
struct Figures(PathInfo);

impl Probe for Figures {
    fn path(&self) -> Option<PathInfo> {
        Some(self.0)
    }

    fn set_notsent_lowat(&self, _: u32) {}
}

/// A listener with one connection, and its peer's end.
fn served() -> (Listener, DuplexStream) {
    let listener = Listener::new(Config::default());
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    listener.serve(Connected::new(ByteStream::new(ours), Wire::Remux2, PeerFacts::default()));
    (listener, theirs)
}

/// A frame of a kind that does not exist and may not be skipped.
fn nonsense() -> [u8; HEADER] {
    Header { kind: 0x0b, flags: 0, length: 0, stream: 0 }.to_bytes()
}

fn frames(bytes: &[u8]) -> Vec<u8> {
    let (mut rest, mut kinds) = (bytes, Vec::new());
    while let Some((header, _)) = rest.split_first_chunk::<HEADER>() {
        let header = Header::from_bytes(*header);
        kinds.push(header.kind);
        rest = &rest[HEADER + usize::from(header.length)..];
    }
    kinds
}
