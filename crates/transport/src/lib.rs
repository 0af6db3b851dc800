//! How bytes travel: TCP, Unix sockets and mutual TLS 1.3, with the socket options a tunnel needs.
//!
//! The crate knows addresses, sockets and certificates. It knows nothing of what runs on them: it yields a byte stream
//! with the facts around it (who the peer is, which protocol both chose, how the path does), and says in one line what
//! went wrong, for the side that can mend it.
//!
//! | word | meaning |
//! |---|---|
//! | net | the kind of socket: tcp, tcp4, tcp6, unix ([`Net`]) |
//! | stream | a connection's bytes, plain or under TLS ([`Stream`]) |
//! | identity | what the peer's certificate proves: SAN URI, else SAN DNS, else the key; never the common name ([`Identity`]) |
//! | admission | who of those with a good certificate is let in ([`Admission`]) |
//! | standing | a live connection's right, judged again at each reload and when a certificate ends ([`Standing`]) |
//! | role | client or server: the extended key usage that a certificate must have ([`Role`]) |
//! | probe | a view of a TCP socket's path, kept beside the stream ([`Probe`]) |
//! | armed | a socket that closes with RST unless it is disarmed before ([`Socket::arm_reset`]) |
//! | gate | the limits before authentication; they bite sources whose handshakes failed ([`Gate`]) |
//!
//! # Types to start with
//!
//! [`Connector`] opens streams and [`Acceptor`] takes them in; [`ClientTls`] and [`ServerTls`] are loaded from files,
//! with every check that can be made, and can be reloaded while they are in use. [`resolve`] and [`connect`] dial any
//! host. [`describe`] explains a certificate.
//!
//! ```no_run
//! use std::sync::Arc;
//! use transport::{ALPN_REMUX2, Address, ClientTls, Connector, DialOptions, Net, TlsFiles, TlsSettings};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let files = TlsFiles { ca: "ca.crt".into(), certificate: "client.crt".into(), key: "client.key".into() };
//! let tls = ClientTls::load(TlsSettings::new(files, &[ALPN_REMUX2]))?;
//! let address = Address::to_dial(Net::Tcp, "example.net:8443")?;
//! let connector = Connector::new(Net::Tcp, vec![address], Some(Arc::new(tls)), DialOptions::tunnel());
//! let stream = connector.connect().await?;
//! println!("{} by {:?}", stream.transport(), stream.identity());
//! # Ok(())
//! # }
//! ```
//!
//! `examples/tls_echo.rs` has both ends in one program.
//!
//! # What it promises
//!
//! - A handshake is mutual, TLS 1.3, in full each time: no resumption, no tickets, no early data. A certificate without
//!   the extended key usage of its role is refused.
//! - A refused client gets the alert to read, although it has sent data already, and the words for it.
//! - [`Acceptor::accept`] never waits for a peer's bytes, and does not spin when descriptors run out.
//! - TCP streams end as they should: FIN after an orderly end, RST after any other where armed. Unix sockets have no
//!   RST; there a cut looks like an end.

mod cert;
mod connector;
mod date;
mod dial;
mod holder;
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
pub use connector::{Connector, Server, Unconnected};
pub use dial::{
    Attempt, AttemptError, ConnectError, ConnectErrorKind, DialOptions, connect, connect_unix, resolve,
};
pub use limits::{Gate, Limits, Outcome, Refusal, Source};
pub use listen::{Acceptor, BindError, Doorkeeper, Incoming, ListenOptions};
pub use net::{Address, AddressError, Net, NetError};
pub use probe::{PathFacts, Probe};
pub use socket::{Keepalive, Socket, SocketOptions, congestion_offered};
pub use stream::Stream;
pub use tls::{
    ALPN_EAGER, ALPN_REMUX1, ALPN_REMUX2, Admission, ClientTls, Clock, Explainer, Fault, HandshakeError,
    Inadmissible, LoadError, LoadFault, RevocationList, ServerTls, Standing, TlsFiles, TlsSettings,
    TlsStream, explain_alert, is_closed,
};
