//! The `tunnels-server` program: flags, environment and file in, a running server or one line of error out.

use std::io::Write;
use std::process::ExitCode;

use tunnels::config::{self, Invocation, Role};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    tunnels::confine();
    // Only now: a thread that was there before would not be confined. Without it free memory goes back a little later.
    let _ = tikv_jemalloc_ctl::background_thread::write(true);
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed, the exit code still says it.
            let _ = writeln!(std::io::stderr(), "tunnels-server: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run() -> Result<(), tunnels::Error> {
    match config::invoke(Role::Server, std::env::args_os().skip(1), std::env::vars_os())? {
        Invocation::Show(text) => say(&text),
        Invocation::PrintConfig(source) => say(&source.to_string()),
        Invocation::Check(source) => say(&source.check()?),
        Invocation::Run(source) => {
            tunnels::run::server(source.server()?)?;
        }
    }
    Ok(())
}

/// Data goes to standard output; nobody reading it is no fault.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
