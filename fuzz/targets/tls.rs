//! TLS accept as our server does it, and hellos nobody sends (T09).
// covers: crates/transport/src/tls/server.rs crates/transport/src/tls/end.rs crates/transport/src/tls/ahead.rs
// exempt: crates/transport/src/tls/ahead.rs poll_write( is what the trait asks for; rustls writes vectored only
// max_len: 4096

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::tls(input));
