//! A dialer and a listener over in-memory pipes, through the public interface only.
#![cfg(feature = "io")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use framing::remux2::Code;
use remux::session::Open;
use remux::{
    Budget, ByteStream, Config, ConnectError, Connected, ConnectionHandle, Dialer, Listener, PeerFacts,
    Stream, StreamError, Wire,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A dialer whose connections go straight to a listener.
struct Pair {
    dialer: Dialer,
    listener: Arc<Listener>,
    handles: Arc<Mutex<Vec<ConnectionHandle>>>,
}

impl Pair {
    fn new(wire: Wire, config: Config) -> Self {
        Self::sharing(wire, config, Arc::default())
    }

    fn sharing(wire: Wire, config: Config, budget: Arc<Budget>) -> Self {
        let listener = Arc::new(Listener::with_budget(config.clone(), budget));
        let handles = Arc::<Mutex<Vec<ConnectionHandle>>>::default();
        let (serving, keeping) = (listener.clone(), handles.clone());
        let connect = move || {
            let (serving, keeping) = (serving.clone(), keeping.clone());
            async move {
                let (near, far) = tokio::io::duplex(64 * 1024);
                let facts = PeerFacts { identity: Some("alice".into()), ..PeerFacts::default() };
                let handle = serving.serve(Connected::new(ByteStream::new(far), wire, facts));
                keeping.lock().unwrap().push(handle);
                Ok::<_, ConnectError>(Connected::new(ByteStream::new(near), wire, PeerFacts::default()))
            }
        };
        Self { dialer: Dialer::new(connect, config), listener, handles }
    }

    async fn stream(&self) -> (Stream, Stream) {
        let ours = self.dialer.open(request()).await.unwrap();
        (ours, self.listener.accept().await.unwrap())
    }

    fn handle(&self) -> ConnectionHandle {
        self.handles.lock().unwrap()[0].clone()
    }
}

#[tokio::test(start_paused = true)]
async fn streams_of_both_wires_arrive_with_their_request_and_identity() {
    for wire in [Wire::Remux2, Wire::Classic] {
        let pair = Pair::new(wire, Config::default());
        let (mut ours, mut theirs) = pair.stream().await;
        assert_eq!(theirs.request().target, request().target);
        assert_eq!(theirs.peer().identity.as_deref(), Some("alice"));
        assert_eq!(theirs.wire(), wire);
        ours.write_all(b"ping").await.unwrap();
        let mut got = [0; 4];
        theirs.read_exact(&mut got).await.unwrap();
        theirs.write_all(&got).await.unwrap();
        ours.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"ping");
    }
}

#[tokio::test(start_paused = true)]
async fn connection_whose_peer_loses_its_right_is_cut_at_both_ends_and_its_streams_never_end_cleanly() {
    for wire in [Wire::Remux2, Wire::Classic] {
        for at_server in [true, false] {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let (end, ended) = tokio::sync::oneshot::channel::<Arc<str>>();
            let lease = async { ended.await.unwrap() };
            let dress = |pipe, lease| {
                let connected = Connected::new(ByteStream::new(pipe), wire, PeerFacts::default());
                match lease {
                    Some(lease) => connected.with_lease(lease),
                    None => connected,
                }
            };
            let (mut here, mut there) = (Some(lease), None);
            if !at_server {
                std::mem::swap(&mut here, &mut there);
            }
            let listener = Listener::new(Config::default());
            let handle = listener.serve(dress(far, here));
            let near = Mutex::new(Some(dress(near, there)));
            let connect = move || {
                let connected = near.lock().unwrap().take();
                async move { connected.ok_or_else(|| ConnectError::new("once only")) }
            };
            let dialer = Dialer::new(connect, Config::default());
            let mut ours = dialer.open(request()).await.unwrap();
            let mut theirs = listener.accept().await.unwrap();
            theirs.write_all(b"x").await.unwrap();
            ours.read_exact(&mut [0]).await.unwrap();

            end.send("the identity is not let in any more".into()).unwrap();
            let ends = [ours.read(&mut [0]).await, theirs.read(&mut [0]).await];
            for end in ends {
                assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "{wire:?}");
            }
            let cause = handle.closed().await.to_string();
            let told =
                if at_server { "the right to it was lost: the identity" } else { "auth: the right to it" };
            assert!(cause.contains(told) || !at_server && wire == Wire::Classic, "{wire:?}: {cause}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_ended_connection_left_unread_is_read_later_unless_memory_runs_short() {
    for short in [false, true] {
        let budget = Arc::new(Budget::new(16 << 20));
        let pair = Pair::sharing(Wire::Remux2, Config::default(), budget.clone());
        let (mut ours, mut theirs) = pair.stream().await;
        ours.write_all(&[7; 100_000]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        pair.handle().abort("cut");
        drop(ours);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(pair.listener.connections(), 0);
        assert!(budget.account(Some("alice")).held().0 >= 100_000, "it is hers as long as it is unread");
        let needed = short.then(|| budget.charge(16 << 20));
        tokio::time::sleep(Duration::from_millis(10)).await;
        let mut got = Vec::new();
        let end = theirs.read_to_end(&mut got).await;
        match &needed {
            Some(_) => assert!(got.is_empty(), "{} bytes are still there", got.len()),
            None => assert_eq!(got.len(), 100_000),
        }
        assert!(end.is_err(), "it is no clean end");
        drop((theirs, pair, needed));
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(budget.used(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn closed_listener_yields_what_is_queued_and_then_nothing() {
    let pair = Pair::new(Wire::Remux2, Config::default());
    let _ours = pair.dialer.open(request()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    pair.listener.close();
    let queued = pair.listener.accept().await;
    assert!(queued.is_some());
    assert!(pair.listener.accept().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn close_wakes_a_task_that_waits_to_accept() {
    let pair = Pair::new(Wire::Remux2, Config::default());
    let listener = pair.listener.clone();
    let waiting = tokio::spawn(async move { listener.accept().await.is_none() });
    tokio::time::sleep(Duration::from_millis(10)).await;
    pair.listener.close();
    assert!(waiting.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn each_task_that_waits_to_accept_is_woken_by_a_stream_of_its_own() {
    let pair = Pair::new(Wire::Remux2, Config::default());
    let waiting = [0, 1].map(|_| {
        let listener = pair.listener.clone();
        tokio::spawn(async move { listener.accept().await.is_some() })
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let _streams = [pair.dialer.open(request()).await.unwrap(), pair.dialer.open(request()).await.unwrap()];
    for task in waiting {
        assert!(tokio::time::timeout(Duration::from_secs(5), task).await.expect("woken").unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_streams_and_resets_them_at_its_limit() {
    let pair = Pair::new(Wire::Remux2, Config::default());
    let (mut ours, theirs) = pair.stream().await;
    let start = tokio::time::Instant::now();
    let holding = tokio::spawn(async move {
        let error = ours.read(&mut [0]).await.unwrap_err();
        let took = start.elapsed();
        drop(theirs);
        (error.into_inner().unwrap().downcast::<StreamError>().unwrap(), took)
    });
    pair.listener.drain(Duration::from_secs(5)).await;
    let (error, took) = holding.await.unwrap();
    assert_eq!(error.code(), Code::DRAIN);
    assert!((5.0..6.0).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(pair.listener.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn handle_cuts_a_connection_and_forgets_nothing_else() {
    let mut config = Config { reuse_max_count: 1, ..Config::default() };
    config.session.limits.max_streams = Some(8);
    let pair = Pair::new(Wire::Remux2, config);
    let (mut first, _theirs) = pair.stream().await;
    let (mut second, mut other) = pair.stream().await;
    let handle = pair.handle();
    assert_eq!(handle.facts().identity.as_deref(), Some("alice"));
    assert_eq!(handle.streams(), 1);
    assert!(!handle.is_closed());
    handle.abort("certificate revoked");
    assert!(first.read(&mut [0]).await.is_err());
    assert!(handle.closed().await.to_string().contains("certificate revoked"));
    other.write_all(b"untouched").await.unwrap();
    let mut got = [0; 9];
    second.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"untouched");
}

#[tokio::test(start_paused = true)]
async fn streams_beyond_the_accept_queue_are_turned_away_safely() {
    let mut config = Config { reuse_max_count: u32::MAX, ..Config::default() };
    config.session.limits.max_streams = Some(4096);
    config.session.limits.opens.burst = 4096;
    config.session.limits.refusals = 4096;
    config.session.limits.resets.burst = 4096;
    let pair = Pair::new(Wire::Remux2, config);
    let mut streams = Vec::new();
    for _ in 0..1100 {
        streams.push(pair.dialer.open(request()).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut refused = 0;
    for stream in &mut streams {
        let closed = tokio::time::timeout(Duration::from_millis(50), stream.closed()).await;
        if let Ok(error) = closed {
            assert!(error.is_refused_safe(), "{error}");
            refused += 1;
        }
    }
    assert_eq!(refused, 1100 - 1024);
}

fn request() -> Open {
    Open::connect("destination.example:443".parse().unwrap())
}
