//! Just enough SOCKS5 to ask a client for a TCP connection (RFC 1928), written without the product's.

use std::io;
use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Asks for `host:port` on a fresh connection; `early` goes out with the request, before its answer.
///
/// # Errors
///
/// What the socket says, or the proxy's refusal as text.
pub async fn connect(stream: &mut TcpStream, host: &str, port: u16, early: &[u8]) -> io::Result<()> {
    stream.write_all(&[5, 1, 0]).await?;
    let mut method = [0; 2];
    stream.read_exact(&mut method).await?;
    if method != [5, 0] {
        return Err(io::Error::other(format!("answered the greeting with {method:?}")));
    }
    let mut request = request(host, port)?;
    request.extend_from_slice(early);
    stream.write_all(&request).await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let rest = match head[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await?),
        other => return Err(io::Error::other(format!("answered with address type {other}"))),
    };
    let mut address = vec![0; rest + 2];
    stream.read_exact(&mut address).await?;
    match head {
        [5, 0, ..] => Ok(()),
        [5, code, ..] => Err(io::Error::other(format!("refused with code {code}"))),
        _ => Err(io::Error::other(format!("answered with {head:?}"))),
    }
}

fn request(host: &str, port: u16) -> io::Result<Vec<u8>> {
    let mut bytes = vec![5, 1, 0];
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            bytes.push(1);
            bytes.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            bytes.push(4);
            bytes.extend_from_slice(&address.octets());
        }
        Err(_) => {
            let length =
                u8::try_from(host.len()).map_err(|_| io::Error::other("host name longer than 255 bytes"))?;
            bytes.extend_from_slice(&[3, length]);
            bytes.extend_from_slice(host.as_bytes());
        }
    }
    bytes.extend_from_slice(&port.to_be_bytes());
    Ok(bytes)
}
