//! The head of an HTTP CONNECT (T06).
// covers: crates/framing/src/connect.rs crates/framing/src/connect/basic.rs
// max_len: 9000

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::connect(input));
