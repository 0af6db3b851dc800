//! Each limit, exceeded: what the peer sees.

mod session_world;

use std::sync::Arc;

use framing::Encode;
use framing::remux2::{Code, Credit, Kind, Priority, Rst, flags};
use remux::session::{Event, Recv, StreamId};
use remux::{
    Budget, ClassicConfig, ConnectionError, LimitConfig, Role, SessionConfig, Stage, StreamError, Wire,
};
use session_world::*;

fn lone(limits: LimitConfig) -> Lone {
    Lone::new(Role::Server, SessionConfig { limits, ..SessionConfig::default() })
}

fn calm(limit: &'static str) -> Option<ConnectionError> {
    Some(ConnectionError::Calm { limit })
}

/// Says something until the connection ends; how often it was said.
fn until_closed(lone: &mut Lone, most: usize, mut say: impl FnMut(&mut Lone, usize)) -> usize {
    for n in 1..=most {
        say(lone, n);
        if lone.side.closed().is_some() {
            assert_eq!(
                lone.sent_goaway(),
                lone.side.closed().map(|cause| cause.code().0),
                "the peer is told"
            );
            return n;
        }
    }
    panic!("said {most} times and still there");
}

#[test]
fn stream_over_max_streams_is_refused_safely_until_one_is_let_go_of() {
    let mut lone = lone(LimitConfig { max_streams: Some(2), ..LimitConfig::default() });
    for id in [1, 3, 5] {
        lone.say_open(id);
    }
    assert_eq!(lone.sent_rst(5), Some((Code::REFUSED.0, flags::REFUSED_SAFE)));
    assert_eq!(lone.side.session.streams(), 2);
    // Ended on the wire is not enough: the dial behind it may still run.
    lone.say(Kind::Rst, 0, 1, &Rst { code: Code::CANCEL, text: String::new() }.to_vec());
    lone.say_open(7);
    assert_eq!(lone.sent_rst(7), Some((Code::REFUSED.0, flags::REFUSED_SAFE)));
    lone.side.session.forget(lone.now, StreamId(1));
    lone.say_open(9);
    assert_eq!(lone.sent_rst(9), None);
}

#[test]
fn opens_beyond_burst_and_rate_are_refused_safely() {
    let mut lone = lone(LimitConfig { max_streams: Some(1000), ..LimitConfig::default() });
    for n in 0..70 {
        lone.say_open(1 + 2 * n);
    }
    assert_eq!(lone.side.session.streams(), 64);
    assert_eq!(lone.sent_kind(Kind::Rst).len(), 6);
    lone.now += millis(500);
    for n in 70..200 {
        lone.say_open(1 + 2 * n);
    }
    assert_eq!(lone.side.session.streams(), 128, "the burst came back and no more");
}

#[test]
fn hundred_refusals_in_ten_seconds_end_the_connection() {
    let mut lone = lone(LimitConfig { max_streams: Some(0), ..LimitConfig::default() });
    let said = until_closed(&mut lone, 200, |lone, n| lone.say_open(2 * n as u32 - 1));
    assert_eq!((said, lone.side.closed()), (101, calm("refusals")));
}

#[test]
fn refusals_spread_over_more_than_ten_seconds_are_borne() {
    let mut lone = lone(LimitConfig { max_streams: Some(0), ..LimitConfig::default() });
    for n in 0..500_u32 {
        lone.now += millis(101);
        lone.say_open(1 + 2 * n);
        lone.take_sent();
    }
    assert_eq!(lone.side.closed(), None);
}

/// Found by reading: a server short of memory took the requests of its honest clients for a flood, and cut them.
#[test]
fn streams_refused_for_our_own_want_of_memory_are_not_held_against_the_peer() {
    let budget = Arc::new(Budget::new(16 << 20));
    let _charge = budget.charge(budget.limit() * 19 / 20);
    let mut lone = Lone::server();
    lone.side = Side::sharing(Role::Server, Wire::Remux2, SessionConfig::default(), budget, lone.now);
    lone.say(Kind::Settings, 0, 0, &[]);
    lone.take_sent();
    for n in 0..1000 {
        lone.now += millis(4);
        lone.say_open(1 + 2 * n);
        assert_eq!(lone.sent_rst(1 + 2 * n), Some((Code::REFUSED.0, flags::REFUSED_SAFE)));
    }
    assert_eq!(lone.side.closed(), None);
    // One that takes no answers and goes on asking is to be stopped all the same.
    let said = until_closed(&mut lone, 2000, |lone, n| {
        lone.now += millis(4);
        lone.say_open(1999 + 2 * n as u32);
    });
    assert_eq!((said, lone.side.closed()), (1024 + 101, calm("refusals")));
}

#[test]
fn classic_sessions_that_meet_a_server_which_stops_are_not_held_against_the_client() {
    let mut pair = Pair::new(Wire::Classic);
    let (first, first_there) = pair.open(connect(b"x"));
    pair.server.session.drain(pair.now, Code::DRAIN, secs(3600));
    for _ in 0..300 {
        pair.now += millis(10);
        let late = pair.client.session.open(pair.now, connect(b"y")).unwrap();
        pair.settle();
        assert_eq!(pair.client.read(pair.now, late).1, Recv::Fin, "the wire can't say that it stops");
        pair.client.session.forget(pair.now, late);
    }
    assert_eq!(pair.server.closed(), None);
    pair.client.write(pair.now, first, b"goes on");
    pair.settle();
    assert_eq!(pair.server.read(pair.now, first_there).0, b"xgoes on");
}

#[test]
fn rapid_reset_ends_the_connection() {
    let mut lone = lone(LimitConfig { opens: remux::Rate::per_second(10_000, 1), ..LimitConfig::default() });
    let cancel = Rst { code: Code::CANCEL, text: String::new() }.to_vec();
    let said = until_closed(&mut lone, 200, |lone, n| {
        let id = 2 * n as u32 - 1;
        lone.say_open(id);
        lone.say(Kind::Rst, 0, id, &cancel);
        lone.side.session.forget(lone.now, StreamId(id));
    });
    assert_eq!((said, lone.side.closed()), (101, calm("resets")));
}

#[test]
fn resets_the_peer_provokes_count_like_its_own() {
    let mut lone = lone(LimitConfig { opens: remux::Rate::per_second(10_000, 1), ..LimitConfig::default() });
    let too_much = Credit { consumed: 0, window: (1 << 30) + 1 }.to_vec();
    let said = until_closed(&mut lone, 200, |lone, n| {
        let id = 2 * n as u32 - 1;
        lone.say_open(id);
        lone.say(Kind::Credit, 0, id, &too_much);
        if n <= 100 {
            assert_eq!(lone.sent_rst(id), Some((Code::FLOW.0, 0)));
        }
        lone.side.session.forget(lone.now, StreamId(id));
    });
    assert_eq!((said, lone.side.closed()), (101, calm("resets")));
}

#[test]
fn malformed_opens_are_refused_before_any_state_is_made_and_count_as_resets() {
    let mut lone = lone(LimitConfig::default());
    let said = until_closed(&mut lone, 200, |lone, n| {
        lone.say(Kind::Open, 0, 2 * n as u32 - 1, &[1, 3, 0, 1, 9]);
        assert_eq!(lone.side.session.streams(), 0);
    });
    assert_eq!((said, lone.side.closed()), (101, calm("resets")));
}

#[test]
fn servers_resets_of_our_streams_are_no_abuse() {
    let mut lone = Lone::new(Role::Client, SessionConfig::default());
    for _ in 0..500 {
        let id = lone.side.session.open(lone.now, connect(b"")).unwrap();
        lone.take_sent();
        lone.say(Kind::Rst, 0, id.0, &Rst { code: Code::DEST_REFUSED, text: String::new() }.to_vec());
        lone.side.session.forget(lone.now, id);
    }
    assert_eq!(lone.side.closed(), None);
}

#[test]
fn data_beyond_the_credit_resets_that_stream_only() {
    let mut lone = lone(LimitConfig::default());
    lone.say_open(1);
    lone.say_open(3);
    for _ in 0..16 {
        lone.say(Kind::Data, 0, 1, &[0; 16_376]);
    }
    assert_eq!(lone.side.closed(), None);
    lone.say(Kind::Data, 0, 1, &[0; 16_376]);
    assert_eq!(lone.sent_rst(1), Some((Code::FLOW.0, 0)));
    assert_eq!(lone.side.closed(), None);
    lone.say(Kind::Data, 0, 3, b"fine");
    assert_eq!(lone.side.read(lone.now, StreamId(3)).0, b"fine");
}

#[test]
fn credit_that_takes_back_or_counts_bytes_never_sent_resets_the_stream() {
    for (consumed, window) in [(0, 1000), (1, 262_144), (u32::MAX, 10), (0, (1 << 30) + 1)] {
        let mut lone = lone(LimitConfig::default());
        lone.say_open(1);
        lone.say(Kind::Credit, 0, 1, &Credit { consumed, window }.to_vec());
        assert_eq!(lone.sent_rst(1), Some((Code::FLOW.0, 0)), "consumed {consumed}, window {window}");
        assert_eq!(lone.side.closed(), None);
    }
}

#[test]
fn credit_without_change_is_borne_a_thousand_times() {
    let mut lone = lone(LimitConfig::default());
    lone.say_open(1);
    let same = Credit { consumed: 0, window: 262_144 }.to_vec();
    let said = until_closed(&mut lone, 2000, |lone, _| lone.say(Kind::Credit, 0, 1, &same));
    assert_eq!((said, lone.side.closed()), (1001, calm("credits")));
}

/// Found by reading: each byte of credit made a frame of one byte.
#[test]
fn crumbs_of_credit_count_as_credits_that_change_nothing() {
    for (crumb, borne) in [(1, false), (4095, false), (4096, true)] {
        let mut lone = lone(LimitConfig::default());
        lone.say_open(1);
        let mut window = 262_144;
        let mut more = |lone: &mut Lone| {
            window += crumb;
            lone.say(Kind::Credit, 0, 1, &Credit { consumed: 0, window }.to_vec());
        };
        if borne {
            (0..5000).for_each(|_| more(&mut lone));
            assert_eq!(lone.side.closed(), None);
        } else {
            let said = until_closed(&mut lone, 2000, |lone, _| more(lone));
            assert_eq!((said, lone.side.closed()), (1001, calm("credits")), "{crumb}");
        }
    }
}

/// Found by reading: DATA without a byte was free where nothing was unread, and frames of control for streams that had just ended
/// were free for ever.
#[test]
fn frames_that_are_only_work_are_bounded_whatever_they_name() {
    let rst = Rst { code: Code::CANCEL, text: String::new() }.to_vec();
    let cases: [(Kind, u8, &[u8]); 5] = [
        (Kind::Data, flags::BLOCKED, b""),
        (Kind::Credit, 0, &Credit { consumed: 0, window: 262_144 }.to_vec()),
        (Kind::Rst, 0, &rst),
        (Kind::Priority, 0, &Priority { priority: 5 }.to_vec()),
        (Kind::Opened, 0, b""),
    ];
    for (kind, bits, payload) in cases {
        for held in [true, false] {
            let tiny = remux::Rate::per_second(5000, 5000);
            let mut lone = lone(LimitConfig { tiny, ..LimitConfig::default() });
            lone.say_open(1);
            if kind != Kind::Data {
                // Over on the wire; its slot stays as long as the application holds it, the id is fresh for a while.
                lone.say(Kind::Rst, 0, 1, &rst);
                if !held {
                    lone.side.session.forget(lone.now, StreamId(1));
                }
            }
            let said = until_closed(&mut lone, 20_000, |lone, _| lone.say(kind, bits, 1, payload));
            assert_eq!((said, lone.side.closed()), (5001, calm("tiny")), "{kind:?}, held: {held}");
        }
    }
}

#[test]
fn flood_of_tiny_data_ends_the_connection_and_never_holds_much() {
    let mut lone =
        lone(LimitConfig { tiny: remux::Rate::per_second(10_000, 10_000), ..LimitConfig::default() });
    lone.say_open(1);
    let mut most = 0;
    let said = until_closed(&mut lone, 20_000, |lone, _| {
        lone.say(Kind::Data, 0, 1, b"x");
        most = most.max(lone.side.session.charged().0);
    });
    assert_eq!((said, lone.side.closed()), (10_002, calm("tiny")), "the first lands on an empty queue");
    assert!(most < (256 << 10) + (16 << 10), "{most} bytes charged");
}

#[test]
fn longer_data_give_back_what_tiny_ones_cost() {
    let mut lone = lone(LimitConfig { tiny: remux::Rate::per_second(5, 1), ..LimitConfig::default() });
    lone.say_open(1);
    for _ in 0..300 {
        lone.say(Kind::Data, 0, 1, &[0; 255]);
        lone.say(Kind::Data, 0, 1, &[0; 256]);
    }
    assert_eq!(lone.side.closed(), None);
    until_closed(&mut lone, 20, |lone, _| lone.say(Kind::Data, 0, 1, &[0; 255]));
}

#[test]
fn tiny_messages_that_are_read_as_they_come_are_no_flood() {
    let mut lone = lone(LimitConfig { tiny: remux::Rate::per_second(10, 1), ..LimitConfig::default() });
    lone.say_open(1);
    for _ in 0..1000 {
        lone.say(Kind::Data, 0, 1, b"key");
        assert_eq!(lone.side.read(lone.now, StreamId(1)).0, b"key");
    }
    assert_eq!(lone.side.closed(), None);
}

#[test]
fn pings_are_answered_newest_only_and_a_flood_of_them_ends_the_connection() {
    let mut lone = lone(LimitConfig::default());
    for n in 0..5_u64 {
        lone.say(Kind::Ping, 0, 0, &n.to_be_bytes());
    }
    let pongs = lone.sent_kind(Kind::Ping);
    assert_eq!(pongs.len(), 1);
    assert_eq!((pongs[0].0.flags, &pongs[0].1[..]), (flags::ACK, &4_u64.to_be_bytes()[..]));
    let said = until_closed(&mut lone, 50, |lone, _| lone.say(Kind::Ping, 0, 0, &[0; 8]));
    assert_eq!((said, lone.side.closed()), (16, calm("pings")));
}

#[test]
fn seventeenth_settings_end_the_connection() {
    let mut lone = lone(LimitConfig::default());
    let said = until_closed(&mut lone, 50, |lone, n| lone.say_settings(&[(1, n as u32)]));
    assert_eq!((said, lone.side.closed()), (16, calm("settings")), "one came before the test");
}

#[test]
fn priority_oftener_than_every_100_ms_costs_strays() {
    let mut lone = lone(LimitConfig { strays: remux::Rate::per_second(10, 1), ..LimitConfig::default() });
    lone.say_open(1);
    let priority = Priority { priority: 5 }.to_vec();
    for _ in 0..50 {
        lone.say(Kind::Priority, 0, 1, &priority);
        lone.now += millis(100);
    }
    assert_eq!(lone.side.closed(), None);
    lone.now += secs(100);
    let said = until_closed(&mut lone, 50, |lone, _| lone.say(Kind::Priority, 0, 1, &priority));
    assert_eq!((said, lone.side.closed()), (12, calm("strays")));
}

#[test]
fn padding_beyond_a_quarter_of_the_data_ends_the_connection() {
    let mut lone = lone(LimitConfig::default());
    let said = until_closed(&mut lone, 50, |lone, _| lone.say(Kind::Pad, 0, 0, &[0; 16_376]));
    assert_eq!((said, lone.side.closed()), (17, calm("padding")), "256 KiB are borne");
}

#[test]
fn unknown_frames_that_may_be_skipped_are_bounded_in_number_and_bytes() {
    let mut few = lone(LimitConfig { strays: remux::Rate::per_second(10, 1), ..LimitConfig::default() });
    let said = until_closed(&mut few, 50, |lone, _| lone.say_raw(0x41, 0, 9, b""));
    assert_eq!((said, few.side.closed()), (11, calm("strays")));
    let mut long = lone(LimitConfig::default());
    let said = until_closed(&mut long, 50, |lone, _| lone.say_raw(0x7F, 0, 9, &[0; 16_376]));
    assert_eq!((said, long.side.closed()), (17, calm("padding")));
}

#[test]
fn frames_for_streams_ended_long_ago_are_bounded() {
    let mut lone = lone(LimitConfig { strays: remux::Rate::per_second(10, 1), ..LimitConfig::default() });
    lone.say_open(1);
    lone.side.session.forget(lone.now, StreamId(1));
    lone.take_sent();
    for _ in 0..50 {
        lone.say(Kind::Data, 0, 1, &[0; 300]);
    }
    assert_eq!(lone.side.closed(), None, "they were under way");
    lone.now += secs(2);
    let said = until_closed(&mut lone, 50, |lone, _| lone.say(Kind::Data, 0, 1, &[0; 300]));
    assert_eq!((said, lone.side.closed()), (11, calm("strays")));
}

#[test]
fn repeated_goaways_are_bounded_and_may_only_lower_the_last_id() {
    let mut lone = Lone::new(
        Role::Client,
        SessionConfig {
            limits: LimitConfig { strays: remux::Rate::per_second(10, 1), ..LimitConfig::default() },
            ..SessionConfig::default()
        },
    );
    let away = |last: u32| [&last.to_be_bytes()[..], &[0, 0x16], &[0; 4]].concat();
    let id = lone.side.session.open(lone.now, connect(b"")).unwrap();
    lone.take_sent();
    lone.say(Kind::GoAway, 0, 0, &away(1));
    assert_eq!(lone.side.end(id), None);
    lone.say(Kind::GoAway, 0, 0, &away(0));
    assert!(lone.side.end(id).unwrap().unwrap_err().is_refused_safe());
    let said = until_closed(&mut lone, 50, |lone, _| lone.say(Kind::GoAway, 0, 0, &away(99)));
    assert_eq!((said, lone.side.closed()), (10, calm("strays")));
}

#[test]
fn frame_longer_than_announced_ends_the_connection_before_its_payload_came() {
    let mut lone = lone(LimitConfig::default());
    lone.say_open(1);
    let header = framing::remux2::Header::new(Kind::Data, 0, 1, 16_377).to_bytes();
    lone.side.receive(lone.now, &header);
    assert_eq!(lone.sent_goaway(), Some(Code::PROTOCOL.0));

    let mut roomy = self::lone(LimitConfig { max_frame: 65_535, ..LimitConfig::default() });
    roomy.say_open(1);
    roomy.say(Kind::Data, 0, 1, &[1; 65_535]);
    assert_eq!(roomy.side.read(roomy.now, StreamId(1)).0.len(), 65_535);
}

#[test]
fn target_and_options_longer_than_max_meta_reset_the_stream() {
    let mut lone = lone(LimitConfig { max_meta: 18, ..LimitConfig::default() });
    lone.say_open(1);
    assert_eq!(lone.sent_rst(1), None, "example.net and its port take 15 bytes");
    let mut payload = open_payload();
    payload[3] += 4;
    payload.extend([1, 2, 0, 0]);
    lone.say(Kind::Open, 0, 3, &payload);
    assert_eq!(lone.sent_rst(3), Some((Code::PROTOCOL.0, flags::REFUSED_SAFE)));
}

#[test]
fn critical_option_refuses_the_stream_and_seventeen_options_too() {
    let mut lone = lone(LimitConfig::default());
    let with = |options: &[u8]| {
        let mut payload = open_payload();
        payload[3] += options.len() as u8;
        payload.extend_from_slice(options);
        payload
    };
    lone.say(Kind::Open, 0, 1, &with(&[0x80, 0]));
    assert_eq!(lone.sent_rst(1), Some((Code::UNKNOWN_CRITICAL.0, flags::REFUSED_SAFE)));
    lone.say(Kind::Open, 0, 3, &with(&[1, 0].repeat(16)));
    assert_eq!(lone.sent_rst(3), None);
    lone.say(Kind::Open, 0, 5, &with(&[1, 0].repeat(17)));
    assert_eq!(lone.sent_rst(5), Some((Code::PROTOCOL.0, flags::REFUSED_SAFE)));
}

#[test]
fn peer_without_settings_is_closed_after_five_seconds() {
    let mut lone = Lone::silent(Role::Server, SessionConfig::default());
    lone.take_sent();
    assert_eq!(lone.side.session.poll_timeout(), Some((lone.now + secs(5), "settings")));
    lone.now += secs(5);
    lone.side.tick(lone.now);
    assert_eq!(lone.side.closed(), Some(ConnectionError::NoSettings { limit: secs(5) }));
    assert_eq!(lone.sent_goaway(), Some(Code::PROTOCOL.0));
}

#[test]
fn peer_that_stops_reading_is_closed_after_thirty_seconds_without_progress() {
    for wire in [Wire::Remux2, Wire::Classic] {
        let mut pair = Pair::new(wire);
        let (ours, _) = pair.open(connect(b"x"));
        let side = &mut pair.server;
        side.write(pair.now, ours, &pattern(100_000));
        side.session.poll_transmit(pair.now, &mut side.batch);
        let start = pair.now;
        let left = side.batch.len();
        let mut now = start + secs(20);
        side.tick(now);
        bytes::Buf::advance(&mut side.batch, 1000);
        side.session.handle_written(now, left - 1000);
        for _ in 0..29 {
            now += secs(1);
            // The peer's bytes keep the PINGs away: what counts here is writing.
            let ping = [5, 1, 0, 8, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
            side.receive(now, if wire == Wire::Remux2 { &ping } else { &[0, 1, 0, 1, 0] });
            side.read(now, ours);
            side.tick(now);
            assert_eq!(side.closed(), None, "{wire:?} after {:?}", now - start);
        }
        side.tick(now + secs(1));
        assert_eq!(side.closed(), Some(ConnectionError::Stalled { limit: secs(30) }), "{wire:?}");
    }
}

#[test]
fn unread_stream_is_reset_after_two_minutes_only_when_memory_is_short() {
    let budget = Arc::new(Budget::new(4 << 20));
    let mut lone = Lone::server();
    lone.side = Side::sharing(Role::Server, Wire::Remux2, SessionConfig::default(), budget.clone(), lone.now);
    lone.say(Kind::Settings, 0, 0, &[]);
    lone.say_open(1);
    lone.say_open(3);
    for _ in 0..15 {
        lone.say(Kind::Data, 0, 1, &[0; 16_376]);
        lone.say(Kind::Data, 0, 3, &[0; 16_376]);
    }
    // A byte less room than a frame needs, and just that much.
    lone.say(Kind::Data, 0, 1, &[0; 129]);
    lone.say(Kind::Data, 0, 3, &[0; 128]);
    lone.take_sent();
    let keep_alive = |lone: &mut Lone| lone.say(Kind::Ping, flags::ACK, 0, &[0; 8]);
    for _ in 0..140 {
        lone.now += secs(1);
        keep_alive(&mut lone);
        lone.side.tick(lone.now);
    }
    assert_eq!(lone.sent_rst(1), None, "memory is plenty");
    // Other memory is in use.
    let _charge = budget.charge(budget.limit() * 4 / 5 - budget.used());
    assert_eq!(budget.stage(), Stage::NoGrowth);
    for _ in 0..11 {
        lone.now += secs(1);
        keep_alive(&mut lone);
        lone.side.tick(lone.now);
    }
    assert_eq!(lone.sent_rst(1), Some((Code::LIMIT.0, 0)));
    assert_eq!(lone.sent_rst(3), None, "its window is not full");
}

#[test]
fn new_streams_are_refused_when_the_process_holds_too_much() {
    let budget = Arc::new(Budget::new(2 << 20));
    let mut lone = Lone::server();
    lone.side = Side::sharing(Role::Server, Wire::Remux2, SessionConfig::default(), budget, lone.now);
    lone.say(Kind::Settings, 0, 0, &[]);
    for n in 0..8 {
        lone.say_open(1 + 2 * n);
    }
    assert_eq!(lone.side.session.streams(), 7, "the seventh window of 256 KiB goes beyond 90 % of 2 MiB");
    assert_eq!(lone.sent_rst(15), Some((Code::REFUSED.0, flags::REFUSED_SAFE)));
}

#[test]
fn streams_of_an_identity_over_its_share_are_refused_and_told_while_another_identitys_are_served() {
    let budget = Arc::new(Budget::new(16 << 20));
    let lone = |name| {
        let mut lone = Lone::server();
        let account = budget.account(Some(name));
        lone.side = Side::sharing(Role::Server, Wire::Remux2, SessionConfig::default(), account, lone.now);
        lone.say(Kind::Settings, 0, 0, &[]);
        lone
    };
    let (mut evil, mut good) = (lone("evil"), lone("good"));
    for n in 0..60 {
        evil.say_open(1 + 2 * n);
    }
    let held = evil.side.session.streams();
    assert!((50..58).contains(&held), "{held}");
    assert_eq!(evil.sent_rst(119), Some((Code::REFUSED.0, flags::REFUSED_SAFE)));
    let told = evil.side.events.iter().filter(|event| matches!(event, Event::Short { .. })).count();
    assert_eq!(told, 1, "once for all of them");
    good.say_open(1);
    assert_eq!((good.side.session.streams(), good.sent_rst(1)), (1, None));
    for id in (1..120).step_by(2) {
        evil.say(Kind::Rst, 0, id, &[0, 16]);
        evil.side.session.forget(evil.now, StreamId(id));
    }
    evil.say_open(121);
    assert_eq!((evil.side.session.streams(), evil.sent_rst(121)), (1, None), "there is room again");
}

#[test]
fn server_closes_a_connection_nobody_uses_and_a_client_does_not() {
    for wire in [Wire::Remux2, Wire::Classic] {
        let mut pair = Pair::new(wire);
        let (ours, theirs) = pair.open(connect(b"x"));
        pair.client.session.forget(pair.now, ours);
        pair.server.session.forget(pair.now, theirs);
        pair.settle();
        pair.wait(millis(59_999));
        assert_eq!(pair.server.closed(), None);
        pair.wait(millis(1));
        assert_eq!(pair.server.closed(), Some(ConnectionError::Idle), "{wire:?}");
        assert_eq!(pair.client.closed(), None);
    }
}

#[test]
fn classic_stream_whose_queue_stays_full_ends_after_ten_seconds() {
    let mut pair = Pair::new(Wire::Classic);
    let (slow, slow_there) = pair.open(connect(b"x"));
    let (other, other_there) = pair.open(connect(b"y"));
    for _ in 0..3 {
        pair.client.write(pair.now, slow, &pattern(200_000));
        pair.settle();
    }
    assert!(!pair.server.session.wants_read(), "back-pressure");
    pair.client.write(pair.now, other, b"waits");
    pair.settle();
    pair.wait(millis(9_999));
    pair.settle();
    assert_eq!(pair.server.end(slow_there), None);
    pair.wait(millis(1));
    pair.settle();
    let Some(Err(StreamError::Aborted { code: Code::LIMIT, .. })) = pair.server.end(slow_there) else {
        panic!("the slow stream goes on")
    };
    assert_eq!(pair.client.read(pair.now, slow).1, Recv::Fin, "all the wire can say");
    assert_eq!(pair.server.read(pair.now, other_there).0, b"ywaits", "the others go on");
    assert!(pair.server.session.wants_read());
    let _ = other;
}

#[test]
fn classic_stream_that_is_read_slowly_but_steadily_is_not_ended() {
    let mut pair = Pair::new(Wire::Classic);
    let (slow, slow_there) = pair.open(connect(b"x"));
    let mut got = 0;
    for _ in 0..30 {
        while pair.client.session.send_room(slow).unwrap() > 0 {
            pair.client.write(pair.now, slow, &pattern(50_000));
            pair.settle();
        }
        pair.wait(secs(3));
        let enough = got + (40 << 10);
        while got < enough {
            let Recv::Data(chunk) = pair.server.session.recv(pair.now, slow_there) else {
                panic!("nothing to read")
            };
            got += chunk.len();
            pair.server.session.release(pair.now, slow_there, chunk.len());
        }
        pair.settle();
    }
    assert_eq!(pair.server.end(slow_there), None);
    assert!(got > 1 << 20, "{got}");
}

#[test]
fn classic_request_that_does_not_come_ends_the_session() {
    let mut pair = Pair::new(Wire::Classic);
    pair.server.receive(pair.now, &[0, 1, 0, 5, 5, 1, 0, 1, 127]);
    assert_eq!((pair.server.session.streams(), pair.server.incoming()), (1, None));
    pair.wait(secs(10));
    assert_eq!(pair.server.transmit(pair.now), [0, 1, 0, 0]);
    assert_eq!(pair.server.session.streams(), 0);
}

#[test]
fn classic_sessions_over_the_limit_are_ended_at_once() {
    let limits = LimitConfig { max_streams: Some(1), ..LimitConfig::default() };
    let config = SessionConfig { limits, classic: ClassicConfig::default(), ..SessionConfig::default() };
    let mut pair = Pair::with(Wire::Classic, SessionConfig::default(), config);
    let (first, _) = pair.open(connect(b"x"));
    let second = pair.client.session.open(pair.now, connect(b"y")).unwrap();
    pair.settle();
    assert_eq!(pair.client.read(pair.now, second).1, Recv::Fin);
    assert_eq!(pair.client.end(first), None);
    for _ in 0..101 {
        let _ = pair.client.session.open(pair.now, connect(b"y"));
        pair.settle();
    }
    assert_eq!(pair.server.closed(), calm("refusals"));
}

#[test]
fn stream_let_go_of_ends_although_its_peer_takes_nothing() {
    let mut lone = Lone::server();
    lone.say(Kind::Open, flags::FIN, 1, &open_payload());
    let id = lone.side.incoming().unwrap().0;
    let data = pattern(256 << 10);
    lone.side.write(lone.now, id, &data);
    lone.take_sent();
    // All credit is used up; this waits for more, which never comes.
    lone.side.write(lone.now, id, &data);
    lone.side.session.finish(lone.now, id);
    lone.side.session.forget(lone.now, id);
    let (began, mut window) = (lone.now, 256 << 10);
    while lone.side.session.streams() > 0 {
        lone.now += secs(1);
        lone.side.tick(lone.now);
        for (header, payload) in lone.take_sent() {
            if header.kind == Kind::Ping as u8 {
                lone.say(Kind::Ping, flags::ACK, 0, &payload);
            }
        }
        let seconds = (lone.now - began).as_secs();
        if seconds == 200 {
            // A good part was taken: the rest has its time again.
            window += 64 << 10;
        }
        // A byte a second is no sign of life.
        window += 1;
        lone.say(Kind::Credit, 0, id.0, &Credit { consumed: 0, window }.to_vec());
        assert!(seconds <= 601, "what nobody owns any more is held for more than ten minutes");
    }
    assert!(lone.now >= began + secs(500), "{:?}", lone.now - began);
    assert_eq!((lone.side.closed(), lone.side.session.charged()), (None, (0, 0)));
}
