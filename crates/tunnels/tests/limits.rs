//! Limits of the whole pair, exceeded: what the application sees, and that everybody else goes on.

mod common;

use std::io::ErrorKind;

use common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const STRICT: &[(&str, &str)] = &[("eagersocks.reply", "strict")];

#[tokio::test]
async fn identity_over_its_streams_gets_the_code_of_a_limit_until_one_has_ended() {
    let tunnel = Tunnel::over(POOL, &[("server.stream.identity.max.cnt", "1")], STRICT).await;
    let target = echo().await;
    let (mut first, code) = tunnel.connect(target, b"").await;
    assert_eq!(code, 0);
    assert_eq!(tunnel.connect(target, b"").await.1, 1, "general failure: SOCKS5 has no word for a limit");
    let (_, answer) = tunnel.connect_http(target).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: "), "{answer}");
    exchange(&mut first).await;
    drop(first);
    for _ in 0..10_000 {
        if tunnel.connect(target, b"").await.1 == 0 {
            return;
        }
    }
    panic!("the place is never given back");
}

#[tokio::test]
async fn process_over_its_streams_resets_an_application_that_was_told_of_success() {
    let tunnel = Tunnel::over(POOL, &[("server.stream.max.cnt", "1")], &[]).await;
    let target = echo().await;
    let (mut first, _) = tunnel.connect(target, b"").await;
    exchange(&mut first).await;
    let (mut second, code) = tunnel.connect(target, b"").await;
    assert_eq!(code, 0, "eager");
    assert_eq!(read_error(&mut second).await, ErrorKind::ConnectionReset);
    exchange(&mut first).await;
}

#[tokio::test]
async fn identity_over_its_share_of_connections_is_closed_after_the_handshake() {
    let share = [("remux.conn.max.cnt", "2"), ("server.conn.identity.percent", "50")];
    let tunnel = Tunnel::over(SINGLE, &share, &[]).await;
    let target = echo().await;
    let (mut first, _) = tunnel.connect(target, b"").await;
    exchange(&mut first).await;
    let (mut second, _) = tunnel.connect(target, b"").await;
    assert_eq!(read_error(&mut second).await, ErrorKind::ConnectionReset);
    exchange(&mut first).await;
}

#[tokio::test]
async fn connection_of_the_pool_over_the_share_is_a_failed_dial_and_streams_on_the_first_go_on() {
    let share = [("remux.conn.max.cnt", "2"), ("server.conn.identity.percent", "50")];
    let client = [("remux.reuse.max.cnt", "1"), ("remux.dial.max.sec", "1"), STRICT[0]];
    let tunnel = Tunnel::over(POOL, &share, &client).await;
    let target = echo().await;
    let (mut first, code) = tunnel.connect(target, b"").await;
    assert_eq!(code, 0);
    assert_eq!(tunnel.connect(target, b"").await.1, 3, "no way to the server");
    exchange(&mut first).await;
}

#[tokio::test]
async fn denied_destination_is_code_2_or_403_and_is_never_dialled() {
    let tunnel = Tunnel::strict_policy(POOL, &[], STRICT).await;
    let (listener, address) = destination().await;
    assert_eq!(tunnel.connect(address, b"secret").await.1, 2);
    let (_, answer) = tunnel.connect_http(address).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let listener = listener.into_std().unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn denied_destination_resets_an_application_that_was_told_of_success() {
    for way in [POOL, SINGLE] {
        let tunnel = Tunnel::strict_policy(way, &[], &[]).await;
        let (_listener, address) = destination().await;
        let (mut application, code) = tunnel.connect(address, b"secret").await;
        assert_eq!(code, 0, "eager");
        assert_eq!(read_error(&mut application).await, ErrorKind::ConnectionReset, "{way:?}");
    }
}

#[tokio::test]
async fn deny_wins_over_allow_and_the_servers_own_port_is_reached_by_no_grant() {
    let (_listener, address) = destination().await;
    let denied = format!("127.0.0.1:{}", address.port());
    let tunnel = Tunnel::over(POOL, &[("server.deny", &denied)], STRICT).await;
    assert_eq!(tunnel.connect(address, b"").await.1, 2);
    let open = echo().await;
    assert_eq!(tunnel.connect(open, b"").await.1, 0, "other ports are open");

    let own = tunnel.address.parse().unwrap();
    assert_eq!(tunnel.connect(own, b"").await.1, 2);
}

#[tokio::test]
async fn application_beyond_the_clients_connections_waits_until_one_has_ended() {
    let tunnel = Tunnel::over(POOL, &[], &[("client.conn.max.cnt", "1")]).await;
    let target = echo().await;
    let (mut first, _) = tunnel.connect(target, b"").await;
    let mut second = TcpStream::connect(&tunnel.socks).await.unwrap();
    second.write_all(&conversation(target, b"")).await.unwrap();
    // Each of these passes through client, server and destination: time enough to answer a greeting.
    for _ in 0..50 {
        exchange(&mut first).await;
    }
    assert_eq!(second.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(first);
    assert_eq!(reply(&mut second).await, 0);
    exchange(&mut second).await;
}

#[tokio::test]
async fn strict_reply_comes_at_its_time_limit_if_the_server_tells_no_result() {
    let (listener, address) = destination().await;
    let silent = address.to_string();
    let client = [("server.addr", silent.as_str()), ("eagersocks.strict.max.sec", "1"), STRICT[0]];
    let plain = Way::new("tcp", "tcp", "remux", "auto");
    let tunnel = Tunnel::over(plain, &[], &client).await;
    assert_eq!(tunnel.connect(address, b"").await.1, 6, "time-out");
    let (_, answer) = tunnel.connect_http(address).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    drop(listener);
}

#[tokio::test]
async fn application_that_is_refused_and_goes_on_sending_is_read_no_further() {
    let tunnel = Tunnel::strict_policy(POOL, &[], STRICT).await;
    let (_listener, address) = destination().await;
    let mut application = TcpStream::connect(&tunnel.socks).await.unwrap();
    application.write_all(&conversation(address, b"")).await.unwrap();
    let chunk = vec![0; 1 << 20];
    for _ in 0..256 {
        if application.write_all(&chunk).await.is_err() {
            return;
        }
    }
    panic!("256 MiB were taken");
}

#[tokio::test]
async fn stream_that_still_runs_at_the_drain_limit_is_reset_and_one_that_ends_before_it_is_not() {
    let tunnel = Tunnel::over(POOL, &[("drain.max.sec", "0")], &[]).await;
    let target = echo().await;
    let (mut application, _) = tunnel.connect(target, b"").await;
    exchange(&mut application).await;
    tunnel.server.begin();
    assert_eq!(read_error(&mut application).await, ErrorKind::ConnectionReset);

    let tunnel = Tunnel::over(POOL, &[("drain.max.sec", "3600")], &[]).await;
    let (mut application, _) = tunnel.connect(target, b"").await;
    exchange(&mut application).await;
    tunnel.server.begin();
    exchange(&mut application).await;
    application.shutdown().await.unwrap();
    assert_eq!(application.read(&mut [0]).await.unwrap(), 0, "a clean end");
}
