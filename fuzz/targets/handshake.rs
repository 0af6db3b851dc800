//! The front's handshake: whatever comes, in whatever pieces, there is one verdict, and nobody gets in by a trick.

// max_len: 9000

#![no_main]

use std::sync::LazyLock;

use bytes::BytesMut;
use eagersocks::{Config, Handshake, Password, Protocol, Refusal, Reply, Request, Users};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&[mode, size], input)) = input.split_first_chunk() else { return };
    let config = &FRONTS[usize::from(mode % 4)];
    let whole = drive(config, input, input.len());
    assert_eq!(drive(config, input, size.into()), whole, "the verdict depends on the cut");

    let (sent, end, rest) = whole;
    assert!(sent.len() <= 64);
    match end {
        Some(Ok(request)) => {
            assert_ne!(request.target.port, 0);
            assert!(input.ends_with(&rest));
            assert_eq!(request.is_answered(), config.reply == Reply::Eager);
            assert_eq!(request.credential.is_some(), !config.users.is_empty());
            match request.protocol {
                Protocol::Socks5 if request.credential.is_some() => assert!(sent.starts_with(&[5, 2, 1, 0])),
                Protocol::Socks5 => assert!(sent.starts_with(&[5, 0])),
                Protocol::HttpConnect => {}
                _ => assert_eq!(request.credential, None),
            }
        }
        Some(Err(refusal)) => {
            assert!(refusal.reply.len() < 300 && !refusal.detail.contains(char::is_control))
        }
        // All that is read before there is a verdict stays below the longest head and one read.
        None => assert!(input.len() < 8192 + 1024),
    }
});

type Verdict = (Vec<u8>, Option<Result<Request, Refusal>>, Vec<u8>);

/// Feeds `input` in pieces of `size`. The cut decides how much is early, so that is moved to the third part.
fn drive(config: &Config, input: &[u8], size: usize) -> Verdict {
    let mut handshake = Handshake::new(config);
    let (mut unread, mut sent, mut end) = (BytesMut::new(), Vec::new(), None);
    let mut pieces = input.chunks(size.max(1));
    while end.is_none() {
        handshake.handle_data(&mut unread);
        if let Some(bytes) = handshake.poll_transmit() {
            sent.extend_from_slice(&bytes);
            continue;
        }
        end = handshake.poll_outcome();
        if end.is_none() {
            let Some(piece) = pieces.next() else { break };
            unread.extend_from_slice(piece);
        }
    }
    let mut rest = Vec::new();
    if let Some(Ok(request)) = &mut end {
        rest.extend_from_slice(&std::mem::take(&mut request.early));
        rest.extend_from_slice(&unread);
        pieces.for_each(|piece| rest.extend_from_slice(piece));
    }
    (sent, end, rest)
}

static FRONTS: LazyLock<[Config; 4]> = LazyLock::new(|| {
    [(false, Reply::Eager), (false, Reply::Strict), (true, Reply::Eager), (true, Reply::Strict)].map(
        |(users, reply)| {
            let users = users.then(|| ("ann".to_owned(), Password::new("secret")));
            Config { users: Users::new(users).expect("a good user"), reply, ..Config::default() }
        },
    )
});
