//! A transport with two directions that break together.

use std::time::Instant;

use crate::link::{Fault, Link, Plan};
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
        if self.ab.is_cut() || self.ab.fired().contains(&Fault::Cut) {
            self.ba.cut();
        } else if self.ba.is_cut() || self.ba.fired().contains(&Fault::Cut) {
            self.ab.cut();
        }
    }

    /// When something arrives at either end next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ab.poll_timeout().into_iter().chain(self.ba.poll_timeout()).min()
    }

    /// Every fault that has struck, in both directions.
    pub fn fired(&self) -> impl Iterator<Item = Fault> + '_ {
        self.ab.fired().iter().chain(self.ba.fired()).copied()
    }
}
