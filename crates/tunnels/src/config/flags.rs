//! The command line of a program, and its part of the environment.
//!
//! Flags are written as the seed had them, with one dash or two, a space or `=` before the value; a list is
//! split at commas or given by repeating the flag.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use sla::code;

use super::environment::variables;
use super::error::{Error, quote};
use super::setting::{Kind, Setting, nearest};
use super::source::{Source, Spoken};
use super::table::TABLE;
use super::value::Value;
use super::{Role, USAGE};

/// What a program was asked to do.
#[derive(Debug)]
pub enum Invocation {
    /// Say whether the configuration is good (`--check`).
    Check(Source),
    /// Print each value and where it comes from (`--print-config`).
    PrintConfig(Source),
    /// Do the work.
    Run(Source),
    /// Print this and end well (`--help`, `--version`).
    Show(String),
}

/// Reads a command line (without the program's name) and the environment, then the file they name.
///
/// # Errors
/// With [`USAGE`]: an unknown flag, a bad or missing value, a flag given twice. With [`CONFIG`](super::CONFIG): anything wrong
/// with the environment or the file.
pub fn invoke(
    role: Role,
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Invocation, Error> {
    let command = command(role);
    let arguments = with_two_dashes(arguments, |name| Setting::find(name).is_some() || OWN.contains(&name));
    let mut matches = match command.try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                return Ok(Invocation::Show(error.render().to_string()));
            }
            _ => return Err(of_the_other(&error, role).unwrap_or_else(|| usage(&error, [], known(role)))),
        },
    };
    let mut flags = Vec::new();
    for setting in TABLE.iter().filter(|setting| setting.taken_by(role)) {
        let Some(texts) = matches.remove_many::<OsString>(setting.name) else { continue };
        flags.push((setting, flag_value(setting, texts)?));
    }
    let (variables, named) = variables(role, environment)?;
    let path = match matches.remove_one::<OsString>("config") {
        Some(path) if path.is_empty() => {
            let why = "the file's name is empty";
            return Err(Error::new(USAGE, "--config", "", why, "name a YAML file").coded(code::MISSING));
        }
        Some(path) => Some(PathBuf::from(path)),
        None => named,
    };
    let source = Source::load(role, Spoken { flags, variables, from_code: false }, path)?;
    Ok(if matches.get_flag("print-config") {
        Invocation::PrintConfig(source)
    } else if matches.get_flag("check") {
        Invocation::Check(source)
    } else {
        Invocation::Run(source)
    })
}

/// Gives long names written with one dash, as the seed's flags are, their second one.
///
/// Left alone are one-letter flags, a lone `-`, negative numbers, and everything behind a bare `--`.
pub fn with_two_dashes(
    arguments: impl IntoIterator<Item = OsString>,
    is_long: impl Fn(&str) -> bool,
) -> Vec<OsString> {
    let mut ended = false;
    let mut all = vec![OsString::new()];
    all.extend(arguments.into_iter().map(|argument| {
        ended |= argument == "--";
        if ended || !has_one_dash(&argument, &is_long) {
            return argument;
        }
        let mut long = OsString::from("-");
        long.push(argument);
        long
    }));
    all
}

/// Turns what the argument parser objects to into one line; what was misspelt is looked for among `commands` and
/// `flags` (without their dashes).
pub fn usage<'a>(
    error: &clap::Error,
    commands: impl IntoIterator<Item = &'a str>,
    flags: impl IntoIterator<Item = &'a str>,
) -> Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let argument = text(ContextKind::InvalidArg);
    // "--server.addr <ADDRESS,…>" as the parser calls it.
    let flag = argument.split([' ', '[']).next().unwrap_or_default().trim_end_matches('=').to_owned();
    match error.kind() {
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand if argument.starts_with('-') => {
            let name = argument.trim_start_matches('-');
            let name = name.split('=').next().unwrap_or_default();
            let fix = match nearest(name, flags) {
                // It exists, elsewhere.
                Some(near) if near == name => "write it behind its command, as --help shows".to_owned(),
                Some(near) => format!("did you mean --{near}?"),
                None => match nearest(name, commands) {
                    Some(near) => format!("did you mean {near}?"),
                    None => "--help lists all flags".to_owned(),
                },
            };
            let shown = argument.split('=').next().unwrap_or_default();
            Error::new(USAGE, "", "", format!("unknown flag {}", quote(shown)), fix).coded(code::UNKNOWN_NAME)
        }
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => {
            let argument = if argument.is_empty() { text(ContextKind::InvalidSubcommand) } else { argument };
            let fix = match nearest(&argument, commands).filter(|near| *near != argument) {
                Some(near) => format!("did you mean {near}?"),
                None => match nearest(&argument, flags) {
                    Some(near) => format!("did you mean --{near}?"),
                    None => "--help shows what can be said here".to_owned(),
                },
            };
            Error::new(USAGE, "", "", format!("unexpected argument {}", quote(&argument)), fix)
                .coded(code::UNKNOWN_NAME)
        }
        ErrorKind::ArgumentConflict => Error::new(
            USAGE,
            flag,
            "",
            "this flag is given twice",
            "give it once; only lists may be repeated",
        )
        .coded(code::GIVEN_TWICE),
        ErrorKind::InvalidUtf8 => {
            Error::new(USAGE, "", "", "an argument is not UTF-8", "write names in UTF-8")
        }
        ErrorKind::InvalidValue
        | ErrorKind::NoEquals
        | ErrorKind::WrongNumberOfValues
        | ErrorKind::TooFewValues => Error::new(
            USAGE,
            flag,
            "",
            "the value is missing",
            "write it behind the flag, after a space or =",
        )
        .coded(code::MISSING),
        ErrorKind::TooManyValues => Error::new(USAGE, flag, "", "this flag takes no value", "leave it out"),
        ErrorKind::MissingRequiredArgument => {
            let name = flag.trim_matches(['<', '>']);
            Error::new(USAGE, "", "", format!("{name} is missing"), "--help shows what belongs there")
                .coded(code::MISSING)
        }
        ErrorKind::MissingSubcommand => {
            Error::new(USAGE, "", "", "a command is missing", "--help lists them").coded(code::MISSING)
        }
        _ => {
            let rendered = error.render().to_string();
            let line = rendered.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Error::new(USAGE, "", "", line, "--help shows what can be said here")
        }
    }
}

/// The complaint about a flag that only the other program has.
fn of_the_other(error: &clap::Error, role: Role) -> Option<Error> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return None };
    let name = argument.strip_prefix("--")?.split('=').next()?;
    let setting = Setting::find(name).filter(|setting| !setting.taken_by(role))?;
    let (this, other) = (role.name(), role.other().name());
    let why = format!("this is a setting of the {other}, and this is the {this}");
    let fix = format!("give it to tunnels-{other}");
    Some(Error::usage(&format!("--{}", setting.name), why, fix).coded(code::WRONG_PROGRAM))
}

/// Text as one of the user's arguments, or the complaint that it is none.
pub fn utf8(flag: &str, argument: OsString) -> Result<String, Error> {
    argument.into_string().map_err(|bytes| {
        let why = format!("{} is not UTF-8", quote(&bytes.to_string_lossy()));
        Error::new(USAGE, flag, "", why, "write it in UTF-8")
    })
}

/// Flags of the programs that are no settings.
const OWN: &[&str] = &["check", "config", "help", "print-config", "version"];

fn has_one_dash(argument: &OsStr, is_long: &impl Fn(&str) -> bool) -> bool {
    let text = argument.to_string_lossy();
    let Some(name) = text.strip_prefix('-') else { return false };
    if name.starts_with('-') || name.len() < 2 {
        return false;
    }
    let name = name.split('=').next().unwrap_or_default();
    let dotted = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.contains('.');
    dotted || is_long(name)
}

fn known(role: Role) -> impl Iterator<Item = &'static str> {
    TABLE
        .iter()
        .filter(move |setting| setting.taken_by(role))
        .map(|setting| setting.name)
        .chain(OWN.iter().copied())
}

/// The parser of a program's command line.
pub(super) fn command(role: Role) -> Command {
    let own = |name: &'static str| Arg::new(name).long(name).help_heading("Options");
    let (name, about) = match role {
        Role::Client => {
            ("tunnels-client", "Takes SOCKS and HTTP CONNECT requests and sends them through the tunnel")
        }
        Role::Server => {
            ("tunnels-server", "Takes requests out of the tunnel and connects to their destinations")
        }
    };
    let mut command = Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(about)
        .override_usage(format!("{name} --config FILE [FLAGS]\n       {name} FLAGS"))
        .after_help(AFTER_HELP)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .no_binary_name(false)
        .arg(
            own("config")
                .short('c')
                .value_name("FILE")
                .value_parser(clap::value_parser!(OsString))
                .help("The YAML configuration file"),
        )
        .arg(
            own("check")
                .action(ArgAction::SetTrue)
                .help("Say whether the configuration is good, start nothing"),
        )
        .arg(
            own("print-config")
                .action(ArgAction::SetTrue)
                .help("Print each value and where it comes from, start nothing"),
        )
        .arg(own("help").short('h').action(ArgAction::Help).help("Print this"))
        .arg(own("version").short('V').action(ArgAction::Version).help("Print the version"));
    for setting in TABLE.iter().filter(|setting| setting.taken_by(role)) {
        command = command.arg(flag(setting, role));
    }
    command
}

fn flag(setting: &'static Setting, role: Role) -> Arg {
    let default = match setting.default_value(role) {
        Some("") => String::new(),
        Some(value) => format!(" [default: {value}]"),
        None => format!(" [default: {}]", setting.default),
    };
    let unused = if setting.used_by(role) { "" } else { " (not used here)" };
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.kind.placeholder())
        .value_parser(clap::value_parser!(OsString))
        .help(format!("{}{unused}{default}", setting.help))
        .help_heading(heading(setting.name));
    match setting.kind {
        Kind::List(_) => arg.action(ArgAction::Append).allow_negative_numbers(true),
        Kind::Switch => arg.action(ArgAction::Set).num_args(0..=1).default_missing_value("true"),
        // "-5" is a bad value then, and not an unknown flag.
        _ => arg.action(ArgAction::Set).allow_negative_numbers(true),
    }
}

fn heading(name: &str) -> &'static str {
    match name.split('.').next().unwrap_or_default() {
        "server" => "Server",
        "client" => "Client",
        "remux" => "Pooled connections",
        "eagersocks" => "Requests",
        "tls" => "TLS",
        "sla" => "Log and alerts",
        _ => "Streams and stopping",
    }
}

const AFTER_HELP: &str = "\
Flags may be written with one dash or two, with a space or = before the value; lists by commas or by repeating.
Every setting can also be given in the environment (TUNNELS_REMUX_REUSE_MAX_SEC=60) and in the YAML file, where
dots nest. A flag wins over the environment, the environment over the file, the file over the default.
tunnels init makes certificates and commented files for both ends.";

fn flag_value(setting: &'static Setting, texts: impl Iterator<Item = OsString>) -> Result<Value, Error> {
    let place = format!("--{}", setting.name);
    let mut whole = None;
    for text in texts {
        let text = utf8(&place, text)?;
        let value = Value::from_text(setting.kind, &text)
            .map_err(|complaint| Error::new(USAGE, &place, "", complaint.why, complaint.fix))?;
        whole = Some(match (whole, value) {
            (Some(Value::List(mut items)), Value::List(more)) => {
                items.extend(more);
                Value::List(items)
            }
            (_, value) => value,
        });
    }
    whole.ok_or_else(|| Error::new(USAGE, place, "", "the value is missing", "write it behind the flag"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(arguments: &[&str]) -> (u8, String) {
        let arguments = arguments.iter().map(OsString::from);
        match invoke(Role::Client, arguments, []) {
            Ok(_) => (0, String::new()),
            Err(error) => (error.exit_code(), error.to_string()),
        }
    }

    fn printed(arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let arguments = arguments.iter().map(OsString::from);
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        match invoke(Role::Client, arguments, environment) {
            Ok(Invocation::Run(source)) => source.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_take_one_dash_or_two_and_space_or_equals() {
        for arguments in [
            &["-remux.reuse.max.sec", "7"][..],
            &["--remux.reuse.max.sec", "7"],
            &["-remux.reuse.max.sec=7"],
            &["--remux.reuse.max.sec=7"],
        ] {
            let line = "remux.reuse.max.sec: 7  # flag --remux.reuse.max.sec\n";
            assert!(printed(arguments, &[]).contains(line), "{arguments:?}");
        }
    }

    #[test]
    fn list_is_split_at_commas_or_repeated() {
        for arguments in [
            &["-server.addr", "a:1,b:2"][..],
            &["-server.addr", "a:1", "--server.addr=b:2"],
            &["-server.addr=a:1,", "-server.addr=b:2"],
        ] {
            let line = "server.addr: [\"a:1\", \"b:2\"]  # flag --server.addr\n";
            assert!(printed(arguments, &[]).contains(line), "{arguments:?}");
        }
    }

    #[test]
    fn negative_number_is_a_value_of_the_flag_before_it() {
        assert!(
            printed(&["-server.addr", "-5"], &[]).contains("server.addr: [\"-5\"]  # flag --server.addr\n")
        );
    }

    #[test]
    fn switch_stands_alone_or_takes_a_value() {
        let cases: [(&[&str], bool); 5] = [
            (&["-remux.insecure"], true),
            (&["--remux.insecure=true"], true),
            (&["-remux.insecure=false"], false),
            (&["-remux.insecure", "false"], false),
            (&["-remux.insecure", "-remux.net", "tls"], true),
        ];
        for (arguments, value) in cases {
            let line = format!("remux.insecure: {value}  # flag");
            assert!(printed(arguments, &[]).contains(&line), "{arguments:?}");
        }
        assert_eq!(error(&["-remux.insecure", "maybe"]).0, 64);
    }

    #[test]
    fn flag_wins_over_environment() {
        let environment =
            [("TUNNELS_REMUX_REUSE_MAX_SEC", "8"), ("TUNNELS_REMUX_REUSE_MAX_CNT", "9"), ("PATH", "/bin")];
        let printed = printed(&["-remux.reuse.max.sec", "7"], &environment);
        assert!(printed.contains("remux.reuse.max.sec: 7  # flag"), "{printed}");
        assert!(
            printed.contains("remux.reuse.max.cnt: 9  # environment TUNNELS_REMUX_REUSE_MAX_CNT\n"),
            "{printed}"
        );
        assert!(printed.contains("remux.idle.max.sec: 10  # default\n"), "{printed}");
    }

    #[test]
    fn anything_wrong_on_the_command_line_is_usage() {
        let long = format!("-server.addrr={}", "x".repeat(1 << 20));
        for (arguments, message) in [
            (&["-server.adr", "x"][..], "unknown flag \"--server.adr\" → did you mean --server.addr?"),
            (&["--frobnicate"], "unknown flag \"--frobnicate\" → --help lists all flags"),
            (&["--confg", "x"], "unknown flag \"--confg\" → did you mean --config?"),
            (&[&long], "unknown flag \"--server.addrr\" → did you mean --server.addr?"),
            (
                &["-server.allow", "x"],
                "--server.allow: this is a setting of the server, and this is the client → give it to tunnels-server",
            ),
            (
                &["-remux.handshake.max.sec=7"],
                "--remux.handshake.max.sec: this is a setting of the server, and this is the client → give it to tunnels-server",
            ),
            (&["version"], "unexpected argument \"version\" → did you mean --version?"),
            (&["hlep"], "unexpected argument \"hlep\" → did you mean --help?"),
            (
                &["-remux.reuse.max.sec", "-5"],
                "--remux.reuse.max.sec: \"-5\" is no whole decimal number → write a whole number of seconds from 1 to 315360000, in digits only",
            ),
            (&["x.yaml"], "unexpected argument \"x.yaml\" → --help shows what can be said here"),
            (&[""], "unexpected argument \"\" → --help shows what can be said here"),
            (
                &["-server.net"],
                "--server.net: the value is missing → write it behind the flag, after a space or =",
            ),
            (
                &["-server.net", "--client.net", "tcp"],
                "--server.net: the value is missing → write it behind the flag, after a space or =",
            ),
            (
                &["-server.net", "tcp", "--server.net=tcp"],
                "--server.net: this flag is given twice → give it once; only lists may be repeated",
            ),
            (
                &["-server.net", "udp"],
                "--server.net: \"udp\" carries datagrams, which may be lost or reordered; the tunnel needs a byte stream → use tcp or unix",
            ),
            (
                &["-remux.reuse.max.cnt", "0"],
                "--remux.reuse.max.cnt: 0 is out of range → write a whole number from 1 to 4294967295, in digits only",
            ),
            (&["--config="], "--config: the file's name is empty → name a YAML file"),
        ] {
            assert_eq!(error(arguments), (64, message.to_owned()), "{:.80}", format!("{arguments:?}"));
        }
    }

    #[test]
    fn argument_that_is_not_utf8_is_echoed_in_one_line() {
        use std::os::unix::ffi::OsStringExt;
        let argument = OsString::from_vec(b"-tls.client.key=\xff\n".to_vec());
        let error = invoke(Role::Client, [argument], []).map(|_| ()).expect_err("not UTF-8");
        assert_eq!(error.exit_code(), 64);
        assert_eq!(error.to_string(), "--tls.client.key: \"\u{fffd}\\n\" is not UTF-8 → write it in UTF-8");
    }

    #[test]
    fn dashes_of_values_and_of_what_follows_a_bare_double_dash_are_left_alone() {
        let with = |arguments: &[&str]| {
            let arguments = arguments.iter().map(OsString::from);
            with_two_dashes(arguments, |name| name == "config").split_off(1)
        };
        assert_eq!(with(&["-", "-h", "-1", "-vv", "--a.b"]), ["-", "-h", "-1", "-vv", "--a.b"]);
        assert_eq!(with(&["-config", "x", "-a.b=-c"]), ["--config", "x", "--a.b=-c"]);
        assert_eq!(with(&["--", "-config"]), ["--", "-config"]);
    }

    #[test]
    fn parser_accepts_its_own_definition() {
        command(Role::Client).debug_assert();
        command(Role::Server).debug_assert();
    }
}
