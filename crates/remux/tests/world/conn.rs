//! Two sessions and the transport between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use framing::remux2::{Code, Header};
use remux::session::{Batch, Session, StreamId};
use remux::{Budget, ConnectionError, Role, SessionConfig, Wire};
use simnet::{Arrival, Duplex, Fault, Link, Plan, Rng, Trigger};

use super::Kind;

/// What became of a connection's transport.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// Nothing that could end a flow early.
    Fine,
    /// It was cut, swallowed, drained or closed: flows on it may end early.
    Cut,
    /// One end sends nonsense: nothing on it can be trusted.
    Hostile,
}

/// Which end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Half {
    /// The end that dialled.
    Client,
    /// The end that accepted.
    Server,
}

/// One end of a connection: a session and what a driver keeps.
pub struct End {
    pub session: Session,
    batch: Batch,
    input: BytesMut,
    /// Why it ended, once the session said so.
    pub over: Option<ConnectionError>,
    /// It has sent its last byte.
    closed: bool,
    /// The flows on it.
    pub flows: BTreeMap<StreamId, usize>,
}

impl End {
    fn new(role: Role, wire: Wire, seed: u64, budget: &Arc<Budget>, now: Instant) -> Self {
        let config = SessionConfig { seed, ..SessionConfig::default() };
        Self {
            session: Session::new(role, wire, config, budget.clone(), now),
            batch: Batch::new(),
            input: BytesMut::new(),
            over: None,
            closed: false,
            flows: BTreeMap::new(),
        }
    }

    fn read(&mut self, now: Instant, from: &mut Link) -> bool {
        let mut busy = false;
        while self.session.closed().is_none() && self.session.wants_read() {
            if !self.input.is_empty() {
                let before = self.input.len();
                // The session says the same in an event.
                let _ = self.session.handle_data(now, &mut self.input);
                if self.input.len() != before {
                    busy = true;
                    continue;
                }
            }
            match from.receive(now, 16 << 10) {
                Some(Arrival::Data(bytes)) => {
                    busy = true;
                    self.input.extend_from_slice(&bytes);
                    let _ = self.session.handle_data(now, &mut self.input);
                }
                Some(Arrival::End) => {
                    self.session.handle_closed(now, ConnectionError::Closed);
                    return true;
                }
                Some(Arrival::Cut) => {
                    let text = "cut".into();
                    self.session.handle_closed(
                        now,
                        ConnectionError::Io { kind: std::io::ErrorKind::ConnectionReset, text },
                    );
                    return true;
                }
                None => break,
            }
        }
        // A broken transport is known at once, whether or not anybody reads.
        if from.is_cut() && self.session.closed().is_none() {
            let text = "cut".into();
            self.session
                .handle_closed(now, ConnectionError::Io { kind: std::io::ErrorKind::ConnectionReset, text });
            return true;
        }
        busy
    }

    fn write(&mut self, now: Instant, to: &mut Link) -> bool {
        let mut busy = false;
        loop {
            let room = to.room();
            if self.closed || room == 0 {
                return busy;
            }
            if self.batch.is_empty() {
                self.session.poll_transmit(now, &mut self.batch);
            }
            if self.batch.is_empty() {
                break;
            }
            let bytes = self.batch.copy_to_bytes(room.min(self.batch.len()));
            to.send(now, bytes);
            self.session.handle_written(now, self.batch.len());
            busy = true;
        }
        if self.session.closed().is_some() {
            self.closed = true;
            to.finish(now);
            busy = true;
        }
        busy
    }
}

/// A connection with its transport.
pub struct Conn {
    pub client: End,
    pub server: End,
    link: Duplex,
    pub dial_done: Instant,
    pub dial_fails: bool,
    /// When the dial was done.
    pub dialled: Option<Instant>,
    /// Streams it was given.
    pub used: u32,
    pub fate: Fate,
    /// The pool knows that it is over.
    pub reported: bool,
    drain_at: Option<Instant>,
    hostile: Option<(Half, Instant, Rng)>,
    hostile_struck: bool,
    /// The kernel gives a swallowing path up, or a hostile peer goes away, at this time.
    kernel_gives_up: Option<Instant>,
    wire: Wire,
}

impl Conn {
    /// A dial begins; faults are drawn among the wanted.
    pub fn dial(
        now: Instant,
        start: Instant,
        wire: Wire,
        wanted: &BTreeSet<Kind>,
        budgets: &[Arc<Budget>; 2],
        rng: &mut Rng,
    ) -> Self {
        let mut plan = || Plan {
            delay: Duration::from_micros(rng.between(50, 80_000)),
            jitter: Duration::from_micros(rng.between(0, 5_000)),
            split: if rng.one_in(3) { rng.size(300, 4_000) } else { usize::MAX },
            merge_one_in: rng.between(0, 6),
            capacity: rng.size(4 << 10, 512 << 10),
            faults: Vec::new(),
        };
        let (mut ab, mut ba) = (plan(), plan());
        // One in a few connections is struck, so that others go on beside it.
        let mut hit = |kind: Kind| wanted.contains(&kind) && rng.one_in(2);
        let (cut_byte, cut_time, hole, stall) =
            (hit(Kind::CutAtByte), hit(Kind::CutInTime), hit(Kind::BlackHole), hit(Kind::Stall));
        let (dial_fails, hostile, drains) =
            (hit(Kind::DialFailure), hit(Kind::HostilePeer), hit(Kind::ServerDrain));
        let since = now.max(start);
        let soon = |rng: &mut Rng, most: u64| since + Duration::from_millis(rng.between(0, most));
        let mut strike = |rng: &mut Rng, trigger, fault| {
            let plan = if rng.one_in(2) { &mut ab } else { &mut ba };
            plan.faults.push((trigger, fault));
        };
        if cut_byte {
            let at = rng.log_size(100_000) as u64;
            strike(rng, Trigger::AtByte(at), Fault::Cut);
        }
        if cut_time {
            let at = soon(rng, 1_500);
            strike(rng, Trigger::At(at), Fault::Cut);
        }
        if hole {
            let at = soon(rng, 1_500);
            strike(rng, Trigger::At(at), Fault::Vanish);
        }
        if stall {
            let at = rng.log_size(50_000) as u64;
            let time = Duration::from_millis(rng.between(10, 900));
            strike(rng, Trigger::AtByte(at), Fault::Stall(time));
        }
        let mut link_rng = rng.fork();
        let drain_at = drains.then(|| soon(rng, 2_000));
        let hostile = hostile.then(|| {
            let half = if rng.one_in(2) { Half::Client } else { Half::Server };
            (half, soon(rng, 1_000), rng.fork())
        });
        Self {
            client: End::new(Role::Client, wire, rng.bits(), &budgets[0], now),
            server: End::new(Role::Server, wire, rng.bits(), &budgets[1], now),
            link: Duplex::new(ab, ba, &mut link_rng),
            dial_done: now + Duration::from_millis(rng.between(0, 200)),
            dial_fails,
            dialled: None,
            used: 0,
            fate: Fate::Fine,
            reported: false,
            drain_at,
            hostile,
            hostile_struck: false,
            kernel_gives_up: None,
            wire,
        }
    }

    /// One of the ends.
    pub fn end(&mut self, half: Half) -> &mut End {
        match half {
            Half::Client => &mut self.client,
            Half::Server => &mut self.server,
        }
    }

    /// From now on flows on it may end early.
    pub fn taint(&mut self, fate: Fate) {
        if self.fate != Fate::Hostile {
            self.fate = fate;
        }
    }

    /// Bytes move, timers fire; whether anything happened.
    pub fn pump(&mut self, now: Instant) -> bool {
        let mut busy = false;
        if self.drain_at.is_some_and(|at| at <= now) {
            self.drain_at = None;
            let limit = Duration::from_secs(5);
            self.server.session.drain(now, Code::DRAIN, limit);
            self.taint(Fate::Cut);
            busy = true;
        }
        busy |= self.misbehave(now);
        if self.kernel_gives_up.is_some_and(|at| at <= now) && !self.link.ab.is_cut() {
            self.link.ab.cut();
            self.link.ba.cut();
            busy = true;
        }
        for end in [&mut self.client, &mut self.server] {
            if end.session.poll_timeout().is_some_and(|(at, _)| at <= now) {
                end.session.handle_timeout(now);
                busy = true;
            }
        }
        busy |= self.client.write(now, &mut self.link.ab);
        busy |= self.server.write(now, &mut self.link.ba);
        self.link.settle();
        busy |= self.client.read(now, &mut self.link.ba);
        busy |= self.server.read(now, &mut self.link.ab);
        self.link.settle();
        let worst = self.link.fired().find(|(_, fault)| !matches!(fault, Fault::Stall(_)));
        if let Some((_, fault)) = worst {
            self.taint(Fate::Cut);
            if fault == Fault::Vanish && self.kernel_gives_up.is_none() {
                // The classic wire asks nobody: there the kernel's time-out is the end of it.
                let patience = if self.wire == Wire::Classic { 30 } else { 60 };
                self.kernel_gives_up = Some(now + Duration::from_secs(patience));
            }
        }
        // An end that is over takes its transport along, as a closed socket does.
        let ended = [&self.client, &self.server]
            .iter()
            .any(|end| end.session.closed().is_some_and(|cause| !cause.is_orderly()));
        if ended {
            self.taint(Fate::Cut);
        }
        busy
    }

    /// A hostile end puts nonsense between its frames.
    fn misbehave(&mut self, now: Instant) -> bool {
        let Some((half, at, rng)) = &mut self.hostile else { return false };
        let (end, link) = match half {
            Half::Client => (&mut self.client, &mut self.link.ab),
            Half::Server => (&mut self.server, &mut self.link.ba),
        };
        if *at > now || end.closed || self.dialled.is_none() {
            return false;
        }
        if !end.batch.is_empty() {
            // Not into the middle of a frame that waits for room.
            *at = now + Duration::from_millis(1);
            return false;
        }
        link.send(now, nonsense(self.wire, rng));
        *at = now + Duration::from_millis(rng.between(1, 500));
        self.fate = Fate::Hostile;
        self.hostile_struck = true;
        // It may have made any request and any answer go astray; it doesn't stay for ever.
        self.kernel_gives_up.get_or_insert(now + Duration::from_secs(60));
        true
    }

    /// The kinds of faults that have struck its transport.
    pub fn struck(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self
            .link
            .fired()
            .map(|(trigger, fault)| match (trigger, fault) {
                (Trigger::AtByte(_), Fault::Cut) => Kind::CutAtByte,
                (Trigger::At(_), Fault::Cut) => Kind::CutInTime,
                (_, Fault::Vanish) => Kind::BlackHole,
                (_, Fault::Stall(_)) => Kind::Stall,
            })
            .collect();
        if self.hostile_struck {
            kinds.push(Kind::HostilePeer);
        }
        kinds
    }

    /// Both ends know that it is over.
    pub fn is_over(&self) -> bool {
        self.client.over.is_some() && self.server.over.is_some()
    }

    /// Nothing on it needs time to pass.
    pub fn is_idle(&self) -> bool {
        self.is_over() || self.client.session.streams() == 0 && self.server.session.streams() == 0
    }

    /// When something happens on it next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.dialled.is_none() {
            return Some(self.dial_done);
        }
        let sessions = [&self.client, &self.server].into_iter().filter(|end| end.session.closed().is_none());
        let timers = sessions.filter_map(|end| end.session.poll_timeout()).map(|(at, _)| at);
        let hostile = self
            .hostile
            .as_ref()
            .map(|(_, at, _)| *at)
            .filter(|_| !self.client.closed && !self.server.closed);
        let links = [(&self.client, &self.link.ba), (&self.server, &self.link.ab)];
        let arrivals =
            links.into_iter().filter(|(end, _)| end.session.closed().is_none() && end.session.wants_read());
        let arrivals = arrivals.filter_map(|(_, link)| link.poll_timeout());
        timers.chain(arrivals).chain(self.drain_at).chain(hostile).chain(self.kernel_gives_up).min()
    }
}

/// Frames that are well formed more often than not, with fields that mean nothing.
fn nonsense(wire: Wire, rng: &mut Rng) -> Bytes {
    let length = if rng.one_in(4) { rng.size(0, 20_000) } else { rng.size(0, 40) };
    let length = u16::try_from(length).unwrap_or(u16::MAX);
    let low = u32::try_from(rng.between(0, 40)).unwrap();
    let stream = if rng.one_in(5) { u32::try_from(rng.bits() >> 32).unwrap() } else { low };
    let byte = |rng: &mut Rng| rng.bits().to_le_bytes()[0];
    let mut out = Vec::new();
    if wire == Wire::Classic {
        out.extend_from_slice(&u16::try_from(low).unwrap().to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        let kind = if rng.one_in(4) { byte(rng) } else { byte(rng) % 12 };
        let header = Header { kind, flags: byte(rng) & 7, length, stream };
        out.extend_from_slice(&header.to_bytes());
    }
    for _ in 0..length {
        out.push(byte(rng) & if rng.one_in(3) { 0xFF } else { 0x07 });
    }
    out.into()
}
