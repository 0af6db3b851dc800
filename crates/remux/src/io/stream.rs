//! One multiplexed flow, as an application holds it.
//!
//! ```text
//!              poll_read_chunk ◀── ready ◀── Session::recv        (a lock per 64 KiB, no copy)
//!  application
//!              write_chunk ─────────────────▶ Session::send       (a lock per chunk, no copy)
//!
//!  ends:  finish / poll_shutdown ─▶ FIN, the other direction goes on
//!         reset, or drop before both directions ended ─▶ RST
//!         connection lost ─▶ StreamError::Truncated, never a clean end
//! ```
//!
//! A stream that was refused before anything was done with it (RST with REFUSED_SAFE, or an id above GOAWAY's) is opened
//! again elsewhere, once and silently, if its opener can: see [`Reopen`].

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use framing::remux2::{Code, Opened};
use sla::ConnectionId;
use sla::event::Sess;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use crate::config::Wire;
use crate::error::StreamError;
use crate::io::connect::PeerFacts;
use crate::io::retry::{Reopen, Retry};
use crate::io::shared::{Nudge, Shared, Side};
use crate::io::slabs::{self, SLAB};
use crate::session::{Open, Recv, StreamId};

pub use crate::io::split::{OwnedReadHalf, OwnedWriteHalf};

/// One flow inside a connection.
///
/// [`AsyncRead`] and [`AsyncWrite`] copy once each; relays use [`Stream::poll_read_chunk`] and [`Stream::write_chunk`], which
/// copy nothing.
///
/// - `poll_shutdown` is the half-close: it queues FIN behind what was written and is ready at once.
/// - `poll_flush` is ready at once: what was written is queued, and the connection sends it by itself as fast as the peer and the
///   network take it. Neither waits for the wire.
/// - Dropping a stream resets it (CANCEL), unless both directions have ended or it was reset before.
/// - Errors are `ConnectionReset` to [`std::io`] when the peer reset the stream or the connection was lost, with the
///   [`StreamError`] inside; an end of input is only ever the peer's FIN.
pub struct Stream {
    link: Link,
    request: Open,
    /// Chunks taken from the session and not yet handed out.
    ready: VecDeque<Bytes>,
    /// How the peer's direction ended, behind `ready`.
    end: Option<Result<(), StreamError>>,
    /// Bytes handed out whose credit has not been given back.
    owed: usize,
    /// What the send queue took at least when last asked; a retry keeps the promise.
    room: usize,
    /// FIN or RST is queued.
    finished: bool,
    retry: Retry,
}

impl Stream {
    /// `finished`: the request carried FIN.
    pub(crate) fn new(shared: Arc<Shared>, id: StreamId, request: Open, finished: bool) -> Self {
        Self {
            link: Link {
                sess: Some(Sess::open(shared.id, id.0)),
                shared,
                id,
                sent_end: finished,
                read_end: false,
                aborted: None,
            },
            request,
            ready: VecDeque::new(),
            end: None,
            owed: 0,
            room: 0,
            finished,
            retry: Retry::Off,
        }
    }

    /// Lets the stream be opened again elsewhere, once, as long as the peer has not answered and little was sent.
    /// `open` is what opened it, with its first data; `asked`: when.
    pub(crate) fn arm(&mut self, reopen: Arc<dyn Reopen>, open: Open, asked: Instant) {
        let budget = self.link.shared.lock().session.budget().clone();
        self.retry = Retry::armed(reopen, open, asked, &budget);
    }

    /// The stream's number on its connection.
    pub fn id(&self) -> StreamId {
        self.link.id
    }

    /// The connection it runs on. A silent retry changes both.
    pub fn connection_id(&self) -> ConnectionId {
        self.link.shared.id
    }

    /// The connection's wire.
    pub fn wire(&self) -> Wire {
        self.link.shared.wire
    }

    /// What was asked for. `first` is empty: at the accepting side first data is simply readable.
    pub fn request(&self) -> &Open {
        &self.request
    }

    /// Who is at the other end of the connection.
    pub fn peer(&self) -> &PeerFacts {
        &self.link.shared.facts
    }

    /// The next bytes, at most `max`; `None` is the peer's FIN. Copies nothing; credit goes back as chunks are handed out.
    ///
    /// Cancel safe. One task reads at a time.
    ///
    /// # Errors
    /// [`StreamError`] when the stream was reset or lost; bytes that came before are handed out first.
    pub fn poll_read_chunk(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        loop {
            if let Some(chunk) = self.take_ready(max) {
                return Poll::Ready(Ok(Some(chunk)));
            }
            match &self.end {
                Some(Ok(())) => return Poll::Ready(Ok(None)),
                Some(Err(error)) => {
                    let error = error.clone();
                    if !self.retry.handle_failure(&error) {
                        return Poll::Ready(Err(error));
                    }
                    self.end = None;
                }
                None => {}
            }
            ready!(self.poll_retry(cx, Side::Read));
            ready!(self.poll_fill(cx));
        }
    }

    /// How many bytes [`Stream::write_chunk`] takes now, at least one.
    ///
    /// Cancel safe. One task writes at a time.
    ///
    /// # Errors
    /// [`StreamError`] when the stream was finished, reset or lost.
    pub fn poll_write_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        loop {
            ready!(self.poll_retry(cx, Side::Write));
            if self.finished {
                return Poll::Ready(Err(self.failure().unwrap_or(StreamError::Finished)));
            }
            if self.room > 0 {
                return Poll::Ready(Ok(self.room));
            }
            let id = self.link.id;
            let room = {
                let mut inner = self.link.shared.lock();
                let room = inner.send_room(id);
                if let Ok(0) = room {
                    inner.wait(id, Side::Write, cx);
                }
                room
            };
            match room {
                Ok(0) => return Poll::Pending,
                Ok(room) => self.room = room,
                Err(error) if self.retry.handle_failure(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Queues a chunk without copying it: at most what [`Stream::poll_write_room`] said.
    ///
    /// # Errors
    /// [`StreamError`] when the stream was finished, reset or lost, or the chunk is longer than the room.
    pub fn write_chunk(&mut self, chunk: Bytes) -> Result<(), StreamError> {
        if self.finished {
            return Err(self.failure().unwrap_or(StreamError::Finished));
        }
        if chunk.is_empty() {
            return Ok(());
        }
        if self.retry.is_busy() {
            self.room = self.room.checked_sub(chunk.len()).ok_or(StreamError::NoRoom)?;
            self.retry.keep(&chunk);
            return Ok(());
        }
        self.retry.keep(&chunk);
        let id = self.link.id;
        let promised = chunk.len() <= self.room;
        let sent = self.link.shared.act(Nudge::Data, |inner, now| {
            if promised { inner.send_promised(id, chunk) } else { inner.send(now, id, chunk) }
        });
        match sent {
            Ok(room) => self.room = room,
            Err(error) => {
                self.room = 0;
                if !self.retry.handle_failure(&error) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Half-close: the peer reads its end of input once it has read what was written before.
    pub fn finish(&mut self) {
        if self.finished {
            return;
        }
        self.finished = true;
        self.retry.keep_fin();
        if !self.retry.is_busy() {
            self.link.sent_end = true;
            let id = self.link.id;
            self.link.shared.act(Nudge::Command, |inner, now| inner.with(|session| session.finish(now, id)));
        }
    }

    /// Ends both directions at once; the peer sees `code` and, for its log, `text` (at most 256 bytes travel).
    pub fn reset(&mut self, code: Code, text: &str) {
        self.finished = true;
        self.retry = Retry::Off;
        let id = self.link.id;
        self.link
            .shared
            .act(Nudge::Command, |inner, now| inner.with(|session| session.reset(now, id, code, text)));
        self.link.aborted = Some(code);
        self.ready.clear();
        self.end = Some(Err(StreamError::Aborted { code, text: text.to_owned() }));
    }

    /// Resets an accepted stream with the promise that nothing was done with it, so that the opener may try elsewhere.
    pub fn refuse(mut self, code: Code, text: &str) {
        self.finished = true;
        let id = self.link.id;
        self.link
            .shared
            .act(Nudge::Command, |inner, now| inner.with(|session| session.turn_away(now, id, code, text)));
    }

    /// Waits for the acceptor's word that the dial is done; only for a stream opened with `want_opened`.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`StreamError`], with the acceptor's code when the dial failed.
    pub async fn opened(&mut self) -> Result<Opened, StreamError> {
        std::future::poll_fn(|cx| self.poll_opened(cx)).await
    }

    /// See [`Stream::opened`].
    ///
    /// # Errors
    /// [`StreamError`], with the acceptor's code when the dial failed.
    pub fn poll_opened(&mut self, cx: &mut Context<'_>) -> Poll<Result<Opened, StreamError>> {
        loop {
            ready!(self.poll_retry(cx, Side::Read));
            let id = self.link.id;
            let failed = {
                let mut inner = self.link.shared.lock();
                if let Some(opened) = inner.take_opened(id) {
                    self.retry = Retry::Off;
                    return Poll::Ready(Ok(opened));
                }
                match inner.failure(id) {
                    Some(error) => error,
                    None => {
                        inner.wait(id, Side::Read, cx);
                        return Poll::Pending;
                    }
                }
            };
            if !self.retry.handle_failure(&failed) {
                return Poll::Ready(Err(failed));
            }
        }
    }

    /// Tells the opener that the dial is done; without `want_opened` in the request it does nothing.
    pub fn answer_opened(&mut self, opened: Opened) {
        if !self.request.want_opened {
            return;
        }
        let id = self.link.id;
        self.link
            .shared
            .act(Nudge::Command, |inner, now| inner.with(|session| session.answer_opened(now, id, opened)));
    }

    /// Ready once the stream has failed (reset by the peer, or its connection lost), for a task that only writes or waits
    /// for something else. A clean end never makes it ready.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        loop {
            ready!(self.poll_retry(cx, Side::Closed));
            let id = self.link.id;
            let failed = {
                let mut inner = self.link.shared.lock();
                match inner.failure(id) {
                    Some(error) => error,
                    None => {
                        inner.wait(id, Side::Closed, cx);
                        return Poll::Pending;
                    }
                }
            };
            if !self.retry.handle_failure(&failed) {
                return Poll::Ready(failed);
            }
        }
    }

    /// See [`Stream::poll_closed`]. Cancel safe.
    pub async fn closed(&mut self) -> StreamError {
        std::future::poll_fn(|cx| self.poll_closed(cx)).await
    }

    /// Two halves that two tasks can own.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        crate::io::split::split(self)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// At most `max` bytes of the first chunk that is here.
    fn take_ready(&mut self, max: usize) -> Option<Bytes> {
        let front = self.ready.front_mut()?;
        let chunk = if front.len() <= max { self.ready.pop_front()? } else { front.split_to(max) };
        self.owed = self.owed.saturating_add(chunk.len());
        Some(chunk)
    }

    /// Takes what the session has, up to [`READ_AHEAD`], and gives back the credit owed, under one lock.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let id = self.link.id;
        let owed = std::mem::take(&mut self.owed);
        let (ready, end) = (&mut self.ready, &mut self.end);
        let filled = self.link.shared.act(Nudge::Consumed, |inner, now| {
            if owed > 0 {
                inner.with(|session| session.release(now, id, owed));
            }
            let mut taken = 0_usize;
            while taken < READ_AHEAD {
                match inner.recv(now, id) {
                    Recv::Data(chunk) => {
                        taken = taken.saturating_add(chunk.len());
                        ready.push_back(chunk);
                    }
                    Recv::Fin => {
                        *end = Some(Ok(()));
                        return true;
                    }
                    Recv::Failed(error) => {
                        *end = Some(Err(error));
                        return true;
                    }
                    Recv::Wait if taken > 0 => return true,
                    Recv::Wait => {
                        inner.wait(id, Side::Read, cx);
                        return false;
                    }
                }
            }
            true
        });
        self.link.read_end |= matches!(self.end, Some(Ok(())));
        if !self.ready.is_empty() || self.link.read_end {
            self.retry = Retry::Off;
        }
        if filled { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Drives a retry that is under way; ready when there is none (any more).
    fn poll_retry(&mut self, cx: &mut Context<'_>, side: Side) -> Poll<()> {
        if !self.retry.is_busy() {
            return Poll::Ready(());
        }
        let (fresh, replay) = match ready!(self.retry.poll(cx, side)) {
            Ok(done) => done,
            Err(error) => {
                self.end = Some(Err(error));
                return Poll::Ready(());
            }
        };
        self.adopt(fresh);
        let id = self.link.id;
        for chunk in &replay.chunks {
            self.retry.keep(chunk);
        }
        let replayed = self.link.shared.act(Nudge::Data, |inner, _| {
            replay.chunks.into_iter().try_for_each(|chunk| inner.send_promised(id, chunk).map(|_| ()))
        });
        if replay.finished {
            self.finish();
        }
        if let Err(error) = replayed {
            self.end = Some(Err(error));
        }
        Poll::Ready(())
    }

    /// Goes on over the connection of another stream.
    fn adopt(&mut self, mut fresh: Self) {
        std::mem::swap(&mut self.link, &mut fresh.link);
        self.retry = std::mem::take(&mut fresh.retry);
        // Unless its request carried FIN, the bytes to replay come before its end.
        self.finished = fresh.finished;
        self.owed = 0;
        self.end = None;
        self.ready.clear();
    }

    fn failure(&self) -> Option<StreamError> {
        self.link.shared.lock().failure(self.link.id)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut taken = false;
        while buf.remaining() > 0 {
            if taken && this.ready.is_empty() {
                break;
            }
            match ready!(this.poll_read_chunk(cx, buf.remaining()))? {
                Some(chunk) => buf.put_slice(&chunk),
                None => break,
            }
            taken = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for Stream {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.ready.is_empty()
            && let Some(chunk) = ready!(this.poll_read_chunk(cx, usize::MAX))?
        {
            // Not handed out yet: its credit goes back with `consume`.
            this.owed = this.owed.saturating_sub(chunk.len());
            this.ready.push_front(chunk);
        }
        Poll::Ready(Ok(this.ready.front().map_or(&[], |chunk| chunk)))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        let this = self.get_mut();
        let Some(front) = this.ready.front_mut() else { return };
        let amount = amount.min(front.len());
        front.advance(amount);
        if front.is_empty() {
            this.ready.pop_front();
        }
        this.owed = this.owed.saturating_add(amount);
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let this = self.get_mut();
        let room = ready!(this.poll_write_room(cx))?;
        let taken = buf.get(..room.min(COPY_MAX).min(buf.len())).unwrap_or_default();
        this.write_chunk(copied(&[taken], taken.len()))?;
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = bufs.iter().fold(0_usize, |sum, buf| sum.saturating_add(buf.len()));
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        let this = self.get_mut();
        let room = ready!(this.poll_write_room(cx))?.min(COPY_MAX);
        let chunk = copied(bufs, room.min(wanted));
        let taken = chunk.len();
        this.write_chunk(chunk)?;
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.finished {
            if let Some(error) = this.failure().filter(|error| !this.retry.can_handle(error)) {
                return Poll::Ready(Err(error.into()));
            }
            this.finish();
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("connection_id", &self.link.shared.id)
            .field("id", &self.link.id)
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

/// The stream's place in its connection; dropping it is what ends the stream.
struct Link {
    shared: Arc<Shared>,
    id: StreamId,
    sess: Option<Sess>,
    /// FIN is queued.
    sent_end: bool,
    /// The peer's FIN was read.
    read_end: bool,
    /// The application reset it.
    aborted: Option<Code>,
}

impl Link {
    /// Both directions have ended, though our FIN may still wait to be sent. Classic has one end for both.
    fn is_done(&self) -> bool {
        self.read_end && (self.sent_end || self.shared.wire == Wire::Classic)
    }
}

/// One stream's end for the log of streams. A peer's text stays out: it may name the destination, which only lines that
/// know the destination can hide.
fn cause(error: &StreamError) -> String {
    match error {
        StreamError::Aborted { code, .. } => format!("reset here: {code}"),
        StreamError::Reset { code, .. } => format!("reset by the peer: {code}"),
        StreamError::Truncated { cause } => format!("cut off: {cause}"),
        other => other.to_string(),
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let id = self.id;
        let end = self.shared.act(Nudge::Command, |inner, now| inner.forget(now, id));
        let Some(sess) = self.sess.take() else { return };
        match (end.map(|end| end.error), self.aborted) {
            (Some(Some(error)), _) => sess.close(&cause(&error)),
            (Some(None), _) => sess.close("fin"),
            (None, Some(code)) => sess.close(&cause(&StreamError::Aborted { code, text: String::new() })),
            (None, None) if self.is_done() => sess.close("fin"),
            (None, None) => sess.close("let go of before its end"),
        }
    }
}

/// The first `length` bytes of several slices, in memory of their own.
fn copied<S: Deref<Target = [u8]>>(slices: &[S], length: usize) -> Bytes {
    let large = length >= LARGE;
    let mut memory = if large { slabs::take(length) } else { BytesMut::with_capacity(length) };
    for slice in slices {
        let left = length.saturating_sub(memory.len());
        memory.extend_from_slice(slice.get(..left.min(slice.len())).unwrap_or_default());
    }
    let bytes = memory.split().freeze();
    if large {
        slabs::give(memory);
    }
    bytes
}

/// Bytes taken from the session under one lock.
const READ_AHEAD: usize = 64 * 1024;
/// Bytes copied by one write.
const COPY_MAX: usize = SLAB;
/// Writes from this length on are copied into slabs.
const LARGE: usize = 4 * 1024;
