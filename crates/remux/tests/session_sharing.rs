//! Who gets how much: fairness, urgency, credit and its growth, streams nobody reads.

mod session_world;

use std::collections::BTreeMap;
use std::time::Duration;

use framing::remux2::{Kind, flags};
use remux::session::{Open, PathInfo, StreamId};
use remux::{LimitConfig, Rate, SendConfig, SessionConfig, WindowConfig, Wire};
use session_world::*;

/// No limit on how fast streams are opened, windows that are never in the way.
fn roomy() -> SessionConfig {
    let limits = LimitConfig {
        opens: Rate::per_second(100_000, 1),
        max_streams: Some(5000),
        ..LimitConfig::default()
    };
    let window = WindowConfig { initial: 64 << 20, ..WindowConfig::default() };
    SessionConfig { limits, window, ..SessionConfig::default() }
}

/// Opens `n` streams that always have bytes to send; the first flight is over.
fn bulk(wire: Wire, n: usize) -> (Pair, Vec<StreamId>) {
    let mut server = roomy();
    if n > 100 {
        server.window = WindowConfig::default();
    }
    let mut pair = Pair::with(wire, roomy(), server);
    pair.settle();
    let ids: Vec<StreamId> =
        (0..n).map(|_| pair.client.session.open(pair.now, connect(b"x")).unwrap()).collect();
    pair.settle();
    for &id in &ids {
        pair.client.write(pair.now, id, &vec![0; 64 << 10]);
    }
    (pair, ids)
}

/// Payload bytes per stream in what the client sends.
fn shares(bytes: &[u8]) -> BTreeMap<u32, usize> {
    let mut shares = BTreeMap::new();
    for (header, payload) in frames(bytes) {
        if header.kind == Kind::Data as u8 {
            *shares.entry(header.stream).or_default() += payload.len();
        }
    }
    shares
}

#[test]
fn greedy_streams_share_within_a_tenth_whatever_the_size_of_their_writes() {
    let (mut pair, ids) = bulk(Wire::Remux2, 8);
    let mut total = BTreeMap::<u32, usize>::new();
    for _ in 0..400 {
        for (n, &id) in ids.iter().enumerate() {
            let piece = [1 << 10, 3 << 10, 16 << 10, 64 << 10][n % 4];
            while pair.client.session.send_room(id).unwrap() >= piece {
                pair.client.write(pair.now, id, &vec![0; piece]);
            }
        }
        let sent = pair.client.transmit(pair.now);
        for (id, n) in shares(&sent) {
            *total.entry(id).or_default() += n;
        }
        pair.server.receive(pair.now, &sent);
        for &id in &ids {
            pair.server.read(pair.now, id);
        }
        pair.now += millis(1);
        let answer = pair.server.transmit(pair.now);
        pair.client.receive(pair.now, &answer);
    }
    let sum: usize = total.values().sum();
    assert!(sum > 32 << 20, "{sum} bytes are too few to judge");
    let fair = sum / ids.len();
    for (id, n) in total {
        assert!(n.abs_diff(fair) < fair / 10, "stream {id} got {n}, its share is {fair}");
    }
}

#[test]
fn short_message_passes_a_thousand_bulk_streams() {
    let (mut pair, _) = bulk(Wire::Remux2, 1000);
    let (sparse, _) = (pair.client.session.open(pair.now, connect(b"x")).unwrap(), ());
    // Every bulk stream has had its first quantum.
    for _ in 0..140 {
        pair.client.transmit(pair.now);
    }
    pair.client.write(pair.now, sparse, &[7; 64]);
    let sent = pair.client.transmit(pair.now);
    let before: usize = frames(&sent)
        .iter()
        .take_while(|(header, _)| header.stream != sparse.0)
        .map(|(_, payload)| payload.len())
        .sum();
    assert_eq!(before, 0, "it is first in the next batch");
}

#[test]
fn short_exchanges_one_after_another_do_not_starve_bulk() {
    let (mut pair, ids) = bulk(Wire::Remux2, 3);
    let path = PathInfo { rtt: millis(100), cwnd: 10_000, ..PathInfo::default() };
    pair.client.session.handle_path(pair.now, path);
    // Each batch is one record; two of the streams together always have one's worth that is new.
    let (mut of_bulk, mut all) = (0, 0);
    for _ in 0..20 {
        pair.client.transmit(pair.now);
    }
    for n in 0..200 {
        for &id in &ids[..2] {
            if pair.client.session.send_room(id).unwrap() == 256 << 10 {
                pair.client.write(pair.now, id, &[0; 16_000]);
            }
        }
        let room = pair.client.session.send_room(ids[2]).unwrap();
        pair.client.write(pair.now, ids[2], &vec![0; room]);
        let sent = pair.client.transmit(pair.now);
        assert!(sent.len() <= 16_384, "batch {n}");
        let shares = shares(&sent);
        of_bulk += shares.get(&ids[2].0).unwrap_or(&0);
        all += shares.values().sum::<usize>();
    }
    assert!(of_bulk > all / 6, "bulk got {of_bulk} of {all}");
}

#[test]
fn less_urgent_streams_get_a_sixteenth() {
    let (mut pair, _) = bulk(Wire::Remux2, 0);
    let urgent = pair.client.session.open(pair.now, Open { priority: 1, ..connect(b"x") }).unwrap();
    let lazy = pair.client.session.open(pair.now, Open { priority: 6, ..connect(b"x") }).unwrap();
    pair.client.transmit(pair.now);
    let mut total = BTreeMap::<u32, usize>::new();
    for _ in 0..200 {
        for id in [urgent, lazy] {
            let room = pair.client.session.send_room(id).unwrap();
            pair.client.write(pair.now, id, &vec![0; room]);
        }
        for (id, n) in shares(&pair.client.transmit(pair.now)) {
            *total.entry(id).or_default() += n;
        }
    }
    let share = total[&lazy.0] as f64 / total[&urgent.0] as f64;
    assert!((0.05..0.08).contains(&share), "{share}");
}

#[test]
fn classic_streams_share_too() {
    let (mut pair, ids) = bulk(Wire::Classic, 5);
    let mut got = vec![0; ids.len()];
    for _ in 0..200 {
        for &id in &ids {
            let room = pair.client.session.send_room(id).unwrap();
            pair.client.write(pair.now, id, &vec![0; room]);
        }
        pair.step();
        for (n, &id) in got.iter_mut().zip(&ids) {
            *n += pair.server.read(pair.now, id).0.len();
        }
    }
    let fair = got.iter().sum::<usize>() / ids.len();
    assert!(fair > 4 << 20, "{fair} bytes are too few to judge");
    assert!(got.iter().all(|n| n.abs_diff(fair) < fair / 10), "{got:?}");
}

#[test]
fn streams_nobody_reads_never_hold_up_the_others() {
    let mut pair = Pair::new(Wire::Remux2);
    let stuck: Vec<StreamId> =
        (0..60).map(|_| pair.client.session.open(pair.now, connect(b"x")).unwrap()).collect();
    let active = pair.client.session.open(pair.now, connect(b"x")).unwrap();
    pair.settle();
    for _ in 0..3 {
        for &id in &stuck {
            let room = pair.client.session.send_room(id).unwrap();
            pair.client.write(pair.now, id, &vec![0; room]);
        }
        pair.settle();
    }
    let data = pattern(2 << 20);
    let (mut sent, mut got) = (0, Vec::new());
    for _ in 0..1000 {
        sent += pair.client.write(pair.now, active, &data[sent..]);
        pair.step();
        got.extend(pair.server.read(pair.now, active).0);
        pair.now += millis(1);
    }
    assert_eq!((got.len(), &got[1..]), (data.len() + 1, &data[..]));
    assert!(pair.server.session.wants_read());
    let (held, growth) = pair.server.session.charged();
    assert!(held - growth < (61 * (256 << 10)) + (1 << 20), "each pins its window: {held}");
}

#[test]
fn stopped_reader_is_told_of_no_further_credit_and_the_sender_says_blocked_once() {
    let mut pair = Pair::new(Wire::Remux2);
    let id = pair.client.session.open(pair.now, connect(b"")).unwrap();
    pair.settle();
    let mut blocked = 0;
    for _ in 0..4 {
        let room = pair.client.session.send_room(id).unwrap();
        pair.client.write(pair.now, id, &vec![0; room]);
        let bytes = pair.client.transmit(pair.now);
        let flagged =
            |header: &framing::remux2::Header| header.kind == 0 && header.flags & flags::BLOCKED != 0;
        blocked += frames(&bytes).iter().filter(|(header, _)| flagged(header)).count();
        pair.server.receive(pair.now, &bytes);
        while pair.client.session.wants_transmit() {
            let bytes = pair.client.transmit(pair.now);
            blocked += frames(&bytes).iter().filter(|(header, _)| flagged(header)).count();
            pair.server.receive(pair.now, &bytes);
        }
    }
    assert_eq!(blocked, 1);
    assert_eq!(pair.server.session.charged().1, 0, "nothing grew");
    assert_eq!(pair.server.transmit(pair.now).len(), 0, "no credit");
}

/// A link of so many bytes a second and that round trip, both ends reading at once; what passed in the time.
fn race(rate: usize, round_trip: Duration, time: Duration, known: bool) -> (usize, u64) {
    let sending = SendConfig { queue: 64 << 20, ..SendConfig::default() };
    let config = SessionConfig { sending, ..SessionConfig::default() };
    let mut pair = Pair::with(Wire::Remux2, config, SessionConfig::default());
    let id = pair.client.session.open(pair.now, connect(b"")).unwrap();
    pair.settle();
    let path = PathInfo {
        rtt: round_trip,
        min_rtt: round_trip,
        delivery_rate: rate as u64,
        cwnd: 1 << 30,
        ..PathInfo::default()
    };
    if known {
        pair.client.session.handle_path(pair.now, path);
        pair.server.session.handle_path(pair.now, path);
    }
    let tick = millis(1);
    let half = round_trip / 2;
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let end = pair.now + time;
    let (mut got, mut backlog) = (0, 0_usize);
    while pair.now < end {
        let room = pair.client.session.send_room(id).unwrap();
        pair.client.write(pair.now, id, &vec![0; room]);
        backlog = backlog.saturating_sub(rate / 1000);
        while backlog < rate / 1000 && pair.client.session.wants_transmit() {
            let bytes = pair.client.transmit(pair.now);
            backlog += bytes.len();
            if bytes.is_empty() {
                break;
            }
            up.push((pair.now + half, bytes));
        }
        let bytes = pair.server.transmit(pair.now);
        if !bytes.is_empty() {
            down.push((pair.now + half, bytes));
        }
        pair.now += tick;
        let now = pair.now;
        for (_, bytes) in up.extract_if(.., |(at, _)| *at <= now) {
            pair.server.receive(now, &bytes);
        }
        for (_, bytes) in down.extract_if(.., |(at, _)| *at <= now) {
            pair.client.receive(now, &bytes);
        }
        got += pair.server.read(now, id).0.len();
    }
    (got, pair.server.session.stats().grown)
}

/// libp2p/go-yamux#136: growth that waits for a window to drain within some round trips stops at 512 KiB.
#[test]
fn window_grows_until_the_path_is_full() {
    let rate = 125_000_000;
    for known in [true, false] {
        let (got, grown) = race(rate, millis(100), secs(4), known);
        let most = rate * 4;
        assert!(got > most / 2, "path known: {known}: {got} of {most} in 4 s, {grown} steps");
    }
    let (got, _) = race(rate, millis(100), secs(10), true);
    assert!(got > rate * 17 / 2, "{got} in 10 s: more than 85 %");
}

#[test]
fn window_does_not_grow_for_a_reader_slower_than_it() {
    let mut pair = Pair::new(Wire::Remux2);
    let id = pair.client.session.open(pair.now, connect(b"")).unwrap();
    pair.settle();
    for _ in 0..600 {
        let room = pair.client.session.send_room(id).unwrap();
        pair.client.write(pair.now, id, &vec![0; room]);
        pair.step();
        if let remux::session::Recv::Data(chunk) = pair.server.session.recv(pair.now, id) {
            pair.server.session.release(pair.now, id, chunk.len());
        }
        pair.now += millis(100);
    }
    assert_eq!(pair.server.session.charged().1, 0);
}

#[test]
fn growth_of_one_connection_is_capped() {
    let window = WindowConfig { growth: 1 << 20, ..WindowConfig::default() };
    let config = SessionConfig { window, ..SessionConfig::default() };
    let mut pair = Pair::with(Wire::Remux2, SessionConfig::default(), config);
    let ids: Vec<StreamId> =
        (0..8).map(|_| pair.client.session.open(pair.now, connect(b"")).unwrap()).collect();
    for _ in 0..2000 {
        for &id in &ids {
            let room = pair.client.session.send_room(id).unwrap();
            pair.client.write(pair.now, id, &vec![0; room]);
        }
        pair.step();
        for &id in &ids {
            pair.server.read(pair.now, id);
        }
        pair.now += millis(2);
    }
    let growth = pair.server.session.charged().1;
    assert!((512 << 10..=1 << 20).contains(&growth), "{growth}");
}

#[test]
fn stream_that_has_come_to_its_end_gives_its_growth_back_before_it_is_let_go_of() {
    let mut pair = Pair::new(Wire::Remux2);
    let (id, theirs) = pair.open(connect(b""));
    for _ in 0..200 {
        let room = pair.client.session.send_room(id).unwrap();
        pair.client.write(pair.now, id, &vec![0; room]);
        pair.step();
        pair.server.read(pair.now, theirs);
        pair.now += millis(2);
    }
    assert!(pair.server.session.charged().1 > 0);
    pair.client.write(pair.now, id, &[0; 1000]);
    pair.client.session.finish(pair.now, id);
    pair.settle();
    let (held, growth) = pair.server.session.charged();
    assert!(held < 1 << 20 && growth == 0, "only what is unread: {held}, {growth}");
}
