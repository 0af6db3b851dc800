//! Two sessions and their applications (T02).
// covers: crates/remux/src/session/wire_remux2/receive.rs crates/remux/src/session/wire_classic.rs crates/remux/src/session/limits.rs
// max_len: 2048

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::pair(input));
