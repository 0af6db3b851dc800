//! Readers that don't read.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;

#[tokio::test(start_paused = true)]
async fn unread_stream_holds_up_no_other() {
    let mut world = World::new(Wire::Remux2);
    let (mut stuck, _unread) = world.stream().await;
    let (mut ours, mut theirs) = world.stream().await;
    let stuffing = tokio::spawn(async move { stuck.write_all(&pattern(1, 8 << 20)).await });
    settle().await;
    assert!(!stuffing.is_finished());
    let sent = pattern(2, 4 << 20);
    let (write, read) = tokio::join!(ours.write_all(&sent), async {
        let mut got = vec![0; sent.len()];
        theirs.read_exact(&mut got).await.map(|_| got)
    });
    write.unwrap();
    assert!(read.unwrap() == sent);
    assert!(!stuffing.is_finished());
}

#[tokio::test(start_paused = true)]
async fn slow_reader_gets_everything_once_it_reads() {
    for wire in [Wire::Remux2, Wire::Classic] {
        let mut world = World::new(wire);
        let (mut ours, mut theirs) = world.stream().await;
        let sent = pattern(5, 2 << 20);
        let writing = tokio::spawn({
            let sent = sent.clone();
            async move { ours.write_all(&sent).await.map(|()| ours) }
        });
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!writing.is_finished(), "{wire:?} buffers without bound");
        let mut got = vec![0; sent.len()];
        theirs.read_exact(&mut got).await.unwrap();
        assert!(got == sent, "{wire:?}: bytes differ");
        writing.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn classic_full_queue_pauses_the_connection_until_it_is_read() {
    let mut world = World::new(Wire::Classic);
    let (mut stuck, mut unread) = world.stream().await;
    let (mut ours, mut theirs) = world.stream().await;
    let stuffing = tokio::spawn(async move { stuck.write_all(&pattern(1, 1 << 20)).await.map(|()| stuck) });
    settle().await;
    ours.write_all(b"behind the wall").await.unwrap();
    let mut got = [0; 15];
    assert!(timeout(Duration::from_secs(3), theirs.read_exact(&mut got)).await.is_err());
    let start = tokio::time::Instant::now();
    let mut all = vec![0; 1 << 20];
    unread.read_exact(&mut all).await.unwrap();
    theirs.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"behind the wall");
    assert_eq!(start.elapsed(), Duration::ZERO);
    stuffing.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn classic_stream_that_stays_full_ends_and_frees_the_others() {
    let mut world = World::new(Wire::Classic);
    let (mut stuck, mut unread) = world.stream().await;
    let (mut ours, mut theirs) = world.stream().await;
    let stuffing = tokio::spawn(async move { stuck.write_all(&pattern(1, 4 << 20)).await });
    settle().await;
    ours.write_all(b"behind the wall").await.unwrap();
    let mut got = [0; 15];
    timeout(Duration::from_secs(12), theirs.read_exact(&mut got)).await.unwrap().unwrap();
    assert!(stuffing.await.unwrap().is_err());
    let mut all = Vec::new();
    assert!(unread.read_to_end(&mut all).await.is_err());
}
