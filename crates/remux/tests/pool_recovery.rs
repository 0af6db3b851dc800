//! How soon a request is served after a path has come back, for any length of its absence; virtual time.
//!
//! ```text
//!            dark                          light
//!  SYN at 0, 1, 3 s of each dial: lost     answered: up after three round trips
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use remux::pool::{Action, CloseReason, Config, Pool, Proof, RequestError, Ticket, Waiter};

#[test]
fn request_is_served_within_two_seconds_of_the_paths_return_however_long_it_was_gone() {
    let mut worst = Duration::ZERO;
    // Every tenth of a second up to 30 s, then up to 10 minutes; asked for all the time, or only afterwards.
    let lengths = (0..300).map(|tenth| tenth * 100).chain((30..600).step_by(7).map(|s| s * 1000 + 137));
    for dark in lengths.map(Duration::from_millis) {
        for every in [100, 700, 2_500, 1_000_000].map(Duration::from_millis) {
            for seed in 0..3 {
                let mut world = World::new(seed, dark);
                let served = world.run(every);
                worst = worst.max(served);
                let bound = Duration::from_secs(2);
                assert!(served <= bound, "dark {dark:?}, asked every {every:?}, seed {seed}: {served:?}");
            }
        }
    }
    println!("slowest: {worst:?} after the path's return");
}

#[test]
fn dials_of_a_dark_hour_are_at_most_one_a_second() {
    let mut world = World::new(7, Duration::from_secs(3_600));
    world.run(Duration::from_millis(300));
    let in_the_dark = world.dials.iter().filter(|at| **at < world.light).count();
    assert!((1_200..=3_700).contains(&in_the_dark), "{in_the_dark} dials in an hour");
    let pauses = world.dials.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(pauses.min().unwrap() >= Duration::from_millis(250));
}

#[test]
fn request_lives_through_a_dark_time_shorter_than_its_own() {
    for dark in [500, 3_500, 8_500].map(Duration::from_millis) {
        let mut world = World::new(1, dark);
        world.request();
        world.until(world.light + Duration::from_secs(2));
        assert_eq!((world.used.len(), world.failed.len()), (1, 0), "dark for {dark:?}");
    }
}

#[test]
fn dial_that_keeps_a_request_waiting_gets_a_second_one_beside_it() {
    let mut world = World::new(1, Duration::from_secs(60));
    world.request();
    world.until(world.start + Duration::from_millis(999));
    assert_eq!(world.dials.len(), 1);
    world.until(world.start + Duration::from_secs(1));
    assert_eq!(world.dials.len(), 2);
}

#[test]
fn nobody_waits_nothing_is_hedged() {
    let mut world = World::new(1, Duration::from_secs(60));
    let waiter = world.request();
    world.pool.cancel(waiter);
    world.until(world.start + Duration::from_secs(50));
    assert_eq!(world.dials.len(), 1);
}

#[test]
fn dial_that_returns_ends_those_it_has_overtaken_and_no_others() {
    let now = Instant::now();
    let mut pool: Pool<&str> = Pool::new(Config { spare: false, ..Config::default() }, 1);
    pool.request(now, Waiter(1));
    let second = Duration::from_secs(1);
    pool.handle_timeout(now + second);
    pool.handle_timeout(now + 2 * second);
    let wishes: Vec<_> = std::iter::from_fn(|| pool.poll_action()).collect();
    assert_eq!(wishes, [0, 1, 2].map(|number| Action::Dial(Ticket(number))));
    assert!(pool.handle_dialled(now + 2 * second, Ticket(1), Proof::FirstByte));
    let wishes: Vec<_> = std::iter::from_fn(|| pool.poll_action()).collect();
    let overtaken = Action::Close { ticket: Ticket(0), why: CloseReason::Overtaken };
    assert_eq!(wishes, [overtaken, Action::Use { waiter: Waiter(1), ticket: Ticket(1) }]);
}

#[test]
fn dials_beside_a_request_end_with_it_but_for_the_one_that_began_with_it_and_says_why() {
    let now = Instant::now();
    let config = Config { spare: false, request_timeout: Duration::from_millis(2_500), ..Config::default() };
    let mut pool: Pool<&str> = Pool::new(config, 1);
    pool.request(now, Waiter(1));
    for at in [1_000, 2_000, 2_500].map(Duration::from_millis) {
        pool.handle_timeout(now + at);
    }
    let wishes: Vec<_> = std::iter::from_fn(|| pool.poll_action()).skip(3).collect();
    let fail = Action::Fail { waiter: Waiter(1), error: RequestError::TimedOut };
    let overtaken = |number| Action::Close { ticket: Ticket(number), why: CloseReason::Overtaken };
    assert_eq!(wishes, [fail, overtaken(1), overtaken(2)]);
    pool.handle_dial_failed(now + Duration::from_millis(2_501), Ticket(0), "nobody answers");
    assert!(pool.stats().failing);
}

#[test]
fn new_connection_that_says_nothing_takes_no_streams_after_a_second() {
    let now = Instant::now();
    let mut pool: Pool<&str> = Pool::new(Config { spare: false, ..Config::default() }, 1);
    pool.request(now, Waiter(1));
    pool.handle_dialled(now, Ticket(0), Proof::FirstByte);
    let later = now + Duration::from_millis(1_001);
    pool.request(later, Waiter(2));
    let wishes: Vec<_> = std::iter::from_fn(|| pool.poll_action()).skip(1).collect();
    let used = Action::Use { waiter: Waiter(1), ticket: Ticket(0) };
    assert_eq!(wishes, [used, Action::Dial(Ticket(1))], "another connection, not the silent one");
    pool.handle_first_byte(later, Ticket(0));
    assert_eq!(pool.poll_action(), Some(Action::Use { waiter: Waiter(2), ticket: Ticket(0) }));
}

#[test]
fn server_that_turns_us_away_is_left_for_the_next_one_at_once_and_nobody_fails() {
    let now = Instant::now();
    let mut pool: Pool<&str> = Pool::new(Config { spare: false, ..Config::default() }, 1);
    for waiter in 0..20 {
        pool.request(now, Waiter(waiter));
    }
    pool.handle_dialled(now, Ticket(0), Proof::FirstByte);
    let used = std::iter::from_fn(|| pool.poll_action()).filter(|a| matches!(a, Action::Use { .. })).count();
    assert_eq!(used, 16);
    pool.handle_turned_away(now, Ticket(0));
    pool.handle_turned_away(now, Ticket(1));
    let wishes: Vec<_> = std::iter::from_fn(|| pool.poll_action()).collect();
    assert_eq!(wishes, [Action::Dial(Ticket(2))], "the four that wait go on waiting");
    assert!(!pool.stats().failing);
}

/// A pool whose dials go through a path that is dark at first.
struct World {
    pool: Pool<&'static str>,
    start: Instant,
    light: Instant,
    now: Instant,
    /// Dials under way: when each comes up, or fails.
    under_way: BTreeMap<Ticket, (Instant, bool)>,
    dials: Vec<Instant>,
    next_waiter: u64,
    used: Vec<Waiter>,
    failed: Vec<RequestError<&'static str>>,
}

impl World {
    fn new(seed: u64, dark: Duration) -> Self {
        let start = Instant::now();
        Self {
            pool: Pool::new(Config { spare: false, ..Config::default() }, seed),
            start,
            light: start + dark,
            now: start,
            under_way: BTreeMap::new(),
            dials: Vec::new(),
            next_waiter: 0,
            used: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Asks all through the dark time, then once after it; how long that one took.
    fn run(&mut self, every: Duration) -> Duration {
        while self.now + every < self.light {
            self.request();
            self.until(self.now + every);
        }
        self.until(self.light);
        let asked = self.request();
        while !self.used.contains(&asked) {
            assert!(self.now < self.light + Duration::from_secs(15), "request {asked:?} was never served");
            self.until(self.now + Duration::from_millis(10));
        }
        self.now - self.light
    }

    fn request(&mut self) -> Waiter {
        let waiter = Waiter(self.next_waiter);
        self.next_waiter += 1;
        self.pool.request(self.now, waiter);
        self.settle();
        waiter
    }

    fn until(&mut self, end: Instant) {
        loop {
            let result = self.under_way.iter().map(|(ticket, (at, up))| (*at, *ticket, *up)).min();
            let alarm = self.pool.poll_timeout().map(|(at, _)| at);
            let next = [result.map(|(at, ..)| at), alarm].into_iter().flatten().min();
            let Some(next) = next.filter(|at| *at <= end) else { break };
            self.now = next.max(self.now);
            match result {
                Some((at, ticket, up)) if at <= self.now => {
                    self.under_way.remove(&ticket);
                    if up {
                        self.pool.handle_dialled(self.now, ticket, Proof::FirstByte);
                        self.pool.handle_first_byte(self.now, ticket);
                    } else {
                        self.pool.handle_dial_failed(self.now, ticket, "no answer");
                    }
                }
                _ => self.pool.handle_timeout(self.now),
            }
            self.settle();
        }
        self.now = end;
    }

    fn settle(&mut self) {
        while let Some(action) = self.pool.poll_action() {
            match action {
                Action::Dial(ticket) => {
                    self.dials.push(self.now);
                    let syns = SYNS.map(|after| self.now + after);
                    let outcome = match syns.into_iter().find(|at| *at >= self.light) {
                        Some(at) => (at + 3 * ROUND_TRIP, true),
                        None => (self.now + GIVE_UP, false),
                    };
                    self.under_way.insert(ticket, outcome);
                }
                Action::Close { ticket, .. } => {
                    self.under_way.remove(&ticket);
                    self.pool.handle_closed(self.now, ticket, "closed");
                }
                Action::Use { waiter, .. } => self.used.push(waiter),
                Action::Fail { error, .. } => self.failed.push(error),
                Action::Drain(_) | Action::Probe(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// When a kernel sends the SYN of one dial; it is given up before the next.
const SYNS: [Duration; 2] = [Duration::ZERO, Duration::from_secs(1)];
const GIVE_UP: Duration = Duration::from_secs(3);
const ROUND_TRIP: Duration = Duration::from_millis(100);
