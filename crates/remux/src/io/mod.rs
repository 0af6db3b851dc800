//! The tokio half: it owns sockets, the clock and tasks, and decides nothing.
//!
//! ```text
//!   Dialer ─▶ pool (pure)              Listener
//!      │  start()                         │  start()
//!      ▼                                  ▼
//!   driver: one task per connection = Records + timer ──┐ a short lock,
//!      ▲                                                ▼ no byte copied under it
//!   Stream, Stream, … (the application's tasks) ──▶ Session (pure)
//! ```

mod clock;
mod connect;
mod connection;
mod dialer;
pub(crate) mod driver;
mod listener;
mod records;
mod retry;
mod shared;
mod slabs;
mod split;
pub(crate) mod stream;

pub use connect::{Connect, ConnectError, Connected, Lease, OnEnd, PeerFacts, Probe};
pub use dialer::{Builder as DialerBuilder, Dialer, Stats};
pub use listener::{ConnectionHandle, Listener};
pub use records::{BufStream, ByteStream, Records};
pub use stream::{OwnedReadHalf, OwnedWriteHalf, Stream};

#[cfg(test)]
mod tests;
