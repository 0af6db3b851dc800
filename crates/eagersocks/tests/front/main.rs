//! The front as applications meet it.

mod common;
mod corpora;
mod invariants;
#[cfg(feature = "io")]
mod io;
#[cfg(feature = "io")]
mod listener;
