//! The classic wire: its bytes, and what they can't say.

mod session_world;

use bytes::Bytes;
use framing::remux2::{Code, Command, Opened};
use remux::session::{Event, Open, Recv, StreamId};
use remux::{ClassicConfig, ConnectionError, OpenReason, SessionConfig, StreamError, Wire};
use session_world::*;

#[test]
fn request_and_first_data_are_the_captured_bytes() {
    let mut pair = Pair::new(Wire::Classic);
    let open = Open { first: Bytes::from("HelloWorld"), ..Open::connect("127.0.0.1:19010".parse().unwrap()) };
    let id = pair.client.session.open(pair.now, open).unwrap();
    let sent = pair.client.transmit(pair.now);
    assert_eq!(sent, b"\x00\x01\x00\x14\x05\x01\x00\x01\x7f\x00\x00\x01\x4a\x42HelloWorld");
    pair.client.write(pair.now, id, b"hello");
    assert_eq!(pair.client.transmit(pair.now), b"\x00\x01\x00\x05hello");
    pair.client.session.forget(pair.now, id);
    assert_eq!(pair.client.transmit(pair.now), b"\x00\x01\x00\x00");
}

#[test]
fn nothing_is_sent_before_a_stream_is_opened() {
    let mut pair = Pair::new(Wire::Classic);
    assert!(!pair.client.session.wants_transmit() && !pair.server.session.wants_transmit());
    assert!(pair.client.transmit(pair.now).is_empty() && pair.server.transmit(pair.now).is_empty());
}

#[test]
fn request_is_read_however_it_is_cut_into_frames() {
    let bytes = b"\x05\x01\x00\x03\x0bexample.net\x01\xbbrest";
    for cut in 1..bytes.len() {
        let mut pair = Pair::new(Wire::Classic);
        for part in [&bytes[..cut], &bytes[cut..]] {
            pair.server.receive(pair.now, &[&[0, 9, 0, part.len() as u8], part].concat());
        }
        let (id, open) = pair.server.incoming().unwrap();
        assert_eq!(
            (id, open.command, open.target),
            (StreamId(9), Command::Connect, Some(target())),
            "cut at {cut}"
        );
        assert_eq!(pair.server.read(pair.now, id).0, b"rest", "cut at {cut}");
        assert_eq!(
            pair.server.session.charged(),
            (4 << 10, 0),
            "cut at {cut}: all of it was read, the stream itself remains"
        );
    }
}

#[test]
fn malformed_request_ends_the_session_unseen() {
    let mut pair = Pair::new(Wire::Classic);
    pair.server.receive(pair.now, b"\x00\x01\x00\x03GET");
    assert_eq!(pair.server.incoming(), None);
    assert_eq!(pair.server.transmit(pair.now), b"\x00\x01\x00\x00");
    assert_eq!(pair.server.session.streams(), 0);
}

#[test]
fn ids_rise_by_one_and_an_old_one_never_opens_again() {
    let mut pair = Pair::new(Wire::Classic);
    let ids: Vec<u32> = (0..3).map(|_| pair.open(connect(b"")).0.0).collect();
    assert_eq!(ids, [1, 2, 3]);
    pair.server.session.forget(pair.now, StreamId(2));
    pair.server.transmit(pair.now);
    pair.server.events.clear();
    for id in [2, 1] {
        pair.server.receive(pair.now, &[0, id, 0, 13, 5, 1, 0, 1, 1, 2, 3, 4, 0, 80, b'x', b'y', b'z']);
    }
    assert_eq!(pair.server.incoming(), None, "late data would become a new request");
    assert_eq!(pair.server.session.streams(), 2);
    assert_eq!(pair.server.read(pair.now, StreamId(1)).0.len(), 13, "a live one goes on");
}

#[test]
fn session_zero_is_skipped() {
    let mut pair = Pair::new(Wire::Classic);
    pair.server.receive(pair.now, b"\x00\x00\x00\x05\x05\x01\x00\x01\x01\x00\x00\x00\x00");
    assert_eq!((pair.server.session.streams(), pair.server.closed()), (0, None));
    let (_, theirs) = pair.open(connect(b"on"));
    assert_eq!(pair.server.read(pair.now, theirs).0, b"on");
}

#[test]
fn openers_fin_is_held_back_until_the_other_side_ends() {
    let mut pair = Pair::new(Wire::Classic);
    let (ours, theirs) = pair.open(connect(b"question"));
    pair.client.session.finish(pair.now, ours);
    assert!(pair.client.transmit(pair.now).is_empty(), "a 0 would end the answer, too");
    assert_eq!(pair.server.read(pair.now, theirs), (b"question".to_vec(), Recv::Wait));
    pair.server.write(pair.now, theirs, b"answer");
    pair.server.session.finish(pair.now, theirs);
    pair.settle();
    assert_eq!(pair.client.read(pair.now, ours), (b"answer".to_vec(), Recv::Fin));
    assert_eq!(pair.server.read(pair.now, theirs).1, Recv::Fin);
    assert_eq!((pair.client.end(ours), pair.server.end(theirs)), (Some(Ok(())), Some(Ok(()))));
}

#[test]
fn acceptors_end_follows_its_queue_and_ends_both_directions() {
    let mut pair = Pair::new(Wire::Classic);
    let (ours, theirs) = pair.open(connect(b"upload"));
    let answer = pattern(250_000);
    pair.server.write(pair.now, theirs, &answer);
    pair.server.session.finish(pair.now, theirs);
    pair.server.session.forget(pair.now, theirs);
    pair.settle();
    assert_eq!(pair.client.read(pair.now, ours), (answer, Recv::Fin));
    assert_eq!(pair.client.session.send_room(ours), Err(StreamError::Finished));
    assert_eq!(pair.server.session.streams(), 0);
}

#[test]
fn stop_with_streams_open_cuts_the_connection_and_never_looks_like_their_end() {
    for by_limit in [true, false] {
        let mut pair = Pair::new(Wire::Classic);
        let (ours, theirs) = pair.open(connect(b"question"));
        pair.server.write(pair.now, theirs, b"half of the ans");
        pair.settle();
        if by_limit {
            pair.server.session.drain(pair.now, Code::DRAIN, secs(1));
            pair.now += secs(1);
            pair.server.session.handle_timeout(pair.now);
        } else {
            pair.server.session.reset(pair.now, theirs, Code::DRAIN, "");
        }
        assert!(pair.server.transmit(pair.now).is_empty(), "a 0 is an end");
        assert!(pair.server.closed().is_some());
        pair.client.session.handle_closed(pair.now, ConnectionError::Closed);
        let (heard, end) = pair.client.read(pair.now, ours);
        assert_eq!(heard, b"half of the ans");
        assert!(matches!(end, Recv::Failed(StreamError::Truncated { .. })), "{end:?}");
    }
}

#[test]
fn data_for_an_ended_session_are_dropped_however_many() {
    let mut pair = Pair::new(Wire::Classic);
    let (ours, theirs) = pair.open(connect(b""));
    pair.server.session.forget(pair.now, theirs);
    pair.server.transmit(pair.now);
    for _ in 0..100 {
        let room = pair.client.session.send_room(ours).unwrap();
        pair.client.write(pair.now, ours, &vec![0; room]);
        let late = pair.client.transmit(pair.now);
        pair.server.receive(pair.now, &late);
        pair.now += secs(1);
    }
    assert_eq!((pair.server.closed(), pair.server.session.charged()), (None, (0, 0)));
}

#[test]
fn back_pressure_stops_at_the_full_stream_and_goes_on_when_it_is_read() {
    let sending = remux::SendConfig { queue: 1 << 20, ..remux::SendConfig::default() };
    let config = SessionConfig { sending, ..SessionConfig::default() };
    let mut pair = Pair::with(Wire::Classic, config, SessionConfig::default());
    let (ours, theirs) = pair.open(connect(b""));
    let data = pattern(1 << 20);
    let (mut sent, mut got) = (0, Vec::new());
    let mut stops = 0;
    while got.len() < data.len() {
        sent += pair.client.write(pair.now, ours, &data[sent..]);
        while pair.step() {}
        if !pair.server.session.wants_read() {
            stops += 1;
            let held = pair.server.session.charged().0 >> 10;
            assert!(
                (256..320).contains(&held),
                "{held} KiB: the queue is full, and chunks cost a little each"
            );
        }
        got.extend(pair.server.read(pair.now, theirs).0);
        assert!(pair.server.session.wants_read());
    }
    assert_eq!(got, data);
    assert!(stops >= 2, "{stops}");
}

#[test]
fn what_the_wire_can_not_express_is_refused_at_the_opening() {
    let mut pair = Pair::new(Wire::Classic);
    let reason = |pair: &mut Pair, open: Open| pair.client.session.open(pair.now, open).unwrap_err().reason;
    let bind = Open { command: Command::Bind, ..connect(b"") };
    assert!(matches!(reason(&mut pair, bind), OpenReason::Unsupported(_)));
    let strict = Open { want_opened: true, ..connect(b"") };
    assert!(matches!(reason(&mut pair, strict), OpenReason::Unsupported(_)));
    assert!(matches!(reason(&mut pair, Open::stream()), OpenReason::Unsupported(_)));
    assert!(matches!(
        pair.server.session.open(pair.now, connect(b"")).unwrap_err().reason,
        OpenReason::Unsupported(_)
    ));
    let (ours, theirs) = pair.open(connect(b""));
    pair.server.session.answer_opened(pair.now, theirs, Opened { dial_us: 1, bound: None });
    assert!(pair.server.transmit(pair.now).is_empty());
    let _ = ours;
}

#[test]
fn plain_streams_pass_where_no_request_is_read() {
    let classic = ClassicConfig { request: false, ..ClassicConfig::default() };
    let config = SessionConfig { classic, ..SessionConfig::default() };
    let mut pair = Pair::with(Wire::Classic, config.clone(), config);
    let (_, theirs) = pair.open(Open { first: Bytes::from("raw"), ..Open::stream() });
    assert_eq!(pair.server.read(pair.now, theirs).0, b"raw");
}

#[test]
fn first_frames_leave_in_the_order_of_their_ids_whatever_their_urgency() {
    let mut pair = Pair::new(Wire::Classic);
    for urgency in [7, 0, 3, 1] {
        pair.client.session.open(pair.now, Open { priority: urgency, ..connect(b"x") }).unwrap();
    }
    pair.settle();
    let ids: Vec<u32> = std::iter::from_fn(|| pair.server.incoming()).map(|(id, _)| id.0).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
}

#[test]
fn ids_run_out_after_65535() {
    let mut pair = Pair::new(Wire::Classic);
    for n in 1..=65_535_u32 {
        let id = pair.client.session.open(pair.now, connect(b"")).unwrap();
        assert_eq!(id.0, n);
        pair.client.session.forget(pair.now, id);
        if n % 1000 == 0 {
            assert!(pair.client.transmit(pair.now).is_empty(), "they were let go of before they left");
        }
    }
    assert_eq!(pair.client.session.open(pair.now, connect(b"")).unwrap_err().reason, OpenReason::Exhausted);
    assert!(!pair.client.session.can_open());
}

#[test]
fn lost_connection_truncates_classic_streams() {
    let mut pair = Pair::new(Wire::Classic);
    let (ours, _) = pair.open(connect(b""));
    pair.client.session.handle_closed(pair.now, ConnectionError::Closed);
    pair.client.collect();
    let cut = StreamError::Truncated { cause: ConnectionError::Closed };
    assert_eq!(pair.client.read(pair.now, ours).1, Recv::Failed(cut));
    assert!(matches!(pair.client.events.back(), Some(Event::Closed(_))));
    assert!(!pair.client.session.wants_transmit());
}

#[test]
fn draining_server_ends_new_sessions_and_waits_for_old_ones() {
    let mut pair = Pair::new(Wire::Classic);
    let (ours, theirs) = pair.open(connect(b"x"));
    pair.server.session.drain(pair.now, Code::DRAIN, secs(30));
    let late = pair.client.session.open(pair.now, connect(b"y")).unwrap();
    pair.settle();
    assert_eq!(pair.client.read(pair.now, late).1, Recv::Fin);
    assert_eq!(pair.server.closed(), None);
    pair.server.session.finish(pair.now, theirs);
    pair.settle();
    assert_eq!(pair.server.closed(), Some(ConnectionError::Drained));
    assert_eq!(pair.client.end(ours), Some(Ok(())));
}

#[test]
fn classic_stream_that_holds_up_nobody_any_more_is_not_ended() {
    let mut pair = Pair::new(Wire::Classic);
    let (id, theirs) = pair.open(connect(b"x"));
    let data = pattern((256 << 10) + 1);
    let sent = pair.server.write(pair.now, theirs, &data);
    pair.settle();
    pair.server.write(pair.now, theirs, &data[sent..]);
    pair.settle();
    assert!(!pair.client.session.wants_read(), "the last byte has no room");
    let Recv::Data(chunk) = pair.client.session.recv(pair.now, id) else { panic!("data") };
    pair.client.session.release(pair.now, id, chunk.len());
    pair.settle();
    assert!(pair.client.session.wants_read() && pair.client.input.is_empty(), "nothing is held up");
    pair.wait(secs(11));
    pair.settle();
    let (rest, end) = pair.client.read(pair.now, id);
    assert_eq!((chunk.len() + rest.len(), end), (data.len(), Recv::Wait), "a player that was paused");
}
