//! One simulated world: a client with its pool, a server, connections between them, flows over those.

mod conn;
mod flow;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use framing::{Host, Target};
use remux::pool::{self, Action, Pool, Proof, Ticket, Waiter};
use remux::session::{Event, Open, Recv, StreamId};
use remux::{Budget, Wire};
use simnet::Rng;

use conn::{Conn, Fate, Half};
use flow::Flow;

/// A kind of fault, counted when it struck.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// A transport broke at a byte.
    CutAtByte,
    /// A transport broke at an instant.
    CutInTime,
    /// A transport swallowed everything from some point on.
    BlackHole,
    /// A transport stood still for a while.
    Stall,
    /// A dial failed.
    DialFailure,
    /// A peer sent nonsense.
    HostilePeer,
    /// The server told a connection to end.
    ServerDrain,
    /// A reader took few bytes at a time.
    SlowReader,
    /// A reader took nothing for a while, with bytes waiting.
    StoppedReader,
    /// The client's side of a flow was reset.
    ClientReset,
    /// The server's side of a flow was reset.
    ServerReset,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::CutAtByte,
        Self::CutInTime,
        Self::BlackHole,
        Self::Stall,
        Self::DialFailure,
        Self::HostilePeer,
        Self::ServerDrain,
        Self::SlowReader,
        Self::StoppedReader,
        Self::ClientReset,
        Self::ServerReset,
    ];
}

/// Everything there is, and the time.
pub struct World {
    seed: u64,
    wire: Wire,
    rng: Rng,
    start: Instant,
    now: Instant,
    pool: Pool<String>,
    limits: pool::Config,
    conns: BTreeMap<Ticket, Conn>,
    gone: Vec<Ticket>,
    flows: Vec<Flow>,
    wanted: BTreeSet<Kind>,
    fired: BTreeSet<Kind>,
    budgets: [Arc<Budget>; 2],
    telling: bool,
    trace: DefaultHasher,
    steps: u64,
}

/// Nothing may last longer: the slowest honest end is a black hole found by silence, behind a stopped reader.
const LIMIT: Duration = Duration::from_secs(400);

impl World {
    /// The world of this seed.
    pub fn new(seed: u64, wire: Wire) -> Self {
        let mut rng = Rng::new(seed.wrapping_mul(2).wrapping_add(u64::from(wire == Wire::Classic)));
        let start = Instant::now();
        let mut wanted = BTreeSet::new();
        for _ in 0..rng.between(1, 3) {
            wanted.extend(rng.pick(&Kind::ALL));
        }
        let limits = pool::Config {
            limits: pool::Limits {
                max_age: Duration::from_millis(rng.between(50, 20_000)),
                max_count: u32::try_from(rng.between(1, 40)).unwrap(),
                max_streams: 256,
            },
            idle_max: Duration::from_millis(rng.between(10, 10_000)),
            max_connections: rng.size(8, 200),
            ..pool::Config::default()
        };
        // Small worlds are fast and find most; a few are large.
        let count = if rng.one_in(12) { rng.size(40, 200) } else { rng.size(1, 24) };
        let flows = (0..count).map(|index| Flow::plan(index, wire, &wanted, &mut rng)).collect();
        Self {
            seed,
            wire,
            start,
            now: start,
            pool: Pool::new(limits, rng.bits()),
            limits,
            conns: BTreeMap::new(),
            gone: Vec::new(),
            flows,
            wanted,
            fired: BTreeSet::new(),
            budgets: [Arc::new(Budget::default()), Arc::new(Budget::default())],
            telling: false,
            trace: DefaultHasher::new(),
            steps: 0,
            rng,
        }
    }

    /// The same world, printing what happens.
    pub fn telling(mut self) -> Self {
        self.telling = true;
        println!("{} flows, faults wanted: {:?}, {:?}", self.flows.len(), self.wanted, self.limits);
        self
    }

    /// Lives until nothing is left to do; the kinds of faults that struck.
    ///
    /// # Panics
    /// When a promise is broken; the message names the seed.
    pub fn run(mut self) -> Vec<Kind> {
        self.live();
        self.judge();
        self.fired.into_iter().collect()
    }

    /// A digest of everything that happened, for comparing two lives.
    pub fn trace(mut self) -> u64 {
        self.live();
        self.trace.finish()
    }

    fn live(&mut self) {
        loop {
            self.settle();
            if self.is_over() {
                return;
            }
            let next = self.next_instant();
            let Some(next) = next else { self.fail("nothing will ever happen again, and flows are left") };
            self.now = next.max(self.now);
            self.check(self.now <= self.start + LIMIT, "the world hangs");
            self.steps += 1;
            self.check(self.steps < 2_000_000, "the world spins");
        }
    }

    /// Lets everything happen that happens now.
    fn settle(&mut self) {
        let now = self.now;
        for round in 0.. {
            self.check(round < 100_000, "one instant never ends");
            let mut busy = false;
            if self.pool.poll_timeout().is_some_and(|(at, _)| at <= now) {
                self.pool.handle_timeout(now);
                busy = true;
            }
            for index in 0..self.flows.len() {
                if self.flows[index].wants_start(now, self.start) {
                    self.flows[index].asked = true;
                    self.pool.request(now, Waiter(index as u64));
                    busy = true;
                }
            }
            busy |= self.carry_out();
            let tickets: Vec<Ticket> = self.conns.keys().copied().collect();
            for ticket in tickets {
                busy |= self.step_conn(ticket);
            }
            busy |= self.step_flows();
            for ticket in std::mem::take(&mut self.gone) {
                self.conns.remove(&ticket);
            }
            if !busy {
                return;
            }
        }
    }

    fn carry_out(&mut self) -> bool {
        let mut busy = false;
        while let Some(action) = self.pool.poll_action() {
            busy = true;
            self.note(|| format!("pool: {action:?}"));
            match action {
                Action::Dial(ticket) => {
                    let mut rng = self.rng.fork();
                    let conn =
                        Conn::dial(self.now, self.start, self.wire, &self.wanted, &self.budgets, &mut rng);
                    self.conns.insert(ticket, conn);
                    let live = self.conns.values().filter(|conn| !conn.reported).count() - self.gone.len();
                    self.check(live <= self.limits.max_connections, "more connections than the cap");
                }
                Action::Use { waiter, ticket } => self.begin(waiter, ticket),
                Action::Drain(ticket) => {
                    if let Some(conn) = self.conns.get_mut(&ticket) {
                        conn.client.session.drain(self.now, framing::remux2::Code::DRAIN, Duration::MAX);
                    }
                }
                Action::Close { ticket, why } => self.close(ticket, &format!("{why:?}")),
                Action::Probe(ticket) => {
                    if let Some(conn) = self.conns.get_mut(&ticket) {
                        conn.client.session.handle_suspend(self.now);
                    }
                }
                Action::Fail { waiter, .. } => self.flows[usize::try_from(waiter.0).unwrap()].refuse(),
                other => panic!("unknown action {other:?}"),
            }
        }
        busy
    }

    fn begin(&mut self, waiter: Waiter, ticket: Ticket) {
        let now = self.now;
        let index = usize::try_from(waiter.0).unwrap();
        let Some(conn) = self.conns.get_mut(&ticket) else {
            self.pool.handle_open_failed(now, ticket);
            return self.flows[index].refuse();
        };
        let age = now - conn.dialled.unwrap_or(now);
        conn.used += 1;
        let (used, max) = (conn.used, self.limits.limits);
        self.check(age < max.max_age || used == 1, "a stream on a connection past its age");
        self.check(used <= max.max_count, "a stream on a connection past its count");
        let conn = self.conns.get_mut(&ticket).unwrap();
        let flow = &mut self.flows[index];
        let first = flow.client.take_first();
        let fin = self.wire == Wire::Remux2 && flow.client.wants_finish();
        let target = Target::new(Host::V4([192, 0, 2, 1].into()), u16::try_from(index + 1).unwrap());
        match conn.client.session.open(now, Open { first, fin, ..Open::connect(target) }) {
            Ok(id) => {
                flow.client.stream = Some((ticket, id));
                flow.client.finished |= fin;
                conn.client.flows.insert(id, index);
                flow.tainted |= conn.fate != Fate::Fine;
            }
            Err(_) => {
                flow.refuse();
                self.pool.handle_open_failed(now, ticket);
            }
        }
    }

    fn close(&mut self, ticket: Ticket, why: &str) {
        let now = self.now;
        if let Some(conn) = self.conns.get_mut(&ticket) {
            if conn.dialled.is_none() {
                self.gone.push(ticket);
            } else {
                conn.client.session.drain(now, framing::remux2::Code::DRAIN, Duration::ZERO);
                conn.taint(Fate::Cut);
                return;
            }
        }
        self.pool.handle_closed(now, ticket, why.to_owned());
    }

    /// One round of one connection; whether anything happened.
    fn step_conn(&mut self, ticket: Ticket) -> bool {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&ticket) else { return false };
        let mut busy = false;
        if conn.dialled.is_none() {
            if conn.dial_done > now || self.gone.contains(&ticket) {
                return false;
            }
            if conn.dial_fails {
                self.fired.insert(Kind::DialFailure);
                self.gone.push(ticket);
                self.pool.handle_dial_failed(now, ticket, "refused".into());
            } else {
                conn.dialled = Some(now);
                self.pool.handle_dialled(now, ticket, Proof::FirstByte);
            }
            return true;
        }
        busy |= conn.pump(now);
        self.fired.extend(conn.struck());
        let tainted = conn.fate != Fate::Fine;
        for half in [Half::Client, Half::Server] {
            while let Some(event) =
                self.conns.get_mut(&ticket).and_then(|conn| conn.end(half).session.poll_event())
            {
                busy = true;
                self.handle(ticket, half, event);
            }
        }
        let conn = self.conns.get_mut(&ticket).unwrap();
        if tainted {
            for end in [&conn.client, &conn.server] {
                for index in end.flows.values() {
                    self.flows[*index].tainted = true;
                }
            }
        }
        if conn.is_over() && !conn.reported {
            conn.reported = true;
            self.pool.handle_closed(now, ticket, "over".into());
            busy = true;
        }
        // What was received can still be read: a connection stays until its flows have let go.
        if conn.reported && conn.client.flows.is_empty() && conn.server.flows.is_empty() {
            self.gone.push(ticket);
            busy = true;
        }
        busy
    }

    fn handle(&mut self, ticket: Ticket, half: Half, event: Event) {
        let now = self.now;
        self.note(|| format!("{ticket:?} {half:?}: {event:?}"));
        let conn = self.conns.get_mut(&ticket).unwrap();
        match event {
            Event::Incoming { id, open } => {
                // A hostile peer opens what it likes; nobody wants it.
                let index = open.target.map_or(0, |target| usize::from(target.port));
                let known = half == Half::Server && conn.fate != Fate::Hostile;
                let Some(flow) = index.checked_sub(1).and_then(|i| self.flows.get_mut(i)).filter(|_| known)
                else {
                    return conn.end(half).session.forget(now, id);
                };
                if flow.server.stream.is_some() {
                    self.fail("one request was served twice");
                }
                flow.server.stream = Some((ticket, id));
                conn.server.flows.insert(id, index - 1);
            }
            Event::FirstByte if half == Half::Client => self.pool.handle_first_byte(now, ticket),
            Event::Suspect if half == Half::Client => self.pool.handle_suspect(now, ticket),
            Event::Alive if half == Half::Client => self.pool.handle_alive(now, ticket),
            Event::PeerDraining { .. } if half == Half::Client => {
                self.fired.insert(Kind::ServerDrain);
                self.pool.handle_draining(now, ticket);
            }
            Event::Closed(cause) => {
                conn.end(half).over = Some(cause);
            }
            _ => {}
        }
    }

    /// Every flow reads, writes, finishes and resets as it is planned to.
    fn step_flows(&mut self) -> bool {
        let now = self.now;
        let mut busy = false;
        for index in 0..self.flows.len() {
            for half in [Half::Client, Half::Server] {
                busy |= self.step_side(index, half, now);
            }
        }
        busy
    }

    fn step_side(&mut self, index: usize, half: Half, now: Instant) -> bool {
        let flow = &mut self.flows[index];
        let up_received = flow.server.received;
        let (up, classic) = (flow.client.planned, self.wire == Wire::Classic);
        let side = flow.side(half);
        let Some((ticket, id)) = side.stream else { return false };
        if side.released {
            return false;
        }
        let Some(conn) = self.conns.get_mut(&ticket) else {
            side.released = true;
            return true;
        };
        let session = &mut conn.end(half).session;
        let mut busy = false;
        // Write.
        if !side.may_write() {
            // Waits for the other side's end of input.
        } else if side.reset_at.is_some_and(|at| side.sent >= at) && side.failed.is_none() && !side.reset {
            side.reset = true;
            session.reset(now, id, framing::remux2::Code::CANCEL, "planned");
            self.fired.insert(if half == Half::Client { Kind::ClientReset } else { Kind::ServerReset });
            busy = true;
        } else if side.failed.is_none() && !side.reset {
            match session.send_room(id) {
                Ok(0) => {}
                Ok(room) => {
                    if let Some(chunk) = side.next_chunk(room) {
                        session.send(now, id, chunk).unwrap();
                        busy = true;
                    }
                }
                Err(_) if side.finished => {}
                Err(error) => {
                    side.failed = Some(error.to_string());
                    busy = true;
                }
            }
            // On the classic wire the server's end is the end of both: it waits until it has everything.
            let patient = classic && half == Half::Server && up_received < up;
            if side.wants_finish() && !side.finished && !patient && side.failed.is_none() {
                side.finished = true;
                session.finish(now, id);
                busy = true;
            }
        }
        // Read.
        if side.may_read(now) {
            let side = flow.side(half);
            match session.recv(now, id) {
                Recv::Data(bytes) => {
                    let length = bytes.len();
                    let wrong = side.receive(&bytes);
                    session.release(now, id, length);
                    if let Some(kind) = side.after_read(now) {
                        self.fired.insert(kind);
                    }
                    let hostile = conn.fate == Fate::Hostile;
                    length.hash(&mut self.trace);
                    if let Some(wrong) = wrong
                        && !hostile
                    {
                        self.fail(&format!("flow {index}, {half:?}: {wrong}"));
                    }
                    return true;
                }
                Recv::Fin if !side.fin => {
                    side.fin = true;
                    busy = true;
                }
                Recv::Fin | Recv::Wait => {}
                Recv::Failed(error) if side.failed.is_none() => {
                    side.failed = Some(error.to_string());
                    busy = true;
                }
                Recv::Failed(_) => {}
            }
        }
        let side = flow.side(half);
        if side.is_done(classic) {
            side.released = true;
            session.forget(now, id);
            conn.end(half).flows.remove(&id);
            if half == Half::Client {
                self.pool.handle_stream_ended(now, ticket);
            }
            return true;
        }
        busy
    }

    fn is_over(&self) -> bool {
        self.flows.iter().all(Flow::is_over) && self.conns.values().all(|conn| conn.is_idle())
    }

    fn next_instant(&self) -> Option<Instant> {
        let now = self.now;
        let pool = self.pool.poll_timeout().map(|(at, _)| at);
        let conns = self.conns.values().filter_map(Conn::poll_timeout);
        let flows = self.flows.iter().filter_map(|flow| flow.poll_timeout(now, self.start));
        conns.chain(pool).chain(flows).min()
    }

    /// The promises, after the end.
    fn judge(&mut self) {
        for index in 0..self.flows.len() {
            let flow = &self.flows[index];
            let clean = !flow.tainted && !flow.refused && flow.reset_is_planned().is_none();
            for (side, other) in [(&flow.client, &flow.server), (&flow.server, &flow.client)] {
                if side.fin {
                    // The classic wire can't tell an end from an abort.
                    let excused =
                        self.wire == Wire::Classic && (other.reset || other.failed.is_some() || flow.tainted);
                    self.check(
                        side.received == other.planned || excused || flow.hostile(),
                        &format!(
                            "flow {index}: a clean end after {} of {} bytes",
                            side.received, other.planned
                        ),
                    );
                }
                if clean {
                    let what = format!("flow {index} ended early without a reason: {flow:?}");
                    self.check(side.fin && side.received == other.planned, &what);
                }
            }
        }
        for conn in self.conns.values() {
            let left = (conn.client.session.streams(), conn.server.session.streams());
            self.check(left == (0, 0) || conn.fate == Fate::Hostile, &format!("streams are left: {left:?}"));
        }
        self.conns.clear();
        for budget in &self.budgets {
            self.check(
                budget.held().0 == 0 && budget.growth().0 == 0,
                &format!("memory is left: {budget:?}"),
            );
        }
    }

    fn check(&self, fact: bool, what: &str) {
        if !fact {
            self.fail(what);
        }
    }

    fn fail(&self, what: &str) -> ! {
        for (index, flow) in self.flows.iter().enumerate().filter(|(_, flow)| self.telling && !flow.is_over())
        {
            println!("left: {index}: {flow:#?}");
        }
        panic!(
            "seed {} on {}, {:?} in: {what}\nreplay: REMUX_SEED={} cargo test -p remux --test simulation no_world -- --nocapture",
            self.seed,
            self.wire.name(),
            self.now - self.start,
            self.seed
        )
    }

    fn note(&self, what: impl FnOnce() -> String) {
        if self.telling {
            println!("{:>12?} {}", self.now - self.start, what());
        }
    }
}

/// Where a side is.
pub type Place = Option<(Ticket, StreamId)>;
