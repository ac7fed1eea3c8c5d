//! The ticker that follows this one: another process, which inherits the listening sockets.
//!
//! Both have the same sockets, so the queue of each is one queue: what comes while one goes and the
//! other begins is accepted by whichever looks first, and nobody is refused. The successor is whatever
//! is now at the path that this program was started from, with the same options. Until it says that it
//! serves, and if it never does, this ticker goes on as if nothing had happened.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use tickwire::Timestamp;

use crate::inherited::{PREDECESSOR, SERVES};

/// How this program was started, to be started again.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// As this process was. To be asked for early: a program that is replaced later is no longer found
    /// by the process that runs it.
    ///
    /// # Errors
    /// When the system does not say from where.
    pub fn present() -> io::Result<Self> {
        let path = std::env::current_exe()?;
        Ok(Self { path, arguments: std::env::args_os().skip(1).collect() })
    }

    /// Starts it with these listening sockets, and waits until it serves. `is_given_up` is asked now
    /// and then.
    ///
    /// # Errors
    /// [`NoSuccessor`]; the process has ended then.
    pub fn succeed(
        &self,
        listeners: &[TcpListener],
        mut is_given_up: impl FnMut() -> bool,
    ) -> Result<u32, NoSuccessor> {
        let (word, theirs) = UnixDatagram::pair().map_err(NoSuccessor::Start)?;
        word.set_read_timeout(Some(GLANCE)).map_err(NoSuccessor::Start)?;
        let mut process = self.start(listeners, theirs).map_err(NoSuccessor::Start)?;
        let start = Timestamp::read();
        let failure = loop {
            let mut said = [0; 64];
            match word.recv(&mut said) {
                Ok(length) if &said[..length] == SERVES => return Ok(process.id()),
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => break NoSuccessor::Start(error),
            }
            match process.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => break NoSuccessor::Ended(status.to_string()),
                Err(error) => break NoSuccessor::Start(error),
            }
            if is_given_up() {
                break NoSuccessor::GivenUp;
            }
            if Timestamp::read().since(start) > PATIENCE {
                break NoSuccessor::Silent;
            }
        };
        // It may have ended already.
        let _ = process.kill();
        let _ = process.wait();
        Err(failure)
    }

    fn start(&self, listeners: &[TcpListener], word: UnixDatagram) -> io::Result<Child> {
        let mut given = Vec::new();
        for listener in listeners {
            given.push(OwnedFd::from(listener.try_clone()?));
        }
        given.push(word.into());
        let names: Vec<&str> = std::iter::repeat_n("tickwire", listeners.len())
            .chain(std::iter::once(PREDECESSOR))
            .collect();
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env("LISTEN_FDS", given.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .env_remove("LISTEN_PID");
        let mappings = (FIRST_GIVEN..).zip(given);
        let mappings =
            mappings.map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd }).collect();
        command.fd_mappings(mappings).map_err(io::Error::other)?;
        command.spawn()
    }
}

/// Why nobody follows.
#[derive(Debug)]
#[non_exhaustive]
pub enum NoSuccessor {
    /// The process could not be started or listened to.
    Start(io::Error),
    /// It ended, with this status.
    Ended(String),
    /// It has not said in time that it serves.
    Silent,
    /// Nobody is to follow any more.
    GivenUp,
}

impl fmt::Display for NoSuccessor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(formatter, "it cannot be started: {error}"),
            Self::Ended(status) => write!(formatter, "it ended ({status}); its log says why"),
            Self::Silent => write!(formatter, "it does not serve after {} s", PATIENCE.as_secs()),
            Self::GivenUp => formatter.write_str("this ticker is to end"),
        }
    }
}

impl std::error::Error for NoSuccessor {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start(error) => Some(error),
            Self::Ended(_) | Self::Silent | Self::GivenUp => None,
        }
    }
}

/// Where file descriptors that are given begin (sd_listen_fds(3)).
const FIRST_GIVEN: i32 = 3;

/// How often it is looked whether the successor still lives.
const GLANCE: Duration = Duration::from_millis(100);

/// How long a successor may take: a replay looks through its files first.
const PATIENCE: Duration = Duration::from_secs(60);
