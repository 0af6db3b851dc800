//! The pool under thousands of seeded days: dials that fail, hang or die before their first byte, peers that drain or fall
//! silent, bursts, cancelled requests. A second, naive account of each connection, kept from the pool's own actions, judges
//! each step. `POOL_SEED=n` replays one seed and tells what happens.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use remux::pool::{Action, Config, Limits, Path, Pool, Proof, RequestError, Ticket, Waiter};

#[test]
fn policy_holds_at_every_step() {
    let mut seen = Seen::default();
    for seed in seeds(4_000) {
        let mut world = World::new(seed);
        world.run();
        seen.add(&world.seen);
    }
    if std::env::var_os("POOL_SEED").is_none() {
        seen.assert_each_at_least(500);
    }
    println!("{seen:?}");
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("POOL_SEED").ok().and_then(|text| text.parse::<u64>().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    }
}

/// How often each thing happened, so that a simulation that exercises nothing fails.
#[derive(Debug, Default)]
struct Seen(BTreeMap<&'static str, u64>);

impl Seen {
    const ALL: [&'static str; 21] = [
        "use",
        "dial",
        "spare",
        "hedge",
        "turned away",
        "second dial",
        "drain",
        "close",
        "probe",
        "limit",
        "timed out",
        "fail dial",
        "fail refused",
        "fail silent",
        "death before first byte",
        "dial failed",
        "peer drains",
        "suspect",
        "cancel",
        "open failed",
        "queued at the cap",
    ];

    fn note(&mut self, what: &'static str) {
        assert!(Self::ALL.contains(&what), "{what}");
        *self.0.entry(what).or_default() += 1;
    }

    fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    fn assert_each_at_least(&self, least: u64) {
        for what in Self::ALL {
            let count = self.0.get(what).copied().unwrap_or_default();
            assert!(count >= least, "`{what}` happened {count} times, fewer than {least}");
        }
    }
}

struct World {
    seed: u64,
    random: Random,
    config: Config,
    pool: Pool<&'static str>,
    start: Instant,
    now: Instant,
    events: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    conns: BTreeMap<Ticket, Conn>,
    /// Requests without an answer, and when they asked.
    waiting: BTreeMap<Waiter, Wait>,
    peer: Limits,
    /// What holds for a new connection: the peer's limits, once it has told them.
    known: Limits,
    last_failure: Option<Instant>,
    failing: bool,
    server_up: bool,
    traffic_until: Instant,
    next_waiter: u64,
    seen: Seen,
    traced: bool,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Requests(u64),
    Cancel,
    Dialled(Ticket),
    DialFailed(Ticket),
    FirstByte(Ticket),
    TurnedAway(Ticket),
    PeerLimits(Ticket),
    StreamEnded(Ticket),
    PeerDrains(Ticket),
    Suspect(Ticket),
    Alive(Ticket),
    Path(Ticket),
    Closed(Ticket),
    Wake,
    ServerGoes,
    ServerComes,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    asked: Instant,
    avoid: Option<Ticket>,
}

/// What the naive account knows of one connection.
#[derive(Clone, Copy, Debug)]
struct Conn {
    began: Instant,
    limits: Limits,
    up: Option<Instant>,
    proof: Proof,
    proven: bool,
    draining: bool,
    suspect: bool,
    closing: bool,
    told_to_drain: bool,
    /// Takes no stream, as the first try showed.
    broken: bool,
    opened: u32,
    live: u32,
    idle_since: Instant,
}

impl Conn {
    fn is_proven(&self, now: Instant) -> bool {
        self.proven
            || match (self.proof, self.up) {
                (Proof::Lasts(time), Some(up)) => now >= up + time,
                _ => false,
            }
    }

    fn usable(&self, now: Instant) -> bool {
        let late =
            self.up.is_some_and(|up| now >= up + HEDGE) && self.proof == Proof::FirstByte && !self.proven;
        self.up.is_some_and(|up| now < up + self.limits.max_age)
            && !late
            && self.opened < self.limits.max_count
            && self.live < self.limits.max_streams
            && !self.draining
            && !self.suspect
            && !self.closing
            && !self.told_to_drain
    }

    fn wearing(&self, now: Instant) -> bool {
        let age = now - self.up.expect("up");
        age * 4 >= self.limits.max_age * 3 || self.opened * 4 >= self.limits.max_count * 3
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let start = Instant::now();
        let secs = |random: &mut Random, low: u64, high: u64| {
            Duration::from_millis(random.within(low * 1000, high * 1000))
        };
        let config = Config {
            limits: Limits {
                max_age: secs(&mut random, 1, 60),
                max_count: random.within(1, 20) as u32,
                max_streams: 256,
            },
            idle_max: secs(&mut random, 1, 12),
            max_connections: if random.chance(2) { random.within(1, 4) } else { random.within(5, 40) }
                as usize,
            max_waiting: if random.chance(10) { 6 } else { 4096 },
            request_timeout: secs(&mut random, 2, 12),
            spare: !random.chance(10),
            ..Config::default()
        };
        let peer = Limits {
            max_age: secs(&mut random, 0, 60),
            max_count: random.within(0, 20) as u32,
            max_streams: if random.chance(4) { random.within(0, 6) as u32 } else { 256 },
        };
        let mut world = Self {
            seed,
            pool: Pool::new(config, random.next()),
            random,
            config,
            start,
            now: start,
            events: BTreeMap::new(),
            sequence: 0,
            conns: BTreeMap::new(),
            waiting: BTreeMap::new(),
            peer,
            known: config.limits,
            last_failure: None,
            failing: false,
            server_up: true,
            traffic_until: start + Duration::from_secs(120),
            next_waiter: 0,
            seen: Seen::default(),
            traced: std::env::var_os("POOL_SEED").is_some(),
        };
        world.after(0, 500, Event::Requests(1));
        if world.random.chance(2) {
            world.after(5_000, 100_000, Event::ServerGoes);
        }
        if world.random.chance(3) {
            world.after(5_000, 100_000, Event::Wake);
        }
        world
    }

    fn run(&mut self) {
        let mut steps = 0_u64;
        loop {
            steps += 1;
            assert!(steps < 200_000, "seed {}: no end in sight at {:?}", self.seed, self.now - self.start);
            let timeout = self.pool.poll_timeout();
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            match (timeout, event) {
                (Some((deadline, reason)), next) if next.is_none_or(|next| deadline <= next) => {
                    self.now = self.now.max(deadline);
                    self.pool.handle_timeout(self.now);
                    self.settle();
                    if let Some((again, why)) = self.pool.poll_timeout() {
                        assert!(again > self.now, "seed {}: {reason} leads to {why} at once", self.seed);
                    }
                }
                (_, Some(_)) => {
                    let ((at, _), event) = self.events.pop_first().expect("peeked");
                    self.now = self.now.max(at);
                    self.handle(event);
                    self.settle();
                }
                (_, None) => break,
            }
        }
        assert!(self.conns.is_empty(), "seed {}: left {:?}", self.seed, self.conns);
        assert!(self.waiting.is_empty(), "seed {}: never answered {:?}", self.seed, self.waiting);
        assert_eq!(self.pool.stats().open + self.pool.stats().dialling + self.pool.stats().retiring, 0);
    }

    fn handle(&mut self, event: Event) {
        self.trace(&event);
        let now = self.now;
        match event {
            Event::Requests(count) => {
                for _ in 0..count {
                    self.next_waiter += 1;
                    let waiter = Waiter(self.next_waiter);
                    self.waiting.insert(waiter, Wait { asked: now, avoid: None });
                    self.pool.request(now, waiter);
                    self.settle();
                }
                if now < self.traffic_until {
                    let count = if self.random.chance(8) { self.random.within(1, 60) } else { 1 };
                    let pause = if self.random.chance(20) { 30_000 } else { 1_500 };
                    self.after(0, pause, Event::Requests(count));
                    if self.random.chance(10) {
                        self.after(0, 300, Event::Cancel);
                    }
                }
            }
            Event::Cancel => {
                if let Some(waiter) = self.waiting.keys().next().copied() {
                    self.seen.note("cancel");
                    self.waiting.remove(&waiter);
                    self.pool.cancel(waiter);
                }
            }
            Event::Dialled(ticket) => self.dialled(ticket),
            Event::DialFailed(ticket) => {
                let Some(conn) = self.conns.remove(&ticket) else { return };
                if !conn.closing {
                    self.seen.note("dial failed");
                    self.note_failure(conn.began);
                }
                self.pool.handle_dial_failed(now, ticket, "refused");
            }
            Event::FirstByte(ticket) => {
                let Some(conn) = self.conns.get_mut(&ticket) else { return };
                if !std::mem::replace(&mut conn.proven, true) {
                    self.failing = false;
                }
                self.pool.handle_first_byte(now, ticket);
            }
            Event::TurnedAway(ticket) => {
                if self.conns.get(&ticket).is_none_or(|conn| conn.proven || conn.closing) {
                    return;
                }
                self.seen.note("turned away");
                self.conns.remove(&ticket);
                self.pool.handle_turned_away(now, ticket);
            }
            Event::PeerLimits(ticket) => {
                let peer = self.peer;
                let ours = self.config.limits;
                let Some(conn) = self.conns.get_mut(&ticket) else { return };
                conn.limits = Limits {
                    max_age: ours.max_age.min(peer.max_age).max(Duration::from_millis(1)),
                    max_count: ours.max_count.min(peer.max_count).max(1),
                    max_streams: peer.max_streams.max(1),
                };
                self.known = conn.limits;
                self.pool.handle_limits(now, ticket, peer);
            }
            Event::StreamEnded(ticket) => {
                let Some(conn) = self.conns.get_mut(&ticket) else { return };
                conn.live -= 1;
                conn.idle_since = now;
                self.pool.handle_stream_ended(now, ticket);
            }
            Event::PeerDrains(ticket) => {
                let Some(conn) = self.conns.get_mut(&ticket) else { return };
                self.seen.note("peer drains");
                conn.draining = true;
                self.pool.handle_draining(now, ticket);
            }
            Event::Suspect(ticket) => {
                let Some(conn) = self.conns.get_mut(&ticket) else { return };
                self.seen.note("suspect");
                conn.suspect = true;
                self.pool.handle_suspect(now, ticket);
                let end = if self.random.chance(2) { Event::Alive(ticket) } else { Event::Closed(ticket) };
                self.after(200, 5_000, end);
            }
            Event::Alive(ticket) => {
                let Some(conn) = self.conns.get_mut(&ticket) else { return };
                conn.suspect = false;
                self.pool.handle_alive(now, ticket);
            }
            Event::Path(ticket) => {
                let millis = self.random.within(0, 400);
                let path = Path {
                    rtt: Duration::from_millis(50),
                    queue_delay: Duration::from_millis(millis),
                    bulk: self.random.within(0, 2) as u32,
                    sick: self.random.chance(8),
                };
                self.pool.handle_path(ticket, path);
            }
            Event::Closed(ticket) => {
                let Some(conn) = self.conns.remove(&ticket) else { return };
                if conn.up.is_some() && !conn.is_proven(now) && (conn.broken || !conn.closing) {
                    self.seen.note("death before first byte");
                    self.note_failure(conn.began);
                }
                self.pool.handle_closed(now, ticket, "reset");
            }
            Event::Wake => {
                let up: Vec<Ticket> = self
                    .conns
                    .iter()
                    .filter(|(_, conn)| conn.up.is_some())
                    .map(|(ticket, _)| *ticket)
                    .collect();
                for ticket in up {
                    self.conns.get_mut(&ticket).expect("listed").suspect = true;
                    self.after(10, 1_000, Event::Alive(ticket));
                }
                self.pool.handle_wake(now);
            }
            Event::ServerGoes => {
                self.server_up = false;
                for ticket in self.conns.keys().copied().collect::<Vec<_>>() {
                    if self.conns[&ticket].up.is_some() {
                        self.after(0, 50, Event::Closed(ticket));
                    }
                }
                self.after(500, 30_000, Event::ServerComes);
            }
            Event::ServerComes => self.server_up = true,
        }
    }

    fn dialled(&mut self, ticket: Ticket) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&ticket) else { return };
        if conn.closing {
            return;
        }
        let classic = self.random.chance(5);
        conn.up = Some(now);
        conn.idle_since = now;
        conn.proof = if classic { Proof::Lasts(Duration::from_secs(3)) } else { Proof::FirstByte };
        let proof = conn.proof;
        self.pool.handle_dialled(now, ticket, proof);
        match self.random.within(0, 29) {
            0 => self.after(0, 200, Event::Closed(ticket)),
            1 => self.after(0, 200, Event::TurnedAway(ticket)),
            2 => {} // Silent for ever.
            _ if classic => {}
            _ => {
                self.after(1, 300, Event::FirstByte(ticket));
                if self.random.chance(2) {
                    self.after(300, 300, Event::PeerLimits(ticket));
                }
            }
        }
        match self.random.within(0, 19) {
            0 => self.after(100, 40_000, Event::PeerDrains(ticket)),
            1 | 2 => self.after(100, 40_000, Event::Suspect(ticket)),
            3 => self.after(100, 40_000, Event::Closed(ticket)),
            4..8 => self.after(100, 10_000, Event::Path(ticket)),
            _ => {}
        }
    }

    /// Dials that ran side by side fail as one.
    fn note_failure(&mut self, began: Instant) {
        if !self.failing || self.last_failure.is_none_or(|last| began >= last) {
            self.last_failure = Some(self.now);
        }
        self.failing = true;
    }

    /// Carries the pool's actions out, judging each.
    fn settle(&mut self) {
        let now = self.now;
        for conn in self.conns.values_mut().filter(|conn| !conn.closing && !conn.proven) {
            if conn.is_proven(now) {
                conn.proven = true;
                self.failing = false;
            }
        }
        let mut used = false;
        while let Some(action) = self.pool.poll_action() {
            self.trace(&action);
            match action {
                Action::Use { waiter, ticket } => {
                    used = true;
                    self.put(waiter, ticket);
                }
                Action::Dial(ticket) => self.dial(ticket, used),
                Action::Drain(ticket) => {
                    self.seen.note("drain");
                    let conn = self.conns.get_mut(&ticket).expect("drain of a connection that is there");
                    // A stream that could not be opened may have left it empty meanwhile.
                    assert!(
                        (conn.live > 0 || conn.draining) && !conn.told_to_drain && !conn.closing,
                        "seed {}: {conn:?}",
                        self.seed
                    );
                    conn.told_to_drain = true;
                }
                Action::Close { ticket, .. } => {
                    self.seen.note("close");
                    let silence = self.config.request_timeout;
                    let conn = self.conns.get_mut(&ticket).expect("close of a connection that is there");
                    assert!(!conn.closing, "seed {}: closed twice", self.seed);
                    let silent = conn.up.is_some_and(|up| self.now >= up + silence)
                        && !conn.is_proven(self.now)
                        && conn.proof == Proof::FirstByte;
                    assert!(conn.live == 0 || silent, "seed {}: closed with streams: {conn:?}", self.seed);
                    conn.closing = true;
                    let began = conn.began;
                    if silent {
                        self.note_failure(began);
                    }
                    self.after(0, 400, Event::Closed(ticket));
                }
                Action::Probe(ticket) => {
                    self.seen.note("probe");
                    assert!(self.conns[&ticket].suspect, "seed {}: probe of a trusted connection", self.seed);
                }
                Action::Fail { waiter, error } => {
                    let wait = self.waiting.remove(&waiter).expect("one answer for each request");
                    let waited = self.now - wait.asked;
                    assert!(waited <= self.config.request_timeout, "seed {}: waited {waited:?}", self.seed);
                    self.seen.note(match error {
                        RequestError::Dial(_) => "fail dial",
                        RequestError::Refused(_) => "fail refused",
                        RequestError::Silent => "fail silent",
                        RequestError::Limit => "limit",
                        RequestError::TimedOut => "timed out",
                        other => panic!("seed {}: {other:?}", self.seed),
                    });
                }
                other => panic!("{other:?}"),
            }
        }
        self.judge();
    }

    fn put(&mut self, waiter: Waiter, ticket: Ticket) {
        let (now, seed) = (self.now, self.seed);
        let wait = self.waiting.remove(&waiter).expect("one answer for each request");
        assert!(now - wait.asked <= self.config.request_timeout, "seed {seed}");
        assert_ne!(wait.avoid, Some(ticket), "seed {seed}: back on the connection that refused it");
        let conn = self.conns.get_mut(&ticket).expect("a stream on a connection that is there");
        // Streams given to a connection before the first of them showed that it takes none.
        let broken = conn.broken;
        assert!(broken || conn.usable(now), "seed {seed}: a stream on {conn:?}");
        self.seen.note("use");
        conn.opened += 1;
        conn.live += 1;
        if broken || self.random.chance(60) {
            self.seen.note("open failed");
            conn.broken = true;
            conn.live -= 1;
            conn.idle_since = now;
            conn.draining = true;
            self.waiting.insert(waiter, Wait { asked: wait.asked, avoid: Some(ticket) });
            self.pool.handle_open_failed(now, ticket);
            self.pool.request_again(now, waiter, wait.asked, ticket);
            return;
        }
        let longest = if self.random.chance(15) { 200_000 } else { 3_000 };
        self.after(5, longest, Event::StreamEnded(ticket));
    }

    fn dial(&mut self, ticket: Ticket, used: bool) {
        let (now, seed) = (self.now, self.seed);
        self.seen.note("dial");
        assert!(self.conns.len() < self.config.max_connections, "seed {seed}: beyond the cap");
        let dialling: Vec<&Conn> =
            self.conns.values().filter(|conn| conn.up.is_none() && !conn.closing).collect();
        let room: usize =
            dialling.iter().map(|conn| conn.limits.max_count.min(conn.limits.max_streams) as usize).sum();
        if !dialling.is_empty() {
            self.seen.note("second dial");
        }
        let usable = || self.conns.values().filter(|conn| conn.usable(now));
        let demand = self.waiting.len() > room
            && self.waiting.values().any(|wait| {
                self.conns.iter().all(|(ticket, conn)| wait.avoid == Some(*ticket) || !conn.usable(now))
            });
        let newest = self.trials().map(|conn| conn.began).max();
        let hedge = !self.waiting.is_empty() && newest.is_some_and(|newest| newest + HEDGE <= now);
        let spare =
            used && dialling.is_empty() && usable().all(|conn| conn.wearing(now)) && self.config.spare;
        assert!(
            demand || spare || hedge,
            "seed {seed}: {} wait, room {room}, {:?}",
            self.waiting.len(),
            self.conns
        );
        if hedge {
            self.seen.note("hedge");
        } else if !demand {
            self.seen.note("spare");
            assert!(!self.failing, "seed {seed}: a spare while dials fail");
        }
        if self.failing && !hedge {
            let pause = now - self.last_failure.expect("a failure");
            assert!(pause >= self.config.backoff_min, "seed {seed}: {pause:?} after a failure");
            assert_eq!(self.trials().count(), 0, "seed {seed}: a second dial while dials fail");
        }
        let conn = Conn {
            began: now,
            limits: self.known,
            up: None,
            proof: Proof::FirstByte,
            proven: false,
            draining: false,
            suspect: false,
            closing: false,
            told_to_drain: false,
            broken: false,
            opened: 0,
            live: 0,
            idle_since: now,
        };
        self.conns.insert(ticket, conn);
        let dial_timeout = self.config.request_timeout.as_millis() as u64;
        let event = match self.random.within(0, 9) {
            _ if !self.server_up => Event::DialFailed(ticket),
            0 => Event::DialFailed(ticket),
            _ => Event::Dialled(ticket),
        };
        let latest = if self.random.chance(20) { dial_timeout } else { 300 };
        self.after(1, latest, event);
    }

    /// What must hold after every step.
    fn judge(&mut self) {
        let (now, seed) = (self.now, self.seed);
        let stats = self.pool.stats();
        assert_eq!(stats.waiting, self.waiting.len(), "seed {seed}");
        assert!(self.conns.len() <= self.config.max_connections, "seed {seed}: beyond the cap");
        if self.conns.len() == self.config.max_connections && !self.waiting.is_empty() {
            self.seen.note("queued at the cap");
        }
        for conn in self.conns.values() {
            assert!(conn.opened <= conn.limits.max_count.max(self.config.limits.max_count), "seed {seed}");
            let Some(up) = conn.up else {
                continue;
            };
            if conn.closing {
                continue;
            }
            let out = conn.told_to_drain || conn.draining;
            if conn.live == 0 {
                assert!(!out, "seed {seed}: retired, without streams and not closed: {conn:?}");
                assert!(now <= conn.idle_since + self.config.idle_max, "seed {seed}: idle {conn:?}");
            } else {
                let worn = now >= up + conn.limits.max_age || conn.opened >= conn.limits.max_count;
                let due = now > up + conn.limits.max_age || conn.opened >= conn.limits.max_count;
                assert!(worn || !conn.told_to_drain || conn.opened > 0, "seed {seed}");
                assert!(out || !due, "seed {seed}: worn and not retired: {conn:?}");
            }
        }
        let usable = self.conns.values().any(|conn| conn.usable(now));
        let free = self.waiting.values().any(|wait| wait.avoid.is_none());
        assert!(!(usable && free), "seed {seed}: a request waits beside a usable connection");
        let dialling = self.conns.values().any(|conn| conn.up.is_none());
        if !self.waiting.is_empty()
            && self.conns.len() < self.config.max_connections
            && let Some(newest) = self.trials().map(|conn| conn.began).max()
        {
            assert!(now <= newest + HEDGE, "seed {seed}: a request waits beside late dials");
        }
        if !self.waiting.is_empty() && !dialling && self.conns.len() < self.config.max_connections {
            let at = self.pool.poll_timeout().expect("a request has a deadline").0;
            assert!(
                self.trials().count() > 0 || at <= now + Duration::from_secs(1),
                "seed {seed}: a request waits for no dial"
            );
        }
    }

    /// Dials whose outcome is open.
    fn trials(&self) -> impl Iterator<Item = &Conn> {
        self.conns.values().filter(|conn| !conn.closing && !conn.is_proven(self.now))
    }

    fn trace(&self, what: &dyn std::fmt::Debug) {
        if self.traced {
            println!("{:?} {what:?}", self.now - self.start);
        }
    }

    fn after(&mut self, least: u64, most: u64, event: Event) {
        let at = self.now + Duration::from_micros(self.random.within(least * 1000, most * 1000));
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }
}

/// As the pool has it.
const HEDGE: Duration = Duration::from_secs(1);

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.within(1, one_in) == 1
    }
}
