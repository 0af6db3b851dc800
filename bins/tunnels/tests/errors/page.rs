//! `docs/errors.md`: the rows of the situations under their codes.

use std::fmt::Write;

use crate::lab::Said;

/// One situation as the manual shows it.
#[derive(Debug)]
pub(crate) struct Row {
    code: &'static str,
    cells: String,
}

impl Row {
    /// What the manual shows of it, or what is wrong with the message.
    pub(crate) fn new(words: &str, said: &Said) -> Result<Self, String> {
        let (program, exit, line) = match said {
            Said::Ended { program, exit, line } => (*program, exit.to_string(), line),
            Said::Logged { program, line } => (*program, "–".to_owned(), line),
            Said::Impossible(why) => return Err(format!("{words}: {why}")),
        };
        let fault = |what: &str| format!("{words}: {what}: {line}");
        judge(line).map_err(fault)?;
        let code = code_in(line).ok_or_else(|| fault("no code of sla::code"))?;
        let steady = steady(line);
        let (message, fix) = steady.split_once(" → ").ok_or_else(|| fault("no advice"))?;
        // In a log the advice is the end of a quoted value.
        let (fix, rest) = match message.matches('"').count() % 2 {
            1 => fix.rfind('"').map_or((fix, ""), |end| fix.split_at(end)),
            _ => (fix, ""),
        };
        let message = if rest.is_empty() { message.to_owned() } else { format!("{message} → …{rest}") };
        let fix = fix.replace("\\\"", "\"");
        let program = program.trim_start_matches("tunnels-");
        let cell = |text: &str| text.replace('|', "\\|");
        let cells = format!("| {words} | {program} | `{}` | {exit} | {} |", cell(&message), cell(&fix));
        Ok(Self { code, cells })
    }
}

/// What must be true of every message.
fn judge(line: &str) -> Result<(), &'static str> {
    if line.chars().any(char::is_control) {
        return Err("more than one line");
    }
    if line.len() > 1400 {
        return Err("too long to read");
    }
    if FOR_PROGRAMMERS.iter().any(|words| line.contains(words)) {
        return Err("words for programmers");
    }
    if SECRETS.iter().any(|secret| line.contains(secret)) {
        return Err("a secret");
    }
    Ok(())
}

/// Signs of a Debug print-out or of an error that nobody has put into words.
const FOR_PROGRAMMERS: [&str; 10] =
    ["Some(", "None", "Err(", "Ok(", "Error {", "Custom {", "Os {", "kind:", "ErrorKind", "os error"];

/// What the situations use as passwords and tokens.
pub(crate) const SECRETS: [&str; 3] = ["hush-password", "hush-token", "hush-secret"];

/// The row that the manual shows for these words.
pub(crate) fn row_of(page: &str, words: &str) -> Option<Row> {
    let cells = page.lines().find(|line| line.starts_with(&format!("| {words} |")))?;
    let code = code_in(cells)?;
    Some(Row { code, cells: cells.to_owned() })
}

pub(crate) fn render(rows: &[Row]) -> String {
    let mut page = INTRODUCTION.to_owned();
    let (mut family, mut faults) = ("", Vec::new());
    for (code, tells) in sla::code::ALL {
        let here: Vec<&Row> = rows.iter().filter(|row| row.code == *code).collect();
        let unseen = UNSEEN.iter().find(|(other, _)| other == code);
        match (here.is_empty(), unseen) {
            (true, None) => {
                faults.push(format!("{code} ({tells}) has no situation; write one, or say in UNSEEN why not"))
            }
            (false, Some(_)) => faults.push(format!("{code} has a situation now: take it out of UNSEEN")),
            _ => {}
        }
        let (name, about) = FAMILIES.iter().find(|(name, _)| code.starts_with(name)).expect("a family");
        if family != *name {
            family = name;
            let _ = write!(page, "\n## {name}: {about}\n");
        }
        let _ = write!(page, "\n### {code}\n\n{tells}.\n");
        if let Some((_, why)) = unseen {
            let _ = writeln!(page, "\n{why}");
            continue;
        }
        page.push_str(
            "\n| situation | program | message | exit code | what to do |\n|---|---|---|---|---|\n",
        );
        for row in here {
            let _ = writeln!(page, "{}", row.cells);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    page
}

/// The first code of the registry in the line.
fn code_in(line: &str) -> Option<&'static str> {
    let places = sla::code::ALL.iter().filter_map(|(code, _)| Some((line.find(code)?, *code)));
    places.min_by_key(|(place, _)| *place).map(|(_, code)| code)
}

/// What differs from run to run gets a name: ports, dates, process ids, ages.
fn steady(line: &str) -> String {
    // Which of the two a peer's end is depends on what it had not read yet.
    let line = line.replace("(connection reset by peer)", "(end of input)");
    let mut out = String::new();
    let mut rest = line.as_str();
    while let Some(c) = rest.chars().next() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 4 && rest.get(..20).is_some_and(is_date) {
            out.push_str("<date>");
            rest = &rest[20..];
        } else if out.ends_with("TunneLS CA ") {
            out.push_str("<id>");
            rest = rest.get(8..).unwrap_or_default();
        } else if digits > 0 && (out.ends_with("process ") || out.ends_with("pid=")) {
            out.push_str("<pid>");
            rest = &rest[digits..];
        } else if digits == 5 && out.ends_with([':', '=', ' ']) && !is_no_port(&out) {
            out.push_str("<port>");
            rest = &rest[5..];
        } else if digits > 0 && varies(&out, &rest[digits..]) {
            out.push_str("<n>");
            rest = &rest[digits..];
        } else if digits > 0 {
            out.push_str(&rest[..digits]);
            rest = &rest[digits..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

fn is_no_port(before: &str) -> bool {
    before.ends_with("LimitNOFILE=") || before.ends_with(" from 1 to ")
}

/// Ages, what is left of a penalty, how many lines are lost.
fn varies(before: &str, behind: &str) -> bool {
    before.ends_with("expired ") && behind.starts_with(" days ago")
        || before.ends_with("may come again in ")
        || before.ends_with(" limit=") && before.contains("LIM-606")
        || behind.starts_with(" lines lost")
}

/// `2026-11-17 08:00 UTC`.
fn is_date(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00 00:00 UTC"
}

const FAMILIES: [(&str, &str); 13] = [
    ("CFG", "flags, environment, file"),
    ("TLS", "certificates, keys, the handshake"),
    ("NET", "reaching and being reached"),
    ("SEC", "secrets that others could read"),
    ("ACL", "destinations that policy refuses"),
    ("DST", "destinations that can't be reached"),
    ("APP", "what applications asked and how"),
    ("LIM", "limits of ours that were reached"),
    ("ALR", "the alert robot"),
    ("RES", "what the system gives no more of"),
    ("LNK", "connections between client and server"),
    ("RUN", "the program itself"),
    ("PKI", "tunnels init"),
];

/// Codes whose situations the tests don't bring about, and what is known of them.
const UNSEEN: &[(&str, &str)] = &[
    (
        "TLS-137",
        "Seen by programs that embed the transport only: the server waits for a client's first frame by its session's limits.",
    ),
    (
        "TLS-145",
        "Seen by embedding programs only: the configuration refuses such a name first (CFG-302, CFG-307).",
    ),
    (
        "NET-204",
        "Seen by embedding programs only: a configuration without a server is refused first (CFG-305).",
    ),
    (
        "NET-206",
        "Address and handshake have a little less time and say why they failed: this is seen where the two together take it all.",
    ),
    (
        "NET-211",
        "It takes a system that breaks a listening socket under its program, as an administrator's `ss --kill` does.",
    ),
    ("DST-415", "It needs a machine whose name service is down; the fault suite has one."),
    (
        "DST-416",
        "Whoever stands in front gives up first, so that this takes look-ups that hang beyond their time.",
    ),
    ("LIM-601", "The machine's own addresses are exempt from these limits, and the test has no other."),
    (
        "RUN-904",
        "No input is known that makes a task panic; `scripts/plants panic-in-stream` builds programs in which one does.",
    ),
    ("PKI-359", "A fault of ours by definition: no known input leads there."),
];

const INTRODUCTION: &str = "\
# Messages and what to do

<!-- Written by the test of the situations: TUNNELS_BLESS=1 cargo test -p client -p server -p tunnels-cli situation -->

Every message that somebody may have to act on is one line, `code what: cause → what to do`. Its code never changes its meaning: search for it here. At start the line
stands on standard error behind the program's name, and the exit code says whose fault it is ([table](configuration.md)). While a program runs, the message is
the cause of an event in its [log](logs.md), and the program goes on.

Each row is a test with the real programs: it brings the situation about and compares what they say with this page. `<port>`, `<date>`, `<pid>`, `<id>` and
`<n>` stand for what differs from run to run; a log line is shown without its time.
";
