//! The eager request, and targets in bytes and in text (T01).
// covers: crates/framing/src/eager.rs crates/framing/src/target.rs crates/framing/src/codec.rs crates/framing/src/reader.rs crates/eagersocks/src/eager.rs

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::eager(input));
