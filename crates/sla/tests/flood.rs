//! What strangers cause, as often as they like: a bounded number of lines.

use sla::ConnectionId;
use sla::event::{self, Role};
use sla::subscriber::{Config, Format, LogPath};

#[test]
fn flood_of_what_strangers_cause_is_a_bounded_number_of_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.log");
    let mut config = Config::default();
    (config.path, config.format) = (LogPath::File(path.clone()), Format::Json);
    let (log, guard) = sla::subscriber::scoped(config).expect("a log");
    tracing::subscriber::with_default(log, || (0..1000).for_each(strike));
    drop(guard);
    let text = std::fs::read_to_string(path).expect("a file");
    for event in EVENTS {
        let lines = text.lines().filter(|line| line.contains(&format!("\"event\":\"{event}\""))).count();
        // Fifty at once, and a few more if this machine is slow.
        assert!((50..100).contains(&lines), "{lines} lines of {event}");
    }
}

const EVENTS: [&str; 7] = [
    "acl_denied",
    "auth_failed",
    "conn_cut",
    "handshake_failed",
    "limit_reached",
    "peer_refused",
    "request_refused",
];

fn strike(turn: u32) {
    // What comes from one address is folded: a botnet has many.
    let remote = &format!("203.0.{}.{}:40000", turn / 250, turn % 250);
    let (who, why) = (Some("laptop-7"), "a reason");
    event::acl_denied(who, &format!("10.2.3.4:{turn}"), why);
    event::auth_failed(remote, None);
    event::conn_cut(ConnectionId(turn), Role::Server, remote, who, why);
    event::handshake_failed(Role::Server, remote, why);
    event::limit_reached("too many", remote, who, 64);
    event::peer_refused(Role::Server, remote, who, why);
    event::request_refused(remote, None, why);
}
