//! The corpora of wrong and odd inputs, each with its one right outcome, whatever the cut.

use crate::common::{Verdict, bytes, config, drive};
use eagersocks::{Protocol, Reply};
use proptest::prelude::*;

/// One row: is a password needed, what comes, and what must come of it.
struct Row {
    name: String,
    users: bool,
    input: Vec<u8>,
    /// Everything sent, the refusal's reply included.
    sent: Vec<u8>,
    end: End,
}

enum End {
    Waits,
    Opens(Protocol, String, &'static [u8]),
    Refused(&'static str),
}

fn opens(protocol: Protocol, target: &str, rest: &'static [u8]) -> End {
    Opens(protocol, target.to_owned(), rest)
}

use End::{Opens, Refused, Waits};

fn row(name: &str, users: bool, input: &[&[u8]], sent: &str, end: End) -> Row {
    Row { name: name.to_owned(), users, input: input.concat(), sent: bytes(sent), end }
}

const NO_AUTH: &[u8] = &[5, 1, 0];
const WITH_PASSWORD: &[u8] = &[5, 1, 2];
const LOGIN: &[u8] = b"\x01\x03ann\x06secret";
const V4_OK: &str = "00 5a 0000 00000000";
const V4_NO: &str = "00 5b 0000 00000000";
const HTTP_OK: &str = "'HTTP/1.1 200 Connection established' 0d0a 0d0a";

fn v5(request: &str, code: u8, end: End) -> Row {
    let sent = format!("0500 05 {code:02x} 00 01 00000000 0000");
    row(&format!("SOCKS5 {request}"), false, &[NO_AUTH, &bytes(request)], &sent, end)
}

fn socks4() -> Vec<Row> {
    let long = |n: usize| "61".repeat(n);
    let v4 = |name, request: &str, sent, end| row(name, false, &[&bytes(request)], sent, end);
    vec![
        v4(
            "SOCKS4 to IPv4",
            "04 01 0050 c0000201 'me' 00",
            V4_OK,
            opens(Protocol::Socks4, "192.0.2.1:80", b""),
        ),
        v4(
            "SOCKS4 with data behind it",
            "04 01 0050 c0000201 00 'GET'",
            V4_OK,
            opens(Protocol::Socks4, "192.0.2.1:80", b"GET"),
        ),
        v4(
            "SOCKS4a to a name",
            "04 01 01bb 00000001 00 'a.example' 00 16",
            V4_OK,
            opens(Protocol::Socks4a, "a.example:443", b"\x16"),
        ),
        v4(
            "SOCKS4 to 0.0.0.0, which announces no name",
            "04 01 0050 00000000 00",
            V4_OK,
            opens(Protocol::Socks4, "0.0.0.0:80", b""),
        ),
        v4(
            "SOCKS4 user id of 255",
            &format!("04 01 0050 c0000201 {} 00", long(255)),
            V4_OK,
            opens(Protocol::Socks4, "192.0.2.1:80", b""),
        ),
        v4(
            "SOCKS4 user id of 256",
            &format!("04 01 0050 c0000201 {} 00", long(256)),
            V4_NO,
            Refused("too_long"),
        ),
        v4("SOCKS4 user id without NUL", "04 01 0050 c0000201 'me'", "", Waits),
        v4("SOCKS4a empty name", "04 01 0050 00000001 00 00", V4_NO, Refused("name")),
        v4(
            "SOCKS4a label over 63",
            &format!("04 01 0050 00000001 00 {} 00", long(64)),
            V4_NO,
            Refused("name"),
        ),
        v4(
            "SOCKS4a name of 254",
            &format!("04 01 0050 00000001 00 {} 00", "612e".repeat(127) + "61"),
            V4_NO,
            Refused("too_long"),
        ),
        v4(
            "SOCKS4a name without NUL",
            &format!("04 01 0050 00000001 00 {}", "612e".repeat(200)),
            V4_NO,
            Refused("too_long"),
        ),
        v4("SOCKS4a name cut short", "04 01 0050 00000001 00 'a.exam'", "", Waits),
        v4("SOCKS4 port 0", "04 01 0000 c0000201 00", V4_NO, Refused("port")),
        v4("SOCKS4 BIND", "04 02 0050 c0000201 00", V4_NO, Refused("command")),
        v4("SOCKS4 command 3", "04 03 0050 c0000201 00", V4_NO, Refused("command")),
        row(
            "SOCKS4 where a password is needed",
            true,
            &[&bytes("04 01 0050 c0000201 'ann' 00")],
            V4_NO,
            Refused("no_method"),
        ),
    ]
}

fn socks5_methods() -> Vec<Row> {
    let request: &[u8] = &bytes("05 01 00 01 c0000201 0050");
    let plain = || opens(Protocol::Socks5, "192.0.2.1:80", b"");
    let ok = "0500 05 00 00 01 00000000 0000";
    let all: Vec<u8> = [5, 255].into_iter().chain(0..=254).collect();
    vec![
        row("SOCKS5 zero methods", false, &[&[5, 0]], "05ff", Refused("no_method")),
        row("SOCKS5 none acceptable", false, &[&[5, 2, 1, 0x80]], "05ff", Refused("no_method")),
        row("SOCKS5 only 0xff offered", false, &[&[5, 1, 0xff]], "05ff", Refused("no_method")),
        row(
            "SOCKS5 password only, but there are no users",
            false,
            &[WITH_PASSWORD],
            "05ff",
            Refused("no_method"),
        ),
        row(
            "SOCKS5 no password offered, but there are users",
            true,
            &[NO_AUTH],
            "05ff",
            Refused("no_method"),
        ),
        row("SOCKS5 zero methods, but there are users", true, &[&[5, 0]], "05ff", Refused("no_method")),
        row("SOCKS5 method offered twice", false, &[&[5, 2, 0, 0], request], ok, plain()),
        row("SOCKS5 255 methods", false, &[&all, request], ok, plain()),
        row("SOCKS5 greeting cut short", false, &[&[5, 3, 0, 1]], "", Waits),
        row("SOCKS5 greeting alone", false, &[NO_AUTH], "0500", Waits),
        row(
            "SOCKS5 right password, all sent at once",
            true,
            &[&[5, 2, 0, 2], LOGIN, request, b"data"],
            "0502 0100 05 00 00 01 00000000 0000",
            opens(Protocol::Socks5, "192.0.2.1:80", b"data"),
        ),
        row(
            "SOCKS5 request in place of the password",
            true,
            &[WITH_PASSWORD, request],
            "0502 0101",
            Refused("auth_malformed"),
        ),
        row(
            "RFC 1929 version 5",
            true,
            &[WITH_PASSWORD, b"\x05\x03ann\x06secret"],
            "0502 0101",
            Refused("auth_malformed"),
        ),
        row(
            "RFC 1929 empty name",
            true,
            &[WITH_PASSWORD, b"\x01\x00\x06secret"],
            "0502 0101",
            Refused("auth_malformed"),
        ),
        row(
            "RFC 1929 wrong password",
            true,
            &[WITH_PASSWORD, b"\x01\x03ann\x06secreT", request],
            "0502 0101",
            Refused("auth_failed"),
        ),
        row(
            "RFC 1929 empty password",
            true,
            &[WITH_PASSWORD, b"\x01\x03ann\x00", request],
            "0502 0101",
            Refused("auth_failed"),
        ),
        row(
            "RFC 1929 unknown user",
            true,
            &[WITH_PASSWORD, b"\x01\x03eve\x06secret"],
            "0502 0101",
            Refused("auth_failed"),
        ),
        row("RFC 1929 cut short", true, &[WITH_PASSWORD, b"\x01\x03ann\x06secre"], "0502", Waits),
    ]
}

fn socks5_requests() -> Vec<Row> {
    let to = |target: &str, rest| opens(Protocol::Socks5, target, rest);
    let dotted = format!("05 01 00 03 fd {} 0050", "612e".repeat(126) + "61");
    let dotted_target = &format!("{}a:80", "a.".repeat(126));
    let mut rows = vec![
        v5("05 01 00 01 7f000001 4a42 'HelloWorld'", 0, to("127.0.0.1:19010", b"HelloWorld")),
        v5("05 01 00 03 09 'localhost' 4a42", 0, to("localhost:19010", b"")),
        v5("05 01 00 04 20010db8000000000000000000000001 0050", 0, to("[2001:db8::1]:80", b"")),
        v5("05 01 ff 01 c0000201 0050", 0, to("192.0.2.1:80", b"")),
        v5(&dotted, 0, to(dotted_target, b"")),
        v5("04 01 00 01 c0000201 0050", 1, Refused("malformed")),
        v5("06 01 00 01 c0000201 0050", 1, Refused("malformed")),
        v5("05 02 00 01 c0000201 0050", 7, Refused("command")),
        v5("05 03 00 01 00000000 0000", 7, Refused("command")),
        v5("05 09 00 01 c0000201 0050", 7, Refused("command")),
        v5("05 00 00 01 c0000201 0050", 7, Refused("command")),
        v5("05 01 00 02 c0000201 0050", 8, Refused("address_type")),
        v5("05 01 00 05 c0000201 0050", 8, Refused("address_type")),
        v5("05 01 00 03 00 0050", 1, Refused("name")),
        v5("05 01 00 03 01 00 0050", 1, Refused("name")),
        v5("05 01 00 03 03 612062 0050", 1, Refused("name")),
        v5("05 01 00 03 02 6107 0050", 1, Refused("name")),
        v5("05 01 00 03 03 'a/b' 0050", 1, Refused("name")),
        v5("05 01 00 03 03 'a@b' 0050", 1, Refused("name")),
        v5("05 01 00 03 03 'a%b' 0050", 1, Refused("name")),
        v5("05 01 00 03 03 61c3a9 0050", 1, Refused("name")),
        v5("05 01 00 03 06 '0177.1' 0050", 0, to("0177.1:80", b"")),
        v5("05 01 00 03 05 '[::1]' 0050", 4, Refused("name")),
        v5("05 01 00 03 0b '[127.0.0.1]' 0050", 4, Refused("name")),
        v5("05 01 00 01 c0000201 0000", 1, Refused("port")),
    ];
    rows.push(row(
        "SOCKS5 request cut short",
        false,
        &[NO_AUTH, &bytes("05 01 00 03 09 'local'")],
        "0500",
        Waits,
    ));
    rows
}

fn strangers() -> Vec<Row> {
    let silent = |name, input: &[u8]| row(name, false, &[input], "", Refused("bad_protocol"));
    vec![
        silent("TLS", &[0x16, 3, 1, 2, 0]),
        silent("zero bytes", &[0; 8]),
        silent("version 3", &[3, 1, 0]),
        silent("version 6", &[6, 1, 0]),
        silent("line feed", b"\r\n"),
        silent("high byte", &[0xff]),
        row("nothing", false, &[], "", Waits),
    ]
}

/// An HTTP reply: the status line, a body of the reason, and the field lines between.
fn status(number: u16, reason: &str, fields: &str) -> String {
    let length = reason.len() + 1;
    let fields = if fields.is_empty() { String::new() } else { format!("'{fields}' 0d0a") };
    format!(
        "'HTTP/1.1 {number} {reason}' 0d0a {fields} 'Content-Type: text/plain' 0d0a \
         'Content-Length: {length}' 0d0a 'Connection: close' 0d0a 0d0a '{reason}' 0a"
    )
}

fn http() -> Vec<Row> {
    let http = |name: &str, head: &str, sent: &str, end| row(name, false, &[head.as_bytes()], sent, end);
    let to = |target: &str, rest| opens(Protocol::HttpConnect, target, rest);
    let bad = &status(400, "Bad Request", "");
    let long = &status(431, "Request Header Fields Too Large", "");
    let not_allowed = &status(405, "Method Not Allowed", "Allow: CONNECT");
    let mut rows = vec![
        http(
            "CONNECT",
            "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
            HTTP_OK,
            to("a.example:443", b""),
        ),
        http("CONNECT 1.0", "CONNECT a.example:443 HTTP/1.0\r\n\r\n", HTTP_OK, to("a.example:443", b"")),
        http(
            "CONNECT to IPv6",
            "CONNECT [2001:db8::1]:22 HTTP/1.1\r\n\r\n",
            HTTP_OK,
            to("[2001:db8::1]:22", b""),
        ),
        http(
            "any header case, Host differs",
            "CONNECT a.example:1 HTTP/1.1\r\nhOST: b.example:2\r\n\r\n",
            HTTP_OK,
            to("a.example:1", b""),
        ),
        http(
            "bytes behind the blank line",
            "CONNECT a.example:443 HTTP/1.1\r\n\r\n\x16\x03\r\n\r\n",
            HTTP_OK,
            to("a.example:443", b"\x16\x03\r\n\r\n"),
        ),
        http(
            "credentials nobody asked for",
            "CONNECT a.example:1 HTTP/1.1\r\nProxy-Authorization: Basic x\r\n\r\n",
            HTTP_OK,
            to("a.example:1", b""),
        ),
        http("port 0", "CONNECT a.example:0 HTTP/1.1\r\n\r\n", bad, Refused("port")),
        http("bare LF", "CONNECT a.example:443 HTTP/1.1\n\n", bad, Refused("malformed")),
        http("origin-form", "GET / HTTP/1.1\r\nHost: 127.0.0.1:1080\r\n\r\n", bad, Refused("web_request")),
        http("absolute-form GET", "GET http://a.example/ HTTP/1.1\r\n\r\n", not_allowed, Refused("method")),
        http(
            "absolute-form POST",
            "POST http://a.example/ HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            not_allowed,
            Refused("method"),
        ),
        http(
            "from a web page",
            "CONNECT a.example:443 HTTP/1.1\r\nOrigin: https://evil.example\r\n\r\n",
            &status(403, "Forbidden", ""),
            Refused("web_page"),
        ),
        http(
            "8 KiB without an end",
            &format!("CONNECT a.example:443 HTTP/1.1\r\nA: {}", "x".repeat(8192)),
            long,
            Refused("too_long"),
        ),
        http(
            "65 fields",
            &format!("CONNECT a.example:443 HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65)),
            long,
            Refused("too_long"),
        ),
        http("head cut short", "CONNECT a.example:443 HTTP/1.1\r\nHost: a.exam", "", Waits),
        http("CONNECT alone", "CONNECT", "", Waits),
    ];
    for target in [
        "a.example",
        "a.example:",
        "a.example:65536",
        "a.example:http",
        "user@a.example:443",
        "u:p@a.example:443",
        "a.example:1,b.example:2",
        "a.example:1 b.example:2",
        "2001:db8::1:443",
        "[2001:db8::1:443",
        "[a.example]:443",
        "[fe80::1%25eth0]:443",
        ":443",
        "",
    ] {
        let line = &format!("CONNECT {target} HTTP/1.1\r\n\r\n");
        rows.push(http(line, line, bad, Refused("malformed")));
    }
    for field in
        ["Content-Length: 0", "Transfer-Encoding: chunked", " folded: x", "A : x", "A: \0", "no colon", ": x"]
    {
        let head = &format!("CONNECT a.example:443 HTTP/1.1\r\nB: c\r\n{field}\r\n\r\n");
        rows.push(http(head, head, bad, Refused("malformed")));
    }
    rows
}

fn http_with_users() -> Vec<Row> {
    let challenge = &status(
        407,
        "Proxy Authentication Required",
        r#"Proxy-Authenticate: Basic realm="tunnels", charset="UTF-8""#,
    );
    let http = |name, field: &str, sent: &str, end| {
        let head = format!("CONNECT a.example:443 HTTP/1.1\r\n{field}\r\n");
        row(name, true, &[head.as_bytes()], sent, end)
    };
    vec![
        // ann:secret, ann:Secret, eve:secret, ann:
        http(
            "right password",
            "Proxy-Authorization: Basic YW5uOnNlY3JldA==\r\n",
            HTTP_OK,
            opens(Protocol::HttpConnect, "a.example:443", b""),
        ),
        http(
            "wrong password",
            "Proxy-Authorization: Basic YW5uOlNlY3JldA==\r\n",
            challenge,
            Refused("auth_failed"),
        ),
        http(
            "unknown user",
            "Proxy-Authorization: Basic ZXZlOnNlY3JldA==\r\n",
            challenge,
            Refused("auth_failed"),
        ),
        http(
            "no password in it",
            "Proxy-Authorization: Basic YW5uOg==\r\n",
            challenge,
            Refused("auth_failed"),
        ),
        http("not base64", "Proxy-Authorization: Basic ann:secret\r\n", challenge, Refused("auth_failed")),
        http(
            "another scheme",
            "Proxy-Authorization: Bearer YW5uOnNlY3JldA==\r\n",
            challenge,
            Refused("auth_failed"),
        ),
        http(
            "the field for the server behind",
            "Authorization: Basic YW5uOnNlY3JldA==\r\n",
            challenge,
            Refused("auth_missing"),
        ),
        http("no password given", "", challenge, Refused("auth_missing")),
        http(
            "malformed comes before the password",
            "A : x\r\n",
            &status(400, "Bad Request", ""),
            Refused("malformed"),
        ),
    ]
}

fn table() -> Vec<Row> {
    [socks4(), socks5_methods(), socks5_requests(), strangers(), http(), http_with_users()]
        .into_iter()
        .flatten()
        .collect()
}

fn check(row: &Row, verdict: &Verdict) {
    let name = &row.name;
    let mut sent = verdict.sent.clone();
    match (&row.end, &verdict.end) {
        (Waits, None) => {}
        (Opens(protocol, target, rest), Some(Ok(request))) => {
            assert_eq!(
                (request.protocol, request.target.to_string().as_str()),
                (*protocol, target.as_str()),
                "{name}"
            );
            assert_eq!(verdict.rest, *rest, "{name}");
            assert_eq!(request.credential.is_some(), row.users, "{name}");
            assert!(request.is_answered(), "{name}");
        }
        (Refused(kind), Some(Err(refusal))) => {
            sent.extend_from_slice(&refusal.reply);
            assert_eq!(refusal.kind, *kind, "{name}: {refusal}");
            let of_login = kind.starts_with("auth_");
            assert_eq!(refusal.delay.as_millis(), if of_login { 200 } else { 0 }, "{name}");
            assert_eq!(refusal.wrong_password, *kind == "auth_failed", "{name}");
            assert!(
                refusal.detail.is_ascii() && !refusal.detail.contains(char::is_control),
                "{name}: {refusal}"
            );
        }
        (_, end) => panic!("{name}: {end:?}"),
    }
    assert_eq!(sent.escape_ascii().to_string(), row.sent.escape_ascii().to_string(), "{name}");
}

#[test]
fn each_input_has_the_outcome_of_the_table() {
    for row in table() {
        check(&row, &drive(&config(row.users, Reply::Eager), [row.input.as_slice()]));
    }
}

#[test]
fn outcome_is_the_same_byte_by_byte_and_cut_at_any_one_place() {
    for row in table() {
        let config = config(row.users, Reply::Eager);
        check(&row, &drive(&config, row.input.chunks(1)));
        for cut in 0..row.input.len() {
            let (front, back) = row.input.split_at(cut);
            check(&row, &drive(&config, [front, back]));
        }
    }
}

#[test]
fn input_cut_off_anywhere_opens_nothing_that_the_whole_does_not() {
    for row in table() {
        for end in 0..row.input.len() {
            let verdict = drive(&config(row.users, Reply::Eager), [&row.input[..end]]);
            match (&row.end, verdict.end) {
                (_, None) | (Refused(_), Some(Err(_))) => {}
                (Opens(_, target, rest), Some(Ok(request))) => {
                    assert_eq!(request.target.to_string(), **target, "{}", row.name);
                    assert!(
                        row.input.len() - end <= rest.len(),
                        "{}: only tunnel bytes may be missing",
                        row.name
                    );
                }
                (_, end) => panic!("{}: {end:?}", row.name),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn outcome_is_the_same_for_any_cut(
        row in any::<proptest::sample::Index>(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
    ) {
        let table = table();
        let row = row.get(&table);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(row.input.len() + 1)).collect();
        cuts.sort_unstable();
        let edges = [0].into_iter().chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain([row.input.len()]);
        let chunks: Vec<&[u8]> = edges.zip(ends).map(|(from, to)| &row.input[from..to]).collect();
        check(row, &drive(&config(row.users, Reply::Eager), chunks));
    }
}
