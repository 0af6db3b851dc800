//! A connection of the classic wire: frames one after another, each session beginning with an eager request.

use std::collections::HashSet;

use framing::{Decode, classic, eager};

/// Judges one input.
pub fn run(input: &[u8]) {
    let mut rest = input;
    let mut seen = HashSet::new();
    while let Some((front, behind)) = rest.split_first_chunk() {
        let header = classic::Header::from_bytes(*front);
        assert_eq!(header.to_bytes(), *front);
        assert_eq!(header.is_end(), header == classic::Header::end(header.session));
        let Some((data, behind)) = behind.split_at_checked(header.length.into()) else { return };
        if seen.insert(header.session)
            && let Ok(Some((_, used))) = eager::Request::decode(data)
        {
            assert!(used <= eager::MAX_LEN);
        }
        rest = behind;
    }
}
