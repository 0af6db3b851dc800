//! What the robot's answer means.

use crate::code;

/// The robot's answer to a request.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body; the first 4 KiB are enough.
    pub body: Vec<u8>,
}

/// What to do about it.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// It was taken.
    Taken,
    /// Too many messages.
    Muted,
    /// It will never be taken.
    Rejected(String),
    /// It may be taken the next time.
    Failed(String),
}

pub(super) fn judge(result: &Result<Response, String>) -> Verdict {
    let response = match result {
        Ok(response) => response,
        Err(cause) => {
            let text = format!(
                "{} {cause} → check the name service and the way out to the robot",
                code::ALERT_UNREACHABLE
            );
            return Verdict::Failed(text);
        }
    };
    match response.status {
        200 => {}
        429 => return Verdict::Muted,
        status @ 300..=399 => {
            return Verdict::Rejected(format!(
                "{} HTTP {status}, and a redirect is not followed → check sla.dingtalk.url",
                code::ALERT_NO_ROBOT
            ));
        }
        status => {
            return Verdict::Failed(format!(
                "{} the robot answered HTTP {status} → if it stays so, ask DingTalk; the alert itself is in this log",
                code::ALERT_ANSWER
            ));
        }
    }
    let body: serde_json::Value = match serde_json::from_slice(&response.body) {
        Ok(body) => body,
        Err(_) => return Verdict::Failed(no_robot("the answer is not JSON")),
    };
    let errcode = body.get("errcode").and_then(serde_json::Value::as_i64);
    let words = body.get("errmsg").and_then(serde_json::Value::as_str).unwrap_or("no reason given");
    match errcode {
        Some(0) => Verdict::Taken,
        Some(SENT_TOO_FAST) => Verdict::Muted,
        Some(NOT_TRUSTED) => Verdict::Rejected(not_trusted(words)),
        Some(number @ (NO_TOKEN | UNKNOWN_TOKEN)) => Verdict::Rejected(format!(
            "{} DingTalk does not know the token (errcode {number}: {words}) → check sla.dingtalk.token",
            code::ALERT_TOKEN
        )),
        Some(number) => Verdict::Failed(format!(
            "{} the robot answered errcode {number}: {words} → look the number up in DingTalk's manual",
            code::ALERT_ANSWER
        )),
        None => Verdict::Failed(no_robot("the answer has no errcode")),
    }
}

fn no_robot(why: &str) -> String {
    format!("{} {why} → check that sla.dingtalk.url is a robot's", code::ALERT_NO_ROBOT)
}

/// One code for three checks; only the words tell them apart.
fn not_trusted(words: &str) -> String {
    let words_lower = words.to_ascii_lowercase();
    if words_lower.contains("keyword") {
        return format!(
            "{} DingTalk wants a keyword in the message ({words}) → put it into sla.dingtalk.title",
            code::ALERT_KEYWORD
        );
    }
    if words_lower.contains("ip") && !words_lower.contains("sign") && !words_lower.contains("timestamp") {
        return format!(
            "{} DingTalk does not take messages from this address ({words}) → allow it there",
            code::ALERT_ADDRESS
        );
    }
    format!(
        "{} DingTalk rejected the signature ({words}): this clock differs from its by more than 1 h, \
         or the secret is wrong → check NTP, then sla.dingtalk.secret",
        code::ALERT_SIGNATURE
    )
}

const SENT_TOO_FAST: i64 = 130_101;
const NOT_TRUSTED: i64 = 310_000;
const NO_TOKEN: i64 = 40_035;
const UNKNOWN_TOKEN: i64 = 300_001;

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Verdict {
        judge(&Ok(Response { status, body: body.as_bytes().to_vec() }))
    }

    #[test]
    fn status_200_is_good_only_with_errcode_0() {
        assert_eq!(answer(200, r#"{"errcode":0,"errmsg":"ok"}"#), Verdict::Taken);
        assert_eq!(
            answer(200, r#"{"errcode":-1,"errmsg":"busy"}"#),
            Verdict::Failed(
                "ALR-606 the robot answered errcode -1: busy → look the number up in DingTalk's manual"
                    .to_owned()
            )
        );
        for body in ["", "[]", "{}", r#"{"errcode":"0"}"#, "<html>"] {
            assert!(matches!(answer(200, body), Verdict::Failed(_)), "{body}");
        }
        assert!(matches!(answer(500, r#"{"errcode":0}"#), Verdict::Failed(_)));
    }

    #[test]
    fn refusals_are_told_apart() {
        let rejected = |words: &str| match answer(200, &format!(r#"{{"errcode":310000,"errmsg":"{words}"}}"#))
        {
            Verdict::Rejected(cause) => cause.split(' ').next().unwrap_or_default().to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(rejected("sign not match"), "ALR-601");
        assert_eq!(rejected("invalid timestamp"), "ALR-601");
        assert_eq!(rejected("keywords not in content"), "ALR-603");
        assert_eq!(rejected("ip 192.0.2.1 not in whitelist"), "ALR-604");
        assert!(matches!(answer(200, r#"{"errcode":300001}"#), Verdict::Rejected(_)));
        assert!(matches!(answer(302, ""), Verdict::Rejected(_)));
    }

    #[test]
    fn too_many_messages_are_no_failure_of_ours() {
        assert_eq!(answer(200, r#"{"errcode":130101,"errmsg":"send too fast"}"#), Verdict::Muted);
        assert_eq!(answer(429, ""), Verdict::Muted);
    }
}
