//! The eager request and the address in it.

use framing::{Target, eager};

/// Judges one input.
pub fn run(input: &[u8]) {
    let Some((&cut, input)) = input.split_first() else { return };
    crate::codec::front::<eager::Request>(input, cut.into());
    crate::codec::front::<Target>(input, cut.into());
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(target) = text.parse::<Target>()
    {
        assert_eq!(target.to_string().parse(), Ok(target));
    }
}
