//! What applications see of healthy streams.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::Poll;

use framing::remux2::{Code, Opened};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::error::StreamError;

#[tokio::test(start_paused = true)]
async fn echo_returns_every_byte_in_order() {
    for wire in [Wire::Remux2, Wire::Classic] {
        let world = World::new(wire);
        let _echo = echo(world.server.incoming);
        let sent = pattern(1, 3 << 20);
        let start = tokio::time::Instant::now();
        let (mut from, mut to) = tokio::io::split(world.client.open());
        let (write, read) = tokio::join!(to.write_all(&sent), async {
            let mut got = vec![0; sent.len()];
            from.read_exact(&mut got).await.map(|_| got)
        });
        write.unwrap();
        assert!(read.unwrap() == sent, "{wire:?}: bytes differ");
        // The pipe takes no time: whatever passed was spent by a driver that slept through its work until a timer woke it.
        assert_eq!(start.elapsed(), Duration::ZERO, "{wire:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn credit_leaves_at_once_when_the_reader_of_a_quiet_connection_reads() {
    let mut world = World::new(Wire::Remux2);
    let (mut ours, mut theirs) = world.stream().await;
    let writing = tokio::spawn(async move { ours.write_all(&pattern(1, 2 << 20)).await.map(|()| ours) });
    settle().await;
    assert!(!writing.is_finished());
    let start = tokio::time::Instant::now();
    theirs.read_exact(&mut vec![0; 2 << 20]).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    drop(writing.await);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_streams_at_once_each_keep_their_own_bytes() {
    for wire in [Wire::Remux2, Wire::Classic] {
        let mut limits = SessionConfig::default();
        limits.limits.opens.burst = 1000;
        let world = World::with(wire, SessionConfig::default(), limits);
        let _echo = echo(world.server.incoming);
        let mut flows = JoinSet::new();
        for n in 0..200 {
            let mut stream = world.client.open();
            flows.spawn(async move {
                let sent = pattern(n, 20_000 + n);
                stream.write_all(&sent).await.unwrap();
                let mut got = vec![0; sent.len()];
                stream.read_exact(&mut got).await.unwrap();
                assert!(got == sent, "stream {n} got other bytes");
                // Classic has no half-close: its echo ends when the stream is dropped.
                if wire == Wire::Remux2 {
                    stream.shutdown().await.unwrap();
                    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
                }
            });
        }
        while let Some(result) = flows.join_next().await {
            result.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn first_data_and_fin_travel_with_the_request() {
    let mut world = World::new(Wire::Remux2);
    let open = Open { first: Bytes::from_static(b"early"), fin: true, ..request() };
    let mut ours = world.client.connection.open(open).unwrap();
    let mut theirs = world.server.accept().await;
    assert_eq!(theirs.request().target, request().target);
    assert!(theirs.request().first.is_empty());
    let mut got = String::new();
    theirs.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "early");
    assert_eq!(ours.write(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[tokio::test(start_paused = true)]
async fn half_close_leaves_the_other_direction_open() {
    let mut world = World::new(Wire::Remux2);
    let (mut ours, mut theirs) = world.stream().await;
    ours.write_all(b"question").await.unwrap();
    ours.shutdown().await.unwrap();
    let mut got = String::new();
    theirs.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "question");
    theirs.write_all(&pattern(3, 500_000)).await.unwrap();
    theirs.shutdown().await.unwrap();
    let mut answer = Vec::new();
    ours.read_to_end(&mut answer).await.unwrap();
    assert!(answer == pattern(3, 500_000));
}

#[tokio::test(start_paused = true)]
async fn classic_end_of_session_is_an_end_of_input() {
    let mut world = World::new(Wire::Classic);
    let (mut ours, mut theirs) = world.stream().await;
    theirs.write_all(b"server speaks first").await.unwrap();
    theirs.shutdown().await.unwrap();
    drop(theirs);
    let mut got = String::new();
    ours.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "server speaks first");
}

#[tokio::test(start_paused = true)]
async fn chunks_pass_through_without_a_copy_and_in_order() {
    let mut world = World::new(Wire::Remux2);
    let (mut ours, mut theirs) = world.stream().await;
    let sent = pattern(9, 200_000);
    let mut left = sent.clone();
    while !left.is_empty() {
        let room = poll_fn(|cx| ours.poll_write_room(cx)).await.unwrap();
        assert!(room > 0);
        ours.write_chunk(left.split_to(room.min(left.len()).min(10_000))).unwrap();
    }
    ours.finish();
    let mut got = Vec::new();
    while let Some(chunk) = poll_fn(|cx| theirs.poll_read_chunk(cx, 3000)).await.unwrap() {
        assert!(!chunk.is_empty() && chunk.len() <= 3000);
        got.extend_from_slice(&chunk);
    }
    assert!(got == sent);
}

#[tokio::test(start_paused = true)]
async fn buffered_reading_gives_the_same_bytes() {
    let mut world = World::new(Wire::Remux2);
    let (mut ours, mut theirs) = world.stream().await;
    let text: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
    let writing = tokio::spawn({
        let text = text.clone();
        async move {
            ours.write_all(text.as_bytes()).await.unwrap();
            ours.shutdown().await.unwrap();
            ours
        }
    });
    let mut lines = Vec::new();
    let mut line = String::new();
    while theirs.read_line(&mut line).await.unwrap() > 0 {
        lines.push(std::mem::take(&mut line));
    }
    assert!(lines.concat() == text);
    drop(writing.await);
}

#[tokio::test(start_paused = true)]
async fn strict_opener_learns_the_dial_and_its_failure() {
    let mut world = World::new(Wire::Remux2);
    let open = || Open { want_opened: true, ..request() };
    let mut good = world.client.connection.open(open()).unwrap();
    let mut bad = world.client.connection.open(open()).unwrap();
    let answer = Opened { dial_us: 1500, bound: Some("192.0.2.1:40000".parse().unwrap()) };
    let mut accepted = world.server.accept().await;
    let mut refused = world.server.accept().await;
    let asking = tokio::spawn(async move { (good.opened().await, good) });
    settle().await;
    accepted.answer_opened(answer.clone());
    refused.reset(Code::DEST_REFUSED, "connection refused");
    let (opened, _good) = asking.await.unwrap();
    assert_eq!(opened.unwrap(), answer);
    let error = bad.opened().await.unwrap_err();
    assert_eq!(error.code(), Code::DEST_REFUSED);
    assert!(error.to_string().contains("connection refused"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn acceptor_can_open_streams_when_allowed() {
    let mut allows = SessionConfig::default();
    allows.limits.max_streams = Some(4);
    let mut world = World::with(Wire::Remux2, allows, SessionConfig::default());
    settle().await;
    let (mut ours, mut theirs) = world.server.stream_to(&mut world.client).await;
    assert_eq!(ours.id().0 % 2, 0);
    ours.write_all(b"reverse").await.unwrap();
    ours.shutdown().await.unwrap();
    let mut got = String::new();
    theirs.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "reverse");
}

#[tokio::test(start_paused = true)]
async fn reset_reaches_reader_writer_and_idle_holder_with_its_code() {
    let mut world = World::new(Wire::Remux2);
    let (mut reader, mut a) = world.stream().await;
    let (mut writer, mut b) = world.stream().await;
    let (mut holder, mut c) = world.stream().await;
    let waiting = tokio::spawn(async move {
        let mut byte = [0];
        let read = reader.read(&mut byte).await.unwrap_err();
        let write = loop {
            if let Err(error) = writer.write(&[7; 10_000]).await {
                break error;
            }
        };
        (read, write, holder.closed().await)
    });
    settle().await;
    for stream in [&mut a, &mut b, &mut c] {
        stream.reset(Code::DEST_RESET, "");
    }
    let (read, write, held) = waiting.await.unwrap();
    assert_eq!(read.kind(), ErrorKind::ConnectionReset);
    assert_eq!(write.kind(), ErrorKind::ConnectionReset);
    for error in [read.get_ref().unwrap().downcast_ref().unwrap(), &held] {
        assert!(matches!(error, StreamError::Reset { code: Code::DEST_RESET, .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_stream_resets_unless_both_directions_ended() {
    let mut world = World::new(Wire::Remux2);
    let (ours, mut theirs) = world.stream().await;
    drop(ours);
    let error = theirs.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(error.to_string().contains("cancel"), "{error}");

    let (mut ours, mut theirs) = world.stream().await;
    ours.shutdown().await.unwrap();
    theirs.shutdown().await.unwrap();
    assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(ours.read(&mut [0]).await.unwrap(), 0);
    drop(ours);
    settle().await;
    assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn write_half_dropped_before_its_end_resets_and_read_half_does_not() {
    let mut world = World::new(Wire::Remux2);
    let (ours, mut theirs) = world.stream().await;
    let (_read, write) = ours.into_split();
    drop(write);
    assert_eq!(theirs.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);

    let (ours, mut theirs) = world.stream().await;
    let (read, mut write) = ours.into_split();
    drop(read);
    write.write_all(b"whole").await.unwrap();
    write.shutdown().await.unwrap();
    let mut got = String::new();
    theirs.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "whole");
}

#[tokio::test(start_paused = true)]
async fn closed_is_pending_on_a_healthy_stream() {
    let mut world = World::new(Wire::Remux2);
    let (mut ours, mut theirs) = world.stream().await;
    let pending = poll_fn(|cx| Poll::Ready(ours.poll_closed(cx).is_pending())).await;
    assert!(pending);
    theirs.write_all(b"x").await.unwrap();
    let mut byte = [0];
    Pin::new(&mut ours).read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"x");
}
