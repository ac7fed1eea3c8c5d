//! One connection of the fleet: its socket, how far it has come, and what it could not send yet.
//!
//! A client's bytes come from the fleet's one input buffer and leave from its one output buffer; a
//! member holds bytes only while the kernel does not take them. So an open connection at rest is
//! two cache lines here, and a fleet of 20,000 fits into the memory of a few browsers' tabs.
//!
//! A member is made by [`Member::connect`] and dropped by the fleet; dropping it closes the socket.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use tickwire_protocol::{ClientHandshake, Connection};

use crate::clock::Nanoseconds;
use crate::tls::Tls;

/// A connection that is being opened, or open.
#[derive(Debug)]
pub(crate) struct Member {
    socket: TcpStream,
    /// Of a `wss://` target; boxed, so that a plain connection pays a pointer.
    tls: Option<Box<Tls>>,
    pub(crate) phase: Phase,
    /// When it must be open.
    pub(crate) deadline: Nanoseconds,
    /// Whether we have said Close.
    pub(crate) leaving: bool,
    /// Whether nothing is to be read but on purpose.
    pub(crate) paused: bool,
    /// Whether what it sends is compressed.
    pub(crate) compresses: bool,
    /// What the kernel has not taken yet: without room of its own unless it is in use.
    backlog: Vec<u8>,
    /// How much of the backlog was sent.
    backlog_sent: usize,
}

/// How far a connection has come.
#[derive(Debug)]
pub(crate) enum Phase {
    /// TCP connects.
    Connecting,
    /// The handshake was sent; its answer is awaited. Boxed: few are here at one time.
    Upgrading(Box<ClientHandshake>),
    /// Frames flow.
    Open(Connection),
}

impl Phase {
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }
}

/// Memory is promised to be at most 1 KB for an idle connection: it is about an eighth of that.
const _: () = assert!(size_of::<Option<Member>>() <= 136);

impl Member {
    /// Starts to connect, from the address `source` if there is one. Readiness comes as events with
    /// `token`, edge-triggered.
    ///
    /// Nagle's algorithm is off: it would hold back a message while another is on its way.
    pub(crate) fn connect(
        address: SocketAddr,
        source: Option<IpAddr>,
        tls: Option<Tls>,
        registry: &Registry,
        token: Token,
        deadline: Nanoseconds,
    ) -> io::Result<Self> {
        let mut socket = match source {
            None => TcpStream::connect(address)?,
            Some(source) => connect_from(source, address)?,
        };
        socket.set_nodelay(true)?;
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            socket,
            tls: tls.map(Box::new),
            phase: Phase::Connecting,
            deadline,
            leaving: false,
            paused: false,
            compresses: false,
            backlog: Vec::new(),
            backlog_sent: 0,
        })
    }

    /// Whether TCP is connected by now.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.socket.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads what there is into `input`; `None` if there is nothing, 0 at the end.
    #[inline]
    pub(crate) fn read(&mut self, input: &mut [u8]) -> io::Result<Option<usize>> {
        match self.tls.take() {
            None => read(&mut self.socket, input),
            Some(mut tls) => {
                let outcome = self.open(&mut tls, input);
                self.tls = Some(tls);
                outcome
            }
        }
    }

    /// As [`Member::read`], through TLS: reads until `input` is full or the socket is empty, so that
    /// less than full means here what it means there.
    fn open(&mut self, tls: &mut Tls, input: &mut [u8]) -> io::Result<Option<usize>> {
        let mut sealed = [0; SEALED_BYTES];
        let mut filled = tls.take(input);
        while filled < input.len() && !tls.is_over() {
            match read(&mut self.socket, &mut sealed)? {
                None if filled == 0 => return Ok(None),
                None => return Ok(Some(filled)),
                Some(0) => return Ok(Some(filled)),
                Some(count) => {
                    let opened = tls.open(&sealed[..count]);
                    // Its part of the handshake, or what is wrong with the server's.
                    let output = tls.output()?;
                    self.push(&output, &mut Spares::default())?;
                    opened?;
                }
            }
            filled += tls.take(&mut input[filled..]);
        }
        Ok(Some(filled))
    }

    /// Sends `output` after what is waiting already; what the kernel does not take, waits.
    #[inline]
    pub(crate) fn send(&mut self, output: &[u8], spares: &mut Spares) -> io::Result<()> {
        match &mut self.tls {
            None => self.push(output, spares),
            Some(tls) => {
                let sealed = tls.seal(output)?;
                self.push(&sealed, spares)
            }
        }
    }

    #[inline]
    fn push(&mut self, output: &[u8], spares: &mut Spares) -> io::Result<()> {
        if !self.backlog.is_empty() {
            self.backlog.extend_from_slice(output);
            return Ok(());
        }
        let sent = write(&mut self.socket, output)?;
        if sent < output.len() {
            self.backlog = spares.take();
            self.backlog_sent = 0;
            self.backlog.extend_from_slice(&output[sent..]);
        }
        Ok(())
    }

    /// Sends what waits, as far as the kernel takes it now.
    #[inline]
    pub(crate) fn flush(&mut self, spares: &mut Spares) -> io::Result<()> {
        if self.backlog.is_empty() {
            return Ok(());
        }
        self.backlog_sent += write(&mut self.socket, &self.backlog[self.backlog_sent..])?;
        if self.backlog_sent == self.backlog.len() {
            spares.give(std::mem::take(&mut self.backlog));
        }
        Ok(())
    }

    /// Whether its TLS has taken up an earlier session.
    pub(crate) fn is_resumed(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_resumed())
    }

    /// Bytes that wait to be sent.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.backlog.len() - self.backlog_sent.min(self.backlog.len())
    }
}

fn connect_from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

#[inline]
fn read(socket: &mut TcpStream, input: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match socket.read(input) {
            Ok(read) => return Ok(Some(read)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes until all is taken or the kernel would block: only then does it tell when it takes more.
#[inline]
fn write(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match socket.write(&bytes[sent..]) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// Buffers of former backlogs: messages longer than a socket's buffer would otherwise allocate one
/// each time.
#[derive(Debug, Default)]
pub(crate) struct Spares(Vec<Vec<u8>>);

impl Spares {
    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if self.0.len() < SPARES_MAX {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

/// More connections than this are rarely blocked at once; with messages of 1 MB it is 64 MB.
const SPARES_MAX: usize = 64;

/// What is read at once of a `wss://` connection: a full record and a little.
const SEALED_BYTES: usize = 20 * 1024;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Waits for an event. It ends early where the process was stopped and goes on.
    fn wait(poll: &mut mio::Poll) {
        while poll.poll(&mut mio::Events::with_capacity(1), None).is_err() {}
    }

    fn pair() -> (Member, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut poll = mio::Poll::new().unwrap();
        let address = listener.local_addr().unwrap();
        let member = Member::connect(address, None, None, poll.registry(), Token(0), 0).unwrap();
        let (peer, _) = listener.accept().unwrap();
        wait(&mut poll);
        assert!(member.is_connected().unwrap());
        (member, peer)
    }

    #[test]
    fn what_the_kernel_does_not_take_waits_and_leaves_in_order() {
        let (mut member, mut peer) = pair();
        let mut spares = Spares::default();
        let sent: Vec<u8> = (0..20_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
        let (first, second) = sent.split_at(sent.len() - 7);
        member.send(first, &mut spares).unwrap();
        assert!(member.waiting() > 0, "20 MB do not fit into a socket's buffer");
        member.send(second, &mut spares).unwrap();

        let mut received = vec![0; sent.len()];
        let mut filled = 0;
        while filled < received.len() {
            filled += peer.read(&mut received[filled..]).unwrap();
            member.flush(&mut spares).unwrap();
        }
        assert_eq!(member.waiting(), 0);
        assert!(received == sent, "bytes differ");
        assert_eq!((member.backlog.capacity(), spares.0.len()), (0, 1), "the buffer is given back");
    }

    #[test]
    fn a_refused_connection_is_an_error_and_not_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let mut poll = mio::Poll::new().unwrap();
        let refused = match Member::connect(address, None, None, poll.registry(), Token(0), 0) {
            Err(error) => error,
            Ok(member) => {
                wait(&mut poll);
                member.is_connected().unwrap_err()
            }
        };
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}
