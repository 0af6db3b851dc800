//! A stream as two halves for two tasks.
//!
//! ```text
//!  Stream ──into_split──▶ OwnedReadHalf  + OwnedWriteHalf
//!  write half dropped before its end ─▶ RST: a torn upload must not look whole
//!  read half dropped before its end  ─▶ the peer stalls by its credit; writing goes on
//!  both dropped ─▶ as dropping the stream: RST unless both directions ended
//! ```

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use framing::remux2::Code;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::StreamError;
use crate::io::stream::Stream;

pub(super) fn split(stream: Stream) -> (OwnedReadHalf, OwnedWriteHalf) {
    let stream = Arc::new(Mutex::new(stream));
    (OwnedReadHalf { stream: stream.clone() }, OwnedWriteHalf { stream })
}

/// The reading half. Dropping it early leaves the writing half alive; the peer may send what its credit allows.
#[derive(Debug)]
pub struct OwnedReadHalf {
    stream: Arc<Mutex<Stream>>,
}

impl OwnedReadHalf {
    /// See [`Stream::poll_read_chunk`].
    ///
    /// # Errors
    /// As there.
    pub fn poll_read_chunk(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        self.stream.lock().poll_read_chunk(cx, max)
    }
}

impl AsyncRead for OwnedReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.lock()).poll_read(cx, buf)
    }
}

/// The writing half. Dropping it before `poll_shutdown` resets the stream (CANCEL), both directions.
#[derive(Debug)]
pub struct OwnedWriteHalf {
    stream: Arc<Mutex<Stream>>,
}

impl OwnedWriteHalf {
    /// See [`Stream::poll_write_room`].
    ///
    /// # Errors
    /// As there.
    pub fn poll_write_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        self.stream.lock().poll_write_room(cx)
    }

    /// See [`Stream::write_chunk`].
    ///
    /// # Errors
    /// As there.
    pub fn write_chunk(&mut self, chunk: Bytes) -> Result<(), StreamError> {
        self.stream.lock().write_chunk(chunk)
    }

    /// See [`Stream::poll_closed`].
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        self.stream.lock().poll_closed(cx)
    }

    /// See [`Stream::finish`].
    pub fn finish(&mut self) {
        self.stream.lock().finish();
    }

    /// See [`Stream::reset`].
    pub fn reset(&mut self, code: Code, text: &str) {
        self.stream.lock().reset(code, text);
    }
}

impl AsyncWrite for OwnedWriteHalf {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream.lock()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream.lock()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.lock()).poll_shutdown(cx)
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        let mut stream = self.stream.lock();
        if !stream.is_finished() {
            stream.reset(Code::CANCEL, "");
        }
    }
}
