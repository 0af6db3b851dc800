//! SOCKS and HTTP CONNECT without waiting, and the eager request.

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

mod eager;
mod error;
mod handshake;
#[cfg(feature = "io")]
mod io;
mod request;
mod users;

pub use eager::eager_bytes;
pub use error::HandshakeError;
pub use handshake::{Config, EARLY_MAX, Handshake, Refusal, Reply};
#[cfg(feature = "io")]
pub use io::accept::{Gate, accept_eager, handshake, handshake_from};
#[cfg(feature = "io")]
pub use io::dial::dial;
#[cfg(feature = "io")]
pub use io::listener::{Accepted, Listener, Speaks, listen, listen_socks};
pub use request::{Command, Credential, Protocol, Request};
pub use users::{AuthLimit, Password, Users, UsersError};
