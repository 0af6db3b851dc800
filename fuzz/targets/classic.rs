//! The classic wire's frames and eager requests (T01).
// covers: crates/framing/src/classic.rs crates/framing/src/eager.rs

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::classic(input));
