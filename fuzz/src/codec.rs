//! What every codec must hold, whatever bytes it is given.

use std::fmt::Debug;

use framing::{Decode, DecodeError, Encode};

/// A value read from the front of `input` is written and read the same, and the verdict is the one that any shorter
/// input gave, if it gave one. `cut` chooses the shorter input.
pub(crate) fn front<T: Decode + Encode + Debug + PartialEq>(input: &[u8], cut: usize) {
    let verdict = T::decode(input);
    stands(input, cut, &verdict, T::decode);
    if let Ok(Some((value, _))) = &verdict {
        let again = value.to_vec();
        match T::decode(&again) {
            Ok(Some((read, used))) => assert_eq!((&read, used), (value, again.len())),
            other => panic!("{value:?} is written as {again:?} and read as {other:?}"),
        }
    }
}

/// The verdict on `input` is the one that a shorter input gave, if it gave one.
pub(crate) fn stands<T: Debug + PartialEq, E: Debug + PartialEq>(
    input: &[u8],
    cut: usize,
    verdict: &Result<Option<(T, usize)>, E>,
    decode: impl Fn(&[u8]) -> Result<Option<(T, usize)>, E>,
) {
    if let Ok(Some((_, used))) = verdict {
        assert!(*used <= input.len());
        // The first `used` bytes are the value, no fewer.
        assert_eq!(&decode(&input[..*used]), verdict);
        assert_eq!(decode(&input[..used.saturating_sub(1)]), Ok(None));
    }
    match decode(&input[..cut.min(input.len())]) {
        Ok(None) => {}
        early => assert_eq!(&early, verdict),
    }
}

/// A value read from a whole payload is written and read the same.
pub(crate) fn payload<T: Encode + Debug + PartialEq>(
    payload: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) {
    if let Ok(value) = decode(payload) {
        assert_eq!(decode(&value.to_vec()), Ok(value));
    }
}
