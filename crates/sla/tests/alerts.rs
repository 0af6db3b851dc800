//! From an event to the robot's request, with everything between but the socket.

mod common;

use std::sync::{Arc, Mutex};

use common::{emit_all, logged};
use sla::event::{self, Area, Health};
use sla::subscriber::dingtalk::{self, Endpoint, Request, Response, Robot, Secret};
use sla::subscriber::{Config, Level};

/// A log with a robot that answers `answer`, and what the robot was sent.
fn alerted(level: Level, answer: &'static str, act: impl FnOnce()) -> (String, Vec<String>) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let tape = Arc::clone(&sent);
    let post = move |request: &Request| {
        assert!(request.path_and_query().starts_with("/robot/send?access_token=TOKEN&timestamp="));
        tape.lock().expect("no panic").push(request.body().to_owned());
        Ok(Response { status: 200, body: answer.as_bytes().to_vec() })
    };
    let config = dingtalk::Config {
        endpoint: Endpoint::default(),
        token: Secret::new("TOKEN"),
        secret: Secret::new("SECRET"),
        title: "TunneLS".to_owned(),
    };
    let mut log = Config::default();
    log.level = level;
    log.alerts = Some(Robot { config, post: Box::new(post) });
    let text = logged(log, act);
    let sent = sent.lock().expect("no panic").clone();
    (text, sent)
}

const OK: &str = r#"{"errcode":0}"#;

#[test]
fn errors_reach_the_robot_and_lower_levels_do_not() {
    let (_, sent) = alerted(Level::Info, OK, || {
        event::warn(Area::Main, "a warning");
        event::error(Area::Main, "an error");
        tracing::error!(name: "fatal", target: "sla::main", "the end");
    });
    let sent = sent.concat();
    assert!(sent.contains("[erro] [main] an error") && sent.contains("[fata] [main] the end"), "{sent}");
    assert!(!sent.contains("a warning"), "{sent}");
}

#[test]
fn webhook_is_never_told_about_itself() {
    let (text, sent) = alerted(Level::Info, OK, || event::error(Area::Hook, "the webhook is broken"));
    assert!(text.contains("[erro] [hook] the webhook is broken"), "{text}");
    assert_eq!(sent, [""; 0]);
}

#[test]
fn recovery_follows_its_problem_even_if_the_log_is_at_fatal() {
    let (text, sent) = alerted(Level::Fatal, OK, || {
        let mut server = Health::new("198.51.100.1:443");
        (0..3).for_each(|_| server.failed(None, "refused"));
        server.ok();
        server.ok();
    });
    let sent = sent.concat();
    assert_eq!(text, "");
    assert_eq!(sent.matches("server down server=198.51.100.1:443").count(), 1, "{sent}");
    assert_eq!(sent.matches("recovered: ").count(), 1, "{sent}");
}

#[test]
fn server_that_fails_twice_wakes_nobody() {
    let (text, sent) = alerted(Level::Info, OK, || {
        let mut server = Health::new("198.51.100.1:443");
        (0..2).for_each(|_| server.failed(None, "refused"));
        server.ok();
    });
    assert_eq!((text.matches("dial failed").count(), text.contains("server up")), (2, false));
    assert_eq!(sent, [""; 0]);
}

#[test]
fn log_and_alerts_never_show_token_or_secret() {
    let (text, sent) = alerted(Level::Debug, r#"{"errcode":310000,"errmsg":"sign TOKEN SECRET"}"#, || {
        emit_all(&str::to_owned);
    });
    assert!(!sent.is_empty());
    for output in [text, sent.concat()] {
        assert!(!output.contains("TOKEN") && !output.contains("SECRET"), "{output}");
    }
}
