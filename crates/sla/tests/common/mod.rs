//! Every event of the product once (where a field is optional, twice), and the log they end in.

use std::time::Duration;

use sla::ConnectionId;
use sla::event::{self, Access, Area, Conn, ConnEnd, ConnFacts, Health, Role, Sess, Sock};
use sla::subscriber::{Config, LogPath};

/// Calls every function of [`sla::event`]; each string it gives is first handed to `word`.
pub(crate) fn emit_all(word: &dyn Fn(&str) -> String) {
    connections(word);
    streams(word);
    program(word);
    own(word);
}

fn connections(word: &dyn Fn(&str) -> String) {
    let id = ConnectionId(0x8f7e_d46a);
    let mut facts = ConnFacts {
        role: Role::Client,
        wire: &word("remux2"),
        transport: &word("tls"),
        local: &word("192.0.2.7:40312"),
        remote: &word("198.51.100.1:443"),
        identity: Some(&word("server.example")),
    };
    let first = Conn::open(id, &facts);
    (facts.role, facts.identity) = (Role::Server, None);
    let second = Conn::open(ConnectionId(1), &facts);
    let duration = Duration::from_micros(61_000_250);
    let end = ConnEnd { streams: 16, bytes_in: 70_000, bytes_out: 1234, duration };
    first.close(&word("idle"), &end);
    second.close(&word("peer closed"), &ConnEnd::default());

    let sess = Sess::open(id, 7);
    sess.close(&word("fin"));
    event::conn_draining(id, &word("age limit"));
    event::conn_suspect(id, &word("no answer for 3 s"));
    event::conn_alive(id);

    let mut server = Health::new(word("198.51.100.1:443"));
    for _ in 0..3 {
        server.failed(None, &word("connection refused (os error 111)"));
    }
    event::dial_backoff(&word("198.51.100.1:443"), Duration::from_millis(812), 3);
    server.ok();
    event::handshake_failed(Role::Server, &word("203.0.113.9:55555"), &word("no certificate"));
    let (remote, name, cause) =
        (word("203.0.113.9:55555"), word("laptop-7"), word("peer went over the limit on pings"));
    event::conn_cut(id, Role::Server, &remote, Some(&name), &cause);
    event::conn_cut(id, Role::Server, &remote, None, &cause);
    event::peer_refused(Role::Server, &remote, Some(&name), &word("it is on no list"));
    event::peer_cut(Role::Server, &remote, Some(&name), &word("it was revoked"));
}

fn streams(word: &dyn Fn(&str) -> String) {
    let sock = Sock::accepted(word("www.example.org:443"), &word("127.0.0.1:50000"));
    sock.close(&word("fin"));
    let sock = Sock::open(word("www.example.org:443"), &word("203.0.113.77:443"));
    sock.close(&word("reset by 203.0.113.77:443"));
    let target = word("www.example.org:443");
    let (socks5, source, user) = (word("socks5"), word("127.0.0.1:50000"), word("alice"));
    let (end, error) = (word("reset"), word("connection reset by www.example.org:443"));
    let full = Access {
        connection_id: Some(ConnectionId(0x8f7e_d46a)),
        stream_id: Some(7),
        role: Role::Client,
        inbound: &socks5,
        source: &source,
        target: &target,
        identity: Some(&user),
        bytes_up: 512,
        bytes_down: 1_048_576,
        duration: Duration::from_micros(1_234_567),
        first_byte: Some(Duration::from_micros(98_765)),
        end: &end,
        error: Some(&error),
    };
    event::access(&full);
    let less = Access { connection_id: None, stream_id: None, identity: None, first_byte: None, ..full };
    event::access(&Access { error: None, end: "denied", ..less });
    event::acl_denied(
        Some(&word("laptop-7")),
        &word("10.2.3.4:443"),
        &word("10.2.3.4:443 denied: private 10.0.0.0/8"),
    );
    event::acl_denied(None, &word("[::1]:22"), &word("loopback"));
    event::auth_failed(&source, Some(&user));
    event::auth_failed(&source, None);
    event::request_refused(&source, None, &word("not a SOCKS request"));
    event::request_refused(&source, Some(&word("laptop-7")), &word("no target"));
    event::target_failed(&target, &word("connection refused (os error 111)"));
}

fn program(word: &dyn Fn(&str) -> String) {
    event::started(Role::Client, &word("0.1.0"));
    event::listening(Role::Client, &word("tcp"), &word("127.0.0.1:1080"));
    event::accept_failed(&word("127.0.0.1:1080"), &word("too many open files (os error 24)"));
    event::resources(700 << 20, 19_936);
    event::memory_short(
        "no_growth",
        429_496_730,
        536_870_912,
        Some((word("laptop-7").as_str(), 402_653_184)),
    );
    event::memory_free(402_653_184, 536_870_912);
    event::limit_reached(&word("too many handshakes"), &word("203.0.113.9:55555"), None, 64);
    event::limit_reached(&word("too many streams"), &word("203.0.113.9:55555"), Some(&word("laptop-7")), 64);
    event::config_warning(&word("server.allow opens 0.0.0.0/0 → name the networks you need"));
    event::certificate_expiring(&word("/etc/tunnels/client.crt"), 13);
    event::certificate_expired(&word("/etc/tunnels/client.crt"));
    event::crl_stale(&word("/etc/tunnels/clients.crl"));
    event::reload_failed(&word("certificates"), &word("client.yaml:3:1 no such file"));
    event::reloaded(&word("certificates"));
    event::task_panicked(&word("driver"), &word("index out of bounds"));
    event::draining(Role::Client, 2, Duration::from_secs(30));
    event::stopped(Role::Client, &word("SIGTERM"));
}

fn own(word: &dyn Fn(&str) -> String) {
    event::alert_failed(&word("no route to host (os error 113)"), 3);
    event::alert_paused(Duration::from_secs(600), 37);
    event::alert_rejected(&word("ALR-601 DingTalk rejected the signature"));
    event::log_dropped(212);
    event::log_fallback(&word("/var/log/tunnels.log"), &word("permission denied (os error 13)"));
    event::debug(Area::Sess, &word("a sentence"));
    event::info(Area::Main, &word("a sentence"));
    event::warn(Area::Load, &word("a sentence"));
    event::error(Area::Hook, &word("a sentence"));
    // The function itself would end this process; tests/process.rs calls it in another.
    tracing::error!(name: "fatal", target: "sla::main", "{}", word("the end"));
    tracing::warn!(target: "other::library", code = 7, reason = %word("a reason"), "{}", word("trouble"));
    tracing::info!(target: "other::library", "chatter that nobody asked for");
}

/// Runs `act` with a log of this configuration in a file, and gives the file's text.
pub(crate) fn logged(mut config: Config, act: impl FnOnce()) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.log");
    config.path = LogPath::File(path.clone());
    let (log, guard) = sla::subscriber::scoped(config).expect("a log");
    tracing::subscriber::with_default(log, act);
    drop(guard);
    std::fs::read_to_string(path).expect("a file")
}
