//! The eager request and the address in it.

#![no_main]

use framing::{Target, eager};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&cut, input)) = input.split_first() else { return };
    fuzz::front::<eager::Request>(input, cut.into());
    fuzz::front::<Target>(input, cut.into());
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(target) = text.parse::<Target>()
    {
        assert_eq!(target.to_string().parse(), Ok(target));
    }
});
