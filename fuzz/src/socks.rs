//! Every message of SOCKS 4, 4a and 5 and of RFC 1929, both directions.

use std::fmt::Debug;

use framing::remux2::Code;
use framing::socks::{v4, v5};
use framing::{Credential, Decode, Encode, Host};

/// Judges one input.
pub fn run(input: &[u8]) {
    let Some((&[message, c0, c1], input)) = input.split_first_chunk() else { return };
    let cut = u16::from_be_bytes([c0, c1]).into();
    match message % 8 {
        0 => rebuilt(input, cut, |greeting: &v5::Greeting| {
            Some(v5::Greeting { methods: greeting.methods.iter().collect() })
        }),
        1 => rebuilt(input, cut, |reply: &v5::MethodReply| Some(*reply)),
        2 => rebuilt(input, cut, |auth: &v5::Auth| {
            let credential = Credential::new(auth.credential.user(), auth.credential.password())?;
            Some(v5::Auth { credential })
        }),
        3 => rebuilt(input, cut, |reply: &v5::AuthReply| Some(*reply)),
        4 => rebuilt(input, cut, |request: &v5::Request| Some(request.clone())),
        5 => rebuilt(input, cut, |reply: &v5::Reply| match reply.reply {
            0 => Some(v5::Reply::success(reply.bound.clone())),
            n => {
                assert_ne!(v5::Reply::failure(Code(n.into())).reply, 0);
                Some(reply.clone())
            }
        }),
        6 => rebuilt(input, cut, |request: &v4::Request| {
            assert_eq!(request.is_4a(), !matches!(request.target().host, Host::V4(_)));
            v4::Request::new(request.command(), request.target().clone(), request.user())
        }),
        _ => rebuilt(input, cut, |reply: &v4::Reply| {
            assert!(!v4::Reply::refused().is_granted());
            Some(if reply.is_granted() { v4::Reply::granted(reply.bound) } else { *reply })
        }),
    }
}

/// As any codec; and whatever was read can be put together from its parts.
fn rebuilt<T: Decode + Encode + Debug + PartialEq>(
    input: &[u8],
    cut: usize,
    build: impl Fn(&T) -> Option<T>,
) {
    if let Some(value) = crate::codec::front::<T>(input, cut) {
        assert_eq!(build(&value).as_ref(), Some(&value));
    }
}
