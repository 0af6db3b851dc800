//! The pool's policy, one sentence each, without tokio: time is a number that the test moves.

use std::time::{Duration, Instant};

use remux::pool::{Action, CloseReason, Config, Limits, Path, Pool, Proof, RequestError, Ticket, Waiter};

#[test]
fn thirty_three_short_requests_one_after_another_use_three_connections() {
    let mut desk = Desk::new(Config::default());
    for _ in 0..33 {
        let ticket = desk.open();
        desk.end(ticket);
        desk.wait(Duration::from_millis(100));
    }
    assert_eq!(desk.used, [16, 16, 1]);
    assert_eq!(desk.dials(), 3);
}

#[test]
fn sixteen_requests_at_once_share_the_connection_that_is_being_dialled() {
    let mut desk = Desk::new(Config::default());
    for _ in 0..16 {
        desk.request();
    }
    assert_eq!(desk.dials(), 1);
    desk.dialled(0);
    assert_eq!(desk.used, [16, 0]);
    // The last usable connection was taken: one is dialled ahead.
    assert_eq!(desk.dials(), 2);
}

#[test]
fn forty_requests_at_once_dial_as_many_connections_as_they_fill() {
    let mut desk = Desk::new(Config::default());
    for _ in 0..40 {
        desk.request();
    }
    assert_eq!(desk.dials(), 3);
}

#[test]
fn usable_connection_is_never_passed_over_for_a_new_one() {
    let mut desk = Desk::new(Config { spare: false, ..Config::default() });
    for count in 1..=16 {
        desk.open();
        assert_eq!(desk.dials(), 1, "after {count} streams");
    }
    desk.request();
    assert_eq!(desk.dials(), 2);
}

#[test]
fn spare_is_dialled_at_three_quarters_of_the_count() {
    let mut desk = Desk::new(Config::default());
    for _ in 0..11 {
        desk.open();
    }
    assert_eq!(desk.dials(), 1);
    desk.open();
    assert_eq!(desk.dials(), 2);
    // What is there is used up before the spare is touched.
    desk.dialled(1);
    for _ in 0..4 {
        desk.open();
    }
    assert_eq!(desk.used, [16, 0]);
    assert_eq!(desk.dials(), 2);
}

#[test]
fn spare_is_dialled_at_three_quarters_of_the_age_if_streams_are_being_opened() {
    let mut desk = Desk::new(Config::default());
    desk.open();
    desk.wait(Duration::from_secs(44));
    desk.open();
    assert_eq!(desk.dials(), 1);
    desk.wait(Duration::from_secs(2));
    assert_eq!(desk.dials(), 1, "no stream, no spare");
    desk.open();
    assert_eq!(desk.dials(), 2);
}

#[test]
fn quiet_ssh_session_makes_the_pool_dial_once() {
    let mut desk = Desk::new(Config::default());
    desk.open();
    desk.wait(Duration::from_secs(8 * 3600));
    assert_eq!(desk.dials(), 1);
    assert_eq!(desk.drained, [Ticket(0)]);
    assert_eq!(desk.pool.stats().streams, 1);
}

#[test]
fn spare_dies_at_the_idle_time_and_is_not_renewed() {
    let mut desk = Desk::new(Config::default());
    for _ in 0..12 {
        desk.open();
    }
    desk.dialled(1);
    desk.first_byte(1);
    desk.wait(Duration::from_secs(30));
    assert_eq!(desk.closed, [(Ticket(1), CloseReason::Idle)]);
    assert_eq!(desk.dials(), 2);
}

#[test]
fn connection_without_a_stream_is_closed_at_the_idle_time() {
    let mut desk = Desk::new(Config::default());
    let ticket = desk.open();
    desk.wait(Duration::from_secs(20));
    desk.end(ticket);
    desk.wait(Duration::from_millis(9_900));
    assert_eq!(desk.closed, []);
    desk.wait(Duration::from_millis(200));
    assert_eq!(desk.closed, [(ticket, CloseReason::Idle)]);
}

#[test]
fn busy_connection_takes_no_stream_beyond_its_age_and_lives_until_the_last_one_ends() {
    let mut desk = Desk::new(Config::default());
    let old = desk.open();
    desk.wait(Duration::from_secs(61));
    assert_eq!(desk.drained, [old]);
    let new = desk.open();
    assert_ne!(new, old);
    assert_eq!(desk.closed, []);
    desk.end(old);
    assert_eq!(desk.closed, [(old, CloseReason::Retired)]);
}

#[test]
fn smaller_limits_of_the_peer_hold() {
    let mut desk = Desk::new(Config { spare: false, ..Config::default() });
    let first = desk.open();
    let peer = Limits { max_age: Duration::from_secs(600), max_count: 3, max_streams: 100 };
    desk.pool.handle_limits(desk.now, first, peer);
    assert_eq!(desk.open(), first);
    assert_eq!(desk.open(), first);
    assert_ne!(desk.open(), first);
    desk.wait(Duration::from_secs(61));
    assert_eq!(desk.drained.len(), 2, "our age is the smaller one");
}

#[test]
fn limits_of_zero_do_not_make_the_pool_dial_for_ever() {
    let mut desk = Desk::new(Config::default());
    let zero = Limits { max_age: Duration::ZERO, max_count: 0, max_streams: 0 };
    for round in 1..=20 {
        let ticket = desk.open();
        desk.pool.handle_limits(desk.now, ticket, zero);
        desk.settle();
        assert!(desk.dials() <= 2 * round, "{} dials for {round} streams", desk.dials());
    }
}

#[test]
fn peer_that_allows_few_streams_at_a_time_gets_no_more() {
    let mut desk = Desk::new(Config { max_connections: 1, ..Config::default() });
    let ticket = desk.open();
    let peer = Limits { max_age: Duration::MAX, max_count: u32::MAX, max_streams: 2 };
    desk.pool.handle_limits(desk.now, ticket, peer);
    desk.open();
    desk.request();
    assert_eq!(desk.used, [2]);
    desk.end(ticket);
    assert_eq!(desk.used, [3]);
}

#[test]
fn at_the_cap_a_request_queues_and_then_fails_with_limit() {
    let mut desk = Desk::new(Config { max_connections: 2, ..Config::default() });
    for _ in 0..32 {
        desk.open();
    }
    assert_eq!(desk.used, [16, 16]);
    desk.request();
    desk.wait(Duration::from_millis(9_999));
    assert_eq!(desk.failed, []);
    desk.wait(Duration::from_millis(1));
    assert_eq!(desk.failed, [RequestError::Limit]);
    assert_eq!(desk.dials(), 2);
}

#[test]
fn at_the_cap_a_queued_request_is_served_when_a_connection_is_gone() {
    let mut desk = Desk::new(Config { max_connections: 1, ..Config::default() });
    for _ in 0..16 {
        desk.open();
    }
    desk.request();
    for _ in 0..16 {
        desk.end(Ticket(0));
    }
    assert_eq!(desk.closed, [(Ticket(0), CloseReason::Retired)]);
    assert_eq!(desk.dials(), 1, "it counts until it is really gone");
    desk.pool.handle_closed(desk.now, Ticket(0), "drained");
    desk.settle();
    assert_eq!(desk.dials(), 2);
}

#[test]
fn stream_goes_on_before_the_first_byte_has_come() {
    let mut desk = Desk::new(Config::default());
    desk.request();
    desk.dialled(0);
    assert_eq!(desk.used, [1]);
}

#[test]
fn death_before_the_first_byte_is_a_failed_dial() {
    let mut desk = Desk::new(Config { spare: false, ..Config::default() });
    for _ in 0..18 {
        desk.request();
    }
    desk.dialled(0);
    desk.pool.handle_dial_failed(desk.now, Ticket(1), "refused");
    desk.settle();
    // The first connection is used up, so the other two have nothing left to wait for.
    assert_eq!(desk.failed, [RequestError::Dial("refused"), RequestError::Dial("refused")]);
    desk.pool.handle_closed(desk.now, Ticket(0), "alert: unknown ca");
    desk.settle();
    assert!(desk.pool.stats().failing);
    desk.request();
    assert_eq!(desk.dials(), 2, "the next dial waits");
    desk.wait(Duration::from_secs(1));
    assert_eq!(desk.dials(), 3);
    desk.dialled(2);
    desk.pool.handle_closed(desk.now, Ticket(2), "alert: unknown ca");
    desk.request();
    desk.wait(Duration::from_secs(1));
    desk.pool.handle_dial_failed(desk.now, Ticket(3), "alert: unknown ca");
    desk.settle();
    assert_eq!(desk.failed.last(), Some(&RequestError::Dial("alert: unknown ca")));
}

#[test]
fn requests_that_wait_for_the_first_byte_fail_with_the_connection() {
    let mut desk = Desk::new(Config { spare: false, ..Config::default() });
    desk.request();
    desk.pool.handle_dial_failed(desk.now, Ticket(0), "refused");
    desk.wait(Duration::from_secs(1));
    for _ in 0..17 {
        desk.request();
    }
    desk.dialled(1);
    assert_eq!((desk.dials(), desk.pool.stats().waiting), (2, 1), "one dial at a time while dials fail");
    desk.pool.handle_closed(desk.now, Ticket(1), "alert: bad certificate");
    desk.settle();
    assert_eq!(desk.failed.last(), Some(&RequestError::Refused("alert: bad certificate")));
}

#[test]
fn death_after_the_first_byte_is_no_failed_dial() {
    let mut desk = Desk::new(Config::default());
    let ticket = desk.open();
    desk.pool.handle_closed(desk.now, ticket, "reset");
    desk.request();
    assert_eq!(desk.dials(), 2, "dialled at once");
}

#[test]
fn peer_that_says_nothing_within_the_dial_timeout_is_a_failed_dial() {
    let mut desk = Desk::new(Config { spare: false, ..Config::default() });
    desk.request();
    desk.dialled(0);
    desk.wait(Duration::from_millis(9_900));
    assert_eq!(desk.closed, []);
    desk.wait(Duration::from_millis(100));
    assert_eq!(desk.closed, [(Ticket(0), CloseReason::Silent)]);
    assert!(desk.pool.stats().failing);
}

#[test]
fn classic_connection_is_good_once_it_has_lasted() {
    let mut desk = Desk::new(Config::default());
    desk.request();
    desk.pool.handle_dialled(desk.now, Ticket(0), Proof::Lasts(Duration::from_secs(3)));
    desk.wait(Duration::from_secs(4));
    desk.pool.handle_closed(desk.now, Ticket(0), "reset");
    assert!(!desk.pool.stats().failing);

    desk.request();
    desk.pool.handle_dialled(desk.now, Ticket(1), Proof::Lasts(Duration::from_secs(3)));
    desk.wait(Duration::from_secs(2));
    desk.pool.handle_closed(desk.now, Ticket(1), "alert: bad certificate");
    assert!(desk.pool.stats().failing);
}

#[test]
fn back_off_is_capped_at_a_second_while_a_request_waits() {
    let mut desk = Desk::new(Config::default());
    for round in 0..30 {
        desk.request();
        let mut waited = Duration::ZERO;
        while desk.dials() == round {
            desk.wait(Duration::from_millis(1));
            waited += Duration::from_millis(1);
        }
        assert!(waited <= Duration::from_secs(1), "round {round}: {waited:?}");
        assert!(round == 0 || waited >= Duration::from_millis(250), "round {round}: {waited:?}");
        desk.pool.handle_dial_failed(desk.now, Ticket(round as u64), "refused");
        desk.settle();
        assert_eq!(desk.failed.len(), round + 1);
    }
}

#[test]
fn nobody_is_dialled_while_nobody_asks() {
    let mut desk = Desk::new(Config::default());
    desk.request();
    desk.pool.handle_dial_failed(desk.now, Ticket(0), "refused");
    desk.settle();
    desk.wait(Duration::from_secs(3600));
    assert_eq!(desk.dials(), 1);
    assert_eq!(desk.pool.poll_timeout(), None);
}

#[test]
fn suspect_connection_takes_no_stream_until_it_answers() {
    let mut desk = Desk::new(Config::default());
    let suspect = desk.open();
    desk.pool.handle_suspect(desk.now, suspect);
    desk.request();
    assert_eq!(desk.dials(), 2, "a fresh dial in parallel");
    // Whichever is there first carries it.
    desk.pool.handle_alive(desk.now, suspect);
    desk.settle();
    assert_eq!(desk.used, [2, 0]);
}

#[test]
fn connections_are_suspect_after_a_sleep() {
    let mut desk = Desk::new(Config::default());
    let old = desk.open();
    desk.pool.handle_wake(desk.now);
    desk.settle();
    assert_eq!(desk.probed, [old]);
    assert_ne!(desk.open(), old);
}

#[test]
fn draining_peer_gets_no_new_stream() {
    let mut desk = Desk::new(Config::default());
    let old = desk.open();
    desk.pool.handle_draining(desk.now, old);
    assert_ne!(desk.open(), old);
    assert_eq!(desk.drained, [], "the peer knows");
    desk.end(old);
    assert_eq!(desk.closed, [(old, CloseReason::Retired)]);
}

#[test]
fn refused_stream_goes_to_another_connection() {
    let mut desk = Desk::new(Config::default());
    let refused_by = desk.open();
    desk.next_waiter += 1;
    desk.pool.request_again(desk.now, Waiter(desk.next_waiter), desk.now, refused_by);
    desk.settle();
    assert_eq!(desk.used, [1, 0]);
    desk.request();
    assert_eq!(desk.used, [2, 0], "others still use it");
    desk.dialled(1);
    assert_eq!(desk.used, [2, 1]);
}

#[test]
fn cancelled_request_gets_nothing() {
    let mut desk = Desk::new(Config::default());
    desk.request();
    desk.pool.cancel(Waiter(desk.next_waiter));
    desk.dialled(0);
    assert_eq!(desk.used, [0]);
    desk.wait(Duration::from_secs(60));
    assert_eq!(desk.failed, []);
}

#[test]
fn new_stream_prefers_a_quiet_connection_then_the_newest() {
    let mut desk = Desk::new(Config { spare: false, ..Config::default() });
    let [quiet, slow, bulk] = three(&mut desk);
    desk.path(bulk, Path { bulk: 1, ..Path::default() });
    desk.path(slow, Path { queue_delay: Duration::from_millis(80), ..Path::default() });
    assert_eq!(desk.open(), quiet);
    desk.pool.handle_suspect(desk.now, quiet);
    assert_eq!(desk.open(), slow, "a queue is better than bulk");
    desk.path(bulk, Path::default());
    desk.path(slow, Path::default());
    assert_eq!(desk.open(), bulk, "the newest of equals");
}

#[test]
fn bulk_lane_is_used_before_a_new_connection_is_dialled() {
    let mut desk = Desk::new(Config { spare: false, ..Config::default() });
    let only = desk.open();
    desk.path(only, Path { bulk: 3, sick: true, ..Path::default() });
    assert_eq!(desk.open(), only);
    assert_eq!(desk.dials(), 1);
}

#[test]
fn no_more_lanes_than_allowed_are_set_apart() {
    let mut desk = Desk::new(Config { spare: false, bulk_lanes: 1, ..Config::default() });
    let [shared, quiet, lane] = three(&mut desk);
    desk.path(lane, Path { bulk: 1, ..Path::default() });
    desk.path(shared, Path { bulk: 1, ..Path::default() });
    assert_eq!(desk.open(), quiet);
    desk.pool.handle_draining(desk.now, quiet);
    assert_eq!(desk.open(), shared, "bulk beyond the lanes shares");
}

#[test]
fn shut_down_pool_refuses_closes_what_is_empty_and_waits_for_the_rest() {
    let mut desk = Desk::new(Config::default());
    for _ in 0..12 {
        desk.open();
    }
    desk.dialled(1);
    desk.first_byte(1);
    desk.pool.shutdown(desk.now);
    desk.request();
    assert_eq!(desk.failed, [RequestError::Closed]);
    assert_eq!(desk.drained, [Ticket(0)]);
    assert_eq!(desk.closed, [(Ticket(1), CloseReason::Retired)]);
    desk.pool.handle_closed(desk.now, Ticket(1), "drained");
    assert!(!desk.pool.is_finished());
    for _ in 0..12 {
        desk.end(Ticket(0));
    }
    desk.pool.handle_closed(desk.now, Ticket(0), "drained");
    assert!(desk.pool.is_finished());
}

#[test]
fn connection_that_fails_to_open_a_stream_before_its_first_byte_is_a_failed_dial() {
    let mut desk = Desk::new(Config { spare: false, ..Config::default() });
    desk.request();
    desk.dialled(0);
    desk.pool.handle_open_failed(desk.now, Ticket(0));
    desk.pool.handle_closed(desk.now, Ticket(0), "alert: bad certificate");
    assert!(desk.pool.stats().failing);
}

#[test]
fn first_byte_that_overtakes_the_end_of_the_dial_proves_it() {
    let mut now = Instant::now();
    let mut pool: Pool<&str> = Pool::new(Config::default(), 1);
    pool.request(now, Waiter(1));
    assert_eq!(pool.poll_action(), Some(Action::Dial(Ticket(0))));
    // The driver's task may run, and hear the peer, before the dialler's task has told of the connection.
    pool.handle_first_byte(now, Ticket(0));
    pool.handle_dialled(now, Ticket(0), Proof::FirstByte);
    assert_eq!(pool.poll_action(), Some(Action::Use { waiter: Waiter(1), ticket: Ticket(0) }));
    for _ in 0..20 {
        now += Duration::from_secs(1);
        pool.handle_timeout(now);
    }
    let closed =
        std::iter::from_fn(|| pool.poll_action()).find(|action| matches!(action, Action::Close { .. }));
    assert_eq!(closed, None, "a good connection with a stream");
}

/// Three good connections with a stream each, the last one newest.
fn three(desk: &mut Desk) -> [Ticket; 3] {
    let tickets = [(); 3].map(|()| {
        let ticket = desk.open();
        // Not usable for a moment, so that the next one is dialled.
        desk.pool.handle_suspect(desk.now, ticket);
        ticket
    });
    for ticket in tickets {
        desk.pool.handle_alive(desk.now, ticket);
    }
    tickets
}

/// A pool and what it wanted so far.
struct Desk {
    pool: Pool<&'static str>,
    now: Instant,
    next_waiter: u64,
    /// Streams put on each connection, by ticket.
    used: Vec<u32>,
    last_use: Option<Ticket>,
    drained: Vec<Ticket>,
    closed: Vec<(Ticket, CloseReason)>,
    probed: Vec<Ticket>,
    failed: Vec<RequestError<&'static str>>,
}

impl Desk {
    fn new(config: Config) -> Self {
        Self {
            pool: Pool::new(config, 42),
            now: Instant::now(),
            next_waiter: 0,
            used: Vec::new(),
            last_use: None,
            drained: Vec::new(),
            closed: Vec::new(),
            probed: Vec::new(),
            failed: Vec::new(),
        }
    }

    fn dials(&self) -> usize {
        self.used.len()
    }

    fn request(&mut self) {
        self.next_waiter += 1;
        self.pool.request(self.now, Waiter(self.next_waiter));
        self.settle();
    }

    /// Opens a stream, on a connection that comes up at once if one must be dialled.
    fn open(&mut self) -> Ticket {
        self.last_use = None;
        let dials = self.dials();
        self.request();
        if self.last_use.is_none() {
            assert!(self.dials() > 0, "a dial");
            let number = self.dials().max(dials) - 1;
            self.dialled(number);
            self.first_byte(number);
        }
        self.last_use.expect("a stream")
    }

    fn dialled(&mut self, number: usize) {
        self.pool.handle_dialled(self.now, Ticket(number as u64), Proof::FirstByte);
        self.settle();
    }

    fn first_byte(&mut self, number: usize) {
        self.pool.handle_first_byte(self.now, Ticket(number as u64));
        self.settle();
    }

    fn path(&mut self, ticket: Ticket, path: Path) {
        self.pool.handle_path(ticket, path);
    }

    fn end(&mut self, ticket: Ticket) {
        self.pool.handle_stream_ended(self.now, ticket);
        self.settle();
    }

    /// Lets time pass, stopping at each deadline on the way.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while let Some((at, _)) = self.pool.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = at;
            self.pool.handle_timeout(at);
            self.settle();
            let again = self.pool.poll_timeout();
            assert!(again.is_none_or(|(next, _)| next > at), "the same deadline again: {again:?}");
        }
        self.now = end;
    }

    fn settle(&mut self) {
        while let Some(action) = self.pool.poll_action() {
            match action {
                Action::Dial(ticket) => {
                    assert_eq!(ticket, Ticket(self.used.len() as u64));
                    self.used.push(0);
                }
                Action::Use { ticket, .. } => {
                    self.used[ticket.0 as usize] += 1;
                    self.last_use = Some(ticket);
                }
                Action::Drain(ticket) => self.drained.push(ticket),
                Action::Close { ticket, why } => self.closed.push((ticket, why)),
                Action::Probe(ticket) => self.probed.push(ticket),
                Action::Fail { error, .. } => self.failed.push(error),
                other => panic!("{other:?}"),
            }
        }
    }
}
