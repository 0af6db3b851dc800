//! The sending side of the eager request.

use std::io;

use framing::Target;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::eager::eager_bytes;

/// Asks the server at the other end of `stream` for `target`, with `early` in the same write, and waits for nothing.
///
/// # Errors
/// The stream's own.
///
/// # Cancel safety
/// Not safe: a part of the request may have been written.
pub async fn dial<S: AsyncWrite + Unpin>(stream: &mut S, target: &Target, early: &[u8]) -> io::Result<()> {
    stream.write_all(&eager_bytes(target, early)).await?;
    stream.flush().await
}
