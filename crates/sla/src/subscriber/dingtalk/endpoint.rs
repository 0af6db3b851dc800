//! Where the robot is: the little of a URL that a webhook needs.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// `https://host[:port]/path`; plain `http` to loopback only, for tests and local relays.
///
/// Prints without its path, which may hold a token.
#[derive(Clone, Eq, PartialEq)]
pub struct Endpoint {
    tls: bool,
    host: String,
    port: u16,
    path: String,
}

impl Endpoint {
    /// Whether it is spoken to by TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// A name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path, from its first slash, with a query if the URL had one.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

impl Default for Endpoint {
    /// DingTalk's own.
    fn default() -> Self {
        Self { tls: true, host: "oapi.dingtalk.com".to_owned(), port: 443, path: "/robot/send".to_owned() }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let (tls, rest) = match url.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(EndpointError::Scheme),
        };
        let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        if authority.contains('@') {
            return Err(EndpointError::User);
        }
        let is_plain = |c: char| c.is_ascii_graphic();
        if path.contains('#') || !path.chars().all(is_plain) {
            return Err(EndpointError::Path);
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().ok().filter(|&port| port != 0).ok_or(EndpointError::Port)?)
            }
            _ => (authority, if tls { 443 } else { 80 }),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let address = bare.parse::<IpAddr>().ok();
        if bare.is_empty() || (address.is_none() && !bare.chars().all(is_name)) {
            return Err(EndpointError::Host);
        }
        let is_loopback = bare == "localhost" || address.is_some_and(|address| address.is_loopback());
        if !tls && !is_loopback {
            return Err(EndpointError::Plain);
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { tls, host: bare.to_owned(), port, path })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a URL is no place for alerts.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The host is missing or has strange characters.
    #[error("the host is missing or not a name or address")]
    Host,
    /// The path has strange characters.
    #[error("the path has characters that a URL can't have")]
    Path,
    /// Secrets over plain HTTP to another machine.
    #[error("plain http is for loopback only; use https")]
    Plain,
    /// The port is not 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// Neither https nor http.
    #[error("it does not begin with https://")]
    Scheme,
    /// A user in the URL.
    #[error("a user in it is not supported")]
    User,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let parts = |url: &str| {
            let at: Endpoint = url.parse().expect("an endpoint");
            (at.tls, at.host, at.port, at.path)
        };
        let part = |tls, host: &str, port, path: &str| (tls, host.to_owned(), port, path.to_owned());
        assert_eq!(parts("https://a.example/x?y=z"), part(true, "a.example", 443, "/x?y=z"));
        assert_eq!(parts("https://a.example:8443"), part(true, "a.example", 8443, "/"));
        assert_eq!(parts("http://127.0.0.1:9/r"), part(false, "127.0.0.1", 9, "/r"));
        assert_eq!(parts("http://[::1]:9/r"), part(false, "::1", 9, "/r"));
        assert_eq!(parts("http://[::1]/"), part(false, "::1", 80, "/"));
        assert_eq!(parts("http://localhost?q"), part(false, "localhost", 80, "/?q"));
        assert_eq!(Endpoint::default(), "https://oapi.dingtalk.com/robot/send".parse().expect("an endpoint"));
    }

    #[test]
    fn dangerous_and_broken_urls_are_refused() {
        let cases = [
            ("http://oapi.dingtalk.com/robot/send", EndpointError::Plain),
            ("http://127.0.0.1.example/", EndpointError::Plain),
            ("ftp://127.0.0.1/", EndpointError::Scheme),
            ("oapi.dingtalk.com", EndpointError::Scheme),
            ("https://user@a.example/", EndpointError::User),
            ("https:///x", EndpointError::Host),
            ("https://a b/", EndpointError::Host),
            ("https://a.example:0/", EndpointError::Port),
            ("https://a.example:x/", EndpointError::Port),
            ("https://a.example/a b", EndpointError::Path),
            ("https://a.example/\r\nHost:", EndpointError::Path),
        ];
        for (url, error) in cases {
            assert_eq!(url.parse::<Endpoint>(), Err(error), "{url}");
        }
    }

    #[test]
    fn output_has_no_path() {
        let endpoint: Endpoint = "https://a.example/robot?access_token=hidden".parse().expect("an endpoint");
        assert_eq!(format!("{endpoint} {endpoint:?}"), "https://a.example:443 https://a.example:443");
    }
}
