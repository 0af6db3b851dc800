//! What a session holds of memory stays in proportion to what it carries.

mod session_world;

use bytes::BytesMut;
use framing::remux2::{Header, Kind};
use remux::session::{Session, StreamId};
use session_world::*;

#[test]
fn priorities_of_streams_that_wait_leave_nothing_behind() {
    let mut lone = Lone::server();
    let ids: Vec<u32> = (0..50).map(|n| 1 + 2 * n).collect();
    for id in &ids {
        lone.say_open(*id);
        lone.side.write(lone.now, StreamId(*id), b"waits for a transport that takes nothing");
    }
    let before = size(&lone.side.session);
    for round in 0..400_u32 {
        lone.now += millis(101);
        for id in &ids {
            lone.say(Kind::Priority, 0, *id, &[round.to_le_bytes()[0] & 1]);
        }
    }
    assert_eq!(lone.side.closed(), None);
    let after = size(&lone.side.session);
    assert!(after < 2 * before + 100_000, "{before} grew to {after}");
}

#[test]
fn credits_of_streams_that_were_reset_leave_nothing_behind() {
    let mut lone = Lone::server();
    let before = size(&lone.side.session);
    for n in 0..400_u32 {
        let id = 1 + 2 * n;
        lone.now += millis(101);
        lone.say_open(id);
        for _ in 0..5 {
            lone.say(Kind::Data, 0, id, &[7; 16_000]);
        }
        // Credit is due; the transport takes nothing.
        assert_eq!(lone.side.read(lone.now, StreamId(id)).0.len(), 80_000);
        lone.say(Kind::Rst, 0, id, &[0, 16]);
        lone.side.session.forget(lone.now, StreamId(id));
    }
    assert_eq!((lone.side.closed(), lone.side.session.streams()), (None, 0));
    let after = size(&lone.side.session);
    assert!(after < 2 * before, "{before} grew to {after}");
}

#[test]
fn bytes_of_a_stopped_reader_hold_no_more_memory_than_they_are_charged_for() {
    const SLAB: usize = 64 << 10;
    let mut lone = Lone::server();
    lone.say_open(1);
    lone.say_open(3);
    let mut slabs = Vec::new();
    for _ in 0..100 {
        let mut slab = BytesMut::with_capacity(SLAB);
        let mut put = |stream: u32, n: u16| {
            slab.extend_from_slice(&Header::new(Kind::Data, 0, stream, n).to_bytes());
            slab.extend_from_slice(&vec![1; n.into()]);
        };
        put(1, 2048);
        (0..3).for_each(|_| put(3, 16_000));
        lone.side.session.handle_data(lone.now, &mut slab).unwrap();
        slabs.push(slab);
        // The other stream's reader is fast.
        assert_eq!(lone.side.read(lone.now, StreamId(3)).0.len(), 48_000);
        lone.take_sent();
    }
    let pinned = slabs.iter_mut().filter_map(|slab| (!slab.try_reclaim(SLAB)).then_some(SLAB)).sum::<usize>();
    let unread = 100 * 2048;
    assert!(pinned <= 8 * unread, "{unread} unread bytes hold {pinned} bytes of receive buffers");
}

/// All a session holds, as text: what grows in it grows here.
fn size(session: &Session) -> usize {
    format!("{session:?}").len()
}
