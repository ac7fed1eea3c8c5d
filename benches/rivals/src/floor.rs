//! The floor: what the kernel alone costs. No library, no tokio: one epoll, one thread, one buffer.
//!
//! It exists so that every figure of a server can be read against the cost that no server can avoid,
//! and is no server that anyone should run. It leaves out everything that RFC 6455 asks for but the
//! accept value and the bytes that the load generator compares: it does not look at the request,
//! believes every header, takes every frame for a whole message, answers no Ping, knows no limit and
//! no timeout. A Close is sent back and the connection dropped.
//!
//! Where a socket is full it waits for that one socket; the generator always reads, so that ends.
//! `echo` sends all answers of a read at once; `broadcast` makes a burst once and sends everybody
//! the same bytes.

mod broadcast;
mod echo;

use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send, sockopt};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::{Failure, Options, Publication};

/// Serves for ever.
pub(crate) fn run(
    listener: TcpListener,
    options: Options,
    publication: Option<Publication>,
) -> Result<(), Failure> {
    if options.threads != 1 || options.deflate {
        return Err("the floor has one thread and no permessage-deflate".into());
    }
    match publication {
        None => Floor::new(listener)?.serve(&mut echo::Echo::default()),
        Some(publication) => {
            Floor::new(listener)?.serve(&mut broadcast::Broadcast::new(publication))
        }
    }
}

/// What is done with what comes.
trait Task {
    /// Takes the frames of `received`, whose masks may be taken off in place; returns the bytes of
    /// whole ones, or `None` when the connection is to end.
    fn received(&mut self, socket: &OwnedFd, received: &mut [u8]) -> Option<usize>;

    /// Does what is due with all `connections`; how long to wait then, for ever if `None`.
    fn turn(&mut self, connections: &[Option<Connection>]) -> Option<Timespec>;
}

/// All connections, by the number that epoll has for them.
struct Floor {
    epoll: OwnedFd,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    /// What every read goes into.
    buffer: Vec<u8>,
}

struct Connection {
    socket: OwnedFd,
    upgraded: bool,
    /// The beginning of a request or frame whose rest has not come.
    unfinished: Vec<u8>,
}

impl Floor {
    fn new(listener: TcpListener) -> Result<Self, Failure> {
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Self { epoll, listener, connections: Vec::new(), buffer: vec![0; READ_BYTES] })
    }

    fn serve(mut self, task: &mut impl Task) -> Result<(), Failure> {
        let mut events = [MaybeUninit::<Event>::uninit(); EVENTS_MAX];
        loop {
            let wait = task.turn(&self.connections);
            let (ready, _) = match epoll::wait(&self.epoll, &mut events, wait.as_ref()) {
                Err(Errno::INTR) => continue,
                ready => ready?,
            };
            for event in ready {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    number => self.read(usize::try_from(number)?, event.flags, task),
                }
            }
        }
    }

    fn accept(&mut self) -> Result<(), Failure> {
        while let Ok(socket) = accept_with(&self.listener, SocketFlags::NONBLOCK) {
            sockopt::set_tcp_nodelay(&socket, true)?;
            let vacant = self.connections.iter().position(Option::is_none);
            let number = vacant.unwrap_or(self.connections.len());
            let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
            epoll::add(&self.epoll, &socket, EventData::new_u64(number as u64), flags)?;
            let connection = Connection { socket, upgraded: false, unfinished: Vec::new() };
            match self.connections.get_mut(number) {
                Some(vacant) => *vacant = Some(connection),
                None => self.connections.push(Some(connection)),
            }
        }
        Ok(())
    }

    /// Reads what there is. A read that does not fill the buffer has emptied the socket, unless the
    /// peer has closed, which comes after its last bytes and gives no new event.
    fn read(&mut self, number: usize, flags: EventFlags, task: &mut impl Task) {
        let Some(connection) = &mut self.connections[number] else { return };
        let closed = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        let alive = loop {
            let kept = connection.unfinished.len();
            self.buffer[..kept].copy_from_slice(&connection.unfinished);
            let free = self.buffer.len() - kept;
            match recv(&connection.socket, &mut self.buffer[kept..], RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => break true,
                Err(Errno::INTR) => {}
                Err(_) | Ok((0, _)) => break false,
                Ok((read, _)) => {
                    if !connection.take(&mut self.buffer[..kept + read], task) {
                        break false;
                    }
                    if read < free && !closed {
                        break true;
                    }
                }
            }
        };
        if !alive {
            // Dropping the socket takes it out of the epoll too.
            self.connections[number] = None;
        }
    }
}

impl Connection {
    /// Takes what was received; whether the connection goes on.
    fn take(&mut self, received: &mut [u8], task: &mut impl Task) -> bool {
        let taken = if self.upgraded {
            task.received(&self.socket, received)
        } else {
            Some(self.upgrade(received))
        };
        let Some(taken) = taken else { return false };
        self.unfinished.clear();
        self.unfinished.extend_from_slice(&received[taken..]);
        // The longest message that fits the buffer is the longest there is.
        self.unfinished.len() < READ_BYTES
    }

    /// Answers the request if it is complete; returns its length then, which is all that has come,
    /// since the generator waits for the answer.
    fn upgrade(&mut self, request: &[u8]) -> usize {
        if !request.ends_with(b"\r\n\r\n") {
            return 0;
        }
        let text = String::from_utf8_lossy(request);
        let key = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
        });
        let accept = derive_accept_key(key.unwrap_or_default().as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        self.upgraded = send_all(&self.socket, answer.as_bytes()).is_ok();
        request.len()
    }
}

/// Where a frame's parts are; `None` if it is not complete.
struct Frame {
    /// Where the payload begins; the mask is the four bytes before.
    payload: usize,
    end: usize,
}

impl Frame {
    fn at_start(bytes: &[u8]) -> Option<Self> {
        let short = *bytes.get(1)? & 0x7F;
        let (header, len) = match short {
            126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into()),
            127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
            short => (2, short.into()),
        };
        let payload = header + MASK_BYTES;
        let end = payload + usize::try_from(len).ok()?;
        (end <= bytes.len()).then_some(Self { payload, end })
    }
}

/// The header of an unmasked frame: its first byte, and the length in its shortest form.
fn write_header(out: &mut Vec<u8>, first: u8, len: usize) {
    out.push(first);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ 0..=125), _) => out.push(len),
        (_, Ok(len)) => {
            out.push(126);
            out.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// Hands all `bytes` to the kernel, waiting for this one socket if it is full.
fn send_all(socket: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match send(socket, bytes, SEND_FLAGS) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// What the first byte of a frame has in its lower half for a Close.
const OPCODE_CLOSE: u8 = 0x8;

const MASK_BYTES: usize = 4;

/// Every message fits, and it stays in the second-level cache.
const READ_BYTES: usize = 256 * 1024;

/// Events of a turn.
const EVENTS_MAX: usize = 1024;

/// The listener's number for epoll; no connection has it.
const LISTENER: u64 = u64::MAX;
