//! The dialer against a real listener over in-memory pipes, on a clock that the test moves.
#![cfg(feature = "io")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use remux::session::Open;
use remux::{
    ByteStream, Config, ConnectError, Connected, ConnectionHandle, DialError, Dialer, Listener, PeerFacts,
    Rate, SessionConfig, Stream, StreamError, Wire,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep, timeout};

#[tokio::test(start_paused = true)]
async fn cold_pool_dials_and_carries_bytes_both_ways() {
    for wire in [Wire::Remux2, Wire::Classic] {
        let world = World::new(wire);
        let mut stream = world.dialer.open(hello()).await.unwrap();
        stream.write_all(b" world").await.unwrap();
        assert_eq!(read(&mut stream, 11).await, b"hello world", "{wire:?}");
        assert_eq!(world.server.dials(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn request_and_first_data_leave_before_the_server_has_said_a_word() {
    let world = World::with(Wire::Remux2, Config::default(), Mode::Mute);
    let _stream = world.dialer.open(hello()).await.unwrap();
    let mut pipe = world.server.muted.lock().pop().expect("a connection");
    let mut seen = Vec::new();
    while !seen.windows(5).any(|bytes| bytes == b"hello") {
        let mut buffer = [0; 1024];
        let count = pipe.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0);
        seen.extend_from_slice(&buffer[..count]);
    }
}

#[tokio::test(start_paused = true)]
async fn thirty_three_short_requests_open_three_connections() {
    let world = World::new(Wire::Remux2);
    for _ in 0..33 {
        world.exchange().await;
    }
    assert_eq!(world.server.dials(), 3);
    assert_eq!(world.dialer.stats().opened, 33);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_requests_at_once_each_get_their_answer() {
    let world = World::new(Wire::Remux2);
    let requests: Vec<_> = (0..200)
        .map(|_| {
            let dialer = world.dialer.clone();
            tokio::spawn(async move {
                let mut stream = dialer.open(hello()).await.unwrap();
                assert_eq!(read(&mut stream, 5).await, b"hello");
            })
        })
        .collect();
    for request in requests {
        request.await.unwrap();
    }
    // 13 carry 200 streams of 16 each, and one may be dialled ahead.
    assert!((13..=14).contains(&world.server.dials()), "{} dials", world.server.dials());
}

#[tokio::test(start_paused = true)]
async fn sixteen_requests_at_once_cause_at_most_two_dials() {
    let world = World::new(Wire::Remux2);
    world.server.set_latency(Duration::from_millis(100));
    let requests: Vec<_> = (0..16)
        .map(|_| {
            let dialer = world.dialer.clone();
            tokio::spawn(async move { dialer.open(hello()).await.unwrap() })
        })
        .collect();
    let mut streams = Vec::new();
    for request in requests {
        streams.push(request.await.unwrap());
    }
    for stream in &mut streams {
        assert_eq!(read(stream, 5).await, b"hello");
    }
    let first = streams[0].connection_id();
    assert!(streams.iter().all(|stream| stream.connection_id() == first));
    assert!(world.server.most_at_once() <= 2, "{} dials at once", world.server.most_at_once());
}

#[tokio::test(start_paused = true)]
async fn usable_connection_gives_a_stream_without_waiting() {
    let world = World::new(Wire::Remux2);
    world.exchange().await;
    let mut open = std::pin::pin!(world.dialer.open(hello()));
    let first_poll = std::future::poll_fn(|cx| std::task::Poll::Ready(open.as_mut().poll(cx))).await;
    assert!(first_poll.is_ready());
}

#[tokio::test(start_paused = true)]
async fn connection_without_streams_is_gone_after_the_idle_time() {
    let world = World::new(Wire::Remux2);
    let mut stream = world.dialer.open(hello()).await.unwrap();
    assert_eq!(read(&mut stream, 5).await, b"hello");
    // The next thing to happen is that it gets old, in 40 s; then the stream ends.
    sleep(Duration::from_secs(20)).await;
    drop(stream);
    sleep(Duration::from_millis(9_500)).await;
    assert_eq!(world.dialer.stats().pool.open, 1);
    sleep(Duration::from_millis(2_500)).await;
    assert_eq!(world.dialer.stats().pool.open, 0);
    assert_eq!(world.server.listener.connections(), 0);
    world.exchange().await;
}

#[tokio::test(start_paused = true)]
async fn old_connection_finishes_its_stream_and_takes_no_other() {
    let world = World::new(Wire::Remux2);
    let mut old = world.dialer.open(hello()).await.unwrap();
    assert_eq!(read(&mut old, 5).await, b"hello");
    sleep(Duration::from_secs(61)).await;
    let new = world.dialer.open(hello()).await.unwrap();
    assert_ne!(new.connection_id(), old.connection_id());
    old.write_all(b"still here").await.unwrap();
    assert_eq!(read(&mut old, 10).await, b"still here");
    // The old one goes with its last stream.
    drop(old);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(world.server.listener.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn quiet_stream_lives_for_hours_on_one_connection() {
    let world = World::new(Wire::Remux2);
    let mut ssh = world.dialer.open(hello()).await.unwrap();
    assert_eq!(read(&mut ssh, 5).await, b"hello");
    sleep(Duration::from_secs(3 * 3600)).await;
    assert_eq!(world.server.dials(), 1);
    ssh.write_all(b"ls").await.unwrap();
    assert_eq!(read(&mut ssh, 2).await, b"ls");
}

#[tokio::test(start_paused = true)]
async fn failed_dial_gives_the_hop_and_the_fix() {
    let world = World::with(Wire::Remux2, Config::default(), Mode::Refuse);
    let error = world.dialer.open(hello()).await.unwrap_err();
    assert!(matches!(error, DialError::Connect(_)), "{error:?}");
    assert_eq!(error.to_string(), "tcp 192.0.2.1:443: refused -> start the server");
    assert_eq!(world.dialer.stats().failed_dials, 1);
}

#[tokio::test(start_paused = true)]
async fn restarted_server_is_used_within_a_second() {
    let world = World::with(Wire::Remux2, Config::default(), Mode::Refuse);
    for _ in 0..8 {
        world.dialer.open(hello()).await.unwrap_err();
    }
    world.server.set(Mode::Serve);
    let start = Instant::now();
    world.exchange().await;
    assert!(start.elapsed() <= Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn dial_that_hangs_ends_at_the_dial_timeout() {
    let world = World::with(Wire::Remux2, Config::default(), Mode::Hang);
    let start = Instant::now();
    let error = world.dialer.open(hello()).await.unwrap_err();
    assert!(start.elapsed() <= Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(matches!(error, DialError::Connect(_) | DialError::Timeout { .. }), "{error:?}");
    settle().await;
    let stats = world.dialer.stats();
    assert_eq!((stats.pool.dialling, stats.failed_dials), (0, 1), "the dial is given up");
}

#[tokio::test(start_paused = true)]
async fn death_before_the_first_byte_resets_the_stream_and_counts_as_a_failed_dial() {
    let world = World::with(Wire::Remux2, Config::default(), Mode::Die);
    let mut stream = world.dialer.open(hello()).await.unwrap();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    settle().await;
    let stats = world.dialer.stats();
    assert_eq!((stats.failed_dials, stats.pool.failing), (1, true), "{stats:?}");
    world.server.set(Mode::Serve);
    let start = Instant::now();
    world.exchange().await;
    assert!(start.elapsed() >= Duration::from_millis(200), "the next dial waits: {:?}", start.elapsed());
    assert!(!world.dialer.stats().pool.failing);
}

#[tokio::test(start_paused = true)]
async fn server_that_never_speaks_is_a_failed_dial() {
    let world = World::with(Wire::Remux2, Config::default(), Mode::Mute);
    let mut stream = world.dialer.open(hello()).await.unwrap();
    let error = timeout(Duration::from_secs(11), stream.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    sleep(Duration::from_secs(4)).await;
    assert_eq!(world.dialer.stats().failed_dials, 1);
}

#[tokio::test(start_paused = true)]
async fn dial_timeout_covers_the_first_byte() {
    let config = Config { dial_timeout: Duration::from_secs(2), ..Config::default() };
    let world = World::with(Wire::Remux2, config, Mode::Mute);
    let mut stream = world.dialer.open(hello()).await.unwrap();
    let start = Instant::now();
    stream.read_u8().await.unwrap_err();
    assert!(start.elapsed() <= Duration::from_millis(2_100), "{:?}", start.elapsed());
    assert_eq!(world.dialer.stats().failed_dials, 1);
}

#[tokio::test(start_paused = true)]
async fn classic_server_may_be_silent_until_it_has_an_answer() {
    let world = World::with(Wire::Classic, Config::default(), Mode::Mute);
    let mut stream = world.dialer.open(hello()).await.unwrap();
    assert!(timeout(Duration::from_secs(40), stream.read_u8()).await.is_err());
    world.server.muted.lock().clear();
    stream.read_u8().await.unwrap_err();
    settle().await;
    assert_eq!(world.dialer.stats().failed_dials, 0, "it had lasted long enough to be good");
}

#[tokio::test(start_paused = true)]
async fn connection_carries_no_more_streams_than_the_server_asks_for() {
    let mut session = SessionConfig::default();
    session.announce.max_reuse = Some(3);
    let server = Config { session, ..Config::default() };
    let world = World::between(Wire::Remux2, Config::default(), server, Mode::Serve);
    for _ in 0..9 {
        world.exchange().await;
    }
    assert!(world.server.dials() >= 3, "{} dials", world.server.dials());
}

#[tokio::test(start_paused = true)]
async fn dropped_request_opens_no_stream() {
    let world = World::new(Wire::Remux2);
    world.server.set_latency(Duration::from_secs(1));
    assert!(timeout(Duration::from_millis(500), world.dialer.open(hello())).await.is_err());
    assert_eq!(world.dialer.stats().pool.waiting, 0);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(world.dialer.stats().opened, 0);
    assert_eq!(world.server.served(), 0);
}

#[tokio::test(start_paused = true)]
async fn at_the_cap_requests_wait_and_then_fail_with_limit() {
    let config = Config { conn_max: 1, reuse_max_count: 2, ..Config::default() };
    let world = World::with(Wire::Remux2, config, Mode::Serve);
    let held = world.dialer.open(hello()).await.unwrap();
    let _other = world.dialer.open(hello()).await.unwrap();
    let start = Instant::now();
    let error = world.dialer.open(hello()).await.unwrap_err();
    assert!(matches!(error, DialError::Limit { limit: 1 }), "{error:?}");
    assert_eq!(start.elapsed(), Duration::from_secs(10));

    let waiting = tokio::spawn({
        let dialer = world.dialer.clone();
        async move { dialer.open(hello()).await }
    });
    settle().await;
    drop((held, _other));
    let mut stream = waiting.await.unwrap().unwrap();
    assert_eq!(read(&mut stream, 5).await, b"hello");
}

#[tokio::test(start_paused = true)]
async fn stream_refused_before_anything_was_done_goes_on_elsewhere_unnoticed() {
    let world = World::crowded(1);
    // Both leave in the first flight, before the server has said that it takes one at a time.
    let (first, second) = tokio::join!(world.dialer.open(hello()), world.dialer.open(hello()));
    let (mut first, mut second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.connection_id(), second.connection_id());
    let (one, two) = tokio::join!(read(&mut first, 5), read(&mut second, 5));
    assert_eq!((&one[..], &two[..]), (&b"hello"[..], &b"hello"[..]));
    assert_ne!(first.connection_id(), second.connection_id());
    assert_eq!(world.dialer.stats().reopened, 1);
    assert_eq!(world.server.served(), 2, "each was done once");
}

#[tokio::test(start_paused = true)]
async fn refused_stream_is_not_offered_to_the_connection_that_refused_it() {
    let mut session = SessionConfig::default();
    session.limits.opens = Rate { burst: 1, every: Duration::from_secs(3600) };
    let server = Config { session, ..Config::default() };
    let world = World::between(Wire::Remux2, Config::default(), server, Mode::Serve);
    let mut first = world.dialer.open(hello()).await.unwrap();
    let mut second = world.dialer.open(hello()).await.unwrap();
    assert_eq!(read(&mut first, 5).await, b"hello");
    assert_eq!(read(&mut second, 5).await, b"hello");
    assert_eq!((world.server.dials(), world.dialer.stats().reopened), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn draining_server_loses_no_stream() {
    let world = World::new(Wire::Remux2);
    for _ in 0..20 {
        let mut running = world.dialer.open(hello()).await.unwrap();
        assert_eq!(read(&mut running, 5).await, b"hello");
        for connection in world.server.connections.lock().iter() {
            connection.drain(Duration::from_secs(30));
        }
        // The GOAWAY is on its way; the client doesn't know of it yet.
        let mut crossing = world.dialer.open(hello()).await.unwrap();
        assert_eq!(read(&mut crossing, 5).await, b"hello");
        running.write_all(b"end").await.unwrap();
        assert_eq!(read(&mut running, 3).await, b"end");
    }
    assert_eq!(world.server.served(), 40, "each was done once");
}

#[tokio::test(start_paused = true)]
async fn cut_connection_resets_its_streams_and_the_next_request_dials_at_once() {
    let world = World::new(Wire::Remux2);
    let mut stream = world.dialer.open(hello()).await.unwrap();
    assert_eq!(read(&mut stream, 5).await, b"hello");
    for connection in world.server.connections.lock().iter() {
        connection.abort("test");
    }
    let error = stream.read_u8().await.unwrap_err();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<StreamError>());
    assert!(matches!(inner, Some(StreamError::Truncated { .. } | StreamError::Reset { .. })), "{error:?}");
    let start = Instant::now();
    world.exchange().await;
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_streams_then_resets_them() {
    let world = World::new(Wire::Remux2);
    let mut stream = world.dialer.open(hello()).await.unwrap();
    assert_eq!(read(&mut stream, 5).await, b"hello");
    let draining = tokio::spawn({
        let dialer = world.dialer.clone();
        async move { dialer.drain(Duration::from_secs(5)).await }
    });
    sleep(Duration::from_secs(4)).await;
    stream.write_all(b"go on").await.unwrap();
    assert_eq!(read(&mut stream, 5).await, b"go on");
    assert!(!draining.is_finished());
    assert!(matches!(world.dialer.open(hello()).await, Err(DialError::Closed)));
    let error = timeout(Duration::from_secs(2), stream.read_u8()).await.unwrap().unwrap_err();
    assert!(
        error.kind() == std::io::ErrorKind::ConnectionReset
            || error.kind() == std::io::ErrorKind::ConnectionAborted
    );
    timeout(Duration::from_secs(5), draining).await.unwrap().unwrap();
    assert_eq!(world.server.listener.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn drain_of_an_idle_pool_is_done_at_once() {
    let world = World::new(Wire::Remux2);
    world.exchange().await;
    timeout(Duration::from_secs(1), world.dialer.drain(Duration::from_secs(60))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn streams_outlive_the_dialer() {
    let world = World::new(Wire::Remux2);
    let mut stream = world.dialer.open(hello()).await.unwrap();
    assert_eq!(read(&mut stream, 5).await, b"hello");
    let World { dialer, server } = world;
    drop(dialer);
    sleep(Duration::from_secs(300)).await;
    stream.write_all(b"alone").await.unwrap();
    assert_eq!(read(&mut stream, 5).await, b"alone");
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    drop(stream);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(server.listener.connections(), 0, "the connection ends with its last stream");
}

#[tokio::test(start_paused = true)]
async fn last_bytes_arrive_though_the_connection_retires_with_its_last_stream() {
    let world = World::with(Wire::Remux2, Config { reuse_max_count: 1, ..Config::default() }, Mode::Sink);
    let mut stream = world.dialer.open(hello()).await.unwrap();
    // The server has finished its direction long ago: ours is the last to end.
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    stream.write_all(&vec![7; 3 << 20]).await.unwrap();
    stream.shutdown().await.unwrap();
    drop(stream);
    drop(world.dialer);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(*world.server.sunk.lock(), [(3 << 20) + 5]);
    assert_eq!(world.server.listener.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn after_a_sleep_a_new_stream_does_not_wait_for_an_old_connection() {
    let world = World::new(Wire::Remux2);
    let mut old = world.dialer.open(hello()).await.unwrap();
    assert_eq!(read(&mut old, 5).await, b"hello");
    world.dialer.handle_wake();
    let mut new = world.dialer.open(hello()).await.unwrap();
    assert_eq!(read(&mut new, 5).await, b"hello");
    assert_eq!(world.server.dials(), 2, "a fresh dial in parallel");
    // The old one answers, and is used again.
    settle().await;
    old.write_all(b"awake").await.unwrap();
    assert_eq!(read(&mut old, 5).await, b"awake");
    assert_eq!(world.dialer.stats().pool.open, 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_wire_cant_express_is_refused_without_harm_to_its_connection() {
    let world = World::new(Wire::Classic);
    let mut stream = world.dialer.open(hello()).await.unwrap();
    assert_eq!(read(&mut stream, 5).await, b"hello");
    let error = world.dialer.open(Open { want_opened: true, ..hello() }).await.unwrap_err();
    assert!(matches!(error, DialError::Unsupported(_)), "{error:?}");
    let again = world.dialer.open(hello()).await.unwrap();
    assert_eq!(again.connection_id(), stream.connection_id());
}

/// A dialer, and the server it dials.
struct World {
    dialer: Dialer,
    server: Arc<Server>,
}

impl World {
    fn new(wire: Wire) -> Self {
        Self::with(wire, Config::default(), Mode::Serve)
    }

    fn with(wire: Wire, config: Config, mode: Mode) -> Self {
        Self::between(wire, config, Config::default(), mode)
    }

    /// A server that takes few streams at a time on one connection.
    fn crowded(max_streams: u32) -> Self {
        let mut session = SessionConfig::default();
        session.limits.max_streams = Some(max_streams);
        Self::between(Wire::Remux2, Config::default(), Config { session, ..Config::default() }, Mode::Serve)
    }

    fn between(wire: Wire, client: Config, server: Config, mode: Mode) -> Self {
        let mut client = client;
        let mut server = server;
        // These tests speak bytes, not eager requests, on the classic wire.
        client.session.classic.request = false;
        server.session.classic.request = false;
        let server = Arc::new(Server {
            listener: Arc::new(Listener::new(server)),
            connections: Mutex::default(),
            mode: Mutex::new(mode),
            latency: Mutex::default(),
            muted: Mutex::default(),
            dials: AtomicUsize::new(0),
            dialling: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            served: Arc::default(),
            sunk: Arc::default(),
        });
        match mode {
            Mode::Sink => tokio::spawn(sink(server.listener.clone(), server.sunk.clone())),
            _ => tokio::spawn(echo(server.listener.clone(), server.served.clone())),
        };
        let dialled = server.clone();
        let connect = move || {
            let server = dialled.clone();
            async move { server.connect(wire).await }
        };
        Self { dialer: Dialer::new(connect, client), server }
    }

    /// One short request, from open to its clean end.
    async fn exchange(&self) {
        let mut stream = self.dialer.open(hello()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"hello");
    }
}

/// What a dial meets.
#[derive(Clone, Copy)]
enum Mode {
    /// A listener that echoes.
    Serve,
    /// Nobody.
    Refuse,
    /// A firewall that drops.
    Hang,
    /// A server that throws the client out before its first byte.
    Die,
    /// One that takes the connection and says nothing.
    Mute,
    /// A listener that ends its direction at once and counts what comes, slowly.
    Sink,
}

struct Server {
    listener: Arc<Listener>,
    connections: Mutex<Vec<ConnectionHandle>>,
    mode: Mutex<Mode>,
    latency: Mutex<Duration>,
    muted: Mutex<Vec<DuplexStream>>,
    dials: AtomicUsize,
    dialling: AtomicUsize,
    most: AtomicUsize,
    served: Arc<AtomicUsize>,
    /// Bytes of each stream that ended cleanly.
    sunk: Arc<Mutex<Vec<usize>>>,
}

impl Server {
    async fn connect(&self, wire: Wire) -> Result<Connected, ConnectError> {
        self.dials.fetch_add(1, Ordering::Relaxed);
        let at_once = self.dialling.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(at_once, Ordering::Relaxed);
        let latency = *self.latency.lock();
        sleep(latency).await;
        self.dialling.fetch_sub(1, Ordering::Relaxed);
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let mode = *self.mode.lock();
        match mode {
            Mode::Serve | Mode::Sink => {
                let connected = Connected::new(ByteStream::new(theirs), wire, facts());
                self.connections.lock().push(self.listener.serve(connected));
            }
            Mode::Refuse => return Err(ConnectError::new("tcp 192.0.2.1:443: refused -> start the server")),
            Mode::Hang => std::future::pending().await,
            Mode::Die => {
                tokio::spawn(async move {
                    sleep(Duration::from_millis(20)).await;
                    drop(theirs);
                });
            }
            Mode::Mute => self.muted.lock().push(theirs),
        }
        Ok(Connected::new(ByteStream::new(ours), wire, facts()))
    }

    fn set(&self, mode: Mode) {
        *self.mode.lock() = mode;
    }

    fn set_latency(&self, latency: Duration) {
        *self.latency.lock() = latency;
    }

    fn dials(&self) -> usize {
        self.dials.load(Ordering::Relaxed)
    }

    fn most_at_once(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

async fn echo(listener: Arc<Listener>, served: Arc<AtomicUsize>) {
    while let Some(stream) = listener.accept().await {
        served.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(stream);
            if tokio::io::copy(&mut read, &mut write).await.is_ok() {
                let _ = write.shutdown().await;
            }
        });
    }
}

async fn sink(listener: Arc<Listener>, sunk: Arc<Mutex<Vec<usize>>>) {
    while let Some(mut stream) = listener.accept().await {
        let sunk = sunk.clone();
        tokio::spawn(async move {
            stream.shutdown().await.unwrap();
            let mut count = 0;
            let mut buffer = vec![0; 64 * 1024];
            loop {
                sleep(Duration::from_millis(10)).await;
                match stream.read(&mut buffer).await.unwrap() {
                    0 => break,
                    more => count += more,
                }
            }
            sunk.lock().push(count);
        });
    }
}

fn hello() -> Open {
    Open { first: Bytes::from_static(b"hello"), ..Open::stream() }
}

async fn read(stream: &mut Stream, count: usize) -> Vec<u8> {
    let mut got = vec![0; count];
    stream.read_exact(&mut got).await.unwrap();
    got
}

fn facts() -> PeerFacts {
    PeerFacts { transport: "pipe".to_owned(), ..PeerFacts::default() }
}

/// Lets every task run until it waits for time.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}
