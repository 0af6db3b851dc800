//! One simulated world: a client with its pool, a server, connections between them, flows over those, and who attacks.

mod app;
pub(crate) mod attack;
pub(crate) mod conn;
mod dialer;
mod end;
mod filter;
pub(crate) mod flow;
mod judge;
mod kind;
pub(crate) mod plan;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher};
use std::time::{Duration, Instant};

use remux::pool::{self, Pool, Ticket};
use remux::session::{Event, Stats, StreamId};
use remux::{ConnectionError, Stage, Wire};
use simnet::{Host, Rng};

use app::{Held, Queued};
use attack::{ATTACKER, Attacker};
use conn::{Conn, Fate, Half};
use flow::Flow;
pub(crate) use kind::Kind;
use plan::Plan;

/// Everything there is, and the time.
pub(crate) struct World {
    plan: Plan,
    wire: Wire,
    rng: Rng,
    start: Instant,
    now: Instant,
    pool: Pool<String>,
    conns: BTreeMap<Ticket, Conn>,
    /// Connections dialled so far.
    dials: usize,
    /// When the last dial failed, unless one has been good since.
    failed: Option<Instant>,
    gone: Vec<Ticket>,
    flows: Vec<Flow>,
    /// Requests the server has not looked at yet.
    queued: Vec<Queued>,
    /// Streams of attackers behind which something runs.
    held: Vec<Held>,
    reloads: Vec<Instant>,
    wakes: Vec<Instant>,
    fired: BTreeSet<Kind>,
    /// Figures of this life, added up over all of them.
    tally: BTreeMap<&'static str, u64>,
    /// Something has happened for which a request may fail.
    trouble: bool,
    /// Until when the server is busy.
    busy_until: Instant,
    turn: usize,
    telling: bool,
    trace: DefaultHasher,
    steps: u64,
    polls: u64,
    given_up: u64,
    attackers: Vec<(Attacker, Stats)>,
    events: Vec<u64>,
}

/// Where a side is.
pub(crate) type Place = Option<(Ticket, StreamId)>;

/// What is left of a world: what struck, what was counted, and what became of its flows.
pub(crate) struct Life {
    pub(crate) struck: BTreeSet<Kind>,
    pub(crate) tally: BTreeMap<&'static str, u64>,
    pub(crate) flows: Vec<Flow>,
    /// A digest of everything that happened, for comparing two lives.
    pub(crate) trace: u64,
    /// Who attacked, and what the server counted meanwhile.
    pub(crate) attackers: Vec<(Attacker, Stats)>,
    /// How many things happened on each connection, in the order in which they were dialled.
    pub(crate) events: Vec<u64>,
    /// How many deadlines were acted on.
    pub(crate) polls: u64,
    /// Connections an end called dead.
    pub(crate) given_up: u64,
}

impl World {
    /// The world as planned, a moment before it begins.
    pub(crate) fn new(mut plan: Plan) -> Self {
        let (start, wire) = (plan.start, plan.wire);
        let mut rng = plan.rng.fork();
        let mut world = Self {
            wire,
            start,
            now: start,
            pool: Pool::new(plan.pool, rng.bits()),
            conns: BTreeMap::new(),
            dials: 0,
            failed: None,
            gone: Vec::new(),
            flows: std::mem::take(&mut plan.flows),
            queued: Vec::new(),
            held: Vec::new(),
            reloads: plan.reloads.iter().map(|at| start + *at).collect(),
            wakes: plan.wakes.iter().map(|at| start + *at).collect(),
            fired: BTreeSet::new(),
            tally: BTreeMap::new(),
            trouble: plan.wanted.contains(&Kind::TightMemory)
                || !plan.partitions.is_empty()
                || plan.hosts.iter().any(|host| host.poll_timeout(start).is_some()),
            busy_until: start,
            turn: 0,
            telling: false,
            trace: DefaultHasher::new(),
            steps: 0,
            polls: 0,
            given_up: 0,
            attackers: Vec::new(),
            events: Vec::new(),
            rng,
            plan,
        };
        let mut rng = world.rng.fork();
        for (n, (tactic, begins, streams)) in world.plan.attacks.clone().into_iter().enumerate() {
            let attacker = Attacker::new(tactic, start + begins, streams, rng.fork());
            let conn = Conn::attack(start, &world.plan, attacker, &mut rng);
            world.conns.insert(Ticket(ATTACKERS + n as u64), conn);
        }
        world
    }

    /// The same world, printing what happens.
    pub(crate) fn telling(mut self, tells: bool) -> Self {
        self.telling = tells;
        self.note(|| format!("{} flows, {:?}, {:?}", self.flows.len(), self.plan.wanted, self.plan.pool));
        self
    }

    /// Lives until nothing is left to do.
    ///
    /// # Panics
    /// When a promise is broken; the message names the seed.
    pub(crate) fn live(mut self) -> Life {
        loop {
            self.settle();
            if self.flows.iter().all(Flow::is_over) && self.conns.is_empty() {
                break;
            }
            let next = self.next_instant();
            let Some(next) = next else { self.fail("nothing will ever happen again, and something is left") };
            self.now = next.max(self.now);
            self.check(self.now <= self.start + self.plan.limit, "the world hangs");
            self.steps += 1;
            self.check(self.steps < 400_000, "the world spins");
        }
        self.judge();
        Life {
            struck: self.fired,
            tally: self.tally,
            flows: self.flows,
            trace: self.trace.finish(),
            attackers: self.attackers,
            events: self.events,
            polls: self.polls,
            given_up: self.given_up,
        }
    }

    /// Lets everything happen that happens now.
    fn settle(&mut self) {
        for round in 0.. {
            self.check(round < 100_000, "one instant never ends");
            self.turn = if self.plan.shuffles {
                self.rng.size(0, 1 << 20)
            } else if self.plan.frame_cost.is_zero() {
                0
            } else {
                // Nobody is always the first to be served by a busy server.
                self.turn + 2
            };
            if self.plan.hosts.iter().any(|host| !host.is_awake(self.now)) {
                self.fired.insert(Kind::Sleep);
            }
            let mut busy = self.step_pool();
            busy |= self.step_server();
            for at in 0..self.flows.len() {
                let index = self.place(at, self.flows.len());
                if self.flows[index].wants_start(self.now, self.start)
                    && self.is_awake(self.flows[index].opener)
                {
                    self.ask(index);
                    busy = true;
                }
            }
            let tickets: Vec<Ticket> = self.conns.keys().copied().collect();
            for at in 0..tickets.len() {
                busy |= self.step_conn(tickets[self.place(at, tickets.len())]);
            }
            busy |= self.step_flows();
            for ticket in std::mem::take(&mut self.gone) {
                self.bury(ticket);
            }
            if !busy {
                return self.check_budget(true);
            }
        }
    }

    fn step_pool(&mut self) -> bool {
        let now = self.now;
        if !self.is_awake(Half::Client) {
            return false;
        }
        let mut busy = false;
        let late = self.plan.late;
        if self.pool_timeout().is_some_and(|at| at + late <= now) {
            self.pool.handle_timeout(self.clock(Half::Client));
            self.polls += 1;
            busy = true;
        }
        if self.wakes.iter().any(|at| *at <= now) {
            self.wakes.retain(|at| *at > now);
            self.pool.handle_wake(self.clock(Half::Client));
            busy = true;
        }
        busy | self.carry_out()
    }

    /// Who of `length` has its turn as the `at`th.
    const fn place(&self, at: usize, length: usize) -> usize {
        let place = (self.turn.wrapping_add(at)) % length;
        // A stride of minus one is as good as one, and never visits anybody twice.
        if self.turn & 1 == 0 { place } else { length - 1 - place }
    }

    /// One round of one connection; whether anything happened.
    fn step_conn(&mut self, ticket: Ticket) -> bool {
        let now = self.now;
        let full = self.is_full_for_attackers();
        let Some(conn) = self.conns.get_mut(&ticket) else { return false };
        let mut busy = false;
        if conn.dialled.is_none() {
            if conn.dial_done > now || self.gone.contains(&ticket) || !conn.client.host.is_awake(now) {
                return false;
            }
            self.end_dial(ticket);
            return true;
        }
        let was_suspect = [Half::Client, Half::Server].map(|half| conn.end(half).suspect);
        let Stats { frames_in: frames, accepted, .. } = conn.server.session.stats();
        let costs = !self.plan.frame_cost.is_zero();
        let pieces = if !costs { usize::MAX } else { usize::from(self.busy_until <= now) };
        busy |= conn.pump(now, pieces);
        if costs {
            let work = u32::try_from(conn.server.session.stats().frames_in - frames).unwrap();
            self.busy_until = self.busy_until.max(now) + self.plan.frame_cost * work;
        }
        let full = full && self.is_full_for_attackers();
        let conn = self.conns.get_mut(&ticket).unwrap();
        let more = conn.server.session.stats().accepted > accepted;
        let attacks = conn.attacker.is_some();
        self.fired.extend(conn.struck(now));
        if let Some(attacker) = &mut conn.attacker {
            attacker.look(now, &conn.server);
        }
        let tainted = conn.fate != Fate::Fine;
        self.trouble |= tainted && conn.attacker.is_none();
        let idle = conn.idle_since.filter(|_| !conn.given_up && conn.client.over.is_none());
        if let Some(fault) = conn.fault.take() {
            self.fail(&format!("{ticket:?}: {fault}"));
        }
        let most = self.plan.pool.idle_max + Duration::from_millis(100);
        if idle.is_some_and(|since| self.passed(since) > most) && self.is_rested(Half::Client) {
            self.fail("a connection without streams stays");
        }
        for (half, was_suspect) in [Half::Client, Half::Server].into_iter().zip(was_suspect) {
            let mut cleared = !was_suspect;
            while let Some(event) = self.next_event(ticket, half) {
                busy = true;
                cleared |= event == Event::Alive;
                self.handle(ticket, half, event);
            }
            let end = self.conns.get_mut(&ticket).unwrap().end(half);
            let heard = std::mem::take(&mut end.heard) && end.over.is_none();
            self.check(cleared || !heard, "a peer that was heard is still suspect");
        }
        let conn = self.conns.get_mut(&ticket).unwrap();
        if tainted {
            for index in conn.client.flows.values().chain(conn.server.flows.values()) {
                self.flows[*index].tainted = true;
            }
        }
        // An attacker that fills windows gives nothing back that could have made room in between.
        let fills = self.plan.watches_budget && attacks;
        self.check(!(full && more && fills), "a stream was accepted with no room for it");
        self.look_at_memory();
        let conn = self.conns.get_mut(&ticket).unwrap();
        if conn.is_over() && !conn.reported {
            conn.reported = true;
            if conn.attacker.is_none() {
                self.pool.handle_closed(self.plan.hosts[0].local(now), ticket, "over".into());
                self.carry_out();
            }
            busy = true;
        }
        // What was received can still be read: a connection stays until its flows have let go.
        let conn = self.conns.get_mut(&ticket).unwrap();
        let queued = self.queued.iter().any(|queued| queued.ticket == ticket);
        if conn.reported && conn.client.flows.is_empty() && conn.server.flows.is_empty() && !queued {
            if let Some(left) = conn.left() {
                self.fail(&left);
            }
            self.gone.push(ticket);
            busy = true;
        }
        busy
    }

    /// Whether those who attack have their share of the server's memory.
    fn is_full_for_attackers(&self) -> bool {
        self.plan.budgets[1].account(Some(ATTACKER)).stage() >= Stage::NoOpens
    }

    fn next_event(&mut self, ticket: Ticket, half: Half) -> Option<Event> {
        self.conns.get_mut(&ticket)?.end(half).session.poll_event()
    }

    fn look_at_memory(&mut self) {
        self.note_stage();
        let wanted = self.plan.wanted.contains(&Kind::TightMemory);
        if wanted && self.plan.budgets.iter().any(|budget| budget.stage() > Stage::Plenty) {
            self.fired.insert(Kind::TightMemory);
        }
    }

    fn bury(&mut self, ticket: Ticket) {
        let Some(conn) = self.conns.remove(&ticket) else { return };
        if let Some(nth) = conn.nth {
            self.events[nth] = conn.count.events;
        }
        self.polls += conn.count.polls;
        let dead = [&conn.client, &conn.server]
            .into_iter()
            .any(|end| matches!(end.over, Some(ConnectionError::Dead { .. })));
        self.given_up += u64::from(dead);
        if let Some(filter) = &conn.server.filter {
            self.count("answers lost", filter.dropped);
        }
        if let Some(attacker) = conn.attacker {
            self.attackers.push((attacker, conn.server.session.stats()));
        }
    }

    fn handle(&mut self, ticket: Ticket, half: Half, event: Event) {
        let clock = self.clock(Half::Client);
        self.note(|| format!("{ticket:?} {half:?}: {event:?}"));
        let conn = self.conns.get_mut(&ticket).unwrap();
        conn.tick(self.now);
        match event {
            Event::Incoming { id, open } => return self.handle_incoming(ticket, half, id, open),
            Event::Opened { id, opened } => {
                if let Some(index) = conn.end(half).flows.get(&id).copied() {
                    self.flows[index].opened += 1;
                    let right = usize::try_from(opened.dial_us).is_ok_and(|n| n == index);
                    let hostile = conn.fate == Fate::Hostile;
                    self.check(right || hostile, "the answer to another request");
                }
            }
            Event::Readable(id) | Event::Writable(id) | Event::Ended { id, .. } => {
                let end = conn.end(half);
                if let Some(index) = end.flows.get(&id) {
                    let side = self.flows[*index].side(half);
                    if let Event::Ended { end, .. } = &event {
                        side.came = end.bytes_in;
                    }
                    side.waits_to_read &= matches!(event, Event::Writable(_));
                    side.waits_to_write &= matches!(event, Event::Readable(_));
                }
                let ended = matches!(event, Event::Ended { .. }) && end.running.remove(&id);
                if ended && half == Half::Client && is_clients(self.wire, id) {
                    self.pool.handle_stream_ended(clock, ticket);
                }
            }
            Event::Suspect => {
                conn.end(half).suspect = true;
                if half == Half::Client {
                    self.pool.handle_suspect(clock, ticket);
                }
            }
            Event::Alive => {
                conn.end(half).suspect = false;
                conn.end(half).asked = None;
                if half == Half::Client {
                    self.pool.handle_alive(clock, ticket);
                }
            }
            Event::FirstByte if half == Half::Client => {
                conn.proven = true;
                self.failed = None;
                self.pool.handle_first_byte(clock, ticket);
            }
            Event::PeerLimits { max_age, max_reuse, max_streams } if half == Half::Client => {
                conn.most_uses = max_reuse.max(1);
                conn.most_streams = usize::try_from(max_streams).unwrap();
                let limits = pool::Limits { max_age, max_count: max_reuse, max_streams };
                self.pool.handle_limits(clock, ticket, limits);
            }
            Event::PeerDraining { .. } if half == Half::Client => {
                self.fired.insert(Kind::ServerDrain);
                conn.refuses = true;
                self.pool.handle_draining(clock, ticket);
            }
            Event::Closed(cause) => {
                let shed = half == Half::Server && matches!(cause, ConnectionError::Memory { .. });
                let honest = conn.attacker.is_none();
                conn.end(half).over = Some(cause);
                self.count("honest connections shed", u64::from(shed && honest));
            }
            _ => {}
        }
        self.carry_out();
    }

    fn next_instant(&self) -> Option<Instant> {
        let now = self.now;
        let hosts = &self.plan.hosts;
        let client = |at: Instant| hosts[0].awake_from(at.max(now));
        let pool = self.pool_timeout().map(|at| client(at + self.plan.late));
        let conns = self.conns.values().filter_map(|conn| conn.poll_timeout(now, self.busy_until));
        let flows = self.flows.iter().filter_map(|flow| flow.poll_timeout(now, self.start, hosts));
        let queued = self.queued.iter().map(|queued| hosts[1].awake_from(queued.until.max(now)));
        let held = self.held.iter().map(|held| held.until);
        let wakes = self.wakes.iter().map(|at| client(*at));
        let reloads = self.reloads.iter().copied();
        let hosts = hosts.iter().filter_map(|host| host.poll_timeout(now));
        conns
            .chain(pool)
            .chain(flows)
            .chain(queued)
            .chain(held)
            .chain(wakes)
            .chain(reloads)
            .chain(hosts)
            .min()
    }

    fn pool_timeout(&self) -> Option<Instant> {
        self.pool.poll_timeout().map(|(at, _)| self.plan.hosts[0].world(at))
    }

    fn host(&self, half: Half) -> &Host {
        &self.plan.hosts[half as usize]
    }

    /// What that machine's clock shows.
    fn clock(&self, half: Half) -> Instant {
        self.host(half).local(self.now)
    }

    /// Time since then on the client's clock.
    fn passed(&self, since: Instant) -> Duration {
        self.clock(Half::Client) - self.host(Half::Client).local(since)
    }

    fn is_awake(&self, half: Half) -> bool {
        self.host(half).is_awake(self.now)
    }

    /// Awake, and not only just.
    fn is_rested(&self, half: Half) -> bool {
        let second = Duration::from_secs(1);
        self.is_awake(half) && self.host(half).is_awake(self.now.checked_sub(second).unwrap_or(self.now))
    }

    fn note(&self, what: impl FnOnce() -> String) {
        if self.telling {
            println!("{:>12?} {}", self.now - self.start, what());
        }
    }

    fn count(&mut self, what: &'static str, n: u64) {
        *self.tally.entry(what).or_default() += n;
    }
}

/// Whether the client opened the stream.
const fn is_clients(wire: Wire, id: StreamId) -> bool {
    matches!(wire, Wire::Classic) || id.0 & 1 == 1
}

/// Tickets of connections that no pool knows.
const ATTACKERS: u64 = 1 << 40;
