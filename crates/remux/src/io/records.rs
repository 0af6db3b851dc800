//! The seam under the engine: how batches of frames become bytes on a transport.
//!
//! The driver hands over whole batches and takes whole reads, so that a record layer which seals and opens in place can
//! take the place of a byte stream without the driver noticing.
//!
//! ```text
//!  Session ──poll_transmit──▶ Batch ──poll_write──▶ Records ──▶ transport
//!  Session ◀──handle_data──── slab  ◀──poll_read─── Records ◀── transport
//! ```

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWrite};

use crate::session::Batch;

/// The slices one write takes at most: header and body of 32 frames.
const SLICES: usize = 64;

/// A transport that takes and gives plaintext in batches.
///
/// All three methods follow the rules of `poll` functions: [`Poll::Pending`] means that the task of the last `Context` is
/// woken when there is a reason to ask again. Each can be polled while another is pending.
pub trait Records: Send {
    /// Appends plaintext to `into` and says how many bytes; 0 is the end of the transport.
    ///
    /// The caller has reserved capacity; an implementation fills what is there and never grows the buffer.
    ///
    /// # Errors
    /// The transport's or the record layer's; there is no way on after one.
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>>;

    /// Seals and writes the batch; ready when it is empty and nothing waits in a buffer of this layer.
    ///
    /// While pending, what was taken from the batch stays taken; the caller adds nothing in between, so that bytes are bound
    /// to their place on the wire as late as possible.
    ///
    /// # Errors
    /// The transport's or the record layer's; there is no way on after one.
    fn poll_write(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>>;

    /// Ends the sending direction in an orderly way (TLS: close_notify, then FIN).
    ///
    /// # Errors
    /// The transport's.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Records over any byte stream: a TCP or unix socket, tokio-rustls, an in-memory pipe.
///
/// Writes are vectored where the stream has them, so that over TLS a frame's header and body share a record.
#[derive(Debug)]
pub struct ByteStream<T> {
    inner: T,
    unflushed: bool,
}

impl<T> ByteStream<T> {
    /// Wraps a byte stream that is ready for use (its handshake is done).
    pub fn new(inner: T) -> Self {
        Self { inner, unflushed: false }
    }

    /// The byte stream back.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Records for ByteStream<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        let spare = into.capacity().saturating_sub(into.len());
        let mut into = into.limit(spare);
        pin!(self.inner.read_buf(&mut into)).poll(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>> {
        poll_write_all(Pin::new(&mut self.inner), cx, batch, &mut self.unflushed)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Records over a stream that keeps its plaintext in a buffer of its own: read straight from that buffer, as often as it has
/// some, before the socket is asked again.
#[derive(Debug)]
pub struct BufStream<T> {
    inner: T,
    unflushed: bool,
}

impl<T> BufStream<T> {
    /// Wraps a byte stream that is ready for use (its handshake is done).
    pub fn new(inner: T) -> Self {
        Self { inner, unflushed: false }
    }

    /// The byte stream back.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: AsyncBufRead + AsyncWrite + Send + Unpin> Records for BufStream<T> {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        let spare = into.capacity().saturating_sub(into.len());
        let plaintext = ready!(Pin::new(&mut self.inner).poll_fill_buf(cx))?;
        let taken = plaintext.get(..spare.min(plaintext.len())).unwrap_or_default();
        let count = taken.len();
        into.extend_from_slice(taken);
        Pin::new(&mut self.inner).consume(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, batch: &mut Batch) -> Poll<io::Result<()>> {
        poll_write_all(Pin::new(&mut self.inner), cx, batch, &mut self.unflushed)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Writes until the batch is empty, then flushes: a TLS stream takes plaintext ahead of the socket, and the next batch must not
/// be bound before this one is gone.
fn poll_write_all<W: AsyncWrite>(
    mut to: Pin<&mut W>,
    cx: &mut Context<'_>,
    batch: &mut Batch,
    unflushed: &mut bool,
) -> Poll<io::Result<()>> {
    while batch.has_remaining() {
        // Full records go together, since a TLS stream cuts its input at just their length; a shorter one goes alone, or it
        // would be merged with what follows.
        let together = if batch.record_len() < Batch::MAX_RECORD { batch.record_len() } else { batch.len() };
        let written = if to.is_write_vectored() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            if together < batch.len() {
                let record = (&mut *batch).take(together);
                let count = record.chunks_vectored(&mut slices);
                ready!(to.as_mut().poll_write_vectored(cx, slices.get(..count).unwrap_or_default()))?
            } else {
                let count = batch.chunks_vectored(&mut slices);
                ready!(to.as_mut().poll_write_vectored(cx, slices.get(..count).unwrap_or_default()))?
            }
        } else {
            ready!(to.as_mut().poll_write(cx, batch.chunk()))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        batch.advance(written);
        *unflushed = true;
    }
    if *unflushed {
        ready!(to.poll_flush(cx))?;
        *unflushed = false;
    }
    Poll::Ready(Ok(()))
}
