//! Whether the peer is still there.
//!
//! ```text
//!            silent for P, and a reason to ask            half of D          D
//!  Quiet ───────────────────────────────────▶ Asked ─────────▶ Suspect ──────────▶ Dead
//!    │ ▲              (remux2: PING)            │                 │ ▲
//!    │ └────────── any byte from the peer ──────┴─────────────────┘ │
//!    └── nothing acknowledged for 1 s or four round trips ──────────┘ (and asked, on remux2)
//! ```
//!
//! P is 5 s at a client and 15 s at a server, less up to 20 % of jitter, and 25 s after three rounds in which only
//! answers came. D is four round trips, at least 1 s and at most 5 s. It starts when the PING has reached the peer's
//! kernel (TCP_INFO's `bytes_acked`): a slow uplink full of our own data is not a dead peer, and a stopped peer whose
//! kernel still acknowledges is one. While our kernel sends lost bytes again it has 5 s for that: new streams have left
//! a suspect connection long before, and those it carries may survive a burst of losses.
//!
//! The classic wire has no PING: there a connection becomes suspect when the kernel makes no progress, and is dead when
//! nothing was acknowledged for 9 s. One on which nothing is under way is the kernel's to probe (keepalive).

use std::time::{Duration, Instant};

use super::path::PathInfo;
use crate::config::{LivenessConfig, Role};

#[derive(Debug)]
pub(super) struct Liveness {
    config: LivenessConfig,
    /// P before jitter.
    base: Duration,
    /// P as drawn for this round.
    patience: Duration,
    random: u64,
    last_received: Instant,
    quiet_rounds: u32,
    /// The PING under way, or about to be.
    asked: Option<Asked>,
    asked_at: Option<Instant>,
    /// The peer wants no PING oftener than this.
    pub(super) min_ping: Duration,
    suspect: bool,
    /// Bytes acknowledged when last looked, and since when that stands still with something unacknowledged.
    acked: u64,
    stuck_since: Option<Instant>,
    loss_since: Option<Instant>,
    /// When the kernel was last asked with something unacknowledged: nothing else may wake anybody in time.
    looked: Option<Instant>,
}

impl Liveness {
    pub(super) fn new(config: LivenessConfig, role: Role, seed: u64, now: Instant) -> Self {
        let base = match role {
            Role::Client => config.ping_client,
            Role::Server => config.ping_server,
        };
        let mut new = Self {
            config,
            base,
            patience: base,
            random: seed,
            last_received: now,
            quiet_rounds: 0,
            asked: None,
            asked_at: None,
            min_ping: Duration::from_secs(1),
            suspect: false,
            acked: 0,
            stuck_since: None,
            loss_since: None,
            looked: None,
        };
        new.draw();
        new
    }

    /// Bytes came; `busy`: something beside PINGs among them. True when the connection is suspect no longer.
    pub(super) fn handle_received(&mut self, now: Instant, busy: bool) -> bool {
        self.last_received = now;
        if busy {
            self.quiet_rounds = 0;
        } else if self.asked.as_ref().is_some_and(|asked| asked.stage != Stage::Wished) {
            self.quiet_rounds = self.quiet_rounds.saturating_add(1);
        }
        self.asked = None;
        self.draw();
        std::mem::take(&mut self.suspect)
    }

    /// Bytes of a stream are being sent: an answer is wanted soon again.
    pub(super) fn handle_sending(&mut self) {
        if self.quiet_rounds >= QUIET_ROUNDS {
            self.quiet_rounds = 0;
            self.draw();
        }
        self.quiet_rounds = 0;
    }

    /// An OPEN is being sent: on a connection silent for long it carries a PING.
    pub(super) fn handle_open(&mut self, now: Instant) {
        if self.silence(now) > self.config.open_silence {
            self.ask(now, None);
        }
    }

    /// The machine slept or the path changed. True when the connection becomes suspect by it.
    pub(super) fn handle_suspend(&mut self, now: Instant) -> bool {
        self.asked = None;
        self.ask(now, Some(self.config.answer_min));
        !std::mem::replace(&mut self.suspect, true)
    }

    /// All bytes handed out so far are with the kernel, or some of them are.
    pub(super) fn handle_written(&mut self, now: Instant, all: bool) {
        let Some(asked) = self.asked.as_mut().filter(|asked| asked.stage != Stage::Written) else { return };
        asked.since = now;
        if all && asked.stage == Stage::Packed {
            asked.stage = Stage::Written;
        }
    }

    /// What the kernel says; the result is a change of suspicion, if any.
    pub(super) fn handle_path(
        &mut self,
        now: Instant,
        path: &PathInfo,
        round_trip: Duration,
    ) -> Option<Suspicion> {
        let progress = path.bytes_acked > self.acked;
        self.acked = path.bytes_acked;
        self.looked = (path.unacked > 0).then_some(now);
        self.stuck_since = if path.unacked == 0 || progress { None } else { self.stuck_since.or(Some(now)) };
        self.loss_since = if path.ca_loss { self.loss_since.or(Some(now)) } else { None };
        if let Some(asked) = &mut self.asked {
            if progress && !asked.delivered {
                asked.since = now;
            }
            if asked.stage == Stage::Written {
                let end = path.bytes_acked.saturating_add(path.unacked).saturating_add(path.notsent);
                asked.delivered = path.bytes_acked >= *asked.target.get_or_insert(end);
            }
        }
        let patience = round_trip.saturating_mul(4).max(SICK);
        let long =
            |since: Option<Instant>| since.is_some_and(|at| now.saturating_duration_since(at) >= patience);
        if !self.suspect && (long(self.stuck_since) || long(self.loss_since)) {
            self.suspect = true;
            self.ask(now, None);
            return Some(Suspicion::Raised);
        }
        None
    }

    /// Classic: progress in the kernel is all there is to clear a suspicion with.
    pub(super) fn handle_progress(&mut self) -> bool {
        self.stuck_since.is_none() && self.loss_since.is_none() && std::mem::take(&mut self.suspect)
    }

    /// The next deadline. `reason`: there is something to lose; `pings`: the wire has PINGs; `path`: the kernel says how
    /// far the bytes have come.
    pub(super) fn poll_timeout(
        &self,
        reason: bool,
        pings: bool,
        round_trip: Duration,
        path: bool,
    ) -> Option<Deadline> {
        let look = self.looked.map(|at| (later(at, LOOK), "path"));
        let answer = if pings { self.answer_deadline(round_trip, path) } else { self.stuck_deadline() };
        let ping = (pings && reason && self.asked.is_none()).then(|| {
            let due = later(self.last_received, self.patience);
            (self.asked_at.map_or(due, |at| due.max(later(at, self.min_ping))), "ping")
        });
        [look, answer, ping].into_iter().flatten().min_by_key(|&(at, _)| at)
    }

    /// When the PING under way will have gone unanswered for too long.
    fn answer_deadline(&self, round_trip: Duration, path: bool) -> Option<Deadline> {
        let asked = self.asked.as_ref()?;
        if asked.stage != Stage::Written && !path {
            // Held up by bytes before it, and nobody says whether those move: the write stall's case.
            return None;
        }
        let limit =
            if self.suspect { self.limit(asked, round_trip) } else { half(self.usual(asked, round_trip)) };
        let at = later(asked.since, limit);
        let look = later(asked.looked.unwrap_or(asked.since), LOOK);
        Some(if path && !asked.delivered && look < at { (look, "path") } else { (at, "answer to ping") })
    }

    /// Classic: when nothing will have been acknowledged for too long.
    fn stuck_deadline(&self) -> Option<Deadline> {
        self.stuck_since.map(|at| (later(at, self.config.unacked), "acknowledgement"))
    }

    /// Acts on a deadline that has come.
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        reason: bool,
        pings: bool,
        round_trip: Duration,
    ) -> Option<Suspicion> {
        // Whoever can't ask the kernel shall not be asked to at once again.
        self.looked = self.looked.map(|at| if later(at, LOOK) <= now { now } else { at });
        if !pings {
            let since = self.stuck_since.filter(|&at| later(at, self.config.unacked) <= now)?;
            return Some(Suspicion::Dead { silence: now.saturating_duration_since(since) });
        }
        let Some(asked) = &mut self.asked else {
            let ping = self.poll_timeout(reason, true, round_trip, false);
            if ping.is_some_and(|(at, why)| why == "ping" && at <= now) {
                self.ask(now, None);
            }
            return None;
        };
        asked.looked = Some(now);
        let asked = self.asked.as_ref()?;
        if now >= later(asked.since, self.limit(asked, round_trip)) {
            return Some(Suspicion::Dead { silence: self.silence(now) });
        }
        if !self.suspect && now >= later(asked.since, half(self.usual(asked, round_trip))) {
            self.suspect = true;
            return Some(Suspicion::Raised);
        }
        None
    }

    /// Whether a PING should go out.
    pub(super) fn wants_ping(&self) -> bool {
        matches!(&self.asked, Some(Asked { stage: Stage::Wished, .. }))
    }

    /// The PING that goes out now.
    pub(super) fn take_ping(&mut self, now: Instant) -> Option<[u8; 8]> {
        let asked = self.asked.as_mut().filter(|asked| asked.stage == Stage::Wished)?;
        asked.stage = Stage::Packed;
        asked.since = now;
        self.asked_at = Some(now);
        Some(self.next_random().to_be_bytes())
    }

    /// Time since the last byte.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_received)
    }

    fn ask(&mut self, now: Instant, limit: Option<Duration>) {
        self.asked.get_or_insert(Asked {
            since: now,
            limit,
            stage: Stage::Wished,
            target: None,
            delivered: false,
            looked: None,
        });
    }

    /// D, and as much as there is while the kernel sends lost bytes again.
    fn limit(&self, asked: &Asked, round_trip: Duration) -> Duration {
        let repairs = self.stuck_since.is_some() || self.loss_since.is_some();
        let usual = self.usual(asked, round_trip);
        if repairs && asked.limit.is_none() { usual.max(self.config.answer_max) } else { usual }
    }

    fn usual(&self, asked: &Asked, round_trip: Duration) -> Duration {
        let most = self.config.answer_max.max(self.config.answer_min);
        asked.limit.unwrap_or_else(|| round_trip.saturating_mul(4).clamp(self.config.answer_min, most))
    }

    fn draw(&mut self) {
        let base =
            if self.quiet_rounds >= QUIET_ROUNDS { self.config.ping_quiet.max(self.base) } else { self.base };
        let part = u32::try_from(self.next_random() % 201).unwrap_or(0);
        self.patience = base.saturating_sub(base.checked_div(1000).unwrap_or_default().saturating_mul(part));
    }

    /// SplitMix64: even, and that is all that is asked of it.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// A change in what is thought of the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Suspicion {
    Raised,
    Dead { silence: Duration },
}

/// When to act, and why.
pub(super) type Deadline = (Instant, &'static str);

/// A PING on its way.
#[derive(Debug)]
struct Asked {
    /// From when D counts.
    since: Instant,
    /// D, when it is not the usual one.
    limit: Option<Duration>,
    stage: Stage,
    /// What `bytes_acked` must reach for it to have arrived.
    target: Option<u64>,
    delivered: bool,
    looked: Option<Instant>,
}

/// How far a PING has come: `Wished` until there is room for it, `Packed` until its batch is with the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Wished,
    Packed,
    Written,
}

pub(super) fn later(at: Instant, by: Duration) -> Instant {
    at.checked_add(by).or_else(|| at.checked_add(FAR)).unwrap_or(at)
}

fn half(time: Duration) -> Duration {
    time.checked_div(2).unwrap_or(time)
}

/// Answered rounds without anything else after which a connection is quiet.
const QUIET_ROUNDS: u32 = 3;
/// A path without progress for this long, or four round trips, is suspect.
const SICK: Duration = Duration::from_secs(1);
/// While bytes are unacknowledged or a PING is under way the kernel is asked this often.
const LOOK: Duration = Duration::from_millis(250);
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
