//! An echo server that is right, but for one fault if it is given one.
//!
//! A thread for each connection, blocking reads, everything in the open: the simplest that can be
//! right. It shares nothing with the engine, nor with the tool that tests it. `head` judges the
//! request, `frames` the rest, `deflate` compresses.
//!
//! Invariant: with no fault it meets every sentence of every case, in all three levels.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tickwire_load::clock;

use crate::fault::Fault;
use crate::{frames, head};

/// What a server is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) fault: Option<Fault>,
    pub(crate) echoes: bool,
    pub(crate) deflates: bool,
    pub(crate) greets: bool,
    /// Upgrades nobody.
    pub(crate) refuses: bool,
}

impl Settings {
    /// Right in everything.
    pub(crate) const RIGHT: Self =
        Self { fault: None, echoes: true, deflates: true, greets: false, refuses: false };
}

/// The subprotocol that it knows.
pub(crate) const SUBPROTOCOL: &str = "chat";
/// The origin that it admits.
pub(crate) const ORIGIN: &str = "https://own.example";
/// The path that it serves.
pub(crate) const PATH: &str = "/echo";
/// Longest message that it accepts.
pub(crate) const MESSAGE_MAX: usize = 1 << 20;
/// Longest head that it accepts.
pub(crate) const HEAD_MAX: usize = 8 * 1024;

/// Starts a server on a free port. It runs until the process ends.
pub(crate) fn start(settings: Settings) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let last_byte = Arc::new(AtomicU8::new(b'-'));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, last_byte) = (stream.unwrap(), Arc::clone(&last_byte));
            thread::spawn(move || serve(Connection::new(stream, settings, last_byte)));
        }
    });
    address
}

fn serve(mut connection: Connection) {
    match head::handshake(&mut connection) {
        head::Outcome::Upgraded(deflate) => frames::run(&mut connection, deflate),
        head::Outcome::Refused => {
            if connection.has(Fault::FramesAfterRefusal) {
                frames::run(&mut connection, None);
            } else if connection.has(Fault::StaysAfterRefusal) {
                connection.wait_out();
            } else {
                connection.end();
            }
        }
        head::Outcome::Gone => {}
    }
}

/// One connection, with bytes that came and were not taken yet.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    pub(crate) settings: Settings,
    input: Vec<u8>,
    taken: usize,
    /// When reading gives up, in nanoseconds of the clock.
    deadline: Option<clock::Nanoseconds>,
    /// Of the last long message, on whichever connection.
    pub(crate) last_byte: Arc<AtomicU8>,
    writer: Option<std::sync::mpsc::Sender<Vec<u8>>>,
}

impl Connection {
    fn new(stream: TcpStream, settings: Settings, last_byte: Arc<AtomicU8>) -> Self {
        stream.set_nodelay(true).unwrap();
        let (input, taken) = (Vec::new(), 0);
        let writer = (settings.fault == Some(Fault::QueuesPongs)).then(|| queue(&stream));
        Self { stream, settings, input, taken, deadline: None, last_byte, writer }
    }

    /// Whether the server has this fault.
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.settings.fault == Some(fault)
    }

    /// Sets or lifts the time by which reading ends.
    pub(crate) fn limit_reading(&mut self, wait: Option<Duration>) {
        self.deadline = wait.map(|wait| clock::now() + u64::try_from(wait.as_nanos()).unwrap());
    }

    /// Bytes that came and were not taken.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input[self.taken..]
    }

    /// Takes `count` of them away.
    pub(crate) fn take(&mut self, count: usize) {
        self.taken += count;
        if self.taken == self.input.len() {
            self.input.clear();
            self.taken = 0;
        }
    }

    /// Takes all of them away.
    pub(crate) fn take_all(&mut self) {
        self.take(self.input.len() - self.taken);
    }

    /// Reads more; `false` at the end, at an error and at the deadline.
    pub(crate) fn fill(&mut self) -> bool {
        let left = self.deadline.map(|deadline| deadline.saturating_sub(clock::now()));
        if left == Some(0) {
            return false;
        }
        self.stream.set_read_timeout(left.map(Duration::from_nanos)).unwrap();
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => {
                if self.has(Fault::IgnoresFin) {
                    // Nobody sends, so this only takes its time.
                    let (_sender, receiver) = channel::<()>();
                    let _ = receiver.recv_timeout(LONG);
                }
                false
            }
            Ok(count) => {
                self.input.drain(..std::mem::take(&mut self.taken));
                self.input.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(_) => false,
        }
    }

    /// Sends `bytes`; a peer that is gone is found out by reading.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        match &self.writer {
            Some(writer) => drop(writer.send(bytes.to_vec())),
            None => drop(self.stream.write_all(bytes)),
        }
    }

    /// Ends TCP: FIN at once, and all that still comes is thrown away for a moment, because a
    /// socket closed with unread bytes would be reset, and what was sent last be lost.
    pub(crate) fn end(&mut self) {
        if self.has(Fault::KeepsTcp) {
            return self.wait_out();
        }
        drop(self.stream.shutdown(Shutdown::Write));
        self.limit_reading(Some(LINGER));
        while self.fill() {
            self.take_all();
        }
    }

    /// Throws away all that comes for longer than any test waits.
    pub(crate) fn wait_out(&mut self) {
        self.limit_reading(Some(LONG));
        while self.fill() {
            self.take_all();
        }
    }

    /// Ends TCP without a word.
    pub(crate) fn drop_it(&mut self) {
        drop(self.stream.shutdown(Shutdown::Write));
        self.limit_reading(Some(LINGER));
        while self.fill() {
            self.take_all();
        }
    }

    /// Work in proportion to `size`, for each of `times`.
    pub(crate) fn labour(size: usize, times: usize) {
        for _ in 0..times {
            let mut sum = 0_usize;
            for step in 0..size / LABOUR {
                sum = std::hint::black_box(sum.wrapping_add(step));
            }
        }
    }

    /// The last byte of a long message on any connection, replaced by this one's.
    pub(crate) fn swap_last_byte(&self, byte: u8) -> u8 {
        self.last_byte.swap(byte, Ordering::Relaxed)
    }
}

/// A thread that sends what it is given, with a queue that has no end.
fn queue(stream: &TcpStream) -> std::sync::mpsc::Sender<Vec<u8>> {
    let stream = Mutex::new(stream.try_clone().unwrap());
    let (sender, receiver) = channel::<Vec<u8>>();
    thread::spawn(move || {
        for bytes in receiver {
            if stream.lock().unwrap().write_all(&bytes).is_err() {
                return;
            }
        }
    });
    sender
}

/// Time to the whole request.
pub(crate) const HANDSHAKE: Duration = Duration::from_millis(1500);

/// For the peer to end its side, once both have said all.
const LINGER: Duration = Duration::from_millis(300);

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(20);

/// A step of [`Connection::labour`] is for so many bytes.
const LABOUR: usize = 4;
