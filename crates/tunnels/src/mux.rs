//! A pool of multiplexed connections by net and address, and what accepts them: the original's `NewDialer(network, address)`
//! and `Listen(network, address)`.
//!
//! `remux` itself takes any byte stream; here it is joined with `transport`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use remux::{Dialer, Listener, Stream};
use sla::event;
use tokio::task::JoinSet;
use transport::{Acceptor, Address, ClientTls, Connector, DialOptions, ListenOptions, Net, ServerTls};

use crate::config::Wire;
use crate::{Error, carrier, outbound, tasks};

/// A pool of connections to `address`, plain or under `tls`; nothing is dialled before the first stream.
///
/// The wire is what TLS negotiates by the ids `tls` offers ([`transport::ALPN_REMUX2`], [`transport::ALPN_REMUX1`]; silence
/// means classic), and remux2 on a plain transport. Must be called within a tokio runtime.
///
/// # Errors
/// The address is none of this net.
pub fn dialer(
    net: Net,
    address: &str,
    tls: Option<Arc<ClientTls>>,
    config: remux::Config,
) -> Result<Dialer, Error> {
    let address = Address::to_dial(net, address)?;
    let name = address.to_string();
    let connector = Arc::new(Connector::new(net, vec![address], tls, DialOptions::tunnel()));
    let connect = move || outbound::connect(connector.clone(), Wire::Auto, false);
    Ok(Dialer::builder(config).name(name).build(connect))
}

/// Listens on `address` for the connections of [`dialer`]s, plain or under `tls`.
///
/// # Errors
/// The address is none of this net, or can't be listened on.
pub async fn listen(
    net: Net,
    address: &str,
    tls: Option<ServerTls>,
    config: remux::Config,
) -> Result<Streams, Error> {
    let address = Address::to_listen(net, address)?;
    let acceptor = Acceptor::bind(net, &address, ListenOptions::tunnel()).await?;
    let local = acceptor.local();
    let listener = Arc::new(Listener::new(config));
    let mut task = JoinSet::new();
    task.spawn(accept(acceptor, tls.map(Arc::new), listener.clone()));
    Ok(Streams { local, listener, task })
}

/// The streams of accepted connections. Dropping it ends them all at once.
pub struct Streams {
    local: String,
    listener: Arc<Listener>,
    /// Accepts connections as long as it lives.
    task: JoinSet<()>,
}

impl Streams {
    /// Where it listens, with the real port where 0 was asked for.
    pub fn address(&self) -> &str {
        &self.local
    }

    /// The next stream that a peer opened; `None` after [`Streams::close`], and when the listener breaks. Cancel safe.
    pub async fn accept(&self) -> Option<Stream> {
        self.listener.accept().await
    }

    /// Accepts nothing new; open streams go on.
    pub fn close(&mut self) {
        self.task.abort_all();
        self.listener.close();
    }

    /// As [`Streams::close`]; streams still open after `limit` are reset. Returns when every connection has ended.
    ///
    /// Cancel safe: what was begun goes on.
    pub async fn drain(&mut self, limit: Duration) {
        self.task.abort_all();
        self.listener.drain(limit).await;
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("address", &self.local).finish_non_exhaustive()
    }
}

async fn accept(acceptor: Acceptor, tls: Option<Arc<ServerTls>>, listener: Arc<Listener>) {
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            Some(ended) = handshakes.join_next() => tasks::note_panic("handshake", ended),
            incoming = acceptor.accept() => match incoming {
                Err(error) => {
                    event::accept_failed(&acceptor.local(), &sla::plain(&error));
                    return listener.close();
                }
                Ok(incoming) => {
                    let (tls, listener) = (tls.clone(), listener.clone());
                    handshakes.spawn(async move {
                        let remote = incoming.remote().to_owned();
                        let stream = match &tls {
                            None => Ok(incoming.into_stream()),
                            Some(tls) => incoming.handshake(tls).await,
                        };
                        match stream {
                            Ok(stream) => {
                                let wire = carrier::wire(Wire::Auto, &stream);
                                listener.serve(carrier::accepted(stream, wire));
                            }
                            Err(error) => carrier::refused(&remote, &error),
                        }
                    });
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use transport::{ALPN_REMUX1, ALPN_REMUX2, TlsFiles, TlsSettings};

    async fn echo_once(streams: &Streams, dialer: &Dialer) {
        let ask = async {
            let mut stream = dialer.dial().await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await.unwrap();
            heard
        };
        let answer = async {
            let mut stream = streams.accept().await.unwrap();
            let mut asked = Vec::new();
            stream.read_to_end(&mut asked).await.unwrap();
            stream.write_all(&asked).await.unwrap();
            stream.shutdown().await.unwrap();
            stream
        };
        let (heard, _stream) = tokio::join!(ask, answer);
        assert_eq!(heard, b"hello");
    }

    #[tokio::test]
    async fn dialer_and_listener_meet_by_net_and_address() {
        let mut streams = listen(Net::Tcp, "127.0.0.1:0", None, remux::Config::default()).await.unwrap();
        let dialer = dialer(Net::Tcp, streams.address(), None, remux::Config::default()).unwrap();
        echo_once(&streams, &dialer).await;
        streams.close();
        assert!(streams.accept().await.is_none());
    }

    #[tokio::test]
    async fn dialer_and_listener_meet_under_mutual_tls() {
        let papers = pki::throwaway().unwrap();
        let both: &[&[u8]] = &[ALPN_REMUX2, ALPN_REMUX1];
        let files = |certificate: &std::path::Path, key: &std::path::Path| TlsFiles {
            ca: papers.ca.clone(),
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        let server = TlsSettings::new(files(&papers.server_cert, &papers.server_key), both);
        let client = TlsSettings::new(files(&papers.client_cert, &papers.client_key), both);
        let server = ServerTls::load(server).unwrap();
        let client = Arc::new(ClientTls::load(client).unwrap());
        let streams = listen(Net::Tcp, "127.0.0.1:0", Some(server), remux::Config::default()).await.unwrap();
        let dialer = dialer(Net::Tcp, streams.address(), Some(client), remux::Config::default()).unwrap();
        echo_once(&streams, &dialer).await;
    }

    #[tokio::test]
    async fn address_of_another_kind_is_refused() {
        let error = dialer(Net::Tcp, "/run/socket", None, remux::Config::default()).unwrap_err();
        assert_eq!(error.exit_code(), 64);
    }
}
