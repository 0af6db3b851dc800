//! Why a request was not served: what the log says to whoever can mend the application.

use eagersocks::HandshakeError;
use sla::code;

/// The refusal with its code and what to do.
pub(crate) fn explain(error: &HandshakeError) -> String {
    const PASSWORD: &str =
        "set user and password in the application's proxy settings, as client.users has them";
    let kind = error.kind();
    let (code, fix) = match kind {
        "bad_protocol" => {
            (code::APP_PROTOCOL, "set the application's proxy type to SOCKS5, or to HTTP for a browser")
        }
        "no_method" | "auth_missing" => (code::APP_NO_PASSWORD, PASSWORD),
        "auth_failed" | "auth_malformed" => (code::APP_PASSWORD, PASSWORD),
        "auth_limit" => (
            code::APP_GUESSES,
            "find the application with the wrong password at that address; right ones get in again",
        ),
        "web_request" => (code::APP_WEB, "enter this address as a proxy, not as a page"),
        "method" => {
            (code::APP_WEB, "use https:// addresses, or set SOCKS5 in the application: it carries plain HTTP")
        }
        "web_page" => (code::APP_WEB_PAGE, "nothing to do; a page that tries this is up to no good"),
        "command" => (
            code::APP_UNSUPPORTED,
            "set the application to TCP: no UDP and no incoming connections by this tunnel",
        ),
        "closed" | "deadline" | "io" => {
            (code::APP_UNFINISHED, "nothing to do if it was a port scan or a health check")
        }
        _ => (
            code::APP_MALFORMED,
            "check the address in the application; if it is right, the application is at fault",
        ),
    };
    let text = match error {
        HandshakeError::Io(error) => format!("the socket failed: {}", sla::plain(error)),
        error => error.to_string(),
    };
    format!("{code} {text} → {fix}")
}
