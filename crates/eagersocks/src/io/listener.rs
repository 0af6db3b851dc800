//! A TCP listener whose accept is never held up by a slow client.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};

use super::accept::{Gate, accept_eager, handshake_from};
use crate::error::HandshakeError;
use crate::handshake::Config;
use crate::request::{Protocol, Request};

/// Listens for applications: SOCKS 4, 4a, 5 and HTTP CONNECT on one port.
///
/// # Errors
/// The address can't be resolved or bound.
pub async fn listen_socks(address: impl ToSocketAddrs, config: Config) -> io::Result<Listener> {
    Ok(Listener::new(TcpListener::bind(address).await?, Speaks::Socks, config))
}

/// Listens for eager requests, which are never answered.
///
/// Over TLS, accept the socket yourself and call [`accept_eager`] on the TLS stream.
///
/// # Errors
/// The address can't be resolved or bound.
pub async fn listen(address: impl ToSocketAddrs, config: Config) -> io::Result<Listener> {
    Ok(Listener::new(TcpListener::bind(address).await?, Speaks::Eager, config))
}

/// Accepts connections; each runs its own handshake.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    speaks: Speaks,
    config: Mutex<Arc<Config>>,
    gate: Arc<Gate>,
}

impl Listener {
    /// A listener on a socket that is bound already, for example one handed over at start.
    pub fn new(socket: TcpListener, speaks: Speaks, config: Config) -> Self {
        Self { socket, speaks, config: Mutex::new(Arc::new(config)), gate: Arc::default() }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system's, on a socket that is broken.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Replaces the configuration for the connections accepted from now on; counted login failures stay.
    pub fn set_config(&self, config: Config) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// The next connection, of which nothing was read yet. A peer that is gone again is passed over.
    ///
    /// # Errors
    /// The process or system has no descriptor or memory left: wait a little, then call again.
    ///
    /// # Cancel safety
    /// Safe: no connection is lost.
    pub async fn accept(&self) -> io::Result<Accepted> {
        let (socket, peer) = loop {
            match self.socket.accept().await {
                Ok(accepted) => break accepted,
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => return Err(error),
            }
        };
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Accepted { socket, peer, speaks: self.speaks, config, gate: self.gate.clone() })
    }
}

/// A connection before its handshake.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub socket: TcpStream,
    /// Who connected.
    pub peer: SocketAddr,
    speaks: Speaks,
    config: Arc<Config>,
    gate: Arc<Gate>,
}

impl Accepted {
    /// Learns what is wanted, within the deadline of the [`Config`]. Run it in a task of its own.
    ///
    /// # Errors
    /// See [`HandshakeError`]; the socket is closed then.
    ///
    /// # Cancel safety
    /// Not safe: the socket is lost with the future, which closes it.
    pub async fn handshake(self) -> Result<(TcpStream, Request), HandshakeError> {
        let Self { mut socket, peer, speaks, config, gate } = self;
        socket.set_nodelay(true)?;
        match speaks {
            Speaks::Socks => handshake_from(socket, &config, peer.ip(), &gate).await,
            Speaks::Eager => {
                let (target, early) = accept_eager(&mut socket, config.deadline).await?;
                Ok((socket, Request { early, ..Request::new(Protocol::Eager, target) }))
            }
        }
    }
}

/// What a [`Listener`] expects to hear.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Speaks {
    /// The eager request.
    Eager,
    /// SOCKS 4, 4a, 5 or HTTP CONNECT.
    Socks,
}

/// Errors of accept(2) that are about the one connection, not about the listener.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, TimedOut};
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | Interrupted
            | TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}
