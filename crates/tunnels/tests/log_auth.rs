//! What the log tells of wrong passwords. The log belongs to the process, so this test has one for itself.

use sla::subscriber::{Config, Format, LogPath};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tunnels::{Client, Shutdown, config};

#[tokio::test]
async fn wrong_password_is_a_warning_that_names_source_and_known_user_and_no_password() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.log");
    let mut log = Config::default();
    (log.path, log.format) = (LogPath::File(path.clone()), Format::Json);
    let guard = sla::subscriber::init(log).unwrap();
    let config = config::Client::from_pairs([
        ("server.net", "unix"),
        ("server.addr", "/nowhere/server.sock"),
        ("remux.net", "unix"),
        ("client.addr", "127.0.0.1:0"),
        ("client.users.list", "ann:secret"),
    ]);
    let client = Client::bind(config.unwrap()).await.unwrap();
    let address = client.address();
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(client.serve(shutdown.clone()));

    let mut sources = Vec::new();
    for user in ["ann", "zoe9"] {
        let mut socket = TcpStream::connect(&address).await.unwrap();
        sources.push(socket.local_addr().unwrap().to_string());
        let mut login = b"\x05\x01\x02\x01".to_vec();
        login.push(u8::try_from(user.len()).unwrap());
        login.extend_from_slice(user.as_bytes());
        login.extend_from_slice(b"\x05guess");
        socket.write_all(&login).await.unwrap();
        let mut heard = Vec::new();
        socket.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, [5, 2, 1, 1]);
    }
    shutdown.begin();
    serving.await.unwrap().unwrap();
    drop(guard);

    let text = std::fs::read_to_string(path).unwrap();
    let failed: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["event"] == "auth_failed")
        .collect();
    let told: Vec<_> = failed.iter().map(|line| (line["level"].as_str(), line["source"].as_str())).collect();
    let warn = Some("warn");
    assert_eq!(told, [(warn, Some(sources[0].as_str())), (warn, Some(sources[1].as_str()))]);
    assert_eq!(failed[0]["user"], "ann");
    assert!(failed[1].get("user").is_none(), "people type passwords into the wrong field");
    assert!(!text.contains("guess") && !text.contains("zoe9"), "{text}");
    assert!(!text.contains("request_refused"), "{text}");
}
