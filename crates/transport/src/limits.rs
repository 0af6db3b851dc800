//! Who may come to the door: limits before authentication, without any I/O.
//!
//! ```text
//! accept ──admit──▶ pending ──handle_done(outcome)──▶ Authenticated: the source is forgiven
//!            │         │                              failed: the source is marked, a penalty accrues
//!            │         └─ next_to_go: no room,        Gone: nobody was there, nothing is counted
//!            │            and others wait
//!            └─ Refusal: close with RST
//! ```
//!
//! A source (an IPv4 address, or an IPv6 /64) that never failed meets two bounds only: the process-wide room, where it
//! waits, and half of that room for itself. Everything finer bites marked sources, whose handshakes failed.
//!
//! A quarter of the room is kept for sources that are known, as they have proven an identity lately: no crowd of strangers
//! can keep them waiting. Strangers among themselves make room: whoever holds most gives up its oldest handshake, once that
//! had its fair time. So a crowd of silent connections costs a newcomer half a second and not its whole dial.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// The limits; every time and count of one server process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Handshakes under way in the process. Each costs a descriptor and about 40 KiB. Strangers, who have not proven an
    /// identity lately, have at most [`Self::for_strangers`] of them. As many connections again may wait for a place; each
    /// costs a descriptor.
    pub pending: usize,
    /// From this many strangers on, marked sources are refused at random: rarely at first, always when theirs are full.
    pub refuse_from: usize,
    /// Pending connections of one marked source.
    pub pending_per_source: usize,
    /// New connections a second of one marked source ...
    pub rate: u32,
    /// ... and how many at once.
    pub burst: u32,
    /// A handshake that takes longer than this may be ended for another one when there is no room.
    pub fair_time: Duration,
    /// Penalty for a certificate or TLS version we refused.
    pub penalty_certificate: Duration,
    /// Penalty for a handshake that was not finished in time.
    pub penalty_deadline: Duration,
    /// Penalty for bytes that are not TLS, or not the protocol inside it.
    pub penalty_malformed: Duration,
    /// Penalties add up, and are enforced once this much has accrued.
    pub penalty_from: Duration,
    /// A penalty never lasts longer.
    pub penalty_max: Duration,
    /// A source stays marked for this long after its last failure.
    pub memory: Duration,
    /// Marked sources remembered; the one that failed longest ago is forgotten first. About 150 bytes each.
    pub table: usize,
    /// Loopback addresses are exempt from all but `pending`: behind a local forwarder every client has the same.
    pub exempt_loopback: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pending: 256,
            refuse_from: 128,
            pending_per_source: 16,
            rate: 20,
            burst: 40,
            fair_time: Duration::from_millis(500),
            penalty_certificate: Duration::from_secs(5),
            penalty_deadline: Duration::from_secs(10),
            penalty_malformed: Duration::from_secs(15),
            penalty_from: Duration::from_secs(15),
            penalty_max: Duration::from_secs(600),
            memory: Duration::from_secs(600),
            table: 65_536,
            exempt_loopback: true,
        }
    }
}

impl Limits {
    /// Three quarters of [`Self::pending`], and at least one: the rest is kept for who is known.
    pub const fn for_strangers(&self) -> usize {
        self.pending - self.pending / 4
    }
}

/// Decides who is let in. Call [`Self::admit`] for each accepted connection and, for each admitted one,
/// [`Self::handle_done`] exactly once.
#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    pending: usize,
    /// Those of [`Self::pending`] that came from unknown sources.
    strangers: usize,
    /// Those of them that were asked to go.
    leaving: usize,
    /// Tickets that nobody has been asked to give back, oldest first; connections without a source are one source.
    pending_by: HashMap<Option<Source>, VecDeque<Ticket>>,
    marked: HashMap<Source, Mark>,
    /// Until when a source that has proven an identity is trusted; at most [`Limits::table`].
    trusted: HashMap<Source, Instant>,
    /// Order of the last failures, oldest first.
    order: BTreeMap<u64, Source>,
    next_turn: u64,
    next_ticket: u64,
}

/// A pending connection's place in the [`Gate`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ticket {
    number: u64,
    source: Option<Source>,
    is_known: bool,
    since: Instant,
}

impl Ticket {
    /// Whom it counts against.
    pub const fn source(&self) -> Option<Source> {
        self.source
    }
}

#[derive(Debug)]
struct Mark {
    turn: u64,
    failed_at: Instant,
    penalty_until: Instant,
    enforced: bool,
    /// Success does not lift it before.
    stays_until: Instant,
    tokens: Tokens,
}

impl Gate {
    /// An empty house.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            pending: 0,
            strangers: 0,
            leaving: 0,
            pending_by: HashMap::new(),
            trusted: HashMap::new(),
            marked: HashMap::new(),
            order: BTreeMap::new(),
            next_turn: 0,
            next_ticket: 0,
        }
    }

    /// Is there room for another connection from `source`? While not, let it wait.
    pub fn has_room(&self, now: Instant, source: Option<Source>) -> bool {
        self.pending < self.limits.pending
            && (self.strangers < self.limits.for_strangers() || self.is_known(now, source))
    }

    /// Whether `source` has proven an identity in the last ten minutes, or can't be a stranger: this machine's own.
    pub fn is_known(&self, now: Instant, source: Option<Source>) -> bool {
        source.is_none_or(|source| self.is_exempt(source) || self.is_trusted(now, source))
    }

    /// Connections admitted and not done.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Those among them that were asked to go by [`Self::next_to_go`].
    pub fn leaving(&self) -> usize {
        self.leaving
    }

    /// Sources marked for a failure; at most [`Limits::table`].
    pub fn marked(&self) -> usize {
        self.marked.len()
    }

    /// May a new connection from `source` begin a handshake? `None` is a source without an address (a Unix socket).
    /// `dice` is any uniformly random number.
    ///
    /// # Errors
    /// [`Refusal`] says which limit stands against it; nothing is counted then but the token it used.
    pub fn admit(&mut self, now: Instant, source: Option<Source>, dice: u32) -> Result<Ticket, Refusal> {
        if !self.has_room(now, source) {
            return Err(Refusal::Full);
        }
        let is_known = self.is_known(now, source);
        if let Some(source) = source.filter(|source| !self.is_exempt(*source)) {
            self.judge(now, source, dice)?;
        }
        self.pending += 1;
        self.strangers += usize::from(!is_known);
        let ticket = Ticket { number: self.next_ticket, source, is_known, since: now };
        self.next_ticket += 1;
        self.pending_by.entry(source).or_default().push_back(ticket);
        Ok(ticket)
    }

    /// The pending connection that should go when another one waits for room: the oldest of the source that has most, a
    /// stranger's as long as there is one. Ask once for each connection that waits; it is not named again.
    ///
    /// # Errors
    /// None has had its fair time yet: ask again then. `None` if there is none, or each was named before and room is on
    /// its way; a stranger that waits (`for_known` false) gets strangers' places only.
    pub fn next_to_go(&mut self, now: Instant, for_known: bool) -> Result<Ticket, Option<Instant>> {
        let oldest = |tickets: &VecDeque<Ticket>| tickets.front().map(|ticket| ticket.number);
        let is_strange = |tickets: &VecDeque<Ticket>| tickets.front().is_some_and(|ticket| !ticket.is_known);
        let takes_known = for_known && !self.pending_by.values().any(is_strange);
        let heaviest = self
            .pending_by
            .iter_mut()
            .filter(|(_, tickets)| is_strange(tickets) || (takes_known && !tickets.is_empty()));
        let heaviest =
            heaviest.max_by_key(|(_, tickets)| (tickets.len(), std::cmp::Reverse(oldest(tickets))));
        let Some((_, tickets)) = heaviest else { return Err(None) };
        match tickets.front().map(|ticket| ticket.since + self.limits.fair_time) {
            Some(due) if due > now => Err(Some(due)),
            _ => {
                let ticket = tickets.pop_front().ok_or(None)?;
                self.leaving += 1;
                Ok(ticket)
            }
        }
    }

    /// An admitted connection has been authenticated, has failed or is gone.
    pub fn handle_done(&mut self, now: Instant, ticket: Ticket, outcome: Outcome) {
        self.pending = self.pending.saturating_sub(1);
        self.strangers = self.strangers.saturating_sub(usize::from(!ticket.is_known));
        let mut was_asked = true;
        if let Some(tickets) = self.pending_by.get_mut(&ticket.source) {
            tickets.retain(|other| {
                was_asked &= other.number != ticket.number;
                other.number != ticket.number
            });
            if tickets.is_empty() {
                self.pending_by.remove(&ticket.source);
            }
        }
        self.leaving = self.leaving.saturating_sub(usize::from(was_asked));
        let Some(source) = ticket.source else { return };
        let penalty = match outcome {
            Outcome::Gone => return,
            Outcome::Authenticated => return self.trust(now, source),
            // A path that was gone for a while leaves such handshakes behind, and whoever dialled them comes back.
            Outcome::Abandoned | Outcome::Deadline if self.is_trusted(now, source) => return,
            Outcome::MadeRoom => Duration::ZERO,
            Outcome::Abandoned | Outcome::BadCertificate => self.limits.penalty_certificate,
            Outcome::Deadline => self.limits.penalty_deadline,
            Outcome::Malformed => self.limits.penalty_malformed,
        };
        if !self.is_exempt(source) {
            self.mark(now, source, penalty);
        }
    }

    /// A peer from `source` has proven who it is and was not served all the same: a limit on its identity stood against it.
    /// Each time costs us a handshake, so for ten seconds the source is marked, whatever else it proves.
    pub fn handle_turned_away(&mut self, now: Instant, source: Source) {
        if self.is_exempt(source) {
            return;
        }
        self.mark(now, source, Duration::ZERO);
        if let Some(mark) = self.marked.get_mut(&source) {
            mark.stays_until = now + TURNED_AWAY;
        }
    }

    fn judge(&mut self, now: Instant, source: Source, dice: u32) -> Result<(), Refusal> {
        let own = self.pending_by.get(&Some(source)).map_or(0, VecDeque::len);
        let limits = &self.limits;
        let Some(mark) = self.marked.get_mut(&source) else {
            return if own < (limits.pending / 2).max(1) { Ok(()) } else { Err(Refusal::Share) };
        };
        if mark.failed_at + limits.memory <= now && mark.penalty_until <= now {
            self.forgive(source);
            return Ok(());
        }
        if mark.enforced && mark.penalty_until > now {
            return Err(Refusal::Penalty { left: mark.penalty_until - now });
        }
        mark.enforced = false;
        if own >= limits.pending_per_source {
            return Err(Refusal::PendingPerSource);
        }
        if self.strangers >= limits.refuse_from {
            let over = self.strangers - limits.refuse_from + 1;
            let range = limits.for_strangers().saturating_sub(limits.refuse_from).max(1);
            // The chance rises from 1 in `range` to certainty.
            if (dice as usize) % range < over {
                return Err(Refusal::Early);
            }
        }
        if !mark.tokens.take(now, limits.rate, limits.burst) {
            return Err(Refusal::Rate);
        }
        Ok(())
    }

    fn mark(&mut self, now: Instant, source: Source, penalty: Duration) {
        let turn = self.next_turn;
        self.next_turn += 1;
        let limits = &self.limits;
        let mark = self.marked.entry(source).or_insert_with(|| Mark {
            turn,
            failed_at: now,
            penalty_until: now,
            enforced: false,
            stays_until: now,
            tokens: Tokens { left: f64::from(limits.burst), at: now },
        });
        self.order.remove(&mark.turn);
        self.order.insert(turn, source);
        mark.turn = turn;
        mark.failed_at = now;
        mark.penalty_until = (mark.penalty_until.max(now) + penalty).min(now + limits.penalty_max);
        mark.enforced |= mark.penalty_until - now >= limits.penalty_from;
        while self.marked.len() > self.limits.table {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.marked.remove(&oldest);
        }
    }

    fn forgive(&mut self, source: Source) {
        if let Some(mark) = self.marked.remove(&source) {
            self.order.remove(&mark.turn);
        }
    }

    fn trust(&mut self, now: Instant, source: Source) {
        if self.marked.get(&source).is_none_or(|mark| mark.stays_until <= now) {
            self.forgive(source);
        }
        if self.trusted.len() >= self.limits.table {
            self.trusted.retain(|_, until| *until > now);
        }
        if self.trusted.len() < self.limits.table || self.trusted.contains_key(&source) {
            self.trusted.insert(source, now + TRUST);
        }
    }

    fn is_trusted(&self, now: Instant, source: Source) -> bool {
        self.trusted.get(&source).is_some_and(|until| *until > now)
    }

    fn is_exempt(&self, source: Source) -> bool {
        self.limits.exempt_loopback && source.0.is_loopback()
    }
}

/// A source that has proven an identity so recently is not punished for handshakes that come to nothing: they hold their
/// places under its share all the same.
const TRUST: Duration = Duration::from_secs(600);

/// How long a source stays marked, at least, when a peer behind it was turned away after its handshake.
const TURNED_AWAY: Duration = Duration::from_secs(10);

/// Lazy token bucket.
#[derive(Clone, Copy, Debug)]
struct Tokens {
    left: f64,
    at: Instant,
}

impl Tokens {
    fn take(&mut self, now: Instant, rate: u32, burst: u32) -> bool {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(rate);
        self.left = (self.left + earned).min(f64::from(burst));
        self.at = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

/// Whom a limit is counted against: one IPv4 address, or the /64 of an IPv6 address, which one host owns as a rule.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self(IpAddr::V4(ip)),
            IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
                Some(ip) => Self(IpAddr::V4(ip)),
                None if ip.is_loopback() => Self(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                None => Self(IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)))),
            },
        }
    }
}

/// How a pending connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The client went away after it had made us compute.
    Abandoned,
    /// The client has proven who it is.
    Authenticated,
    /// Its certificate or TLS was refused, or it refused ours.
    BadCertificate,
    /// It did not finish in time.
    Deadline,
    /// It went away before it asked for anything, as a port scan or health check does.
    Gone,
    /// It was ended so that another one has room: its source is marked, and that is all.
    MadeRoom,
    /// What it sent was not TLS, or not the protocol inside it.
    Malformed,
}

/// Why a connection is turned away.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Many connections are pending, and this source has failed before.
    #[error("many handshakes are pending and its last ones failed")]
    Early,
    /// No room at all.
    #[error("too many handshakes are pending")]
    Full,
    /// A marked source has as many pending as it may.
    #[error("too many of its handshakes are pending after failed ones")]
    PendingPerSource,
    /// A penalty is running.
    #[error("its handshakes keep failing; it may try again in {} s", .left.as_secs())]
    Penalty {
        /// For this much longer.
        left: Duration,
    },
    /// A marked source comes too often.
    #[error("it connects too often after failed handshakes")]
    Rate,
    /// One source fills half of the room.
    #[error("half of all pending handshakes are its own")]
    Share,
}

#[cfg(test)]
mod tests;
