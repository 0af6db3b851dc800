//! SOCKS and HTTP CONNECT without waiting, and the eager request.
//!
//! A *front* listens for applications. It speaks SOCKS 4, 4a, 5 and HTTP CONNECT on one port and tells them apart by
//! the first byte. By default it answers *eagerly*: success is told before anything is dialled, so the application's
//! first bytes travel with the request and a round trip is saved.
//!
//! | word | meaning |
//! |---|---|
//! | request | what an application asked for: command, target, credential and early data ([`Request`]) |
//! | early data | bytes that came along with the request; they go out first |
//! | eager | success is told at once; a later failure can only be shown as a reset ([`Reply::Eager`]) |
//! | strict | success or failure is told when it is known, with its code ([`Reply::Strict`]) |
//! | eager request | `05 01 00 ATYP ADDR PORT`, one message that is never answered ([`dial`], [`accept_eager`]) |
//! | refusal | a request that is never served: its reply, the delay before it, and the reason ([`Refusal`]) |
//!
//! Start with [`listen_socks`] and [`Accepted::handshake`], or with [`handshake()`] on any byte stream:
//!
#![cfg_attr(feature = "io", doc = "```")]
#![cfg_attr(not(feature = "io"), doc = "```ignore")]
//! use eagersocks::{Config, listen_socks};
//! use tokio::io::AsyncWriteExt;
//! use tokio::net::TcpStream;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = listen_socks("127.0.0.1:0", Config::default()).await?;
//!
//! let mut application = TcpStream::connect(listener.local_addr()?).await?;
//! application.write_all(b"CONNECT example.com:80 HTTP/1.1\r\n\r\nGET / ").await?;
//!
//! let (_socket, request) = listener.accept().await?.handshake().await?;
//! assert_eq!(request.target.to_string(), "example.com:80");
//! assert_eq!(&request.early[..], b"GET / ");
//! # Ok(()) }
//! ```
//!
//! `cargo run -p eagersocks --example socks` is a complete direct proxy. Without the feature `io` (on by default) what
//! is left is the pure [`Handshake`], for other runtimes.
//!
//! *Invariant:* nothing is asked for in somebody's name before they proved it, and no verdict depends on how the bytes
//! were cut.

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

pub use eager::{eager_bytes, take_eager};
pub use error::HandshakeError;
pub use framing::socks::Command;
pub use handshake::{Config, EARLY_MAX, Handshake, Refusal, Reply};
#[cfg(feature = "io")]
pub use io::accept::{Gate, accept_eager, handshake, handshake_from};
#[cfg(feature = "io")]
pub use io::dial::dial;
#[cfg(feature = "io")]
pub use io::listener::{Accepted, Listener, Speaks, listen, listen_socks};
pub use request::{Credential, Protocol, Request};
pub use users::{AuthLimit, Password, TooManyGuesses, Users, UsersError};
