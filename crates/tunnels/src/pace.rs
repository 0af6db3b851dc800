//! How fast an identity may begin streams and give up dials, over all its connections, one after another too.
//!
//! ```text
//!  opens, dials given up:   burst ──one each──▶ … ──▶ 0: streams are refused      one comes back per `every`
//! ```
//!
//! The limits of a connection start anew with the next one, and each connection has its own: without this, many connections or
//! coming again would be a way round them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sla::code;

/// What identities did lately.
#[derive(Debug, Default)]
pub(crate) struct Paces(Mutex<HashMap<Arc<str>, Pace>>);

/// What one of them has left: the time at which it will have all of it again.
#[derive(Clone, Copy, Debug)]
struct Pace {
    opens: Instant,
    given_up: Instant,
}

/// Why a stream isn't begun now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum TooFast {
    #[error(
        "{} the identity opens more than {} streams a second → find out which of its applications does, or give its clients certificates of their own",
        code::LIMIT_STREAMS,
        OPENS.per_second
    )]
    Opens,
    #[error(
        "{} the identity gives up more than {} dials a second before they are done → find out which of its applications does",
        code::LIMIT_STREAMS,
        GIVEN_UP.per_second
    )]
    GivenUp,
}

impl TooFast {
    /// The limit itself.
    pub(crate) const fn limit(self) -> u64 {
        match self {
            Self::Opens => OPENS.per_second as u64,
            Self::GivenUp => GIVEN_UP.per_second as u64,
        }
    }
}

impl Paces {
    /// One more stream of `name` wants to begin.
    ///
    /// # Errors
    /// It has begun, or given up, too many lately; this one doesn't count.
    pub(crate) fn open(&self, now: Instant, name: &str) -> Result<(), TooFast> {
        self.with(now, name, |pace| {
            if !GIVEN_UP.has_one(pace.given_up, now) {
                return Err(TooFast::GivenUp);
            }
            if !OPENS.has_one(pace.opens, now) {
                return Err(TooFast::Opens);
            }
            pace.opens = OPENS.less_one(pace.opens, now);
            Ok(())
        })
    }

    /// A stream of `name` was reset by its client before its dial was done.
    pub(crate) fn give_up(&self, now: Instant, name: &str) {
        self.with(now, name, |pace| pace.given_up = GIVEN_UP.less_one(pace.given_up, now));
    }

    fn with<R>(&self, now: Instant, name: &str, act: impl FnOnce(&mut Pace) -> R) -> R {
        let mut paces = self.0.lock();
        if let Some(pace) = paces.get_mut(name) {
            return act(pace);
        }
        if paces.len() >= MOST {
            paces.retain(|_, pace| pace.opens.max(pace.given_up) > now);
        }
        if paces.len() >= MOST {
            let soonest = paces.iter().min_by_key(|(_, pace)| pace.opens.max(pace.given_up));
            let soonest = soonest.map(|(name, _)| name.clone());
            soonest.and_then(|name| paces.remove(&name));
        }
        act(paces.entry(name.into()).or_insert(Pace { opens: now, given_up: now }))
    }
}

/// So many at once, then so many a second.
struct Rate {
    burst: u32,
    per_second: u32,
}

impl Rate {
    fn has_one(&self, full_at: Instant, now: Instant) -> bool {
        full_at.saturating_duration_since(now) <= self.every() * (self.burst - 1)
    }

    fn less_one(&self, full_at: Instant, now: Instant) -> Instant {
        (full_at.max(now) + self.every()).min(now + self.every() * self.burst)
    }

    fn every(&self) -> Duration {
        Duration::from_secs(1) / self.per_second
    }
}

/// Far above what the pools of a whole household open.
const OPENS: Rate = Rate { burst: 4_096, per_second: 2_048 };
/// Applications that lose patience within the time of a dial.
const GIVEN_UP: Rate = Rate { burst: 2_048, per_second: 512 };
/// Identities remembered; those that have all of it back, then the one that will first, make room.
const MOST: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(paces: &Paces, now: Instant, name: &str) -> usize {
        (0..10_000).take_while(|_| paces.open(now, name).is_ok()).count()
    }

    #[test]
    fn opens_of_an_identity_are_counted_whatever_connections_it_uses_and_no_other_pays() {
        let (paces, now) = (Paces::default(), Instant::now());
        assert_eq!(opened(&paces, now, "evil"), 4_096);
        assert_eq!(paces.open(now, "evil"), Err(TooFast::Opens));
        assert_eq!(opened(&paces, now + Duration::from_secs(1), "evil"), 2_048);
        assert_eq!(opened(&paces, now, "good"), 4_096);
    }

    #[test]
    fn streams_are_refused_to_an_identity_that_gives_up_its_dials_until_it_has_calmed_down() {
        let (paces, now) = (Paces::default(), Instant::now());
        let rounds = (0..10_000).take_while(|_| {
            let opens = paces.open(now, "evil").is_ok();
            paces.give_up(now, "evil");
            opens
        });
        assert_eq!(rounds.count(), 2_048);
        assert_eq!(paces.open(now, "evil"), Err(TooFast::GivenUp));
        assert_eq!(paces.open(now, "good"), Ok(()));
        (0..100_000).for_each(|_| paces.give_up(now, "evil"));
        assert_eq!(
            paces.open(now + Duration::from_millis(2), "evil"),
            Ok(()),
            "it is held back, not kept out"
        );
    }

    #[test]
    fn pool_of_a_thousand_requests_a_second_never_meets_it() {
        let (paces, start) = (Paces::default(), Instant::now());
        for n in 0..60_000_u32 {
            let now = start + Duration::from_millis(1) * n;
            assert_eq!(paces.open(now, "busy"), Ok(()));
            if n % 3 == 0 {
                paces.give_up(now, "busy");
            }
        }
    }

    #[test]
    fn paces_are_bounded_and_who_has_all_of_it_back_first_makes_room() {
        let (paces, now) = (Paces::default(), Instant::now());
        for number in 0..=MOST {
            let name = format!("identity {number}");
            let opens = if number == 7 { 1 } else { 2 };
            (0..opens).for_each(|_| assert_eq!(paces.open(now, &name), Ok(())));
        }
        let held = paces.0.lock();
        assert_eq!(held.len(), MOST);
        assert!(!held.contains_key("identity 7"));
    }
}
