//! The eager request: `05 01 00 ATYP ADDR PORT`, then application bytes with no gap. It is never answered.

use bytes::{BufMut, Bytes, BytesMut};
use framing::{Encode, Target};

/// The eager request for `target` with `early` right behind it, ready for one write.
pub fn eager_bytes(target: &Target, early: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(REQUEST_MAX.saturating_add(early.len()));
    out.put_slice(&[5, 1, 0]);
    target.encode(&mut out);
    out.put_slice(early);
    out.freeze()
}

/// The longest eager request: three fixed bytes, a name of 255 and its length byte, type and port.
pub(crate) const REQUEST_MAX: usize = 3 + 1 + 1 + 255 + 2;
