//! What every codec must hold, whatever bytes it is given.

use std::fmt::Debug;

use framing::connect::Status;
use framing::remux2::Code;
use framing::{Decode, DecodeError, Encode};

/// A value read from the front of `input` is written and read the same, and the verdict is the one that any shorter
/// input gave, if it gave one. `cut` chooses the shorter input. Gives back the value, if there was one.
pub(crate) fn front<T: Decode + Encode + Debug + PartialEq>(input: &[u8], cut: usize) -> Option<T> {
    let verdict = T::decode(input);
    stands(input, cut, &verdict, T::decode);
    match verdict {
        Ok(Some((value, _))) => {
            let shown = format!("{value:?}");
            assert!(
                !shown.contains(char::is_control),
                "a log would take a stranger's control character: {shown:?}"
            );
            let again = value.to_vec();
            match T::decode(&again) {
                Ok(Some((read, used))) => assert_eq!((&read, used), (&value, again.len())),
                other => panic!("{value:?} is written as {again:?} and read as {other:?}"),
            }
            Some(value)
        }
        Ok(None) => None,
        Err(error) => {
            fails(error.code());
            None
        }
    }
}

/// What a failure is called never reads like a success, in whichever protocol it is told.
pub(crate) fn fails(code: Code) {
    assert!((1..=8).contains(&code.socks5_reply()));
    assert!(!Status::of(code).reason().is_empty() && Status::of(code).number() >= 400);
    assert!(!code.explain().is_empty() && !code.to_string().contains(char::is_control));
    assert_eq!(Code::all().any(|known| known == code), !code.to_string().starts_with("code_0x"));
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

/// A value read from a whole payload is written and read the same. Gives it back, if there was one.
pub(crate) fn payload<T: Encode + Debug + PartialEq>(
    payload: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) -> Option<T> {
    let value = decode(payload).map_err(|error| fails(error.code())).ok()?;
    assert_eq!(decode(&value.to_vec()).as_ref(), Ok(&value));
    Some(value)
}
