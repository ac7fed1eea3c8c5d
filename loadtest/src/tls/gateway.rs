//! A plain port of this machine in front of a server with TLS.
//!
//! For tools whose connections block and look at single bytes: they talk to the gateway as they would
//! to the server. Each connection has two threads. What ends ends on the other side too, in the same
//! way: an end that is announced becomes an end, a reset or a cut becomes a reset.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::{Security, Tls, TlsError, Trust};

/// A gateway, for as long as the process lives.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
}

impl Gateway {
    /// Opens a gateway to `server`, whose certificate must be for `name` and believed by `trust`.
    ///
    /// # Errors
    ///
    /// When nobody can be believed, or this machine has no port or no thread.
    pub fn open(server: SocketAddr, name: &str, trust: &Trust) -> Result<Self, GatewayError> {
        let security = Security::new(trust, name, false)?;
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let accept = move || {
            for near in listener.incoming().flatten() {
                // If it fails the peer sees that the connection ends, which is all there is to tell.
                let _ = relay(near, server, &security);
            }
        };
        thread::Builder::new().name("gateway".to_owned()).spawn(accept)?;
        Ok(Self { address })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Why there is no gateway.
#[derive(Debug)]
#[non_exhaustive]
pub enum GatewayError {
    /// Nobody can be believed.
    Tls(TlsError),
    /// The machine has no port, or no thread.
    System(io::Error),
}

impl std::fmt::Display for GatewayError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tls(error) => error.fmt(formatter),
            Self::System(error) => write!(formatter, "no gateway to the server: {error}"),
        }
    }
}

impl std::error::Error for GatewayError {}

impl From<TlsError> for GatewayError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl From<io::Error> for GatewayError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Both sides of one connection; whoever holds the lock may seal and open.
struct Relay {
    near: TcpStream,
    far: TcpStream,
    tls: Mutex<Tls>,
}

fn relay(near: TcpStream, server: SocketAddr, security: &Security) -> io::Result<()> {
    let far = match TcpStream::connect_timeout(&server, CONNECT_WAIT) {
        Ok(far) => far,
        Err(error) => {
            reset(&near);
            return Err(error);
        }
    };
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let relay = Arc::new(Relay { near, far, tls: Mutex::new(security.open()?) });
    let inwards = Arc::clone(&relay);
    thread::Builder::new().spawn(move || inwards.carry_in())?;
    thread::Builder::new().spawn(move || relay.carry_out())?;
    Ok(())
}

impl Relay {
    /// What the tool says goes to the server.
    fn carry_out(&self) {
        let mut buffer = vec![0; BUFFER_BYTES];
        // The hello leaves before the tool says anything.
        let mut said = self.say(&[]);
        while said.is_ok() {
            said = match (&self.near).read(&mut buffer) {
                Ok(0) => {
                    let goodbye = self.lock().part();
                    let _ = goodbye.and_then(|bytes| (&self.far).write_all(&bytes));
                    let _ = self.far.shutdown(Shutdown::Write);
                    return;
                }
                Ok(count) => self.say(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
                Err(error) => {
                    reset(&self.far);
                    Err(error)
                }
            };
        }
    }

    fn say(&self, bytes: &[u8]) -> io::Result<()> {
        // Under the lock, so that records leave in the order in which they were sealed.
        let mut tls = self.lock();
        let sealed = tls.seal(bytes)?;
        (&self.far).write_all(&sealed)
    }

    /// What the server says goes to the tool.
    fn carry_in(&self) {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut plain = vec![0; BUFFER_BYTES];
        loop {
            match (&self.far).read(&mut buffer) {
                Ok(0) if self.lock().is_over() => {
                    let _ = self.near.shutdown(Shutdown::Write);
                    return;
                }
                Ok(count) if count > 0 && self.hear(&buffer[..count], &mut plain).is_ok() => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    reset(&self.near);
                    return;
                }
            }
        }
    }

    fn hear(&self, bytes: &[u8], plain: &mut [u8]) -> io::Result<()> {
        let mut tls = self.lock();
        let opened = tls.open(bytes);
        // An alert, if it is one, is told all the same.
        let output = tls.output()?;
        (&self.far).write_all(&output)?;
        opened?;
        loop {
            let count = tls.take(plain);
            if count == 0 {
                return Ok(());
            }
            (&self.near).write_all(&plain[..count])?;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tls> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has a connection reset when its last holder drops it, and whoever reads from it stop.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Read);
}

const BUFFER_BYTES: usize = 64 * 1024;

/// For the server to take a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
