//! The words of DingTalk's robots: signature and body.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Base64 of HMAC-SHA256 over `timestamp_ms "\n" secret`, with the secret as its key.
pub(super) fn sign(secret: &str, unix_ms: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    STANDARD.encode(hmac::sign(&key, format!("{unix_ms}\n{secret}").as_bytes()))
}

/// RFC 3986, section 2.1: all but the unreserved characters.
pub(super) fn percent_encode(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// A text message.
pub(super) fn body(text: &str) -> String {
    serde_json::json!({ "msgtype": "text", "text": { "content": text } }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "SEC002";
    const SIGN: &str = "wlo7Oep6jpzXL9XPDeURyOh+fUdgFstKHHTdBQ/upaw=";
    const ENCODED: &str = "wlo7Oep6jpzXL9XPDeURyOh%2BfUdgFstKHHTdBQ%2Fupaw%3D";

    #[test]
    fn signature_is_that_of_an_independent_program() {
        // Python: quote(b64encode(hmac.new(secret, f"{ms}\n{secret}", sha256).digest()), safe="")
        let sign = super::sign(SECRET, 1_598_980_507_000);
        assert_eq!(sign, SIGN);
        assert_eq!(percent_encode(&sign), ENCODED);
    }

    #[test]
    fn body_is_a_text_message() {
        assert_eq!(body("a \"b\"\n"), r#"{"msgtype":"text","text":{"content":"a \"b\"\n"}}"#);
    }
}
