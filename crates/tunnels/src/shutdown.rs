//! One token that tells every task how the process is to end.
//!
//! ```text
//! Running ──begin──▶ Draining ──force──▶ Stopped
//!    └──────────────force──────────────────▲
//! ```
//! Draining: take nothing new, let running streams end. Stopped: end now. It never goes back.

use tokio::sync::watch;

/// How far the end of the process has come.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// Serving.
    #[default]
    Running,
    /// Taking nothing new; running streams may end by themselves.
    Draining,
    /// Ending now; running streams are reset.
    Stopped,
}

/// A handle on the phase; clones share it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    phase: watch::Sender<Phase>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { phase: watch::Sender::new(Phase::Running) }
    }
}

impl Shutdown {
    /// A token in [`Phase::Running`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to drain; nothing happens if that has begun already.
    pub fn begin(&self) {
        self.advance(Phase::Draining);
    }

    /// Ends at once.
    pub fn force(&self) {
        self.advance(Phase::Stopped);
    }

    /// What a signal does: the first drains, the second ends at once.
    pub fn press(&self) {
        match self.phase() {
            Phase::Running => self.begin(),
            Phase::Draining | Phase::Stopped => self.force(),
        }
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the phase is `phase` or beyond. Cancel safe.
    pub async fn reached(&self, phase: Phase) {
        // The sender lives in `self`, so waiting can't fail.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|now| {
            let later = to > *now;
            if later {
                *now = to;
            }
            later
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_press_forces_and_nothing_goes_back() {
        let shutdown = Shutdown::new();
        shutdown.press();
        assert_eq!(shutdown.phase(), Phase::Draining);
        shutdown.press();
        assert_eq!(shutdown.phase(), Phase::Stopped);
        shutdown.begin();
        assert_eq!(shutdown.phase(), Phase::Stopped);
    }

    #[tokio::test]
    async fn clone_that_waits_learns_of_the_phase() {
        let shutdown = Shutdown::new();
        let waiter = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.reached(Phase::Draining).await }
        });
        shutdown.force();
        waiter.await.unwrap();
    }
}
