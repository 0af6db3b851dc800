//! The safe retry: what it replays, and how long it may take.
#![cfg(feature = "io")]

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use framing::remux2::Code;
use remux::session::Open;
use remux::{ByteStream, Config, ConnectError, Connected, Dialer, Listener, PeerFacts, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn retry_replays_more_than_its_send_queue_takes_at_once() {
    let mut config = Config::default();
    config.session.sending.queue = 8_000;
    let pair = Pair::new(config);
    let mut ours = pair.dialer.open(Open::stream()).await.unwrap();
    let refused = pair.listener.accept().await.unwrap();
    let data = vec![7; 40_000];
    ours.write_all(&data).await.unwrap();
    ours.shutdown().await.unwrap();
    sleep(SECOND).await;
    refused.refuse(Code::REFUSED, "not now");
    let reading = tokio::spawn(async move {
        let mut got = Vec::new();
        ours.read_to_end(&mut got).await.map_err(|error| error.to_string())
    });
    let mut theirs = timeout(60 * SECOND, pair.listener.accept()).await.unwrap().unwrap();
    let mut got = Vec::new();
    let end = theirs.read_to_end(&mut got).await.map_err(|error| error.to_string());
    assert_eq!((got.len(), end), (data.len(), Ok(data.len())));
    theirs.shutdown().await.unwrap();
    assert_eq!(reading.await.unwrap(), Ok(0));
}

#[tokio::test(start_paused = true)]
async fn room_that_was_promised_before_a_retry_is_there_after_it() {
    let pair = Pair::new(Config::default());
    let mut ours = pair.dialer.open(Open::stream()).await.unwrap();
    let refused = pair.listener.accept().await.unwrap();
    ours.write_all(&vec![1; 60_000]).await.unwrap();
    sleep(SECOND).await;
    let room = poll_fn(|cx| ours.poll_write_room(cx)).await.unwrap();
    refused.refuse(Code::REFUSED, "not now");
    let Pair { listener, .. } = &pair;
    // Reading finds the refusal and goes on elsewhere; whoever filled the room meanwhile hands it in now.
    let mut byte = [0];
    let mut theirs = tokio::select! {
        read = ours.read(&mut byte) => panic!("{read:?}"),
        theirs = listener.accept() => theirs.unwrap(),
    };
    ours.write_chunk(vec![2; room].into()).unwrap();
    ours.shutdown().await.unwrap();
    let mut got = Vec::new();
    let answering = async {
        let read = theirs.read_to_end(&mut got).await;
        theirs.shutdown().await.unwrap();
        read
    };
    // Whoever reads drives the retry, if it is still under way.
    let (end, read) =
        timeout(60 * SECOND, async { tokio::join!(ours.read(&mut byte), answering) }).await.unwrap();
    assert_eq!((end.unwrap(), read.unwrap()), (0, 60_000 + room));
    assert_eq!(got.last(), Some(&2));
}

#[tokio::test(start_paused = true)]
async fn request_that_was_refused_gets_no_more_time_than_it_had() {
    let listener = Arc::new(Listener::new(Config::default()));
    let (serving, dials) = (listener.clone(), Arc::new(AtomicUsize::new(0)));
    // The first connection refuses, all others hang.
    let connect = move || {
        let (serving, first) = (serving.clone(), dials.fetch_add(1, Ordering::Relaxed) == 0);
        async move {
            if !first {
                std::future::pending::<()>().await;
            }
            let (near, far) = tokio::io::duplex(64 * 1024);
            let connected = |end| Connected::new(ByteStream::new(end), Wire::Remux2, PeerFacts::default());
            serving.serve(connected(far));
            Ok::<_, ConnectError>(connected(near))
        }
    };
    let dialer = Dialer::new(connect, Config::default());
    let asked = Instant::now();
    let mut ours = dialer.open(Open::stream()).await.unwrap();
    let refused = listener.accept().await.unwrap();
    sleep(4 * SECOND).await;
    refused.refuse(Code::REFUSED, "not now");
    let error = ours.read(&mut [0]).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    let took = asked.elapsed();
    assert!((9 * SECOND..11 * SECOND).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn servers_that_turn_the_connection_away_cost_nobody_a_request() {
    for wire in [Wire::Remux2, Wire::Classic] {
        // Two servers refuse us after the handshake, the third one serves.
        let (listener, dials) = serving(wire, 2, |_| true);
        let dialer = Dialer::new(dials, plain());
        let requests = (0..40).map(|number: u8| {
            let dialer = dialer.clone();
            tokio::spawn(async move {
                let mut stream =
                    dialer.open(Open { first: vec![number].into(), ..Open::stream() }).await.unwrap();
                stream.write_all(b"more").await.unwrap();
                let mut got = [0; 5];
                stream.read_exact(&mut got).await.unwrap();
                assert_eq!(got, [number, b'm', b'o', b'r', b'e']);
            })
        });
        let start = Instant::now();
        for request in requests.collect::<Vec<_>>() {
            timeout(60 * SECOND, request).await.unwrap().unwrap();
        }
        assert!(start.elapsed() < SECOND, "{wire:?}: no pause between servers, {:?}", start.elapsed());
        assert_eq!(dialer.stats().failed_dials, 0, "{wire:?}");
        drop(listener);
    }
}

#[tokio::test(start_paused = true)]
async fn request_fails_at_once_when_the_last_server_has_turned_us_away() {
    let (_listener, dials) = serving(Wire::Remux2, usize::MAX, |dial| dial % 2 == 0);
    let dialer = Dialer::new(dials, plain());
    let start = Instant::now();
    let mut stream = dialer.open(Open::stream()).await.unwrap();
    let error = stream.read(&mut [0]).await.unwrap_err();
    assert!(error.to_string().contains("refused our certificate"), "{error}");
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    assert_eq!(dialer.stats().dials, 2, "each of two servers once");
}

#[tokio::test(start_paused = true)]
async fn sleep_of_ten_minutes_harms_nothing_that_is_still_there() {
    let (_listener, dials) = serving(Wire::Remux2, 0, |_| true);
    let dialer = Dialer::new(dials, plain());
    let mut old = dialer.open(Open { first: b"a".as_slice().into(), ..Open::stream() }).await.unwrap();
    let mut byte = [0];
    old.read_exact(&mut byte).await.unwrap();
    // All timers are late at once, as after SIGSTOP.
    tokio::time::advance(600 * SECOND).await;
    let woken = Instant::now();
    let mut new = dialer.open(Open { first: b"b".as_slice().into(), ..Open::stream() }).await.unwrap();
    new.read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"b");
    old.write_all(b"c").await.unwrap();
    old.read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"c");
    assert!(woken.elapsed() < 2 * SECOND, "{:?}", woken.elapsed());
    let stats = dialer.stats();
    assert!((2..=3).contains(&stats.dials), "no storm of dials: {stats:?}");
}

/// No eager requests on the classic wire: these tests speak bytes.
fn plain() -> Config {
    let mut config = Config::default();
    config.session.classic.request = false;
    config
}

type Dialling = Pin<Box<dyn Future<Output = Result<Connected, ConnectError>> + Send>>;

/// Servers behind one dialer: the first `refusing` dials end in a refusal after the handshake, of which `elsewhere` says
/// whether another server is left; then comes one that echoes.
fn serving(
    wire: Wire,
    refusing: usize,
    elsewhere: impl Fn(usize) -> bool + Send + Sync + 'static,
) -> (Arc<Listener>, impl Fn() -> Dialling + Send + Sync + 'static) {
    let listener = Arc::new(Listener::new(plain()));
    let echoing = listener.clone();
    tokio::spawn(async move {
        while let Some(stream) = echoing.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(stream);
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    let (serving, dials) = (listener.clone(), AtomicUsize::new(0));
    let connect = move || -> Dialling {
        let dial = dials.fetch_add(1, Ordering::Relaxed);
        let (serving, elsewhere) = (serving.clone(), elsewhere(dial));
        Box::pin(async move {
            sleep(SECOND / 20).await;
            let facts = PeerFacts { server: Some("a:1".into()), ..PeerFacts::default() };
            if dial < refusing {
                let end = Refusal { at: Box::pin(sleep(SECOND / 20)), elsewhere };
                return Ok(Connected::new(ByteStream::new(end), wire, facts));
            }
            let (near, far) = tokio::io::duplex(64 * 1024);
            serving.serve(Connected::new(ByteStream::new(far), wire, PeerFacts::default()));
            Ok(Connected::new(ByteStream::new(near), wire, facts))
        })
    };
    (listener, connect)
}

/// A transport that takes everything, and whose first read is the server's refusal.
struct Refusal {
    at: Pin<Box<tokio::time::Sleep>>,
    elsewhere: bool,
}

impl tokio::io::AsyncRead for Refusal {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.at.as_mut().poll(cx));
        let away = remux::TurnedAway { text: "refused our certificate".into(), elsewhere: self.elsewhere };
        Poll::Ready(Err(io::Error::new(io::ErrorKind::PermissionDenied, away)))
    }
}

impl tokio::io::AsyncWrite for Refusal {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Pair {
    dialer: Dialer,
    listener: Arc<Listener>,
}

impl Pair {
    fn new(config: Config) -> Self {
        let listener = Arc::new(Listener::new(config.clone()));
        let serving = listener.clone();
        let connect = move || {
            let serving = serving.clone();
            async move {
                let (near, far) = tokio::io::duplex(64 * 1024);
                let connected =
                    |end| Connected::new(ByteStream::new(end), Wire::Remux2, PeerFacts::default());
                serving.serve(connected(far));
                Ok::<_, ConnectError>(connected(near))
            }
        };
        Self { dialer: Dialer::new(connect, config), listener }
    }
}
