//! How bytes travel: TCP, Unix sockets and mutual TLS, with the socket options a tunnel needs.

mod cert;
mod connector;
mod date;
mod dial;
mod limits;
mod listen;
mod net;
mod probe;
mod socket;
mod stream;
#[cfg(test)]
mod testing;
mod tls;

pub use cert::{Certificate, Identity, Name, Role, Usage, Validity, describe, expiry_warning};
pub use connector::Connector;
pub use dial::{
    Attempt, AttemptError, ConnectError, ConnectErrorKind, DialOptions, connect, connect_unix, resolve,
};
pub use limits::{Gate, Limits, Outcome, Refusal, Source};
pub use listen::{Acceptor, BindError, Incoming, ListenOptions};
pub use net::{Address, AddressError, Net, NetError};
pub use probe::{PathFacts, Probe};
pub use socket::{Keepalive, Socket, SocketOptions, congestion_offered};
pub use stream::Stream;
pub use tls::{
    ALPN_REMUX1, ALPN_REMUX2, ClientTls, Explainer, Fault, HandshakeError, LoadError, LoadFault, ServerTls,
    TlsFiles, TlsSettings, TlsStream, explain_alert,
};
