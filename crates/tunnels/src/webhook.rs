//! Carries alerts to the robot: one HTTPS POST each, off the data path.
//!
//! `sla` decides, merges and signs; here is only the sending, so that the log crate needs no HTTP and no TLS.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::Uri;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Sends one request; the answer's status and body, or why there is none. Says nothing of the address's query, which holds
/// the token.
pub(crate) async fn post(url: &str, body: String) -> Result<(u16, Vec<u8>), String> {
    let sent = timeout(LIMIT, exchange(url, body)).await;
    sent.unwrap_or_else(|_| Err(format!("no answer within {} s", LIMIT.as_secs())))
}

async fn exchange(url: &str, body: String) -> Result<(u16, Vec<u8>), String> {
    let uri: Uri = url.parse().map_err(|_| "the address is not a URL".to_owned())?;
    let host = uri.host().ok_or("the address has no host")?.trim_matches(['[', ']']).to_owned();
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let socket = TcpStream::connect((host.as_str(), port)).await.map_err(|e| format!("{host}:{port}: {e}"))?;
    if !secure {
        // Judged with the configuration already; here it would be too late to be surprised by a name.
        let local = socket.peer_addr().is_ok_and(|address| address.ip().is_loopback());
        return if local { speak(socket, &uri, body).await } else { Err("plain http goes to loopback only".into()) };
    }
    let name = ServerName::try_from(host.clone()).map_err(|_| format!("{host} is no server name"))?;
    let tls = TlsConnector::from(public_tls()?);
    let stream = tls.connect(name, socket).await.map_err(|e| format!("{host}:{port}: {e}"))?;
    speak(stream, &uri, body).await
}

async fn speak<S>(stream: S, uri: &Uri, body: String) -> Result<(u16, Vec<u8>), String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |error: hyper::Error| error.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = hyper::Request::post(path)
        .header("host", uri.authority().map_or("", |authority| authority.as_str()))
        .header("content-type", "application/json; charset=utf-8")
        .body(Full::new(bytes::Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(|e| e.to_string())?;
        Ok((status, body.to_bytes().to_vec()))
    };
    // The connection has to be driven while its one exchange runs, and is dropped with it.
    tokio::pin!(connection, exchange);
    let mut driven = false;
    loop {
        tokio::select! {
            biased;
            done = &mut exchange => return done,
            // An error here reaches the exchange as well.
            _ = &mut connection, if !driven => driven = true,
        }
    }
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
