//! HTTP CONNECT (RFC 9110 section 9.3.6, RFC 9112): the head an application sends, and our answers.
//!
//! ```text
//! CONNECT host:port HTTP/1.1 CRLF   (field CRLF)*   CRLF   then the tunnel's bytes
//! └── 405, 400: not for us ──┘      └ 400, 403, 431 ┘
//! ```
//!
//! The parser is stricter than a web server needs to be: a proxy that reads a head differently from those in front of
//! and behind it can be made to smuggle. What it refuses it refuses at the first wrong line, each fault by its name.

mod basic;
mod response;

pub use response::{Response, Status};

use crate::credential::Credential;
use crate::target::{Target, TargetError};

/// The longest head in bytes, its blank line included.
pub const MAX_HEAD: usize = 8192;
/// The most fields of a head.
pub const MAX_FIELDS: usize = 64;

/// A request to open a tunnel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Head {
    /// Where to; the port is not 0. A `Host` field that differs is ignored.
    pub target: Target,
    /// The `x` of HTTP/1.x, 0 or 1.
    pub minor: u8,
    /// What `Proxy-Authorization` says.
    pub authorization: Authorization,
}

impl Head {
    /// Reads a head from the front of `input`.
    ///
    /// `Ok(Some((head, n)))`: the first `n` bytes were the head, the tunnel's bytes follow. `Ok(None)`: not yet.
    ///
    /// # Errors
    /// See [`HeadError::status`] for what to answer. Nothing that follows can mend it.
    pub fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, HeadError> {
        let window = input.get(..MAX_HEAD).unwrap_or(input);
        let not_yet = if input.len() < MAX_HEAD { Ok(None) } else { Err(HeadError::TooLong) };
        let mut rest = window;

        let Some(line) = next_line(&mut rest)? else { return not_yet };
        let (target, minor) = request_line(line)?;
        let mut authorization = Authorization::Absent;
        for fields_before in 0.. {
            let Some(line) = next_line(&mut rest)? else { return not_yet };
            if line.is_empty() {
                break;
            }
            if fields_before == MAX_FIELDS {
                return Err(HeadError::TooManyFields);
            }
            field(line, &mut authorization)?;
        }
        Ok(Some((Self { target, minor, authorization }, window.len().saturating_sub(rest.len()))))
    }
}

/// What a head says about who asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Authorization {
    /// Nothing.
    Absent,
    /// User and password (RFC 7617).
    Basic(Credential),
    /// Another scheme, or Basic that is not what it should be: as good as a wrong password.
    Unusable,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// A line ends without a carriage return (RFC 9112 section 2.2 would allow it; it helps smugglers only).
    #[error("a line ends without a carriage return")]
    BareLineFeed,
    /// `Content-Length` or `Transfer-Encoding`: a CONNECT has no body (RFC 9110 section 9.3.6).
    #[error("the request announces a body, which CONNECT has not")]
    Body,
    /// NUL or another control character.
    #[error("a line holds a control character")]
    ControlCharacter,
    /// Two `Proxy-Authorization` fields.
    #[error("the proxy-authorization field comes twice")]
    DuplicateAuthorization,
    /// A line that begins with white space (RFC 9112 section 5.2).
    #[error("a field is folded over two lines")]
    Folded,
    /// `Origin`: a web page made its browser send this.
    #[error("a web page sent this request")]
    FromWebPage,
    /// A field without a colon or with a name that is no token, white space before the colon included.
    #[error("a field has no proper name")]
    MalformedField,
    /// A request for a page or a whole URL with another method: we are no HTTP proxy but a tunnel.
    #[error("the request is for a web proxy; only CONNECT is served here")]
    NotConnect,
    /// A request that a browser or scanner would send to a web server.
    #[error("the request is for a web server; this is a proxy")]
    NotForProxy,
    /// Port 0.
    #[error("the port is 0")]
    PortZero,
    /// The first line is not a method, a target and a version with one space between them.
    #[error("the request line is malformed")]
    RequestLine,
    /// The target is no `host:port`.
    #[error("the target is not host:port: {0}")]
    Target(#[from] TargetError),
    /// More than [`MAX_HEAD`] bytes.
    #[error("the head is longer than 8 KiB")]
    TooLong,
    /// More than [`MAX_FIELDS`] fields.
    #[error("the head has more than 64 fields")]
    TooManyFields,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("the version is neither http/1.0 nor http/1.1")]
    Version,
}

impl HeadError {
    /// The status to answer with before the connection is closed.
    pub fn status(self) -> Status {
        match self {
            Self::FromWebPage => Status::Forbidden,
            Self::NotConnect => Status::MethodNotAllowed,
            Self::TooLong | Self::TooManyFields => Status::HeadTooLarge,
            Self::BareLineFeed
            | Self::Body
            | Self::ControlCharacter
            | Self::DuplicateAuthorization
            | Self::Folded
            | Self::MalformedField
            | Self::NotForProxy
            | Self::PortZero
            | Self::RequestLine
            | Self::Target(_)
            | Self::Version => Status::BadRequest,
        }
    }
}

/// Takes a complete line off the front, without its end. `None`: it is not complete yet.
fn next_line<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, HeadError> {
    let Some(end) = rest.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
    let Some((line, [_, behind @ ..])) = rest.split_at_checked(end) else { return Ok(None) };
    *rest = behind;
    let line = line.strip_suffix(b"\r").ok_or(HeadError::BareLineFeed)?;
    if line.iter().any(|&byte| byte.is_ascii_control() && byte != b'\t') {
        return Err(HeadError::ControlCharacter);
    }
    Ok(Some(line))
}

fn request_line(line: &[u8]) -> Result<(Target, u8), HeadError> {
    let line = std::str::from_utf8(line).map_err(|_| HeadError::RequestLine)?;
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HeadError::RequestLine);
    };
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err(HeadError::RequestLine);
    }
    let minor = match version {
        "HTTP/1.0" => 0,
        "HTTP/1.1" => 1,
        _ => return Err(HeadError::Version),
    };
    if method != "CONNECT" {
        return Err(if target.contains("://") { HeadError::NotConnect } else { HeadError::NotForProxy });
    }
    let target: Target = target.parse()?;
    if target.port == 0 {
        return Err(HeadError::PortZero);
    }
    Ok((target, minor))
}

fn field(line: &[u8], authorization: &mut Authorization) -> Result<(), HeadError> {
    if line.first().is_some_and(|&byte| is_blank(byte)) {
        return Err(HeadError::Folded);
    }
    let colon = line.iter().position(|&byte| byte == b':').ok_or(HeadError::MalformedField)?;
    let Some((name, [_, value @ ..])) = line.split_at_checked(colon) else {
        return Err(HeadError::MalformedField);
    };
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(HeadError::MalformedField);
    }
    if name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"Transfer-Encoding") {
        return Err(HeadError::Body);
    }
    if name.eq_ignore_ascii_case(b"Origin") {
        return Err(HeadError::FromWebPage);
    }
    if name.eq_ignore_ascii_case(b"Proxy-Authorization") {
        if *authorization != Authorization::Absent {
            return Err(HeadError::DuplicateAuthorization);
        }
        *authorization =
            basic::parse(value.trim_ascii()).map_or(Authorization::Unusable, Authorization::Basic);
    }
    Ok(())
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Result<Head, HeadError> {
        Head::parse(head.as_bytes()).map(|parsed| parsed.expect("a complete head").0)
    }

    fn with_fields(fields: &str) -> Result<Head, HeadError> {
        parse(&format!("CONNECT a.example:443 HTTP/1.1\r\n{fields}\r\n"))
    }

    #[test]
    fn tunnel_bytes_begin_right_behind_the_blank_line() {
        let input = b"CONNECT a.example:443 HTTP/1.1\r\nhOsT: other:1\r\n\r\n\x16\x03\r\n\r\n";
        let (head, used) = Head::parse(input).unwrap().unwrap();
        assert_eq!(head.target.to_string(), "a.example:443");
        assert_eq!((head.minor, &input[used..]), (1, &b"\x16\x03\r\n\r\n"[..]));
    }

    #[test]
    fn request_lines_are_judged_as_the_table_says() {
        use HeadError::*;
        for (line, outcome) in [
            ("CONNECT a.example:443 HTTP/1.1", Ok("a.example:443")),
            ("CONNECT a.example:443 HTTP/1.0", Ok("a.example:443")),
            ("CONNECT 192.0.2.1:65535 HTTP/1.1", Ok("192.0.2.1:65535")),
            ("CONNECT [2001:db8::1]:22 HTTP/1.1", Ok("[2001:db8::1]:22")),
            ("CONNECT a.example HTTP/1.1", Err(Target(TargetError::NoPort))),
            ("CONNECT a.example: HTTP/1.1", Err(Target(TargetError::Port))),
            ("CONNECT a.example:0 HTTP/1.1", Err(PortZero)),
            ("CONNECT a.example:65536 HTTP/1.1", Err(Target(TargetError::Port))),
            ("CONNECT a.example:https HTTP/1.1", Err(Target(TargetError::Port))),
            ("CONNECT user@a.example:443 HTTP/1.1", Err(Target(TargetError::Name))),
            ("CONNECT u:p@a.example:443 HTTP/1.1", Err(Target(TargetError::Brackets))),
            ("CONNECT a.example:443,b.example:443 HTTP/1.1", Err(Target(TargetError::Brackets))),
            ("CONNECT a.example:443 b.example:443 HTTP/1.1", Err(RequestLine)),
            ("CONNECT 2001:db8::1:443 HTTP/1.1", Err(Target(TargetError::Brackets))),
            ("CONNECT [2001:db8::1:443 HTTP/1.1", Err(Target(TargetError::Brackets))),
            ("CONNECT [a.example]:443 HTTP/1.1", Err(Target(TargetError::Brackets))),
            ("CONNECT [fe80::1%25eth0]:443 HTTP/1.1", Err(Target(TargetError::Brackets))),
            ("CONNECT  a.example:443 HTTP/1.1", Err(RequestLine)),
            ("CONNECT a.example:443", Err(RequestLine)),
            ("CONNECT a.example:443 HTTP/2.0", Err(Version)),
            ("CONNECT a.example:443 http/1.1", Err(Version)),
            ("CONNECT é.example:443 HTTP/1.1", Err(Target(TargetError::Name))),
            ("connect a.example:443 HTTP/1.1", Err(NotForProxy)),
            ("GET http://a.example/ HTTP/1.1", Err(NotConnect)),
            ("POST https://a.example/x HTTP/1.0", Err(NotConnect)),
            ("GET / HTTP/1.1", Err(NotForProxy)),
            ("OPTIONS * HTTP/1.1", Err(NotForProxy)),
            ("", Err(RequestLine)),
        ] {
            let head = parse(&format!("{line}\r\n\r\n"));
            assert_eq!(head.map(|head| head.target.to_string()), outcome.map(str::to_owned), "{line}");
        }
    }

    #[test]
    fn fields_are_judged_as_the_table_says() {
        use HeadError::*;
        for (fields, error) in [
            ("Content-Length: 0\r\n", Body),
            ("transfer-encoding: chunked\r\n", Body),
            ("Origin: https://evil.example\r\n", FromWebPage),
            ("A: 1\r\n folded\r\n", Folded),
            (" A: 1\r\n", Folded),
            ("A : 1\r\n", MalformedField),
            (": 1\r\n", MalformedField),
            ("no colon\r\n", MalformedField),
            ("A: \0\r\n", ControlCharacter),
            ("A: 1\r2\r\n", ControlCharacter),
            ("A: 1\n", BareLineFeed),
            ("Proxy-Authorization: x\r\nproxy-authorization: y\r\n", DuplicateAuthorization),
        ] {
            assert_eq!(with_fields(fields), Err(error), "{}", fields.escape_debug());
        }
        assert_eq!(parse("CONNECT a.example:443 HTTP/1.1\n\n"), Err(BareLineFeed));
        assert!(with_fields("A:\tvalue with \u{e9} and spaces \r\nB:\r\n").is_ok());
    }

    #[test]
    fn each_error_has_the_status_of_the_table() {
        assert_eq!(HeadError::NotConnect.status().number(), 405);
        assert_eq!(HeadError::NotForProxy.status().number(), 400);
        assert_eq!(HeadError::FromWebPage.status().number(), 403);
        assert_eq!(HeadError::Body.status().number(), 400);
        assert_eq!(HeadError::BareLineFeed.status().number(), 400);
        assert_eq!(HeadError::Target(TargetError::Port).status().number(), 400);
        assert_eq!(HeadError::TooLong.status().number(), 431);
        assert_eq!(HeadError::TooManyFields.status().number(), 431);
    }

    #[test]
    fn sixty_four_fields_pass_and_one_more_does_not() {
        assert!(with_fields(&"A: 1\r\n".repeat(64)).is_ok());
        assert_eq!(with_fields(&"A: 1\r\n".repeat(65)), Err(HeadError::TooManyFields));
    }

    #[test]
    fn head_of_8192_bytes_passes_and_one_more_does_not() {
        let frame = "CONNECT a.example:443 HTTP/1.1\r\nA: \r\n\r\n".len();
        assert!(with_fields(&format!("A: {}\r\n", "x".repeat(MAX_HEAD - frame))).is_ok());
        assert_eq!(
            with_fields(&format!("A: {}\r\n", "x".repeat(MAX_HEAD - frame + 1))),
            Err(HeadError::TooLong)
        );
        assert_eq!(Head::parse(&[b'C'; MAX_HEAD - 1]), Ok(None));
        assert_eq!(Head::parse(&[b'C'; MAX_HEAD]), Err(HeadError::TooLong));
    }

    #[test]
    fn authorization_is_read_and_anything_odd_is_unusable() {
        let of =
            |value: &str| with_fields(&format!("Proxy-Authorization:{value}\r\n")).unwrap().authorization;
        let aladdin = Authorization::Basic(Credential::new(b"Aladdin", b"open sesame").unwrap());
        assert_eq!(of(" Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), aladdin);
        assert_eq!(of("\tbASIC   QWxhZGRpbjpvcGVuIHNlc2FtZQ== "), aladdin);
        for odd in [
            "",
            " ",
            " Basic",
            " Basic ",
            " Basic ????",
            " Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            " Basic OnA=",
        ] {
            assert_eq!(of(odd), Authorization::Unusable, "{odd:?}");
        }
        assert_eq!(with_fields("").unwrap().authorization, Authorization::Absent);
    }
}
