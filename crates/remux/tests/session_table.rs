//! Every frame type in every state of a stream: no cell panics, and each does what the table in
//! `session/wire_remux2` says.

mod session_world;

use framing::Encode;
use framing::remux2::{Code, Credit, Kind, Opened, Priority, Rst, flags};
use remux::session::{Event, Recv, StreamId};
use remux::{ConnectionError, Role, SessionConfig, StreamError};
use session_world::*;

/// A frame's name, type, flags and payload, and what it does in each state.
type Row<'a> = (&'a str, u8, u8, &'a [u8], [Did; 7]);
/// What happens to a stream, what is then read of it, how reading ends and how the stream ended.
type Race<'a> = (&'a str, Vec<Step<'a>>, &'a [u8], Recv, Option<Result<(), StreamError>>);
type Step<'a> = &'a dyn Fn(&mut Lone);

/// The states of stream 1 at a server.
const STATES: [State; 7] = [
    State::Never,
    State::Open,
    State::PeerFinished,
    State::Finished,
    State::Held,
    State::Freed,
    State::FreedLongAgo,
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Never,
    Open,
    /// The peer's FIN came.
    PeerFinished,
    /// Our FIN went out.
    Finished,
    /// Over on the wire; the application still holds it.
    Held,
    Freed,
    FreedLongAgo,
}

/// What a frame did.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Did {
    /// It was taken.
    Ok,
    /// It was dropped as late.
    Late,
    /// Our RST with this code.
    Rst(u16),
    /// The stream ended by the peer's wish.
    Ended,
    /// The connection ended with this GOAWAY code.
    Away(u16),
}

const P: Did = Did::Away(Code::PROTOCOL.0);
const CLOSED: Did = Did::Rst(Code::CLOSED.0);

#[test]
fn every_frame_in_every_state_does_what_the_table_says() {
    use Did::{Ended, Late, Ok};
    let credit = Credit { consumed: 0, window: 300_000 }.to_vec();
    let rst = Rst { code: Code::CANCEL, text: "no more".into() }.to_vec();
    let opened = Opened { dial_us: 1, bound: None }.to_vec();
    let priority = Priority { priority: 1 }.to_vec();
    let data = vec![7; 300];
    let open = open_payload();
    let c = Did::Away(Code::UNKNOWN_CRITICAL.0);
    #[rustfmt::skip]
    let table: Vec<Row<'_>> = vec![
        // frame, type, flags, payload, then: never, open, peer finished, finished, held, freed, freed long ago
        ("DATA", 0x00, 0, &data,             [P, Ok, CLOSED, Ok, Late, Late, Late]),
        ("DATA FIN", 0x00, flags::FIN, &data, [P, Ok, CLOSED, Ok, Late, Late, Late]),
        ("DATA BLOCKED", 0x00, flags::BLOCKED, &[], [P, Ok, CLOSED, Ok, Late, Late, Late]),
        ("DATA FIN, empty", 0x00, flags::FIN, &[], [P, Ok, CLOSED, Ok, Late, Late, Late]),
        ("DATA, empty", 0x00, 0, &[],        [P, P, P, P, P, P, P]),
        ("DATA, unknown flags", 0x00, 0xFC, &data, [P, Ok, CLOSED, Ok, Late, Late, Late]),
        ("OPEN", 0x01, 0, &open,             [Ok, P, P, P, P, P, P]),
        ("OPEN, cut short", 0x01, 0, &[1],   [Did::Rst(Code::PROTOCOL.0), P, P, P, P, P, P]),
        ("OPENED", 0x02, 0, &opened,         [P, Ok, Ok, Ok, Late, Late, Late]),
        ("OPENED, cut short", 0x02, 0, &[1], [P, P, P, P, Late, Late, Late]),
        ("CREDIT", 0x03, 0, &credit,         [P, Ok, Ok, Ok, Late, Late, Late]),
        ("CREDIT, cut short", 0x03, 0, &[0], [P, P, P, P, Late, Late, Late]),
        ("RST", 0x04, 0, &rst,               [P, Ended, Ended, Ended, Late, Late, Late]),
        ("RST, cut short", 0x04, 0, &[1],    [P, P, P, P, Late, Late, Late]),
        ("PING", 0x05, 0, &[0; 8],           [P, P, P, P, P, P, P]),
        ("GOAWAY", 0x06, 0, &[0; 10],        [P, P, P, P, P, P, P]),
        ("SETTINGS", 0x07, 0, &[],           [P, P, P, P, P, P, P]),
        ("DGRAM", 0x08, 0, &[0; 4],          [P, P, P, P, P, P, P]),
        ("PAD", 0x09, 0, &[0; 100],          [Ok, Ok, Ok, Ok, Ok, Ok, Ok]),
        ("PRIORITY", 0x0A, 0, &priority,     [P, Ok, Ok, Ok, Late, Late, Late]),
        ("PRIORITY, too long", 0x0A, 0, &[0, 0], [P, P, P, P, Late, Late, Late]),
        ("reserved", 0x0B, 0, &[],           [P, P, P, P, P, P, P]),
        ("reserved", 0x3F, 0, &[],           [P, P, P, P, P, P, P]),
        ("ignorable", 0x40, 0, &[1; 50],     [Ok, Ok, Ok, Ok, Ok, Ok, Ok]),
        ("critical", 0x80, 0, &[],           [c.clone(), c.clone(), c.clone(), c.clone(), c.clone(), c.clone(), c.clone()]),
        ("critical", 0xFF, 0, &[],           [c.clone(), c.clone(), c.clone(), c.clone(), c.clone(), c.clone(), c]),
    ];
    for (name, kind, bits, payload, expected) in table {
        for (state, expected) in STATES.into_iter().zip(expected) {
            assert_eq!(say_in(state, kind, bits, payload), expected, "{name} when {state:?}");
        }
    }
}

#[test]
fn frames_of_streams_on_the_connection_itself_break_the_protocol() {
    for kind in [Kind::Data, Kind::Open, Kind::Opened, Kind::Credit, Kind::Rst, Kind::Priority] {
        let mut lone = Lone::server();
        lone.say(kind, flags::FIN, 0, &open_payload());
        assert_eq!(lone.sent_goaway(), Some(Code::PROTOCOL.0), "{kind:?}");
    }
}

#[test]
fn frame_before_the_settings_breaks_the_protocol() {
    for kind in 0..=0x40 {
        if kind == Kind::Settings as u8 {
            continue;
        }
        let mut lone = Lone::silent(Role::Server, SessionConfig::default());
        lone.say_raw(kind, flags::FIN, u32::from(kind < 5), &open_payload());
        assert_eq!(lone.sent_goaway(), Some(Code::PROTOCOL.0), "{kind:#x}");
    }
}

#[test]
fn ids_rise_and_have_the_right_parity_or_the_protocol_is_broken() {
    for (first, second) in [(3, 1), (3, 3), (3, 4), (3, 0x8000_0001)] {
        let mut lone = Lone::server();
        lone.say_open(first);
        lone.say_open(second);
        assert_eq!(lone.sent_goaway(), Some(Code::PROTOCOL.0), "{first} then {second}");
    }
    let mut lone = Lone::server();
    for id in [1, 7, 0x7FFF_FFFF] {
        lone.say_open(id);
    }
    assert_eq!(lone.side.session.streams(), 3, "gaps are allowed");
    lone.say(Kind::Data, 0, 5, b"late");
    assert_eq!(lone.side.closed(), None, "an id passed over counts as ended");
}

/// Who ends first, and what the application then sees: (what was read, how reading ends, how the stream ended).
#[test]
fn fin_and_reset_may_race_in_any_order() {
    let reset = || StreamError::Reset { code: Code::CANCEL, text: String::new(), refused_safe: false };
    let abort = || StreamError::Aborted { code: Code::DEST_RESET, text: String::new() };
    let cancel = Rst { code: Code::CANCEL, text: String::new() }.to_vec();
    let data: Step<'_> = &|lone| lone.say(Kind::Data, 0, 1, b"data");
    let fin: Step<'_> = &|lone| lone.say(Kind::Data, flags::FIN, 1, b"fin");
    let rst: Step<'_> = &|lone| lone.say(Kind::Rst, 0, 1, &cancel);
    let our_fin: Step<'_> = &|lone| {
        lone.side.session.finish(lone.now, StreamId(1));
        lone.sent.extend(frames(&lone.side.transmit(lone.now)));
    };
    let our_rst: Step<'_> = &|lone| lone.side.session.reset(lone.now, StreamId(1), Code::DEST_RESET, "");
    let races: Vec<Race<'_>> = vec![
        ("fin, our fin", vec![data, fin, our_fin], b"datafin", Recv::Fin, Some(Ok(()))),
        ("our fin, fin", vec![our_fin, data, fin], b"datafin", Recv::Fin, Some(Ok(()))),
        ("our fin, rst", vec![our_fin, data, rst], b"", Recv::Failed(reset()), Some(Err(reset()))),
        ("fin, rst", vec![data, fin, rst], b"", Recv::Failed(reset()), Some(Err(reset()))),
        ("fin, our fin, rst", vec![data, fin, our_fin, rst], b"datafin", Recv::Fin, Some(Ok(()))),
        ("our rst, fin", vec![data, our_rst, fin], b"", Recv::Failed(abort()), Some(Err(abort()))),
        ("our rst, data", vec![our_rst, data, data], b"", Recv::Failed(abort()), Some(Err(abort()))),
        ("our rst, rst", vec![our_rst, rst], b"", Recv::Failed(abort()), Some(Err(abort()))),
        ("rst, our rst", vec![rst, our_rst], b"", Recv::Failed(reset()), Some(Err(reset()))),
        ("our fin, our rst", vec![data, our_fin, our_rst], b"", Recv::Failed(abort()), Some(Err(abort()))),
        ("fin, our rst", vec![data, fin, our_rst], b"", Recv::Failed(abort()), Some(Err(abort()))),
        ("fin only", vec![data, fin], b"datafin", Recv::Fin, None),
    ];
    for (name, steps, bytes, end, ended) in races {
        let mut lone = Lone::server();
        lone.say_open(1);
        steps.iter().for_each(|step| step(&mut lone));
        let resets = lone.sent_kind(Kind::Rst).len();
        let ours = ended.as_ref().is_some_and(|ended| *ended == Err(abort()));
        assert_eq!(resets, usize::from(ours), "{name}: one RST if it was ours, no answer to theirs");
        assert_eq!(lone.side.read(lone.now, StreamId(1)), (bytes.to_vec(), end), "{name}");
        assert_eq!(lone.side.end(StreamId(1)), ended, "{name}");
        let times = lone.side.events.iter().filter(|event| matches!(event, Event::Ended { .. })).count();
        assert!(times <= 1, "{name}: ended {times} times");
        lone.side.session.forget(lone.now, StreamId(1));
        lone.take_sent();
        assert_eq!((lone.side.session.streams(), lone.side.session.charged()), (0, (0, 0)), "{name}");
        assert_eq!(lone.side.closed(), None, "{name}");
    }
}

/// Brings stream 1 into a state, says one frame about it and looks at what happens.
fn say_in(state: State, kind: u8, bits: u8, payload: &[u8]) -> Did {
    let mut lone = Lone::server();
    if state != State::Never {
        lone.say_open(1);
    }
    let id = StreamId(1);
    match state {
        State::Never | State::Open => {}
        State::PeerFinished => lone.say(Kind::Data, flags::FIN, 1, b"x"),
        State::Finished => lone.side.session.finish(lone.now, id),
        State::Held => {
            lone.say(Kind::Data, flags::FIN, 1, b"x");
            lone.side.session.finish(lone.now, id);
        }
        State::Freed | State::FreedLongAgo => lone.side.session.forget(lone.now, id),
    }
    lone.take_sent();
    if state == State::FreedLongAgo {
        lone.now += secs(60);
    }
    let ended_before = lone.side.end(id).is_some();
    let late = lone.side.session.stats().late;
    let frames = lone.side.session.stats().frames_in;
    lone.say_raw(kind, bits, 1, payload);
    if let Some(cause) = lone.side.closed() {
        let code = lone.sent_goaway().expect("the peer is told");
        assert_eq!(code, cause.code().0);
        assert!(!matches!(cause, ConnectionError::Calm { .. }), "{cause}");
        return Did::Away(code);
    }
    assert_eq!(lone.side.session.stats().frames_in, frames + 1);
    if let Some((code, _)) = lone.sent_rst(1) {
        return Did::Rst(code);
    }
    if lone.side.session.stats().late > late {
        return Did::Late;
    }
    let gone = matches!(lone.side.end(id), Some(Err(StreamError::Reset { .. })));
    if gone && !ended_before { Did::Ended } else { Did::Ok }
}
