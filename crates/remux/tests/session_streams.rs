//! The life of streams between two sessions.

mod session_world;

use bytes::Bytes;
use framing::remux2::{Code, Command, Kind, Opened, flags};
use framing::{Host, Name, Target};
use proptest::prelude::*;
use remux::session::{Event, Open, Recv, StreamId};
use remux::{
    ConnectionError, LimitConfig, OpenReason, Rate, Role, SendConfig, SessionConfig, StreamError, Wire,
};
use session_world::*;

#[test]
fn request_and_first_data_travel_in_one_frame_of_the_first_flight() {
    let mut pair = Pair::new(Wire::Remux2);
    pair.client.session.open(pair.now, connect(b"GET /")).unwrap();
    let sent = frames(&pair.client.transmit(pair.now));
    let kinds: Vec<u8> = sent.iter().map(|(header, _)| header.kind).collect();
    assert_eq!(kinds, [Kind::Settings as u8, Kind::Open as u8], "nothing waits for the server");
    assert!(sent[1].1.ends_with(b"GET /"));
}

#[test]
fn accepted_stream_shows_its_request_and_reads_its_first_data() {
    for wire in [Wire::Remux2, Wire::Classic] {
        let mut pair = Pair::new(wire);
        let id = pair.client.session.open(pair.now, connect(b"hello")).unwrap();
        pair.settle();
        let (theirs, open) = pair.server.incoming().unwrap();
        assert_eq!((theirs, open.command, open.target), (id, Command::Connect, Some(target())), "{wire:?}");
        assert_eq!(pair.server.read(pair.now, theirs), (b"hello".to_vec(), Recv::Wait), "{wire:?}");
    }
}

#[test]
fn half_close_passes_in_both_directions_and_ends_the_stream_cleanly() {
    let mut pair = Pair::new(Wire::Remux2);
    let (ours, theirs) = pair.open(connect(b"question"));
    pair.client.session.finish(pair.now, ours);
    pair.settle();
    assert_eq!(pair.server.read(pair.now, theirs), (b"question".to_vec(), Recv::Fin));
    assert_eq!(pair.server.end(theirs), None);
    pair.server.write(pair.now, theirs, b"answer");
    pair.server.session.finish(pair.now, theirs);
    pair.settle();
    assert_eq!(pair.client.read(pair.now, ours), (b"answer".to_vec(), Recv::Fin));
    assert_eq!((pair.client.end(ours), pair.server.end(theirs)), (Some(Ok(())), Some(Ok(()))));
    pair.client.session.forget(pair.now, ours);
    pair.server.session.forget(pair.now, theirs);
    assert_eq!((pair.client.session.streams(), pair.server.session.streams()), (0, 0));
    assert_eq!(pair.client.session.charged(), (0, 0));
}

#[test]
fn fin_of_an_opening_without_more_data_is_in_the_open_frame() {
    let mut pair = Pair::new(Wire::Remux2);
    pair.client.session.open(pair.now, Open { fin: true, ..connect(b"all") }).unwrap();
    let sent = frames(&pair.client.transmit(pair.now));
    assert_eq!(sent.last().unwrap().0.flags & flags::FIN, flags::FIN);
}

#[test]
fn reset_drops_what_is_queued_at_once_on_both_sides() {
    let mut pair = Pair::new(Wire::Remux2);
    let (ours, theirs) = pair.open(connect(b""));
    pair.client.write(pair.now, ours, &pattern(100_000));
    pair.settle();
    pair.client.write(pair.now, ours, &pattern(200_000));
    let frames_before = pair.client.session.stats().frames_out;
    pair.client.session.reset(pair.now, ours, Code::DEST_RESET, "gone");
    pair.settle();
    assert_eq!(pair.client.session.stats().frames_out, frames_before + 1, "only the RST is sent");
    let (bytes, end) = pair.server.read(pair.now, theirs);
    let reset = StreamError::Reset { code: Code::DEST_RESET, text: "gone".into(), refused_safe: false };
    assert_eq!((bytes.len(), end), (0, Recv::Failed(reset.clone())), "unread bytes are gone too");
    assert_eq!(pair.server.session.send_room(theirs), Err(reset.clone()));
    assert_eq!(pair.server.end(theirs), Some(Err(reset)));
}

#[test]
fn stream_let_go_of_is_cancelled_and_its_slot_freed() {
    let mut pair = Pair::new(Wire::Remux2);
    let (ours, theirs) = pair.open(connect(b"x"));
    pair.client.session.forget(pair.now, ours);
    pair.settle();
    assert_eq!(pair.client.session.streams(), 0);
    let Some(Err(StreamError::Reset { code: Code::CANCEL, .. })) = pair.server.end(theirs) else {
        panic!("not reset")
    };
    pair.server.session.forget(pair.now, theirs);
    assert_eq!(pair.server.session.streams(), 0);
}

#[test]
fn stream_turned_away_may_be_opened_elsewhere() {
    let mut pair = Pair::new(Wire::Remux2);
    let (ours, theirs) = pair.open(connect(b"x"));
    pair.server.session.turn_away(pair.now, theirs, Code::LIMIT, "busy");
    pair.settle();
    assert!(pair.client.end(ours).unwrap().unwrap_err().is_refused_safe());
    let (ours, theirs) = pair.open(connect(b"y"));
    pair.client.session.turn_away(pair.now, ours, Code::LIMIT, "");
    pair.settle();
    assert!(
        !pair.server.end(theirs).unwrap().unwrap_err().is_refused_safe(),
        "only the acceptor can promise that"
    );
}

#[test]
fn stream_reset_before_its_open_left_is_never_seen_by_the_peer() {
    let mut pair = Pair::new(Wire::Remux2);
    pair.settle();
    let id = pair.client.session.open(pair.now, connect(b"x")).unwrap();
    pair.client.session.forget(pair.now, id);
    let sent = pair.client.transmit(pair.now);
    assert!(sent.is_empty(), "{:?}", frames(&sent));
    let (later, _) = pair.open(connect(b"y"));
    assert_eq!(later, StreamId(3), "its id stays used");
}

#[test]
fn finished_stream_let_go_of_still_sends_what_is_queued() {
    let mut pair = Pair::new(Wire::Remux2);
    let (ours, theirs) = pair.open(Open { fin: true, ..connect(b"question") });
    pair.server.read(pair.now, theirs);
    let answer = pattern(200_000);
    pair.server.write(pair.now, theirs, &answer);
    pair.server.session.finish(pair.now, theirs);
    pair.server.session.forget(pair.now, theirs);
    pair.settle();
    assert_eq!(pair.client.read(pair.now, ours), (answer, Recv::Fin));
    assert_eq!(pair.server.session.streams(), 0);
}

#[test]
fn lost_connection_truncates_open_streams_and_leaves_what_was_received_to_be_read() {
    let mut pair = Pair::new(Wire::Remux2);
    let (ours, theirs) = pair.open(connect(b"start"));
    let (done, done_there) = pair.open(Open { fin: true, ..connect(b"all") });
    pair.server.session.handle_closed(pair.now, ConnectionError::Closed);
    pair.server.collect();
    let cut = StreamError::Truncated { cause: ConnectionError::Closed };
    assert_eq!(pair.server.read(pair.now, theirs), (b"start".to_vec(), Recv::Failed(cut.clone())));
    assert_eq!(pair.server.read(pair.now, done_there), (b"all".to_vec(), Recv::Fin), "its FIN had come");
    assert_eq!(pair.server.end(done_there), Some(Err(cut)), "but its answer was not finished");
    assert_eq!(pair.server.events.back(), Some(&Event::Closed(ConnectionError::Closed)));
    let _ = (ours, done);
}

#[test]
fn wanted_answer_comes_once_and_only_when_wanted() {
    let mut pair = Pair::new(Wire::Remux2);
    let (eager, eager_there) = pair.open(connect(b""));
    let (strict, strict_there) = pair.open(Open { want_opened: true, ..connect(b"") });
    let opened = Opened { dial_us: 1234, bound: Some("1.2.3.4:5".parse().unwrap()) };
    for id in [eager_there, strict_there, strict_there] {
        pair.server.session.answer_opened(pair.now, id, opened.clone());
    }
    pair.settle();
    let answers: Vec<&Event> =
        pair.client.events.iter().filter(|e| matches!(e, Event::Opened { .. })).collect();
    assert_eq!(answers, [&Event::Opened { id: strict, opened }]);
    let _ = eager;
}

#[test]
fn server_opens_streams_only_when_the_client_lets_it() {
    let mut pair = Pair::new(Wire::Remux2);
    pair.settle();
    let error = pair.server.session.open(pair.now, Open::stream()).unwrap_err();
    assert_eq!((error.reason, error.open), (OpenReason::TooMany, Open::stream()));

    let limits = LimitConfig { max_streams: Some(2), ..LimitConfig::default() };
    let mut pair = Pair::with(
        Wire::Remux2,
        SessionConfig { limits, ..SessionConfig::default() },
        SessionConfig::default(),
    );
    pair.settle();
    let id = pair.server.session.open(pair.now, Open { first: Bytes::from("hi"), ..Open::stream() }).unwrap();
    assert_eq!(id, StreamId(2));
    pair.settle();
    let (theirs, open) = pair.client.incoming().unwrap();
    assert_eq!((theirs, open.command), (id, Command::Stream));
    assert_eq!(pair.client.read(pair.now, theirs).0, b"hi");
}

#[test]
fn draining_side_tells_the_peer_waits_for_streams_and_ends() {
    let mut pair = Pair::new(Wire::Remux2);
    let (ours, theirs) = pair.open(connect(b"x"));
    pair.server.session.drain(pair.now, Code::DRAIN, secs(30));
    let crossing = pair.client.session.open(pair.now, connect(b"late")).unwrap();
    pair.settle();
    let refused = pair.client.end(crossing);
    let Some(Err(error)) = refused else { panic!("{refused:?}") };
    assert!(error.is_refused_safe(), "a stream the GOAWAY crossed may be opened elsewhere: {error:?}");
    assert_eq!(pair.client.session.open(pair.now, connect(b"")).unwrap_err().reason, OpenReason::Draining);
    assert_eq!(pair.server.incoming(), None);
    assert_eq!(pair.server.closed(), None, "one stream is running");
    for (side, id) in [(&mut pair.client, ours), (&mut pair.server, theirs)] {
        side.session.finish(pair.now, id);
    }
    pair.settle();
    assert_eq!(pair.server.closed(), Some(ConnectionError::Drained));
    assert_eq!((pair.client.end(ours), pair.server.end(theirs)), (Some(Ok(())), Some(Ok(()))));
}

#[test]
fn streams_still_running_at_the_drain_limit_are_reset() {
    let mut pair = Pair::new(Wire::Remux2);
    let (ours, _) = pair.open(connect(b"x"));
    pair.server.session.drain(pair.now, Code::DRAIN, secs(2));
    pair.settle();
    pair.wait(secs(2));
    pair.settle();
    let Some(Err(StreamError::Reset { code: Code::DRAIN, .. })) = pair.client.end(ours) else {
        panic!("not reset")
    };
    assert_eq!(pair.server.closed(), Some(ConnectionError::Drained));
}

#[test]
fn peers_goaway_names_the_cause_when_the_transport_then_ends() {
    let mut lone = Lone::new(Role::Client, SessionConfig::default());
    let payload =
        [&7_u32.to_be_bytes()[..], &Code::CALM.0.to_be_bytes(), &0_u32.to_be_bytes(), b"too much"].concat();
    lone.say(Kind::GoAway, 0, 0, &payload);
    lone.side.session.handle_closed(lone.now, ConnectionError::Closed);
    let cause = ConnectionError::GoAway { code: Code::CALM, text: "too much".into() };
    assert_eq!(lone.side.closed(), Some(cause));
}

#[test]
fn larger_initial_window_counts_for_streams_opened_before_it_was_known() {
    let server = SessionConfig {
        window: remux::WindowConfig { initial: 1 << 20, ..remux::WindowConfig::default() },
        ..SessionConfig::default()
    };
    let sending = remux::SendConfig { queue: 4 << 20, ..remux::SendConfig::default() };
    let mut pair = Pair::with(Wire::Remux2, SessionConfig { sending, ..SessionConfig::default() }, server);
    let id = pair.client.session.open(pair.now, connect(b"")).unwrap();
    pair.client.write(pair.now, id, &pattern(2 << 20));
    pair.settle();
    let room = pair.client.session.send_room(id).unwrap();
    assert_eq!(room, (4 << 20) - (1 << 20), "1 MiB went out unread, 1 MiB waits");
}

#[test]
fn settings_can_not_take_back_the_default_window() {
    let mut lone = Lone::silent(Role::Client, SessionConfig::default());
    lone.say_settings(&[(framing::remux2::setting::INITIAL_WINDOW, 1000)]);
    let id = lone.side.session.open(lone.now, connect(b"")).unwrap();
    lone.side.write(lone.now, id, &pattern(256 << 10));
    let data: usize = lone.sent_kind(Kind::Data).iter().map(|(_, payload)| payload.len()).sum();
    let in_open = lone.side.session.stats().frames_out;
    assert!(data > 200 << 10, "{data} bytes, {in_open} frames");
}

#[test]
fn send_queue_is_bounded_and_says_when_half_of_it_is_free() {
    let mut pair = Pair::new(Wire::Remux2);
    let (ours, theirs) = pair.open(connect(b""));
    let mut taken = 0;
    while pair.client.session.send_room(ours).unwrap() > 0 {
        taken += pair.client.write(pair.now, ours, &pattern(10_000));
    }
    assert_eq!(taken, 256 << 10);
    let error = pair.client.session.send(pair.now, ours, Bytes::from_static(b"x"));
    assert_eq!(error, Err(StreamError::NoRoom));
    assert!(!pair.client.events.contains(&Event::Writable(ours)));
    pair.settle();
    assert_eq!(pair.client.events.iter().filter(|e| **e == Event::Writable(ours)).count(), 1);
    assert_eq!(pair.server.read(pair.now, theirs).0.len(), 256 << 10);
}

#[test]
fn streams_of_a_peer_that_reads_none_of_them_do_not_each_fill_a_queue() {
    let limits = LimitConfig { opens: Rate::per_second(1000, 1000), ..LimitConfig::default() };
    let config = SessionConfig { limits, ..SessionConfig::default() };
    let mut pair = Pair::with(Wire::Remux2, config.clone(), config);
    let ids: Vec<_> = (0..250).map(|_| pair.open(connect(b"")).0).collect();
    let fill = |pair: &mut Pair, id| {
        let mut taken = 0;
        loop {
            let room = pair.client.session.send_room(id).unwrap().min(10_000);
            if room == 0 {
                return taken;
            }
            taken += pair.client.write(pair.now, id, &pattern(room));
        }
    };
    let taken: Vec<usize> = ids.iter().map(|&id| fill(&mut pair, id)).collect();
    assert_eq!(taken[0], 256 << 10, "nothing else is queued");
    assert_eq!(taken[249], 32 << 10);
    let all: usize = taken.iter().sum();
    assert!(all < 16 << 20, "{all}");
    // Each of them is told when it has room again, and then nothing is queued any more.
    pair.client.events.clear();
    pair.settle();
    for &id in &ids {
        assert_eq!(pair.client.events.iter().filter(|e| **e == Event::Writable(id)).count(), 1, "{id:?}");
    }
    assert_eq!(fill(&mut pair, ids[249]), 256 << 10);
}

#[test]
fn reader_is_told_once_after_it_was_told_to_wait() {
    let mut pair = Pair::new(Wire::Remux2);
    let (ours, theirs) = pair.open(connect(b""));
    assert_eq!(pair.server.session.recv(pair.now, theirs), Recv::Wait);
    for _ in 0..5 {
        pair.client.write(pair.now, ours, b"more");
        pair.settle();
    }
    assert_eq!(pair.server.events.iter().filter(|e| **e == Event::Readable(theirs)).count(), 1);
    assert_eq!(pair.server.read(pair.now, theirs).0, b"moremoremoremoremore");
}

#[test]
fn unread_bytes_of_a_stream_let_go_of_are_charged_no_longer() {
    let mut pair = Pair::new(Wire::Remux2);
    let (ours, theirs) = pair.open(Open { fin: true, ..connect(b"never read") });
    pair.server.session.finish(pair.now, theirs);
    pair.settle();
    assert_eq!(pair.server.end(theirs), Some(Ok(())));
    assert!(pair.server.session.charged().0 > 0);
    pair.server.session.forget(pair.now, theirs);
    pair.client.session.forget(pair.now, ours);
    assert_eq!((pair.server.session.charged(), pair.client.session.charged()), ((0, 0), (0, 0)));
}

#[test]
fn dropped_session_gives_its_budget_back() {
    let mut pair = Pair::new(Wire::Remux2);
    let (ours, _) = pair.open(connect(b""));
    pair.client.write(pair.now, ours, &pattern(100_000));
    pair.settle();
    let budget = pair.server.budget.clone();
    assert!(pair.server.session.charged().0 >= 256 << 10, "a window is promised");
    assert!(budget.used() > 256 << 10);
    drop(pair);
    assert_eq!(budget.used(), 0);
}

#[test]
fn records_hold_header_and_body_together_and_are_small_at_first() {
    let mut pair = Pair::new(Wire::Remux2);
    let (ours, theirs) = pair.open(connect(b""));
    let side = &mut pair.client;
    side.write(pair.now, ours, &pattern(256 << 10));
    let mut records = Vec::new();
    let mut sent = Vec::new();
    loop {
        side.session.poll_transmit(pair.now, &mut side.batch);
        if side.batch.is_empty() {
            break;
        }
        while !side.batch.is_empty() {
            let n = side.batch.record_len();
            let record = bytes::Buf::copy_to_bytes(&mut side.batch, n);
            assert!(!frames(&record).is_empty(), "a record is whole frames");
            records.push(n);
            sent.extend_from_slice(&record);
        }
    }
    let small = records.iter().take_while(|&&n| n <= 1400).count();
    assert!((30..40).contains(&small), "48 KiB in small records: {small}");
    let big = &records[small..records.len() - 1];
    assert!(big.iter().all(|&n| n == 16_384), "{big:?}");
    pair.server.receive(pair.now, &sent);
    assert_eq!(pair.server.read(pair.now, theirs).0, pattern(256 << 10));
}

/// What the application does in the chunking test.
fn exchange(wire: Wire, sizes: &[usize], cuts: Vec<usize>) -> Vec<(Vec<u8>, Recv, Vec<u8>, Recv)> {
    let mut pair = Pair::new(wire);
    pair.cuts = cuts;
    let data = pattern(*sizes.iter().max().unwrap_or(&1));
    let mut streams = Vec::new();
    for &size in sizes {
        let first = Bytes::copy_from_slice(&data[..size.min(3000)]);
        let id = pair.client.session.open(pair.now, Open { first, ..Open::connect(target()) }).unwrap();
        streams.push((id, size, size.min(3000), Vec::new(), Vec::new(), 0));
    }
    for _ in 0..10_000 {
        let moved = pair.step();
        let mut busy = moved;
        while pair.server.incoming().is_some() {}
        for (id, size, up, got_up, got_down, down) in &mut streams {
            if *up < *size {
                let n = pair.client.write(pair.now, *id, &data[*up..*size]);
                *up += n;
                busy |= n > 0;
            }
            got_up.extend(pair.server.read(pair.now, *id).0);
            if *down < *size && got_up.len() == *size {
                let n = pair.server.write(pair.now, *id, &data[*down..*size]);
                *down += n;
                busy |= n > 0;
                if *down == *size {
                    pair.server.session.finish(pair.now, *id);
                    if wire == Wire::Remux2 {
                        pair.client.session.finish(pair.now, *id);
                    }
                }
            }
            got_down.extend(pair.client.read(pair.now, *id).0);
        }
        if !busy {
            break;
        }
    }
    let now = pair.now;
    streams
        .into_iter()
        .map(|(id, _, _, up, down, _)| {
            let ends = (pair.server.read(now, id).1, pair.client.read(now, id).1);
            (up, ends.0, down, ends.1)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// However the pipe cuts the bytes, the application sees the same.
    #[test]
    fn applications_see_the_same_for_any_cutting(
        sizes in proptest::collection::vec(1_usize..150_000, 1..6),
        cuts in proptest::collection::vec(prop_oneof![1_usize..12, 1_usize..5000, 16_000_usize..17_000], 1..30),
        classic in any::<bool>(),
    ) {
        let wire = if classic { Wire::Classic } else { Wire::Remux2 };
        let whole = exchange(wire, &sizes, Vec::new());
        for ((up, up_end, down, down_end), size) in whole.iter().zip(&sizes) {
            prop_assert!(up[..] == pattern(*size)[..] && down[..] == pattern(*size)[..]);
            prop_assert_eq!(up_end, &Recv::Fin);
            prop_assert_eq!(down_end, &Recv::Fin);
        }
        prop_assert!(whole == exchange(wire, &sizes, cuts));
    }
}

#[test]
fn records_of_the_least_size_carry_data_and_the_longest_request() {
    for small_record in [1024, 1100, 1400] {
        let sending = SendConfig { small_record, ..SendConfig::default() };
        let config = SessionConfig { sending, ..SessionConfig::default() };
        let mut pair = Pair::with(Wire::Remux2, config.clone(), config);
        let name = Name::new(&("a.".repeat(126) + "a")).expect("a long name");
        let open =
            Open { first: Bytes::from(pattern(4000)), ..Open::connect(Target::new(Host::Name(name), 443)) };
        pair.client.session.open(pair.now, open).unwrap();
        pair.settle();
        let (id, _) =
            pair.server.incoming().unwrap_or_else(|| panic!("no OPEN in records of {small_record}"));
        let got = pair.server.read(pair.now, id).0.len();
        assert_eq!(got, 4000, "bytes that came in records of {small_record}");
    }
}
