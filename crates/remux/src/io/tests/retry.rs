//! A stream refused before anything was done with it goes on elsewhere, once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use framing::remux2::Code;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::error::{DialError, StreamError};
use crate::io::retry::{REPLAY_MAX, Reopen, Reopening};

/// A pool with one more connection.
struct Elsewhere {
    connection: Mutex<Option<Connection>>,
    asked: AtomicUsize,
}

impl Elsewhere {
    fn on(connection: &Connection) -> Arc<Self> {
        Arc::new(Self { connection: Mutex::new(Some(connection.clone())), asked: AtomicUsize::new(0) })
    }
}

impl Reopen for Elsewhere {
    fn reopen(&self, open: Open, _: Instant, _: bool) -> Reopening {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let connection = self.connection.lock().clone();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            connection.and_then(|connection| connection.open(open).ok()).ok_or(DialError::Closed)
        })
    }
}

fn armed(client: &End, elsewhere: &Arc<Elsewhere>, open: Open) -> Stream {
    let mut stream = client.connection.open(open.clone()).unwrap();
    stream.arm(elsewhere.clone(), open, crate::io::clock::now());
    stream
}

#[tokio::test(start_paused = true)]
async fn refused_stream_goes_on_elsewhere_without_a_word() {
    let (mut bad, mut good) = (World::new(Wire::Remux2), World::new(Wire::Remux2));
    let elsewhere = Elsewhere::on(&good.client.connection);
    let mut ours = armed(&bad.client, &elsewhere, Open { first: Bytes::from_static(b"GET "), ..request() });
    ours.write_all(b"/ HTTP").await.unwrap();
    bad.server.accept().await.refuse(Code::REFUSED, "queue is full");
    let answering = tokio::spawn(async move {
        let mut theirs = good.server.accept().await;
        let mut got = String::new();
        theirs.read_to_string(&mut got).await.unwrap();
        theirs.write_all(b"answer to ").await.unwrap();
        theirs.write_all(got.as_bytes()).await.unwrap();
        theirs.shutdown().await.unwrap();
        (theirs, good.client)
    });
    settle().await;
    ours.write_all(b"/1.1").await.unwrap();
    ours.shutdown().await.unwrap();
    let mut answer = String::new();
    ours.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer to GET / HTTP/1.1");
    assert_eq!(elsewhere.asked.load(Ordering::Relaxed), 1);
    drop(answering.await);
}

#[tokio::test(start_paused = true)]
async fn request_that_was_whole_is_whole_elsewhere() {
    let (mut bad, mut good) = (World::new(Wire::Remux2), World::new(Wire::Remux2));
    let elsewhere = Elsewhere::on(&good.client.connection);
    let open = Open { first: Bytes::from_static(b"all of it"), fin: true, ..request() };
    let mut ours = armed(&bad.client, &elsewhere, open);
    bad.server.accept().await.refuse(Code::REFUSED, "");
    let reading = tokio::spawn(async move { ours.read(&mut [0]).await.map(|count| (count, ours)) });
    let mut theirs = good.server.accept().await;
    let mut got = String::new();
    theirs.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "all of it");
    theirs.shutdown().await.unwrap();
    let (count, mut ours) = reading.await.unwrap().unwrap();
    assert_eq!(count, 0);
    assert!(ours.write(b"more").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn second_refusal_surfaces() {
    let (mut bad, mut worse) = (World::new(Wire::Remux2), World::new(Wire::Remux2));
    let elsewhere = Elsewhere::on(&worse.client.connection);
    let mut ours = armed(&bad.client, &elsewhere, request());
    bad.server.accept().await.refuse(Code::REFUSED, "");
    let reading = tokio::spawn(async move { ours.read(&mut [0]).await });
    worse.server.accept().await.refuse(Code::REFUSED, "");
    let error = reading.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(elsewhere.asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn refusal_surfaces_when_there_is_nowhere_to_go() {
    let mut bad = World::new(Wire::Remux2);
    let elsewhere = Elsewhere::on(&bad.client.connection);
    *elsewhere.connection.lock() = None;
    let mut ours = armed(&bad.client, &elsewhere, request());
    bad.server.accept().await.refuse(Code::LIMIT, "");
    let error = ours.closed().await;
    assert!(matches!(error, StreamError::Reset { code: Code::LIMIT, refused_safe: true, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn plain_reset_is_never_retried() {
    let mut world = World::new(Wire::Remux2);
    let elsewhere = Elsewhere::on(&world.client.connection);
    let mut ours = armed(&world.client, &elsewhere, request());
    world.server.accept().await.reset(Code::DEST_REFUSED, "");
    assert!(ours.read(&mut [0]).await.is_err());
    assert_eq!(elsewhere.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn stream_that_sent_too_much_is_not_retried() {
    let (mut bad, good) = (World::new(Wire::Remux2), World::new(Wire::Remux2));
    let elsewhere = Elsewhere::on(&good.client.connection);
    let mut ours = armed(&bad.client, &elsewhere, request());
    ours.write_all(&pattern(1, REPLAY_MAX + 1)).await.unwrap();
    bad.server.accept().await.refuse(Code::REFUSED, "");
    assert!(ours.read(&mut [0]).await.is_err());
    assert_eq!(elsewhere.asked.load(Ordering::Relaxed), 0);
}
