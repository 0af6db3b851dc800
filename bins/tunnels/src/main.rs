//! The `tunnels` toolbox: see the tunnel work, set up a pair, look at configurations and certificates.

mod shell;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command};
use tunnels::Error;
use tunnels::config::{self, Role, Source};
use tunnels::pki;

fn main() -> ExitCode {
    tunnels::confine();
    match run(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed, the exit code still says it.
            let _ = writeln!(std::io::stderr(), "tunnels: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(arguments: impl Iterator<Item = OsString>) -> Result<(), Error> {
    let arguments = config::with_two_dashes(arguments, |name| FLAGS.contains(&name));
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            say(&error.render().to_string());
            return Ok(());
        }
        Err(error) => return Err(config::usage(&error, COMMANDS, FLAGS).into()),
    };
    match matches.subcommand() {
        Some(("cert", cert)) => match cert.subcommand() {
            Some((_, show)) => {
                say(&pki::show(&path(show))?);
                Ok(())
            }
            None => Ok(()),
        },
        Some(("check", check)) => check_file(check),
        Some(("init", init)) => init_pair(init),
        _ => tunnels::demo(std::io::stdout()),
    }
}

fn command() -> Command {
    let file = |help| Arg::new("FILE").required(true).value_parser(clap::value_parser!(OsString)).help(help);
    let text = |name: &'static str, value: &'static str, help| {
        Arg::new(name).long(name).value_name(value).value_parser(clap::value_parser!(OsString)).help(help)
    };
    Command::new("tunnels")
        // The usage lines of its commands begin with it.
        .bin_name("tunnels")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Sets up and explains TunneLS; the programs themselves are tunnels-server and tunnels-client")
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(
            Command::new("demo").about("Run a whole tunnel on loopback, with certificates made for this run"),
        )
        .subcommand(
            Command::new("init")
                .about("Make certificates and commented configuration files for a new pair")
                .arg(
                    text("dir", "DIR", "The folder to write into; nothing in it is overwritten")
                        .required(true),
                )
                .arg(text("server", "NAME:PORT", "The server, as clients will dial it").required(true)),
        )
        .subcommand(
            Command::new("check")
                .about("Say whether a configuration is good, certificates included; start nothing")
                .arg(file("A YAML configuration file"))
                .arg(text("role", "client|server", "Whose it is, if it holds settings of both")),
        )
        .subcommand(
            Command::new("cert")
                .about("Certificates")
                .subcommand_required(true)
                .disable_help_subcommand(true)
                .subcommand(
                    Command::new("show")
                        .about("Explain a certificate: names, use, days left")
                        .arg(file("A PEM file with one certificate or several")),
                ),
        )
}

fn check_file(matches: &ArgMatches) -> Result<(), Error> {
    let path = path(matches);
    let role = match word(matches, "role")?.as_str() {
        "" => Role::of_file(&path)?,
        "client" => Role::Client,
        "server" => Role::Server,
        other => {
            let why = format!("{other:?} is no role");
            return Err(config::Error::usage("--role", why, "write client or server").into());
        }
    };
    let summary = Source::from_file(role, &path)?.check()?;
    say(&format!("{}: {summary}", path.display()));
    Ok(())
}

fn init_pair(matches: &ArgMatches) -> Result<(), Error> {
    let folder = matches.get_one::<OsString>("dir").cloned().unwrap_or_default();
    if folder.is_empty() {
        return Err(config::Error::usage("--dir", "the folder's name is empty", "name a folder").into());
    }
    let made = pki::init(Path::new(&folder), &word(matches, "server")?)?;
    let next = |program: &str, file: &str| {
        format!("{} --config {}", shell::program(program), shell::path(&made.folder.join(file)))
    };
    say(&format!(
        "wrote {} into {}\n\
         \n\
         On the server:\n  {}\n\
         On the client, which needs ca.crt, client.crt, client.key and client.yaml, and nothing else:\n  {}\n\
         Keep ca.key somewhere safe: whoever has it can make certificates for both ends.\n",
        made.files.join(", "),
        made.folder.display(),
        next("tunnels-server", "server.yaml"),
        next("tunnels-client", "client.yaml"),
    ));
    Ok(())
}

/// Words that a misspelt one may have meant.
const COMMANDS: [&str; 5] = ["cert", "check", "demo", "init", "show"];
/// The same, of flags; these may be written with one dash.
const FLAGS: [&str; 5] = ["dir", "help", "role", "server", "version"];

fn path(matches: &ArgMatches) -> std::path::PathBuf {
    matches.get_one::<OsString>("FILE").cloned().unwrap_or_default().into()
}

fn word(matches: &ArgMatches, name: &str) -> Result<String, config::Error> {
    let argument = matches.get_one::<OsString>(name).cloned().unwrap_or_default();
    config::utf8(&format!("--{name}"), argument)
}

/// Data goes to standard output; nobody reading it is no fault.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
