//! The remux2 wire's frames and payloads (T01).
// covers: crates/framing/src/remux2.rs crates/framing/src/remux2

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::remux2(input));
