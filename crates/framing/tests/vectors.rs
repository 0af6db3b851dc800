//! Bytes as they stand on the wire: captured from the first TunneLS, written by hand from the layout of remux2, or
//! taken from an RFC. Each is checked in both directions.

use std::fmt::Debug;

use framing::connect::{Authorization, Head};
use framing::remux2::{
    Code, Command, Credit, GoAway, Header, Kind, Open, Opened, Ping, Priority, Rst, Setting, TypeByte, flags,
    setting,
};
use framing::socks::{self, v4, v5};
use framing::{Credential, Decode, Encode, Host, Name, Target, classic, eager};

/// A value and its bytes, whatever follows them.
fn holds<T: Encode + Decode + Debug + PartialEq + Clone>(wire: &str, value: &T) {
    let wire = hex(wire);
    assert_eq!(value.to_vec(), wire);
    let longer = [&wire[..], b"HelloWorld"].concat();
    assert_eq!(T::decode(&longer), Ok(Some((value.clone(), wire.len()))));
}

/// A frame of remux2: header, and payload behind it.
fn frame(wire: &str, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
    let wire = hex(wire);
    let header = Header::new(kind, flags, stream, payload.len().try_into().unwrap());
    let (front, behind) = wire.split_first_chunk().unwrap();
    assert_eq!(header.to_bytes(), *front);
    assert_eq!(Header::from_bytes(*front), header);
    assert_eq!(header.type_byte(), TypeByte::Known(kind));
    assert_eq!(payload, behind);
}

// The first TunneLS.

#[test]
fn captured_eager_request_to_an_address() {
    holds("05 01 00 01 7f000001 4a42", &eager::Request::connect("127.0.0.1:19010".parse().unwrap()));
}

#[test]
fn captured_eager_request_to_a_name() {
    let wire = "05 01 00 03 09 6c6f63616c686f7374 4a42";
    holds(wire, &eager::Request::connect("localhost:19010".parse().unwrap()));
}

#[test]
fn captured_socks_reply_echoes_the_name() {
    let wire = "05 00 00 03 09 6c6f63616c686f7374 4a42";
    holds(wire, &v5::Reply::success("localhost:19010".parse().unwrap()));
}

#[test]
fn classic_frame_carries_request_and_first_data() {
    let wire = hex("0001 0014 050100017f0000014a42 48656c6c6f576f726c64");
    let (front, data) = wire.split_first_chunk().unwrap();
    let header = classic::Header::from_bytes(*front);
    assert_eq!(header, classic::Header { session: 1, length: 20 });
    assert_eq!(header.to_bytes(), *front);
    let (request, used) = eager::Request::decode(data).unwrap().unwrap();
    assert_eq!(request.target.to_string(), "127.0.0.1:19010");
    assert_eq!(&data[used..], b"HelloWorld");
}

#[test]
fn classic_data_and_end() {
    assert_eq!(hex("0001 0005")[..], classic::Header { session: 1, length: 5 }.to_bytes());
    assert_eq!(hex("0001 0000")[..], classic::Header::end(1).to_bytes());
    assert!(classic::Header::from_bytes([0, 1, 0, 0]).is_end());
    assert!(!classic::Header::from_bytes([0, 0, 0, 1]).is_end());
}

// remux2, one vector a frame.

#[test]
fn remux2_data() {
    frame("00 01 0005 00000001 68656c6c6f", Kind::Data, flags::FIN, 1, b"hello");
}

#[test]
fn remux2_open() {
    let target = Some("localhost:19010".parse().unwrap());
    let open = Open { command: Command::Connect, priority: 3, target };
    let payload = [&open.to_vec()[..], b"hi"].concat();
    let wire = "01 02 0013 00000003  01 03 000d  03 09 6c6f63616c686f7374 4a42  6869";
    frame(wire, Kind::Open, flags::WANT_OPENED, 3, &payload);
    assert_eq!(Open::decode_payload(&payload), Ok((open, 17)));
}

#[test]
fn remux2_opened() {
    let opened = Opened { dial_us: 1500, bound: Some("[2001:db8::1]:443".parse().unwrap()) };
    let wire = "02 00 0017 00000003  000005dc  04 20010db8000000000000000000000001 01bb";
    frame(wire, Kind::Opened, 0, 3, &opened.to_vec());
    assert_eq!(Opened::decode_payload(&opened.to_vec()), Ok(opened));
    let bare = Opened { dial_us: 1, bound: None };
    frame("02 00 0004 00000003  00000001", Kind::Opened, 0, 3, &bare.to_vec());
    assert_eq!(Opened::decode_payload(&[0, 0, 0, 1]), Ok(bare));
}

#[test]
fn remux2_credit() {
    let credit = Credit { consumed: 0xFFFF_FF00, window: 262_144 };
    frame("03 00 0008 00000001  ffffff00 00040000", Kind::Credit, 0, 1, &credit.to_vec());
    assert_eq!(Credit::decode_payload(&credit.to_vec()), Ok(credit));
}

#[test]
fn remux2_rst() {
    let rst = Rst { code: Code::DEST_REFUSED, text: "no".into() };
    frame("04 01 0004 00000001  0005 6e6f", Kind::Rst, flags::REFUSED_SAFE, 1, &rst.to_vec());
    assert_eq!(Rst::decode_payload(&rst.to_vec()), Ok(rst));
}

#[test]
fn remux2_ping() {
    let ping = Ping { opaque: *b"01234567" };
    frame("05 01 0008 00000000  3031323334353637", Kind::Ping, flags::ACK, 0, &ping.to_vec());
    assert_eq!(Ping::decode_payload(&ping.to_vec()), Ok(ping));
}

#[test]
fn remux2_goaway() {
    let goaway = GoAway { last_id: 33, code: Code::DRAIN, drain_ms: 30_000, text: "bye".into() };
    frame("06 00 000d 00000000  00000021 0016 00007530 627965", Kind::GoAway, 0, 0, &goaway.to_vec());
    assert_eq!(GoAway::decode_payload(&goaway.to_vec()), Ok(goaway));
}

#[test]
fn remux2_settings() {
    let entries = [
        Setting { id: setting::MAX_STREAMS, value: 256 },
        Setting { id: setting::INITIAL_WINDOW, value: 262_144 },
        Setting { id: 0x7777, value: 1 },
    ];
    let payload: Vec<u8> = entries.iter().flat_map(Encode::to_vec).collect();
    let wire = "07 00 0012 00000000  0001 00000100  0002 00040000  7777 00000001";
    frame(wire, Kind::Settings, 0, 0, &payload);
    assert!(Setting::decode_all(&payload).unwrap().eq(entries));
}

#[test]
fn remux2_dgram_pad_and_priority() {
    frame("08 00 0003 00000005  07 6869", Kind::Dgram, 0, 5, b"\x07hi");
    frame("09 00 0002 00000000  0000", Kind::Pad, 0, 0, &[0, 0]);
    let priority = Priority { priority: 0x0A };
    frame("0a 00 0001 00000005  0a", Kind::Priority, 0, 5, &priority.to_vec());
    assert_eq!(Priority::decode_payload(&[0x0A]), Ok(priority));
}

#[test]
fn remux2_type_bytes_fall_into_their_ranges() {
    let meaning = |kind| Header { kind, flags: 0, length: 0, stream: 0 }.type_byte();
    for kind in 0x00..=0x0A {
        assert!(matches!(meaning(kind), TypeByte::Known(known) if known as u8 == kind));
    }
    assert_eq!([0x0B, 0x3F].map(meaning), [TypeByte::Reserved; 2]);
    assert_eq!([0x40, 0x7F].map(meaning), [TypeByte::Ignorable; 2]);
    assert_eq!([0x80, 0xFF].map(meaning), [TypeByte::Critical; 2]);
}

#[test]
fn remux2_full_frame_fills_one_record() {
    assert_eq!(framing::remux2::HEADER + framing::remux2::MAX_PAYLOAD, 16_384);
}

// SOCKS and CONNECT.

#[test]
fn socks5_handshake_with_password() {
    let methods = [v5::Method::PASSWORD, v5::Method::NONE].into_iter().collect();
    holds("05 02 00 02", &v5::Greeting { methods });
    holds("05 02", &v5::MethodReply { method: v5::Method::PASSWORD });
    holds("05 ff", &v5::MethodReply { method: v5::Method::UNACCEPTABLE });
    let credential = Credential::new(b"me", b"pass").unwrap();
    holds("01 02 6d65 04 70617373", &v5::Auth { credential });
    holds("01 00", &v5::AuthReply { accepted: true });
    holds("01 01", &v5::AuthReply { accepted: false });
}

#[test]
fn socks5_requests_and_replies() {
    let target: Target = "[2001:db8::1]:443".parse().unwrap();
    let wire = "05 02 00 04 20010db8000000000000000000000001 01bb";
    holds(wire, &v5::Request { command: socks::Command::Bind, target });
    let any = "0.0.0.0:0".parse().unwrap();
    holds("05 03 00 01 00000000 0000", &v5::Request { command: socks::Command::UdpAssociate, target: any });
    holds("05 07 00 01 00000000 0000", &v5::Reply::failure(Code::COMMAND_UNKNOWN));
    holds("05 06 00 01 00000000 0000", &v5::Reply::failure(Code::DIAL_TIMEOUT));
}

#[test]
fn socks4_and_4a() {
    // The example of the SOCKS 4 article of a well-known encyclopedia: "Fred" to 66.102.7.99:80.
    let connect = |target: &str, user: &str| {
        v4::Request::new(socks::Command::Connect, target.parse().unwrap(), user.as_bytes()).unwrap()
    };
    let plain = connect("66.102.7.99:80", "Fred");
    holds("04 01 0050 42660763 46726564 00", &plain);
    assert!(!plain.is_4a());
    let named = connect("example.com:80", "Fred");
    holds("04 01 0050 00000001 46726564 00 6578616d706c652e636f6d 00", &named);
    assert!(named.is_4a());
    assert_eq!(named.target().host, Host::Name(Name::new("example.com").unwrap()));
    holds("00 5a 0000 00000000", &v4::Reply::granted("0.0.0.0:0".parse().unwrap()));
    holds("00 5b 0000 00000000", &v4::Reply::refused());
}

#[test]
fn connect_with_the_credential_of_rfc_7617() {
    let wire = b"CONNECT server.example.com:80 HTTP/1.1\r\nHost: server.example.com:80\r\n\
        Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n";
    let (head, used) = Head::parse(wire).unwrap().unwrap();
    assert_eq!(head.target, "server.example.com:80".parse().unwrap());
    let aladdin = Credential::new(b"Aladdin", b"open sesame").unwrap();
    assert_eq!((head.authorization, used), (Authorization::Basic(aladdin), wire.len()));
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    assert_eq!(digits.len() % 2, 0);
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}
