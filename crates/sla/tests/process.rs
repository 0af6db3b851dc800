//! What only a whole process can show: the end by `fatal`, and two processes with one log.
//!
//! A test runs this very binary again with a part to play in its environment.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use sla::event::Role;
use sla::subscriber::{Config, InitError, LogPath};

/// Not a test: the part of the other process.
#[test]
fn part() {
    let Ok(part) = std::env::var("SLA_PART") else { return };
    let mut config = Config::default();
    config.path = LogPath::File(std::env::var_os("SLA_LOG").expect("a path").into());
    let guard = sla::subscriber::init(config).unwrap_or_else(|error| {
        println!("refused: {error}");
        std::process::exit(78)
    });
    match part.as_str() {
        "fatal" => sla::fatal("nothing goes on\nhere"),
        "twice" => {
            let again = sla::subscriber::init(Config::default());
            assert!(matches!(again, Err(InitError::Taken)));
        }
        "hold" => {
            sla::event::started(Role::Client, "1");
            println!("holding");
            let _ = std::io::stdin().read(&mut [0]);
            sla::event::stopped(Role::Client, "asked to");
        }
        other => panic!("no part {other}"),
    }
    drop(guard);
}

fn play(part: &str, log: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["part", "--exact", "--nocapture"]).env("SLA_PART", part).env("SLA_LOG", log);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn fatal_writes_its_line_and_ends_with_exit_code_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("t.log");
    let output = play("fatal", &log).output().expect("a process");
    assert_eq!(output.status.code(), Some(1));
    let text = std::fs::read_to_string(log).expect("a file");
    assert!(text.ends_with(" [fata] [main] nothing goes on\\u{a}here\n"), "{text}");
}

#[test]
fn second_process_with_the_same_file_logs_to_stderr_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("t.log");
    let mut first = play("hold", &log).spawn().expect("a process");
    let mut lines = BufReader::new(first.stdout.take().expect("its output")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.contains("holding"))));

    let second = play("hold", &log).stdin(Stdio::null()).output().expect("a process");
    let stderr = String::from_utf8(second.stderr).expect("text");
    let says = format!(
        " [warn] [logs] logging to stderr path={} cause=\"RUN-902 another process logs to this file → give",
        log.display()
    );
    assert_eq!(stderr.matches(&says).count(), 1, "{stderr}");
    assert!(stderr.contains(" [info] [main] stopped "), "{stderr}");

    drop(first.stdin.take());
    assert!(first.wait().expect("an end").success());
    let text = std::fs::read_to_string(&log).expect("a file");
    assert_eq!(text.lines().count(), 2, "only the first one's lines: {text}");
    assert_eq!(play("hold", &log).stdin(Stdio::null()).output().expect("a process").stderr, b"");
}

#[test]
fn path_that_was_asked_for_and_can_not_be_opened_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = play("hold", &folder.path().join("none/t.log")).output().expect("a process");
    assert_eq!(output.status.code(), Some(78));
    let stdout = String::from_utf8(output.stdout).expect("text");
    assert!(stdout.contains("refused: can't log to ") && stdout.contains("No such file"), "{stdout}");
}

#[test]
fn process_has_one_log() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(play("twice", &folder.path().join("t.log")).output().expect("a process").status.success());
}
