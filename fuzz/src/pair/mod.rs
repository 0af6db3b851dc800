//! Two sessions, their applications, and the bytes between them.
//!
//! ```text
//!   ledger ── application ── client ══ pipe (delivered k bytes at a time) ══ server ── application ── ledger
//!                                        ▲ hostile frames, flipped, torn and spliced bytes
//! ```
//!
//! Every byte of a flow says which flow, direction and offset it is of. For any sequence of operations:
//!
//! 1. what is received is a prefix of what was sent, and never a byte of another flow;
//! 2. a clean end comes after the last byte (classic, which can't tell an end from an abort: unless somebody aborted);
//! 3. where nobody broke anything, every flow ends whole;
//! 4. afterwards no stream and no budgeted byte is left;
//! 5. a side that is sent nonsense says GOAWAY at most once, and nothing after it.

mod ledger;
mod side;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use framing::remux2::{Code, Command, Header, Opened};
use remux::session::{Open, Recv, StreamId};
use remux::{Budget, ConnectionError, Role, SessionConfig, Wire};

use crate::draw::Draw;
use ledger::Ledger;
use side::Side;

/// Judges one sequence of operations; a peer may send hostile frames, but whole ones.
pub fn run(input: &[u8]) {
    Pair::live(input, false);
}

/// As [`run`], where the bytes on their way to the server are changed too.
pub fn run_mutant(input: &[u8]) {
    Pair::live(input, true);
}

/// Client and server.
const SIDES: [usize; 2] = [0, 1];

struct Pair {
    wire: Wire,
    now: Instant,
    sides: [Side; 2],
    /// Bytes on their way to each side.
    pipes: [BytesMut; 2],
    budgets: [Arc<Budget>; 2],
    ledger: Ledger,
    /// The transport was cut, or the connection ended or bent by the operations themselves.
    broken: bool,
    /// Operations that can make either side's limits act, and time that can make its timers.
    strain: usize,
    began: Instant,
}

impl Pair {
    fn live(input: &[u8], mutant: bool) {
        let mut draw = Draw(input);
        let mut pair = Self::new(draw.u8());
        for _ in 0..MOST_OPERATIONS {
            if draw.is_empty() || pair.sides.iter().all(|side| side.session.closed().is_some()) {
                break;
            }
            pair.step(&mut draw, mutant);
        }
        pair.finish();
    }

    fn new(kind: u8) -> Self {
        let wire = if kind & 1 == 0 { Wire::Remux2 } else { Wire::Classic };
        let now = Instant::now();
        let budgets = [(); 2].map(|()| Arc::new(Budget::new(128 << 20)));
        let mut config = SessionConfig { seed: kind.into(), ..SessionConfig::default() };
        config.limits.max_streams = Some(6);
        if kind & 2 != 0 {
            config.sending.queue = 3000;
            config.sending.batch_records = 1;
            config.classic.queue = 2000;
            config.classic.max_payload = 700;
        }
        let side = |role, budget: &Arc<Budget>| Side::new(role, wire, config.clone(), budget, now);
        let sides = [side(Role::Client, &budgets[0]), side(Role::Server, &budgets[1])];
        let pipes = [BytesMut::new(), BytesMut::new()];
        Self {
            wire,
            now,
            sides,
            pipes,
            budgets,
            ledger: Ledger::default(),
            broken: false,
            strain: 0,
            began: now,
        }
    }

    fn step(&mut self, draw: &mut Draw<'_>, mutant: bool) {
        let op = draw.u8();
        let (me, now) = (usize::from(op >> 7), self.now);
        match op & 31 {
            0..=2 => self.open(me, draw),
            3..=6 => self.write(me, draw),
            7..=9 => self.read(me, draw),
            10 => {
                let id = self.sides[me].pick(draw);
                self.ledger.finish(me, id);
                self.sides[me].session.finish(now, id);
            }
            11 => {
                let id = self.sides[me].pick(draw);
                self.abort(id);
                let code = Code(draw.u8().into());
                if code == Code::DRAIN && self.wire == Wire::Classic {
                    self.broken = true;
                }
                self.sides[me].session.reset(now, id, code, "fuzz");
            }
            12 => {
                let id = self.sides[me].pick(draw);
                self.abort(id);
                self.sides[me].session.turn_away(now, id, Code::REFUSED, "not here");
            }
            13 => {
                let id = self.sides[me].pick(draw);
                self.sides[me].forget(now, id, &mut self.ledger);
                self.strain += 1;
            }
            14 => {
                let id = self.sides[me].pick(draw);
                self.sides[me].session.answer_opened(now, id, Opened { dial_us: 1, bound: None });
            }
            15 => {
                self.broken = true;
                let limit = Duration::from_millis(u64::from(draw.u8()) * 20);
                self.sides[me].drained = true;
                self.sides[me].session.drain(now, Code::DRAIN, limit);
            }
            16..=19 => self.transmit(me),
            20..=24 => {
                let n = usize::from(draw.u8());
                self.deliver(me, if n > 200 { n * 200 } else { n });
            }
            25 => self.now += Duration::from_millis(draw.u8().into()),
            26 => self.now += Duration::from_millis(u64::from(draw.u8()) * 100),
            27 => self.inject(me, draw),
            28 => {
                self.broken = true;
                let cause = if draw.u8() & 1 == 0 { ConnectionError::Closed } else { ConnectionError::Idle };
                self.sides[me].session.handle_closed(now, cause);
            }
            29 => {
                // Each is a PING, of which a peer takes 20 at once.
                self.strain += 3;
                self.sides[me].session.handle_suspend(now);
            }
            _ if mutant => self.mutate(draw),
            _ => self.transmit(me),
        }
        self.settle();
    }

    fn open(&mut self, me: usize, draw: &mut Draw<'_>) {
        let kind = draw.u8();
        let first = usize::from(draw.u8()) * usize::from(kind & 15);
        let plain = kind & 16 != 0 && self.wire == Wire::Remux2;
        let target = (!plain).then(|| "a.example:443".parse().expect("a target"));
        let next = self.sides[me].next_id(me, self.wire);
        let open = Open {
            command: if plain { Command::Stream } else { Command::Connect },
            target,
            priority: kind >> 5,
            want_opened: kind & 32 != 0 && self.wire == Wire::Remux2,
            first: self.ledger.bytes(me, next, first),
            fin: kind & 64 != 0,
        };
        let fin = open.fin;
        self.strain += 1;
        if let Ok(id) = self.sides[me].session.open(self.now, open) {
            assert_eq!(id, next, "ids go up by their step");
            self.sides[me].opened(id);
            self.ledger.sent(me, id, first);
            if fin {
                self.ledger.finish(me, id);
            }
        }
    }

    fn write(&mut self, me: usize, draw: &mut Draw<'_>) {
        let id = self.sides[me].pick(draw);
        let n = usize::from(draw.u8()) * usize::from(draw.u8() % 8 * 8 + 1);
        let data = self.ledger.bytes(me, id, n);
        let room = self.sides[me].session.send_room(id);
        let result = self.sides[me].session.send(self.now, id, data);
        assert_eq!(result.is_ok(), room.is_ok_and(|room| n <= room));
        if result.is_ok() {
            self.ledger.sent(me, id, n);
        }
    }

    fn read(&mut self, me: usize, draw: &mut Draw<'_>) {
        let id = self.sides[me].pick(draw);
        let n = draw.u8() % 4 + 1;
        for _ in 0..n {
            if !self.read_one(me, id) {
                break;
            }
        }
    }

    /// Takes what there is; whether more may follow.
    fn read_one(&mut self, me: usize, id: StreamId) -> bool {
        match self.sides[me].session.recv(self.now, id) {
            Recv::Data(chunk) => {
                self.ledger.received(me, id, &chunk);
                self.sides[me].session.release(self.now, id, chunk.len());
                true
            }
            Recv::Fin => {
                self.ledger.end(me, id, self.wire, self.broken);
                false
            }
            Recv::Wait | Recv::Failed(_) => false,
        }
    }

    fn abort(&mut self, id: StreamId) {
        self.ledger.abort(id);
        self.strain += 1;
    }

    /// What this side sends goes behind what is on its way already.
    fn transmit(&mut self, me: usize) {
        let bytes = self.sides[me].transmit(self.now);
        self.pipes[1 - me].extend_from_slice(&bytes);
    }

    fn deliver(&mut self, me: usize, n: usize) {
        let n = n.min(self.pipes[me].len());
        if self.sides[me].session.wants_read() {
            let piece = self.pipes[me].split_to(n);
            self.sides[me].receive(self.now, &piece);
        }
    }

    /// A frame that the other side's session did not send. It may be anything, about any stream.
    fn inject(&mut self, me: usize, draw: &mut Draw<'_>) {
        self.broken = true;
        let (kind, flags, near, n) = (draw.u8(), draw.u8(), draw.u8(), draw.u8());
        let stream = u32::from(near % 16);
        let payload = draw.take(n.into());
        let frame = match self.wire {
            Wire::Remux2 => {
                let kind = if kind < 128 { kind % 11 } else { kind };
                let header = Header { kind, flags, length: n.into(), stream };
                let mut payload = payload.to_vec();
                payload.resize(n.into(), 0);
                [&header.to_bytes()[..], &payload].concat()
            }
            Wire::Classic => {
                let mut payload = payload.to_vec();
                payload.resize(n.into(), 0);
                [&[0, near % 16, 0, n][..], &payload].concat()
            }
        };
        self.ledger.taint(me, StreamId(stream));
        self.pipes[me].extend_from_slice(&frame);
    }

    /// Changes the bytes on their way to the server.
    fn mutate(&mut self, draw: &mut Draw<'_>) {
        self.broken = true;
        self.ledger.taint_all(1);
        let pipe = &mut self.pipes[1];
        let (what, at) = (draw.u8(), draw.below(pipe.len()));
        match what % 5 {
            0 => {
                if let Some(byte) = pipe.get_mut(at) {
                    *byte ^= 1 << (draw.u8() & 7);
                }
            }
            1 => {
                if let Some(byte) = pipe.get_mut(at) {
                    *byte = draw.u8();
                }
            }
            2 => pipe.truncate(at),
            3 => {
                // Out of the middle.
                let mut tail = pipe.split_off(at);
                let gone = draw.below(tail.len().min(64));
                pipe.extend_from_slice(&tail.split_off(gone));
            }
            _ => {
                // A part of it again.
                let n = draw.below((pipe.len() - at).min(64));
                let again = pipe[at..at + n].to_vec();
                pipe.extend_from_slice(&again);
            }
        }
    }

    /// Timers, events, and what a driver does when a session has read again.
    fn settle(&mut self) {
        for me in SIDES {
            self.sides[me].settle(self.now, &mut self.ledger);
        }
    }

    /// Both send, receive and do what `each` says, until there is silence; it says whether it did anything.
    fn talk(&mut self, each: impl Fn(&mut Self, usize) -> bool) {
        for _ in 0..ROUNDS {
            let mut silent = true;
            for me in SIDES {
                let busy = each(self, me);
                self.transmit(me);
                silent &= !busy && self.pipes[1 - me].is_empty();
                self.deliver(1 - me, usize::MAX);
                self.settle();
            }
            if silent && self.sides.iter().all(Side::is_silent) {
                return;
            }
        }
    }

    /// Everybody says what is left to say, and everybody listens; then nothing may be left.
    fn finish(mut self) {
        let aged = self.now.duration_since(self.began) > PATIENCE;
        let calm = !self.broken && !aged && self.strain < 60;
        self.talk(|pair, me| {
            let mut busy = false;
            for id in pair.sides[me].all() {
                pair.ledger.finish(me, id);
                pair.sides[me].session.finish(pair.now, id);
                while pair.read_one(me, id) {
                    busy = true;
                }
            }
            busy
        });
        if calm {
            for me in SIDES {
                let ended = self.sides[me].session.closed();
                assert_eq!(ended, None, "the connection ended and nobody wanted it");
                assert!(
                    self.pipes[me].is_empty() && !self.sides[me].session.wants_transmit(),
                    "it never rests"
                );
            }
            self.ledger.complete(self.wire);
        }
        for me in SIDES {
            for id in self.sides[me].all() {
                self.sides[me].forget(self.now, id, &mut self.ledger);
            }
        }
        self.talk(|_, _| false);
        for me in SIDES {
            let side = &mut self.sides[me];
            if calm {
                assert_eq!(
                    (side.session.streams(), side.session.charged()),
                    (0, (0, 0)),
                    "side {me} keeps what is gone"
                );
            }
            side.session.abort(self.now, ConnectionError::Closed);
            side.settle(self.now, &mut self.ledger);
            for id in side.all() {
                side.forget(self.now, id, &mut self.ledger);
            }
            assert_eq!(
                (side.session.streams(), side.session.charged()),
                (0, (0, 0)),
                "side {me} keeps what is cut"
            );
            assert!(side.is_over(), "the last event never came");
        }
        let budgets = self.budgets.clone();
        drop(self);
        for budget in budgets {
            assert_eq!(budget.used(), 0);
        }
    }
}

const MOST_OPERATIONS: usize = 500;
/// Turns in which both sides send and receive all they can, at most.
const ROUNDS: usize = 400;
/// Less than any timer of a session.
const PATIENCE: Duration = Duration::from_millis(900);
