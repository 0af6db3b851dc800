//! The head of an HTTP CONNECT.

use framing::connect::{Authorization, Head, MAX_HEAD, Response};
use framing::{Encode, Target};

/// Judges one input.
pub fn run(input: &[u8]) {
    let Some((cut, input)) = input.split_first_chunk() else { return };
    let verdict = Head::parse(input);
    crate::codec::stands(input, u16::from_be_bytes(*cut).into(), &verdict, Head::parse);
    match verdict {
        Ok(None) => assert!(input.len() < MAX_HEAD),
        Ok(Some((head, used))) => {
            assert!(used <= MAX_HEAD && head.target.port != 0 && head.minor <= 1);
            assert_eq!(head.target.to_string().parse::<Target>().as_ref(), Ok(&head.target));
            if let Authorization::Basic(credential) = head.authorization {
                assert!((1..=255).contains(&credential.user().len()) && !credential.user().contains(&b':'));
            }
        }
        Err(error) => assert!(Response::refusal(error.status()).to_vec().starts_with(b"HTTP/1.1 4")),
    }
}
