//! Two sessions and the transport between them, moved as a driver moves them: write, read, look at the path, timers.

use std::time::{Duration, Instant};

use framing::remux2::Code;
use remux::session::PathInfo;
use remux::{Role, SessionConfig, Wire};
use simnet::{Duplex, Fault, Rng, Trigger};

use super::Kind;
use super::attack::{ATTACKER, Attacker, nonsense};
use super::end::{Count, End};
use super::filter::Filter;
use super::plan::Plan;

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

/// How the path under a connection looks to the kernel.
pub(super) struct Path {
    delivery_rate: u64,
    cwnd: u64,
}

/// A connection with its transport.
pub(crate) struct Conn {
    pub(crate) client: End,
    pub(crate) server: End,
    pub(super) link: Duplex,
    /// When its dial began, and when that is over.
    pub(crate) began: Instant,
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
    /// The server has said something.
    pub(crate) proven: bool,
    /// Since when the server has no stream on it.
    pub(super) empty_since: Option<Instant>,
    /// Since when it carries no stream of the client's.
    pub(crate) idle_since: Option<Instant>,
    pub(crate) fate: Fate,
    /// The pool knows that it is over.
    pub(crate) reported: bool,
    /// A promise it broke.
    pub(crate) fault: Option<String>,
    pub(super) path: Option<Path>,
    pub(super) drain_at: Option<Instant>,
    pub(super) drained_at: Option<Instant>,
    pub(super) tight: bool,
    /// Streams the server carries at a time.
    pub(super) server_streams: u64,
    pub(super) hostile: Option<(Half, Instant, Rng)>,
    pub(super) hostile_struck: bool,
    /// Which one of those the pool dialled, the first is 0.
    pub(super) nth: Option<usize>,
    /// Who sits at the client's end instead of a session.
    pub(crate) attacker: Option<Attacker>,
    /// What has happened on it, and where it breaks.
    pub(crate) count: Count,
    /// Clocks differ by so much that times are three halves of what they should be at most.
    pub(super) lenient: bool,
    /// Its ends have to find out in time that nothing comes through.
    pub(super) partitions: bool,
    /// Its requests wait on the server before they are looked at.
    pub(super) queues: bool,
    /// The kernel gives a swallowing path up, or a hostile peer goes away, at this time.
    pub(super) kernel_gives_up: Option<Instant>,
    pub(super) gave_up: bool,
    pub(super) wire: Wire,
    configs: [SessionConfig; 2],
}

impl Conn {
    /// A dial begins, the `nth` of its world; faults are drawn among the wanted.
    pub(crate) fn dial(now: Instant, start: Instant, plan: &Plan, nth: usize, rng: &mut Rng) -> Self {
        let wanted = &plan.wanted;
        let (mut ab, mut ba) = (plan.links.draw(rng), plan.links.draw(rng));
        // One in a few connections is struck, so that others go on beside it.
        let mut hit = |kind: Kind| wanted.contains(&kind) && rng.one_in(plan.odds);
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
        let drain_at = drains.then(|| soon(rng, plan.drain_within));
        let hostile = hostile.then(|| {
            let half = if rng.one_in(2) { Half::Client } else { Half::Server };
            (half, soon(rng, 1_000), rng.fork())
        });
        let path = rng.one_in(plan.links.unknown).then(|| Path {
            delivery_rate: rng.between(10_000, 500_000_000),
            cwnd: rng.between(10_000, 1_000_000),
        });
        if grows {
            // Where nobody knows the round trip an answer must come within a second, so it has to stay below.
            let most = Duration::from_millis(if path.is_some() { 1_500 } else { 300 });
            (ab.grows, ba.grows) = (Some((since, most)), Some((since, most)));
        }
        let mut dial_done = now + Duration::from_millis(rng.between(0, plan.links.dial));
        let mut hopeless = false;
        for partition in &plan.partitions {
            let (from, until) = (start + partition.at, start + partition.at + partition.time);
            let link = if partition.half == Half::Client { &mut ab } else { &mut ba };
            if until > now {
                let begins = from.max(now);
                link.faults.push((Trigger::At(begins), Fault::Stall(until - begins)));
            }
            if from <= dial_done && now < until {
                // The kernel asks again after a second, and again after two more; nobody waits longer.
                let patience = now + 3 * SECOND;
                hopeless |= until > patience;
                dial_done =
                    if hopeless { patience } else { until + Duration::from_millis(rng.between(0, 1_000)) };
            }
        }
        let configs = &plan.configs;
        let configs = [0, 1].map(|at| SessionConfig { seed: rng.bits(), ..configs[at].clone() });
        let [client, server] = configs.clone();
        let mut conn = Self {
            client: End::new(
                Role::Client,
                plan.wire,
                client,
                plan.account(Half::Client),
                &plan.hosts[0],
                now,
            ),
            server: End::new(
                Role::Server,
                plan.wire,
                server,
                plan.account(Half::Server),
                &plan.hosts[1],
                now,
            ),
            link: Duplex::new(ab, ba, &mut link_rng),
            began: now,
            dial_done,
            dial_fails: dial_fails || hopeless,
            dialled: None,
            used: 0,
            most_uses: u32::MAX,
            most_streams: 256,
            refuses: false,
            given_up: false,
            proven: false,
            empty_since: None,
            idle_since: None,
            fate: Fate::Fine,
            reported: false,
            fault: None,
            path,
            drain_at,
            drained_at: None,
            tight: wanted.contains(&Kind::TightMemory) || plan.watches_budget,
            server_streams: configs[1].limits.max_streams.map_or(256, u64::from),
            hostile,
            hostile_struck: false,
            nth: Some(nth),
            attacker: None,
            count: Count::default(),
            lenient: plan.lenient,
            partitions: !plan.partitions.is_empty() && plan.wire == Wire::Remux2,
            queues: plan.queue > Duration::ZERO,
            kernel_gives_up: None,
            gave_up: false,
            wire: plan.wire,
            configs,
        };
        conn.count.strike =
            plan.cut.and_then(|(which, event, fault)| (which == nth).then_some((event, fault)));
        conn
    }

    /// The dial was good: both ends begin.
    pub(crate) fn begin(&mut self, now: Instant, plan: &Plan) {
        self.dialled = Some(now);
        let [client, server] = self.configs.clone();
        let [near, far] = [Half::Client, Half::Server].map(|half| plan.account(half));
        self.client = End::new(Role::Client, plan.wire, client, near, &plan.hosts[0], now);
        self.server = End::new(Role::Server, plan.wire, server, far, &plan.hosts[1], now);
        self.server.filter = (plan.loses_answers && plan.wire == Wire::Remux2).then(Filter::default);
    }

    /// Somebody else than our client sits at its end; the pool knows nothing of it.
    pub(crate) fn attack(now: Instant, plan: &Plan, attacker: Attacker, rng: &mut Rng) -> Self {
        let quiet = Plan { links: plan.links.clone(), ..Plan::quiet(plan.seed, plan.wire, plan.start) };
        let quiet = Plan {
            configs: plan.configs.clone(),
            budgets: plan.budgets.clone(),
            identity: ATTACKER,
            ..quiet
        };
        let mut conn = Self::dial(now, plan.start, &quiet, usize::MAX, rng);
        conn.dialled = Some(now);
        conn.fate = Fate::Hostile;
        (conn.nth, conn.attacker) = (None, Some(attacker));
        conn
    }

    /// One of the ends.
    pub(crate) fn end(&mut self, half: Half) -> &mut End {
        match half {
            Half::Client => &mut self.client,
            Half::Server => &mut self.server,
        }
    }

    /// Something happened at one of its ends.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.count.event(now, &mut self.link.ab);
        self.link.settle();
    }

    /// From now on flows on it may end early.
    pub(crate) fn taint(&mut self, fate: Fate) {
        if self.fate != Fate::Hostile {
            self.fate = fate;
        }
    }

    /// Bytes move, timers fire; whether anything happened. The server reads at most `pieces` pieces.
    pub(crate) fn pump(&mut self, now: Instant, pieces: usize) -> bool {
        let awake = [self.client.host.is_awake(now), self.server.host.is_awake(now)];
        self.link.ab.advance(now);
        self.link.ba.advance(now);
        let mut busy = self.misbehave(now);
        if awake[1] {
            busy |= self.drain(now);
        }
        if self.kernel_gives_up.take_if(|at| *at <= now).is_some() {
            self.check_found(now);
            self.gave_up = true;
            self.link.ab.cut();
            self.link.ba.cut();
            busy = true;
        }
        let count = &mut self.count;
        let ends = [(&mut self.client, &mut self.link.ab), (&mut self.server, &mut self.link.ba)];
        for (at, (end, link)) in ends.into_iter().enumerate() {
            if !awake[at] || at == 0 && self.attacker.is_some() {
                continue;
            }
            match end.write(now, link, count) {
                Ok(more) => busy |= more,
                Err(what) => self.fault = Some(what.into()),
            }
        }
        self.link.settle();
        match &mut self.attacker {
            Some(attacker) => busy |= attacker.read(now, &mut self.link.ba, &mut self.client),
            None if awake[0] => busy |= self.client.read(now, &mut self.link.ba, usize::MAX, &mut self.count),
            None => {}
        }
        if awake[1] {
            let before = (self.server.session.streams(), self.server.session.stats());
            busy |= self.server.read(now, &mut self.link.ab, pieces, &mut self.count);
            self.check_refusals(before);
        }
        self.link.settle();
        self.look(now);
        for (at, end) in [&mut self.client, &mut self.server].into_iter().enumerate() {
            if !awake[at] || at == 0 && self.attacker.is_some() {
                continue;
            }
            match end.fire(now) {
                Ok(fired) => {
                    busy |= fired;
                    if fired {
                        self.count.polls += 1;
                        let link = if at == 0 { &mut self.link.ab } else { &mut self.link.ba };
                        self.count.event(now, link);
                    }
                }
                Err(fault) => self.fault = Some(fault),
            }
            end.busy_since = (!end.running.is_empty()).then(|| end.busy_since.unwrap_or(now));
            end.spoke_at = end.spoke_at.filter(|_| end.busy_since.is_some());
        }
        self.link.settle();
        let clients = |id: &remux::session::StreamId| self.wire == Wire::Classic || id.0 & 1 == 1;
        let idle = !self.client.running.iter().any(clients);
        let empty = self.server.session.streams() == 0;
        self.empty_since = empty.then(|| self.empty_since.unwrap_or(now));
        self.idle_since = idle.then(|| self.idle_since.unwrap_or(now)).filter(|_| self.attacker.is_none());
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
            self.server.session.drain(self.server.clock(now), Code::DRAIN, limit);
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
            if end.looked.is_some_and(|at| now - at < LOOK_EVERY)
                || !end.is_alive()
                || !end.host.is_awake(now)
            {
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
            end.session.handle_path(end.clock(now), info);
        }
    }

    /// A hostile end puts nonsense between its frames; an attacker does what it came for.
    fn misbehave(&mut self, now: Instant) -> bool {
        if let Some(attacker) = &mut self.attacker {
            let said = attacker.act(now, &mut self.link.ab);
            if said && !self.gave_up {
                self.kernel_gives_up.get_or_insert(now + KERNEL_PATIENCE);
            }
            return said;
        }
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

    /// Both ends know that it is over.
    pub(crate) fn is_over(&self) -> bool {
        self.client.over.is_some() && self.server.over.is_some()
    }

    /// When something happens on it next; the server does nothing before `server_from`.
    pub(crate) fn poll_timeout(&self, now: Instant, server_from: Instant) -> Option<Instant> {
        if self.dialled.is_none() {
            return Some(self.client.host.awake_from(self.dial_done));
        }
        let awake = |end: &End, at: Instant| end.host.awake_from(at.max(now));
        let sessions =
            if self.attacker.is_some() { &[&self.server][..] } else { &[&self.client, &self.server][..] };
        let timers = sessions.iter().filter_map(|end| Some((end, end.poll_timeout()?)));
        let timers = timers.map(|(end, at)| awake(end, at));
        let struck = [&self.link.ab, &self.link.ba].into_iter().filter_map(|link| link.next_fault());
        let hostile = self
            .hostile
            .as_ref()
            .map(|(_, at, _)| *at)
            .filter(|_| !self.client.closed && !self.server.closed);
        let attack = self.attacker.as_ref().and_then(|attacker| attacker.poll_timeout(&self.link));
        let reads = |end: &End| end.is_alive() && end.session.wants_read();
        let client = self.link.ba.poll_timeout().filter(|_| self.attacker.is_none() && reads(&self.client));
        let client = client.map(|at| awake(&self.client, at));
        let server = self.link.ab.poll_timeout().filter(|_| reads(&self.server));
        let server = server.map(|at| awake(&self.server, at).max(server_from));
        let drain = self.drain_at.map(|at| awake(&self.server, at));
        timers
            .chain(struck)
            .chain(client)
            .chain(server)
            .chain(drain)
            .chain(hostile)
            .chain(attack)
            .chain(self.kernel_gives_up)
            .min()
    }
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// How long the server's drains last at most.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// After this the kernel gives up a path that swallows everything; the sessions have to be faster.
pub(crate) const KERNEL_PATIENCE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(100);
