//! One of the programs, as the tests of each run it: nothing of the caller's environment, no standard input.

use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output, Stdio};

/// The program at `path`.
pub(crate) fn command(path: &str) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"TUNNELS_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Its exit code and what it said on standard output and standard error.
pub(crate) fn shown(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("exit code"), text(output.stdout), without_code(text(output.stderr)))
}

/// The line without its code, which `docs/errors.md` holds to; there is one.
fn without_code(line: String) -> String {
    let Some((program, rest)) = line.split_once(": ") else { return line };
    let Some((code, rest)) = rest.split_once(' ') else { return line };
    let is_code =
        code.len() == 7 && code.as_bytes()[3] == b'-' && code[..3].bytes().all(|b| b.is_ascii_uppercase());
    assert!(is_code, "no code: {line}");
    format!("{program}: {rest}")
}
