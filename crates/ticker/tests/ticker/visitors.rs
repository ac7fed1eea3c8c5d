//! Thousands of subscribers on one event loop, who come back at once when they are sent away.
//!
//! Each checks what the protocol promises: an answer to its request whenever it connects, a welcome, a
//! snapshot before the updates of a symbol, then every number once, and 1012 with a notice when it is
//! sent away. A refusal or a reset is a failure wherever it happens.

use std::collections::{BTreeSet, HashMap};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use serde_json::{Value as Json, json};
use tickwire_protocol::{
    ClientHandshake, CloseCode, Connection, Event, Inflater, Kind, Limits, Role, encode,
};

/// Connections that are driven together.
pub(crate) struct Visitors {
    poll: Poll,
    address: SocketAddr,
    symbols: Vec<String>,
    visitors: Vec<Visitor>,
}

/// One subscriber, from one connect to the next.
pub(crate) struct Visitor {
    stream: TcpStream,
    /// Until the server has answered.
    handshake: Option<ClientHandshake>,
    connection: Connection,
    epoch: String,
    /// The last number of each symbol that a snapshot came of.
    last: HashMap<String, u64>,
    updates: u64,
    /// It has heard the notice.
    is_told: bool,
    /// It has heard the Close.
    is_sent_away: bool,
}

impl Visitors {
    /// Connects `count` subscribers of `symbols`.
    pub(crate) fn connect(address: SocketAddr, count: usize, symbols: &[&str]) -> Self {
        let poll = Poll::new().unwrap();
        let symbols: Vec<String> = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
        let connect = |index| Visitor::connect(poll.registry(), index, address, &symbols);
        let visitors = (0..count).map(connect).collect();
        Self { poll, address, symbols, visitors }
    }

    /// Drives them until each is `done`.
    pub(crate) fn run_until(&mut self, done: impl Fn(&Visitor) -> bool) {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 64 * 1024];
        let mut is_done: Vec<bool> = self.visitors.iter().map(&done).collect();
        while is_done.contains(&false) {
            match self.poll.poll(&mut events, Some(PATIENCE)) {
                // The process was stopped and goes on.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled.unwrap(),
            }
            assert!(!events.is_empty(), "{:?} are done", is_done.iter().filter(|it| **it).count());
            for event in &events {
                let index = event.token().0;
                let visitor = &mut self.visitors[index];
                if visitor.read(&mut buffer) {
                    let registry = self.poll.registry();
                    *visitor = Visitor::connect(registry, index, self.address, &self.symbols);
                }
                is_done[index] = done(visitor);
            }
        }
    }

    /// The numberings of events that they follow.
    pub(crate) fn epochs(&self) -> BTreeSet<String> {
        self.visitors.iter().map(|visitor| visitor.epoch.clone()).collect()
    }
}

impl Visitor {
    fn connect(registry: &Registry, index: usize, address: SocketAddr, symbols: &[String]) -> Self {
        let mut stream = std::net::TcpStream::connect(address).expect("nobody is refused");
        let mut handshake = ClientHandshake::new([5; 16]);
        let mut request = Vec::new();
        handshake.request("localhost", "/ticker", &["ticker.v1.json"], &[], &mut request).unwrap();
        // Early frames are allowed: they are taken up once the connection is open.
        let params = json!({"channel": "ticker", "symbols": symbols, "mode": "distinct"});
        let subscribe = json!({"id": 1, "method": "subscribe", "params": params}).to_string();
        encode::masked_message(Kind::Text, MASK, subscribe.as_bytes(), &mut request);
        stream.write_all(&request).expect("nobody is reset before the answer");
        stream.set_nonblocking(true).unwrap();
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, Token(index), Interest::READABLE).unwrap();
        Self {
            stream,
            handshake: Some(handshake),
            connection: Connection::new(Role::Client),
            epoch: String::new(),
            last: HashMap::new(),
            updates: 0,
            is_told: false,
            is_sent_away: false,
        }
    }

    /// Whether an update of each symbol's kind has come.
    pub(crate) fn has_updates(&self) -> bool {
        self.updates > 0
    }

    pub(crate) fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Takes what has arrived; `true`: it is to come back.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        while !self.is_sent_away {
            match self.stream.read(buffer) {
                Ok(0) => panic!("ended without a Close; {} updates", self.updates),
                Ok(length) => self.absorb(&mut buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if self.handshake.is_some() => panic!("before an answer: {error}"),
                Err(error) => panic!("without a Close, after {} updates: {error}", self.updates),
            }
        }
        true
    }

    fn absorb(&mut self, mut input: &mut [u8]) {
        if let Some(handshake) = &mut self.handshake {
            if handshake.receive(&mut input).expect("a 101").is_none() {
                return;
            }
            self.handshake = None;
        }
        let mut control = Vec::new();
        let limits = Limits::DEFAULT;
        let mut inflater = Inflater::new(false);
        while let Some(event) =
            self.connection.receive(&mut input, &limits, &mut inflater, &mut || MASK, &mut control)
        {
            match event {
                Event::Message(message) => {
                    let message: Json = serde_json::from_slice(message.payload).unwrap();
                    match message["type"].as_str().unwrap() {
                        "welcome" => self.epoch = message["epoch"].as_str().unwrap().to_owned(),
                        "notice" => self.is_told = message["code"] == "server_shutdown",
                        "snapshot" => {
                            assert_eq!(message["epoch"], *self.epoch);
                            let (symbol, seq) = numbered(&message);
                            assert_eq!(self.last.insert(symbol, seq), None, "one of each");
                        }
                        "update" => {
                            let (symbol, seq) = numbered(&message);
                            let held = self.last.get_mut(&symbol).expect("a snapshot before");
                            assert_eq!(message["prev"], *held, "{message}");
                            assert_eq!(seq, *held + 1, "{message}");
                            *held = seq;
                            self.updates += 1;
                        }
                        kind => assert!(["ack", "heartbeat"].contains(&kind), "{message}"),
                    }
                }
                Event::Closed(code, _) => {
                    assert_eq!(code, Some(CloseCode::SERVICE_RESTART));
                    assert!(self.is_told, "a notice comes before the Close");
                    self.is_sent_away = true;
                }
                Event::Ping(_) | Event::Pong(_) => {}
                Event::Failed(error) => panic!("the server broke the protocol: {error}"),
            }
        }
        if !control.is_empty() {
            self.stream.write_all(&control).unwrap();
        }
    }
}

fn numbered(message: &Json) -> (String, u64) {
    (message["symbol"].as_str().unwrap().to_owned(), message["seq"].as_u64().unwrap())
}

const MASK: [u8; 4] = [0x21, 0x32, 0x43, 0x54];

/// Far longer than a server is ever silent.
const PATIENCE: Duration = Duration::from_secs(60);
