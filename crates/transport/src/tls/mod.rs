//! Mutual TLS 1.3: files in, verified streams out.
//!
//! ```text
//!            load, reload                       accept, connect
//!   files ───────────────▶ Material (ArcSwap) ───────────────────▶ TlsStream ───▶ Standing
//!     │ every check             │ one Judge a handshake               │ alerts        │ judged again at each
//!     ▼                         ▼ remembers whom it refused, and why  ▼ are explained ▼ reload and end of time
//!  LoadError               HandshakeError                        io::Error       HandshakeError
//! ```
//!
//! A handshake builds its rustls configuration from the material of that moment: a reload needs no new listener,
//! running handshakes keep what they began with, and there is no cache that could outlive a certificate.

mod admission;
mod ahead;
mod alert;
mod classify;
mod client;
mod clock;
mod end;
mod fault;
mod files;
mod judge;
mod provider;
mod revocation;
mod server;
mod standing;
mod stream;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use admission::{Admission, Inadmissible};
pub use alert::{Explainer, explain_alert};
pub use client::ClientTls;
pub use clock::Clock;
pub use fault::{Fault, HandshakeError};
pub(crate) use files::read_certificates;
pub use files::{LoadError, LoadFault, TlsFiles, is_closed};
pub use revocation::RevocationList;
pub use server::ServerTls;
pub use standing::Standing;
pub use stream::TlsStream;

/// How one end does TLS.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Where the certificates are.
    pub files: TlsFiles,
    /// Application protocols, best first; the server's order decides. A peer that names none is accepted, and
    /// [`TlsStream::alpn`] is `None` then. A peer that names only others is refused.
    pub alpn: Vec<Vec<u8>>,
    /// Offer the hybrid X25519MLKEM768 first. Off for paths that drop a ClientHello of more than one segment.
    pub post_quantum: bool,
    /// From the first byte to the end of the handshake, in all; a peer that is slower is let go.
    pub deadline: Duration,
    /// Client only: the name the server's certificate must bear, instead of the host of its address. A DNS name
    /// or an IP literal. Needed over a Unix socket.
    pub server_name: Option<String>,
    /// Certificate revocation lists, PEM: one of each CA that issues peers' certificates. With a file, a certificate of
    /// whose issuer it has no list is refused. A list past its next update goes on to count.
    pub crl: Option<PathBuf>,
    /// Server only: decides about each identity with a good certificate.
    pub admission: Option<Arc<dyn Admission>>,
    /// A live connection ends when the peer's certificate does.
    pub cut_expired: bool,
    /// The time of day.
    pub clock: Clock,
}

impl TlsSettings {
    /// Settings with the defaults: hybrid exchange on, 10 s for a handshake, the name of the address, connections that end
    /// with their certificate; no revocation list and no admission beyond a good certificate.
    pub fn new(files: TlsFiles, alpn: &[&[u8]]) -> Self {
        Self {
            files,
            alpn: alpn.iter().map(|protocol| protocol.to_vec()).collect(),
            post_quantum: true,
            deadline: Duration::from_secs(10),
            server_name: None,
            crl: None,
            admission: None,
            cut_expired: true,
            clock: Clock::default(),
        }
    }
}

/// ALPN id of the eager request without mux.
pub const ALPN_EAGER: &[u8] = b"eagersocks/1";
/// ALPN id of the classic wire.
pub const ALPN_REMUX1: &[u8] = b"remux/1";
/// ALPN id of our own wire.
pub const ALPN_REMUX2: &[u8] = b"remux/2";

/// Room for one batch of eight full records (each 5 bytes of header, 1 of type and 16 of tag over its payload), so
/// that a batch leaves in one system call.
const SEND_BUFFER: usize = 8 * (16_384 + 22);

#[cfg(test)]
mod tests;
