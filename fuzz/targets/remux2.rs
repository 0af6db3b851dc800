//! The remux2 wire's frames and payloads (T01).
// covers: crates/framing/src/remux2.rs crates/framing/src/remux2
// exempt: crates/framing/src/remux2/code.rs row(code: runs in the compiler

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::remux2(input));
