//! What a proxy answers to a CONNECT.

use bytes::BufMut;

use crate::codec::Encode;
use crate::remux2::Code;

/// An answer. All but [`Status::Established`] have a short constant body and say that the connection closes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Response {
    /// The status line.
    pub status: Status,
    /// Our own code, shown in the field `Tunnels-Error`.
    pub code: Option<Code>,
}

impl Response {
    /// The tunnel is there; its bytes follow.
    pub const fn established() -> Self {
        Self { status: Status::Established, code: None }
    }

    /// The tunnel could not be opened, for this reason.
    pub fn failure(code: Code) -> Self {
        Self { status: Status::of(code), code: Some(code) }
    }

    /// The request is refused by its form, or for want of a credential.
    pub const fn refusal(status: Status) -> Self {
        Self { status, code: None }
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut impl BufMut) {
        let (number, reason) = (self.status.number(), self.status.reason());
        put(out, &format!("HTTP/1.1 {number} {reason}\r\n"));
        match self.status {
            Status::MethodNotAllowed => put(out, "Allow: CONNECT\r\n"),
            Status::AuthenticationRequired => {
                put(out, "Proxy-Authenticate: Basic realm=\"tunnels\", charset=\"UTF-8\"\r\n");
            }
            Status::Unavailable => put(out, "Retry-After: 1\r\n"),
            _ => {}
        }
        if let Some(code) = self.code {
            put(out, &format!("Tunnels-Error: {code}\r\n"));
        }
        if self.status == Status::Established {
            // RFC 9110 section 9.3.6: a success to CONNECT has no body and may not announce one.
            return put(out, "\r\n");
        }
        let length = reason.len().saturating_add(1);
        put(
            out,
            &format!(
                "Content-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{reason}\n"
            ),
        );
    }
}

/// The statuses in use.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Status {
    /// 200.
    Established,
    /// 400: see [`HeadError`](super::HeadError).
    BadRequest,
    /// 403: the rules forbid it, or a web page asked.
    Forbidden,
    /// 405: not CONNECT.
    MethodNotAllowed,
    /// 407: no credential, or a wrong one.
    AuthenticationRequired,
    /// 431: too many or too long fields.
    HeadTooLarge,
    /// 502: the destination could not be reached.
    BadGateway,
    /// 503: no connection to the server, or a limit; a later try may work.
    Unavailable,
    /// 504: the destination did not answer in time.
    GatewayTimeout,
}

impl Status {
    /// The status a failed tunnel deserves.
    pub fn of(code: Code) -> Self {
        match code {
            Code::RULE_REFUSED | Code::AUTH => Self::Forbidden,
            Code::DIAL_TIMEOUT | Code::TTL_EXPIRED | Code::IDLE => Self::GatewayTimeout,
            Code::REFUSED | Code::LIMIT | Code::CALM | Code::DRAIN | Code::TRUNCATED => Self::Unavailable,
            _ => Self::BadGateway,
        }
    }

    /// The three digits.
    pub const fn number(self) -> u16 {
        match self {
            Self::Established => 200,
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::MethodNotAllowed => 405,
            Self::AuthenticationRequired => 407,
            Self::HeadTooLarge => 431,
            Self::BadGateway => 502,
            Self::Unavailable => 503,
            Self::GatewayTimeout => 504,
        }
    }

    /// The words behind them (RFC 9110 section 15, RFC 6585 section 5).
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Established => "Connection established",
            Self::BadRequest => "Bad Request",
            Self::Forbidden => "Forbidden",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::AuthenticationRequired => "Proxy Authentication Required",
            Self::HeadTooLarge => "Request Header Fields Too Large",
            Self::BadGateway => "Bad Gateway",
            Self::Unavailable => "Service Unavailable",
            Self::GatewayTimeout => "Gateway Timeout",
        }
    }
}

fn put(out: &mut impl BufMut, text: &str) {
    out.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(response: Response) -> String {
        String::from_utf8(response.to_vec()).unwrap()
    }

    #[test]
    fn success_announces_no_body() {
        assert_eq!(text(Response::established()), "HTTP/1.1 200 Connection established\r\n\r\n");
    }

    #[test]
    fn failure_names_our_code_and_its_body_has_the_announced_length() {
        let shown = text(Response::failure(Code::DEST_REFUSED));
        assert!(shown.starts_with("HTTP/1.1 502 Bad Gateway\r\nTunnels-Error: dest_refused\r\n"), "{shown}");
        assert!(shown.ends_with("Content-Length: 12\r\nConnection: close\r\n\r\nBad Gateway\n"), "{shown}");
    }

    #[test]
    fn statuses_carry_the_fields_their_rfc_demands() {
        assert!(text(Response::refusal(Status::MethodNotAllowed)).contains("\r\nAllow: CONNECT\r\n"));
        assert!(
            text(Response::refusal(Status::AuthenticationRequired))
                .contains("\r\nProxy-Authenticate: Basic ")
        );
        assert!(text(Response::failure(Code::LIMIT)).contains("\r\nRetry-After: 1\r\n"));
    }

    #[test]
    fn codes_have_the_status_of_the_table() {
        for (code, number) in [
            (Code::RULE_REFUSED, 403),
            (Code::DNS_NXDOMAIN, 502),
            (Code::DNS_FAIL, 502),
            (Code::DEST_REFUSED, 502),
            (Code::DIAL_TIMEOUT, 504),
            (Code::TRUNCATED, 503),
            (Code::LIMIT, 503),
            (Code(0x7777), 502),
        ] {
            assert_eq!(Status::of(code).number(), number, "{code}");
        }
    }
}
