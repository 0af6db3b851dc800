//! A connection, as those who own it see it: what they can do with it, and what they are told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use framing::remux2::Code;
use sla::ConnectionId;

use crate::error::{ConnectionError, OpenError};
use crate::io::shared::{Nudge, Shared};
use crate::io::stream::Stream;
use crate::session::{Open, PathInfo, StreamId};

/// A connection's handle: to open streams on it and to end it.
#[derive(Clone)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.shared.id
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Streams that have a handle.
    pub(crate) fn streams(&self) -> usize {
        self.shared.lock().attached()
    }

    /// Opens a stream; its request and first data leave with the next batch.
    pub(crate) fn open(&self, open: Open) -> Result<Stream, OpenError> {
        let request = Open { first: Bytes::new(), fin: false, ..open.clone() };
        let finished = open.fin;
        let id = self.shared.act(Nudge::Command, |inner, now| inner.open(now, open))?;
        Ok(Stream::new(self.shared.clone(), id, request, finished))
    }

    /// No new streams; the rest have `limit`, then they are reset and the connection ends.
    pub(crate) fn drain(&self, code: Code, limit: Duration) {
        self.shared.act(Nudge::Command, |inner, now| inner.with(|session| session.drain(now, code, limit)));
    }

    /// Ends the connection and all its streams now; the peer is told if it can be.
    pub(crate) fn abort(&self, cause: ConnectionError) {
        self.shared.act(Nudge::Command, |inner, now| inner.with(|session| session.abort(now, cause)));
    }

    /// Waits, once the connection is over, until nothing of it is unread; what it left goes when memory runs short.
    pub(crate) async fn rest(&self) {
        std::future::poll_fn(|cx| self.shared.lock().poll_rest(cx)).await;
    }

    /// Asks the peer for a sign of life; [`ConnEvent::Suspect`], then [`ConnEvent::Alive`] or the end follow.
    pub(crate) fn probe(&self) {
        self.shared.act(Nudge::Command, |inner, now| inner.with(|session| session.handle_suspend(now)));
    }
}

/// Who is told what happens to a connection; called by its driver with no lock held.
pub(crate) trait Observer: Send + Sync {
    /// Something happened. Must not block.
    fn on_event(&self, id: ConnectionId, event: ConnEvent);
}

/// What a connection's owner needs to know.
#[derive(Debug)]
pub(crate) enum ConnEvent {
    /// The peer has said its first byte: the dial was good.
    FirstByte,
    /// What the peer allows.
    PeerLimits { max_age: Duration, max_reuse: u32, max_streams: u32 },
    /// The peer opened a stream.
    Incoming(Stream),
    /// A stream that was opened here is over in both directions; `live` of either side have a handle.
    StreamEnded { id: StreamId, live: usize },
    /// The peer takes no new streams.
    PeerDraining { cause: String },
    /// The peer has not answered in time; it may be dead.
    Suspect,
    /// It answered again.
    Alive,
    /// The socket's figures, at most ten times a second.
    Path(PathInfo),
    /// The connection is gone.
    Closed { cause: ConnectionError },
}
