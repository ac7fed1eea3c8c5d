//! One server while it is measured: started on its cores, found at its address, listened to.
//!
//! Its output goes through a pipe that a thread empties, because an address may be in it, and
//! because it says best why a server does not run. The last kilobytes are kept, and nothing else is
//! done while messages flow unless the server writes.

use std::io::{self, PipeReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::cpus::Placement;
use super::result::{Failure, Figures, Run};
use crate::clock::{self, Nanoseconds};
use crate::report::Report;
use crate::server::{ServerError, ServerProcess};

/// A server that runs; dropping it stops it.
#[derive(Debug)]
pub(super) struct Contender {
    server: ServerProcess,
    output: Output,
    address: SocketAddr,
}

impl Contender {
    /// Starts `command` and waits until it accepts connections.
    pub(super) fn start(command: &str, placement: &Placement) -> Result<Self, Failure> {
        let given = command.contains(PLACEHOLDER).then(free_address).transpose();
        let given = given.map_err(|error| Failure::new(error.to_string(), ""))?;
        let command = match given {
            Some(address) => command.replace(PLACEHOLDER, &address.to_string()),
            None => command.to_owned(),
        };
        let (mut server, output) =
            spawn(&command, placement).map_err(|error| Failure::new(error.to_string(), ""))?;
        match find(&mut server, &output, given) {
            Ok(address) => Ok(Self { server, output, address }),
            Err(error) => Err(Failure::new(error.to_string(), &output.end(server))),
        }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Tells whether the report is of a server that did what it should.
    ///
    /// One that has ended is told by that, whatever the report says. A process that ends closes its
    /// sockets before it can be waited for: where connections were lost it is given the time.
    pub(super) fn judge(&mut self, report: &Report) -> Run {
        let unreachable = report.result.connections_lost + report.result.connections_failed > 0;
        let end_wait = if unreachable { END_WAIT } else { 0 };
        if let Some(status) = self.ended_within(end_wait) {
            self.output.wait_for_end();
            return self.fail(format!("the server ended during the run ({status})"));
        }
        match Figures::of(report) {
            Ok(figures) => Run::of(figures),
            Err(words) => self.fail(words),
        }
    }

    /// How the server ended, if it does so within `wait` nanoseconds.
    fn ended_within(&mut self, wait: Nanoseconds) -> Option<ExitStatus> {
        let deadline = clock::now() + wait;
        loop {
            if let Ok(Some(status)) = self.server.ended() {
                return Some(status);
            }
            if clock::now() >= deadline {
                return None;
            }
            thread::park_timeout(PAUSE);
        }
    }

    /// A run that failed, with the output so far.
    pub(super) fn fail(&self, words: String) -> Run {
        Run::failed(Failure::new(words, &self.output.text()))
    }
}

/// What a server wrote.
#[derive(Debug)]
struct Output {
    kept: Arc<Mutex<Kept>>,
    reader: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    address: Option<SocketAddr>,
}

impl Output {
    fn follow(pipe: PipeReader) -> Self {
        let kept = Arc::<Mutex<Kept>>::default();
        let theirs = Arc::clone(&kept);
        Self { kept, reader: thread::spawn(move || read(pipe, &theirs)) }
    }

    fn address(&self) -> Option<SocketAddr> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).address
    }

    fn text(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept.bytes).into_owned()
    }

    /// All that was written, to the end, unless something else holds the pipe open.
    fn end(self, server: ServerProcess) -> String {
        drop(server);
        self.wait_for_end();
        self.text()
    }

    /// Waits until all is here that a server wrote which has ended.
    fn wait_for_end(&self) {
        let deadline = clock::now() + LAST_WORDS_WAIT;
        while !self.reader.is_finished() && clock::now() < deadline {
            thread::park_timeout(PAUSE);
        }
    }
}

fn read(mut pipe: PipeReader, kept: &Mutex<Kept>) {
    let mut part = [0; 4096];
    while let Ok(len @ 1..) = pipe.read(&mut part) {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes.extend_from_slice(&part[..len]);
        if kept.address.is_none() {
            kept.address = address_in(&kept.bytes);
        }
        let over = kept.bytes.len().saturating_sub(OUTPUT_BYTES_MAX);
        kept.bytes.drain(..over);
    }
}

/// The first address in whole lines: a word of its own, perhaps as a URL.
fn address_in(output: &[u8]) -> Option<SocketAddr> {
    let whole = output.iter().rposition(|byte| *byte == b'\n')?;
    let text = String::from_utf8_lossy(&output[..whole]);
    let address = |word: &str| {
        let word = word.split_once("://").map_or(word, |(_, rest)| rest);
        let word = word.split('/').next().unwrap_or_default();
        let address: SocketAddr = word.trim_end_matches(['.', ',', ';']).parse().ok()?;
        // Nobody can connect to all addresses.
        let any = address.ip().is_unspecified();
        let ip = if any { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
        (address.port() != 0).then_some(SocketAddr::new(ip, address.port()))
    };
    text.split_whitespace().find_map(address)
}

fn spawn(command: &str, placement: &Placement) -> io::Result<(ServerProcess, Output)> {
    let (reader, writer) = io::pipe()?;
    let _pinned = placement.pin_server()?;
    let output = Stdio::from(writer.try_clone()?);
    let server = ServerProcess::spawn(command, output, Stdio::from(writer))?;
    Ok((server, Output::follow(reader)))
}

/// Waits until the server accepts at the `given` address or at the one that it prints.
fn find(
    server: &mut ServerProcess,
    output: &Output,
    given: Option<SocketAddr>,
) -> Result<SocketAddr, ServerError> {
    let deadline = clock::now() + ADDRESS_WAIT;
    let address = loop {
        if let Some(address) = given.or_else(|| output.address()) {
            break address;
        }
        // Its last words may be on their way.
        if let Some(status) = server.ended()?.filter(|_| output.reader.is_finished()) {
            let command = server.command().to_owned();
            return Err(ServerError::Ended(command, status.to_string()));
        }
        if clock::now() > deadline {
            return Err(ServerError::NoAddress(server.command().to_owned()));
        }
        thread::park_timeout(PAUSE);
    };
    server.wait_until_accepts(address)?;
    Ok(address)
}

/// A port that was free a moment ago.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// What stands where the address belongs.
pub(super) const PLACEHOLDER: &str = "{address}";

/// How long a server may take to print its address, in nanoseconds; as long as to accept.
const ADDRESS_WAIT: Nanoseconds = 10_000_000_000;

/// How long a server that lost connections may take until it is found ended, in nanoseconds. It takes
/// a millisecond, unless the machine is busy; one that goes on is waited for in vain.
const END_WAIT: Nanoseconds = 3_000_000_000;

/// How long the output of a server that has ended may take, in nanoseconds: as for its end, and in
/// vain where a process that it started goes on and holds the pipe.
const LAST_WORDS_WAIT: Nanoseconds = 3_000_000_000;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// What is kept of a server's output: a stack trace fits.
const OUTPUT_BYTES_MAX: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_what_servers_print() {
        for (output, address) in [
            ("listening on 127.0.0.1:9002\n", Some("127.0.0.1:9002")),
            ("v1.2.3\nServing at ws://[::1]:80/chat.\n", Some("[::1]:80")),
            ("listening on 0.0.0.0:81\n", Some("127.0.0.1:81")),
            ("from 127.0.0.1:0 to http://127.0.0.1:8080, now\n", Some("127.0.0.1:8080")),
            ("listening on 127.0.0.1:90", None),
            ("at 12:30:01 nothing listens\n", None),
        ] {
            let found = address_in(output.as_bytes()).map(|it| it.to_string());
            assert_eq!(found.as_deref(), address, "{output}");
        }
    }
}
