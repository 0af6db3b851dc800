//! The life of one pooled connection, as the pool sees it.
//!
//! ```text
//!            dialled              age, count, peer drains
//! Dialling ───────────▶ Open ─────────────────────────────▶ Retiring
//!    │                   │ idle, silent, pool shut down         │ last stream ended
//!    │ pool shut down    ▼                                      ▼
//!    └───────────────▶ Closing ◀────────────────────────────────┘
//!
//! any state ── failed or closed ──▶ gone (the pool drops the slot)
//!
//! beside it, while Open:   Unproven ── first byte from the peer ──▶ Good
//!                          Trusted  ◀── alive ── suspect ──▶ Suspect
//! ```
//!
//! Only an open slot that is trusted, younger than its age limit, under its count and under the peer's limit of
//! simultaneous streams carries a new stream.

use std::time::{Duration, Instant};

use super::{Limits, Path, Proof};

/// One connection: dialling, in use, or on its way out.
#[derive(Debug)]
pub(super) struct Slot {
    state: State,
    /// When the dial began.
    pub(super) began: Instant,
    proven: Proven,
    suspect: bool,
    /// A stream could not be opened on it: its end is not ours, even if the pool closes it first.
    pub(super) broken: bool,
    limits: Limits,
    /// Streams ever put on it.
    opened: u32,
    /// Streams that have not ended.
    live: u32,
    /// Set apart for its bulk streams while another connection is usable.
    pub(super) lane: bool,
    pub(super) path: Path,
}

impl Slot {
    /// A dial that begins now; `limits` hold until the peer has told its own.
    pub(super) fn new(now: Instant, limits: Limits) -> Self {
        Self {
            state: State::Dialling,
            began: now,
            proven: Proven::Untold,
            suspect: false,
            broken: false,
            limits,
            opened: 0,
            live: 0,
            lane: false,
            path: Path::default(),
        }
    }

    /// The connection is up. False if nobody waits for it any more.
    ///
    /// Without its first byte it takes streams for `hedge` only, and has failed after `silence_max`.
    pub(super) fn handle_dialled(
        &mut self,
        now: Instant,
        proof: Proof,
        silence_max: Duration,
        hedge: Duration,
    ) -> bool {
        let State::Dialling = self.state else { return false };
        self.state = State::Open { born: now, idle_since: now };
        // The first byte may have overtaken the end of the dial.
        if let Proven::Untold = self.proven {
            self.proven = match proof {
                Proof::FirstByte => {
                    let late = now.checked_add(hedge).unwrap_or(now);
                    now.checked_add(silence_max).map_or(Proven::Good, |at| Proven::SilentAt { late, at })
                }
                Proof::Lasts(time) => now.checked_add(time).map_or(Proven::Good, Proven::GoodAt),
            };
        }
        true
    }

    /// The peer has shown that it lets us in. True the first time.
    pub(super) fn prove(&mut self) -> bool {
        !matches!(std::mem::replace(&mut self.proven, Proven::Good), Proven::Good)
    }

    /// The peer's limits are known; the smaller ones hold.
    pub(super) fn handle_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Puts a stream on the connection; the caller has asked [`Self::is_usable`].
    pub(super) fn open_stream(&mut self) {
        self.opened = self.opened.saturating_add(1);
        self.live = self.live.saturating_add(1);
    }

    /// A stream ended.
    pub(super) fn handle_stream_ended(&mut self, now: Instant) {
        self.live = self.live.saturating_sub(1);
        if let State::Open { idle_since, .. } = &mut self.state {
            *idle_since = now;
        }
    }

    /// No byte came when one was due, or it answers again.
    pub(super) fn set_suspect(&mut self, suspect: bool) {
        // A dial has its own time-out.
        self.suspect = suspect && !self.is_dialling();
    }

    /// Takes no new stream from here on. False if that is old news.
    pub(super) fn retire(&mut self) -> bool {
        let State::Open { .. } = self.state else { return false };
        self.state = State::Retiring;
        true
    }

    /// The connection is being closed. False if that is old news.
    pub(super) fn close(&mut self) -> bool {
        let old = matches!(self.state, State::Closing);
        self.state = State::Closing;
        !old
    }

    /// Whether the next stream may go here.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        self.is_open()
            && !self.suspect
            && !self.is_late(now)
            && !self.is_worn(now)
            && self.live < self.limits.max_streams
    }

    /// At its age or count: it must retire.
    pub(super) fn is_worn(&self, now: Instant) -> bool {
        self.opened >= self.limits.max_count || self.age_at().is_some_and(|end| end <= now)
    }

    /// Three quarters through its age or count: time for a spare.
    pub(super) fn is_wearing(&self, now: Instant) -> bool {
        let State::Open { born, .. } = self.state else { return true };
        let age = now.saturating_duration_since(born).saturating_mul(4);
        age >= self.limits.max_age.saturating_mul(3)
            || u64::from(self.opened).saturating_mul(4) >= u64::from(self.limits.max_count).saturating_mul(3)
    }

    /// Streams the connection may take once it is dialled; 0 unless it is being dialled.
    pub(super) fn room_when_dialled(&self) -> usize {
        match self.state {
            State::Dialling => {
                usize::try_from(self.limits.max_count.min(self.limits.max_streams)).unwrap_or(usize::MAX)
            }
            State::Open { .. } | State::Retiring | State::Closing => 0,
        }
    }

    /// What wants to happen without anyone's doing, and when.
    pub(super) fn deadline(&self, idle_max: Duration) -> Option<(Instant, Due)> {
        let idle = match self.state {
            State::Dialling | State::Closing => return None,
            State::Open { idle_since, .. } if self.live == 0 => idle_since.checked_add(idle_max),
            State::Open { .. } | State::Retiring => None,
        };
        let proof = match self.proven {
            Proven::Untold | Proven::Good => None,
            Proven::GoodAt(at) => Some((at, Due::Good)),
            Proven::SilentAt { at, .. } => Some((at, Due::Silent)),
        };
        let age = self.age_at().map(|at| (at, Due::Age));
        [proof, idle.map(|at| (at, Due::Idle)), age].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    pub(super) fn is_dialling(&self) -> bool {
        matches!(self.state, State::Dialling)
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    pub(super) fn is_retiring(&self) -> bool {
        matches!(self.state, State::Retiring)
    }

    pub(super) fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing)
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.suspect && !self.is_closing()
    }

    /// Dialled, and the peer has not shown yet that it lets us in.
    pub(super) fn is_unproven(&self, now: Instant) -> bool {
        match self.proven {
            Proven::Untold | Proven::Good => false,
            Proven::GoodAt(at) => now < at,
            Proven::SilentAt { .. } => true,
        }
    }

    /// Up for long enough to have said its first byte, on a path that works.
    fn is_late(&self, now: Instant) -> bool {
        matches!(self.proven, Proven::SilentAt { late, .. } if late <= now)
    }

    /// A dial whose outcome is open: under way, or up and not proven.
    pub(super) fn is_trial(&self) -> bool {
        match self.state {
            State::Dialling => true,
            State::Open { .. } | State::Retiring => !matches!(self.proven, Proven::Good),
            State::Closing => false,
        }
    }

    /// Has never carried a stream.
    pub(super) fn is_fresh(&self) -> bool {
        self.opened == 0
    }

    pub(super) fn live(&self) -> u32 {
        self.live
    }

    fn age_at(&self) -> Option<Instant> {
        let State::Open { born, .. } = self.state else { return None };
        born.checked_add(self.limits.max_age)
    }
}

/// What a slot's deadline is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Due {
    Age,
    Good,
    Idle,
    Silent,
}

impl Due {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Good => "proof",
            Self::Idle => "idle",
            Self::Silent => "first byte",
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Dialling,
    Open { born: Instant, idle_since: Instant },
    Retiring,
    Closing,
}

/// Whether the peer has shown that it lets us in; a TLS 1.3 client is "connected" before the server judged it.
#[derive(Clone, Copy, Debug)]
enum Proven {
    /// The dial has not ended.
    Untold,
    Good,
    /// Good unless it dies before then: the wire has no byte that proves it.
    GoodAt(Instant),
    /// A failed dial if nothing has come by `at`, and not used for more from `late` on.
    SilentAt {
        late: Instant,
        at: Instant,
    },
}
