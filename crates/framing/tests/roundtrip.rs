//! Properties of every format: what was built is read again, chunks never change a verdict, no bytes make a decoder
//! panic.
//!
//! The cases are the same in each run; `PROPTEST_RNG_SEED=n` asks for others, `PROPTEST_CASES=n` for more.

use std::fmt::Debug;
use std::net::SocketAddrV4;

use framing::connect::{Authorization, Head, HeadError};
use framing::remux2::{Code, Command, Credit, GoAway, Header, Open, Opened, Ping, Priority, Rst, Setting};
use framing::socks::{self, v4, v5};
use framing::{Credential, Decode, DecodeError, Encode, Host, Name, Target, classic, eager};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

fn config() -> Config {
    let config = Config::default();
    match config.rng_seed {
        RngSeed::Random => Config { rng_seed: RngSeed::Fixed(0x7475_6E6E), ..config },
        RngSeed::Fixed(_) => config,
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn target_is_read_as_it_was_written(target in target(), tail: [u8; 3]) {
        round_trip(&target, &tail);
    }

    #[test]
    fn target_is_parsed_as_it_is_shown(target in target()) {
        // A name that is spelt like an address is one when a person writes it.
        let spelt_like_an_address =
            matches!(&target.host, Host::Name(name) if name.as_str().parse::<std::net::Ipv4Addr>().is_ok());
        prop_assume!(!spelt_like_an_address);
        prop_assert_eq!(target.to_string().parse(), Ok(target));
    }

    #[test]
    fn eager_request_is_read_as_it_was_written(command in socks_command(), target in target(), tail: [u8; 3]) {
        let request = eager::Request { command, target };
        prop_assert!(request.to_vec().len() <= eager::MAX_LEN);
        round_trip(&request, &tail);
    }

    #[test]
    fn socks5_greeting_is_read_as_it_was_written(methods: Vec<u8>, tail: [u8; 3]) {
        round_trip(&v5::Greeting { methods: methods.into_iter().map(v5::Method).collect() }, &tail);
    }

    #[test]
    fn socks5_method_reply_is_read_as_it_was_written(method: u8, tail: [u8; 3]) {
        round_trip(&v5::MethodReply { method: v5::Method(method) }, &tail);
    }

    #[test]
    fn socks5_credential_is_read_as_it_was_written(credential in credential(), tail: [u8; 3]) {
        round_trip(&v5::Auth { credential }, &tail);
    }

    #[test]
    fn socks5_verdict_is_read_as_it_was_written(accepted: bool, tail: [u8; 3]) {
        round_trip(&v5::AuthReply { accepted }, &tail);
    }

    #[test]
    fn socks5_request_is_read_as_it_was_written(command in socks_command(), target in target(), tail: [u8; 3]) {
        round_trip(&v5::Request { command, target }, &tail);
    }

    #[test]
    fn socks5_reply_is_read_as_it_was_written(reply: u8, bound in target(), tail: [u8; 3]) {
        round_trip(&v5::Reply { reply, bound }, &tail);
    }

    #[test]
    fn socks4_request_is_read_as_it_was_written(bind: bool, target in target(), user: Vec<u8>, tail: [u8; 3]) {
        let command = if bind { socks::Command::Bind } else { socks::Command::Connect };
        if let Some(request) = v4::Request::new(command, target, &user) {
            round_trip(&request, &tail);
        }
    }

    #[test]
    fn socks4_reply_is_read_as_it_was_written(code: u8, ip: u32, port: u16, tail: [u8; 3]) {
        round_trip(&v4::Reply { code, bound: SocketAddrV4::new(ip.into(), port) }, &tail);
    }

    #[test]
    fn remux2_header_is_read_as_it_was_written(bytes: [u8; 8]) {
        prop_assert_eq!(Header::from_bytes(bytes).to_bytes(), bytes);
    }

    #[test]
    fn classic_header_is_read_as_it_was_written(bytes: [u8; 4]) {
        prop_assert_eq!(classic::Header::from_bytes(bytes).to_bytes(), bytes);
    }

    #[test]
    fn open_is_read_as_it_was_written(command in 1_u8..=4, priority: u8, target in target(), first: Vec<u8>) {
        let open = Open { command: Command::try_from(command).unwrap(), priority, target: Some(target) };
        let mut payload = open.to_vec();
        let data_at = payload.len();
        payload.extend(first);
        prop_assert_eq!(Open::decode_payload(&payload), Ok((open, data_at)));
        for short in 0..data_at {
            prop_assert!(Open::decode_payload(&payload[..short]).is_err());
        }
    }

    #[test]
    fn stream_without_target_is_read_as_it_was_written(priority: u8, target in prop::option::of(target())) {
        let open = Open { command: Command::Stream, priority, target };
        let payload = open.to_vec();
        prop_assert_eq!(Open::decode_payload(&payload), Ok((open, payload.len())));
    }

    #[test]
    fn opened_is_read_as_it_was_written(dial_us: u32, bound in prop::option::of(target())) {
        let opened = Opened { dial_us, bound };
        prop_assert_eq!(Opened::decode_payload(&opened.to_vec()), Ok(opened));
    }

    #[test]
    fn rst_and_goaway_are_read_as_they_were_written(
        code: u16, text in "\\PC{0,64}", last_id: u32, drain_ms: u32,
    ) {
        let rst = Rst { code: Code(code), text: text.clone() };
        prop_assert_eq!(Rst::decode_payload(&rst.to_vec()), Ok(rst));
        let goaway = GoAway { last_id, code: Code(code), drain_ms, text };
        prop_assert_eq!(GoAway::decode_payload(&goaway.to_vec()), Ok(goaway));
    }

    #[test]
    fn small_payloads_are_read_as_they_were_written(consumed: u32, window: u32, opaque: [u8; 8], priority: u8) {
        let credit = Credit { consumed, window };
        prop_assert_eq!(Credit::decode_payload(&credit.to_vec()), Ok(credit));
        let ping = Ping { opaque };
        prop_assert_eq!(Ping::decode_payload(&ping.to_vec()), Ok(ping));
        let priority = Priority { priority };
        prop_assert_eq!(Priority::decode_payload(&priority.to_vec()), Ok(priority));
    }

    #[test]
    fn settings_are_read_as_they_were_written(entries: Vec<(u16, u32)>) {
        let entries: Vec<Setting> = entries.into_iter().map(|(id, value)| Setting { id, value }).collect();
        let payload: Vec<u8> = entries.iter().flat_map(Encode::to_vec).collect();
        prop_assert_eq!(Setting::decode_all(&payload).unwrap().collect::<Vec<_>>(), entries);
    }

    #[test]
    fn connect_head_is_read_as_it_was_written(target in target(), fields in connect_fields(), tail: [u8; 3]) {
        prop_assume!(target.port != 0);
        let mut wire = format!("CONNECT {target} HTTP/1.1\r\n{fields}\r\n").into_bytes();
        let end = wire.len();
        wire.extend(tail);
        let (head, used) = Head::parse(&wire).unwrap().expect("a complete head");
        prop_assert_eq!((head.target.to_string(), used), (target.to_string(), end));
        prop_assert!(matches!(head.authorization, Authorization::Absent));
        for short in 0..end {
            prop_assert_eq!(Head::parse(&wire[..short]), Ok(None));
        }
    }

    #[test]
    fn chunks_of_anything_never_change_a_verdict(bytes in anything()) {
        verdict_stands(&bytes, Target::decode);
        verdict_stands(&bytes, eager::Request::decode);
        verdict_stands(&bytes, v4::Request::decode);
        verdict_stands(&bytes, v4::Reply::decode);
        verdict_stands(&bytes, v5::Greeting::decode);
        verdict_stands(&bytes, v5::MethodReply::decode);
        verdict_stands(&bytes, v5::Auth::decode);
        verdict_stands(&bytes, v5::AuthReply::decode);
        verdict_stands(&bytes, v5::Request::decode);
        verdict_stands(&bytes, v5::Reply::decode);
        verdict_stands(&bytes, Head::parse);
    }

    #[test]
    fn payload_that_was_read_is_written_and_read_the_same(bytes in anything()) {
        if let Ok((open, data_at)) = Open::decode_payload(&bytes) {
            prop_assert!(data_at <= bytes.len());
            let again = open.to_vec();
            prop_assert_eq!(Open::decode_payload(&again), Ok((open, again.len())));
        }
        payload_stands(&bytes, Opened::decode_payload);
        payload_stands(&bytes, Credit::decode_payload);
        payload_stands(&bytes, Rst::decode_payload);
        payload_stands(&bytes, GoAway::decode_payload);
        payload_stands(&bytes, Ping::decode_payload);
        payload_stands(&bytes, Priority::decode_payload);
        if let Ok(settings) = Setting::decode_all(&bytes) {
            prop_assert_eq!(settings.flat_map(|setting| setting.to_vec()).collect::<Vec<_>>(), &bytes[..]);
        }
    }
}

/// The value comes back with the right length whatever follows it, and every shorter input says "not yet".
fn round_trip<T: Encode + Decode + Debug + PartialEq + Clone>(value: &T, tail: &[u8]) {
    let mut wire = value.to_vec();
    let end = wire.len();
    wire.extend_from_slice(tail);
    assert_eq!(T::decode(&wire), Ok(Some((value.clone(), end))));
    for short in 0..end {
        assert_eq!(T::decode(&wire[..short]), Ok(None), "{short} of {end} bytes");
    }
}

/// Once there is a verdict, more bytes don't change it.
fn verdict_stands<T: Debug + PartialEq, E: Debug + PartialEq>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<Option<(T, usize)>, E>,
) {
    let last = decode(bytes);
    if let Ok(Some((_, used))) = &last {
        assert!(*used <= bytes.len());
    }
    for short in 0..bytes.len() {
        match decode(&bytes[..short]) {
            Ok(None) => {}
            early => assert_eq!(early, last, "{short} of {} bytes", bytes.len()),
        }
    }
}

fn payload_stands<T: Encode + Debug + PartialEq>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) {
    if let Ok(value) = decode(bytes) {
        assert_eq!(decode(&value.to_vec()), Ok(value));
    }
}

#[test]
fn errors_of_a_head_do_not_depend_on_what_follows_it() {
    let head = format!("CONNECT a:1 HTTP/1.1\r\nContent-Length: 1\r\n{}", "A: 1\r\n".repeat(2000));
    verdict_stands(head.as_bytes(), Head::parse);
    assert_eq!(Head::parse(head.as_bytes()), Err(HeadError::Body));
}

#[test]
fn errors_of_a_text_without_end_do_not_depend_on_its_length() {
    let request = [4, 1, 0, 80, 0, 0, 0, 7].into_iter();
    let endless_user: Vec<u8> = request.clone().chain([b'u'; 300]).collect();
    verdict_stands(&endless_user, v4::Request::decode);
    let endless_name: Vec<u8> = request.chain([0]).chain([b'n'; 300]).collect();
    verdict_stands(&endless_name, v4::Request::decode);
}

fn target() -> impl Strategy<Value = Target> {
    let name = "[!-$&-.0-9;-?A-Z\\\\^-~]{1,50}(\\.[a-z0-9_-]{1,63}){0,3}\\.?";
    let name = name.prop_filter_map("no name", |name| Name::new(&name)).prop_map(Host::Name);
    let v4 = any::<u32>().prop_map(|ip| Host::V4(ip.into()));
    let v6 = any::<u128>().prop_map(|ip| Host::V6(ip.into()));
    (prop_oneof![v4, v6, name], any::<u16>()).prop_map(|(host, port)| Target { host, port })
}

fn socks_command() -> impl Strategy<Value = socks::Command> {
    prop_oneof![Just(socks::Command::Connect), Just(socks::Command::Bind), Just(socks::Command::UdpAssociate)]
}

fn credential() -> impl Strategy<Value = Credential> {
    (prop::collection::vec(any::<u8>(), 1..=255), prop::collection::vec(any::<u8>(), 0..=255))
        .prop_map(|(user, password)| Credential::new(&user, &password).unwrap())
}

fn connect_fields() -> impl Strategy<Value = String> {
    prop::collection::vec("X-[A-Za-z!#~-]{1,10}:[ -~\t]{0,20}\r\n", 0..20).prop_map(|lines| lines.concat())
}

/// Noise, and messages of each kind with some bytes replaced and an end cut off or added.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let message = prop_oneof![
            target().prop_map(|target| target.to_vec()),
            target().prop_map(|target| eager::Request::connect(target).to_vec()),
            target().prop_map(|bound| v5::Reply { reply: 0, bound }.to_vec()),
            credential().prop_map(|credential| v5::Auth { credential }.to_vec()),
            target().prop_map(|target| {
                let request = v4::Request::new(socks::Command::Connect, target, b"me");
                request.map_or_else(Vec::new, |request| request.to_vec())
            }),
            target().prop_map(
                |target| Open { command: Command::Connect, priority: 3, target: Some(target) }.to_vec()
            ),
            target().prop_map(|bound| Opened { dial_us: 1, bound: Some(bound) }.to_vec()),
            (target(), connect_fields())
                .prop_map(
                    |(target, fields)| format!("CONNECT {target} HTTP/1.1\r\n{fields}\r\n").into_bytes()
                ),
        ];
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let mutated = (message, edits, 0_usize..4, prop::collection::vec(any::<u8>(), 0..4)).prop_map(
        |(mut bytes, edits, cut, tail)| {
            for (at, byte) in edits {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            bytes.extend(tail);
            bytes
        },
    );
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..300), 4 => mutated]
}
