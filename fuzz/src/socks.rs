//! Every message of SOCKS 4, 4a and 5 and of RFC 1929, both directions.

use framing::socks::{v4, v5};

/// Judges one input.
pub fn run(input: &[u8]) {
    let Some((&[message, c0, c1], input)) = input.split_first_chunk() else { return };
    let cut = u16::from_be_bytes([c0, c1]).into();
    match message % 8 {
        0 => crate::codec::front::<v5::Greeting>(input, cut),
        1 => crate::codec::front::<v5::MethodReply>(input, cut),
        2 => crate::codec::front::<v5::Auth>(input, cut),
        3 => crate::codec::front::<v5::AuthReply>(input, cut),
        4 => crate::codec::front::<v5::Request>(input, cut),
        5 => crate::codec::front::<v5::Reply>(input, cut),
        6 => crate::codec::front::<v4::Request>(input, cut),
        _ => crate::codec::front::<v4::Reply>(input, cut),
    }
}
