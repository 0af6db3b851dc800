//! Two sessions and the transport between them, moved as a driver moves them: write, read, look at the path, timers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use framing::remux2::{Code, Header};
use remux::session::{Batch, PathInfo, Session, Stats, StreamId};
use remux::{Budget, ConnectionError, Role, SessionConfig, Wire};
use simnet::{Arrival, Duplex, Fault, Link, Plan, Rng, Trigger};

use super::Kind;

/// What became of a connection's transport.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// Nothing that could end a flow early.
    Fine,
    /// It was cut, swallowed, drained past the limit or closed: flows on it may end early.
    Cut,
    /// One end sends nonsense: nothing on it can be trusted.
    Hostile,
}

/// Which end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Half {
    /// The end that dialled.
    Client,
    /// The end that accepted.
    Server,
}

impl Half {
    /// The far end.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// One end of a connection: a session and what a driver keeps.
pub(crate) struct End {
    pub(crate) session: Session,
    batch: Batch,
    input: BytesMut,
    /// The session stopped reading, with bytes left in `input`.
    paused: bool,
    /// Why it ended, once the session said so.
    pub(crate) over: Option<ConnectionError>,
    /// It has sent its last byte.
    closed: bool,
    /// The flows on it.
    pub(crate) flows: BTreeMap<StreamId, usize>,
    /// Streams that are not over on the wire.
    pub(crate) running: BTreeSet<StreamId>,
    /// Since when there are such.
    busy_since: Option<Instant>,
    /// The peer may be gone, as the session says.
    pub(crate) suspect: bool,
    /// Since when an answer is due, after a suspend.
    pub(crate) asked: Option<Instant>,
    /// A byte came from the peer since the last round.
    pub(crate) heard: bool,
    /// Since when bytes wait for the transport and none of them moved.
    waits_since: Option<Instant>,
    looked: Option<Instant>,
}

impl End {
    fn new(role: Role, wire: Wire, config: SessionConfig, budget: &Arc<Budget>, now: Instant) -> Self {
        Self {
            session: Session::new(role, wire, config, budget.clone(), now),
            batch: Batch::new(),
            input: BytesMut::new(),
            paused: false,
            over: None,
            closed: false,
            flows: BTreeMap::new(),
            running: BTreeSet::new(),
            busy_since: None,
            suspect: false,
            asked: None,
            heard: false,
            waits_since: None,
            looked: None,
        }
    }

    fn read(&mut self, now: Instant, from: &mut Link) -> bool {
        let mut busy = false;
        while self.session.closed().is_none() && self.session.wants_read() {
            // What an earlier call left because a queue was full comes before anything new.
            if std::mem::take(&mut self.paused) && !self.input.is_empty() {
                let before = self.input.len();
                // The session says the same in an event.
                let _ = self.session.handle_data(now, &mut self.input);
                self.paused = !self.session.wants_read();
                busy |= self.input.len() != before;
                continue;
            }
            match from.receive(now, 16 << 10) {
                Some(Arrival::Data(bytes)) => {
                    busy = true;
                    self.heard = true;
                    self.input.extend_from_slice(&bytes);
                    let _ = self.session.handle_data(now, &mut self.input);
                    self.paused = !self.session.wants_read();
                }
                Some(Arrival::End) => {
                    self.session.handle_closed(now, ConnectionError::Closed);
                    return true;
                }
                Some(Arrival::Cut) => return self.lose(now),
                None => break,
            }
        }
        // A broken transport is known at once, whether or not anybody reads.
        if from.is_cut() && self.session.closed().is_none() {
            return self.lose(now);
        }
        busy
    }

    fn lose(&mut self, now: Instant) -> bool {
        let kind = std::io::ErrorKind::ConnectionReset;
        self.session.handle_closed(now, ConnectionError::Io { kind, text: "cut".into() });
        true
    }

    /// Whether anything happened, or what the session must not do.
    fn write(&mut self, now: Instant, to: &mut Link) -> Result<bool, &'static str> {
        let mut busy = false;
        // There is nobody to say anything to.
        let lost = self.session.closed().is_some_and(|cause| {
            use ConnectionError::{Dead, Io, Stalled};
            matches!(cause, Dead { .. } | Stalled { .. } | Io { .. })
        });
        while !self.closed && !lost {
            if self.batch.is_empty() {
                let wanted = self.session.wants_transmit();
                self.session.poll_transmit(now, &mut self.batch);
                if !wanted && !self.batch.is_empty() {
                    return Err("it had bytes to send and said that it had none");
                }
            }
            if self.batch.is_empty() {
                break;
            }
            let n = to.room().min(self.batch.len());
            if n == 0 {
                self.waits_since.get_or_insert(now);
                return Ok(busy);
            }
            let Some(bytes) = self.take(n) else { return Err("its batch is shorter than it says") };
            to.send(now, bytes);
            self.session.handle_written(now, self.batch.len());
            self.waits_since = None;
            self.asked = self.asked.map(|_| now);
            busy = true;
        }
        if self.session.closed().is_some() && !self.closed {
            self.closed = true;
            self.batch.clear();
            to.finish(now);
            busy = true;
        }
        Ok(busy)
    }

    /// The next `n` bytes of the batch, slice by slice as a socket takes them.
    fn take(&mut self, n: usize) -> Option<Bytes> {
        let mut out = BytesMut::with_capacity(n);
        while out.len() < n {
            let chunk = self.batch.chunk();
            let part = chunk.len().min(n - out.len());
            out.extend_from_slice(&chunk[..part]);
            self.batch.advance(part);
            if part == 0 {
                return None;
            }
        }
        Some(out.freeze())
    }

    fn is_alive(&self) -> bool {
        self.session.closed().is_none()
    }
}

/// How the path under a connection looks to the kernel.
struct Path {
    delivery_rate: u64,
    cwnd: u64,
}

/// A connection with its transport.
pub(crate) struct Conn {
    pub(crate) client: End,
    pub(crate) server: End,
    link: Duplex,
    pub(crate) dial_done: Instant,
    pub(crate) dial_fails: bool,
    /// When the dial was done.
    pub(crate) dialled: Option<Instant>,
    /// Streams it was given.
    pub(crate) used: u32,
    /// Streams it may be given, as the server said.
    pub(crate) most_uses: u32,
    /// Streams it may carry at a time, as the server said.
    pub(crate) most_streams: usize,
    /// The server takes no more streams on it.
    pub(crate) refuses: bool,
    /// The pool has given it up.
    pub(crate) given_up: bool,
    /// Since when the server has no stream on it.
    empty_since: Option<Instant>,
    /// Since when it carries no stream of the client's.
    pub(crate) idle_since: Option<Instant>,
    pub(crate) fate: Fate,
    /// The pool knows that it is over.
    pub(crate) reported: bool,
    /// A promise it broke.
    pub(crate) fault: Option<String>,
    path: Option<Path>,
    drain_at: Option<Instant>,
    drained_at: Option<Instant>,
    tight: bool,
    /// Streams the server carries at a time.
    server_streams: u64,
    hostile: Option<(Half, Instant, Rng)>,
    hostile_struck: bool,
    /// The kernel gives a swallowing path up, or a hostile peer goes away, at this time.
    kernel_gives_up: Option<Instant>,
    gave_up: bool,
    wire: Wire,
}

impl Conn {
    /// A dial begins; faults are drawn among the wanted.
    pub(crate) fn dial(
        now: Instant,
        start: Instant,
        wire: Wire,
        wanted: &BTreeSet<Kind>,
        configs: &[SessionConfig; 2],
        budgets: &[Arc<Budget>; 2],
        rng: &mut Rng,
    ) -> Self {
        let mut plan = || Plan {
            delay: Duration::from_micros(rng.between(50, 80_000)),
            jitter: Duration::from_micros(rng.between(0, 5_000)),
            split: if rng.one_in(3) { rng.size(300, 4_000) } else { usize::MAX },
            merge_one_in: rng.between(0, 6),
            capacity: rng.size(4 << 10, 512 << 10),
            grows: None,
            faults: Vec::new(),
        };
        let (mut ab, mut ba) = (plan(), plan());
        // One in a few connections is struck, so that others go on beside it.
        let mut hit = |kind: Kind| wanted.contains(&kind) && rng.one_in(2);
        let (cut_byte, cut_time, hole, stall) =
            (hit(Kind::CutAtByte), hit(Kind::CutInTime), hit(Kind::BlackHole), hit(Kind::Stall));
        let (dial_fails, hostile, drains, grows) =
            (hit(Kind::DialFailure), hit(Kind::HostilePeer), hit(Kind::ServerDrain), hit(Kind::PathGrows));
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
        let path = rng.one_in(3).then(|| Path {
            delivery_rate: rng.between(10_000, 500_000_000),
            cwnd: rng.between(10_000, 1_000_000),
        });
        if grows {
            // Where nobody knows the round trip an answer must come within a second, so it has to stay below.
            let most = Duration::from_millis(if path.is_some() { 1_500 } else { 300 });
            (ab.grows, ba.grows) = (Some((since, most)), Some((since, most)));
        }
        let [client, server] = [0, 1].map(|at| SessionConfig { seed: rng.bits(), ..configs[at].clone() });
        Self {
            client: End::new(Role::Client, wire, client, &budgets[0], now),
            server: End::new(Role::Server, wire, server, &budgets[1], now),
            link: Duplex::new(ab, ba, &mut link_rng),
            dial_done: now + Duration::from_millis(rng.between(0, 200)),
            dial_fails,
            dialled: None,
            used: 0,
            most_uses: u32::MAX,
            most_streams: 256,
            refuses: false,
            given_up: false,
            empty_since: None,
            idle_since: None,
            fate: Fate::Fine,
            reported: false,
            fault: None,
            path,
            drain_at,
            drained_at: None,
            tight: wanted.contains(&Kind::TightMemory),
            server_streams: configs[1].limits.max_streams.map_or(256, u64::from),
            hostile,
            hostile_struck: false,
            kernel_gives_up: None,
            gave_up: false,
            wire,
        }
    }

    /// One of the ends.
    pub(crate) fn end(&mut self, half: Half) -> &mut End {
        match half {
            Half::Client => &mut self.client,
            Half::Server => &mut self.server,
        }
    }

    /// From now on flows on it may end early.
    pub(crate) fn taint(&mut self, fate: Fate) {
        if self.fate != Fate::Hostile {
            self.fate = fate;
        }
    }

    /// Bytes move, timers fire; whether anything happened.
    pub(crate) fn pump(&mut self, now: Instant) -> bool {
        let mut busy = self.drain(now) | self.misbehave(now);
        if self.kernel_gives_up.take_if(|at| *at <= now).is_some() {
            self.check_found(now);
            self.gave_up = true;
            self.link.ab.cut();
            self.link.ba.cut();
            busy = true;
        }
        let ends = [(&mut self.client, &mut self.link.ab), (&mut self.server, &mut self.link.ba)];
        for (end, link) in ends {
            match end.write(now, link) {
                Ok(more) => busy |= more,
                Err(what) => self.fault = Some(what.into()),
            }
        }
        self.link.settle();
        busy |= self.client.read(now, &mut self.link.ba);
        let before = (self.server.session.streams(), self.server.session.stats());
        busy |= self.server.read(now, &mut self.link.ab);
        self.check_refusals(before);
        self.link.settle();
        self.look(now);
        for end in [&mut self.client, &mut self.server] {
            if end.session.poll_timeout().is_some_and(|(at, _)| at <= now) {
                end.session.handle_timeout(now);
                busy = true;
                if end.session.poll_timeout().is_some_and(|(at, _)| at <= now) {
                    end.session.handle_timeout(now);
                    let again = end.session.poll_timeout().filter(|(at, _)| *at <= now);
                    self.fault = again.map(|(_, why)| format!("the deadline for {why} does not go away"));
                }
            }
            end.busy_since = (!end.running.is_empty()).then(|| end.busy_since.unwrap_or(now));
        }
        let clients = |id: &StreamId| self.wire == Wire::Classic || id.0 & 1 == 1;
        let idle = !self.client.running.iter().any(clients);
        let empty = self.server.session.streams() == 0;
        self.empty_since = empty.then(|| self.empty_since.unwrap_or(now));
        self.idle_since = idle.then(|| self.idle_since.unwrap_or(now));
        self.judge(now);
        busy
    }

    /// The server tells the connection to end.
    fn drain(&mut self, now: Instant) -> bool {
        // The classic wire can't say so, and a drained server's silence about new streams is their end.
        let limit = DRAIN_LIMIT;
        if self.drained_at.is_some_and(|at| at + limit <= now) {
            self.taint(Fate::Cut);
        }
        if self.drain_at.is_none_or(|at| at > now) {
            return false;
        }
        self.drain_at = None;
        if self.server.is_alive() {
            self.drained_at = Some(now);
            self.server.session.drain(now, Code::DRAIN, limit);
            if self.wire == Wire::Classic {
                self.taint(Fate::Cut);
            }
        }
        true
    }

    /// What the kernel knows about the path, ten times a second.
    fn look(&mut self, now: Instant) {
        let (Some(path), Some(dialled)) = (&self.path, self.dialled) else { return };
        let round_trip = |at| self.link.ab.delay(at) + self.link.ba.delay(at);
        for (end, link) in [(&mut self.client, &self.link.ab), (&mut self.server, &self.link.ba)] {
            if end.looked.is_some_and(|at| now - at < LOOK_EVERY) || !end.is_alive() {
                continue;
            }
            end.looked = Some(now);
            let (taken, unacked) = link.traffic(now);
            let info = PathInfo {
                rtt: round_trip(now),
                min_rtt: round_trip(dialled),
                delivery_rate: path.delivery_rate,
                cwnd: path.cwnd,
                unacked,
                bytes_acked: taken - unacked,
                notsent: 0,
                ca_loss: false,
            };
            end.session.handle_path(now, info);
        }
    }

    /// Nothing ends without a reason, and what has a reason to end does.
    fn judge(&mut self, now: Instant) {
        let worst = self.link.fired().find(|(_, fault)| !matches!(fault, Fault::Stall(_)));
        if let Some((_, fault)) = worst {
            self.taint(Fate::Cut);
            if fault == Fault::Vanish && self.kernel_gives_up.is_none() && !self.gave_up {
                self.kernel_gives_up = Some(now + KERNEL_PATIENCE);
            }
        }
        // The classic wire can't tell a refusal from an end either.
        if self.wire == Wire::Classic && self.server.session.stats().refused > 0 {
            self.taint(Fate::Cut);
        }
        let stood = self.link.fired().any(|(_, fault)| matches!(fault, Fault::Stall(_)));
        for (end, role) in [(&self.client, "client"), (&self.server, "server")] {
            // An end that is over takes its transport along, as a closed socket does.
            if let Some(cause) = end.session.closed().filter(|cause| !cause.is_orderly()) {
                let excused = stood && matches!(cause, ConnectionError::Dead { .. })
                    || self.tight && matches!(cause, ConnectionError::Memory { .. });
                if self.fate == Fate::Fine && !excused {
                    self.fault = Some(format!("the {role} ended a connection without a fault: {cause}"));
                }
                self.fate = if self.fate == Fate::Hostile { Fate::Hostile } else { Fate::Cut };
            }
            let patience = SECOND + SECOND / 5 + self.link.ab.delay(now) + self.link.ba.delay(now);
            let asked = end.asked.filter(|_| end.suspect && end.batch.is_empty());
            if self.wire == Wire::Remux2 && end.is_alive() && asked.is_some_and(|at| now - at > patience) {
                self.fault = Some(format!("the {role} slept, and does not know whether its peer is there"));
            }
            if end.is_alive() && end.waits_since.is_some_and(|since| now - since > STALL + SECOND) {
                self.fault = Some(format!("the {role} does not notice that its bytes go nowhere"));
            }
        }
        let idle = SERVER_IDLE + SECOND;
        if self.server.is_alive() && self.empty_since.is_some_and(|since| now - since > idle) {
            self.fault = Some("the server keeps a connection that nobody uses".into());
        }
        let patient = DRAIN_LIMIT + 15 * SECOND;
        if worst.is_none()
            && self.fate != Fate::Hostile
            && self.server.is_alive()
            && self.drained_at.is_some_and(|at| now - at > patient)
        {
            self.fault = Some("a drained connection goes on past its limit".into());
        }
    }

    /// A server refuses what is above its limit, and nothing else.
    fn check_refusals(&mut self, (streams, before): (usize, Stats)) {
        let after = self.server.session.stats();
        let most = streams as u64 + (after.accepted - before.accepted);
        let excused = self.tight || self.drained_at.is_some() || self.fate == Fate::Hostile;
        if after.refused > before.refused && most < self.server_streams && !excused {
            self.fault = Some(format!("the server refused a stream beside {most}"));
        }
    }

    /// A peer that answers nothing is found before the kernel finds it.
    fn check_found(&mut self, now: Instant) {
        let late = |end: &End| end.is_alive() && end.busy_since.is_some_and(|at| now - at > 45 * SECOND);
        if self.wire == Wire::Remux2
            && self.fate != Fate::Hostile
            && (late(&self.client) || late(&self.server))
        {
            self.fault = Some("a peer that is gone was not found".into());
        }
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
        if !self.gave_up {
            self.kernel_gives_up.get_or_insert(now + KERNEL_PATIENCE);
        }
        true
    }

    /// The kinds of faults that have struck its transport.
    pub(crate) fn struck(&self, now: Instant) -> Vec<Kind> {
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
        if self.path_grew(now) {
            kinds.push(Kind::PathGrows);
        }
        kinds
    }

    fn path_grew(&self, now: Instant) -> bool {
        let dialled = self.dialled.unwrap_or(now);
        self.link.ab.delay(now) > self.link.ab.delay(dialled) + Duration::from_millis(10)
    }

    /// Both ends know that it is over.
    pub(crate) fn is_over(&self) -> bool {
        self.client.over.is_some() && self.server.over.is_some()
    }

    /// What it holds although every stream has been let go of.
    pub(crate) fn left(&self) -> Option<String> {
        let ends = [&self.client, &self.server].map(|end| (end.session.streams(), end.session.charged()));
        let clean = ends.iter().all(|left| *left == (0, (0, 0))) || self.fate == Fate::Hostile;
        (!clean).then(|| format!("streams, or memory, are left at client or server: {ends:?}"))
    }

    /// When something happens on it next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.dialled.is_none() {
            return Some(self.dial_done);
        }
        let sessions = [&self.client, &self.server].into_iter().filter(|end| end.is_alive());
        let timers = sessions.filter_map(|end| end.session.poll_timeout()).map(|(at, _)| at);
        let hostile = self
            .hostile
            .as_ref()
            .map(|(_, at, _)| *at)
            .filter(|_| !self.client.closed && !self.server.closed);
        let links = [(&self.client, &self.link.ba), (&self.server, &self.link.ab)];
        let arrivals = links.into_iter().filter(|(end, _)| end.is_alive() && end.session.wants_read());
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

const SECOND: Duration = Duration::from_secs(1);
/// How long the server's drains last at most.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// Both ends' bound on writing nothing.
const STALL: Duration = Duration::from_secs(30);
/// After this the kernel gives up a path that swallows everything; the sessions have to be faster.
const KERNEL_PATIENCE: Duration = Duration::from_secs(90);
/// The server's bound on connections without streams.
const SERVER_IDLE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
