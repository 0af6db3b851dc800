//! What the log tells of settings that changed and need a restart. The log belongs to the process, so this test has one
//! for itself.

use sla::subscriber::{Config, Format, LogPath};
use tunnels::config::{Role, Source};
use tunnels::{Client, Server};

#[tokio::test]
async fn reload_names_the_changed_settings_that_wait_for_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let log_path = folder.path().join("t.log");
    let mut log = Config::default();
    (log.path, log.format) = (LogPath::File(log_path.clone()), Format::Json);
    let guard = sla::subscriber::init(log).unwrap();

    let file = folder.path().join("c.yaml");
    let write = |level: &str, more: &str| {
        let text = format!(
            "server: {{net: unix, addr: s.sock}}\nremux: {{net: unix}}\nclient: {{net: unix, addr: c.sock}}\nsla.log.level: {level}\n{more}\n"
        );
        std::fs::write(&file, text).unwrap();
    };
    write("info", "");
    let source = |role| Source::from_file(role, &file).unwrap();
    let client = Client::bind(source(Role::Client).client().unwrap()).await.unwrap();
    let server = Server::bind(source(Role::Server).server().unwrap()).await.unwrap();
    client.reloader().reload().unwrap();
    server.reloader().reload().unwrap();
    let told = || -> Vec<String> {
        let text = std::fs::read_to_string(&log_path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let warnings = lines.filter(|line| line["event"] == "config_warning");
        warnings.map(|line| line["cause"].as_str().unwrap().to_owned()).collect()
    };

    write("debug", "client.conn.max.cnt: 7");
    client.reloader().reload().unwrap();
    write("debug", "drain.max.sec: 7");
    server.reloader().reload().unwrap();
    drop(guard);

    let after = "RUN-901 changed, but not in effect yet: ";
    assert_eq!(
        told(),
        [
            format!("{after}client.conn.max.cnt, sla.log.level → restart this program when it suits"),
            format!("{after}drain.max.sec, sla.log.level → restart this program when it suits"),
        ],
        "nothing was told while nothing had changed"
    );
}
