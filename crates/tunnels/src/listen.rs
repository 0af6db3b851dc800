//! All the addresses a program listens on, as one door.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

use sla::event;
use transport::{Acceptor, BindError, Incoming, ListenOptions};

use crate::Error;
use crate::config::Sockets;
use crate::shutdown::Shutdown;

/// The acceptors of one program, at least one.
pub(crate) struct Door {
    acceptors: Vec<Acceptor>,
}

impl Door {
    /// Listens on every address, or on none.
    pub(crate) async fn open(sockets: &Sockets, options: &ListenOptions) -> Result<Self, BindError> {
        Ok(Self { acceptors: Acceptor::bind_all(sockets.net, &sockets.addresses, options).await? })
    }

    /// Where, with the real port where 0 was asked for; several are separated by commas.
    pub(crate) fn local(&self) -> String {
        let each: Vec<String> = self.acceptors.iter().map(Acceptor::local).collect();
        each.join(",")
    }

    /// The socket addresses among them.
    pub(crate) fn local_addrs(&self) -> Vec<SocketAddr> {
        self.acceptors.iter().filter_map(Acceptor::local_addr).collect()
    }

    /// One of them accepts no more: tells the log, and begins the end of the program.
    pub(crate) fn broken(&self, error: io::Error, shutdown: &Shutdown) -> Error {
        let address = self.local();
        event::accept_failed(&address, &sla::plain(&error));
        shutdown.begin();
        Error::Listener { address, error }
    }

    /// The next connection on any of them. Cancel safe.
    ///
    /// # Errors
    /// One of them is broken for good.
    pub(crate) async fn accept(&self) -> io::Result<Incoming> {
        if let [one] = self.acceptors.as_slice() {
            return one.accept().await;
        }
        let mut waiting: Vec<_> = self.acceptors.iter().map(|acceptor| Box::pin(acceptor.accept())).collect();
        poll_fn(|cx| {
            let ready = waiting.iter_mut().find_map(|accept| match pin!(accept).poll(cx) {
                Poll::Ready(incoming) => Some(incoming),
                Poll::Pending => None,
            });
            ready.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
