//! What is decided before a world begins: by its seed, and by the scenario that alters it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use remux::pool;
use remux::{Account, Budget, ClassicConfig, SendConfig, SessionConfig, Wire};
use simnet::{Fault, Host, Rng};

use super::Kind;
use super::attack::Tactic;
use super::conn::Half;
use super::flow::Flow;

/// Everything about a world but what happens in it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) wire: Wire,
    pub(crate) rng: Rng,
    pub(crate) start: Instant,
    /// The kinds of faults that may strike a connection; each strikes one in so many.
    pub(crate) wanted: BTreeSet<Kind>,
    pub(crate) odds: u64,
    pub(crate) flows: Vec<Flow>,
    pub(crate) pool: pool::Config,
    /// The client's and the server's.
    pub(crate) configs: [SessionConfig; 2],
    pub(crate) budgets: [Arc<Budget>; 2],
    /// Who the client is to the server.
    pub(crate) identity: &'static str,
    pub(crate) hosts: [Arc<Host>; 2],
    pub(crate) links: Links,
    /// The pool's timer is late by so much.
    pub(crate) late: Duration,
    /// The client's machine notices that it slept, or that its network changed.
    pub(crate) wakes: Vec<Duration>,
    /// A server that drains a connection does so within so many milliseconds.
    pub(crate) drain_within: u64,
    /// The server drains all of its connections.
    pub(crate) reloads: Vec<Duration>,
    /// A request waits on the server for up to so long before it is looked at.
    pub(crate) queue: Duration,
    /// Which connection breaks, at which event, and how.
    pub(crate) cut: Option<(usize, u64, Fault)>,
    pub(crate) partitions: Vec<Partition>,
    /// The server's answers to PINGs are lost.
    pub(crate) loses_answers: bool,
    /// Who attacks the server, and when.
    pub(crate) attacks: Vec<(Tactic, Duration, u32)>,
    /// Time the server takes to handle a frame; none by default.
    pub(crate) frame_cost: Duration,
    /// The server's budget is looked at after each step.
    pub(crate) watches_budget: bool,
    /// What happens at one instant happens in any order.
    pub(crate) shuffles: bool,
    /// Clocks differ.
    pub(crate) lenient: bool,
    /// Nothing may last longer.
    pub(crate) limit: Duration,
}

/// Nothing arrives from one side, for a while; then everything does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Partition {
    pub(crate) at: Duration,
    pub(crate) time: Duration,
    /// Whose words are held back.
    pub(crate) half: Half,
}

/// How the ways between client and server are.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    /// Microseconds one way.
    pub(crate) delay: (u64, u64),
    /// Microseconds at most.
    pub(crate) jitter: u64,
    pub(crate) capacity: (usize, usize),
    /// Milliseconds a dial takes at most.
    pub(crate) dial: u64,
    /// All delays are multiples of so many microseconds, so that much happens at one instant.
    pub(crate) grain: u64,
    /// One in so many connections has a kernel that tells about its path.
    pub(crate) unknown: u64,
    /// Writes arrive as they were made, all after the same time.
    pub(crate) plain: bool,
}

impl Links {
    /// One way.
    pub(crate) fn draw(&self, rng: &mut Rng) -> simnet::Plan {
        if self.plain {
            let delay = Duration::from_micros(u64::midpoint(self.delay.0, self.delay.1));
            return simnet::Plan { delay, capacity: self.capacity.1, ..simnet::Plan::default() };
        }
        let delay = rng.between(self.delay.0, self.delay.1) / self.grain * self.grain;
        simnet::Plan {
            delay: Duration::from_micros(delay),
            jitter: Duration::from_micros(rng.between(0, self.jitter)),
            split: if rng.one_in(3) { rng.size(300, 4_000) } else { usize::MAX },
            merge_one_in: rng.between(0, 6),
            capacity: rng.size(self.capacity.0, self.capacity.1),
            grows: None,
            faults: Vec::new(),
        }
    }
}

impl Plan {
    /// Whose memory a connection takes at that end.
    pub(crate) fn account(&self, half: Half) -> Account {
        match half {
            Half::Client => self.budgets[0].clone().into(),
            Half::Server => self.budgets[1].account(Some(self.identity)),
        }
    }

    /// A world in which nothing goes wrong, and nothing happens: no flows.
    pub(crate) fn quiet(seed: u64, wire: Wire, start: Instant) -> Self {
        let rng = Rng::new(seed.wrapping_mul(2).wrapping_add(u64::from(wire == Wire::Classic)));
        Self {
            seed,
            wire,
            rng,
            start,
            wanted: BTreeSet::new(),
            odds: 2,
            flows: Vec::new(),
            pool: pool::Config::default(),
            configs: [SessionConfig::default(), SessionConfig::default()],
            budgets: [0, 1].map(|_| Arc::new(Budget::default())),
            identity: "honest",
            hosts: [0, 1].map(|_| Arc::new(Host::exact(start))),
            links: Links {
                delay: (50, 80_000),
                jitter: 5_000,
                capacity: (4 << 10, 512 << 10),
                dial: 200,
                grain: 1,
                unknown: 3,
                plain: false,
            },
            late: Duration::ZERO,
            wakes: Vec::new(),
            drain_within: 2_000,
            reloads: Vec::new(),
            queue: Duration::ZERO,
            cut: None,
            partitions: Vec::new(),
            loses_answers: false,
            attacks: Vec::new(),
            frame_cost: Duration::ZERO,
            watches_budget: false,
            shuffles: false,
            lenient: false,
            // The slowest honest end is a black hole found by silence, behind a stopped reader.
            limit: Duration::from_secs(400),
        }
    }

    /// Up to four kinds of faults, and everything else at random.
    pub(crate) fn mix(seed: u64, wire: Wire) -> Self {
        let mut plan = Self::quiet(seed, wire, Instant::now());
        let rng = &mut plan.rng;
        for _ in 0..rng.between(1, 4) {
            plan.wanted.extend(rng.pick(&Kind::MIX));
        }
        plan.pool = pool::Config {
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
        let spread = Duration::from_millis(if rng.one_in(3) { 200 } else { 3_000 });
        plan.add_flows(count, spread);
        if plan.wanted.contains(&Kind::TightMemory) {
            let rng = &mut plan.rng;
            plan.budgets = [0, 1].map(|_| Arc::new(Budget::new(rng.between(512 << 10, 3 << 20))));
        }
        plan.draw_configs();
        plan.late = Duration::from_micros(plan.rng.between(0, 20_000));
        if plan.wanted.contains(&Kind::Suspend) {
            plan.wakes.push(Duration::from_millis(plan.rng.between(0, 5_000)));
        }
        plan
    }

    /// So many flows at random, that begin within `spread`.
    pub(crate) fn add_flows(&mut self, count: usize, spread: Duration) {
        for _ in 0..count {
            let index = self.flows.len();
            self.flows.push(Flow::plan(index, self.wire, spread, &self.wanted, &mut self.rng));
        }
    }

    /// All ways are the same and none is ever late, so that two lives of this world can be compared.
    pub(crate) fn even_links(&mut self, micros: (u64, u64), capacity: (usize, usize)) {
        let (delay, capacity) = (self.rng.between(micros.0, micros.1), self.rng.size(capacity.0, capacity.1));
        let dial = self.links.dial;
        self.links = Links {
            delay: (delay, delay),
            jitter: 0,
            capacity: (capacity, capacity),
            dial,
            grain: 1,
            unknown: 3,
            plain: true,
        };
    }

    /// One flow that begins at `begins`, with so many bytes from the client and from the server; to be altered.
    pub(crate) fn add_flow(&mut self, begins: Duration, up: usize, down: usize) -> &mut Flow {
        let index = self.flows.len();
        self.flows.push(Flow::simple(index, begins, [up, down], &mut self.rng));
        self.flows.last_mut().unwrap()
    }

    /// A time of so many milliseconds.
    pub(crate) fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.rng.between(low, high))
    }

    /// Mostly the default, with small queues and odd sizes now and then.
    pub(crate) fn draw_configs(&mut self) {
        let (wanted, rng) = (&self.wanted, &mut self.rng);
        let mut draw = || {
            let mut config = SessionConfig::default();
            if rng.one_in(3) {
                let usual = SendConfig::default();
                config.sending = SendConfig {
                    queue: rng.size(1_000, 256 << 10),
                    small_record: rng.size(1_400, 16_384),
                    quantum: rng.size(1_000, 64 << 10),
                    batch_records: rng.size(1, 8),
                    ..usual
                };
                config.classic = ClassicConfig {
                    queue: rng.size(4 << 10, 256 << 10),
                    max_payload: rng.size(1_000, 65_535),
                    ..ClassicConfig::default()
                };
            }
            config
        };
        let [mut client, mut server] = [draw(), draw()];
        if wanted.contains(&Kind::SafeRetry) {
            server.limits.max_streams = Some(u32::try_from(rng.between(1, 4)).unwrap());
            server.announce.max_reuse = rng.one_in(2).then(|| u32::try_from(rng.between(1, 20)).unwrap());
        }
        if wanted.contains(&Kind::ServerStream) {
            client.limits.max_streams = Some(u32::try_from(rng.between(1, 8)).unwrap());
        }
        self.configs = [client, server];
    }
}
