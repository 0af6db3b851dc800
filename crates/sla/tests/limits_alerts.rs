//! Alerts on their way to a robot that is slow: a bounded number of them, and the log waits for none.

use std::sync::mpsc;

use sla::event::{self, Area};
use sla::subscriber::dingtalk::{self, Endpoint, Request, Response, Robot, Secret};
use sla::subscriber::{Config, LogPath};

#[test]
fn hundred_alerts_wait_for_a_slow_robot_and_the_log_has_them_all() {
    let (asked, is_asked) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let post = move |request: &Request| {
        asked.send(request.body().to_owned()).unwrap();
        // The first one takes its time; when the test is done, none does.
        let _ = may_go_on.recv();
        Ok(Response { status: 200, body: br#"{"errcode":0}"#.to_vec() })
    };
    let config = dingtalk::Config {
        endpoint: Endpoint::default(),
        token: Secret::new("TOKEN"),
        secret: Secret::new("SECRET"),
        title: "TunneLS".to_owned(),
    };
    let mut log = Config::default();
    log.alerts = Some(Robot { config, post: Box::new(post) });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.log");
    log.path = LogPath::File(path.clone());
    let (log, guard) = sla::subscriber::scoped(log).unwrap();
    tracing::subscriber::with_default(log, || {
        event::error(Area::Main, "error zero");
        assert!(is_asked.recv().unwrap().contains("error zero"));
        for n in 1..=300 {
            event::error(Area::Main, &format!("error number {n};"));
        }
    });
    drop((go_on, guard));
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text.matches("error number ").count(), 300);
    let sent: String = is_asked.try_iter().collect();
    assert!(sent.contains("error number 1;") && sent.contains("error number 100;"), "{sent}");
    assert!(!sent.contains("error number 101;"), "{sent}");
}
