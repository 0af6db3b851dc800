//! Carries alerts to the robot: one HTTP POST each, off the data path.
//!
//! `sla` decides, merges and signs; here is only the sending, so that the log crate needs no HTTP and no TLS.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use sla::subscriber::dingtalk::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Sends one request; follows no redirect.
pub(crate) async fn post(request: &Request) -> Result<Response, String> {
    let sent = timeout(LIMIT, exchange(request)).await;
    sent.unwrap_or_else(|_| Err(format!("no answer within {} s", LIMIT.as_secs())))
}

async fn exchange(request: &Request) -> Result<Response, String> {
    let endpoint = request.endpoint();
    let (host, port) = (endpoint.host().to_owned(), endpoint.port());
    let at = |error: std::io::Error| format!("{host}:{port}: {}", sla::plain(&error));
    let socket = TcpStream::connect((host.as_str(), port)).await.map_err(at)?;
    if !endpoint.is_tls() {
        return speak(socket, request).await;
    }
    let name = ServerName::try_from(host.clone()).map_err(|_| format!("{host} is no server name"))?;
    let stream = TlsConnector::from(public_tls()?).connect(name, socket).await.map_err(at)?;
    speak(stream, request).await
}

async fn speak<S>(stream: S, request: &Request) -> Result<Response, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |error: hyper::Error| error.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let message = hyper::Request::post(request.path_and_query())
        .header("host", authority(request))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(request.body().to_owned())))
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let answer = sender.send_request(message).await.map_err(broken)?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(|e| e.to_string())?;
        Ok(Response { status, body: body.to_bytes().to_vec() })
    };
    // The connection has to be driven while its one exchange runs, and ends with it.
    tokio::pin!(connection, exchange);
    tokio::select! {
        biased;
        done = &mut exchange => done,
        // An error here reaches the exchange as well.
        _ = &mut connection => exchange.await,
    }
}

fn authority(request: &Request) -> String {
    let (host, port) = (request.endpoint().host(), request.endpoint().port());
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// TLS as for any public web server; none of the tunnel's certificates are used.
fn public_tls() -> Result<Arc<rustls::ClientConfig>, String> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Connect, request and answer together.
const LIMIT: Duration = Duration::from_secs(5);
/// An answer is a line of JSON.
const ANSWER_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use sla::subscriber::dingtalk::{Alert, Alerts, Config, Endpoint, Kind, Secret};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn robot_that_never_answers_is_given_up_after_five_seconds() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let request = request(&listener);
        let began = tokio::time::Instant::now();
        assert_eq!(post(&request).await.unwrap_err(), "no answer within 5 s");
        assert_eq!(began.elapsed(), LIMIT);
    }

    #[tokio::test]
    async fn answer_longer_than_64_kib_is_refused_and_one_of_that_length_is_read() {
        for (length, taken) in [(ANSWER_MAX, true), (ANSWER_MAX + 1, false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let request = request(&listener);
            let answering = tokio::spawn(async move {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                    head.push(socket.read_u8().await.unwrap());
                }
                let body = " ".repeat(length);
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                // A sender that has had enough goes away.
                let _ = socket.write_all(answer.as_bytes()).await;
                socket
            });
            match post(&request).await {
                Ok(response) => {
                    assert_eq!((response.status, response.body.len(), taken), (200, length, true))
                }
                Err(error) => assert!(!taken && error.contains("limit"), "{error}"),
            }
            drop(answering.await.unwrap());
        }
    }

    /// What the robot at `listener` would be sent.
    fn request(listener: &TcpListener) -> Request {
        let url = format!("http://{}/robot/send", listener.local_addr().unwrap());
        let endpoint: Endpoint = url.parse().unwrap();
        let (token, secret) = (Secret::new("token"), Secret::new("secret"));
        let mut alerts = Alerts::new(Config { endpoint, token, secret, title: "test".to_owned() });
        let (key, text) = ("test".to_owned(), "a problem".to_owned());
        alerts.handle_event(Instant::now(), Alert { key, kind: Kind::Problem, text });
        let unix = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        alerts.poll_send(Instant::now(), u64::try_from(unix).unwrap()).unwrap()
    }
}
