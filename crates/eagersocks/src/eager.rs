//! The eager request: `05 01 00 ATYP ADDR PORT`, then application bytes with no gap. It is never answered.

use bytes::{BufMut, Bytes, BytesMut};
use framing::{Encode, Target, eager};

use crate::handshake::{Refusal, check, kind, refuse, take};

/// The eager request for `target` with `early` right behind it, ready for one write.
pub fn eager_bytes(target: &Target, early: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(eager::MAX_LEN.saturating_add(early.len()));
    eager::Request::connect(target.clone()).encode(&mut out);
    out.put_slice(early);
    out.freeze()
}

/// Takes an eager request off the front of `input`; what stays are the application's bytes. `None`: not yet.
///
/// Never needs to see more than 261 bytes.
///
/// # Errors
/// It is none, or asks for something that is not served. There is no reply to send.
pub fn take_eager(input: &mut BytesMut) -> Result<Option<Target>, Refusal> {
    let silently = |kind, detail: &dyn std::fmt::Display| refuse(kind, detail, Bytes::new());
    let request = take::<eager::Request>(input).map_err(|error| silently(kind(error), &error))?;
    let Some(eager::Request { command, target }) = request else { return Ok(None) };
    check(command, &target).map_err(|(kind, detail, _)| silently(kind, &detail))?;
    Ok(Some(target))
}
