//! A server that is started for a run and stopped after it.
//!
//! The command goes through `sh` so that it can be written as on a terminal, and replaces it
//! (`exec`), so that the process is the server itself. It gets a process group of its own: Ctrl-C
//! ends the run first and the server after its report. It is stopped by its id and nothing else.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::clock::{self, Nanoseconds};

/// A running server; dropping it stops it.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    command: String,
}

impl ServerProcess {
    /// Starts `command` and waits until `address` accepts connections. What the server writes goes
    /// to standard error, because standard output belongs to the report.
    ///
    /// # Errors
    ///
    /// When it does not start, ends, or does not accept within ten seconds; also when something else
    /// listens at the address already, whose figures would be taken for the server's.
    pub fn start(command: &str, address: SocketAddr) -> Result<Self, ServerError> {
        if accepts(address) {
            return Err(ServerError::Occupied(address));
        }
        let output = io::stderr().as_fd().try_clone_to_owned().map_err(ServerError::System)?;
        let mut server = Self::spawn(command, Stdio::from(output), Stdio::inherit())
            .map_err(ServerError::System)?;
        server.wait_until_accepts(address)?;
        Ok(server)
    }

    /// Starts `command`, which writes there, and waits for nothing.
    pub(crate) fn spawn(command: &str, output: Stdio, errors: Stdio) -> io::Result<Self> {
        let child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()?;
        Ok(Self { child, command: command.to_owned() })
    }

    /// Waits until `address` accepts connections, for ten seconds at most.
    pub(crate) fn wait_until_accepts(&mut self, address: SocketAddr) -> Result<(), ServerError> {
        let deadline = clock::now() + START_WAIT;
        while !accepts(address) {
            if let Some(status) = self.ended()? {
                return Err(ServerError::Ended(self.command.clone(), status.to_string()));
            }
            if clock::now() > deadline {
                return Err(ServerError::Silent(self.command.clone(), address));
            }
            thread::park_timeout(PAUSE);
        }
        Ok(())
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, ServerError> {
        self.child.try_wait().map_err(ServerError::System)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The command that started it.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Asks it to end, and makes it end if it does not.
    fn stop(&mut self) -> io::Result<()> {
        let asked = kill_process(Pid::from_child(&self.child), Signal::TERM).is_ok();
        let deadline = clock::now() + STOP_WAIT;
        while asked && clock::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::park_timeout(PAUSE);
        }
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Nothing can be done about a process that does not end.
        let _ = self.stop();
    }
}

fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// Why a server does not run.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerError {
    /// Something listens at the address before the server was started.
    Occupied(SocketAddr),
    /// The command ended, with this status.
    Ended(String, String),
    /// The command runs and nothing accepts at the address.
    Silent(String, SocketAddr),
    /// The command runs and prints no address.
    NoAddress(String),
    /// There is no process with this id.
    NoProcess(u32),
    /// The operating system failed.
    System(io::Error),
}

impl fmt::Display for ServerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Occupied(address) => write!(
                formatter,
                "something listens on {address} already: stop it, or use --server-pid"
            ),
            Self::Ended(command, status) => {
                write!(formatter, "the server ended at once ({status}): {command}")
            }
            Self::Silent(command, address) => write!(
                formatter,
                "the server does not accept connections on {address} within {} s: {command}",
                START_WAIT / 1_000_000_000
            ),
            Self::NoAddress(command) => write!(
                formatter,
                "the server prints no address such as `listening on 127.0.0.1:9001` (or put \
                 {{address}} where its command wants one): {command}"
            ),
            Self::NoProcess(pid) => {
                write!(formatter, "there is no process {pid}: see --server-pid")
            }
            Self::System(error) => write!(formatter, "the server cannot be started: {error}"),
        }
    }
}

impl std::error::Error for ServerError {}

/// How long a server may take until it accepts, in nanoseconds: Java's do in half of that.
const START_WAIT: Nanoseconds = 10_000_000_000;

/// How long a server may take to end by itself, in nanoseconds.
const STOP_WAIT: Nanoseconds = 5_000_000_000;

/// Between two looks at a server that starts or ends.
const PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_command_that_ends_and_an_address_in_use_are_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(matches!(ServerProcess::start("true", address), Err(ServerError::Occupied(_))));
        drop(listener);
        assert!(matches!(ServerProcess::start("true", address), Err(ServerError::Ended(..))));
    }
}
