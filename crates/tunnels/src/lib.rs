//! TunneLS as a library: the embeddable [`Client`] and [`Server`].
//!
//! A client takes applications' traffic in by SOCKS4, SOCKS4a, SOCKS5 and HTTP CONNECT, carries it to its server over a few
//! mutually authenticated TLS connections, and the server lets it out. The application is answered at once; request and first
//! data leave together.
//!
//! | word | meaning |
//! |---|---|
//! | [`config`] | the one tree of settings, from flags, environment and a YAML file, or from pairs in code |
//! | [`Client`] | listens for applications |
//! | [`Server`] | listens for clients and dials destinations |
//! | [`Shutdown`] | the token that ends either: drain first, then now |
//! | [`pki`] | makes the certificates both need |
//! | [`dialer`], [`listen`] | only the multiplexed connections, by net and address |
//!
//! ```no_run
//! # async fn example() -> Result<(), tunnels::Error> {
//! use tunnels::{Client, Shutdown, config};
//!
//! let config = config::Client::from_pairs([
//!     ("server.addr", "tunnel.example.net:443"),
//!     ("client.addr", "127.0.0.1:1080"),
//!     ("tls.client.ca", "ca.crt"),
//!     ("tls.client.cert", "client.crt"),
//!     ("tls.client.key", "client.key"),
//! ])?;
//! let client = Client::bind(config).await?;
//! println!("SOCKS on {}", client.address());
//! client.serve(Shutdown::new()).await
//! # }
//! ```
//!
//! Parts of it alone: SOCKS without a tunnel is the crate `eagersocks`, the pool over any byte stream is `remux`, the wire
//! formats are `framing`.

mod access;
mod carrier;
mod cell;
mod client;
pub mod config;
mod demo;
mod descriptors;
mod destination;
mod error;
mod listen;
mod log;
mod lookups;
mod memory;
mod mux;
mod notify;
mod outbound;
mod pace;
mod panics;
mod papers;
mod penalty;
pub mod pki;
mod refused;
mod registry;
mod relay;
pub mod run;
mod server;
mod shutdown;
#[cfg(test)]
mod simulated;
mod tasks;
mod turns;
mod unreached;
mod webhook;

pub use cell::confine;
pub use client::{Client, Reloader as ClientReloader};
pub use demo::demo;
pub use error::Error;
pub use mux::{Streams, dialer, listen};
pub use server::{Reloader as ServerReloader, Server};
pub use shutdown::{Phase, Shutdown};
