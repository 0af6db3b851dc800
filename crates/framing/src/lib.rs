//! Every wire format of TunneLS: bytes to values and back. No state, no I/O, no clock.
//!
//! Two traits say it all: what can be built can be encoded ([`Encode`]), and reading ends in *a value*, *not yet* or
//! *never* ([`Decode`]). Which message comes next, and what it means, is for the crates above.
//!
//! | module | format | values |
//! |---|---|---|
//! | [`remux2`] | our wire: streams, credit, reset codes | [`remux2::Header`], one type a payload |
//! | [`classic`] | the first TunneLS's wire | [`classic::Header`] |
//! | [`eager`] | the request in front of a stream's first data | [`eager::Request`] |
//! | [`socks`] | SOCKS 4, 4a and 5 with user and password | [`socks::v4`], [`socks::v5`] |
//! | [`connect`] | HTTP CONNECT | [`connect::Head`], [`connect::Response`] |
//!
//! Words: a [`Target`] is a host and a port; a *frame* is a header and its payload; a *name* stays as it was written
//! until somebody resolves it.
//!
//! Decoders take slices, allocate nothing before every announced length was compared with its limit, and never panic:
//! each has a fuzz target. A verdict never changes with the chunks the bytes arrive in.
//!
//! ```
//! use framing::{Decode, Encode, Target, eager};
//!
//! let target: Target = "localhost:19010".parse()?;
//! let mut wire = eager::Request::connect(target.clone()).to_vec();
//! wire.extend_from_slice(b"HelloWorld");
//!
//! assert_eq!(eager::Request::decode(&wire[..5]), Ok(None));
//! let (request, used) = eager::Request::decode(&wire)?.expect("it is complete");
//! assert_eq!((request.target, &wire[used..]), (target, &b"HelloWorld"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `cargo run -p framing --example frames` shows frames in hex.

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

pub mod classic;
mod codec;
pub mod connect;
mod credential;
pub mod eager;
mod reader;
pub mod remux2;
pub mod socks;
mod target;

pub use codec::{Decode, DecodeError, Encode};
pub use credential::Credential;
pub use target::{Host, Name, Target, TargetError};
