//! Grants: a network and the ports of it.
//!
//! ```text
//! grant   = network [ ":" port [ "-" port ] ]
//! network = IPv4 [ "/" prefix ]  |  IPv6 "/" prefix  |  "[" IPv6 "]" [ "/" prefix ]  |  IPv6 (then without ports)
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

/// A network and a range of ports, as written in `server.allow` and `server.deny`.
///
/// `10.2.0.0/16:443`, `10.0.0.0/8:80-90`, `127.0.0.0/8` (all ports), `::1/128`, `[::1]:22`, `192.0.2.7` (one address).
/// A mapped network (`::ffff:10.0.0.0/104`) is the IPv4 network it stands for. [`fmt::Display`] writes the normal form.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Grant {
    network: IpNet,
    low: u16,
    high: u16,
}

impl Grant {
    /// One address and one port.
    pub fn single(address: SocketAddr) -> Self {
        Self { network: address.ip().to_canonical().into(), low: address.port(), high: address.port() }
    }

    /// Whether the address lies in the network and the port in the range.
    pub fn contains(&self, address: SocketAddr) -> bool {
        (self.low..=self.high).contains(&address.port())
            && self.network.contains(&address.ip().to_canonical())
    }

    /// The whole of a network.
    pub(crate) const fn network(network: IpNet) -> Self {
        Self { network, low: 0, high: u16::MAX }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.network.fmt(f)?;
        match (self.low, self.high) {
            (0, u16::MAX) => Ok(()),
            (low, high) if low == high => write!(f, ":{low}"),
            (low, high) => write!(f, ":{low}-{high}"),
        }
    }
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (address, rest) = split_address(text)?;
        let (prefix, ports) = match rest.strip_prefix('/') {
            Some(rest) => match rest.split_once(':') {
                Some((prefix, ports)) => (Some(prefix), Some(ports)),
                None => (Some(rest), None),
            },
            None => (None, rest.strip_prefix(':')),
        };
        let network = network(text, address, prefix)?;
        let (low, high) = ports.map_or(Ok((0, u16::MAX)), |ports| parse_ports(text, ports))?;
        Ok(Self { network, low, high })
    }
}

/// The address in front, and what follows it: nothing, `/…` or `:…`.
fn split_address(text: &str) -> Result<(IpAddr, &str), GrantError> {
    if text.is_empty() {
        return Err(GrantError::Empty);
    }
    if let Some(inside) = text.strip_prefix('[') {
        let (ip, rest) = inside.split_once(']').ok_or_else(|| GrantError::Brackets { grant: text.into() })?;
        let ip: Ipv6Addr = ip.parse().map_err(|_| GrantError::Brackets { grant: text.into() })?;
        if !(rest.is_empty() || rest.starts_with(['/', ':'])) {
            return Err(GrantError::Brackets { grant: text.into() });
        }
        return Ok((ip.into(), rest));
    }
    // An IPv6 address is full of colons: without brackets only a slash ends it.
    let end = if text.matches(':').count() > 1 { text.find('/') } else { text.find(['/', ':']) };
    let (address, rest) = text.split_at_checked(end.unwrap_or(text.len())).unwrap_or((text, ""));
    let ip =
        address.parse().map_err(|_| GrantError::Address { grant: text.into(), address: address.into() })?;
    Ok((ip, rest))
}

fn network(text: &str, address: IpAddr, prefix: Option<&str>) -> Result<IpNet, GrantError> {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => bits,
        Some(prefix) => number(prefix)
            .and_then(|n| u8::try_from(n).ok())
            .filter(|n| *n <= bits)
            .ok_or_else(|| GrantError::Prefix { grant: text.into(), prefix: prefix.into(), max: bits })?,
    };
    let error = || GrantError::Prefix { grant: text.into(), prefix: prefix.to_string(), max: bits };
    let given = IpNet::new(address, prefix).map_err(|_| error())?;
    let fixed = given.trunc();
    if fixed.addr() != address {
        let single = IpNet::from(address);
        return Err(GrantError::HostBits {
            given: given.to_string(),
            fixed: fixed.to_string(),
            single: single.to_string(),
        });
    }
    match (address.to_canonical(), prefix.checked_sub(96)) {
        (IpAddr::V4(ip), Some(prefix)) if address.is_ipv6() => {
            IpNet::new(ip.into(), prefix).map_err(|_| error())
        }
        _ => Ok(given),
    }
}

fn parse_ports(text: &str, ports: &str) -> Result<(u16, u16), GrantError> {
    let port = |port: &str| {
        number(port)
            .and_then(|n| u16::try_from(n).ok())
            .filter(|n| *n > 0)
            .ok_or_else(|| GrantError::Port { grant: text.into(), port: port.into() })
    };
    let Some((low, high)) = ports.split_once('-') else {
        let single = port(ports)?;
        return Ok((single, single));
    };
    let (low, high) = (port(low)?, port(high)?);
    if low > high { Err(GrantError::PortOrder { grant: text.into(), low, high }) } else { Ok((low, high)) }
}

/// Digits only: `parse` alone takes a sign.
fn number(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Why a text is not a [`Grant`], and what to write instead.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// The part before prefix and port is not an address.
    #[error(
        "{grant:?}: {address:?} is not an IP address (grants take addresses, not names) → write 10.2.0.0/16:443, ::1/128 or [::1]:22"
    )]
    Address {
        /// The grant as written.
        grant: String,
        /// The part in question.
        address: String,
    },
    /// Brackets that don't hold an IPv6 address, or something odd behind them.
    #[error(
        "{grant:?}: brackets must hold an IPv6 address, and a prefix or port may follow → write [2001:db8::1]:443"
    )]
    Brackets {
        /// The grant as written.
        grant: String,
    },
    /// Nothing is written.
    #[error("a grant is empty → write a network and ports, such as 10.2.0.0/16:443")]
    Empty,
    /// The address has bits behind its prefix, so it is unclear what was meant.
    #[error(
        "{given} has bits set behind its prefix → write {fixed} for the network, or {single} for the one address"
    )]
    HostBits {
        /// The network as written.
        given: String,
        /// The network it lies in.
        fixed: String,
        /// The address alone.
        single: String,
    },
    /// A port is not a number from 1 to 65535.
    #[error(
        "{grant:?}: port {port:?} is not a number from 1 to 65535 → write :443 or :80-90, or nothing for all ports"
    )]
    Port {
        /// The grant as written.
        grant: String,
        /// The part in question.
        port: String,
    },
    /// A range of ports runs backwards.
    #[error("{grant:?}: the ports run backwards → write :{high}-{low}")]
    PortOrder {
        /// The grant as written.
        grant: String,
        /// The first port as written.
        low: u16,
        /// The second port as written.
        high: u16,
    },
    /// The prefix is not a number, or too big for the address.
    #[error("{grant:?}: prefix {prefix:?} is not a number from 0 to {max}")]
    Prefix {
        /// The grant as written.
        grant: String,
        /// The part in question.
        prefix: String,
        /// The longest prefix of this address family.
        max: u8,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> String {
        text.parse::<Grant>().unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
    }

    #[test]
    fn each_spelling_has_one_normal_form_that_parses_to_itself() {
        for (text, want) in [
            ("10.2.0.0/16:443", "10.2.0.0/16:443"),
            ("10.0.0.0/8:80-90", "10.0.0.0/8:80-90"),
            ("10.0.0.0/8:80-80", "10.0.0.0/8:80"),
            ("127.0.0.0/8", "127.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7:22", "192.0.2.7/32:22"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::1/128", "::1/128"),
            ("::1/128:22", "::1/128:22"),
            ("::1", "::1/128"),
            ("[::1]", "::1/128"),
            ("[::1]:22", "::1/128:22"),
            ("[fd00::]/8:1-65535", "fd00::/8:1-65535"),
            ("::/0", "::/0"),
            ("::ffff:10.0.0.0/104:443", "10.0.0.0/8:443"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
        ] {
            assert_eq!(normal(text), want);
            assert_eq!(normal(want), want);
        }
    }

    #[test]
    fn each_wrong_grant_is_told_what_is_wrong_and_what_to_write() {
        for (text, want) in [
            ("", "a grant is empty"),
            (
                "10.2.3.4/16",
                "10.2.3.4/16 has bits set behind its prefix → write 10.2.0.0/16 for the network, or 10.2.3.4/32 for the one address",
            ),
            (
                "fd00::1/8:443",
                "fd00::1/8 has bits set behind its prefix → write fd00::/8 for the network, or fd00::1/128",
            ),
            ("10.0.0.0/33", r#"prefix "33" is not a number from 0 to 32"#),
            ("::1/129", r#"prefix "129" is not a number from 0 to 128"#),
            ("10.0.0.0/", r#"prefix "" is not a number"#),
            ("10.0.0.0/+8", r#"prefix "+8" is not a number"#),
            ("10.0.0.0/8:", r#"port "" is not a number"#),
            ("10.0.0.0/8:0", r#"port "0" is not a number from 1"#),
            ("10.0.0.0/8:65536", r#"port "65536" is not"#),
            ("10.0.0.0/8:http", r#"port "http" is not"#),
            ("10.0.0.0/8:80-", r#"port "" is not"#),
            ("10.0.0.0/8:80-90-95", r#"port "90-95" is not"#),
            ("10.0.0.0/8:90-80", "the ports run backwards → write :80-90"),
            (
                "intranet.corp:443",
                r#""intranet.corp" is not an IP address (grants take addresses, not names)"#,
            ),
            ("*", r#""*" is not an IP address"#),
            ("010.0.0.0/8", r#""010.0.0.0" is not an IP address"#),
            ("10.0.0/8", r#""10.0.0" is not an IP address"#),
            ("[10.0.0.0]/8", "brackets must hold an IPv6 address"),
            ("[::1", "brackets must hold an IPv6 address"),
            ("[::1]22", "brackets must hold an IPv6 address"),
            ("fe80::1%eth0/128", "is not an IP address"),
            (" 10.0.0.0/8", r#"" 10.0.0.0" is not an IP address"#),
        ] {
            let error = text.parse::<Grant>().expect_err(text).to_string();
            assert!(error.contains(want), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn contains_asks_for_network_and_port() {
        let grant: Grant = "10.2.0.0/16:80-90".parse().unwrap();
        for (address, inside) in [
            ("10.2.0.0:80", true),
            ("10.2.255.255:90", true),
            ("10.2.0.0:79", false),
            ("10.2.0.0:91", false),
            ("10.1.255.255:80", false),
            ("10.3.0.0:80", false),
            ("[::ffff:10.2.3.4]:80", true),
            ("[::10.2.3.4]:80", false),
        ] {
            assert_eq!(grant.contains(address.parse().unwrap()), inside, "{address}");
        }
    }
}
