//! What holds for every input: who gets in, in which order, and with how much.

use crate::common::{bytes, config, drive};
use bytes::BytesMut;
use eagersocks::{EARLY_MAX, Handshake, Protocol, Reply, Request, eager_bytes, take_eager};
use framing::remux2::Code;
use proptest::prelude::*;

/// Pieces that a clever stranger would put together.
const PIECES: &[&[u8]] = &[
    &[5, 1, 0],
    &[5, 1, 2],
    &[5, 2, 0, 2],
    &[5, 0],
    b"\x01\x03ann\x06secret",
    b"\x01\x03ann\x06secreT",
    b"\x01\x03eve\x06secret",
    b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50",
    b"\x05\x01\x00\x03\x09a.example\x00\x50",
    b"\x04\x01\x00\x50\xc0\x00\x02\x01ann\x00",
    b"CONNECT a.example:443 HTTP/1.1\r\n",
    b"Proxy-Authorization: Basic YW5uOnNlY3JldA==\r\n",
    b"Proxy-Authorization: Basic YW5uOlNlY3JldA==\r\n",
    b"Host: b.example\r\n",
    b"\r\n",
    b"\x00",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_gets_in_without_the_right_password(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES), 1..7),
        strict: bool,
    ) {
        let input = pieces.concat();
        let reply = if strict { Reply::Strict } else { Reply::Eager };
        let verdict = drive(&config(true, reply), input.chunks(3));
        let Some(Ok(request)) = verdict.end else { return Ok(()) };
        prop_assert_eq!(request.credential.as_ref().map(|credential| credential.user.as_ref()), Some("ann"));
        match request.protocol {
            Protocol::Socks5 => {
                prop_assert!(verdict.sent.starts_with(&[5, 2, 1, 0]), "method, then password, then the rest");
                prop_assert!(input.windows(12).any(|window| window == b"\x01\x03ann\x06secret"));
            }
            Protocol::HttpConnect => {
                prop_assert!(input.windows(16).any(|window| window == b"YW5uOnNlY3JldA=="));
            }
            other => prop_assert!(false, "{other} can carry no password"),
        }
        prop_assert_eq!(request.is_answered(), !strict);
    }

    #[test]
    fn whatever_comes_ends_in_a_request_a_refusal_or_a_wait_within_bounds(
        input in proptest::collection::vec(any::<u8>(), 0..600),
        first in proptest::option::of(proptest::sample::select(b"\x04\x05CGx".as_slice())),
        users: bool,
    ) {
        let input: Vec<u8> = first.into_iter().chain(input).collect();
        let verdict = drive(&config(users, Reply::Eager), [input.as_slice()]);
        prop_assert!(verdict.sent.len() <= 64, "nobody is sent more than the replies");
        if let Some(Ok(request)) = verdict.end {
            prop_assert_ne!(request.target.port, 0);
            prop_assert!(input.ends_with(&verdict.rest));
        }
    }
}

/// How many of the valid conversations the property above really lets in: a property that never sees one proves
/// nothing.
#[test]
fn the_right_password_does_get_in() {
    for pieces in [&[1, 4, 7][..], &[2, 4, 8], &[10, 11, 14], &[10, 13, 11, 14]] {
        let input: Vec<u8> = pieces.iter().flat_map(|n| PIECES[*n]).copied().collect();
        let verdict = drive(&config(true, Reply::Eager), [input.as_slice()]);
        assert!(matches!(verdict.end, Some(Ok(_))), "{pieces:?}");
    }
}

#[test]
fn pipelined_request_stays_unread_until_the_method_reply_is_taken() {
    let mut handshake = Handshake::new(&config(false, Reply::Eager));
    let request = bytes("05 01 00 01 c0000201 0050");
    let mut input = BytesMut::from([&[5, 1, 0][..], &request].concat().as_slice());
    for _ in 0..3 {
        handshake.handle_data(&mut input);
        assert_eq!(input, request, "the request is left alone");
        assert_eq!(handshake.poll_outcome(), None);
    }
    assert_eq!(handshake.poll_transmit().as_deref(), Some(&[5, 0][..]));
    handshake.handle_data(&mut input);
    assert_eq!(handshake.poll_outcome(), None, "success is told first");
    assert_eq!(handshake.poll_transmit().unwrap(), bytes("05 00 00 01 00000000 0000"));
    assert!(handshake.poll_outcome().unwrap().is_ok());
    assert_eq!(handshake.poll_outcome(), None, "there is one outcome");
}

#[test]
fn early_data_is_taken_up_to_64_kib_and_the_rest_is_left_in_order() {
    let mut handshake = Handshake::new(&config(false, Reply::Strict));
    let mut input = BytesMut::from(&b"\x04\x01\x00\x50\xc0\x00\x02\x01\x00"[..]);
    let data: Vec<u8> = (0..EARLY_MAX as u32 + 10).map(|n| (n % 251) as u8).collect();
    input.extend_from_slice(&data);
    handshake.handle_data(&mut input);
    let request = handshake.poll_outcome().unwrap().unwrap();
    assert_eq!(request.early.len(), EARLY_MAX);
    assert_eq!([&request.early[..], &input[..]].concat(), data);
}

fn strict(input: &[u8]) -> (Vec<u8>, Request) {
    let verdict = drive(&config(false, Reply::Strict), [input]);
    (verdict.sent, verdict.end.unwrap().unwrap())
}

#[test]
fn strict_front_says_nothing_until_it_is_told_what_came_of_it() {
    let bound = Some("198.51.100.7:4660".parse().unwrap());
    let bound6 = Some("[2001:db8::7]:4660".parse().unwrap());

    let (sent, request) = strict(&bytes("05 01 00 05 01 00 01 c0000201 0050"));
    assert_eq!(sent, [5, 0]);
    assert_eq!(request.reply_success(bound), bytes("05 00 00 01 c6336407 1234"));
    assert_eq!(request.reply_success(bound6), bytes("05 00 00 01 00000000 0000"));
    assert_eq!(request.reply_success(None), bytes("05 00 00 01 00000000 0000"));
    for (code, reply) in [
        (Code::RULE_REFUSED, 2),
        (Code::NET_UNREACHABLE, 3),
        (Code::HOST_UNREACHABLE, 4),
        (Code::DEST_REFUSED, 5),
        (Code::DIAL_TIMEOUT, 6),
        (Code::DNS_NXDOMAIN, 4),
        (Code::DNS_FAIL, 6),
        (Code::TRUNCATED, 3),
        (Code::REFUSED, 1),
        (Code::LIMIT, 1),
    ] {
        assert_eq!(request.reply_failure(code), [5, reply, 0, 1, 0, 0, 0, 0, 0, 0].as_slice(), "{code}");
    }

    let (sent, request) = strict(&bytes("04 01 0050 c0000201 00"));
    assert!(sent.is_empty());
    assert_eq!(request.reply_success(bound), bytes("00 5a 1234 c6336407"));
    assert_eq!(request.reply_failure(Code::DEST_REFUSED), bytes("00 5b 0000 00000000"));

    let (sent, request) = strict(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n");
    assert!(sent.is_empty());
    assert_eq!(request.reply_success(bound), "HTTP/1.1 200 Connection established\r\n\r\n");
    for (code, status) in [
        (Code::RULE_REFUSED, "403"),
        (Code::DNS_NXDOMAIN, "502"),
        (Code::DEST_REFUSED, "502"),
        (Code::DIAL_TIMEOUT, "504"),
        (Code::TRUNCATED, "503"),
        (Code::LIMIT, "503"),
    ] {
        let reply = String::from_utf8(request.reply_failure(code).to_vec()).unwrap();
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{code}: {reply}");
        assert!(reply.contains(&format!("\r\nTunnels-Error: {code}\r\n")), "{reply}");
    }
}

#[test]
fn eager_front_has_nothing_more_to_say() {
    for input in ["05 01 00 05 01 00 01 c0000201 0050", "04 01 0050 c0000201 00"] {
        let request = drive(&config(false, Reply::Eager), [bytes(input).as_slice()]).end.unwrap().unwrap();
        assert!(
            request.reply_success(None).is_empty() && request.reply_failure(Code::DEST_REFUSED).is_empty()
        );
    }
}

/// Captured from the first TunneLS.
#[test]
fn eager_requests_are_those_of_the_first_tunnels() {
    for (target, early, wire) in [
        ("127.0.0.1:19010", &b"HelloWorld"[..], "05 01 00 01 7f000001 4a42 48656c6c6f576f726c64"),
        ("localhost:19010", b"", "05 01 00 03 09 6c6f63616c686f7374 4a42"),
    ] {
        let target = target.parse().unwrap();
        assert_eq!(eager_bytes(&target, early), bytes(wire));
        let mut input = BytesMut::new();
        for byte in bytes(wire).into_iter().take(bytes(wire).len() - early.len() - 1) {
            input.extend_from_slice(&[byte]);
            assert_eq!(take_eager(&mut input), Ok(None));
        }
        let mut input = BytesMut::from(bytes(wire).as_slice());
        assert_eq!(take_eager(&mut input), Ok(Some(target)));
        assert_eq!(input, early);
    }
}

#[test]
fn wrong_eager_requests_are_refused_without_a_word() {
    for (wire, kind) in [
        ("04 01 00 01 7f000001 4a42", "malformed"),
        ("05 01 01 01 7f000001 4a42", "malformed"),
        ("05 02 00 01 7f000001 4a42", "command"),
        ("05 03 00 01 7f000001 4a42", "command"),
        ("05 07", "command"),
        ("05 01 00 02", "address_type"),
        ("05 01 00 03 00 4a42", "name"),
        ("05 01 00 01 7f000001 0000", "port"),
    ] {
        let refusal = take_eager(&mut BytesMut::from(bytes(wire).as_slice())).unwrap_err();
        assert_eq!((refusal.kind, refusal.reply.len()), (kind, 0), "{wire}");
    }
}
