//! A transport with two directions that break together.

use std::time::Instant;

use crate::link::{Fault, Link, Plan, Trigger};
use crate::rng::Rng;

/// Two links, a to b and b to a; a cut of one is a cut of both.
#[derive(Debug)]
pub struct Duplex {
    /// What a sends.
    pub ab: Link,
    /// What b sends.
    pub ba: Link,
}

impl Duplex {
    /// Both directions as planned.
    pub fn new(ab: Plan, ba: Plan, rng: &mut Rng) -> Self {
        Self { ab: Link::new(ab, rng.fork()), ba: Link::new(ba, rng.fork()) }
    }

    /// Carries a cut from one direction to the other; call after each step.
    pub fn settle(&mut self) {
        let cut = |link: &Link| link.is_cut() || link.fired().iter().any(|(_, fault)| *fault == Fault::Cut);
        if cut(&self.ab) {
            self.ba.cut();
        } else if cut(&self.ba) {
            self.ab.cut();
        }
    }

    /// When something arrives at either end next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ab.poll_timeout().into_iter().chain(self.ba.poll_timeout()).min()
    }

    /// Every fault that has struck, in both directions, with what set it off.
    pub fn fired(&self) -> impl Iterator<Item = (Trigger, Fault)> + '_ {
        self.ab.fired().iter().chain(self.ba.fired()).copied()
    }
}
