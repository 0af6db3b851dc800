//! How a dead peer is found, and a living one left alone.

mod session_world;

use framing::remux2::{Kind, flags, setting};
use remux::session::{Event, PathInfo};
use remux::{ConnectionError, Role, SessionConfig, Wire};
use session_world::*;

/// Seconds (and the reason) until the session wants to be called.
fn wait(lone: &Lone) -> (f64, &'static str) {
    let (at, reason) = lone.side.session.poll_timeout().expect("a deadline");
    (at.saturating_duration_since(lone.now).as_secs_f64(), reason)
}

/// Lets time pass until the session has done something about `reason`.
fn run(lone: &mut Lone, reason: &str) -> f64 {
    let start = lone.now;
    for _ in 0..100 {
        let (at, why) = lone.side.session.poll_timeout().expect("a deadline");
        lone.now = at;
        lone.side.tick(at);
        if why == reason {
            break;
        }
    }
    (lone.now - start).as_secs_f64()
}

fn client_with_stream(seed: u64) -> Lone {
    let mut lone = Lone::new(Role::Client, SessionConfig { seed, ..SessionConfig::default() });
    lone.side.session.open(lone.now, connect(b"x")).expect("open");
    lone.take_sent();
    lone
}

#[test]
fn idle_connection_is_never_pinged() {
    let lone = Lone::new(Role::Client, SessionConfig::default());
    assert_eq!(lone.side.session.poll_timeout(), None);
}

#[test]
fn silent_peer_of_an_open_stream_is_asked_suspected_and_given_up_within_ten_seconds() {
    let mut lone = client_with_stream(1);
    let start = lone.now;
    let asked = run(&mut lone, "ping");
    assert!((4.0..=5.0).contains(&asked), "{asked}");
    assert_eq!(lone.sent_kind(Kind::Ping).len(), 1);
    run(&mut lone, "answer to ping");
    assert!(lone.side.events.contains(&Event::Suspect));
    assert_eq!(lone.side.closed(), None);
    run(&mut lone, "answer to ping");
    let Some(ConnectionError::Dead { silence }) = lone.side.closed() else {
        panic!("{:?}", lone.side.closed())
    };
    assert_eq!(silence, lone.now - start);
    assert!(silence <= secs(10), "{silence:?}");
}

#[test]
fn dead_peer_is_given_up_within_ten_seconds_on_a_long_path_and_thirty_when_quiet() {
    let mut lone = client_with_stream(2);
    lone.side.session.handle_path(lone.now, PathInfo { rtt: secs(3), ..PathInfo::default() });
    let start = lone.now;
    for _ in 0..200 {
        let Some((at, _)) = lone.side.session.poll_timeout() else { break };
        lone.now = at;
        lone.side.tick(at);
        lone.take_sent();
    }
    assert!(matches!(lone.side.closed(), Some(ConnectionError::Dead { .. })));
    assert!(lone.now - start <= secs(10), "{:?}", lone.now - start);
}

#[test]
fn times_of_pings_differ_with_the_seed_by_a_fifth_at_most() {
    let waits: Vec<f64> = (0..50).map(|seed| wait(&client_with_stream(seed)).0).collect();
    let (least, most) = waits.iter().fold((9.0_f64, 0.0_f64), |(a, b), &n| (a.min(n), b.max(n)));
    assert!((4.0..4.2).contains(&least) && (4.8..=5.0).contains(&most), "{least} to {most}");
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let mut lone = client_with_stream(3);
    run(&mut lone, "ping");
    lone.take_sent();
    run(&mut lone, "answer to ping");
    // Half a header is enough.
    lone.side.receive(lone.now, &[0, 0]);
    assert_eq!(lone.side.events.back(), Some(&Event::Alive));
    let (next, reason) = wait(&lone);
    assert!(reason == "ping" && next >= 4.0, "{next} {reason}");
}

#[test]
fn connection_on_which_only_answers_come_is_asked_every_25_seconds() {
    let mut lone = client_with_stream(4);
    for round in 0..5 {
        let waited = run(&mut lone, "ping");
        let quiet = round >= 3;
        let expected = if quiet { 20.0..=25.0 } else { 4.0..=5.0 };
        assert!(expected.contains(&waited), "round {round}: {waited}");
        let pings = lone.sent_kind(Kind::Ping);
        lone.say(Kind::Ping, flags::ACK, 0, &pings[0].1);
    }
    // The application is back: the short time counts again.
    lone.now += secs(10);
    let id = remux::session::StreamId(1);
    lone.side.write(lone.now, id, b"typed");
    lone.take_sent();
    assert_eq!(wait(&lone).0, 0.0, "the peer has been silent for longer than that");
}

#[test]
fn server_asks_after_fifteen_seconds() {
    let mut lone = Lone::server();
    lone.say_open(1);
    lone.take_sent();
    let (next, reason) = wait(&lone);
    assert!(reason == "ping" && (12.0..=15.0).contains(&next), "{next} {reason}");
}

#[test]
fn peers_wish_for_rare_pings_is_respected() {
    let mut lone = client_with_stream(5);
    lone.say_settings(&[(setting::MIN_PING_MS, 4900)]);
    run(&mut lone, "ping");
    let ping = lone.sent_kind(Kind::Ping).remove(0).1;
    lone.say(Kind::Ping, flags::ACK, 0, &ping);
    assert!(wait(&lone).0 >= 4.9);
}

#[test]
fn open_on_a_connection_silent_for_two_seconds_carries_a_ping() {
    let mut lone = Lone::new(Role::Client, SessionConfig::default());
    lone.now += millis(2001);
    lone.side.session.open(lone.now, connect(b"x")).unwrap();
    let kinds: Vec<u8> = lone.take_sent().iter().map(|(header, _)| header.kind).collect();
    assert_eq!(kinds, [Kind::Open as u8, Kind::Ping as u8], "in one batch");
    let start = lone.now;
    while lone.side.closed().is_none() {
        lone.now = lone.side.session.poll_timeout().unwrap().0;
        lone.side.tick(lone.now);
    }
    assert_eq!(lone.now - start, secs(1), "D is 1 s at this round trip");

    let mut fresh = Lone::new(Role::Client, SessionConfig::default());
    fresh.now += millis(1999);
    fresh.side.session.open(fresh.now, connect(b"x")).unwrap();
    assert_eq!(fresh.sent_kind(Kind::Ping).len(), 0);
}

#[test]
fn ping_behind_our_own_slow_upload_does_not_kill_the_connection() {
    let mut lone = client_with_stream(6);
    run(&mut lone, "ping");
    lone.take_sent();
    let mut path = PathInfo { rtt: millis(50), unacked: 1 << 20, bytes_acked: 1000, ..PathInfo::default() };
    // The peer's kernel takes 10 KiB a second; the PING stands behind 1 MiB.
    for _ in 0..100 {
        lone.now += millis(900);
        path.bytes_acked += 9000;
        path.unacked -= 9000;
        lone.side.session.handle_path(lone.now, path);
        lone.side.tick(lone.now);
        assert_eq!(lone.side.closed(), None, "the uplink is slow, not dead");
    }
    // It has arrived, and the peer's kernel goes on acknowledging while the peer itself is stopped.
    path.bytes_acked += 1 << 20;
    path.unacked = 0;
    lone.side.session.handle_path(lone.now, path);
    for _ in 0..20 {
        lone.now += millis(100);
        path.bytes_acked += 1;
        lone.side.session.handle_path(lone.now, path);
        lone.side.tick(lone.now);
    }
    assert!(matches!(lone.side.closed(), Some(ConnectionError::Dead { .. })));
}

#[test]
fn kernel_is_asked_while_a_ping_is_under_way() {
    let mut lone = client_with_stream(7);
    lone.side.session.handle_path(lone.now, PathInfo { rtt: millis(50), ..PathInfo::default() });
    run(&mut lone, "ping");
    lone.take_sent();
    assert_eq!(wait(&lone), (0.25, "path"));
}

#[test]
fn path_without_progress_makes_the_connection_suspect_and_asks_the_peer() {
    for wire in [Wire::Remux2, Wire::Classic] {
        let mut pair = Pair::new(wire);
        let (id, _) = pair.open(connect(b"x"));
        let path = PathInfo { rtt: millis(50), unacked: 5000, bytes_acked: 77, ..PathInfo::default() };
        for n in 0..12 {
            assert!(!pair.client.events.contains(&Event::Suspect), "{wire:?} after {n}");
            pair.client.session.handle_path(pair.now, path);
            pair.client.collect();
            pair.now += millis(100);
        }
        assert!(pair.client.events.contains(&Event::Suspect), "{wire:?}");
        assert_eq!(pair.client.session.wants_transmit(), wire == Wire::Remux2, "a PING, where there are any");
        if wire == Wire::Classic {
            pair.client.session.handle_path(pair.now, PathInfo { bytes_acked: 5077, unacked: 0, ..path });
        } else {
            pair.settle();
        }
        pair.client.collect();
        assert!(pair.client.events.contains(&Event::Alive), "{wire:?}");
        let _ = id;
    }
}

#[test]
fn suspended_connection_is_asked_at_once_and_dead_after_a_second() {
    let mut lone = Lone::new(Role::Client, SessionConfig::default());
    lone.now += secs(3600);
    lone.side.session.handle_suspend(lone.now);
    lone.side.session.handle_suspend(lone.now);
    lone.side.collect();
    let suspects = lone.side.events.iter().filter(|event| **event == Event::Suspect).count();
    assert_eq!((suspects, lone.sent_kind(Kind::Ping).len()), (1, 1), "once, also without streams");
    let start = lone.now;
    while lone.side.closed().is_none() {
        lone.now = lone.side.session.poll_timeout().unwrap().0;
        lone.side.tick(lone.now);
    }
    assert_eq!(lone.now - start, secs(1));
}

#[test]
fn classic_wire_has_no_pings() {
    let mut pair = Pair::new(Wire::Classic);
    pair.open(connect(b"x"));
    assert_eq!(pair.client.session.poll_timeout(), None);
    pair.client.session.handle_suspend(pair.now);
    assert_eq!(pair.client.transmit(pair.now).len(), 0);
}

#[test]
fn kernel_is_asked_again_as_long_as_something_is_unacknowledged() {
    for wire in [Wire::Remux2, Wire::Classic] {
        let mut pair = Pair::new(wire);
        pair.open(connect(b"x"));
        let path = PathInfo { rtt: millis(50), unacked: 1, bytes_acked: 1, ..PathInfo::default() };
        pair.client.session.handle_path(pair.now, path);
        let (at, why) = pair.client.session.poll_timeout().unwrap();
        assert_eq!((at - pair.now, why), (millis(250), "path"), "{wire:?}");
        // An answer that never comes is no reason to ask without a pause.
        pair.client.session.handle_timeout(at);
        assert_eq!(pair.client.session.poll_timeout().unwrap().0 - at, millis(250), "{wire:?}");
        pair.client.session.handle_path(at, PathInfo { unacked: 0, bytes_acked: 2, ..path });
        assert!(pair.client.session.poll_timeout().is_none_or(|(_, why)| why != "path"), "{wire:?}");
    }
}

#[test]
fn classic_connection_whose_bytes_nobody_acknowledges_is_suspect_after_one_second_and_dead_after_ten() {
    let mut pair = Pair::new(Wire::Classic);
    pair.open(connect(b"x"));
    let start = pair.now;
    let path = PathInfo { rtt: millis(50), unacked: 5000, bytes_acked: 77, ..PathInfo::default() };
    pair.client.session.handle_path(pair.now, PathInfo { bytes_acked: 76, ..path });
    let mut suspect = None;
    while pair.client.closed().is_none() {
        pair.client.session.handle_path(pair.now, path);
        pair.client.tick(pair.now);
        pair.client.collect();
        if suspect.is_none() && pair.client.events.contains(&Event::Suspect) {
            suspect = Some(pair.now - start);
        }
        pair.now = pair.client.session.poll_timeout().map_or(pair.now, |(at, _)| at);
    }
    assert!(suspect.unwrap() <= millis(1_500), "{suspect:?}");
    assert!(matches!(pair.client.closed(), Some(ConnectionError::Dead { .. })));
    assert!(pair.now - start <= secs(10), "{:?}", pair.now - start);
}

#[test]
fn classic_connection_whose_peers_kernel_takes_nothing_more_is_not_dead() {
    let mut pair = Pair::new(Wire::Classic);
    pair.open(connect(b"x"));
    // The peer's window is shut: everything sent is acknowledged, the rest waits here.
    let path = PathInfo { rtt: millis(50), bytes_acked: 77, notsent: 100_000, ..PathInfo::default() };
    for _ in 0..200 {
        pair.client.session.handle_path(pair.now, path);
        pair.client.tick(pair.now);
        pair.now += millis(100);
    }
    assert_eq!(pair.client.closed(), None);
}

#[test]
fn burst_of_losses_makes_the_connection_suspect_and_does_not_end_it() {
    let mut lone = client_with_stream(9);
    let path = PathInfo { rtt: millis(50), unacked: 500, bytes_acked: 1, ..PathInfo::default() };
    // 3 s: what five losses in a row take.
    for _ in 0..30 {
        lone.side.session.handle_path(lone.now, path);
        lone.side.tick(lone.now);
        lone.take_sent();
        lone.now += millis(100);
    }
    assert!(lone.side.events.contains(&Event::Suspect));
    assert_eq!(lone.side.closed(), None);
    lone.side.receive(lone.now, &[0, 0]);
    assert_eq!(lone.side.events.back(), Some(&Event::Alive));
}

#[test]
fn first_byte_is_announced_once_on_both_wires() {
    for wire in [Wire::Remux2, Wire::Classic] {
        let mut pair = Pair::new(wire);
        let (_, theirs) = pair.open(connect(b"x"));
        pair.server.write(pair.now, theirs, b"y");
        pair.settle();
        let firsts = pair.client.events.iter().filter(|event| **event == Event::FirstByte).count();
        assert_eq!(firsts, 1, "{wire:?}");
    }
}

#[test]
fn ping_that_finds_no_room_in_a_dead_socket_counts_all_the_same() {
    let mut lone = client_with_stream(8);
    let mut path = PathInfo { rtt: millis(50), unacked: 1 << 20, bytes_acked: 1, ..PathInfo::default() };
    lone.side.session.handle_path(lone.now, path);
    lone.side.write(lone.now, remux::session::StreamId(1), &pattern(100_000));
    lone.side.session.poll_transmit(lone.now, &mut lone.side.batch);
    let start = lone.now;
    // For 30 s the kernel goes on, slowly: nothing is asked in vain.
    for _ in 0..28 {
        lone.now += secs(1);
        path.bytes_acked += 10;
        lone.side.session.handle_path(lone.now, path);
        lone.side.tick(lone.now);
        assert_eq!(lone.side.closed(), None, "after {:?}", lone.now - start);
        lone.side.session.handle_written(lone.now, lone.side.batch.len() - 1);
        bytes::Buf::advance(&mut lone.side.batch, 1);
    }
    let stuck = lone.now;
    while lone.side.closed().is_none() {
        lone.now = lone.side.session.poll_timeout().unwrap().0;
        lone.side.session.handle_path(lone.now, path);
        lone.side.tick(lone.now);
    }
    assert!(matches!(lone.side.closed(), Some(ConnectionError::Dead { .. })), "{:?}", lone.side.closed());
    // Suspect at once; what it carries has as long as the kernel may take to mend a burst of losses.
    assert!(lone.now - stuck <= secs(5), "{:?}", lone.now - stuck);
}

#[test]
fn suspend_shortens_the_time_of_a_ping_already_under_way() {
    let mut lone = client_with_stream(8);
    let path = PathInfo { rtt: secs(2), ..PathInfo::default() };
    lone.side.session.handle_path(lone.now, path);
    while lone.sent_kind(Kind::Ping).is_empty() {
        lone.now = lone.side.session.poll_timeout().unwrap().0;
        lone.side.tick(lone.now);
    }
    lone.side.session.handle_suspend(lone.now);
    assert_eq!(lone.sent_kind(Kind::Ping).len(), 1, "asked again");
    let start = lone.now;
    while lone.side.closed().is_none() {
        lone.now = lone.side.session.poll_timeout().unwrap().0;
        lone.side.session.handle_path(lone.now, path);
        lone.side.tick(lone.now);
    }
    assert_eq!(lone.now - start, secs(1), "not the eight seconds of a path so long");
}
