//! How connections end, and what their streams see of it.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll};

use bytes::BytesMut;
use framing::remux2::Code;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::error::{OpenReason, StreamError};
use crate::io::Records;
use crate::session::Batch;

#[tokio::test(start_paused = true)]
async fn cut_connection_truncates_its_streams_and_never_ends_them() {
    for wire in [Wire::Remux2, Wire::Classic] {
        let mut world = World::new(wire);
        let (mut ours, mut theirs) = world.stream().await;
        ours.write_all(b"a part").await.unwrap();
        let mut got = [0; 6];
        theirs.read_exact(&mut got).await.unwrap();
        world.cut();
        for stream in [&mut ours, &mut theirs] {
            let error = stream.read(&mut [0]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{wire:?}");
            let error = error.into_inner().unwrap().downcast::<StreamError>().unwrap();
            assert!(matches!(*error, StreamError::Truncated { .. }), "{wire:?}: {error}");
            assert!(stream.write(b"more").await.is_err());
        }
        assert_eq!(world.client.task.await.unwrap(), ConnectionError::Closed);
        assert_eq!(world.server.task.await.unwrap(), ConnectionError::Closed);
        assert_eq!(world.client.connection.open(request()).unwrap_err().reason, OpenReason::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_came_before_the_cut_are_still_read() {
    let mut world = World::new(Wire::Remux2);
    let (mut ours, mut theirs) = world.stream().await;
    ours.write_all(&pattern(4, 50_000)).await.unwrap();
    settle().await;
    world.cut();
    settle().await;
    let mut got = Vec::new();
    let error = theirs.read_to_end(&mut got).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(got == pattern(4, 50_000));
}

#[tokio::test(start_paused = true)]
async fn dropped_driver_truncates_both_ends() {
    let mut world = World::new(Wire::Remux2);
    let (mut ours, mut theirs) = world.stream().await;
    world.server.task.abort();
    assert!(theirs.read(&mut [0]).await.unwrap_err().to_string().contains("its task was dropped"));
    assert_eq!(ours.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn panic_in_a_driver_ends_that_connection_only() {
    struct Panics;
    impl Records for Panics {
        fn poll_read(&mut self, _: &mut Context<'_>, _: &mut BytesMut) -> Poll<io::Result<usize>> {
            panic!("records are broken")
        }
        fn poll_write(&mut self, _: &mut Context<'_>, _: &mut Batch) -> Poll<io::Result<()>> {
            Poll::Pending
        }
        fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }
    let mut world = World::new(Wire::Remux2);
    let mut incoming = {
        let (streams, incoming) = mpsc::unbounded_channel();
        let connected = Connected::new(Panics, Wire::Remux2, PeerFacts::default());
        let (connection, driver) = start(
            Role::Client,
            connected,
            ConnectionId(1),
            SessionConfig::default(),
            Arc::<Budget>::default().into(),
            Arc::new(Listening { streams }),
        );
        let mut stream = connection.open(request()).unwrap();
        assert!(tokio::spawn(driver).await.unwrap_err().is_panic());
        let error = stream.read(&mut [0]).await.unwrap_err();
        assert!(error.to_string().contains("its task panicked"), "{error}");
        assert_eq!(connection.open(request()).unwrap_err().reason, OpenReason::Closed);
        incoming
    };
    assert!(incoming.recv().await.is_none());
    let (mut ours, mut theirs) = world.stream().await;
    ours.write_all(b"alive").await.unwrap();
    theirs.read_exact(&mut [0; 5]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn drain_lets_streams_finish_and_then_ends_both_ends() {
    let mut world = World::new(Wire::Remux2);
    let (mut ours, mut theirs) = world.stream().await;
    world.server.connection.drain(Code::DRAIN, Duration::from_secs(30));
    settle().await;
    assert_eq!(world.client.connection.open(request()).unwrap_err().reason, OpenReason::Draining);
    theirs.write_all(b"last words").await.unwrap();
    theirs.shutdown().await.unwrap();
    let mut got = String::new();
    ours.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "last words");
    ours.shutdown().await.unwrap();
    assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
    drop((ours, theirs));
    let start = tokio::time::Instant::now();
    assert_eq!(world.server.task.await.unwrap(), ConnectionError::Drained);
    assert!(world.client.task.await.unwrap().is_orderly());
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn drain_resets_what_is_open_at_its_limit() {
    let mut world = World::new(Wire::Remux2);
    let (mut ours, mut theirs) = world.stream().await;
    let start = tokio::time::Instant::now();
    world.server.connection.drain(Code::DRAIN, Duration::from_secs(3));
    let error = ours.read(&mut [0]).await.unwrap_err();
    assert!(start.elapsed() >= Duration::from_secs(3) && start.elapsed() < Duration::from_secs(4));
    assert!(error.to_string().contains("drain"), "{error}");
    assert!(theirs.read(&mut [0]).await.is_err());
    drop((ours, theirs));
    assert_eq!(world.server.task.await.unwrap(), ConnectionError::Drained);
}

#[tokio::test(start_paused = true)]
async fn abort_tells_the_peer_and_truncates() {
    let mut world = World::new(Wire::Remux2);
    let (mut ours, mut theirs) = world.stream().await;
    world.server.connection.abort(ConnectionError::Aborted("identity revoked".into()));
    assert!(theirs.read(&mut [0]).await.unwrap_err().to_string().contains("identity revoked"));
    assert_eq!(ours.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let cause = world.client.task.await.unwrap();
    assert!(matches!(cause, ConnectionError::GoAway { code: Code::CANCEL, .. }), "{cause}");
}

/// Found by reading: a driver that waited for room in the socket did not look at its session, so the streams of a client that had
/// lost its right went on as long as it took nothing.
#[tokio::test(start_paused = true)]
async fn connection_whose_peer_takes_nothing_is_cut_at_once() {
    let mut world = World::new(Wire::Remux2);
    let (_ours, mut theirs) = world.stream().await;
    world.flows.send(false).unwrap();
    theirs.write_all(&pattern(5, 4 * PIPE)).await.unwrap();
    let reading = tokio::spawn(async move { theirs.read(&mut [0]).await.unwrap_err() });
    settle().await;
    let start = tokio::time::Instant::now();
    world.server.connection.abort(ConnectionError::Forbidden("revoked".into()));
    assert!(reading.await.unwrap().to_string().contains("revoked"));
    assert_eq!(start.elapsed().as_secs(), 0);
    assert!(matches!(world.server.task.await.unwrap(), ConnectionError::Forbidden(_)));
    assert_eq!(start.elapsed().as_secs(), 2, "time for a goodbye");
}

#[tokio::test(start_paused = true)]
async fn peer_that_speaks_nonsense_is_told_and_left() {
    let (pipe, mut peer) = tokio::io::duplex(PIPE);
    let server = End::over(Role::Server, Wire::Remux2, SessionConfig::default(), pipe);
    peer.write_all(&[0x0b, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
    peer.shutdown().await.unwrap();
    let mut said = Vec::new();
    peer.read_to_end(&mut said).await.unwrap();
    assert!(said.windows(8).any(|frame| frame[0] == 0x06), "no GOAWAY in {said:?}");
    assert!(matches!(server.task.await.unwrap(), ConnectionError::Protocol { .. }));
}

#[tokio::test(start_paused = true)]
async fn silent_peer_is_found_dead_while_a_stream_is_open() {
    let mut world = World::new(Wire::Remux2);
    let (mut ours, _theirs) = world.stream().await;
    settle().await;
    world.flows.send(false).unwrap();
    let start = tokio::time::Instant::now();
    let error = ours.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(start.elapsed() <= Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(matches!(world.client.task.await.unwrap(), ConnectionError::Dead { .. }));
}
