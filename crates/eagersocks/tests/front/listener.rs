//! The listeners on real loopback sockets.

use std::time::Duration;

use eagersocks::{Config, HandshakeError, Protocol, Reply, dial, listen, listen_socks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn silent_client_holds_nobody_up() {
    let listener = listen_socks("127.0.0.1:0", Config::default()).await.unwrap();
    let address = listener.local_addr().unwrap();

    let silent = TcpStream::connect(address).await.unwrap();
    let waiting = tokio::spawn(listener.accept().await.unwrap().handshake());

    let mut quick = TcpStream::connect(address).await.unwrap();
    quick.write_all(b"CONNECT a.example:443 HTTP/1.1\r\n\r\nearly").await.unwrap();
    let accepted = listener.accept().await.unwrap();
    assert_eq!(accepted.peer, quick.local_addr().unwrap());
    let (_socket, request) = accepted.handshake().await.unwrap();
    assert_eq!(request.protocol, Protocol::HttpConnect);
    assert_eq!(&request.early[..], b"early");

    drop(silent);
    assert!(matches!(waiting.await.unwrap(), Err(HandshakeError::Closed { received: 0 })));
}

#[tokio::test]
async fn reply_of_a_refusal_arrives_though_the_client_sent_more_than_was_read() {
    let listener = listen_socks("127.0.0.1:0", Config::default()).await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    client.write_all(&[b'x'; 40_000]).await.unwrap();
    let front = tokio::spawn(listener.accept().await.unwrap().handshake());
    let mut reply = String::new();
    client.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{reply}");
    drop(client);
    assert_eq!(front.await.unwrap().unwrap_err().kind(), "web_request");
}

#[tokio::test]
async fn eager_listener_hears_what_dial_says() {
    let listener = listen("127.0.0.1:0", Config::default()).await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let target = "[2001:db8::1]:22".parse().unwrap();
    dial(&mut client, &target, b"SSH-2.0-").await.unwrap();
    let (_socket, request) = listener.accept().await.unwrap().handshake().await.unwrap();
    assert_eq!((request.target.clone(), request.protocol), (target, Protocol::Eager));
    assert!(request.is_answered() && request.early.starts_with(b"SSH"));
}

#[tokio::test]
async fn new_configuration_holds_for_the_next_connection() {
    let listener = listen_socks("127.0.0.1:0", Config::default()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let ask = async || {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"\x04\x01\x00\x50\xc0\x00\x02\x01\x00").await.unwrap();
        listener.accept().await.unwrap().handshake().await.unwrap().1.is_answered()
    };
    assert!(ask().await);
    listener.set_config(Config {
        reply: Reply::Strict,
        deadline: Duration::from_secs(5),
        ..Config::default()
    });
    assert!(!ask().await);
}
