use super::*;

struct World {
    alerts: Alerts,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let config = Config {
            endpoint: "http://127.0.0.1:9/robot/send".parse().expect("an endpoint"),
            token: Secret::new("tok/en\n"),
            secret: Secret::new("SECret"),
            title: "tunnels on box".to_owned(),
        };
        Self { alerts: Alerts::new(config), now: Instant::now() }
    }

    fn problem(&mut self, key: &str) {
        let alert = Alert { key: key.to_owned(), kind: Kind::Problem, text: format!("{key} is down") };
        self.alerts.handle_event(self.now, alert);
    }

    fn recovery(&mut self, key: &str) {
        let alert = Alert { key: key.to_owned(), kind: Kind::Recovery, text: format!("{key} is up") };
        self.alerts.handle_event(self.now, alert);
    }

    /// The words of the next message, without the title.
    fn send(&mut self) -> Option<String> {
        let request = self.alerts.poll_send(self.now, 1_598_980_507_000)?;
        let body: serde_json::Value = serde_json::from_str(request.body()).expect("JSON");
        let content = body["text"]["content"].as_str().expect("words");
        Some(content.strip_prefix("tunnels on box\n").expect("the title").to_owned())
    }

    fn answer(&mut self, errcode: i64) {
        let body = format!(r#"{{"errcode":{errcode},"errmsg":"words of tok/en"}}"#).into_bytes();
        self.alerts.handle_result(self.now, Ok(Response { status: 200, body }));
    }

    fn fail(&mut self, cause: &str) {
        self.alerts.handle_result(self.now, Err(cause.to_owned()));
    }

    fn send_ok(&mut self) -> Option<String> {
        let text = self.send();
        self.answer(0);
        text
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Seconds until the next deadline, and its reason.
    fn deadline(&self) -> Option<(u64, &'static str)> {
        let (at, why) = self.alerts.poll_timeout(self.now)?;
        Some(((at - self.now).as_secs(), why))
    }
}

#[test]
fn alert_is_sent_at_once_signed_and_titled() {
    let mut world = World::new();
    assert_eq!(world.deadline(), None);
    world.problem("a");
    assert_eq!(world.deadline(), Some((0, "ready to send")));
    let request = world.alerts.poll_send(world.now, 1_598_980_507_000).expect("a request");
    let sign = sign::percent_encode(&sign::sign("SECret", 1_598_980_507_000));
    assert_eq!(
        request.path_and_query(),
        format!("/robot/send?access_token=tok%2Fen&timestamp=1598980507000&sign={sign}")
    );
    assert_eq!(request.body(), r#"{"msgtype":"text","text":{"content":"tunnels on box\na is down"}}"#);
    assert!(world.alerts.poll_send(world.now, 0).is_none(), "one at a time");
    world.answer(0);
    assert!(world.alerts.is_idle());
}

#[test]
fn equal_alerts_of_a_minute_are_one_message_and_one_summary() {
    let mut world = World::new();
    world.problem("a");
    assert_eq!(world.send_ok().as_deref(), Some("a is down"));
    for _ in 0..7 {
        world.wait(5);
        world.problem("a");
        assert_eq!(world.send(), None);
    }
    assert_eq!(world.deadline(), Some((25, "repeated alert")));
    world.wait(25);
    assert_eq!(world.send_ok().as_deref(), Some("repeated 7 times in 60 s: a is down"));
    world.wait(60);
    assert_eq!((world.send(), world.deadline()), (None, None));
    world.problem("a");
    assert_eq!(world.send_ok().as_deref(), Some("a is down"), "after a quiet minute it is news");
}

#[test]
fn different_alerts_that_wait_go_out_together() {
    let mut world = World::new();
    world.problem("a");
    assert_eq!(world.send().as_deref(), Some("a is down"));
    world.problem("b");
    world.problem("c");
    world.answer(0);
    assert_eq!(world.send_ok().as_deref(), Some("b is down\nc is down"));
}

#[test]
fn no_minute_sees_more_than_fifteen_messages() {
    let mut world = World::new();
    let mut sends: Vec<Instant> = Vec::new();
    for n in 0..600 {
        world.problem(&n.to_string());
        if world.send_ok().is_some() {
            sends.push(world.now);
        }
        world.wait(1);
    }
    let most = sends.windows(16).filter(|w| w[15] - w[0] < Duration::from_secs(60)).count();
    assert_eq!(most, 0);
    assert!(sends.len() >= 140, "and the limit is used: {}", sends.len());
}

#[test]
fn queue_is_bounded_and_tells_what_it_lost() {
    let mut world = World::new();
    world.problem("first");
    world.send();
    (0..130).for_each(|n| world.problem(&n.to_string()));
    world.answer(0);
    let text = world.send().expect("a message");
    assert!(text.ends_with("and 30 more alerts that found no room"), "{text}");
    assert_eq!(text.lines().count(), 101);
}

#[test]
fn failed_message_is_tried_three_times_with_back_off_then_noted() {
    let mut world = World::new();
    world.problem("a");
    for (wait, why) in [(1, "back-off"), (4, "back-off")] {
        assert_eq!(world.send().as_deref(), Some("a is down"));
        world.fail("no route");
        assert_eq!(world.deadline(), Some((wait, why)));
        assert_eq!(world.send(), None);
        world.wait(wait);
    }
    assert_eq!(world.send().as_deref(), Some("a is down"));
    world.fail("no route to https://x/?access_token=tok%2Fen&timestamp=1&sign=abc%3D (os error 113)");
    let cause = "ALR-608 no route to https://x/?access_token=***&timestamp=1&sign=*** (os error 113) → check the name service and \
                 the way out to the robot"
        .to_owned();
    assert_eq!(world.alerts.poll_note(), Some(Note::Failed { cause, tries: 3 }));
    assert!(world.alerts.is_idle());
}

#[test]
fn status_200_with_an_errcode_is_tried_again() {
    let mut world = World::new();
    world.problem("a");
    world.send();
    world.answer(-1);
    world.wait(1);
    assert_eq!(world.send().as_deref(), Some("a is down"));
}

#[test]
fn wrong_signature_is_not_tried_again_and_noted_once() {
    let mut world = World::new();
    for n in 0..5 {
        world.problem(&n.to_string());
        assert!(world.send().is_some());
        world.answer(310_000);
        assert_eq!(world.send(), None);
        world.wait(30);
    }
    let Some(Note::Rejected { cause }) = world.alerts.poll_note() else { panic!("no note") };
    assert!(cause.starts_with("ALR-601") && cause.contains("words of ***"), "{cause}");
    assert_eq!(world.alerts.poll_note(), None);
}

#[test]
fn muted_robot_is_left_alone_for_ten_minutes_and_then_gets_all() {
    let mut world = World::new();
    world.problem("a");
    world.send();
    world.problem("b");
    world.answer(130_101);
    assert_eq!(world.alerts.poll_note(), Some(Note::Paused { pause: Duration::from_secs(600), held: 2 }));
    assert_eq!(world.deadline(), Some((600, "muted by the robot")));
    world.wait(599);
    assert_eq!(world.send(), None);
    world.wait(1);
    assert_eq!(world.send_ok().as_deref(), Some("a is down"));
    assert_eq!(world.send_ok().as_deref(), Some("b is down"));
}

#[test]
fn time_of_a_muted_robot_costs_no_try() {
    let mut world = World::new();
    world.problem("a");
    world.send();
    world.answer(130_101);
    world.wait(600);
    for wait in [1, 4] {
        assert!(world.send().is_some());
        world.fail("no route");
        world.wait(wait);
    }
    assert!(world.send().is_some(), "the third try");
}

#[test]
fn recovery_is_told_only_after_its_problem() {
    let mut world = World::new();
    world.recovery("a");
    assert_eq!(world.send(), None);
    world.problem("a");
    assert_eq!(world.send_ok().as_deref(), Some("a is down"));
    world.problem("a");
    world.wait(300);
    world.recovery("a");
    assert_eq!(world.send_ok().as_deref(), Some("repeated 1 times in 60 s: a is down\nrecovered: a is up"));
    world.recovery("a");
    assert_eq!(world.send(), None);
    world.problem("a");
    assert_eq!(world.send_ok().as_deref(), Some("a is down"), "a new problem is news at once");
}

#[test]
fn endless_different_alerts_are_remembered_in_bounded_number() {
    let mut world = World::new();
    (0..1000).for_each(|n| world.problem(&n.to_string()));
    assert!(format!("{:?}", world.alerts.fold).len() < 40_000);
    assert_eq!(world.alerts.queue.len(), MAX_QUEUE);
}

#[test]
fn output_never_shows_a_secret() {
    let mut world = World::new();
    world.problem("a");
    let request = world.alerts.poll_send(world.now, 1).expect("a request");
    let output = format!("{:?} {request:?}", world.alerts);
    for secret in ["tok/en", "tok%2Fen", "SECret", "sign="] {
        assert!(!output.contains(secret), "{secret} in {output}");
    }
}
