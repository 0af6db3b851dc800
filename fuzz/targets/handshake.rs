//! The mixed port's handshake: SOCKS4, SOCKS5 with passwords, CONNECT, anything else (T04, T05, T06).
// covers: crates/eagersocks/src/handshake.rs
// max_len: 9000

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::handshake(input));
