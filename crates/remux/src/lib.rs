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
pub mod pool;
pub mod session;

pub use budget::{Budget, Pressure};
pub use config::{
    AnnounceConfig, ClassicConfig, Config, LimitConfig, LivenessConfig, Rate, Role, SendConfig, SessionConfig,
    WindowConfig, Wire,
};
pub use error::{ConnectionError, DialError, OpenError, OpenReason, StreamError};
#[cfg(feature = "io")]
pub use io::*; // named once the modules are complete
