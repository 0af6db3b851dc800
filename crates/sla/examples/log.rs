//! Shows the log: `cargo run -p sla --features subscriber --example log -- [text|json]`.

use std::time::Duration;

use sla::ConnectionId;
use sla::event::{self, Access, Conn, ConnEnd, ConnFacts, Role, Sess, Sock};
use sla::subscriber::{Config, Level, LogPath};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::default();
    config.level = Level::Debug;
    config.path = LogPath::Stderr;
    if let Some(format) = std::env::args().nth(1) {
        config.format = format.parse()?;
    }
    let _guard = sla::subscriber::init(config)?;

    event::started(Role::Client, env!("CARGO_PKG_VERSION"));
    event::listening(Role::Client, "tcp", "127.0.0.1:1080");

    let facts = ConnFacts {
        role: Role::Client,
        wire: "remux2",
        transport: "tls",
        local: "192.0.2.7:40312",
        remote: "198.51.100.1:443",
        identity: Some("server.example"),
    };
    let id = ConnectionId(0x8f7e_d46a);
    let conn = Conn::open(id, &facts);
    let sock = Sock::accepted("www.example.org:443", "127.0.0.1:50000");
    let sess = Sess::open(id, 1);
    sess.close("fin");
    sock.close("fin");
    event::access(&Access {
        connection_id: Some(id),
        stream_id: Some(1),
        role: Role::Client,
        inbound: "socks5",
        source: "127.0.0.1:50000",
        target: "www.example.org:443",
        identity: None,
        bytes_up: 512,
        bytes_down: 1_048_576,
        duration: Duration::from_millis(1234),
        first_byte: Some(Duration::from_micros(98_700)),
        end: "fin",
        error: None,
    });
    let end = ConnEnd { streams: 1, bytes_in: 1_048_900, bytes_out: 700, duration: Duration::from_secs(11) };
    conn.close("idle", &end);
    event::stopped(Role::Client, "end of the example");
    Ok(())
}
