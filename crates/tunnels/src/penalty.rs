//! Identities whose connections had to be closed for what they did, by where they did it from.
//!
//! ```text
//!  closed for a limit ─▶ +5 s ─▶ … ─▶ 15 s have accrued: new connections are closed ─▶ lapsed: as if nothing had been
//! ```
//!
//! Limits of a connection start anew with the next one: without this, coming again would be a way round them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use transport::Source;

/// Who: other machines with the same certificate are not held to account.
type Who = (Arc<str>, Option<Source>);

/// The penalties that run.
#[derive(Debug, Default)]
pub(crate) struct Penalties(Mutex<HashMap<Who, Penalty>>);

#[derive(Clone, Copy, Debug)]
struct Penalty {
    until: Instant,
    /// Enough has accrued: it holds until it has lapsed.
    is_enforced: bool,
}

impl Penalties {
    /// A connection of `name` from `from` was closed for what its peer did.
    pub(crate) fn add(&self, now: Instant, name: &str, from: Option<IpAddr>) {
        let mut penalties = self.0.lock();
        let who = (Arc::from(name), from.map(Source::from));
        if penalties.len() >= MOST && !penalties.contains_key(&who) {
            penalties.retain(|_, penalty| penalty.until > now);
        }
        if penalties.len() >= MOST && !penalties.contains_key(&who) {
            let soonest =
                penalties.iter().min_by_key(|(_, penalty)| penalty.until).map(|(who, _)| who.clone());
            soonest.and_then(|who| penalties.remove(&who));
        }
        let penalty = penalties.entry(who).or_insert(Penalty { until: now, is_enforced: false });
        let was_running = penalty.until > now;
        penalty.until = (penalty.until.max(now) + EACH).min(now + LONGEST);
        penalty.is_enforced = penalty.is_enforced && was_running || penalty.until - now >= ENFORCED_FROM;
    }

    /// For how much longer `name` may not connect from `from`.
    pub(crate) fn running(&self, now: Instant, name: &str, from: Option<IpAddr>) -> Option<Duration> {
        let who = (Arc::from(name), from.map(Source::from));
        let penalty = *self.0.lock().get(&who)?;
        (penalty.is_enforced && penalty.until > now).then(|| penalty.until - now)
    }
}

/// What one closed connection costs.
const EACH: Duration = Duration::from_secs(5);
/// A penalty is enforced once so much has accrued: three in a short time are no accident.
const ENFORCED_FROM: Duration = Duration::from_secs(14);
const LONGEST: Duration = Duration::from_mins(1);
/// Identities and places remembered; the one that would lapse first makes room.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7)));
    const THERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 8)));

    #[test]
    fn third_connection_closed_for_a_limit_keeps_its_identity_out_for_a_while_and_nobody_else() {
        let (penalties, now) = (Penalties::default(), Instant::now());
        let second = Duration::from_millis(100);
        penalties.add(now, "evil", HERE);
        penalties.add(now + second, "evil", HERE);
        assert_eq!(penalties.running(now + second, "evil", HERE), None, "twice may be an accident");
        penalties.add(now + 2 * second, "evil", HERE);
        let left = penalties.running(now + 2 * second, "evil", HERE).unwrap();
        assert!(left > Duration::from_secs(14), "{left:?}");
        assert_eq!(penalties.running(now + 2 * second, "evil", THERE), None);
        assert_eq!(penalties.running(now + 2 * second, "good", HERE), None);
        assert_eq!(penalties.running(now + Duration::from_secs(15), "evil", HERE), None, "it has lapsed");
    }

    #[test]
    fn penalty_lapses_when_connections_are_closed_seldom_and_never_exceeds_a_minute() {
        let (penalties, now) = (Penalties::default(), Instant::now());
        for turn in 0..20 {
            let at = now + Duration::from_secs(6) * turn;
            penalties.add(at, "clumsy", HERE);
            assert_eq!(penalties.running(at, "clumsy", HERE), None);
        }
        (0..100).for_each(|_| penalties.add(now, "evil", HERE));
        assert_eq!(penalties.running(now, "evil", HERE), Some(LONGEST));
        let after = now + LONGEST;
        penalties.add(after, "evil", HERE);
        assert_eq!(penalties.running(after, "evil", HERE), None, "after it everything begins anew");
    }

    #[test]
    fn penalties_are_bounded_and_the_first_to_lapse_makes_room() {
        let (penalties, now) = (Penalties::default(), Instant::now());
        for number in 0..=MOST {
            let at = now + Duration::from_micros(number as u64);
            penalties.add(at, &format!("identity {number}"), None);
        }
        let held = penalties.0.lock();
        assert_eq!(held.len(), MOST);
        assert!(!held.contains_key(&("identity 0".into(), None)));
    }
}
