//! One without a key: whatever it sends, it is not let in, hears little and costs little.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ends::Ends;

/// Pieces of this size stand for one who does not leave.
const STAYS: u8 = 255;

pub(super) fn run(ends: &Ends, size: u8, input: &[u8]) {
    let mut prober = Prober { rest: input, size: size.into(), told: 0, stays: size == STAYS };
    let server = if prober.stays { &ends.hasty } else { &ends.server };
    let mut outcome = None;
    let memory = allocation_counter::measure(|| {
        outcome = Some(ends.runtime.block_on(server.accept(&mut prober, "fuzz")));
    });
    let most = HELD + 8 * input.len();
    assert!(memory.bytes_max <= most as u64, "{memory:?} for {} bytes", input.len());
    let error = outcome.expect("an outcome").expect_err("somebody without a key was let in");
    super::is_told(&error.to_string());
    assert!(prober.told <= FLIGHT, "{} bytes for a stranger", prober.told);
}

/// One who has all it will say at hand, hears nothing, and then is gone, or stays until it is shown the door.
#[derive(Debug)]
struct Prober<'a> {
    rest: &'a [u8],
    size: usize,
    told: usize,
    stays: bool,
}

impl AsyncRead for Prober<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() && self.stays {
            return Poll::Pending;
        }
        let n = self.rest.len().min(self.size).min(buf.remaining());
        let (piece, rest) = self.rest.split_at(n);
        buf.put_slice(piece);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prober<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.told += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stays = false;
        Poll::Ready(Ok(()))
    }
}

/// A server's whole answer to a hello: certificates and all.
const FLIGHT: usize = 8 << 10;
/// What a handshake may allocate at a time beside its input.
const HELD: usize = 128 << 10;
