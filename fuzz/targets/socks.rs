//! Every message of SOCKS 4, 4a and 5 and of RFC 1929, both directions.

#![no_main]

use framing::socks::{v4, v5};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&[message, c0, c1], input)) = input.split_first_chunk() else { return };
    let cut = u16::from_be_bytes([c0, c1]).into();
    match message % 8 {
        0 => fuzz::front::<v5::Greeting>(input, cut),
        1 => fuzz::front::<v5::MethodReply>(input, cut),
        2 => fuzz::front::<v5::Auth>(input, cut),
        3 => fuzz::front::<v5::AuthReply>(input, cut),
        4 => fuzz::front::<v5::Request>(input, cut),
        5 => fuzz::front::<v5::Reply>(input, cut),
        6 => fuzz::front::<v4::Request>(input, cut),
        _ => fuzz::front::<v4::Reply>(input, cut),
    }
});
