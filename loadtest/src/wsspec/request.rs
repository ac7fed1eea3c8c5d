//! The opening handshake as a client sends it, right or changed (RFC 6455 section 4.1).
//!
//! Starts as the one right request for the server under test; a case then takes lines away, changes
//! them or adds what should not be there. Values are bytes, so anything can stand in them.
//!
//! Invariant: a request that no case has changed meets every MUST of section 4.1.

/// A request head, line by line.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    first: String,
    lines: Vec<(String, Vec<u8>)>,
}

/// The key of the example in RFC 6455 section 1.3.
pub(crate) const SAMPLE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

impl Request {
    /// The right request for `path` at `host`, with more `headers` behind those of the handshake.
    pub(crate) fn new(path: &str, host: &str, headers: &[(String, String)]) -> Self {
        let request = Self { first: format!("GET {path} HTTP/1.1"), lines: Vec::new() }
            .add("Host", host)
            .add("Upgrade", "websocket")
            .add("Connection", "Upgrade")
            .add("Sec-WebSocket-Key", SAMPLE_KEY)
            .add("Sec-WebSocket-Version", "13");
        headers.iter().fold(request, |request, (name, value)| request.add(name, value))
    }

    /// Replaces the request line.
    pub(crate) fn first(mut self, line: impl Into<String>) -> Self {
        self.first = line.into();
        self
    }

    /// Adds a line at the end.
    pub(crate) fn add(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.lines.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Replaces all lines named `name` by one at the end.
    pub(crate) fn set(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.remove(name).add(name, value)
    }

    /// Removes all lines named `name`.
    pub(crate) fn remove(mut self, name: &str) -> Self {
        self.lines.retain(|(its, _)| !its.eq_ignore_ascii_case(name));
        self
    }

    /// Value of the first line named `name`, if it is text.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let line = self.lines.iter().find(|(its, _)| its.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(&line.1).ok()
    }

    /// The method, path and version line.
    pub(crate) fn first_line(&self) -> &str {
        &self.first
    }

    /// The bytes on the wire, without the empty line at the end.
    pub(crate) fn open_bytes(&self) -> Vec<u8> {
        let mut out = format!("{}\r\n", self.first).into_bytes();
        for (name, value) in &self.lines {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    /// The bytes on the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.open_bytes(), b"\r\n".to_vec()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_the_example_of_the_rfc_and_each_line_can_be_changed() {
        let request = Request::new("/chat", "server.example.com", &[]);
        let right = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
                     Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                     Sec-WebSocket-Version: 13\r\n\r\n";
        assert_eq!(request.bytes(), right.as_bytes());
        let changed = request.remove("upgrade").set("HOST", b"\xff").first("POST / HTTP/1.0");
        let wrong = b"POST / HTTP/1.0\r\nConnection: Upgrade\r\nSec-WebSocket-Key: \
                      dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nHOST: \xff\r\n\r\n";
        assert_eq!(changed.bytes(), wrong);
        assert_eq!(changed.value("sec-websocket-version"), Some("13"));
    }
}
