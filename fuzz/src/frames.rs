//! A session of either wire that is sent arbitrary bytes in arbitrary pieces, and an application that only listens.
//!
//! However the bytes are cut, the session tells the same, answers the same and holds the same; and no call allocates
//! more than its input explains.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, BytesMut};
use remux::session::{Batch, Event, Recv, Session, Stats, StreamId};
use remux::{Budget, ConnectionError, Role, SessionConfig, Wire};

use crate::draw::Draw;

/// Judges one input: a byte for wire, role and settings, four for the cuts, then what is sent.
pub fn run(input: &[u8]) {
    let mut draw = Draw(input);
    let (kind, cuts) = (draw.u8(), draw.u32());
    let whole = Life::of(kind, draw.0, u32::MAX);
    let torn = Life::of(kind, draw.0, cuts);
    assert_eq!(torn.events, whole.events, "what is told depends on the cuts");
    assert_eq!(torn.closed, whole.closed, "the end depends on the cuts");
    assert_eq!(torn.received, whole.received, "what streams carry depends on the cuts");
    assert_eq!(torn.answer, whole.answer, "the answer depends on the cuts");
    assert_eq!(torn.stats, whole.stats, "the counters depend on the cuts");
}

/// What one session made of the bytes.
struct Life {
    events: Vec<Event>,
    closed: Option<ConnectionError>,
    received: Vec<(StreamId, Vec<u8>, Recv)>,
    answer: Vec<u8>,
    stats: Stats,
}

impl Life {
    fn of(kind: u8, bytes: &[u8], cuts: u32) -> Self {
        let (mut session, now) = fresh(kind);
        let mut cuts = Cuts(cuts);
        let (mut rest, mut input, mut events) = (bytes, BytesMut::new(), Vec::new());
        while !rest.is_empty() && session.wants_read() {
            let (piece, behind) = rest.split_at(cuts.next(rest.len()));
            rest = behind;
            input.extend_from_slice(piece);
            let at_hand = input.len();
            let memory = allocation_counter::measure(|| {
                let _ = session.handle_data(now, &mut input);
            });
            let most = ALLOCATED + at_hand + STREAM * session.streams();
            assert!(memory.bytes_max <= most as u64, "{memory:?} for {at_hand} bytes, {most} are explained");
            assert!(input.len() < LONGEST, "{} bytes are left in front of the next", input.len());
        }
        while let Some(event) = session.poll_event() {
            assert!(!matches!(events.last(), Some(Event::Closed(_))), "{event:?} after the last event");
            events.push(event);
        }
        let streams = events.iter().filter_map(|event| match event {
            Event::Incoming { id, .. } => Some(*id),
            _ => None,
        });
        let received = streams.map(|id| read(&mut session, now, id)).collect();
        let (closed, answer) = (session.closed().cloned(), transmit(&mut session, now));
        Self { events, closed, received, answer, stats: session.stats() }
    }
}

fn fresh(kind: u8) -> (Session, Instant) {
    let wire = if kind & 1 == 0 { Wire::Remux2 } else { Wire::Classic };
    let role = if kind & 2 == 0 { Role::Server } else { Role::Client };
    let mut config = SessionConfig::default();
    if kind & 4 != 0 {
        config.limits.max_streams = Some(3);
        config.limits.max_frame = u16::MAX;
        config.classic.request = false;
    }
    let now = Instant::now();
    let mut session = Session::new(role, wire, config, Arc::new(Budget::default()), now);
    if role == Role::Client {
        // Streams to be answered, reset, filled.
        for n in 0..4 {
            let target = Some("a.example:80".parse().expect("a target"));
            let command = framing::remux2::Command::Connect;
            let open = remux::session::Open {
                command,
                target,
                want_opened: n == 0 && wire == Wire::Remux2,
                ..remux::session::Open::stream()
            };
            session.open(now, open).expect("a stream");
        }
    }
    (session, now)
}

/// All that can be read of a stream, and what then comes.
fn read(session: &mut Session, now: Instant, id: StreamId) -> (StreamId, Vec<u8>, Recv) {
    let mut bytes = Vec::new();
    loop {
        match session.recv(now, id) {
            Recv::Data(chunk) => bytes.extend_from_slice(&chunk),
            end => return (id, bytes, end),
        }
    }
}

fn transmit(session: &mut Session, now: Instant) -> Vec<u8> {
    let (mut batch, mut bytes) = (Batch::new(), Vec::new());
    while session.wants_transmit() {
        session.poll_transmit(now, &mut batch);
        assert!(!batch.is_empty(), "it wants to send and does not");
        bytes.extend_from_slice(&batch.copy_to_bytes(batch.len()));
    }
    bytes
}

/// Lengths of pieces: mostly short, sometimes long.
struct Cuts(u32);

impl Cuts {
    fn next(&mut self, left: usize) -> usize {
        if self.0 == u32::MAX {
            return left;
        }
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let n = usize::from(self.0.to_be_bytes()[0]);
        (if n & 7 == 0 { n * 4 } else { n & 15 }).clamp(1, left)
    }
}

/// What a call may allocate beside its input.
const ALLOCATED: usize = 64 << 10;
/// And for each stream it opened.
const STREAM: usize = 2 << 10;
/// No frame is longer.
const LONGEST: usize = 8 + u16::MAX as usize;
