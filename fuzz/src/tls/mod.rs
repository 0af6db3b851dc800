//! TLS accept as our server does it: hellos nobody sends, and a real client whose bytes are changed on their way.
//!
//! What lies behind the handshake's keys can't be reached by guessing: no prober gets in, and each ends in one line.

mod ends;
mod prober;
mod torn;

use ends::ENDS;

/// Judges one input: first how long a prober's pieces are and what it sends, or 0 and what becomes of a real client's bytes.
pub fn run(input: &[u8]) {
    let Some((&size, input)) = input.split_first() else { return };
    ENDS.with(|ends| match size {
        0 => torn::run(ends, input),
        size => prober::run(ends, size, input),
    });
}

/// What a refused peer's line in the log looks like.
fn is_told(error: &str) {
    assert!(error.starts_with("TLS-1") && error.contains('→'), "no remedy: {error}");
    assert!(error.len() < 1000 && !error.contains(char::is_control), "not one line: {error:?}");
}
