//! The server under test: where it is, what is known of it, what it was found to do.
//!
//! Before any case runs, [`Subject::probe`] does one right handshake, sends a message and offers
//! compression. What comes back decides which cases can say anything: one that waits for an echo
//! has no meaning on a server that does not echo, and is left out with that reason.
//!
//! Invariant: facts are found once and hold for all cases; a case never guesses.

use std::net::SocketAddr;
use std::time::Duration;

use crate::answer::Answer;
use crate::case::Stop;
use crate::peer::{Seen, Trial};
use crate::reader::Event;
use crate::request::Request;
use crate::wire;

/// A server and what the user said about it.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) address: SocketAddr,
    /// What the Host header says.
    pub(crate) host: String,
    /// Path and query.
    pub(crate) path: String,
    /// Lines for every handshake.
    pub(crate) headers: Vec<(String, String)>,
    /// A subprotocol that the server knows.
    pub(crate) subprotocol: Option<String>,
    /// An origin that the server admits.
    pub(crate) origin: Option<String>,
    /// A path that the server does not serve.
    pub(crate) missing_path: Option<String>,
    /// Longest message that the server accepts, in bytes.
    pub(crate) message_max: Option<usize>,
    /// How long to wait for what must come.
    pub(crate) timeout: Duration,
    /// How long to wait for the server's own deadlines.
    pub(crate) patience: Duration,
    /// What probing found.
    pub(crate) facts: Facts,
}

/// What a server was found to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// It sends a text message back as it came.
    pub(crate) echo: bool,
    /// Messages that it sends before the first echo, on its own account.
    pub(crate) greeting: usize,
    /// It agrees to permessage-deflate.
    pub(crate) deflate: bool,
}

impl Subject {
    /// The one right request.
    pub(crate) fn request(&self) -> Request {
        let request = Request::new(&self.path, &self.host, &self.headers);
        match &self.origin {
            Some(origin) => request.add("Origin", origin),
            None => request,
        }
    }

    /// Finds out what the server does.
    ///
    /// # Errors
    ///
    /// Words, if it cannot be tested: it does not accept connections, or not a right handshake.
    pub(crate) fn probe(&mut self) -> Result<(), String> {
        let echo = self.probe_echo()?;
        self.facts.echo = echo.is_some();
        self.facts.greeting = echo.unwrap_or(0);
        self.facts.deflate = self.probe_deflate();
        Ok(())
    }

    /// Whether the extension stands in the answer; that its parameters are right is a case.
    fn probe_deflate(&self) -> bool {
        let trial = Trial::new(self);
        let request = self.request().add("Sec-WebSocket-Extensions", "permessage-deflate");
        let Ok(mut peer) = trial.connect() else { return false };
        peer.send(&request.bytes());
        let named = |answer: Answer| {
            let values = answer.values("Sec-WebSocket-Extensions");
            answer.status == 101 && values.iter().any(|its| its.contains("permessage-deflate"))
        };
        peer.answer().is_ok_and(named)
    }

    /// The number of messages before the echo, or `None` if there is no echo.
    fn probe_echo(&self) -> Result<Option<usize>, String> {
        let trial = Trial::new(self);
        let mut peer = trial.open().map_err(|stop| match stop {
            Stop::Miss { expected, got } => format!("expected {expected}, got {got}"),
            Stop::Skip(reason) => reason,
        })?;
        peer.send(&wire::text(PROBE));
        let mut greeting = 0;
        while greeting <= GREETING_MAX {
            match peer.see(self.timeout) {
                Seen::Event(Event::Message(message)) if message.payload == PROBE.as_bytes() => {
                    return Ok(Some(greeting));
                }
                Seen::Event(Event::Message(_)) => greeting += 1,
                Seen::Event(Event::Ping(_) | Event::Pong(_)) => {}
                _ => return Ok(None),
            }
        }
        Ok(None)
    }
}

/// What no server says by itself.
const PROBE: &str = "wsspec: is this an echo?";

/// A server that says more before it answers is no echo server.
const GREETING_MAX: usize = 8;
