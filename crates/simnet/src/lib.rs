//! One simulated world for tests: chance from a seed, time that only tests move, byte links with faults.
//!
//! | word | meaning |
//! |---|---|
//! | [`Rng`] | the only source of chance; [`Rng::fork`] gives each part of a world its own |
//! | [`Link`] | one direction of a transport: delay, split and merged writes, cuts at any byte, stalls, black holes |
//! | [`Duplex`] | two links that are cut together |
//! | [`Host`] | a machine: a clock of its own that may run fast, slow or leap, and times when it sleeps |
//!
//! Nothing here reads a clock: every call takes the instant it happens at.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use simnet::{Arrival, Link, Plan, Rng};
//!
//! let start = Instant::now();
//! let mut link = Link::new(Plan::default(), Rng::new(7));
//! link.send(start, "hello".into());
//! assert_eq!(link.receive(start, 64), None);
//! let later = link.poll_timeout().unwrap();
//! assert_eq!(link.receive(later, 64), Some(Arrival::Data("hello".into())));
//! ```

mod duplex;
mod host;
mod link;
mod rng;

pub use duplex::Duplex;
pub use host::Host;
pub use link::{Arrival, Fault, Link, Plan, Trigger};
pub use rng::Rng;
