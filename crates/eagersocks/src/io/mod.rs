//! Sockets and clock of the handshakes; every decision is in [`crate::Handshake`].

pub(crate) mod accept;
pub(crate) mod dial;
pub(crate) mod listener;
