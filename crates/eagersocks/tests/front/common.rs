//! Drives the pure state machine over any cut of an input and keeps what it said.

use bytes::BytesMut;
use eagersocks::{Config, Handshake, Password, Refusal, Reply, Request, Users};

/// All that an application and the caller get to see, however the bytes came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Verdict {
    /// What was sent before the end.
    pub(crate) sent: Vec<u8>,
    /// How it ended; `None`: it waits for more.
    pub(crate) end: Option<Result<Request, Refusal>>,
    /// Application bytes, those in [`Request::early`] first.
    pub(crate) rest: Vec<u8>,
}

/// Feeds `chunks` in order. [`Request::early`] is moved to [`Verdict::rest`], as the cut decides how much it is.
pub(crate) fn drive<'a>(config: &Config, chunks: impl IntoIterator<Item = &'a [u8]>) -> Verdict {
    let mut handshake = Handshake::new(config);
    let (mut input, mut sent, mut end) = (BytesMut::new(), Vec::new(), None);
    let mut chunks = chunks.into_iter();
    while end.is_none() {
        handshake.handle_data(&mut input);
        if let Some(bytes) = handshake.poll_transmit() {
            sent.extend_from_slice(&bytes);
            continue;
        }
        end = handshake.poll_outcome();
        if end.is_none() {
            let Some(chunk) = chunks.next() else { break };
            input.extend_from_slice(chunk);
        }
    }
    let mut rest = Vec::new();
    if let Some(Ok(request)) = &mut end {
        rest.extend_from_slice(&std::mem::take(&mut request.early));
        rest.extend_from_slice(&input);
        chunks.for_each(|chunk| rest.extend_from_slice(chunk));
    }
    Verdict { sent, end, rest }
}

/// A front with or without the user `ann`, password `secret`.
pub(crate) fn config(users: bool, reply: Reply) -> Config {
    let users = users.then(|| ("ann".to_owned(), Password::new("secret")));
    Config { users: Users::new(users).expect("a good user"), reply, ..Config::default() }
}

/// Bytes from hex, spaces ignored; `'text'` stands for itself.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (n, part) in text.split('\'').enumerate() {
        if n % 2 == 1 {
            out.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: String = part.split_whitespace().collect();
        out.extend(
            (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).expect("hex")),
        );
    }
    out
}
