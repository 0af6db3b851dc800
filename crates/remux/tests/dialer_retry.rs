//! The safe retry: what it replays, and how long it may take.
#![cfg(feature = "io")]

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
