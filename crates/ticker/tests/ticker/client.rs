//! A client: one blocking socket, and what arrived on it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value as Json, json};
use socket2::{Domain, Socket, Type};
use tickwire_protocol::{
    ClientHandshake, CloseCode, Connection, Event, Inflater, Kind, Limits, Role, encode,
};

/// What a client gets.
#[derive(Debug, PartialEq)]
pub(crate) enum Arrival {
    Message(Json),
    Closed(u16, String),
    Ended,
}

/// A connection to the ticker.
pub(crate) struct Client {
    stream: TcpStream,
    connection: Connection,
    arrived: VecDeque<Arrival>,
    protocol: Option<String>,
}

impl Client {
    /// A client that offers nothing and has been welcomed.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut client = Self::offer(address, &[]);
        assert_eq!(client.message()["type"], "welcome");
        client
    }

    /// A client that offers `protocols`; the welcome is still to come.
    pub(crate) fn offer(address: SocketAddr, protocols: &[&str]) -> Self {
        Self::open(dial(address, None), "/ticker", protocols, &[])
    }

    /// A client for which the kernel keeps next to nothing that it has not read; it has been welcomed.
    pub(crate) fn narrow(address: SocketAddr) -> Self {
        let mut client = Self::open(dial(address, Some(4096)), "/ticker", &[], &[]);
        assert_eq!(client.message()["type"], "welcome");
        client
    }

    /// A client that asks for another path or query; the welcome is still to come.
    pub(crate) fn at(address: SocketAddr, path: &str) -> Self {
        Self::open(dial(address, None), path, &[], &[])
    }

    /// A client that asks in one go for the connection and for `symbols`, as request 1: no time passes
    /// between them, however busy the machine is. Early frames are taken up once the connection is
    /// open; the welcome is still to come.
    pub(crate) fn connect_and_subscribe(address: SocketAddr, symbols: &[&str]) -> Self {
        let mut early = Vec::new();
        let subscribe = subscribe(1, symbols).to_string();
        encode::masked_message(Kind::Text, MASK, subscribe.as_bytes(), &mut early);
        Self::open(dial(address, None), "/ticker", &[], &early)
    }

    fn open(mut stream: TcpStream, path: &str, protocols: &[&str], early: &[u8]) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut handshake = ClientHandshake::new([7; 16]);
        let mut request = Vec::new();
        handshake.request("localhost", path, protocols, &[], &mut request).unwrap();
        request.extend_from_slice(early);
        stream.write_all(&request).unwrap();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let len = match stream.read(&mut buffer) {
                // The process was stopped and goes on.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.unwrap(),
            };
            assert!(len > 0, "the server hung up in the handshake");
            let mut input = &mut buffer[..len];
            if let Some(accepted) = handshake.receive(&mut input).unwrap() {
                let connection = Connection::new(Role::Client);
                let (arrived, protocol) = (VecDeque::new(), accepted.protocol);
                let mut client = Self { stream, connection, arrived, protocol };
                client.absorb(input);
                return client;
            }
        }
    }

    pub(crate) fn send(&mut self, message: &Json) {
        self.send_bytes(Kind::Text, message.to_string().as_bytes());
    }

    pub(crate) fn send_bytes(&mut self, kind: Kind, payload: &[u8]) {
        let mut frame = Vec::new();
        encode::masked_message(kind, MASK, payload, &mut frame);
        self.stream.write_all(&frame).unwrap();
    }

    /// Sends all of `messages` in one go: they arrive together, however busy the machine is.
    pub(crate) fn send_together(&mut self, messages: impl IntoIterator<Item = Json>) {
        let mut frames = Vec::new();
        for message in messages {
            let text = message.to_string();
            encode::masked_message(Kind::Text, MASK, text.as_bytes(), &mut frames);
        }
        self.stream.write_all(&frames).unwrap();
    }

    pub(crate) fn subscribe(&mut self, id: i64, symbols: &[&str]) {
        self.send(&subscribe(id, symbols));
    }

    /// Sends a request about symbols, with further parameters.
    pub(crate) fn ask(&mut self, id: i64, method: &str, symbols: &[&str], more: Json) {
        self.send(&about(id, method, symbols, more));
    }

    pub(crate) fn unsubscribe(&mut self, id: i64, symbols: &[&str]) {
        let params = json!({"channel": "ticker", "symbols": symbols});
        self.send(&json!({"id": id, "method": "unsubscribe", "params": params}));
    }

    /// The next arrival, heartbeats left out.
    pub(crate) fn next(&mut self) -> Arrival {
        loop {
            match self.next_of_all() {
                Arrival::Message(message) if message["type"] == "heartbeat" => {}
                arrival => return arrival,
            }
        }
    }

    pub(crate) fn next_of_all(&mut self) -> Arrival {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some(arrival) = self.arrived.pop_front() {
                return arrival;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Arrival::Ended,
                Ok(len) => self.absorb(&mut buffer[..len]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Arrival::Ended,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("nothing arrives: {error}"),
            }
        }
    }

    /// The next message, which must be one.
    pub(crate) fn message(&mut self) -> Json {
        match self.next() {
            Arrival::Message(message) => message,
            other => panic!("a message was expected, not {other:?}"),
        }
    }

    /// The next message that is the reply to the request `id`; others before it are left out.
    pub(crate) fn reply(&mut self, id: i64) -> Json {
        loop {
            let message = self.message();
            if message["id"] == id {
                return message;
            }
        }
    }

    /// The code with which the server closes; messages before it are left out.
    pub(crate) fn close_code(&mut self) -> u16 {
        loop {
            match self.next() {
                Arrival::Message(_) => {}
                Arrival::Closed(code, reason) => {
                    assert!(!reason.is_empty(), "a close says why");
                    return code;
                }
                Arrival::Ended => panic!("the connection ended without a Close"),
            }
        }
    }

    pub(crate) fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
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
                    assert_eq!(message.kind, Kind::Text);
                    let json = serde_json::from_slice(message.payload).unwrap();
                    self.arrived.push_back(Arrival::Message(json));
                }
                Event::Closed(code, reason) => {
                    let code = code.unwrap_or(CloseCode::NO_STATUS).0;
                    self.arrived.push_back(Arrival::Closed(code, reason.to_owned()));
                }
                Event::Ping(_) | Event::Pong(_) => {}
                Event::Failed(error) => panic!("the server broke the protocol: {error}"),
            }
        }
        // The server may have hung up already.
        let _ = self.stream.write_all(&control);
    }
}

fn dial(address: SocketAddr, receive_bytes: Option<usize>) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes).unwrap();
    }
    socket.connect(&address.into()).unwrap();
    socket.into()
}

/// To every event: other terms are what other tests are about.
fn subscribe(id: i64, symbols: &[&str]) -> Json {
    about(id, "subscribe", symbols, json!({"mode": "distinct"}))
}

/// A request about symbols of the channel, with further parameters.
pub(crate) fn about(id: i64, method: &str, symbols: &[&str], more: Json) -> Json {
    let mut params = json!({"channel": "ticker", "symbols": symbols});
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"id": id, "method": method, "params": params})
}

/// A value that hides nothing from somebody who looks at a failure.
const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

/// Far longer than anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
