//! The one table of settings.
//!
//! A row makes the flag `-remux.reuse.max.sec`, the variable `TUNNELS_REMUX_REUSE_MAX_SEC`, the place in the
//! YAML file, the line of `--help` and the row of `docs/configuration.md`. A setting that is not here does
//! not exist; a test shows that each of them has an effect.

use super::setting::{Kind, Roles, Setting, Unit};

use Kind::{Choice, File, List, Switch, Text, Whole};

/// Every setting, in the order of the manual.
pub static TABLE: &[Setting] = &[
    // where
    seed("server.net", NET, "tcp", BOTH, "Socket between client and server").example("tcp"),
    seed(
        "server.addr",
        List("ADDRESS"),
        "",
        BOTH,
        "Where the server listens (server) or is found (client); several are tried in turn",
    )
    .example("tunnel.example.net:443"),
    seed("client.net", NET, "tcp", CLIENT, "Socket applications connect to").example("tcp"),
    seed(
        "client.addr",
        Text("ADDRESS"),
        "",
        CLIENT,
        "Where the client listens for SOCKS4, SOCKS4a, SOCKS5 and HTTP CONNECT",
    )
    .example("127.0.0.1:1080"),
    // what runs on it
    seed(
        "remux.net",
        Choice(&["tls", "tcp", "tcp4", "tcp6", "unix"]),
        "tls",
        BOTH,
        "What pooled connections run on: tls over server.net, or plain (the same value as server.net)",
    )
    .example("tls"),
    seed(
        "eagersocks.net",
        Choice(&["remux", "tls", "tcp", "tcp4", "tcp6", "unix"]),
        "remux",
        BOTH,
        "What requests run on: a stream of the pool, one tls connection each, or one plain connection each",
    )
    .example("remux"),
    ours(
        "remux.wire",
        Choice(&["auto", "remux2", "classic"]),
        "auto",
        BOTH,
        "Framing of pooled connections: auto asks the other side by ALPN (remux2 on a plain transport)",
    )
    .example("auto"),
    ours(
        "remux.insecure",
        Switch,
        "false",
        BOTH,
        "Allow a plain transport to another host: everybody on the path can read, change and use it",
    )
    .example("false"),
    ours(
        "eagersocks.reply",
        Choice(&["eager", "strict"]),
        "eager",
        CLIENT,
        "Answer applications at once (eager), or with the real result a round trip later (strict)",
    )
    .example("strict"),
    ours(
        "eagersocks.strict.max.sec",
        seconds(1, HOUR),
        "15",
        CLIENT,
        "Longest wait for the real result with eagersocks.reply: strict",
    )
    .example("15"),
    // TLS
    seed("tls.server.key", File, "", SERVER, "The server's private key (PEM), closed to others")
        .example("server.key")
        .reloadable(),
    seed("tls.server.cert", File, "", SERVER, "The server's certificate chain (PEM), for server use")
        .example("server.crt")
        .reloadable(),
    ours(
        "tls.server.ca",
        File,
        "the file of tls.client.ca",
        CLIENT,
        "The CA (PEM) that the server's certificate must chain to",
    )
    .example("ca.crt")
    .reloadable(),
    ours(
        "tls.server.name",
        Text("NAME"),
        "the host of server.addr",
        CLIENT,
        "The name or address that the server's certificate must carry",
    )
    .example("tunnel.example.net"),
    seed(
        "tls.client.ca",
        File,
        "",
        BOTH,
        "The CA (PEM) that clients' certificates must chain to (server); stands in for tls.server.ca (client)",
    )
    .example("ca.crt")
    .reloadable(),
    seed("tls.client.key", File, "", CLIENT, "The client's private key (PEM), closed to others")
        .example("client.key")
        .reloadable(),
    seed("tls.client.cert", File, "", CLIENT, "The client's certificate chain (PEM), for client use")
        .example("client.crt")
        .reloadable(),
    ours(
        "tls.client.crl",
        File,
        "",
        SERVER,
        "Revocation lists (PEM) of the CAs in tls.client.ca, one of each; a client whose CA has none is refused",
    )
    .example("clients.crl")
    .reloadable(),
    ours("tls.server.crl", File, "", CLIENT, "The same for servers' certificates, of the CAs in tls.server.ca")
        .example("servers.crl")
        .reloadable(),
    ours("tls.cut.expired", Switch, "true", BOTH, "A live connection is cut when the peer's certificate ends")
        .example("true"),
    // who and where to
    ours(
        "client.users.list",
        List("NAME:PASSWORD"),
        "",
        CLIENT,
        "Who may use the client's port; nobody listed = everybody who can reach it. A wrong password is \
         answered after 200 ms; after 5 in a minute each password from that address waits for its turn, 200 ms apart, and \
         a right one ends that",
    )
    .example("laptop:correct-horse")
    .secret()
    .reloadable(),
    ours("client.users.file", File, "", CLIENT, "More users, one NAME:PASSWORD a line, # comments; closed to others")
        .example("users.txt")
        .reloadable(),
    ours("client.conn.max.cnt", count(1, 1 << 20), "4096", CLIENT, "Local connections at once; above it accepting pauses")
        .example("4096"),
    ours("client.handshake.max.sec", seconds(1, HOUR), "10", CLIENT, "From accept to a complete SOCKS or CONNECT request")
        .example("10"),
    ours(
        "server.allow",
        List("CIDR[:PORTS]"),
        "",
        SERVER,
        "Destinations open beside the public Internet, with a port, a range 80-90, or all ports; [v6]:port for IPv6",
    )
    .example("10.2.0.0/16:443")
    .reloadable(),
    ours("server.deny", List("CIDR[:PORTS]"), "", SERVER, "Destinations closed, whatever server.allow says")
        .example("198.51.100.0/24:25")
        .reloadable(),
    ours(
        "server.identities.file",
        File,
        "",
        SERVER,
        "Who is let in, what each of them may do, and who was revoked; without it everybody with a certificate of ours",
    )
    .example("identities.yaml")
    .reloadable(),
    ours("server.dial.max.sec", seconds(1, HOUR), "10", SERVER, "Resolving and connecting to a destination")
        .example("10"),
    ours("server.dial.identity.max.cnt", count(1, 1 << 20), "256", SERVER, "Dials in progress for one identity; more wait")
        .example("256")
        .reloadable(),
    ours("server.dial.target.max.cnt", count(1, 1 << 20), "64", SERVER, "Dials in progress to one destination; more wait")
        .example("64"),
    ours("server.stream.max.cnt", count(1, 1 << 24), "16384", SERVER, "Streams at once, whole process").example("16384")
        .reloadable(),
    ours("server.stream.identity.max.cnt", count(1, 1 << 24), "4096", SERVER, "Streams at once of one identity")
        .example("4096")
        .reloadable(),
    ours(
        "server.conn.identity.percent",
        Whole { unit: Unit::Percent, min: 1, max: 100 },
        "75",
        SERVER,
        "Share of remux.conn.max.cnt that one identity may hold",
    )
    .example("75")
    .reloadable(),
    ours(
        "server.preauth.max.cnt",
        count(1, 1 << 20),
        "256",
        SERVER,
        "Connections at once that have not shown a certificate; from half of it on some are refused at random",
    )
    .example("256"),
    ours(
        "server.preauth.source.max.cnt",
        count(1, 1 << 20),
        "16",
        SERVER,
        "The same, from one source (an IPv4 address or an IPv6 /64)",
    )
    .example("16"),
    ours(
        "server.preauth.fail.rate.cnt",
        count(1, 1 << 20),
        "20",
        SERVER,
        "New connections a second from a source whose handshakes failed",
    )
    .example("20"),
    ours(
        "server.preauth.fail.burst.cnt",
        count(1, 1 << 20),
        "40",
        SERVER,
        "The same, at once above that rate",
    )
    .example("40"),
    // the pool
    seed("remux.reuse.max.sec", seconds(1, DECADE), "60", BOTH, "A connection older than this takes no new stream")
        .example("60"),
    seed("remux.reuse.max.cnt", count(1, u32::MAX as u64), "16", BOTH, "Streams one connection takes in its life")
        .example("16"),
    seed("remux.idle.max.sec", seconds(1, DECADE), "10", BOTH, "The client closes a connection without streams after this")
        .example("10"),
    ours(
        "remux.idle.server.sec",
        seconds(1, DECADE),
        "60",
        SERVER,
        "The server closes a connection without streams after this",
    )
    .example("60"),
    seed("remux.conn.max.cnt", count(1, 1 << 20), "1024", BOTH, "Connections at once").example("1024"),
    ours("remux.dial.max.sec", seconds(1, HOUR), "10", CLIENT, "Connect, TLS and the server's first answer together")
        .example("10"),
    ours(
        "remux.backoff.min.msec",
        Whole { unit: Unit::Milliseconds, min: 1, max: HOUR * 1000 },
        "250",
        CLIENT,
        "First pause after a failed dial; doubles, with jitter",
    )
    .example("250"),
    ours(
        "remux.backoff.max.sec",
        seconds(1, HOUR),
        "20",
        CLIENT,
        "Longest pause after failed dials; 1 s while a request waits",
    )
    .example("20"),
    ours(
        "remux.handshake.max.sec",
        seconds(1, HOUR),
        "10",
        SERVER,
        "From accept to an authenticated connection, one deadline",
    )
    .example("10"),
    ours("remux.settings.max.sec", seconds(1, HOUR), "5", SERVER, "From there to the client's first frame (remux2)")
        .example("5"),
    // liveness
    ours(
        "remux.ping.quiet.sec",
        seconds(1, HOUR),
        "5 (client), 15 (server)",
        BOTH,
        "Silence after which a PING asks, while streams are open",
    )
    .by_role("5", "15")
    .example("5"),
    ours("remux.ping.answer.sec", seconds(1, HOUR), "5", BOTH, "Longest wait for its answer").example("5"),
    ours(
        "remux.stall.max.sec",
        seconds(1, HOUR),
        "30",
        BOTH,
        "A peer that takes no byte for this long is gone",
    )
    .example("10"),
    // memory
    ours(
        "remux.stream.max.cnt",
        count(1, 1 << 20),
        "256",
        SERVER,
        "Streams at once on one connection; more are refused before anything was done for them",
    )
    .example("256"),
    ours("remux.stream.send.bytes", bytes(16 << 10, 1 << 30), "262144", BOTH, "Bytes waiting to be sent on one stream")
        .example("262144"),
    ours("remux.window.start.bytes", bytes(256 << 10, 1 << 30), "262144", BOTH, "Receive window a stream starts with")
        .example("262144"),
    ours(
        "remux.window.min.bytes",
        bytes(16 << 10, 1 << 30),
        "65536",
        BOTH,
        "Receive window an idle or unread stream shrinks to",
    )
    .example("65536"),
    ours(
        "remux.window.max.bytes",
        bytes(16 << 10, 1 << 30),
        "16777216",
        BOTH,
        "Receive window a fast stream grows to: at least rate × round trip of the best path",
    )
    .example("16777216"),
    ours(
        "remux.growth.conn.bytes",
        bytes(0, 1 << 40),
        "67108864",
        BOTH,
        "Growth of all windows of one connection together, and at most an eighth of remux.memory.max.bytes",
    )
    .example("67108864"),
    ours(
        "remux.memory.max.bytes",
        bytes(8 << 20, 1 << 40),
        "a quarter of the memory, 4 GiB at most",
        BOTH,
        "What all connections together may hold and promise. From 80 % of it no window grows, from 90 % streams are \
         refused, from 95 % nothing is accepted, from 98 % the heaviest connection is closed",
    )
    .example("536870912"),
    ours(
        "remux.classic.queue.bytes",
        bytes(64 << 10, 1 << 30),
        "262144",
        BOTH,
        "Classic wire, which has no credit: unread bytes of one stream before the connection waits",
    )
    .example("262144"),
    ours(
        "remux.classic.full.sec",
        seconds(1, HOUR),
        "10",
        BOTH,
        "Classic wire: a stream whose queue stays full this long is ended",
    )
    .example("10"),
    // abuse
    ours("remux.open.rate.cnt", count(1, 1 << 20), "256", SERVER, "Stream opens a second of one connection, long run")
        .example("256"),
    ours("remux.open.burst.cnt", count(1, 1 << 20), "64", SERVER, "Stream opens at once above that rate").example("64"),
    ours(
        "remux.reset.rate.cnt",
        count(1, 1 << 20),
        "10",
        SERVER,
        "Resets a second by, or because of, one connection's peer, long run",
    )
    .example("10"),
    ours("remux.reset.burst.cnt", count(1, 1 << 20), "100", SERVER, "Resets at once above that rate").example("100"),
    ours("remux.ping.rate.cnt", count(1, 1 << 20), "10", SERVER, "PINGs a second of one connection's peer").example("10"),
    // streams and stopping
    ours("stream.idle.max.sec", seconds(1, DECADE), "7440", BOTH, "No byte either way: the stream is reset").example("7440"),
    ours(
        "stream.half.max.sec",
        seconds(1, DECADE),
        "240",
        BOTH,
        "No byte either way after one direction has ended: the stream is reset",
    )
    .example("240"),
    ours("drain.max.sec", seconds(0, HOUR), "30", BOTH, "How long a stop (SIGTERM) waits for streams").example("30"),
    ours(
        "process.user",
        Text("NAME"),
        "whoever starts it",
        BOTH,
        "Started as root: whom to become, for good, once files are read and sockets open; the log and a reload are that user's",
    )
    .example("tunnels"),
    // the log
    seed(
        "sla.log.level",
        Choice(&["debug", "info", "warn", "error", "fatal"]),
        "info",
        BOTH,
        "Lines below this level are not written; debug shows sessions",
    )
    .example("info"),
    seed("sla.log.path", Text("FILE"), "/var/log/tunnels.log", BOTH, "The log file; - is stderr").example("tunnels.log"),
    ours("sla.log.format", Choice(&["text", "json"]), "text", BOTH, "The seed's lines in local time, or JSON in UTC")
        .example("json"),
    ours("sla.log.max.bytes", bytes(0, 1 << 40), "33554432", BOTH, "A log file is rotated at this size; 0 = never")
        .example("33554432"),
    ours("sla.log.max.age.sec", seconds(0, DECADE), "604800", BOTH, "A log file is rotated at this age; 0 = never")
        .example("86400"),
    ours("sla.log.max.files.cnt", count(0, 10_000), "10", BOTH, "Rotated files kept").example("10"),
    ours(
        "sla.log.redact",
        Choice(&["full", "domain", "hash", "none"]),
        "full",
        BOTH,
        "How destinations appear in the log",
    )
    .example("domain"),
    seed("sla.dingtalk.token", Text("TOKEN"), "", BOTH, "Access token of the DingTalk robot that gets erro and fata events")
        .example("file:dingtalk.token")
        .secret(),
    seed("sla.dingtalk.secret", Text("SECRET"), "", BOTH, "Secret the robot's messages are signed with")
        .example("file:dingtalk.secret")
        .secret(),
    ours(
        "sla.dingtalk.url",
        Text("URL"),
        "https://oapi.dingtalk.com/robot/send",
        BOTH,
        "Where the robot listens; plain http to loopback only",
    )
    .example("https://oapi.dingtalk.com/robot/send"),
];

const NET: Kind = Choice(&["tcp", "tcp4", "tcp6", "unix"]);
const BOTH: Roles = Roles { client: true, server: true };
const CLIENT: Roles = Roles { client: true, server: false };
const SERVER: Roles = Roles { client: false, server: true };
const HOUR: u64 = 3600;
const DECADE: u64 = 10 * 365 * 24 * HOUR;

const fn seed(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    roles: Roles,
    help: &'static str,
) -> Setting {
    let mut setting = ours(name, kind, default, roles, help);
    setting.seed = true;
    setting
}

const fn ours(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    roles: Roles,
    help: &'static str,
) -> Setting {
    Setting {
        name,
        kind,
        default,
        by_role: None,
        roles,
        seed: false,
        secret: false,
        reloadable: false,
        help,
        example: "",
    }
}

const fn count(min: u64, max: u64) -> Kind {
    Whole { unit: Unit::Count, min, max }
}

const fn seconds(min: u64, max: u64) -> Kind {
    Whole { unit: Unit::Seconds, min, max }
}

const fn bytes(min: u64, max: u64) -> Kind {
    Whole { unit: Unit::Bytes, min, max }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_nest_without_conflict_and_variables_are_unique() {
        let mut variables = HashSet::new();
        for setting in TABLE {
            assert!(variables.insert(setting.variable()), "{}", setting.name);
            let group = format!("{}.", setting.name);
            assert!(
                !TABLE.iter().any(|other| other.name.starts_with(&group)),
                "{} is a leaf and a group",
                setting.name
            );
        }
    }

    #[test]
    fn number_ends_with_its_unit() {
        for setting in TABLE {
            if let Whole { unit, min, max } = setting.kind {
                assert!(setting.name.ends_with(unit.suffix()), "{}", setting.name);
                assert!(min < max, "{}", setting.name);
            }
        }
    }

    #[test]
    fn row_has_help_and_an_example() {
        for setting in TABLE {
            assert!(!setting.help.is_empty() && !setting.help.ends_with('.'), "{}", setting.name);
            assert!(!setting.example.is_empty(), "{}", setting.name);
        }
    }

    #[test]
    fn flags_of_the_seed_have_its_defaults() {
        let seed: Vec<_> = TABLE.iter().filter(|setting| setting.seed).map(|s| (s.name, s.default)).collect();
        for row in [
            ("server.net", "tcp"),
            ("server.addr", ""),
            ("client.net", "tcp"),
            ("client.addr", ""),
            ("remux.reuse.max.sec", "60"),
            ("remux.reuse.max.cnt", "16"),
            ("remux.idle.max.sec", "10"),
            ("remux.conn.max.cnt", "1024"),
            ("remux.net", "tls"),
            ("eagersocks.net", "remux"),
            ("tls.server.key", ""),
            ("tls.server.cert", ""),
            ("tls.client.ca", ""),
            ("tls.client.key", ""),
            ("tls.client.cert", ""),
            ("sla.log.level", "info"),
            ("sla.log.path", "/var/log/tunnels.log"),
            ("sla.dingtalk.token", ""),
            ("sla.dingtalk.secret", ""),
        ] {
            assert!(seed.contains(&row), "{row:?}");
        }
        assert_eq!(seed.len(), 19);
    }
}
