//! What reaches the log, what does not, and what hostile strings can do to it: nothing.

mod common;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::{emit_all, logged};
use sla::event::{self, Area, Health, Sock};
use sla::subscriber::{Config, Format, Level, LogPath};
use tracing::{Event, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

#[test]
fn hostile_strings_stay_in_one_line_without_control_bytes() {
    let long = "x".repeat(64 * 1024);
    let strings = [
        "\r\n2020.09.01 17:15:07 [erro] [main] forged",
        "\u{1b}[2J\u{1b}]0;title\u{7}\0",
        "\u{7f}\u{80}\u{85}\u{9f}\u{2028}\u{2029}\u{202e}gpj\u{2066}",
        "{} {0} {name} %s %n \\ \" ' </script>",
        "\",\"level\":\"fatal\"}\n{\"forged\":1,\"x\":\"",
        long.as_str(),
        "",
    ];
    let plain = [Format::Text, Format::Json].map(|format| lines(format, &str::to_owned).len());
    for hostile in strings {
        for (format, count) in [Format::Text, Format::Json].into_iter().zip(plain) {
            let lines = lines(format, &|_| hostile.to_owned());
            assert_eq!(lines.len(), count, "one event, one line");
            for line in lines {
                check_line(&line, format);
            }
        }
    }
}

fn lines(format: Format, word: &dyn Fn(&str) -> String) -> Vec<String> {
    let text = logged(config(Level::Debug, format), || emit_all(word));
    assert!(text.ends_with('\n'));
    text.split_terminator('\n').map(str::to_owned).collect()
}

fn check_line(line: &str, format: Format) {
    let is_plain = |c: char| !c.is_control() && !('\u{2028}'..='\u{202e}').contains(&c) && c != '\u{2066}';
    assert!(line.chars().all(is_plain), "{line:?}");
    assert!(line.len() < 4096, "{} bytes", line.len());
    match format {
        Format::Json => {
            let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert!(value.get("forged").is_none(), "{line}");
            assert!(value["event"] == "fatal" || value["level"] != "fatal", "{line}");
        }
        Format::Text => assert_eq!(&line[4..5], ".", "{line}"),
    }
}

#[test]
fn each_level_lets_through_its_own_and_those_above() {
    let say = || {
        event::debug(Area::Main, "one");
        event::info(Area::Main, "two");
        event::warn(Area::Main, "three");
        event::error(Area::Main, "four");
        tracing::error!(name: "fatal", target: "sla::main", "five");
    };
    let all = [
        "[debg] [main] one",
        "[info] [main] two",
        "[warn] [main] three",
        "[erro] [main] four",
        "[fata] [main] five",
    ];
    let levels = [Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal];
    for (skipped, level) in levels.into_iter().enumerate() {
        let text = logged(config(level, Format::Text), say);
        let bodies: Vec<_> = text.lines().map(|line| &line[20..]).collect();
        assert_eq!(bodies, all[skipped..], "{level}");
    }
}

#[test]
fn event_below_the_level_formats_nothing() {
    struct Costly;
    impl fmt::Display for Costly {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("formatted for nobody")
        }
    }
    let text = logged(config(Level::Warn, Format::Json), || Sock::open(Costly, "peer").close("fin"));
    assert_eq!(text, "");
}

#[test]
fn log_beside_another_layer_takes_nothing_away_from_it() {
    #[derive(Clone, Default)]
    struct Count(Arc<AtomicU32>);
    impl<S: Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(Level::Warn, Format::Text);
    config.path = LogPath::File(folder.path().join("t.log"));
    let (log, guard) = sla::subscriber::layer(config).expect("a log");
    let count = Count::default();
    tracing::subscriber::with_default(Registry::default().with(log).with(count.clone()), || {
        event::info(Area::Main, "for the other only");
        event::warn(Area::Main, "for both");
    });
    drop(guard);
    let text = std::fs::read_to_string(folder.path().join("t.log")).expect("a file");
    assert!(text.ends_with("[warn] [main] for both\n") && text.lines().count() == 1, "{text}");
    assert_eq!(count.0.load(Ordering::Relaxed), 2);
}

#[test]
fn server_that_stays_down_is_told_once_and_its_return_too() {
    let text = logged(config(Level::Info, Format::Text), || {
        let mut server = Health::new("198.51.100.1:443");
        (0..9).for_each(|_| server.failed(None, "refused"));
        assert_eq!(server.failures(), 9);
        (0..2).for_each(|_| server.ok());
    });
    let count = |words| text.matches(words).count();
    assert_eq!((count("] dial failed "), count("] server down "), count("] server up again ")), (1, 1, 1));
    assert_eq!(count("] repeated 8 times in 1 s: dial failed server="), 1, "{text}");
}

#[test]
fn guard_that_is_dropped_says_so() {
    let text = logged(config(Level::Info, Format::Text), || drop(Sock::open("a:1", "peer")));
    let close = text.lines().nth(1).expect("two lines");
    assert!(close.contains("] - a:1 = ") && close.ends_with(" dropped"), "{close}");
}

fn config(level: Level, format: Format) -> Config {
    let mut config = Config::default();
    (config.level, config.format) = (level, format);
    config
}
