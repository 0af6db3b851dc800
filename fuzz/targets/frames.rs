//! A session of either wire that is sent arbitrary bytes in arbitrary pieces (T01).
// covers: crates/remux/src/session/wire_remux2/receive.rs crates/remux/src/session/wire_classic.rs crates/remux/src/session/limits.rs
// max_len: 2048

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::frames(input));
