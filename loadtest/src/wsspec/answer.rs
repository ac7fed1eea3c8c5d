//! The server's answer to a handshake, taken apart (RFC 6455 section 4.2.2, RFC 9112).
//!
//! Between the bytes behind a request and the cases: a status, header lines as they stand, and what
//! they say about compression. As strict as a careful client is with the form; whether a header is
//! the right one is the cases' to say.
//!
//! Invariant: an answer is returned only once its empty line has come.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// Status and headers of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
}

impl Answer {
    /// The answer at the beginning of `bytes` and its length, once it is whole; an error says what
    /// is wrong with its form.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, String> {
        let Some(length) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            if bytes.len() > HEAD_MAX {
                return Err(format!("no end of the answer's head in {HEAD_MAX} bytes"));
            }
            return Ok(None);
        };
        let head = std::str::from_utf8(&bytes[..length])
            .map_err(|_| "an answer whose head is not text".to_owned())?;
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| first.strip_prefix("HTTP/1.0 "))
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(|| format!("an answer that begins with {first:?}"))?;
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            let is_token = !name.is_empty() && !name.contains(|c: char| !c.is_ascii_graphic());
            is_token.then(|| (name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
        };
        let headers = lines
            .map(|line| header(line).ok_or_else(|| format!("the header line {line:?}")))
            .collect::<Result<_, _>>()?;
        Ok(Some((Self { status, headers }, length + 4)))
    }

    /// The values of all lines named `name`.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(its, _)| its.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// Whether a list of tokens named `name` has `token`, in any case.
    pub(crate) fn has_token(&self, name: &str, token: &str) -> bool {
        let is_it = |element: &str| element.trim().eq_ignore_ascii_case(token);
        self.values(name).iter().any(|value| value.split(',').any(is_it))
    }

    /// What the server agreed to about compression, if anything (RFC 7692 section 7.1); an error
    /// says what is wrong with it. `offer` is what the client had sent.
    pub(crate) fn deflate(&self, offer: Option<&str>) -> Result<Option<Deflate>, String> {
        let values = self.values("Sec-WebSocket-Extensions");
        let Some(value) = values.first() else { return Ok(None) };
        if values.len() > 1 || value.contains(',') {
            return Err(format!("several extensions: {}", values.join(", ")));
        }
        let Some(offer) = offer else {
            return Err(format!("the extension {value:?}, which was not offered"));
        };
        let mut parts = value.split(';').map(str::trim);
        if parts.next() != Some("permessage-deflate") {
            return Err(format!("the extension {value:?}, which was not offered"));
        }
        let mut agreed = Deflate::default();
        let mut seen = Vec::new();
        for part in parts {
            let (name, bits) = part.split_once('=').map_or((part, None), |(a, b)| (a, Some(b)));
            let bits = bits.map(|bits| bits.trim_matches('"'));
            match (name, bits) {
                _ if seen.contains(&name) => return Err(format!("{name} twice in {value:?}")),
                ("server_no_context_takeover", None) => agreed.server_takeover = false,
                ("client_no_context_takeover", None) => agreed.client_takeover = false,
                ("server_max_window_bits", Some(bits)) => {
                    agreed.server_bits = window_bits(bits).ok_or_else(|| bad(value))?;
                }
                ("client_max_window_bits", Some(bits)) => {
                    if !offer.contains("client_max_window_bits") {
                        return Err("client_max_window_bits, which was not offered".to_owned());
                    }
                    agreed.client_bits = window_bits(bits).ok_or_else(|| bad(value))?;
                }
                _ => return Err(bad(value)),
            }
            seen.push(name);
        }
        Ok(Some(agreed))
    }
}

fn bad(value: &str) -> String {
    format!("parameters that mean nothing: {value:?}")
}

fn window_bits(text: &str) -> Option<u8> {
    match text {
        "8" => Some(8),
        "9" => Some(9),
        "10" => Some(10),
        "11" => Some(11),
        "12" => Some(12),
        "13" => Some(13),
        "14" => Some(14),
        "15" => Some(15),
        _ => None,
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HTTP {}", self.status)?;
        for (name, value) in &self.headers {
            let name = name.to_ascii_lowercase();
            if matches!(name.as_str(), "upgrade" | "connection" | "allow" | "retry-after")
                || name.starts_with("sec-")
            {
                write!(formatter, "; {name}: {value}")?;
            }
        }
        Ok(())
    }
}

/// The parameters of permessage-deflate that are in force (RFC 7692 section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deflate {
    /// The server's messages lean on the ones before them.
    pub(crate) server_takeover: bool,
    /// The client's messages may lean on the ones before them.
    pub(crate) client_takeover: bool,
    /// The server's window is 2 to the power of this, in bytes.
    pub(crate) server_bits: u8,
    /// The client's window is 2 to the power of this, in bytes.
    pub(crate) client_bits: u8,
}

impl Default for Deflate {
    /// What holds unless a parameter says otherwise.
    fn default() -> Self {
        Self { server_takeover: true, client_takeover: true, server_bits: 15, client_bits: 15 }
    }
}

/// What proves that a server has read the key (RFC 6455 section 4.2.2, item 5.4).
pub(crate) fn accept_value(key: &str) -> String {
    let hash = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// A longer head of an answer helps nobody.
const HEAD_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn with_extensions(value: &str) -> Answer {
        let headers = vec![("sec-websocket-extensions".to_owned(), value.to_owned())];
        Answer { status: 101, headers }
    }

    #[test]
    fn an_answer_is_read_once_it_is_whole() {
        let bytes = b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: a, WebSocket\r\nX:y\r\n\r\n\x81";
        for cut in 0..bytes.len() - 1 {
            assert_eq!(Answer::read(&bytes[..cut]), Ok(None));
        }
        let (answer, length) = Answer::read(bytes).unwrap().unwrap();
        assert_eq!((answer.status, length), (426, bytes.len() - 1));
        assert_eq!(answer.values("x"), ["y"]);
        assert!(answer.has_token("upgrade", "websocket"));
        assert!(!answer.has_token("upgrade", "web"));
        for bad in
            [&b"SSH-2.0\r\n\r\n"[..], b"HTTP/1.1 xyz\r\n\r\n", b"HTTP/1.1 200 OK\r\na b\r\n\r\n"]
        {
            assert!(Answer::read(bad).is_err());
        }
    }

    #[test]
    fn the_sample_key_has_the_sample_answer() {
        assert_eq!(accept_value("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn parameters_of_the_answer_are_read_and_nonsense_is_told() {
        let offer = Some("permessage-deflate; client_max_window_bits");
        let value = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                     server_max_window_bits=9; client_max_window_bits=\"10\"";
        let agreed = Deflate {
            server_takeover: false,
            client_takeover: false,
            server_bits: 9,
            client_bits: 10,
        };
        assert_eq!(with_extensions(value).deflate(offer), Ok(Some(agreed)));
        let plain = with_extensions("permessage-deflate");
        assert_eq!(plain.deflate(offer), Ok(Some(Deflate::default())));
        assert!(plain.deflate(None).is_err(), "not offered");
        let bits = with_extensions("permessage-deflate; client_max_window_bits=9");
        assert!(bits.deflate(Some("permessage-deflate")).is_err(), "not offered");
        for parameter in [
            "x",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=08",
            "client_max_window_bits",
            "client_no_context_takeover=1",
            "server_no_context_takeover; server_no_context_takeover",
        ] {
            let answer = with_extensions(&format!("permessage-deflate; {parameter}"));
            assert!(answer.deflate(offer).is_err(), "{parameter}");
        }
        assert!(with_extensions("permessage-deflate, x-other").deflate(offer).is_err());
    }
}
