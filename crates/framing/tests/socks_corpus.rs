//! What applications, scanners and attackers send to a SOCKS port, or as an eager request, as far as a codec can judge it.

use framing::remux2::Code;
use framing::socks::{v4, v5};
use framing::{Decode, DecodeError, Host, eager};

/// A SOCKS5 request to a name, byte for byte.
fn request(name: &[u8]) -> Vec<u8> {
    [&[5, 1, 0, 3, u8::try_from(name.len()).unwrap()][..], name, &[0, 80]].concat()
}

/// The reply a SOCKS5 request earns, if it is refused at once.
fn reply_to(wire: &[u8]) -> Option<u8> {
    v5::Request::decode(wire).err().map(|error| v5::Reply::failure(error.code()).reply)
}

/// A SOCKS4a request with this user id and name.
fn request_4a(user: &[u8], name: &[u8]) -> Vec<u8> {
    [&[4, 1, 0, 80, 0, 0, 0, 7], user, &[0], name, &[0]].concat()
}

#[test]
fn socks5_request_earns_the_reply_of_the_table() {
    for (wire, reply) in [
        (&[4, 1, 0, 1, 127, 0, 0, 1, 0, 80][..], 1),
        (&[6, 1, 0, 1, 127, 0, 0, 1, 0, 80], 1),
        (&[5, 9, 0, 1, 127, 0, 0, 1, 0, 80], 7),
        (&[5, 0, 0, 1, 127, 0, 0, 1, 0, 80], 7),
        (&[5, 0xF0, 0, 1, 127, 0, 0, 1, 0, 80], 7),
        (&[5, 1, 0, 2, 127, 0, 0, 1, 0, 80], 8),
        (&[5, 1, 0, 5, 127, 0, 0, 1, 0, 80], 8),
        (&request(b""), 1),
        (&request(b"a\0b"), 1),
        (&request(b"a b"), 1),
        (&request(b"a\x1bb"), 1),
        (&request(b"a/b"), 1),
        (&request(b"a@b"), 1),
        (&request(b"a%b"), 1),
        (&request("é".as_bytes()), 1),
        (&request(b"[::1]"), 4),
        (&request(b"[a.example]"), 4),
    ] {
        assert_eq!(reply_to(wire), Some(reply), "{}", wire.escape_ascii());
    }
}

#[test]
fn socks5_bind_and_datagrams_are_read_so_that_they_can_be_refused() {
    for command in [2, 3] {
        let (request, _) = v5::Request::decode(&[5, command, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap().unwrap();
        assert_eq!(request.command as u8, command);
    }
    assert_eq!(v5::Reply::failure(Code::COMMAND_UNKNOWN).reply, 7);
}

#[test]
fn socks5_reserved_byte_may_hold_anything() {
    let (request, used) = v5::Request::decode(&[5, 1, 0xAA, 1, 127, 0, 0, 1, 0, 80]).unwrap().unwrap();
    assert_eq!((request.target.to_string().as_str(), used), ("127.0.0.1:80", 10));
}

#[test]
fn socks5_greeting_may_offer_nothing_or_everything_or_the_same_twice() {
    let offered = |wire: &[u8]| v5::Greeting::decode(wire).unwrap().unwrap().0.methods;
    assert_eq!(offered(&[5, 0]).iter().count(), 0);
    assert!(!offered(&[5, 0]).contains(v5::Method::NONE));
    assert_eq!(offered(&[5, 3, 0, 0, 2]).iter().map(|method| method.0).collect::<Vec<_>>(), [0, 2]);
    let all: Vec<u8> = [5, 255].into_iter().chain(0..=254).collect();
    assert_eq!(offered(&all).iter().count(), 255);
    assert!(!offered(&[5, 1, 0xFF]).contains(v5::Method::UNACCEPTABLE));
}

#[test]
fn socks5_pipelined_request_is_left_alone_by_the_greeting() {
    let wire = [&[5, 1, 0][..], &request(b"a.example")].concat();
    assert_eq!(v5::Greeting::decode(&wire).unwrap().unwrap().1, 3);
}

#[test]
fn password_message_with_wrong_version_or_empty_name_is_refused_and_empty_password_is_read() {
    assert!(v5::Auth::decode(&[5, 1, b'a', 1, b'b']).is_err());
    assert_eq!(v5::Auth::decode(&[1, 0]), Err(DecodeError::Name { field: "user name" }));
    let (auth, used) = v5::Auth::decode(&[1, 1, b'a', 0]).unwrap().unwrap();
    assert_eq!((auth.credential.user(), auth.credential.password(), used), (&b"a"[..], &b""[..], 4));
}

#[test]
fn socks4_user_id_ends_within_255_bytes_or_is_refused() {
    let with = |n: usize| [&[4, 1, 0, 80, 127, 0, 0, 1][..], &vec![b'u'; n]].concat();
    assert_eq!(v4::Request::decode(&with(255)), Ok(None));
    assert!(matches!(v4::Request::decode(&with(256)), Err(DecodeError::TooLong { field: "user id", .. })));
    let complete = [&with(255)[..], &[0]].concat();
    assert_eq!(v4::Request::decode(&complete).unwrap().unwrap().0.user().len(), 255);
}

#[test]
fn socks4a_name_is_refused_when_empty_or_too_long_or_without_end() {
    let decode = |name: &[u8]| v4::Request::decode(&request_4a(b"", name));
    assert!(matches!(decode(b""), Err(DecodeError::Name { .. })));
    assert!(matches!(decode(&[b'a'; 64]), Err(DecodeError::Name { .. })));
    assert!(matches!(decode(b"a\x01b"), Err(DecodeError::Name { .. })));
    let name_of_253 = "abcdefg.".repeat(31) + "abcde";
    assert!(decode(name_of_253.as_bytes()).is_ok());
    assert!(matches!(decode((name_of_253.clone() + "f").as_bytes()), Err(DecodeError::Name { .. })));
    assert!(matches!(decode((name_of_253 + "fg").as_bytes()), Err(DecodeError::TooLong { .. })));
    let endless = [&[4, 1, 0, 80, 0, 0, 0, 7, 0][..], &[b'a'; 255]].concat();
    assert!(matches!(v4::Request::decode(&endless), Err(DecodeError::TooLong { field: "host name", .. })));
}

#[test]
fn socks4_knows_no_datagrams() {
    assert_eq!(v4::Request::decode(&[4, 3]), Err(DecodeError::Command { value: 3 }));
    let (bind, _) = v4::Request::decode(&[4, 2, 0, 80, 127, 0, 0, 1, 0]).unwrap().unwrap();
    assert_eq!(bind.command(), framing::socks::Command::Bind);
}

#[test]
fn socks4_address_of_all_zeros_announces_no_name() {
    let (request, used) = v4::Request::decode(&[4, 1, 0, 80, 0, 0, 0, 0, 0, b'x', 0]).unwrap().unwrap();
    assert_eq!((request.target().to_string().as_str(), used), ("0.0.0.0:80", 9));
}

#[test]
fn socks4_address_announces_a_name_only_by_its_last_byte() {
    for ip in [[0, 0, 1, 7], [0, 1, 0, 7], [1, 0, 0, 7]] {
        let wire = [&[4, 1, 0, 80][..], &ip, &[0]].concat();
        let (request, _) = v4::Request::decode(&wire).unwrap().unwrap();
        assert_eq!(request.target().host, Host::V4(ip.into()));
    }
    for last in [1, 255] {
        assert_eq!(v4::Request::decode(&[4, 1, 0, 80, 0, 0, 0, last, 0]), Ok(None));
    }
}

#[test]
fn eager_request_is_stricter_than_socks5_about_its_reserved_byte() {
    let wire = [5, 1, 0xAA, 1, 127, 0, 0, 1, 0, 80];
    assert_eq!(
        eager::Request::decode(&wire),
        Err(DecodeError::Invalid { field: "reserved byte", value: 0xAA })
    );
    assert!(v5::Request::decode(&wire).is_ok());
}

#[test]
fn socks4_requests_without_a_wire_form_can_not_be_built() {
    use framing::socks::Command::{Connect, UdpAssociate};
    let target = |text: &str| text.parse().unwrap();
    assert!(v4::Request::new(Connect, target("0.0.0.7:80"), b"").is_none());
    assert!(v4::Request::new(Connect, target("1.2.3.4:80"), b"a\0b").is_none());
    assert!(v4::Request::new(Connect, target("1.2.3.4:80"), &[b'a'; 256]).is_none());
    assert!(v4::Request::new(UdpAssociate, target("1.2.3.4:80"), b"").is_none());
}
