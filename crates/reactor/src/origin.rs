//! Which web pages may open a WebSocket: the check of `Origin` (RFC 6455 sections 4.2.2 and 10.2).
//!
//! A browser sends its cookies with the handshake whatever page opens it, and nothing keeps that
//! page from reading what comes: the same-origin policy does not cover WebSockets. So an engine
//! whose application trusts cookies must know the pages it trusts. Asked once per upgrade, after
//! the request was parsed and before the handler sees it.
//!
//! Invariant: an origin that cannot be read is nobody's friend. What is no browser can send any
//! `Origin` that it likes: this protects visitors of pages, it does not authenticate clients.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use tickwire_protocol::Request;

/// The origins whose pages may open a WebSocket.
///
/// ```
/// use tickwire_reactor::Origins;
///
/// let ours = Origins::list(["https://example.org", "https://app.example.org:8443"])?;
/// let strict = Origins::same_origin().required();
/// # let _ = (ours, strict);
/// # Ok::<(), tickwire_reactor::NotAnOrigin>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Origins {
    policy: Policy,
    required: bool,
}

#[derive(Clone, Debug, Default)]
enum Policy {
    #[default]
    Any,
    SameOrigin,
    List(Arc<[Box<str>]>),
}

impl Origins {
    /// Pages of every origin: for an application that knows its clients by something a foreign page
    /// does not have, such as a token in the first message. Not where cookies authenticate.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Pages that came from this server: host and port of `Origin` are those of `Host`. The scheme
    /// is not compared, since a proxy may have ended TLS, but tells the port where none is named.
    ///
    /// A name that an attacker points at this server passes (DNS rebinding), as both headers then
    /// carry it: where that matters, use a [list](Self::list).
    #[must_use]
    pub fn same_origin() -> Self {
        Self { policy: Policy::SameOrigin, required: false }
    }

    /// Pages of these origins, each `scheme://host` or `scheme://host:port` as browsers send it;
    /// upper and lower case are the same, and so are a default port and none.
    ///
    /// # Errors
    /// [`NotAnOrigin`] for one with a path, a wildcard or anything else that no browser sends: it
    /// would never match.
    pub fn list<O: AsRef<str>>(origins: impl IntoIterator<Item = O>) -> Result<Self, NotAnOrigin> {
        let checked = |origin: O| match Origin::parse(origin.as_ref()) {
            Some(_) => Ok(Box::from(origin.as_ref())),
            None => Err(NotAnOrigin(origin.as_ref().to_owned())),
        };
        let list: Result<Arc<[Box<str>]>, NotAnOrigin> = origins.into_iter().map(checked).collect();
        Ok(Self { policy: Policy::List(list?), required: false })
    }

    /// The same, and clients without `Origin`, which are no browsers, are refused too.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Whether whoever sent `request` may open a WebSocket. For a handler that has rules of its own
    /// per path; those of [`Config::origins`](crate::Config::origins) are checked by the engine.
    ///
    /// `null`, which stands for an origin that the browser hides, is a foreign one.
    #[must_use]
    pub fn allows(&self, request: &Request<'_>) -> bool {
        let mut values = request.values("Origin");
        let Some(origin) = values.next() else { return !self.required };
        if matches!(self.policy, Policy::Any) {
            return true;
        }
        let origin = std::str::from_utf8(origin).ok().and_then(Origin::parse);
        let (Some(origin), None) = (origin, values.next()) else { return false };
        match &self.policy {
            Policy::Any => true,
            Policy::SameOrigin => {
                request.header("Host").is_some_and(|host| origin.is_served_at(host))
            }
            Policy::List(list) => {
                list.iter().any(|it| Origin::parse(it).is_some_and(|it| it.is(&origin)))
            }
        }
    }
}

impl FromStr for Origins {
    type Err = NotAnOrigin;

    /// `any`, `same-origin`, or a list of origins separated by commas.
    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        match text {
            "any" => Ok(Self::any()),
            "same-origin" => Ok(Self::same_origin()),
            list => Self::list(list.split(',').map(str::trim)),
        }
    }
}

/// What is not of the form `scheme://host` or `scheme://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnOrigin(String);

impl fmt::Display for NotAnOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} is no origin: write it as https://example.org[:port]", self.0)
    }
}

impl std::error::Error for NotAnOrigin {}

/// A serialised origin (RFC 6454 section 6.2).
#[derive(Clone, Copy, Debug)]
struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
    /// As named, or the default of the scheme; `None` for a scheme that has none.
    port: Option<u16>,
}

impl<'a> Origin<'a> {
    fn parse(origin: &'a str) -> Option<Self> {
        let (scheme, authority) = origin.split_once("://")?;
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
            return None;
        }
        let (host, port) = host_and_port(authority)?;
        Some(Self { scheme, host, port: port.or_else(|| default_port(scheme)) })
    }

    fn is(&self, other: &Self) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.host.eq_ignore_ascii_case(other.host)
            && self.port == other.port
    }

    /// Whether a page of this origin was sent by the server that `host_header` names.
    fn is_served_at(&self, host_header: &str) -> bool {
        // Other schemes, those of extensions, say, have hosts that are no servers.
        let default = default_port(self.scheme);
        let Some((host, port)) = host_and_port(host_header) else { return false };
        default.is_some() && self.host.eq_ignore_ascii_case(host) && self.port == port.or(default)
    }
}

/// The two parts of `host[:port]`; an IPv6 address is in brackets (RFC 3986 section 3.2.2).
fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let host_len = match authority.strip_prefix('[') {
        Some(address) => address.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(host_len);
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%[]:".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_host) {
        return None;
    }
    let digits = match rest.strip_prefix(':') {
        Some(digits) => digits,
        None if rest.is_empty() => "",
        None => return None,
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match digits {
        "" => Some((host, None)),
        digits => Some((host, Some(digits.parse().ok()?))),
    }
}

/// RFC 9110 section 4.2, RFC 6455 section 3.
fn default_port(scheme: &str) -> Option<u16> {
    let is = |name: &str| scheme.eq_ignore_ascii_case(name);
    if is("http") || is("ws") {
        Some(80)
    } else if is("https") || is("wss") {
        Some(443)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use tickwire_protocol::{Limits, RequestReader};

    use super::*;

    /// Whether a request with these lines may upgrade.
    fn allows(origins: &Origins, host: &str, origin_lines: &[&str]) -> bool {
        let mut head = format!("GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n");
        for line in origin_lines {
            head.push_str(&format!("oRiGiN: {line}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        let mut reader = RequestReader::new();
        let request = reader.push(&mut &mut bytes[..], &Limits::default());
        origins.allows(&request.expect("a well-formed head").expect("a whole head"))
    }

    #[test]
    fn a_page_has_the_same_origin_if_host_and_port_are_those_of_the_host_header() {
        let same = Origins::same_origin();
        for (origin, host, expected) in [
            ("https://example.org", "example.org", true),
            ("http://example.org", "example.org", true),
            ("HTTPS://Example.ORG", "eXample.org", true),
            ("https://example.org", "example.org:443", true),
            ("https://example.org", "example.org:", true),
            ("http://example.org:8080", "example.org:8080", true),
            ("http://[::1]:9001", "[::1]:9001", true),
            ("http://[::1]", "[::1]", true),
            ("http://example.org", "example.org:443", false),
            ("https://example.org:80", "example.org", false),
            ("http://example.org:8081", "example.org:8080", false),
            ("http://example.org:8080", "example.org", false),
            ("https://evil.example", "example.org", false),
            ("https://example.org.evil.example", "example.org", false),
            ("https://notexample.org", "example.org", false),
            ("https://example.org@evil.example", "example.org", false),
            ("https://example.org/", "example.org", false),
            ("https://example.org:+443", "example.org", false),
            ("https://example.org:443443", "example.org", false),
            ("https://[::1]x", "[::1]", false),
            ("https://[::1", "[::1]", false),
            ("https://", "example.org", false),
            ("://example.org", "example.org", false),
            ("example.org", "example.org", false),
            ("chrome-extension://example.org", "example.org", false),
            ("null", "example.org", false),
            ("null", "null", false),
            ("", "example.org", false),
        ] {
            assert_eq!(allows(&same, host, &[origin]), expected, "{origin} at {host}");
        }
    }

    #[test]
    fn a_list_has_exactly_its_origins() {
        let list = Origins::list(["https://example.org", "HTTP://Other.example:8080"]);
        let list = list.expect("origins");
        for (origin, expected) in [
            ("https://example.org", true),
            ("https://EXAMPLE.org:443", true),
            ("http://other.example:8080", true),
            ("http://example.org", false),
            ("https://example.org:444", false),
            ("https://sub.example.org", false),
            ("http://other.example", false),
            ("null", false),
        ] {
            assert_eq!(allows(&list, "server", &[origin]), expected, "{origin}");
        }
    }

    #[test]
    fn two_origins_are_none_and_no_origin_is_a_matter_of_policy() {
        let list = Origins::list(["https://example.org"]).expect("an origin");
        for origins in [Origins::same_origin(), list] {
            let twice = ["https://example.org"; 2];
            assert!(!allows(&origins, "example.org", &twice));
            assert!(allows(&origins, "example.org", &twice[..1]));
            assert!(allows(&origins, "example.org", &[]));
            assert!(!allows(&origins.required(), "example.org", &[]));
        }
        assert!(allows(&Origins::any(), "example.org", &["null"]));
        assert!(allows(&Origins::any().required(), "example.org", &["null"]));
        assert!(!allows(&Origins::any().required(), "example.org", &[]));
    }

    #[test]
    fn what_no_browser_sends_is_refused_when_the_list_is_made() {
        for wrong in [
            "example.org",
            "https://example.org/",
            "https://*.example.org",
            "https://example.org:port",
            "https://example.org:65536",
            "https://user@example.org",
            "https://",
            "null",
            "*",
            "",
        ] {
            assert_eq!(
                Origins::list(["https://example.org", wrong]).expect_err(wrong),
                NotAnOrigin(wrong.to_owned())
            );
        }
    }

    #[test]
    fn policies_have_a_form_for_command_lines() {
        let list: Origins = "https://a.example, https://b.example".parse().expect("a list");
        assert!(allows(&list, "c", &["https://b.example"]));
        assert!(!allows(&list, "c", &["https://c"]));
        let same: Origins = "same-origin".parse().expect("a policy");
        assert!(allows(&same, "c", &["https://c"]) && !allows(&same, "c", &["https://d"]));
        let any: Origins = "any".parse().expect("a policy");
        assert!(allows(&any, "c", &["https://d"]));
        assert!("some".parse::<Origins>().is_err());
    }
}
