//! Attackers at work: a gang of connections, each with what it has yet to write.
//!
//! Plain non-blocking sockets and a turn each millisecond; attackers need no precision. What ends a
//! connection is kept in words, and an attacker whose connection has ended stays away, except in
//! the storm.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tickwire_protocol::{
    ClientError, ClientHandshake, CloseCode, Connection, DeflatePolicy, Event, Inflater, Limits,
    Role,
};

use super::attack::Attack;
use super::{Attacked, Ending};
use crate::clock::{self, Nanoseconds};
use crate::fault::Fault;
use crate::scenario::Masks;

/// All attackers of one attack.
pub(super) struct Gang {
    attack: Attack,
    address: SocketAddr,
    host: String,
    path: String,
    once: Vec<u8>,
    again: Vec<u8>,
    attackers: Vec<Option<Attacker>>,
    /// How connections ended, and after how long at most.
    ended: BTreeMap<String, (usize, Nanoseconds)>,
    bytes: u64,
    handshakes: u64,
    masks: Masks,
    input: Vec<u8>,
}

/// One connection.
struct Attacker {
    socket: TcpStream,
    began: Nanoseconds,
    phase: Phase,
    /// What is to be written, and how much of it was.
    script: Vec<u8>,
    written: usize,
    /// When the next byte of a slow attack is due.
    slow_due: Nanoseconds,
    /// When the server last took something.
    taken_at: Nanoseconds,
    inflater: Inflater,
}

enum Phase {
    Requesting,
    Upgrading(Box<ClientHandshake>),
    Open(Box<Connection>),
}

impl Gang {
    pub(super) fn new(
        attack: Attack,
        attackers: usize,
        address: SocketAddr,
        host: &str,
        path: &str,
    ) -> Self {
        let (once, again) = attack.script();
        let mut gang = Self {
            attack,
            address,
            host: host.to_owned(),
            path: path.to_owned(),
            once,
            again,
            attackers: Vec::new(),
            ended: BTreeMap::new(),
            bytes: 0,
            handshakes: 0,
            masks: Masks::new(),
            input: vec![0; 64 * 1024],
        };
        for _ in 0..attackers {
            let attacker = gang.begin();
            gang.attackers.push(attacker);
        }
        gang
    }

    /// Whether none of them got anywhere.
    pub(super) fn is_untried(&self) -> bool {
        self.bytes == 0 && self.ended.is_empty()
    }

    /// Each attacker reads and writes what it can.
    pub(super) fn turn(&mut self) {
        for number in 0..self.attackers.len() {
            let Some(mut attacker) = self.attackers[number].take() else { continue };
            match self.step(&mut attacker) {
                Ok(()) => self.attackers[number] = Some(attacker),
                Err(what) => {
                    self.end(&attacker, what);
                    if self.attack == Attack::Storm {
                        self.attackers[number] = self.begin();
                    }
                }
            }
        }
    }

    /// What became of all.
    pub(super) fn finish(mut self) -> Attacked {
        let attackers = std::mem::take(&mut self.attackers);
        let count = attackers.len();
        for mut attacker in attackers.into_iter().flatten() {
            // In the storm the last ones are as good as those before.
            if self.attack == Attack::Storm {
                continue;
            }
            // What the server did to one that never read lies behind what it sent.
            if let Err(what) = self.hear_out(&mut attacker) {
                self.end(&attacker, what);
                continue;
            }
            let stuck = attacker.written < attacker.script.len()
                && clock::now() - attacker.taken_at > STUCK
                && !self.attack.is_slow();
            let what = if stuck { "held on, reading no more" } else { "held on" };
            self.end(&attacker, what.to_owned());
        }
        let ending = |(what, (count, longest)): (String, (usize, Nanoseconds))| Ending {
            what,
            count,
            seconds: longest as f64 / 1e9,
        };
        Attacked {
            attack: self.attack,
            attackers: count,
            bytes: self.bytes,
            handshakes: self.handshakes,
            endings: self.ended.into_iter().map(ending).collect(),
        }
    }

    /// A new attacker; a connection that is refused is an end, too.
    fn begin(&mut self) -> Option<Attacker> {
        let began = clock::now();
        let connected = TcpStream::connect_timeout(&self.address, CONNECT_WAIT)
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        let socket = match connected {
            Ok(socket) => socket,
            Err(error) => {
                let what = Fault::of_connect(&error).name().to_owned();
                self.ended.entry(what).or_default().0 += 1;
                return None;
            }
        };
        let mut handshake = Box::new(ClientHandshake::new(self.masks.nonce()));
        if self.attack == Attack::Bomb {
            handshake.offer_deflate(&DeflatePolicy::DEFAULT);
        }
        let mut script = Vec::new();
        if self.attack != Attack::Mute {
            handshake
                .request(&self.host, &self.path, &[], &[], &mut script)
                .expect("the same request was written once before the run");
        }
        let phase = match self.attack.upgrades() {
            true => Phase::Upgrading(handshake),
            false => Phase::Requesting,
        };
        Some(Attacker {
            socket,
            began,
            phase,
            script,
            written: 0,
            slow_due: began,
            taken_at: began,
            inflater: Inflater::new(false),
        })
    }

    /// Reads and writes; the error says how the connection ended.
    fn step(&mut self, attacker: &mut Attacker) -> Result<(), String> {
        if self.attack.reads() || !matches!(attacker.phase, Phase::Open(_)) {
            self.read(attacker)?;
        }
        let mut budget = TURN_BYTES;
        while budget > 0 {
            if attacker.written == attacker.script.len() {
                if !matches!(attacker.phase, Phase::Open(_)) || self.again.is_empty() {
                    return Ok(());
                }
                attacker.script.clear();
                attacker.script.extend_from_slice(&self.again);
                attacker.written = 0;
            }
            let taken = attacker.write(self.attack, budget)?;
            if taken == 0 {
                return Ok(());
            }
            self.bytes += taken as u64;
            budget = budget.saturating_sub(taken);
        }
        Ok(())
    }

    fn read(&mut self, attacker: &mut Attacker) -> Result<(), String> {
        for _ in 0..READS_MAX {
            let read = match attacker.socket.read(&mut self.input) {
                Ok(0) => return Err("ended".to_owned()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(words(&error)),
            };
            let mut bytes = &mut self.input[..read];
            if let Phase::Upgrading(handshake) = &mut attacker.phase {
                let accepted = handshake.receive(&mut bytes).map_err(refused)?;
                let Some(accepted) = accepted else { continue };
                self.handshakes += 1;
                if self.attack == Attack::Storm {
                    return Err("served".to_owned());
                }
                if self.attack == Attack::Bomb && accepted.deflate.is_none() {
                    return Err("declined deflate".to_owned());
                }
                attacker.open(&self.once, accepted.deflate.is_some());
            }
            if matches!(attacker.phase, Phase::Requesting) {
                let status = bytes.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3));
                let status = status.map(String::from_utf8_lossy);
                return Err(format!("refused {}", status.as_deref().unwrap_or("oddly")));
            }
            attacker.listen(self.attack, bytes, &mut self.masks)?;
        }
        Ok(())
    }

    /// Reads all that has come, as far as a bound.
    fn hear_out(&mut self, attacker: &mut Attacker) -> Result<(), String> {
        for _ in 0..HEAR_MAX {
            self.read(attacker)?;
        }
        Ok(())
    }

    fn end(&mut self, attacker: &Attacker, what: String) {
        let lasted = clock::now() - attacker.began;
        let (count, longest) = self.ended.entry(what).or_default();
        *count += 1;
        *longest = lasted.max(*longest);
    }
}

impl Attacker {
    /// The handshake is done: the attack proper begins.
    fn open(&mut self, once: &[u8], deflate: bool) {
        self.phase = Phase::Open(Box::new(match deflate {
            true => Connection::with_deflate(Role::Client),
            false => Connection::new(Role::Client),
        }));
        self.script.clear();
        self.script.extend_from_slice(once);
        self.written = 0;
    }

    /// Writes up to `most` bytes, or one if the attack is slow and it is time.
    fn write(&mut self, attack: Attack, most: usize) -> Result<usize, String> {
        let now = clock::now();
        let in_attack = matches!(self.phase, Phase::Open(_) | Phase::Requesting);
        let slow = attack.is_slow() && in_attack;
        if slow && now < self.slow_due {
            return Ok(0);
        }
        // All but the last byte of the header is no frame yet; a slow payload follows its header.
        let at_once = attack == Attack::SlowPayload && self.written == 0;
        let most = match slow {
            true if at_once => SLOW_HEADER,
            true => 1,
            false => most,
        };
        let end = self.script.len().min(self.written + most);
        match self.socket.write(&self.script[self.written..end]) {
            Ok(taken) => {
                self.written += taken;
                (self.slow_due, self.taken_at) = (now + SLOW_EVERY, now);
                Ok(taken)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            // What the server said before it closed is worth more than the reset.
            Err(error) if attack.reads() && error.kind() == ErrorKind::BrokenPipe => Ok(0),
            Err(error) => Err(words(&error)),
        }
    }

    /// Takes in frames; a Close ends the attack.
    fn listen(
        &mut self,
        attack: Attack,
        mut bytes: &mut [u8],
        masks: &mut Masks,
    ) -> Result<(), String> {
        let Phase::Open(connection) = &mut self.phase else { return Ok(()) };
        let (limits, mut control) = (Limits::default(), Vec::new());
        let mut mask = || masks.key();
        while let Some(event) =
            connection.receive(&mut bytes, &limits, &mut self.inflater, &mut mask, &mut control)
        {
            match event {
                Event::Closed(Some(code), _) => return Err(format!("closed {}", code.0)),
                Event::Closed(None, _) => return Err("closed".to_owned()),
                // All that a server can say to it in earnest is an echo, which is not inflated here.
                Event::Message(_) if attack == Attack::Bomb => return Err(WENT_OFF.to_owned()),
                Event::Failed(error)
                    if attack == Attack::Bomb
                        && error.close_code() == CloseCode::MESSAGE_TOO_BIG =>
                {
                    return Err(WENT_OFF.to_owned());
                }
                Event::Failed(error) => return Err(format!("spoke wrongly: {error}")),
                _ => {}
            }
        }
        Ok(())
    }
}

fn refused(error: ClientError) -> String {
    match error {
        ClientError::Status(status) => format!("refused {status}"),
        error => format!("refused oddly: {error}"),
    }
}

fn words(error: &io::Error) -> String {
    Fault::of_connection(error).name().to_owned()
}

/// What a server did that took the bomb for a message.
const WENT_OFF: &str = "inflated all and echoed it";

/// How long a connection of an attacker may take.
const CONNECT_WAIT: Duration = Duration::from_secs(1);

/// Between two bytes of a slow attack, in nanoseconds.
const SLOW_EVERY: Nanoseconds = 500_000_000;

/// The header of the slow payload's frame: short, with its key.
const SLOW_HEADER: usize = 6;

/// A server that takes nothing for so long, in nanoseconds, has stopped reading.
const STUCK: Nanoseconds = 500_000_000;

/// Bytes of one attacker in one turn: 64 MB a second.
const TURN_BYTES: usize = 64 * 1024;

/// Turns of reading at the end: up to 16 MB, more than a socket's buffer holds.
const HEAR_MAX: usize = 64;

/// Reads of one attacker in one turn.
const READS_MAX: usize = 4;
