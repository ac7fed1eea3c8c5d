//! A peer: one blocking socket, and what arrived on it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use tickwire::Timestamp;

use crate::wire::{self, Frame};

/// One end of a connection to the server.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: TcpStream,
    arrived: Vec<u8>,
    /// The rest of what was to be pushed.
    waiting: Vec<u8>,
}

impl Peer {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        Self { stream, arrived: Vec::new(), waiting: Vec::new() }
    }

    /// Sends all of `bytes`.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        assert!(self.try_send(bytes), "the server has hung up");
    }

    /// Sends all of `bytes`, or says that the server has hung up.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        match self.stream.write_all(bytes) {
            Ok(()) => true,
            Err(error)
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) =>
            {
                false
            }
            Err(error) => panic!("the server reads nothing: {error}"),
        }
    }

    /// The next HTTP head.
    pub(crate) fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.arrived.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.arrived.drain(..end + 4).collect();
                return String::from_utf8(head).expect("an answer's head is text");
            }
            assert!(self.receive(), "the stream ends after {:?}", self.arrived);
        }
    }

    /// The next frame.
    pub(crate) fn frame(&mut self) -> Frame {
        loop {
            if let Some(frame) = Frame::take(&mut self.arrived) {
                return frame;
            }
            assert!(self.receive(), "the stream ends after {:?}", self.arrived);
        }
    }

    /// Reads on to the Close of the server, past everything before it.
    pub(crate) fn close_frame(&mut self) -> Frame {
        loop {
            let frame = self.frame();
            if frame.first == wire::CLOSE {
                return frame;
            }
        }
    }

    /// Sends as much of `bytes` as there is room for, and at another time the rest, before anything
    /// else; gives how many bytes went.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> usize {
        if self.waiting.is_empty() {
            self.waiting.extend_from_slice(bytes);
        }
        self.stream.set_nonblocking(true).expect("a socket");
        let pushed = match self.stream.write(&self.waiting) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("the server has hung up: {error}"),
        };
        self.stream.set_nonblocking(false).expect("a socket");
        self.waiting.drain(..pushed);
        pushed
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a socket");
    }

    /// Reads on to the end of the stream, however the server ends it; gives what still came.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.receive() {}
        std::mem::take(&mut self.arrived)
    }

    /// Whether nothing has arrived that was not read, the end of the stream included.
    pub(crate) fn has_nothing_to_read(&self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket");
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("a socket");
        self.arrived.is_empty() && peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Waits for more. False at the end of the stream.
    fn receive(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.arrived.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            // The process was stopped and goes on.
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) => panic!("nothing arrives: {error}"),
        }
    }
}

/// Waits until `done`, which must not take longer than our patience.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Timestamp::read();
    while !done() {
        assert!(Timestamp::read().since(start) < PATIENCE, "waited in vain until {what}");
        thread::yield_now();
    }
}

/// Far longer than anything that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
