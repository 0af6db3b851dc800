//! The demo as a process: what it leaves behind, and when it ends.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn demo_has_no_keys_on_the_disk_once_it_serves_and_ends_with_its_terminal() {
    let temporary = tempfile::tempdir().expect("folder");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_tunnels"))
        .arg("demo")
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("run");
    let mut told = String::new();
    for line in BufReader::new(demo.stdout.take().expect("a pipe")).lines() {
        let line = line.expect("a line");
        told.push_str(&line);
        told.push('\n');
        if line.starts_with("stop") {
            break;
        }
    }
    let left = std::fs::read_dir(temporary.path()).expect("folder").count();
    let hung_up = Command::new("sh").arg("-c").arg(format!("kill -HUP {}", demo.id())).status().expect("sh");
    assert!(hung_up.success());
    assert!(demo.wait().expect("its end").success(), "it ends by itself, with nothing to complain of");
    assert_eq!(left, 0, "kill -9 would leave this behind");
    let mut tries = told.lines().filter(|line| line.contains("curl -x socks5h://127.0.0.1:"));
    assert!(tries.next().is_some_and(|line| line.starts_with("try ")), "{told}");
    assert!(
        tries.next().is_some_and(|line| line.ends_with(" http://127.0.0.1:8000/")),
        "one works offline: {told}"
    );
    assert!(told.contains("loopback"), "{told}");
}
