//! A server stops and reloads, seen from within.

use remux::session::Open;
use remux::{ByteStream, Config, ConnectError, Connected, Dialer, PeerFacts, StreamError, Wire};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::time::sleep;

use super::*;

#[tokio::test(start_paused = true)]
async fn stream_that_nobody_has_accepted_yet_at_the_stop_is_served_and_keeps_nobody_waiting() {
    let (server, _folder) = server().await;
    let dialer = dialer(&server);
    let mut stream = dialer.open(Open::connect("127.0.0.1:1".parse().unwrap())).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let shutdown = Shutdown::new();
    shutdown.begin();
    let began = Instant::now();
    let (read, served) = tokio::join!(stream.read_u8(), server.serve(shutdown));
    served.unwrap();
    let error = read.unwrap_err().into_inner().unwrap().downcast::<StreamError>().unwrap();
    assert_eq!(error.code(), Code::RULE_REFUSED, "nothing of this machine is open");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

async fn server() -> (Server, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("s").display().to_string();
    let pairs = [("server.net", "unix"), ("server.addr", place.as_str()), ("remux.net", "unix")];
    (Server::bind(config::Server::from_pairs(pairs).unwrap()).await.unwrap(), folder)
}

/// A client whose connections are up at once and don't come by the door.
fn dialer(server: &Server) -> Dialer {
    let inner = server.inner.clone();
    let connect = move || {
        let (near, far) = tokio::io::duplex(64 << 10);
        let dress = |pipe| Connected::new(ByteStream::new(pipe), Wire::Remux2, PeerFacts::default());
        drop(inner.listener.serve(dress(far)));
        std::future::ready(Ok::<_, ConnectError>(dress(near)))
    };
    Dialer::new(connect, Config::default())
}

#[tokio::test]
async fn reload_does_not_raise_the_caps_that_were_lowered_for_want_of_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.sock");
    let few = Descriptors::of(256);
    let mut config = config::Server::from_pairs([
        ("server.net", "unix"),
        ("server.addr", path.to_str().unwrap()),
        ("remux.net", "unix"),
    ])
    .unwrap();
    few.fit_server(&mut config).unwrap();
    let lowered = config.streams_max;
    let server = Server::bind(config).await.unwrap();
    server.reloader().within(few).reload().unwrap();
    assert_eq!(server.inner.access.terms(ANYONE).limits().streams, lowered);
}
