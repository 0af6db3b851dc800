//! What a pool or listener is given: transports that are up, however they came to be.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use crate::config::Wire;
use crate::error::ConnectionError;
use crate::io::records::Records;
use crate::session::PathInfo;

/// Brings up one authenticated transport connection to the server, over and over.
///
/// Any `Fn() -> impl Future` is one: `Dialer::new(move || { let tls = tls.clone(); async move { … } }, config)`.
pub trait Connect: Send + Sync + 'static {
    /// Dials once. The pool bounds it by [`Config::dial_timeout`](crate::Config) and drops the future when it is not wanted
    /// any more, which must leave nothing behind.
    ///
    /// # Errors
    /// [`ConnectError`], one line for the log that names the hop and what to do.
    fn connect(&self) -> impl Future<Output = Result<Connected, ConnectError>> + Send;
}

impl<F, R> Connect for F
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<Connected, ConnectError>> + Send,
{
    fn connect(&self) -> impl Future<Output = Result<Connected, ConnectError>> + Send {
        self()
    }
}

/// One transport connection that is up: the bytes, the wire both ends agreed on, and who is there.
pub struct Connected {
    /// How batches travel.
    pub records: Box<dyn Records>,
    /// The wire, by ALPN or configuration.
    pub wire: Wire,
    /// The socket's figures, where there is a socket.
    pub probe: Option<Box<dyn Probe>>,
    /// For logs and policies.
    pub facts: PeerFacts,
    /// Told why the connection ended, before anybody else.
    pub on_end: Option<OnEnd>,
    /// Ready when the peer has lost its right to the connection.
    pub lease: Option<Lease>,
}

/// Is told why a connection ended, or that its peer announced the end; must return at once.
pub type OnEnd = Box<dyn FnOnce(&ConnectionError) + Send>;

/// Why the right to a connection was lost, as soon as it is: a few words, which the peer is told.
pub type Lease = Pin<Box<dyn Future<Output = Arc<str>> + Send>>;

impl Connected {
    /// A connection without probe.
    pub fn new(records: impl Records + 'static, wire: Wire, facts: PeerFacts) -> Self {
        Self { records: Box::new(records), wire, probe: None, facts, on_end: None, lease: None }
    }

    /// The same, ended as soon as `lease` is ready, with all its streams cut and its text for the peer.
    #[must_use]
    pub fn with_lease(mut self, lease: impl Future<Output = Arc<str>> + Send + 'static) -> Self {
        self.lease = Some(Box::pin(lease));
        self
    }

    /// The same with the socket's figures.
    #[must_use]
    pub fn with_probe(mut self, probe: impl Probe + 'static) -> Self {
        self.probe = Some(Box::new(probe));
        self
    }

    /// The same with somebody who is told why the connection ended.
    #[must_use]
    pub fn with_end(mut self, on_end: impl FnOnce(&ConnectionError) + Send + 'static) -> Self {
        self.on_end = Some(Box::new(on_end));
        self
    }
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected")
            .field("wire", &self.wire)
            .field("probe", &self.probe.is_some())
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

/// Who is at the other end of a connection, and how it is reached.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PeerFacts {
    /// The net type, as `tls`.
    pub transport: String,
    /// Our address.
    pub local: String,
    /// The peer's address.
    pub remote: String,
    /// What the peer's certificate proves, if it showed one.
    pub identity: Option<Arc<str>>,
    /// What the configuration calls the peer, where it was dialled.
    pub server: Option<Arc<str>>,
}

/// The figures of the socket under a connection.
pub trait Probe: Send + Sync {
    /// What the kernel knows about the path now; `None` where it doesn't say. Called at most ten times a second.
    fn path(&self) -> Option<PathInfo>;

    /// Bounds the bytes that wait unsent in the kernel (`TCP_NOTSENT_LOWAT`), where the socket has such a bound.
    fn set_notsent_lowat(&self, bytes: u32);
}

/// Why no transport connection came up: one line that names the hop, the cause and what to do.
#[derive(Clone, Debug)]
pub struct ConnectError {
    message: Arc<str>,
    server: Option<Arc<str>>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl ConnectError {
    /// An error with its message, lower case and without full stop.
    pub fn new(message: impl Into<Arc<str>>) -> Self {
        Self { message: message.into(), server: None, source: None }
    }

    /// The same with the server that failed, of several.
    #[must_use]
    pub fn of(mut self, server: impl Into<Arc<str>>) -> Self {
        self.server = Some(server.into());
        self
    }

    /// The server that failed, where it is known which.
    pub fn server(&self) -> Option<&Arc<str>> {
        self.server.as_ref()
    }

    /// The same with the error under it.
    #[must_use]
    pub fn with_source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closure_that_yields_a_future_is_a_connect() {
        fn takes(_: impl Connect) {}
        let name: Arc<str> = "tcp: no route".into();
        takes(move || {
            let name = name.clone();
            async move { Err(ConnectError::new(name)) }
        });
    }

    #[test]
    fn error_shows_its_message_and_keeps_its_source() {
        let error = ConnectError::new("tls to a:1: refused").with_source(std::io::Error::other("alert"));
        assert_eq!(error.to_string(), "tls to a:1: refused");
        assert_eq!(error.source().unwrap().to_string(), "alert");
    }
}
