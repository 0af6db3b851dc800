//! A machine in the world: a clock of its own, and times when it does nothing.

use std::time::{Duration, Instant};

/// A host's clock runs faster or slower than the world's; a host may sleep, and its clock may stand meanwhile.
#[derive(Clone, Debug)]
pub struct Host {
    start: Instant,
    /// What passes on its clock while 1000 pass in the world.
    permille: u32,
    sleeps: Vec<Sleep>,
}

#[derive(Clone, Copy, Debug)]
struct Sleep {
    from: Instant,
    until: Instant,
    stands: bool,
}

impl Host {
    /// A host whose clock is the world's.
    pub const fn exact(start: Instant) -> Self {
        Self { start, permille: 1000, sleeps: Vec::new() }
    }

    /// A host on whose clock `permille` pass while 1000 pass in the world; at least 1.
    pub fn skewed(start: Instant, permille: u32) -> Self {
        Self { permille: permille.max(1), ..Self::exact(start) }
    }

    /// It does nothing for this long. `stands`: nor does its clock, as a monotonic one while the machine is suspended;
    /// else only its processes were stopped. Later sleeps come later.
    pub fn sleep(&mut self, from: Instant, time: Duration, stands: bool) {
        self.sleeps.push(Sleep { from, until: from + time, stands });
    }

    /// What its clock shows at an instant of the world.
    pub fn local(&self, world: Instant) -> Instant {
        if self.is_exact() {
            return world;
        }
        let stood = self.sleeps.iter().filter(|sleep| sleep.stands);
        let stood: Duration =
            stood.map(|sleep| world.min(sleep.until).saturating_duration_since(sleep.from)).sum();
        self.start + scale(world.saturating_duration_since(self.start).saturating_sub(stood), self.permille)
    }

    /// The first instant of the world at which its clock shows this or more.
    pub fn world(&self, local: Instant) -> Instant {
        if self.is_exact() {
            return local;
        }
        let mut found = self.start + unscale(local.saturating_duration_since(self.start), self.permille);
        for sleep in self.sleeps.iter().filter(|sleep| sleep.stands) {
            if found > sleep.from {
                found += sleep.until - sleep.from;
            }
        }
        found
    }

    /// Its clock is the world's: most are, and are asked often.
    const fn is_exact(&self) -> bool {
        self.permille == 1000 && self.sleeps.is_empty()
    }

    /// Whether it does anything at all at this instant.
    pub fn is_awake(&self, now: Instant) -> bool {
        self.sleeps.iter().all(|sleep| now < sleep.from || now >= sleep.until)
    }

    /// When it can act on what is due at `at`: then, or when it wakes up.
    pub fn awake_from(&self, at: Instant) -> Instant {
        let asleep = self.sleeps.iter().filter(|sleep| sleep.from <= at && at < sleep.until);
        asleep.map(|sleep| sleep.until).max().unwrap_or(at)
    }

    /// When it wakes up next, after `now`.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.sleeps.iter().map(|sleep| sleep.until).filter(|until| *until > now).min()
    }

    /// Whether it has slept for longer than `time` before `now`.
    pub fn has_slept(&self, now: Instant, time: Duration) -> bool {
        self.sleeps.iter().any(|sleep| sleep.from < now && sleep.until - sleep.from > time)
    }
}

fn scale(time: Duration, permille: u32) -> Duration {
    nanos(time.as_nanos() * u128::from(permille) / 1000)
}

/// The least time that [`scale`] makes at least this of.
fn unscale(time: Duration, permille: u32) -> Duration {
    nanos((time.as_nanos() * 1000).div_ceil(u128::from(permille)))
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_shows_no_less_than_was_waited_for_and_no_sooner() {
        let start = Instant::now();
        for permille in [700, 1000, 1300] {
            let mut host = Host::skewed(start, permille);
            host.sleep(start + Duration::from_secs(3), Duration::from_secs(60), true);
            host.sleep(start + Duration::from_secs(70), Duration::from_secs(5), false);
            for millis in (0..90_000).step_by(37) {
                let local = start + Duration::from_millis(millis);
                let world = host.world(local);
                assert!(host.local(world) >= local, "{permille}, {millis} ms");
                let before = world - Duration::from_nanos(1).min(world - start);
                assert!(world == start || host.local(before) < local, "{permille}, {millis} ms");
            }
        }
    }

    #[test]
    fn what_is_due_while_it_sleeps_waits_until_it_wakes() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut host = Host::exact(start);
        host.sleep(at(5), Duration::from_secs(10), false);
        assert_eq!(
            [host.awake_from(at(4)), host.awake_from(at(5)), host.awake_from(at(15))],
            [at(4), at(15), at(15)]
        );
        assert!(host.is_awake(at(4)) && !host.is_awake(at(14)) && host.is_awake(at(15)));
        assert_eq!(host.poll_timeout(start), Some(at(15)));
    }
}
