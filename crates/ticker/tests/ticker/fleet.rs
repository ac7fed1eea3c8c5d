//! A thousand subscribers on one event loop, each checking every update that it gets.
//!
//! One receive buffer serves all; a connection keeps the last number of each symbol and, while a
//! message is cut, its beginning.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde_json::{Value as Json, json};
use socket2::{Domain, Socket, Type};
use tickwire_protocol::{ClientHandshake, Connection, Event, Inflater, Kind, Limits, Role, encode};

/// Connections that are driven together.
pub(crate) struct Fleet {
    poll: Poll,
    members: Vec<Member>,
}

/// One subscriber.
struct Member {
    stream: TcpStream,
    connection: Connection,
    /// The last number of each symbol that a snapshot came of.
    last: HashMap<String, u64>,
    updates: u64,
}

impl Fleet {
    /// Connects `count` subscribers of `symbols`, one after the other.
    pub(crate) fn connect(address: SocketAddr, count: usize, symbols: &[&str]) -> Self {
        let poll = Poll::new().unwrap();
        let mut fleet = Self { poll, members: Vec::with_capacity(count) };
        let mut buffer = vec![0; BUFFER_BYTES];
        for index in 0..count {
            let mut member = Member::connect(address, &mut buffer, symbols);
            let registry = fleet.poll.registry();
            registry.register(&mut member.stream, Token(index), Interest::READABLE).unwrap();
            // What came before the registration is not told again.
            member.read(&mut buffer);
            fleet.members.push(member);
        }
        fleet
    }

    /// Reads until every member has got `updates`, and returns how many each symbol then had.
    pub(crate) fn read_until(&mut self, updates: u64) -> Vec<HashMap<String, u64>> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut unfinished = self.members.iter().filter(|member| member.updates < updates).count();
        while unfinished > 0 {
            match self.poll.poll(&mut events, Some(PATIENCE)) {
                // The process was stopped and goes on.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled.unwrap(),
            }
            assert!(!events.is_empty(), "{unfinished} members wait for more");
            for event in &events {
                let member = &mut self.members[event.token().0];
                let before = member.updates;
                member.read(&mut buffer);
                unfinished -= usize::from(before < updates && member.updates >= updates);
            }
        }
        self.members.iter().map(|member| member.last.clone()).collect()
    }
}

impl Member {
    fn connect(address: SocketAddr, buffer: &mut [u8], symbols: &[&str]) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(RECEIVE_BYTES).unwrap();
        socket.connect(&address.into()).unwrap();
        let mut stream = std::net::TcpStream::from(socket);
        let mut handshake = ClientHandshake::new([9; 16]);
        let mut request = Vec::new();
        handshake.request("localhost", "/ticker", &["ticker.v1.json"], &[], &mut request).unwrap();
        // Early frames are allowed: they are taken up once the connection is open.
        let params = json!({"channel": "ticker", "symbols": symbols, "mode": "distinct"});
        let subscribe = json!({"id": 1, "method": "subscribe", "params": params}).to_string();
        encode::masked_message(Kind::Text, MASK, subscribe.as_bytes(), &mut request);
        stream.write_all(&request).unwrap();
        let (rest, len) = loop {
            let len = stream.read(buffer).unwrap();
            assert!(len > 0, "the server hung up in the handshake");
            let mut input = &mut buffer[..len];
            if handshake.receive(&mut input).unwrap().is_some() {
                break (len - input.len(), len);
            }
        };
        stream.set_nonblocking(true).unwrap();
        let (stream, connection) = (TcpStream::from_std(stream), Connection::new(Role::Client));
        let mut member = Self { stream, connection, last: HashMap::new(), updates: 0 };
        member.absorb(&mut buffer[rest..len]);
        member
    }

    fn read(&mut self, buffer: &mut [u8]) {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => panic!("the server hung up after {} updates", self.updates),
                Ok(len) => self.absorb(&mut buffer[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("after {} updates: {error}", self.updates),
            }
        }
    }

    fn absorb(&mut self, mut input: &mut [u8]) {
        let mut control = Vec::new();
        let limits = Limits::DEFAULT;
        let mut inflater = Inflater::new(false);
        while let Some(event) =
            self.connection.receive(&mut input, &limits, &mut inflater, &mut || MASK, &mut control)
        {
            match event {
                Event::Message(message) => {
                    take(&mut self.last, &mut self.updates, message.payload);
                }
                Event::Ping(_) | Event::Pong(_) => {}
                other => panic!("after {} updates: {other:?}", self.updates),
            }
        }
        if !control.is_empty() {
            self.stream.write_all(&control).unwrap();
        }
    }
}

/// Checks one message against what a member holds.
fn take(last: &mut HashMap<String, u64>, updates: &mut u64, message: &[u8]) {
    let message = std::str::from_utf8(message).unwrap();
    if let Some((symbol, seq, prev)) = update(message) {
        let held = last.get_mut(symbol).expect("a snapshot comes before its updates");
        assert_eq!((prev, seq), (*held, *held + 1), "{message}");
        *held = seq;
        *updates += 1;
        return;
    }
    let message: Json = serde_json::from_str(message).unwrap();
    match message["type"].as_str().unwrap() {
        "snapshot" => {
            let (symbol, seq) = (message["symbol"].as_str().unwrap(), message["seq"].as_u64());
            let known = last.insert(symbol.to_owned(), seq.unwrap());
            assert_eq!(known, None, "one snapshot of each symbol");
        }
        "ack" => {
            let results = message["results"].as_array().unwrap();
            assert!(results.iter().all(|result| result["ok"] == true), "{message}");
        }
        kind => assert!(["welcome", "heartbeat"].contains(&kind), "{message}"),
    }
}

/// Symbol, number and the number before of an update, read by its place: thirty million of them
/// are to be checked.
fn update(message: &str) -> Option<(&str, u64, u64)> {
    let rest = message.strip_prefix(r#"{"type":"update","channel":"ticker","symbol":""#)?;
    let (symbol, rest) = rest.split_once(r#"","seq":"#)?;
    let (seq, rest) = rest.split_once(r#","prev":"#)?;
    let (prev, _) = rest.split_once(',')?;
    Some((symbol, seq.parse().ok()?, prev.parse().ok()?))
}

const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

/// What the kernel may hold for a member. Left alone it would be megabytes: a thousand of them
/// together exceed what the kernel gives to TCP, and it then drops what has arrived.
const RECEIVE_BYTES: usize = 64 * 1024;

const BUFFER_BYTES: usize = 256 * 1024;

/// Far longer than a server is ever silent.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn an_update_is_read_by_its_place() {
    let message = r#"{"type":"update","channel":"ticker","symbol":"A","seq":12,"prev":11,"n":1}"#;
    assert_eq!(update(message), Some(("A", 12, 11)));
    assert_eq!(update(r#"{"type":"heartbeat","n":1,"ts":"5"}"#), None);
}
