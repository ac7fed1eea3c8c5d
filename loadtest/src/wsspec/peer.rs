//! A connection to the server under test, and what a case can expect of it.
//!
//! A thread reads from the socket all the time, so that a server whose answers nobody takes can
//! never block what a case still has to send; a case that is about not reading starts deaf. What
//! comes goes through `reader`, which checks every frame; an error there ends any case.
//!
//! Invariant: every wait has an end, the time that the user allowed. A write that fails is no
//! finding, because a server may close at any moment of a violation: what came from it decides.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use tickwire_load::clock;

use crate::answer::{Answer, accept_value};
use crate::case::{Outcome, Stop, miss, skip};
use crate::reader::{Event, Message, Reader};
use crate::request::{Request, SAMPLE_KEY};
use crate::subject::Subject;
use crate::transcript::{Transcript, escaped};
use crate::wire;

/// One run of a case.
#[derive(Debug)]
pub(crate) struct Trial<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) transcript: RefCell<Transcript>,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(subject: &'a Subject) -> Self {
        Self { subject, transcript: RefCell::default() }
    }

    /// Whether a message of `size` bytes is within the limit that was named, if one was.
    pub(crate) fn admits(&self, size: usize) -> Outcome {
        match self.subject.message_max {
            Some(limit) if limit < size => skip(format!("needs messages of {size} bytes")),
            _ => Ok(()),
        }
    }

    /// A connection that has said nothing yet.
    pub(crate) fn connect(&self) -> Result<Peer<'_>, Stop> {
        let mut peer = self.connect_deaf()?;
        peer.listen();
        Ok(peer)
    }

    /// A connection from which nothing is read until [`Peer::listen`].
    pub(crate) fn connect_deaf(&self) -> Result<Peer<'_>, Stop> {
        let connected = TcpStream::connect_timeout(&self.subject.address, self.subject.timeout)
            .and_then(|stream| {
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(self.subject.timeout))?;
                Ok(stream)
            });
        match connected {
            Ok(stream) => Ok(Peer::new(self, stream)),
            Err(error) => miss("a connection", format!("the error: {error}")),
        }
    }

    /// A connection with a finished handshake and the server's greeting taken.
    pub(crate) fn open(&self) -> Result<Peer<'_>, Stop> {
        self.open_with(&self.subject.request())
    }

    /// As [`Trial::open`], with a right request of the case's own.
    pub(crate) fn open_with(&self, request: &Request) -> Result<Peer<'_>, Stop> {
        let mut peer = self.connect()?;
        peer.send(&request.bytes());
        peer.upgraded(request)?;
        for _ in 0..self.subject.facts.greeting {
            peer.see(self.subject.timeout);
        }
        self.transcript.borrow_mut().clear();
        Ok(peer)
    }

    /// A connection on which compression was agreed as `offer` says.
    pub(crate) fn open_deflate(&self, offer: &str) -> Result<Peer<'_>, Stop> {
        let request = self.subject.request().add("Sec-WebSocket-Extensions", offer);
        let peer = self.open_with(&request)?;
        match peer.reader.deflate {
            Some(_) => Ok(peer),
            None => skip(format!("the server declines `{offer}`")),
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The server closed it (FIN).
    Closed,
    /// The server reset it (RST).
    Reset,
}

/// What came next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Event(Event),
    End(End),
    /// Nothing, for as long as was waited.
    Silence,
    /// What a server must never send.
    Wrong(String),
}

/// How a server ended a connection after a violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The Close that came, with its code.
    pub(crate) close: Option<Option<u16>>,
    /// How TCP ended, if it did.
    pub(crate) end: Option<End>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Peer<'a> {
    trial: &'a Trial<'a>,
    stream: TcpStream,
    chunks: Receiver<Chunk>,
    /// Until somebody listens.
    sender: Option<Sender<Chunk>>,
    pub(crate) reader: Reader,
    end: Option<End>,
}

#[derive(Debug)]
enum Chunk {
    Bytes(Vec<u8>),
    End(End),
}

impl<'a> Peer<'a> {
    fn new(trial: &'a Trial<'a>, stream: TcpStream) -> Self {
        let (sender, chunks) = channel();
        Self { trial, stream, chunks, sender: Some(sender), reader: Reader::default(), end: None }
    }

    /// Begins to read.
    pub(crate) fn listen(&mut self) {
        if let (Some(sender), Ok(stream)) = (self.sender.take(), self.stream.try_clone()) {
            thread::spawn(move || read_all(stream, &sender));
        }
    }

    /// Sends `bytes` at once. Whether the server takes them is not asked.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.trial.transcript.borrow_mut().sent(bytes);
        let _ = self.stream.write_all(bytes);
    }

    /// Sends `bytes` in writes of one byte each, far enough apart that a server on the same
    /// machine sees them one by one. Returns whether all could be written.
    pub(crate) fn send_bytewise(&mut self, bytes: &[u8]) -> bool {
        self.trial.transcript.borrow_mut().sent(bytes);
        for byte in bytes {
            if self.stream.write_all(&[*byte]).is_err() || self.end.is_some() {
                return false;
            }
            self.take_chunk(PACE);
        }
        true
    }

    /// Sends `bytes` in writes of one byte as fast as they go, and returns whether all could be
    /// written; it ends early once the server has said something.
    pub(crate) fn pour(&mut self, bytes: &[u8]) -> bool {
        self.trial.transcript.borrow_mut().sent(bytes);
        for byte in bytes {
            if self.stream.write_all(&[*byte]).is_err() {
                return false;
            }
            if let Ok(chunk) = self.chunks.try_recv() {
                self.take(chunk);
                return false;
            }
        }
        true
    }

    /// Writes `bytes`, and returns whether the connection still took them.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.trial.transcript.borrow_mut().sent(bytes);
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends as [`Peer::send`] or byte by byte.
    pub(crate) fn send_cut(&mut self, bytes: &[u8], bytewise: bool) {
        if bytewise {
            self.send_bytewise(bytes);
        } else {
            self.send(bytes);
        }
    }

    /// Sends `bytes` in two writes, cut at `at`, which the server sees apart.
    pub(crate) fn send_parts(&mut self, bytes: &[u8], at: usize) {
        self.send(&bytes[..at]);
        self.take_chunk(PACE * 20);
        self.send(&bytes[at..]);
    }

    /// Says that nothing more will be sent (FIN).
    pub(crate) fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Waits for the answer to a request.
    pub(crate) fn answer(&mut self) -> Result<Answer, Stop> {
        match self.answer_within(self.trial.subject.timeout)? {
            Some(answer) => Ok(answer),
            None => miss("an answer to the request", self.end_words()),
        }
    }

    /// Waits for the answer to a request, if one comes in time and before the end.
    pub(crate) fn answer_within(&mut self, wait: Duration) -> Result<Option<Answer>, Stop> {
        let deadline = clock::now() + nanoseconds(wait);
        loop {
            match Answer::read(self.reader.rest()) {
                Ok(Some((answer, length))) => {
                    self.reader.skip(length);
                    self.trial.transcript.borrow_mut().received(answer.to_string());
                    return Ok(Some(answer));
                }
                Ok(None) => {}
                Err(error) => return miss("an HTTP answer", error),
            }
            if self.end.is_some() || !self.take_chunk_until(deadline) {
                return Ok(None);
            }
        }
    }

    /// Waits for the 101 and checks every MUST of it (RFC 6455 section 4.1).
    pub(crate) fn upgraded(&mut self, request: &Request) -> Result<Answer, Stop> {
        let answer = self.answer()?;
        let expected = || "101 with the headers of RFC 6455 4.2.2".to_owned();
        let key = request.value("Sec-WebSocket-Key").unwrap_or(SAMPLE_KEY);
        let is_right = answer.status == 101
            && answer.has_token("Upgrade", "websocket")
            && answer.has_token("Connection", "upgrade")
            && answer.values("Sec-WebSocket-Accept") == [accept_value(key)];
        if !is_right {
            return miss(expected(), answer);
        }
        match answer.deflate(request.value("Sec-WebSocket-Extensions")) {
            Ok(deflate) => self.reader.deflate = deflate,
            Err(error) => return miss("only what was offered", error),
        }
        Ok(answer)
    }

    /// What comes next, waiting up to `wait`. Messages of a server that is no echo are noise.
    pub(crate) fn see(&mut self, wait: Duration) -> Seen {
        let seen = self.see_next(wait);
        self.trial.transcript.borrow_mut().received(match &seen {
            Seen::Event(event) => event.to_string(),
            Seen::End(End::Closed) => "end of the connection".to_owned(),
            Seen::End(End::Reset) => "reset of the connection".to_owned(),
            Seen::Silence => "nothing more".to_owned(),
            Seen::Wrong(error) => error.clone(),
        });
        seen
    }

    fn see_next(&mut self, wait: Duration) -> Seen {
        let deadline = clock::now() + nanoseconds(wait);
        loop {
            match self.reader.event() {
                Ok(Some(event)) => return Seen::Event(event),
                Ok(None) => {}
                Err(error) => return Seen::Wrong(error),
            }
            if let Some(end) = self.end {
                return Seen::End(end);
            }
            if !self.take_chunk_until(deadline) {
                return Seen::Silence;
            }
        }
    }

    /// The next thing that a case can be about: no Ping of the server, no Pong that only shows
    /// liveness, and no message of a server that is no echo.
    fn see_matter(&mut self) -> Seen {
        loop {
            match self.see(self.trial.subject.timeout) {
                Seen::Event(Event::Ping(_)) => {}
                Seen::Event(Event::Message(_)) if !self.trial.subject.facts.echo => {}
                seen => return seen,
            }
        }
    }

    /// Expects these events, in this order.
    pub(crate) fn expect(&mut self, events: &[Event]) -> Outcome {
        for event in events {
            self.expect_one_of(std::slice::from_ref(event))?;
        }
        Ok(())
    }

    /// Expects one of these events next, and returns which of them it was.
    pub(crate) fn expect_one_of(&mut self, events: &[Event]) -> Result<usize, Stop> {
        let seen = self.see_matter();
        let is_it = |event: &Event| match (&seen, event) {
            (Seen::Event(Event::Message(its)), Event::Message(wanted)) => {
                its.is_text == wanted.is_text && its.payload == wanted.payload
            }
            (Seen::Event(seen), event) => seen == event,
            _ => false,
        };
        if let Some(index) = events.iter().position(is_it) {
            return Ok(index);
        }
        let wanted: Vec<String> = events.iter().map(ToString::to_string).collect();
        miss(wanted.join(" or "), seen_words(&seen))
    }

    /// Expects the connection to be of use still, and nothing to have come before the proof.
    pub(crate) fn expect_alive(&mut self) -> Outcome {
        self.send(&wire::ping("alive?"));
        self.expect(&[Event::Pong(b"alive?".to_vec())])
    }

    /// Expects the server to fail the connection: no message and no Pong come any more, and a
    /// Close, the end, or both do (RFC 6455 section 7.1.7).
    pub(crate) fn expect_failure(&mut self) -> Result<Failure, Stop> {
        let mut failure = Failure { close: None, end: None };
        loop {
            let wait = if failure.close.is_some() { AFTER_CLOSE } else { Duration::MAX };
            match self.see(wait.min(self.trial.subject.timeout)) {
                Seen::Event(Event::Ping(_)) if failure.close.is_none() => {}
                Seen::Event(Event::Message(_))
                    if failure.close.is_none() && !self.trial.subject.facts.echo => {}
                Seen::Event(Event::Close(code, _)) if failure.close.is_none() => {
                    failure.close = Some(code);
                    let reply = code.map_or_else(wire::close_empty, |code| wire::close(code, ""));
                    self.send(&reply);
                }
                Seen::End(end) => {
                    failure.end = Some(end);
                    return Ok(failure);
                }
                Seen::Silence if failure.close.is_some() => return Ok(failure),
                seen => return miss("the connection to fail, and nothing more", seen_words(&seen)),
            }
        }
    }

    /// Expects a Close before the end, and returns its code.
    pub(crate) fn expect_close(&mut self) -> Result<Option<u16>, Stop> {
        match self.see_matter() {
            Seen::Event(Event::Close(code, _)) => Ok(code),
            seen => miss("a Close", seen_words(&seen)),
        }
    }

    /// Expects TCP to end, with nothing before it, within `wait`.
    pub(crate) fn expect_end(&mut self, wait: Duration) -> Result<End, Stop> {
        match self.see(wait) {
            Seen::End(end) => Ok(end),
            seen => miss(format!("the end of the connection within {wait:?}"), seen_words(&seen)),
        }
    }

    /// Takes what came within `wait`, and returns whether anything did.
    pub(crate) fn take_chunk(&mut self, wait: Duration) -> bool {
        match self.chunks.recv_timeout(wait) {
            Ok(chunk) => {
                self.take(chunk);
                true
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                self.end = self.end.or(Some(End::Reset));
                false
            }
        }
    }

    /// Whether the server has ended the connection, as far as is known.
    pub(crate) const fn is_ended(&self) -> bool {
        self.end.is_some()
    }

    fn take_chunk_until(&mut self, deadline: clock::Nanoseconds) -> bool {
        let left = deadline.saturating_sub(clock::now());
        left > 0 && (self.take_chunk(Duration::from_nanos(left)) || self.end.is_some())
    }

    fn take(&mut self, chunk: Chunk) {
        match chunk {
            Chunk::Bytes(bytes) => self.reader.push(&bytes),
            Chunk::End(end) => self.end = Some(end),
        }
    }

    fn end_words(&self) -> String {
        let rest = self.reader.rest();
        let bytes = if rest.is_empty() { String::new() } else { format!("{}, ", escaped(rest)) };
        let end = match self.end {
            Some(End::Closed) => "the end of the connection",
            Some(End::Reset) => "a reset of the connection",
            None => "nothing more",
        };
        format!("{bytes}{end}")
    }
}

impl Drop for Peer<'_> {
    fn drop(&mut self) {
        // Lets the reading thread end; a socket that is closed already needs nothing.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// A message to expect.
pub(crate) fn message(is_text: bool, payload: impl Into<Vec<u8>>) -> Event {
    Event::Message(Message { is_text, payload: payload.into(), compressed: None })
}

/// A text message to expect.
pub(crate) fn text(payload: impl Into<Vec<u8>>) -> Event {
    message(true, payload)
}

/// A binary message to expect.
pub(crate) fn binary(payload: impl Into<Vec<u8>>) -> Event {
    message(false, payload)
}

/// A Pong to expect.
pub(crate) fn pong(payload: impl Into<Vec<u8>>) -> Event {
    Event::Pong(payload.into())
}

/// What was seen, for a reader.
pub(crate) fn seen_words(seen: &Seen) -> String {
    match seen {
        Seen::Event(event) => event.to_string(),
        Seen::End(End::Closed) => "the end of the connection".to_owned(),
        Seen::End(End::Reset) => "a reset of the connection".to_owned(),
        Seen::Silence => "nothing, in the time allowed".to_owned(),
        Seen::Wrong(error) => error.clone(),
    }
}

fn read_all(mut stream: TcpStream, sender: &Sender<Chunk>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let chunk = match stream.read(&mut buffer) {
            Ok(0) => Chunk::End(End::Closed),
            Ok(count) => Chunk::Bytes(buffer[..count].to_vec()),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => Chunk::End(End::Reset),
        };
        let is_end = matches!(chunk, Chunk::End(_));
        if sender.send(chunk).is_err() || is_end {
            return;
        }
    }
}

fn nanoseconds(wait: Duration) -> clock::Nanoseconds {
    clock::Nanoseconds::try_from(wait.as_nanos()).unwrap_or(u64::MAX / 2)
}

/// Between two bytes that the server is to see apart: longer than a loop on the same machine takes
/// to wake up and read, short enough for hundreds of bytes.
const PACE: Duration = Duration::from_micros(120);

/// For the server to end TCP once both have sent a Close; that it does is a case of its own.
const AFTER_CLOSE: Duration = Duration::from_millis(500);
