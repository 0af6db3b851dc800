//! How a client reaches its server with a request: a stream of the pool, or a connection of its own.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eagersocks::Reply;
use framing::remux2::Code;
use framing::{Host, Target};
use parking_lot::Mutex;
use remux::session::Open;
use remux::{Budget, Charge, ConnectError, Connected, Dialer};
use sla::event::Health;
use transport::{ClientTls, Connector, DialOptions, Stream, TlsFiles, TlsSettings};

use crate::carrier::Explained;
use crate::relay::{Broken, stream_broken};
use crate::{Error, carrier, config, memory};

/// The way to the server.
pub(crate) enum Outbound {
    /// A stream of a pooled connection.
    Pool(Dialer),
    /// One connection a request.
    Single(Single),
}

/// The way without a pool, which keeps no record of the server's health for us.
pub(crate) struct Single {
    connector: Arc<Connector>,
    health: Arc<Mutex<Health>>,
    budget: Arc<Budget>,
}

/// A request that is on its way.
pub(crate) enum Opened {
    Stream(remux::Stream),
    Connection(Explained<Stream>, Charge),
}

impl Outbound {
    /// The way the configuration asks for, and the certificates to reload on it.
    pub(crate) fn new(
        config: &config::Client,
        budget: &Arc<Budget>,
    ) -> Result<(Self, Option<Arc<ClientTls>>), Error> {
        let tls = match &config.tls {
            Some(tls) => Some(Arc::new(ClientTls::load(tls_settings(config, tls))?)),
            None => None,
        };
        let options = DialOptions { total: patience(config), ..DialOptions::tunnel() };
        let addresses = config.server.addresses.clone();
        let name: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let connector = Arc::new(Connector::new(config.server.net, addresses, tls.clone(), options));
        let outbound = match config.carrier {
            config::Carrier::Eager => {
                let health = Arc::new(Mutex::new(Health::new(name.join(","))));
                Self::Single(Single { connector, health, budget: budget.clone() })
            }
            config::Carrier::Remux(wire) => {
                let strict = config.reply == Reply::Strict;
                let dialer = Dialer::builder(config.remux.clone()).name(name.join(","));
                let dialer = dialer.budget(budget.clone());
                Self::Pool(dialer.build(move || connect(connector.clone(), wire, strict)))
            }
        };
        Ok((outbound, tls))
    }

    /// Sends the request and its first data off; does not wait for the server's result.
    pub(crate) async fn open(&self, target: &Target, early: Bytes, strict: bool) -> Result<Opened, Broken> {
        match self {
            Self::Pool(dialer) => {
                let open = Open { want_opened: strict, first: early, ..Open::connect(target.clone()) };
                let stream = dialer.open(open).await;
                stream.map(Opened::Stream).map_err(|error| no_way(error.code(), error.to_string()))
            }
            Self::Single(single) => {
                let lost = |error: io::Error| no_way(Code::TRUNCATED, error.to_string());
                let charge = memory::take(&single.budget.clone().into(), memory::EAGER)
                    .ok_or_else(|| no_way(Code::LIMIT, memory::short()))?;
                let mut stream = single.connect().await?;
                stream.get_ref().arm_reset().map_err(lost)?;
                eagersocks::dial(&mut stream, target, &early).await.map_err(lost)?;
                Ok(Opened::Connection(stream, charge))
            }
        }
    }

    /// Lets running streams end, for at most `limit`, then ends every connection.
    pub(crate) async fn drain(&self, limit: std::time::Duration) {
        if let Self::Pool(dialer) = self {
            dialer.drain(limit).await;
        }
    }
}

impl Single {
    async fn connect(&self) -> Result<Explained<Stream>, Broken> {
        let connected = self.connector.connect_to().await;
        let (stream, server) = connected.map_err(|failed| {
            let text = failed.error.to_string();
            let server = failed.server.map(|server| self.connector.name(server));
            self.health.lock().failed(server.as_deref(), &text);
            no_way(Code::TRUNCATED, text)
        })?;
        Ok(Explained::single(stream, self.connector.clone(), server, self.health.clone()))
    }
}

impl Opened {
    /// Whether the application's end of input reaches the destination.
    pub(crate) fn has_half_close(&self) -> bool {
        match self {
            Self::Stream(stream) => stream.wire() == remux::Wire::Remux2,
            Self::Connection(..) => true,
        }
    }

    /// Waits for the server's result where the wire can tell it.
    pub(crate) async fn result(&mut self) -> Result<Option<SocketAddr>, Broken> {
        match self {
            Self::Stream(stream) => {
                let opened = stream.opened().await.map_err(|error| stream_broken(&error))?;
                Ok(opened.bound.as_ref().and_then(socket_address))
            }
            Self::Connection(..) => Ok(None),
        }
    }
}

/// There is no way to the server. A limit is told as one; everything else is "no link", whatever befell the dial: the codes of
/// destinations would lay the fault at the wrong hop.
fn no_way(code: Code, text: String) -> Broken {
    let code = if code == Code::LIMIT { code } else { Code::TRUNCATED };
    Broken::new("refused", code, text)
}

/// The address of a target that needs no name service.
pub(crate) fn socket_address(target: &Target) -> Option<SocketAddr> {
    let ip: IpAddr = match &target.host {
        Host::V4(ip) => (*ip).into(),
        Host::V6(ip) => (*ip).into(),
        Host::Name(_) => return None,
    };
    Some(SocketAddr::new(ip, target.port))
}

/// The transport knows best why a server can't be had, so it gives up a little before those who wait for it: at the same
/// moment they would call the dial off, and nothing would be told.
fn patience(config: &config::Client) -> Duration {
    config.remux.dial_timeout * 9 / 10
}

fn tls_settings(config: &config::Client, tls: &config::ClientTls) -> TlsSettings {
    let files = TlsFiles { ca: tls.server_ca.clone(), certificate: tls.cert.clone(), key: tls.key.clone() };
    TlsSettings {
        deadline: patience(config),
        server_name: tls.server_name.clone(),
        crl: tls.crl.clone(),
        cut_expired: tls.cut_expired,
        ..TlsSettings::new(files, carrier::alpn(config.carrier))
    }
}

/// Dials for a pool; with `strict`, only a wire that can tell the result of a dial will do.
pub(crate) async fn connect(
    connector: Arc<Connector>,
    wire: config::Wire,
    strict: bool,
) -> Result<Connected, ConnectError> {
    let connected = connector.connect_to().await;
    let (stream, server) = connected.map_err(|failed| {
        let error = ConnectError::new(failed.error.to_string()).with_source(failed.error);
        match failed.server {
            Some(server) => error.of(connector.name(server)),
            None => error,
        }
    })?;
    let wire = carrier::wire(wire, &stream);
    if strict && wire == remux::Wire::Classic {
        let remote = stream.socket().remote();
        return Err(ConnectError::new(format!(
            "{} server {remote} speaks the classic wire, which can't tell the result of a dial that strict replies wait \
             for → set eagersocks.reply to eager here, or remux.wire to auto on the server",
            sla::code::LINK_STRICT
        ))
        .of(connector.name(server)));
    }
    Ok(carrier::dialled(stream, wire, (connector, server)))
}
