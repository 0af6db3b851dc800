//! Why streams and connections end.

use std::fmt;

/// Why a stream or connection ended; 1-8 are the SOCKS5 reply codes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Code(pub u16);

#[expect(missing_docs, reason = "each constant is its own name; the table below explains it")]
impl Code {
    pub const NONE: Self = Self(0);
    pub const SERVER_ERROR: Self = Self(1);
    pub const RULE_REFUSED: Self = Self(2);
    pub const NET_UNREACHABLE: Self = Self(3);
    pub const HOST_UNREACHABLE: Self = Self(4);
    pub const DEST_REFUSED: Self = Self(5);
    pub const TTL_EXPIRED: Self = Self(6);
    pub const COMMAND_UNKNOWN: Self = Self(7);
    pub const ADDRESS_TYPE: Self = Self(8);
    pub const REPEATED_ID: Self = Self(9);
    pub const DIAL_TIMEOUT: Self = Self(10);
    pub const DEST_RESET: Self = Self(11);
    pub const CLOSED_BY_REMOTE: Self = Self(12);
    pub const CANCEL: Self = Self(0x10);
    pub const REFUSED: Self = Self(0x11);
    pub const FLOW: Self = Self(0x12);
    pub const CLOSED: Self = Self(0x13);
    pub const LIMIT: Self = Self(0x14);
    pub const IDLE: Self = Self(0x15);
    pub const DRAIN: Self = Self(0x16);
    pub const AUTH: Self = Self(0x17);
    pub const DNS_NXDOMAIN: Self = Self(0x18);
    pub const DNS_FAIL: Self = Self(0x19);
    pub const PROTOCOL: Self = Self(0x1A);
    pub const CALM: Self = Self(0x1B);
    pub const TRUNCATED: Self = Self(0x1C);
    pub const UNKNOWN_CRITICAL: Self = Self(0x1D);
}

impl Code {
    /// Every code that has a name, in rising order.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.code)
    }

    /// The SOCKS5 reply (RFC 1928 section 6) that tells an application the most. Never 0: even [`Code::NONE`] in a
    /// failure is a failure.
    pub fn socks5_reply(self) -> u8 {
        self.row().map_or(1, |row| row.socks5)
    }

    /// What happened, for a person: lower case, no full stop.
    pub fn explain(self) -> &'static str {
        self.row().map_or("ended for a reason that this version does not know", |row| row.explain)
    }

    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.code == self)
    }
}

/// The code's name in lower case with underscores, `code_0x…` for one without a name.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row() {
            Some(row) => f.pad(row.name),
            None => write!(f, "code_{:#x}", self.0),
        }
    }
}

struct Row {
    code: Code,
    name: &'static str,
    socks5: u8,
    explain: &'static str,
}

const fn row(code: Code, name: &'static str, socks5: u8, explain: &'static str) -> Row {
    Row { code, name, socks5, explain }
}

static TABLE: [Row; 27] = [
    row(Code::NONE, "none", 1, "ended without a fault"),
    row(
        Code::SERVER_ERROR,
        "server_error",
        1,
        "the server failed for a reason of its own; its log says more",
    ),
    row(Code::RULE_REFUSED, "rule_refused", 2, "the server's rules do not allow this destination"),
    row(
        Code::NET_UNREACHABLE,
        "net_unreachable",
        3,
        "the destination's network can't be reached from the server",
    ),
    row(Code::HOST_UNREACHABLE, "host_unreachable", 4, "the destination can't be reached from the server"),
    row(
        Code::DEST_REFUSED,
        "dest_refused",
        5,
        "the destination refused the connection: nothing listens there",
    ),
    row(Code::TTL_EXPIRED, "ttl_expired", 6, "packets to the destination went in circles or died on the way"),
    row(Code::COMMAND_UNKNOWN, "command_unknown", 7, "the request asks for something that is not supported"),
    row(Code::ADDRESS_TYPE, "address_type", 8, "the request's kind of address is not supported"),
    row(Code::REPEATED_ID, "repeated_id", 1, "the peer used a stream number twice"),
    row(Code::DIAL_TIMEOUT, "dial_timeout", 6, "the destination did not answer in time"),
    row(Code::DEST_RESET, "dest_reset", 5, "the destination reset the connection"),
    row(Code::CLOSED_BY_REMOTE, "closed_by_remote", 1, "the other side closed the stream before it was done"),
    row(Code::CANCEL, "cancel", 1, "the side that asked for the stream no longer wants it"),
    row(Code::REFUSED, "refused", 1, "the server took no further stream; nothing was done"),
    row(Code::FLOW, "flow", 1, "the peer sent more than it was allowed to"),
    row(Code::CLOSED, "closed", 1, "the stream had already ended"),
    row(Code::LIMIT, "limit", 1, "a limit on streams or memory was reached"),
    row(Code::IDLE, "idle", 6, "nothing was sent for too long"),
    row(Code::DRAIN, "drain", 1, "the peer is going away and its time to finish is over"),
    row(Code::AUTH, "auth", 2, "the peer's identity is not allowed to do this"),
    row(Code::DNS_NXDOMAIN, "dns_nxdomain", 4, "the destination's name does not exist"),
    row(
        Code::DNS_FAIL,
        "dns_fail",
        6,
        "the destination's name could not be resolved: the resolver failed or was silent",
    ),
    row(Code::PROTOCOL, "protocol", 1, "the peer broke the protocol"),
    row(Code::CALM, "calm", 1, "the peer asked for too much too often"),
    row(Code::TRUNCATED, "truncated", 3, "the connection that carried the stream was lost"),
    row(
        Code::UNKNOWN_CRITICAL,
        "unknown_critical",
        1,
        "the peer needs an extension that this version does not have",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_rise_and_names_are_unlike() {
        let codes: Vec<u16> = Code::all().map(|code| code.0).collect();
        assert!(codes.is_sorted_by(|a, b| a < b));
        let names: std::collections::BTreeSet<&str> = TABLE.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn codes_1_to_8_are_their_own_socks5_reply_and_none_is_no_success() {
        for n in 1..=8 {
            assert_eq!(u16::from(Code(n).socks5_reply()), n);
        }
        assert!((0..=0x40).all(|n| (1..=8).contains(&Code(n).socks5_reply())));
    }

    #[test]
    fn a_code_is_shown_by_its_name_or_number() {
        assert_eq!(Code::DEST_REFUSED.to_string(), "dest_refused");
        assert_eq!(Code(0x1D).to_string(), "unknown_critical");
        assert_eq!(Code(0x7777).to_string(), "code_0x7777");
        assert_eq!(Code(13).to_string(), "code_0xd");
    }
}
