//! Who is let in, beyond having a good certificate: for whoever keeps a list.

use std::fmt;

use crate::cert::Certificate;

/// Decides whether the holder of a verified certificate is let in.
///
/// It is asked at the end of each handshake, when chain, period, use and the possession of the key are proven, and before
/// a byte of the protocol inside is read; and again for live connections after each
/// [`ServerTls::reload`](crate::ServerTls::reload) and [`ServerTls::review`](crate::ServerTls::review). Must not block.
pub trait Admission: fmt::Debug + Send + Sync {
    /// Is it let in?
    ///
    /// # Errors
    /// Why not, in words for the log of this side. The peer learns only which of the two kinds it is.
    fn admit(&self, certificate: &Certificate) -> Result<(), Inadmissible>;
}

/// Why a certificate that is good in itself does not let its holder in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Inadmissible {
    /// Its identity is on no list of those who are let in. The text follows the identity: `is not … → add it …`.
    Unlisted(String),
    /// It, or its identity, was revoked. The text follows the identity.
    Revoked(String),
}
