//! `Basic` credentials (RFC 7617) in the base64 of RFC 4648 section 4.

use crate::credential::Credential;

/// Reads `Basic <base64 of user:password>`; the scheme's case is free, the base64 must be canonical.
pub(super) fn parse(value: &[u8]) -> Option<Credential> {
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let text = decode(token.trim_ascii())?;
    let colon = text.iter().position(|&byte| byte == b':')?;
    let (user, password) = text.split_at_checked(colon)?;
    Credential::new(user, password.get(1..)?)
}

fn decode(token: &[u8]) -> Option<Vec<u8>> {
    let (groups, rest) = token.as_chunks::<4>();
    if !rest.is_empty() || token.len() > MAX_TOKEN {
        return None;
    }
    let (last, groups) = groups.split_last()?;
    let mut out = Vec::with_capacity(token.len());
    for &[a, b, c, d] in groups {
        out.extend_from_slice(&bytes(a, b, c, d)?);
    }
    match *last {
        [a, b, b'=', b'='] => match bytes(a, b, b'A', b'A')? {
            [x, 0, 0] => out.push(x),
            _ => return None,
        },
        [a, b, c, b'='] => match bytes(a, b, c, b'A')? {
            [x, y, 0] => out.extend_from_slice(&[x, y]),
            _ => return None,
        },
        [a, b, c, d] => out.extend_from_slice(&bytes(a, b, c, d)?),
    }
    Some(out)
}

fn bytes(a: u8, b: u8, c: u8, d: u8) -> Option<[u8; 3]> {
    let bits = (digit(a)? << 18) | (digit(b)? << 12) | (digit(c)? << 6) | digit(d)?;
    let [_, x, y, z] = bits.to_be_bytes();
    Some([x, y, z])
}

fn digit(symbol: u8) -> Option<u32> {
    let place = ALPHABET.iter().position(|&known| known == symbol)?;
    place.try_into().ok()
}

const SCHEME: &[u8] = b"Basic ";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// The base64 of two parts of 255 bytes and a colon.
const MAX_TOKEN: usize = 684;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_rfc_4648_section_10_decode() {
        for (token, text) in [
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
            ("+/+/", "\u{fb}"),
        ] {
            let decoded = decode(token.as_bytes());
            if text.is_ascii() {
                assert_eq!(decoded.as_deref(), Some(text.as_bytes()), "{token}");
            } else {
                assert_eq!(decoded, Some(vec![0xFB, 0xFF, 0xBF]), "{token}");
            }
        }
    }

    #[test]
    fn base64_that_is_not_canonical_is_refused() {
        for token in ["", "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm 9v", "Zm9-", "Zm9v\n"]
        {
            assert_eq!(decode(token.as_bytes()), None, "{token:?}");
        }
    }

    #[test]
    fn password_may_hold_colons_or_be_empty_and_user_may_not() {
        let parts = |value: &str| parse(value.as_bytes()).map(|c| (c.user().to_vec(), c.password().to_vec()));
        assert_eq!(parts("Basic YTpiOmM="), Some((b"a".to_vec(), b"b:c".to_vec())));
        assert_eq!(parts("Basic YTo="), Some((b"a".to_vec(), Vec::new())));
        assert_eq!(parts("Basic OmI="), None);
        assert_eq!(parts("Basic YQ=="), None);
    }

    #[test]
    fn token_over_its_limit_is_refused_before_it_is_decoded() {
        assert!(decode(&[b'A'; MAX_TOKEN]).is_some());
        assert_eq!(decode(&[b'A'; MAX_TOKEN + 4]), None);
    }
}
