//! Where a connection of ours goes, and what its request says.
//!
//! The first thing on the way of an outgoing connection: an application makes a [`Destination`] of
//! an address or of a `ws://` or `wss://` URL (RFC 6455 section 3), and hands it to the engine. Names are looked
//! up here, on the thread that asks and while it waits; a shard only ever sees addresses.
//!
//! Invariant: what is made of a URL can be written as a request. What an application puts in itself
//! is checked when the request is written.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// A WebSocket server to connect to, and what to ask it for.
///
/// ```
/// use tickwire_reactor::Destination;
///
/// let feed = Destination::resolve("ws://127.0.0.1:9002/prices?of=gold")?
///     .with_protocol("prices.v2")
///     .with_header("Authorization", "Bearer sesame");
/// assert_eq!(feed.host, "127.0.0.1:9002");
/// assert_eq!(feed.target, "/prices?of=gold");
/// # Ok::<(), tickwire_reactor::DestinationError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Destination {
    /// The addresses of the server, tried in this order until one takes the connection.
    pub addresses: Vec<SocketAddr>,
    /// Whether TLS is spoken, and then the name or address that the certificate of the server must be
    /// for.
    pub tls_name: Option<String>,
    /// What the `Host` header says: the name or address, and the port unless it is the default one.
    pub host: String,
    /// Path and query, beginning with `/`.
    pub target: String,
    /// Subprotocols to offer, the most preferred first.
    pub protocols: Vec<String>,
    /// More headers of the request, such as `Authorization` or `Origin`.
    pub headers: Vec<(String, String)>,
}

impl Destination {
    /// The path and query `target` of the server at `address`, which is also what `Host` says.
    #[must_use]
    pub fn new(address: SocketAddr, target: impl Into<String>) -> Self {
        let host = match address.port() {
            DEFAULT_PORT if address.is_ipv6() => format!("[{}]", address.ip()),
            DEFAULT_PORT => address.ip().to_string(),
            _ => address.to_string(),
        };
        Self {
            addresses: vec![address],
            tls_name: None,
            host,
            target: target.into(),
            protocols: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// What a `ws://` or `wss://` URL names; the latter takes the feature `tls`. Looking its name up may take seconds, in which this thread waits:
    /// not to be called in a handler, unless the URL has an address in place of a name.
    ///
    /// # Errors
    /// [`DestinationError`] if it is no such URL, or the name is not known.
    pub fn resolve(url: &str) -> Result<Self, DestinationError> {
        let parts = Parts::of(url)?;
        let addresses = parts.lookup().map_err(|source| {
            let name = parts.authority.to_owned();
            DestinationError::Name { name, source }
        })?;
        Ok(Self {
            addresses,
            tls_name: parts.is_secure.then(|| parts.host.to_owned()),
            host: parts.host(),
            target: parts.target(),
            protocols: Vec::new(),
            headers: Vec::new(),
        })
    }

    /// The same with one more subprotocol to offer, less preferred than those before.
    #[must_use]
    pub fn with_protocol(mut self, protocol: impl Into<String>) -> Self {
        self.protocols.push(protocol.into());
        self
    }

    /// The same with one more header in its request.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with TLS, to a server whose certificate is for `name`, a name or an address. What is
    /// trusted says [`Config::trust`](crate::Config); without it the connection fails.
    #[must_use]
    pub fn with_tls(mut self, name: impl Into<String>) -> Self {
        self.tls_name = Some(name.into());
        self
    }

    /// The same with another `Host` header: a server behind an address may have many names.
    #[must_use]
    pub fn with_host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }
}

impl fmt::Debug for Destination {
    /// Of its headers only the names: their values may be what authenticates us.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| &**name).collect();
        formatter
            .debug_struct("Destination")
            .field("addresses", &self.addresses)
            .field("tls_name", &self.tls_name)
            .field("host", &self.host)
            .field("target", &self.target)
            .field("protocols", &self.protocols)
            .field("headers", &names)
            .finish()
    }
}

/// Why a URL names no destination.
#[derive(Debug)]
#[non_exhaustive]
pub enum DestinationError {
    /// It does not begin with `ws://` or `wss://`.
    Scheme,
    /// It begins with `wss://`, and this program was built without TLS.
    Tls,
    /// Its host or its port is missing or malformed, or there is a user name before it.
    Authority,
    /// Its path or query holds something else than visible ASCII, or a fragment follows
    /// (RFC 6455 section 3).
    Target,
    /// Its host's name could not be looked up.
    Name {
        /// Host and port.
        name: String,
        /// What the resolver said.
        source: io::Error,
    },
}

impl fmt::Display for DestinationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Scheme => "a WebSocket URL begins with ws:// or wss://",
            Self::Tls => "wss:// needs TLS: build with the feature `tls`, or use ws://",
            Self::Authority => {
                "a WebSocket URL has a host, a port if it is not the usual one, and no user"
            }
            Self::Target => {
                "the path must be visible ASCII without '#'; write other characters as %XX"
            }
            Self::Name { name, source } => {
                return write!(formatter, "cannot look up {name}: {source}");
            }
        })
    }
}

impl std::error::Error for DestinationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Name { source, .. } => Some(source),
            Self::Scheme | Self::Tls | Self::Authority | Self::Target => None,
        }
    }
}

/// A URL in its parts, borrowed.
struct Parts<'a> {
    /// It is `wss://`.
    is_secure: bool,
    /// Host and port as they stand there.
    authority: &'a str,
    /// The host without the brackets of an IPv6 address.
    host: &'a str,
    port: u16,
    /// From the first `/` or `?` on; may be empty.
    rest: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Result<Self, DestinationError> {
        let (scheme, rest) = url.split_once("://").ok_or(DestinationError::Scheme)?;
        let is_secure = scheme.eq_ignore_ascii_case("wss");
        if !is_secure && !scheme.eq_ignore_ascii_case("ws") {
            return Err(DestinationError::Scheme);
        }
        if is_secure && !cfg!(feature = "tls") {
            return Err(DestinationError::Tls);
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if !rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(DestinationError::Target);
        }
        let (host, port) = split_authority(authority, default_port(is_secure))
            .ok_or(DestinationError::Authority)?;
        Ok(Self { is_secure, authority, host, port, rest })
    }

    fn lookup(&self) -> io::Result<Vec<SocketAddr>> {
        let addresses: Vec<SocketAddr> = (self.host, self.port).to_socket_addrs()?.collect();
        match addresses.first() {
            Some(_) => Ok(addresses),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "it has no address")),
        }
    }

    /// RFC 6455 section 4.1, item 4 of the request: the port only if it is not the default.
    fn host(&self) -> String {
        let default = if self.is_secure { ":443" } else { ":80" };
        let name = self.authority.strip_suffix(default).unwrap_or(self.authority);
        name.strip_suffix(':').unwrap_or(name).to_owned()
    }

    fn target(&self) -> String {
        // RFC 6455 section 3: an empty path is "/".
        if self.rest.starts_with('/') { self.rest.to_owned() } else { format!("/{}", self.rest) }
    }
}

/// Host and port of `host`, `host:port`, `[address]` or `[address]:port`.
fn split_authority(authority: &str, default_port: u16) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (address, port) = bracketed.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (address, port)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let (host, port) = authority.split_at(end);
            let is_name =
                |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
            if host.is_empty() || !host.bytes().all(is_name) {
                return None;
            }
            (host, port)
        }
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Some((host, default_port)),
        None => None,
        // An empty port is the default one (RFC 3986 section 3.2.3).
        Some("") => Some((host, default_port)),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port != 0).map(|port| (host, port))
        }
        Some(_) => None,
    }
}

/// That of `wss`, or of `ws` (RFC 6455 section 3).
const fn default_port(is_secure: bool) -> u16 {
    if is_secure { 443 } else { DEFAULT_PORT }
}

/// That of `ws`.
const DEFAULT_PORT: u16 = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_are_not_shown() {
        let shown = Destination::new(([127, 0, 0, 1], 9002).into(), "/feed")
            .with_header("Authorization", "Bearer sesame");
        let shown = format!("{shown:?}");
        assert!(shown.contains("Authorization") && !shown.contains("sesame"), "{shown}");
    }

    #[test]
    fn urls_become_address_host_and_target() {
        for (url, address, host, target) in [
            ("ws://127.0.0.1", "127.0.0.1:80", "127.0.0.1", "/"),
            ("WS://127.0.0.1:80/", "127.0.0.1:80", "127.0.0.1", "/"),
            ("ws://127.0.0.1:/a", "127.0.0.1:80", "127.0.0.1", "/a"),
            ("ws://127.0.0.1:9002/a/b?c=d&e", "127.0.0.1:9002", "127.0.0.1:9002", "/a/b?c=d&e"),
            ("ws://127.0.0.1:9002?c", "127.0.0.1:9002", "127.0.0.1:9002", "/?c"),
            ("ws://[::1]/", "[::1]:80", "[::1]", "/"),
            ("ws://[::1]:8080/x://y", "[::1]:8080", "[::1]:8080", "/x://y"),
            ("ws://127.0.0.1:8080/%20", "127.0.0.1:8080", "127.0.0.1:8080", "/%20"),
            ("ws://127.0.0.1:443/", "127.0.0.1:443", "127.0.0.1:443", "/"),
        ] {
            let destination = Destination::resolve(url).expect(url);
            let addresses = vec![address.parse().expect("an address")];
            assert_eq!(destination.addresses, addresses, "{url}");
            assert_eq!((&*destination.host, &*destination.target), (host, target), "{url}");
        }
    }

    #[test]
    fn a_secure_url_names_whom_the_certificate_is_for() {
        for (url, address, host, name) in [
            ("wss://127.0.0.1", "127.0.0.1:443", "127.0.0.1", "127.0.0.1"),
            ("WSS://127.0.0.1:443/", "127.0.0.1:443", "127.0.0.1", "127.0.0.1"),
            ("wss://127.0.0.1:80/", "127.0.0.1:80", "127.0.0.1:80", "127.0.0.1"),
            ("wss://[::1]:9002/", "[::1]:9002", "[::1]:9002", "::1"),
        ] {
            let resolved = Destination::resolve(url);
            if cfg!(not(feature = "tls")) {
                assert!(matches!(resolved, Err(DestinationError::Tls)), "{url}");
                continue;
            }
            let destination = resolved.expect(url);
            assert_eq!(destination.addresses, vec![address.parse().expect("an address")], "{url}");
            assert_eq!((&*destination.host, destination.tls_name.as_deref()), (host, Some(name)));
        }
    }

    #[test]
    fn what_is_no_websocket_url_is_refused_with_its_reason() {
        use DestinationError::{Authority, Name, Scheme, Target};
        type Is = fn(&DestinationError) -> bool;
        let cases: [(&str, Is); 17] = [
            ("", |it| matches!(it, Scheme)),
            ("127.0.0.1:80", |it| matches!(it, Scheme)),
            ("http://127.0.0.1/", |it| matches!(it, Scheme)),
            ("ws:/127.0.0.1/", |it| matches!(it, Scheme)),
            ("ws://", |it| matches!(it, Authority)),
            ("ws:///path", |it| matches!(it, Authority)),
            ("ws://:80/", |it| matches!(it, Authority)),
            ("ws://user@127.0.0.1/", |it| matches!(it, Authority)),
            ("ws://a:b:c/", |it| matches!(it, Authority)),
            ("ws://127.0.0.1:0/", |it| matches!(it, Authority)),
            ("ws://127.0.0.1:65536/", |it| matches!(it, Authority)),
            ("ws://127.0.0.1:+80/", |it| matches!(it, Authority)),
            ("ws://[::1/", |it| matches!(it, Authority)),
            ("ws://[example.org]/", |it| matches!(it, Authority)),
            ("ws://127.0.0.1/#fragment", |it| matches!(it, Target)),
            ("ws://127.0.0.1/a b", |it| matches!(it, Target)),
            ("ws://name.invalid/", |it| matches!(it, Name { .. })),
        ];
        for (url, is_expected) in cases {
            let error = Destination::resolve(url).expect_err(url);
            assert!(is_expected(&error), "{url}: {error}");
        }
    }

    #[test]
    fn host_of_an_address_leaves_the_default_port_out() {
        for (address, host) in [
            ("10.0.0.1:80", "10.0.0.1"),
            ("10.0.0.1:81", "10.0.0.1:81"),
            ("[::1]:80", "[::1]"),
            ("[::1]:81", "[::1]:81"),
        ] {
            let destination = Destination::new(address.parse().expect("an address"), "/");
            assert_eq!(destination.host, host);
        }
    }
}
