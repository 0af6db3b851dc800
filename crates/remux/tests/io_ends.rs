//! What a peer, or an application, could do to a driver, a dialer and a listener.
#![cfg(feature = "io")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use remux::session::{Open, PathInfo};
use remux::{
    ByteStream, Config, ConnectError, Connected, ConnectionHandle, Dialer, Listener, PeerFacts, Probe, Wire,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn classic_bytes_that_came_with_the_end_of_the_transport_are_read_by_a_slow_reader() {
    for over in [0, 1, 1000, 3000, 10_000, 40_000, 60_000] {
        let far = Arc::new(Mutex::new(None::<DuplexStream>));
        let keep = far.clone();
        let connect = move || {
            let keep = keep.clone();
            async move {
                let (near, far) = tokio::io::duplex(1 << 20);
                *keep.lock().unwrap() = Some(far);
                let records = ByteStream::new(near);
                Ok::<_, ConnectError>(Connected::new(records, Wire::Classic, PeerFacts::default()))
            }
        };
        let dialer = Dialer::new(connect, Config::default());
        let mut stream = dialer.open(Open::connect("192.0.2.1:80".parse().unwrap())).await.unwrap();
        // A whole answer, its end, and the end of the connection, all at once.
        let total = (256 << 10) + over;
        let mut answer = Vec::new();
        for part in vec![7; total].chunks(16_000) {
            answer.extend_from_slice(&[0, 1]);
            answer.extend_from_slice(&u16::try_from(part.len()).unwrap().to_be_bytes());
            answer.extend_from_slice(part);
        }
        answer.extend_from_slice(&[0, 1, 0, 0]);
        let mut server = far.lock().unwrap().take().unwrap();
        server.write_all(&answer).await.unwrap();
        server.shutdown().await.unwrap();
        sleep(SECOND).await;
        let mut got = Vec::new();
        let end = stream.read_to_end(&mut got).await;
        assert_eq!(
            (got.len(), end.map_err(|error| error.to_string())),
            (total, Ok(total)),
            "{over} bytes over"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn two_tasks_can_drain_a_listener() {
    let pair = Pair::new(Config::default());
    let _stream = pair.dialer.open(Open::stream()).await.unwrap();
    pair.listener.accept().await.unwrap();
    let drains = [0, 1].map(|_| {
        let listener = pair.listener.clone();
        tokio::spawn(async move { listener.drain(SECOND).await })
    });
    for (index, drain) in drains.into_iter().enumerate() {
        let done = timeout(60 * SECOND, drain).await;
        assert!(done.is_ok(), "drain {index} does not return");
    }
}

#[tokio::test(start_paused = true)]
async fn streams_of_the_server_do_not_count_as_ends_of_the_clients() {
    let mut config = Config::default();
    config.session.limits.max_streams = Some(4);
    let pair = Pair::new(config);
    let mut ours = pair.dialer.open(Open::stream()).await.unwrap();
    let mut theirs = pair.listener.accept().await.unwrap();
    let handle = pair.handles.lock().unwrap()[0].clone();
    sleep(SECOND).await;
    let _turned_away = handle.open(Open::stream()).unwrap();
    sleep(SECOND).await;
    assert_eq!(pair.dialer.stats().pool.streams, 1);
    sleep(60 * SECOND).await;
    ours.write_all(b"still here").await.unwrap();
    let mut got = [0; 10];
    theirs.read_exact(&mut got).await.unwrap();
}

/// Found by the simulation of whole flows: the tail of an upload on a slow path was cut 2 s after its connection had worn out.
#[tokio::test(start_paused = true)]
async fn last_bytes_of_a_worn_connection_arrive_however_slow_the_path() {
    // Where the kernel says nothing, and where it says that all it was given has arrived.
    for probed in [false, true] {
        let listener = Arc::new(Listener::new(Config::default()));
        let serving = listener.clone();
        let connect = move || {
            let serving = serving.clone();
            async move {
                let (near, middle) = tokio::io::duplex(4096);
                let (other, far) = tokio::io::duplex(4096);
                tokio::spawn(slow_path(middle, other));
                let connected =
                    |end| Connected::new(ByteStream::new(end), Wire::Remux2, PeerFacts::default());
                serving.serve(connected(far));
                let near = connected(near);
                Ok::<_, ConnectError>(if probed { near.with_probe(AllArrived) } else { near })
            }
        };
        let dialer = Dialer::new(connect, Config { reuse_max_count: 1, ..Config::default() });
        let mut upload = dialer.open(Open::stream()).await.unwrap();
        let mut received = listener.accept().await.unwrap();
        received.shutdown().await.unwrap();
        upload.write_all(&[7; UPLOAD]).await.unwrap();
        upload.shutdown().await.unwrap();
        assert_eq!(upload.read(&mut [0]).await.unwrap(), 0);
        drop(upload);
        let mut got = Vec::new();
        received.read_to_end(&mut got).await.unwrap();
        assert_eq!(got.len(), UPLOAD, "probed: {probed}");
    }
}

/// A kernel with nothing under way on a fast path, so that batches are long.
struct AllArrived;

impl Probe for AllArrived {
    fn path(&self) -> Option<PathInfo> {
        Some(PathInfo { delivery_rate: 1 << 30, ..PathInfo::default() })
    }

    fn set_notsent_lowat(&self, _: u32) {}
}

const UPLOAD: usize = 150_000;

/// Carries 1,000 bytes each tenth of a second to `b`, and everything at once to `a`.
async fn slow_path(a: DuplexStream, b: DuplexStream) {
    let (mut a_reads, mut a_writes) = tokio::io::split(a);
    let (mut b_reads, mut b_writes) = tokio::io::split(b);
    let there = async {
        let mut chunk = [0; 1_000];
        loop {
            let count = a_reads.read(&mut chunk).await.unwrap_or(0);
            if count == 0 {
                let _ = b_writes.shutdown().await;
                return;
            }
            sleep(SECOND / 10).await;
            let _ = b_writes.write_all(&chunk[..count]).await;
        }
    };
    let back = async {
        let _ = tokio::io::copy(&mut b_reads, &mut a_writes).await;
        let _ = a_writes.shutdown().await;
    };
    tokio::join!(there, back);
}

struct Pair {
    dialer: Dialer,
    listener: Arc<Listener>,
    handles: Arc<Mutex<Vec<ConnectionHandle>>>,
}

impl Pair {
    fn new(config: Config) -> Self {
        let listener = Arc::new(Listener::new(config.clone()));
        let handles = Arc::<Mutex<Vec<ConnectionHandle>>>::default();
        let (serving, keeping) = (listener.clone(), handles.clone());
        let connect = move || {
            let (serving, keeping) = (serving.clone(), keeping.clone());
            async move {
                let (near, far) = tokio::io::duplex(64 * 1024);
                let connected =
                    |end| Connected::new(ByteStream::new(end), Wire::Remux2, PeerFacts::default());
                keeping.lock().unwrap().push(serving.serve(connected(far)));
                Ok::<_, ConnectError>(connected(near))
            }
        };
        Self { dialer: Dialer::new(connect, config), listener, handles }
    }
}
