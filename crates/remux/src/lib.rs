//! Reusable, multiplexed connections over any byte stream.
//!
//! One *connection* carries many *streams*; a *pool* of connections gives each new stream the best of them, and
//! dials a further one only when none can be used. Two *wires* say how streams are put into bytes: `remux2`, our own
//! (half-close, reset codes, credit, liveness), and `classic`, that of the first TunneLS.
//!
//! | start with | for |
//! |---|---|
//! | `Dialer` | the client: streams over connections that a closure makes |
//! | `Listener` | the server: streams out of the connections handed to it |
//! | [`session::Session`] | the engine of one connection, pure: bytes and instants in, bytes and events out |
//! | [`pool::Pool`] | the choice of a connection, pure |
//!
//! ```
//! # #[cfg(feature = "io")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use remux::session::Open;
//! use remux::{ByteStream, Config, Connected, Dialer, Listener, PeerFacts, Wire};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let listener = Arc::new(Listener::new(Config::default()));
//! let serving = listener.clone();
//! // A way to connect: any closure that yields a byte stream. This one's other end goes straight to the listener.
//! let connect = move || {
//!     let (near, far) = tokio::io::duplex(64 << 10);
//!     serving.serve(Connected::new(ByteStream::new(far), Wire::Remux2, PeerFacts::default()));
//!     async move { Ok(Connected::new(ByteStream::new(near), Wire::Remux2, PeerFacts::default())) }
//! };
//! let dialer = Dialer::new(connect, Config::default());
//!
//! let mut ours = dialer.open(Open::connect("echo.example:7".parse()?)).await?;
//! ours.write_all(b"hello").await?;
//! ours.shutdown().await?; // half-close: the answer still comes
//!
//! let mut theirs = listener.accept().await.ok_or("closed")?;
//! let mut question = String::new();
//! theirs.read_to_string(&mut question).await?;
//! theirs.write_all(question.as_bytes()).await?;
//! theirs.shutdown().await?;
//!
//! let mut answer = String::new();
//! ours.read_to_string(&mut answer).await?;
//! assert_eq!(answer, "hello");
//! # Ok(())
//! # })
//! # }
//! # #[cfg(not(feature = "io"))]
//! # fn main() {}
//! ```
//!
//! Without the feature `io` (on by default) nothing here knows tokio: `session` and `pool` run under any runtime, in a
//! simulation, in a fuzzer.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod budget;
mod config;
mod error;
#[cfg(feature = "io")]
mod io;
#[cfg(feature = "planted")]
pub mod planted;
pub mod pool;
pub mod session;

pub use budget::{Account, Budget, Charge, Stage};
pub use config::{
    AnnounceConfig, ClassicConfig, Config, LimitConfig, LivenessConfig, Rate, Role, SendConfig,
    SessionConfig, WindowConfig, Wire,
};
pub use error::{ConnectionError, DialError, OpenError, OpenReason, StreamError, TurnedAway};
#[cfg(feature = "io")]
pub use io::{
    BufStream, ByteStream, Connect, ConnectError, Connected, ConnectionHandle, Dialer, DialerBuilder, Lease,
    Listener, OnEnd, OwnedReadHalf, OwnedWriteHalf, PeerFacts, Probe, Records, Stats, Stream,
};
