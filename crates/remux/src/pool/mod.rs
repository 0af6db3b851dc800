//! Which connection carries the next stream, without any I/O.
//!
//! A [`Pool`] is told what was asked for and what happened (`request`, `handle_*`) and says what to do
//! ([`Pool::poll_action`]) and when to call again ([`Pool::poll_timeout`]). It reads no clock, opens no socket and
//! draws no random numbers: times and the seed of its jitter are handed in.
//!
//! ```text
//!              request                     Use{waiter, ticket}
//! caller ────────────────▶ ┌──────────┐ ─────────────────────▶ open the stream on that connection
//!                          │   Pool   │   Dial(ticket)
//! dial results, first byte │          │ ─────────────────────▶ connect
//! streams ended, suspicion │  slots   │   Drain, Close, Probe
//! ────────────────────────▶│  queue   │ ─────────────────────▶ GOAWAY, close, ping
//!        time passes       │  pause   │   Fail{waiter, error}
//! ────────────────────────▶└──────────┘ ─────────────────────▶ tell the caller
//! ```
//!
//! # The policy
//!
//! - A connection is *usable* when it is younger than the age limit, under the count, not draining, not suspect and
//!   under the peer's limit of simultaneous streams. Streams go on as soon as the dial returned.
//! - A new connection is dialled only when none is usable; dials under way count with all the streams they will
//!   take. The one exception is the *spare*: when a stream was just put on a connection and no usable connection is
//!   under three quarters of its age and count, one is dialled ahead. No new stream, no new spare.
//! - A dial is *good* at the first byte from the peer. A connection that dies before that is a failed dial: the next
//!   one waits (`backoff`), and requests that wait for it fail with its cause.
//! - A dial that keeps requests waiting for [`Config::hedge`] is *late*: another one begins beside it, and so on, one for
//!   each such time. On a path that just came back the newest is the one that works, as the others' kernels have backed
//!   off; when one returns, those overtaken by it are given up.
//! - At the cap: choose among the usable ones, else queue, else fail. Age, count and cap are never exceeded.
//! - A worn connection says GOAWAY and lives until its streams end; one without streams closes after the idle time.
//!
//! The life of one connection is drawn in `slot`, the pause after a failure in `backoff`; `dials` says when one begins.

mod backoff;
mod choose;
mod config;
mod dials;
#[cfg(feature = "io")]
pub(crate) mod meter;
mod slot;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use backoff::Backoff;
use choose::Rank;
pub use config::{Config, Limits};
use slot::{Due, Slot};

/// Decides which connection to one server carries the next stream.
///
/// After any call drain [`Pool::poll_action`], carrying the actions out in order, then arm one timer with
/// [`Pool::poll_timeout`]. `E` is why a dial failed or a connection ended; the pool only passes it on.
#[derive(Debug)]
pub struct Pool<E> {
    config: Config,
    /// By ticket, so the newest is last.
    slots: BTreeMap<Ticket, Slot>,
    /// By deadline, so the one that asked first is first.
    waiting: VecDeque<Waiting>,
    actions: VecDeque<Action<E>>,
    backoff: Backoff,
    /// What the peer said last; a new connection starts with it.
    limits: Limits,
    next_ticket: u64,
    shut_down: bool,
}

impl<E: Clone> Pool<E> {
    /// An empty pool; `seed` sets the jitter of its pauses.
    pub fn new(config: Config, seed: u64) -> Self {
        let config = config.sane();
        Self {
            slots: BTreeMap::new(),
            waiting: VecDeque::new(),
            actions: VecDeque::new(),
            backoff: Backoff::new(config.backoff_min, config.backoff_max, config.backoff_waiting, seed),
            limits: config.limits,
            next_ticket: 0,
            shut_down: false,
            config,
        }
    }

    // What the application wants.

    /// Asks for a connection for one stream. The answer is one [`Action::Use`] or [`Action::Fail`] with this waiter,
    /// at the latest after [`Config::request_timeout`], unless [`Pool::cancel`] comes first.
    pub fn request(&mut self, now: Instant, waiter: Waiter) {
        self.enqueue(now, waiter, now, None);
    }

    /// Like [`Pool::request`] for one that asked at `asked` and was refused by the connection `avoid`: it has no more
    /// time than it had, keeps its place in the queue, and is served by any other connection.
    pub fn request_again(&mut self, now: Instant, waiter: Waiter, asked: Instant, avoid: Ticket) {
        self.enqueue(now, waiter, asked, Some(avoid));
    }

    /// Forgets a request that was not answered yet; others are not affected.
    pub fn cancel(&mut self, waiter: Waiter) {
        self.waiting.retain(|waiting| waiting.waiter != waiter);
    }

    /// Ends the pool: no new stream and no dial; connections with streams drain, the others close.
    pub fn shutdown(&mut self, now: Instant) {
        self.shut_down = true;
        for Waiting { waiter, .. } in self.waiting.drain(..) {
            self.actions.push_back(Action::Fail { waiter, error: RequestError::Closed });
        }
        let tickets: Vec<Ticket> = self.slots.keys().copied().collect();
        for ticket in tickets {
            self.retire(ticket, Announce::GoAway);
        }
        self.balance(now);
    }

    // What happened.

    /// The connect returned: the connection takes streams. `proof` says what makes the dial good on its wire. False if
    /// nobody wants the connection any more: close it.
    pub fn handle_dialled(&mut self, now: Instant, ticket: Ticket, proof: Proof) -> bool {
        let (silence_max, hedge) = (self.config.request_timeout, self.config.hedge);
        let Some(slot) = self.slots.get_mut(&ticket) else { return false };
        let wanted = slot.handle_dialled(now, proof, silence_max, hedge);
        let began = slot.began;
        if wanted {
            self.give_up_overtaken(began);
        }
        self.balance(now);
        wanted
    }

    /// The connect failed or took too long.
    pub fn handle_dial_failed(&mut self, now: Instant, ticket: Ticket, cause: E) {
        let Some(slot) = self.slots.remove(&ticket) else { return };
        if slot.is_dialling() {
            self.fail_dial(now, slot.began, RequestError::Dial(cause));
        }
        self.balance(now);
    }

    /// The first byte from the peer: the dial was good.
    pub fn handle_first_byte(&mut self, now: Instant, ticket: Ticket) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        if slot.prove() {
            self.backoff.handle_success();
        }
        self.balance(now);
    }

    /// The peer told its limits; on each the smaller one holds.
    pub fn handle_limits(&mut self, now: Instant, ticket: Ticket, peer: Limits) {
        let ours = self.config.limits;
        let limits = Limits {
            max_age: ours.max_age.min(peer.max_age),
            max_count: ours.max_count.min(peer.max_count),
            max_streams: peer.max_streams,
        }
        .sane();
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        slot.handle_limits(limits);
        self.limits = limits;
        self.balance(now);
    }

    /// The peer turned the connection away before it took anything, and another server may not: those who wait go on
    /// waiting, and the next dial comes at once.
    pub fn handle_turned_away(&mut self, now: Instant, ticket: Ticket) {
        self.slots.remove(&ticket);
        self.balance(now);
    }

    /// A stream that [`Action::Use`] put on this connection ended.
    pub fn handle_stream_ended(&mut self, now: Instant, ticket: Ticket) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        slot.handle_stream_ended(now);
        if slot.is_retiring() && slot.live() == 0 {
            self.close(ticket, CloseReason::Retired);
        }
        self.balance(now);
    }

    /// The stream could not even be opened on the connection it was given to: the connection takes no more. Ask
    /// again with [`Pool::request_again`].
    pub fn handle_open_failed(&mut self, now: Instant, ticket: Ticket) {
        if let Some(slot) = self.slots.get_mut(&ticket) {
            slot.handle_stream_ended(now);
            slot.broken = true;
        }
        self.handle_draining(now, ticket);
    }

    /// The peer takes no more streams on this connection (it sent GOAWAY).
    pub fn handle_draining(&mut self, now: Instant, ticket: Ticket) {
        self.retire(ticket, Announce::Nothing);
        if self.slots.get(&ticket).is_some_and(|slot| slot.is_retiring() && slot.live() == 0) {
            self.close(ticket, CloseReason::Retired);
        }
        self.balance(now);
    }

    /// No byte came when one was due: no new stream until [`Pool::handle_alive`].
    pub fn handle_suspect(&mut self, now: Instant, ticket: Ticket) {
        if let Some(slot) = self.slots.get_mut(&ticket) {
            slot.set_suspect(true);
        }
        self.balance(now);
    }

    /// The machine slept or its network changed: each connection is suspect until it answers.
    pub fn handle_wake(&mut self, now: Instant) {
        for (ticket, slot) in &mut self.slots {
            slot.set_suspect(true);
            if slot.is_suspect() {
                self.actions.push_back(Action::Probe(*ticket));
            }
        }
        self.balance(now);
    }

    /// A suspect connection answered.
    pub fn handle_alive(&mut self, now: Instant, ticket: Ticket) {
        if let Some(slot) = self.slots.get_mut(&ticket) {
            slot.set_suspect(false);
        }
        self.balance(now);
    }

    /// What is known of the path under a connection; it only matters when several are usable.
    pub fn handle_path(&mut self, ticket: Ticket, path: Path) {
        let lanes = self.slots.values().filter(|slot| slot.lane && slot.is_open()).count();
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        slot.path = path;
        slot.lane = path.bulk > 0 && (slot.lane || lanes < self.config.bulk_lanes);
    }

    /// The connection is gone, and every stream on it.
    pub fn handle_closed(&mut self, now: Instant, ticket: Ticket, cause: E) {
        let Some(slot) = self.slots.remove(&ticket) else { return };
        if slot.is_dialling() {
            self.fail_dial(now, slot.began, RequestError::Dial(cause));
        } else if slot.is_unproven(now) && (slot.broken || !slot.is_closing()) {
            self.fail_dial(now, slot.began, RequestError::Refused(cause));
        }
        self.balance(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(first) = self.waiting.front().copied() {
            if now < first.deadline {
                break;
            }
            self.waiting.pop_front();
            let full = self.slots.len() >= self.config.max_connections;
            let error = if full { RequestError::Limit } else { RequestError::TimedOut };
            self.actions.push_back(Action::Fail { waiter: first.waiter, error });
            if self.waiting.is_empty() {
                // Nobody is left to have them for. One that began with the request has had its time, too, and is about to
                // say why it came to nothing.
                let asked = first.deadline.checked_sub(self.config.request_timeout);
                self.give_up_dials(|slot| asked.is_none_or(|asked| slot.began > asked));
            }
        }
        let idle_max = self.config.idle_max;
        let due: Vec<(Ticket, Due)> = self
            .slots
            .iter()
            .filter_map(|(ticket, slot)| Some((*ticket, slot.deadline(idle_max)?)))
            .filter_map(|(ticket, (at, due))| (at <= now).then_some((ticket, due)))
            .collect();
        for (ticket, due) in due {
            self.handle_due(now, ticket, due);
        }
        self.balance(now);
    }

    // What the pool wants.

    /// The next thing to do, in order, until there is none.
    pub fn poll_action(&mut self) -> Option<Action<E>> {
        self.actions.pop_front()
    }

    /// When to call [`Pool::handle_timeout`] at the latest, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let request = self.waiting.front().map(|first| (first.deadline, "request"));
        let pause = self.wants_dial().then(|| self.backoff.until(true)).flatten().map(|at| (at, "back-off"));
        let hedge = self.late_at().map(|at| (at, "hedge"));
        let idle_max = self.config.idle_max;
        let slots = self.slots.values().filter_map(|slot| slot.deadline(idle_max));
        slots
            .map(|(at, due)| (at, due.reason()))
            .chain(request)
            .chain(pause)
            .chain(hedge)
            .min_by_key(|(at, _)| *at)
    }

    /// When a dial that nobody waits for may be made after the last one failed; `None` if it did not.
    pub fn next_dial(&self) -> Option<Instant> {
        self.backoff.until(false)
    }

    /// Figures for people.
    pub fn stats(&self) -> Stats {
        let mut stats =
            Stats { waiting: self.waiting.len(), failing: self.backoff.is_failing(), ..Stats::default() };
        for slot in self.slots.values() {
            stats.streams = stats.streams.saturating_add(u64::from(slot.live()));
            let figure = if slot.is_dialling() {
                &mut stats.dialling
            } else if slot.is_open() {
                &mut stats.open
            } else {
                &mut stats.retiring
            };
            *figure = figure.saturating_add(1);
        }
        stats
    }

    /// Whether the pool is shut down and its last connection gone.
    pub fn is_finished(&self) -> bool {
        self.shut_down && self.slots.is_empty()
    }

    // How it decides.

    fn enqueue(&mut self, now: Instant, waiter: Waiter, asked: Instant, avoid: Option<Ticket>) {
        if self.shut_down {
            self.actions.push_back(Action::Fail { waiter, error: RequestError::Closed });
            return;
        }
        if self.waiting.len() >= self.config.max_waiting {
            self.actions.push_back(Action::Fail { waiter, error: RequestError::Limit });
            return;
        }
        let deadline = asked.checked_add(self.config.request_timeout).unwrap_or(asked);
        let place = self.waiting.partition_point(|other| other.deadline <= deadline);
        self.waiting.insert(place, Waiting { waiter, deadline, avoid });
        self.balance(now);
    }

    /// Brings connections and requests together after anything has changed.
    fn balance(&mut self, now: Instant) {
        self.retire_worn(now);
        let mut used = false;
        let mut place = 0_usize;
        while let Some(Waiting { waiter, avoid, .. }) = self.waiting.get(place).copied() {
            match self.choose(now, avoid) {
                Some(ticket) => {
                    self.waiting.remove(place);
                    self.put(now, waiter, ticket);
                    used = true;
                }
                // Others may use what this one avoids.
                None if avoid.is_some() => place = place.saturating_add(1),
                None => break,
            }
        }
        self.dial_for_requests(now);
        // Only ever in answer to a new stream: a quiet connection that ages must not make the pool redial.
        if used {
            self.dial_ahead(now);
        }
    }

    fn choose(&self, now: Instant, avoid: Option<Ticket>) -> Option<Ticket> {
        let usable =
            self.slots.iter().filter(|(ticket, slot)| Some(**ticket) != avoid && slot.is_usable(now));
        let best = usable.min_by_key(|(ticket, slot)| Rank::of(**ticket, slot, slot.is_unproven(now)));
        best.map(|(ticket, _)| *ticket)
    }

    fn put(&mut self, now: Instant, waiter: Waiter, ticket: Ticket) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        slot.open_stream();
        let worn = slot.is_worn(now);
        self.actions.push_back(Action::Use { waiter, ticket });
        if worn {
            self.retire(ticket, Announce::GoAway);
        }
    }

    fn handle_due(&mut self, now: Instant, ticket: Ticket, due: Due) {
        match due {
            Due::Age => self.retire(ticket, Announce::GoAway),
            Due::Idle => self.close(ticket, CloseReason::Idle),
            Due::Good => self.handle_first_byte(now, ticket),
            Due::Silent => {
                let began = self.slots.get(&ticket).map_or(now, |slot| slot.began);
                self.close(ticket, CloseReason::Silent);
                self.fail_dial(now, began, RequestError::Silent);
            }
        }
    }

    fn retire_worn(&mut self, now: Instant) {
        let worn: Vec<Ticket> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.is_open() && slot.is_worn(now))
            .map(|(t, _)| *t)
            .collect();
        for ticket in worn {
            self.retire(ticket, Announce::GoAway);
        }
    }

    /// No new stream from here on: lives until its streams end, closes at once if it has none.
    fn retire(&mut self, ticket: Ticket, announce: Announce) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        if slot.is_dialling() || (slot.is_open() && slot.live() == 0) {
            self.close(ticket, CloseReason::Retired);
        } else if slot.retire() && announce == Announce::GoAway {
            self.actions.push_back(Action::Drain(ticket));
        }
    }

    fn close(&mut self, ticket: Ticket, why: CloseReason) {
        let Some(slot) = self.slots.get_mut(&ticket) else { return };
        if slot.close() {
            self.actions.push_back(Action::Close { ticket, why });
        }
    }
}

/// One connection of one pool, from its dial on; later ones are greater.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ticket(pub u64);

/// One request of one pool, named by the caller.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Waiter(pub u64);

/// What the pool wants done; the ticket of a connection that is gone by then may be ignored.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Action<E> {
    /// Close the connection now, and with it the streams it may have. If it is still being dialled, stop that. Then
    /// say [`Pool::handle_closed`].
    Close {
        /// Which one.
        ticket: Ticket,
        /// Why.
        why: CloseReason,
    },
    /// Connect, then say [`Pool::handle_dialled`] or [`Pool::handle_dial_failed`], within the dial time-out.
    Dial(Ticket),
    /// Tell the peer that no new stream comes (GOAWAY); running streams go on.
    Drain(Ticket),
    /// The request failed.
    Fail {
        /// Which one.
        waiter: Waiter,
        /// Why.
        error: RequestError<E>,
    },
    /// Ask the peer for a sign of life, then say [`Pool::handle_alive`] or [`Pool::handle_closed`].
    Probe(Ticket),
    /// Open the stream on this connection; say [`Pool::handle_stream_ended`] once it has ended, or
    /// [`Pool::handle_open_failed`] if it never began.
    Use {
        /// Whose stream.
        waiter: Waiter,
        /// Where.
        ticket: Ticket,
    },
}

/// Why the pool closes a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CloseReason {
    /// It carried no stream for the idle time.
    Idle,
    /// Its dial was late, and a later one has returned or nobody waits any more.
    Overtaken,
    /// It takes no new streams, and its last one has ended.
    Retired,
    /// The peer sent nothing since it was dialled; only then there may be streams.
    Silent,
}

/// What makes a dial good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Proof {
    /// The first byte from the peer (remux2: its SETTINGS); without one within the dial time-out the dial failed.
    FirstByte,
    /// The first byte, or that the connection has lasted so long: for a wire whose peer need not say anything.
    Lasts(Duration),
}

/// What is known of the path under a connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Path {
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Round-trip time above the least ever seen: what waits in queues.
    pub queue_delay: Duration,
    /// Streams that move much (256 KiB in a second).
    pub bulk: u32,
    /// In loss recovery, or bytes under way without progress.
    pub sick: bool,
}

/// What a pool holds at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Connections being dialled.
    pub dialling: usize,
    /// Connections that are up and not retired; not all need be usable.
    pub open: usize,
    /// Connections that take no more streams and wait for theirs to end.
    pub retiring: usize,
    /// Streams that have not ended.
    pub streams: u64,
    /// Requests without a connection.
    pub waiting: usize,
    /// Whether the last dial failed.
    pub failing: bool,
}

/// Why a request got no connection.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError<E> {
    /// The pool is shut down.
    #[error("the pool is closed")]
    Closed,
    /// The dial it waited for failed.
    #[error("{0}")]
    Dial(E),
    /// Every connection the limits allow is in use, or too many requests wait.
    #[error("no connection is free and the limit of connections is reached")]
    Limit,
    /// The connection it waited for was closed before the first byte from the peer.
    #[error("connection was closed before the peer's first byte: {0}")]
    Refused(E),
    /// The peer took the connection and said nothing within the dial time-out.
    #[error("the peer took the connection but sent nothing")]
    Silent,
    /// No connection within the dial time-out.
    #[error("no connection within the dial time-out")]
    TimedOut,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    waiter: Waiter,
    deadline: Instant,
    /// The connection that refused it.
    avoid: Option<Ticket>,
}

/// Whether the peer is told that a connection retires.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Announce {
    GoAway,
    Nothing,
}
