//! What a peer says: its request, messages whole and in fragments, Pings, and broken rules.
//!
//! Whatever is made here is written in the ledger when it is made, before its first byte is sent: so
//! the handler can hear it the moment it has come whole.

use tickwire_protocol::{CloseCode, Kind, accept_value};
use tickwire_reactor::Ended;

use super::{Peer, Request};
use crate::ledger::Book;
use crate::note::Note;
use crate::random::Random;
use crate::stream::{Zlib, frame};

/// The key of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The bytes of a client's request; the query names its session.
pub(super) fn request(request: Request, number: usize) -> Vec<u8> {
    let (mut method, mut version, mut key, mut path) = ("GET", "13", true, "/storm");
    let mut extensions = "";
    match request {
        Request::WebSocket { deflate: false } => {}
        Request::WebSocket { deflate: true } => {
            extensions = [
                "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
                "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n",
                "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n",
            ][number % 3];
        }
        Request::WrongVersion => version = "8",
        Request::NoKey => key = false,
        Request::Post => method = "POST",
        Request::Nonsense => return b"nonsense\r\n\r\n".to_vec(),
        Request::OtherPath => path = "/elsewhere",
    }
    let query = if path == "/storm" { format!("?{number}") } else { String::new() };
    let key = if key { format!("Sec-WebSocket-Key: {KEY}\r\n") } else { String::new() };
    format!(
        "{method} {path}{query} HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\n{key}Sec-WebSocket-Version: {version}\r\n{extensions}\r\n"
    )
    .into_bytes()
}

/// What both sides agreed on of compression, if anything, as it stands in an answer.
pub(super) fn agreed(head: &str) -> Option<Zlib> {
    let line = head.lines().find(|line| line.starts_with("Sec-WebSocket-Extensions: "))?;
    let ours = line.contains("client_no_context_takeover");
    let theirs = line.contains("server_no_context_takeover");
    Some(Zlib::new(ours, theirs))
}

impl Peer {
    /// A far server answers the request; whether as it should.
    pub(super) fn answer(&mut self, request: &str, random: &mut Random) -> bool {
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let key = key.and_then(|key| key.as_bytes().try_into().ok()).expect("24 characters");
        let accept = accept_value(key);
        let accept = std::str::from_utf8(&accept).expect("it is base64");
        let mut extensions = "";
        if request.contains("permessage-deflate") && random.one_in(2) {
            extensions = "Sec-WebSocket-Extensions: permessage-deflate; \
                          server_no_context_takeover; client_no_context_takeover\r\n";
        }
        let status = match random.below(12) {
            0 => "404 Not Found",
            1 => "302 Found",
            2 => "101 Switching",
            _ => "101 Switching Protocols",
        };
        let accept = if status == "101 Switching" { "wrong" } else { accept };
        let head = format!(
            "HTTP/1.1 {status}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{extensions}\r\n"
        );
        self.stream.zlib = agreed(&head);
        self.rest = head.into_bytes();
        status == "101 Switching Protocols"
    }

    /// Says one new thing.
    pub(super) fn speak(&mut self, number: usize, book: &Book, random: &mut Random) {
        match random.below(130) {
            0 => {
                let code = random.pick(&[None, Some(1000), Some(1001), Some(3_000), Some(4_999)]);
                self.close_with(number, code, book);
            }
            1 => self.break_a_rule(number, book, random),
            2 if random.one_in(3) => {
                // One more than its second may have, whenever that began.
                let most = book.borrow().limits.pings_per_second_max;
                (0..=2 * most).for_each(|_| self.ping(book));
                self.is_done = true;
            }
            3..=7 => self.ping(book),
            8 => frame(self.masks, 0x8a, b"unasked", &mut self.rest),
            _ => self.ask(number, book, random),
        }
    }

    fn ping(&mut self, book: &Book) {
        self.pings += 1;
        if let Some(number) = self.number {
            book.borrow_mut().sessions[number].peer_pings = self.pings;
        }
        frame(self.masks, 0x89, self.pings.to_string().as_bytes(), &mut self.rest);
    }

    /// Sends its Close, with this code.
    pub(super) fn close_with(&mut self, number: usize, code: Option<u16>, book: &Book) {
        let payload = code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec());
        frame(self.masks, 0x88, &payload, &mut self.rest);
        book.borrow_mut().excuse(number, Ended::ByPeer(code.map(CloseCode)));
        self.is_done = true;
    }

    fn break_a_rule(&mut self, number: usize, book: &Book, random: &mut Random) {
        let masks = self.masks;
        let too_long = u16::try_from(book.borrow().limits.protocol.message_bytes_max + 1);
        let too_long = too_long.expect("a small limit");
        let (code, bytes) = match random.below(9) {
            0 => (1002, made(!masks, 0x81, b"mask")),
            1 => (1002, made(masks, 0x83, b"opcode")),
            2 => (1002, made(masks, 0xa1, b"reserved")),
            3 => (1007, made(masks, 0x81, b"\xff\xfe")),
            4 => (1002, made(masks, 0x09, b"half a Ping")),
            5 => (1002, made(masks, 0x80, b"nothing to continue")),
            6 => (1002, made(masks, 0x88, &1005_u16.to_be_bytes())),
            7 => (1002, made(masks, 0x88, b"1")),
            _ => {
                let mut bytes = vec![0x82, if masks { 0xfe } else { 0x7e }];
                bytes.extend(too_long.to_be_bytes());
                bytes.extend(&[0; 4][..if masks { 4 } else { 0 }]);
                (1009, bytes)
            }
        };
        self.rest.extend(bytes);
        book.borrow_mut().excuse_code(number, code);
        self.is_done = true;
    }

    /// Says a message that asks for something.
    fn ask(&mut self, number: usize, book: &Book, random: &mut Random) {
        self.said += 1;
        let lane = match random.below(100) {
            0..=1 => b'g',
            2..=13 if self.masks => b's',
            14..=18 if self.masks => b'u',
            19..=28 => b'p',
            29..=31 => b'o',
            32 if random.one_in(3) => b'c',
            33 if random.one_in(5) => b'!',
            34..=37 => b't',
            38 => b'x',
            39..=42 => b'i',
            43..=48 => b'w',
            49 if random.one_in(4) => b'k',
            50 => b'd',
            51..=55 if self.masks => b'q',
            56..=57 if self.masks => b'v',
            58..=62 if self.masks => b'a',
            63..=64 if self.masks => b'z',
            65 if self.masks => b'y',
            _ => b'e',
        };
        let about = match lane {
            b't' => random.pick(&[0, 5, 100, 3_000, 20_000]),
            _ => random.below(60) as u64,
        };
        let bytes = if lane == b'd' { 0 } else { random.length(12_000) };
        let kind = if random.one_in(2) { Kind::Text } else { Kind::Binary };
        let note = Note::new(lane, self.said, about, bytes);
        book.borrow_mut().sessions[number].said.push_back((note, kind));
        self.message(&note.payload(), kind, book, random);
    }

    /// A message in one frame or in a few, compressed or not, perhaps with a Ping between.
    fn message(&mut self, payload: &[u8], kind: Kind, book: &Book, random: &mut Random) {
        let mut first = if kind == Kind::Text { 0x01 } else { 0x02 };
        let packed = match &mut self.stream.zlib {
            Some(zlib) if random.one_in(2) => {
                first |= 0x40;
                zlib.pack(payload)
            }
            _ => payload.to_vec(),
        };
        let mut rest = &packed[..];
        while random.one_in(6) {
            let (fragment, behind) = rest.split_at(random.below(rest.len() + 1));
            frame(self.masks, first, fragment, &mut self.rest);
            rest = behind;
            first = 0;
            if random.one_in(3) {
                self.ping(book);
            }
        }
        frame(self.masks, 0x80 | first, rest, &mut self.rest);
    }
}

fn made(masks: bool, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame(masks, first, payload, &mut bytes);
    bytes
}
