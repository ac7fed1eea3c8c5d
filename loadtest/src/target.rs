//! Where the load goes: a `ws://` or `wss://` address, taken apart and resolved.
//!
//! Done once, before the first connection. The host of the address is what the handshake's Host
//! header says; the socket address is where the fleet connects. What TLS needs to know of a `wss://`
//! address, the bare name or address that a certificate is for, is [`Target::name`].

use std::fmt;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use serde::{Deserialize, Serialize};

/// A server to load, as named on the command line: `ws://host[:port][/path][?query]`, or `wss://`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Target {
    is_secure: bool,
    host: String,
    port: u16,
    path: String,
}

impl Target {
    /// The server at an address, with this path.
    #[must_use]
    pub(crate) fn at(address: SocketAddr, path: &str, is_secure: bool) -> Self {
        let host = match address {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        Self { is_secure, host, port: address.port(), path: path.to_owned() }
    }

    /// What the handshake's Host header says: the host, and the port unless it is the usual one.
    ///
    /// RFC 6455 section 4.1 (4).
    #[must_use]
    pub fn host(&self) -> String {
        if self.port == port_default(self.is_secure) {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether TLS is spoken there.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The host's name or address, without the brackets of an IPv6 address: they belong to the URL.
    #[must_use]
    pub fn name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The request target: path and query, `/` if the address had none.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The address to connect to, the first that accepts if the name has several.
    ///
    /// A name such as `localhost` stands for `::1` and `127.0.0.1`, and servers often listen on one
    /// of them only: so with several addresses each is tried once, in the resolver's order. When
    /// none accepts, the first is returned and the run itself says why it does not connect.
    ///
    /// # Errors
    ///
    /// When the name does not resolve.
    pub fn resolve(&self) -> Result<SocketAddr, TargetError> {
        let unresolved = || TargetError::Unresolved(self.host.clone());
        let addresses: Vec<SocketAddr> =
            (self.name(), self.port).to_socket_addrs().map_err(|_| unresolved())?.collect();
        let first = *addresses.first().ok_or_else(unresolved)?;
        if addresses.len() == 1 {
            return Ok(first);
        }
        let accepts = |address: &&SocketAddr| TcpStream::connect_timeout(address, PROBE).is_ok();
        Ok(addresses.iter().find(accepts).copied().unwrap_or(first))
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let not_understood = || TargetError::NotUnderstood(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| not_understood())?;
        let is_scheme = |name| uri.scheme_str().is_some_and(|it| it.eq_ignore_ascii_case(name));
        let is_secure = is_scheme("wss");
        if !is_secure && !is_scheme("ws") {
            return Err(not_understood());
        }
        let authority = uri.authority().ok_or_else(not_understood)?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(not_understood());
        }
        // A port that is there but is no number from 1 to 65535 must not turn into the default.
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => port_default(is_secure),
            _ => authority.port_u16().filter(|port| *port != 0).ok_or_else(not_understood)?,
        };
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        // With a query but no path the path is empty, which a request line must not be.
        let slash = if path.starts_with('/') { "" } else { "/" };
        let path = format!("{slash}{path}");
        Ok(Self { is_secure, host: authority.host().to_owned(), port, path })
    }
}

impl TryFrom<String> for Target {
    type Error = TargetError;

    fn try_from(text: String) -> Result<Self, TargetError> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "wss" } else { "ws" };
        write!(formatter, "{scheme}://{}{}", self.host(), self.path)
    }
}

/// Why an address is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetError {
    /// Not of the form `ws://host[:port][/path]` or `wss://host[:port][/path]`.
    NotUnderstood(String),
    /// The host's name has no address.
    Unresolved(String),
}

impl fmt::Display for TargetError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUnderstood(text) => {
                let form = "ws://host[:port][/path] or wss://host[:port][/path]";
                write!(formatter, "`{text}` is not an address of the form {form}")
            }
            Self::Unresolved(host) => {
                write!(formatter, "the name `{host}` has no address: check its spelling and DNS")
            }
        }
    }
}

impl std::error::Error for TargetError {}

/// The port of `wss://` and of `ws://` without one, RFC 6455 section 3.
const fn port_default(is_secure: bool) -> u16 {
    if is_secure { 443 } else { 80 }
}

/// How long one of several addresses may take to accept before the next is tried.
const PROBE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (text, host, path) in [
            ("ws://127.0.0.1:9001/echo", "127.0.0.1:9001", "/echo"),
            ("ws://example.org", "example.org", "/"),
            ("ws://example.org:80/", "example.org", "/"),
            ("ws://[::1]:8080/a/b?c=d", "[::1]:8080", "/a/b?c=d"),
            ("ws://host:1?x=1", "host:1", "/?x=1"),
            ("WS://host:1/", "host:1", "/"),
            ("wss://example.org", "example.org", "/"),
            ("wss://example.org:443/", "example.org", "/"),
            ("wss://example.org:80/", "example.org:80", "/"),
            ("ws://example.org:443/", "example.org:443", "/"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.host().as_str(), target.path()), (host, path), "{text}");
            assert_eq!(target.is_secure(), text.starts_with("wss"), "{text}");
            assert_eq!(target.to_string().parse(), Ok(target), "{text}");
        }
    }

    #[test]
    fn what_is_no_ws_address_is_refused() {
        for text in [
            "",
            "/",
            "host:1",
            "http://host/",
            "ws://",
            "ws:///path",
            "ws://host:0/",
            "ws://host:65536/",
            "ws://host:/",
            "ws://user@host/",
            "ws://ho st/",
        ] {
            assert!(matches!(text.parse::<Target>(), Err(TargetError::NotUnderstood(_))), "{text}");
        }
    }

    #[test]
    fn a_name_resolves_to_the_address_that_accepts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let target: Target = format!("ws://localhost:{}/", address.port()).parse().unwrap();
        assert_eq!(target.resolve(), Ok(address));
    }

    #[test]
    fn a_name_without_address_is_an_error() {
        let target: Target = "ws://nowhere.invalid/".parse().unwrap();
        assert_eq!(target.resolve(), Err(TargetError::Unresolved("nowhere.invalid".into())));
    }
}
