//! Why a destination was not reached, as both ends tell it: code, whom, cause, what to do.
//!
//! The server says it, the client shows it: each text names the hop that failed. On the wire a text has 256 bytes.

use std::io;
use std::time::Duration;

use framing::Target;
use framing::remux2::Code;
use sla::code;
use transport::{ConnectError, ConnectErrorKind};

use crate::relay::Broken;

/// Policy refused it: `denied` says which rule and what would open it.
pub(crate) fn denied(denied: &routing::Denied) -> Broken {
    Broken::new("denied", Code::RULE_REFUSED, format!("{} {denied}", code::DENIED))
}

/// No address could be connected to.
pub(crate) fn unconnected(target: &Target, error: &ConnectError) -> Broken {
    let (code, wire, fix) = match error.kind() {
        ConnectErrorKind::Refused => {
            (code::TARGET_REFUSED, Code::DEST_REFUSED, "check that its service runs and the port is right")
        }
        ConnectErrorKind::TimedOut => (
            code::TARGET_SILENT,
            Code::DIAL_TIMEOUT,
            "check that it is up and that its firewall lets the server in",
        ),
        ConnectErrorKind::Unreachable => {
            (code::TARGET_NO_ROUTE, Code::HOST_UNREACHABLE, "check the address and the server's routes")
        }
        ConnectErrorKind::Name => {
            (code::TARGET_RESOLVER, Code::DNS_FAIL, "check the name service of the server's machine")
        }
        ConnectErrorKind::Local | ConnectErrorKind::Handshake => {
            (code::TARGET_OTHER, Code::SERVER_ERROR, "mend it on the server's machine")
        }
    };
    let text = format!("{code} the server can't reach {target}: {} → {fix}", error.cause());
    Broken::new("refused", wire, text)
}

/// Its name has no address, as the resolver's own words tell, or the name service failed.
pub(crate) fn unresolved(target: &Target, error: &io::Error) -> Broken {
    let words = sla::plain(error);
    if ["not known", "No address associated", "no address"].iter().any(|sign| words.contains(sign)) {
        return nameless(target, &words);
    }
    let text = format!(
        "{} the server can't look up {target}: {words} → check the name service of the server's machine (/etc/resolv.conf)",
        code::TARGET_RESOLVER
    );
    Broken::new("refused", Code::DNS_FAIL, text)
}

/// Its name has no address.
pub(crate) fn nameless(target: &Target, words: &str) -> Broken {
    let text = format!(
        "{} the server finds no address for {target}: {words} → check the spelling; names of a private network need the \
         server's own name service",
        code::TARGET_NAME
    );
    Broken::new("refused", Code::DNS_NXDOMAIN, text)
}

/// The name service was silent for all the time there was.
pub(crate) fn unanswered(target: &Target, limit: Duration) -> Broken {
    let text = format!(
        "{} the server can't look up {target}: no answer in {} s → check the name service of the server's machine \
         (/etc/resolv.conf)",
        code::TARGET_RESOLVER,
        limit.as_secs()
    );
    Broken::new("timeout", Code::DNS_FAIL, text)
}

/// Earlier dials of the same kind took all the time there was; `setting` bounds how many there may be.
pub(crate) fn queued(target: &Target, behind: &str, setting: &str, limit: Duration) -> Broken {
    let text = format!(
        "{} {target} waited {} s at the server for earlier dials {behind} → they hang: see why they get no answer, or raise \
         {setting}",
        code::TARGET_QUEUE,
        limit.as_secs()
    );
    Broken::new("timeout", Code::DIAL_TIMEOUT, text)
}

/// Earlier look-ups of its identity, or of all, took all the time there was.
pub(crate) fn unasked(target: &Target, limit: Duration) -> Broken {
    let text = format!(
        "{} {target} waited {} s at the server for earlier look-ups → they hang: see which names get no answer, and check the \
         server's name service (/etc/resolv.conf)",
        code::TARGET_QUEUE,
        limit.as_secs()
    );
    Broken::new("timeout", Code::DIAL_TIMEOUT, text)
}

/// Something of the server's own failed.
pub(crate) fn failed(target: &Target, words: &str) -> Broken {
    let text = format!("{} {target}: {words} → mend it on the server's machine", code::TARGET_OTHER);
    Broken::new("error", Code::SERVER_ERROR, text)
}
