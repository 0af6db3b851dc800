//! Every message of SOCKS 4, 4a and 5 and of RFC 1929, both directions (T04, T05).
// covers: crates/framing/src/socks.rs crates/framing/src/socks crates/framing/src/credential.rs

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::socks(input));
