//! A conversation of several peers with an engine, in either world.
//!
//! Keeps what each peer received and not yet looked at, and offers what cases say again and again.
//! When it ends it lets all peers go and checks what must hold after every case: no connection is
//! left, none lags, nothing is held in memory, and each WebSocket that was opened was closed once.

use std::fmt;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use tickwire_reactor::{ConnectionId, Counters};

use crate::wire::{self, Frame};
use crate::world::simulated::Simulated;
use crate::world::{Peer, Place, Reading, Setup, World};

/// An engine in a world, with the inboxes of its peers.
pub(crate) struct Session<W: World> {
    pub(crate) world: W,
    inboxes: Vec<Inbox>,
    sent_bytes: u64,
}

/// What one peer has received.
#[derive(Debug, Default)]
struct Inbox {
    bytes: Vec<u8>,
    /// How the stream ended.
    ended: Option<Reading>,
}

impl<W: World> Session<W> {
    pub(crate) fn start(place: &impl Place<World = W>, setup: Setup) -> Self {
        Self { world: place.start(setup), inboxes: Vec::new(), sent_bytes: 0 }
    }

    pub(crate) fn connect(&mut self) -> Peer {
        let peer = self.world.connect();
        self.adopt(peer)
    }

    pub(crate) fn connect_from(&mut self, address: Ipv4Addr) -> Peer {
        let peer = self.world.connect_from(address);
        self.adopt(peer)
    }

    /// Takes the engine's next connection to the far server, which the peer is from now on.
    pub(crate) fn pick_up(&mut self) -> Peer {
        let peer = self.world.pick_up();
        self.adopt(peer)
    }

    pub(crate) fn connect_narrow(&mut self) -> Peer {
        let peer = self.world.connect_narrow();
        self.adopt(peer)
    }

    fn adopt(&mut self, peer: Peer) -> Peer {
        self.inboxes.push(Inbox::default());
        assert_eq!(self.inboxes.len(), peer.0 + 1, "peers are numbered as they connect");
        peer
    }

    /// A peer with an open WebSocket on `path`.
    pub(crate) fn open(&mut self, path: &str) -> Peer {
        let peer = self.connect();
        self.upgrade(peer, path);
        peer
    }

    /// Opens a WebSocket on `path`.
    pub(crate) fn upgrade(&mut self, peer: Peer, path: &str) {
        self.send(peer, &wire::request(path, &[]));
        let head = self.head(peer);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }

    pub(crate) fn send(&mut self, peer: Peer, bytes: &[u8]) {
        self.sent_bytes += bytes.len() as u64;
        self.world.send(peer, bytes);
    }

    /// Waits until the server has received all that was sent.
    pub(crate) fn delivered(&mut self) {
        let sent = self.sent_bytes;
        self.until("all has arrived", |world| world.counters().received_bytes == sent);
    }

    /// Waits until a counter of the server has a value, and sees that it does not pass it.
    pub(crate) fn counted(&mut self, what: &str, count: u64, get: impl Fn(&Counters) -> u64) {
        self.until(what, |world| get(&world.counters()) >= count);
        assert_eq!(get(&self.world.counters()), count, "{what}");
    }

    /// Sends `bytes`, while nobody reads; whether the server lets the peer do so. If not, the rest
    /// leaves before what the peer sends next.
    pub(crate) fn push(&mut self, peer: Peer, bytes: &[u8]) -> bool {
        self.sent_bytes += bytes.len() as u64;
        self.world.push(peer, bytes) == bytes.len()
    }

    pub(crate) fn say(&mut self, peer: Peer, text: &str) {
        self.send(peer, &wire::text(text));
    }

    /// The server's answer up to the empty line.
    pub(crate) fn head(&mut self, peer: Peer) -> String {
        self.take(peer, wire::take_head)
    }

    /// The status of the server's answer, and all that came until the end of the stream.
    pub(crate) fn answer(&mut self, peer: Peer) -> (u16, String) {
        let mut bytes = self.rest(peer);
        let head = wire::take_head(&mut bytes).expect("a whole answer");
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|it| it.get(..3));
        let status = status.and_then(|it| it.parse().ok()).expect("a status line");
        let body = String::from_utf8(bytes).expect("the answers of the cases are text");
        (status, head + &body)
    }

    /// The next frame.
    pub(crate) fn frame(&mut self, peer: Peer) -> Frame {
        self.take(peer, wire::take_frame)
    }

    /// The next frame, compressed or not: `first` tells.
    pub(crate) fn deflated_frame(&mut self, peer: Peer) -> Frame {
        self.take(peer, wire::take_deflated_frame)
    }

    /// The next frame that the engine sends as a client, and the key that it was masked with.
    pub(crate) fn masked_frame(&mut self, peer: Peer) -> (Frame, [u8; 4]) {
        self.take(peer, wire::take_masked_frame)
    }

    /// The next frame of a connection with compression: its first byte and its payload.
    pub(crate) fn compressed(&mut self, peer: Peer) -> (u8, Vec<u8>) {
        let frame = self.deflated_frame(peer);
        (frame.first, frame.payload)
    }

    /// The next frame, which must be a text message.
    pub(crate) fn heard(&mut self, peer: Peer) -> String {
        let frame = self.frame(peer);
        assert_eq!(frame.first, wire::TEXT, "{frame:?}");
        String::from_utf8(frame.payload).expect("a text message is UTF-8")
    }

    /// Takes the next frame, which must be a Close: its code and its reason.
    pub(crate) fn closed(&mut self, peer: Peer) -> (u16, String) {
        let frame = self.frame(peer);
        assert_eq!(frame.first, wire::CLOSE, "{frame:?}");
        let code = frame.payload.get(..2).expect("a Close of the server has a code");
        let code = u16::from_be_bytes([code[0], code[1]]);
        let reason = frame.payload[2..].to_vec();
        (code, String::from_utf8(reason).expect("a reason is UTF-8"))
    }

    /// All that still comes, until the server ends its half of the stream without resetting it.
    pub(crate) fn rest(&mut self, peer: Peer) -> Vec<u8> {
        while self.read(peer) {}
        let inbox = &mut self.inboxes[peer.0];
        assert_eq!(inbox.ended, Some(Reading::End), "{peer:?}");
        std::mem::take(&mut inbox.bytes)
    }

    /// Waits for the end of the stream; nothing more may come before it.
    pub(crate) fn ended(&mut self, peer: Peer) {
        let rest = self.rest(peer);
        assert!(rest.is_empty(), "{:?} comes behind the end", String::from_utf8_lossy(&rest));
    }

    /// Closes as a well-behaved peer does, and sees that the server does the same.
    pub(crate) fn part(&mut self, peer: Peer) {
        self.send(peer, &wire::close(1000, ""));
        assert_eq!(self.closed(peer), (1000, String::new()));
        self.ended(peer);
    }

    /// Waits until `done`, which must come true without anybody doing more.
    pub(crate) fn until(&mut self, what: &str, done: impl FnMut(&W) -> bool) {
        self.world.until(what, done);
    }

    /// Time passes, where it does not do so by itself.
    pub(crate) fn let_time_pass(&mut self, duration: Duration) {
        self.world.let_time_pass(duration);
    }

    /// The engine's name of the WebSocket that was opened last.
    pub(crate) fn last_id(&self) -> ConnectionId {
        *self.world.journal().opened().last().expect("a WebSocket was opened")
    }

    /// Receives until `find` finds something in what `peer` got.
    fn take<T: fmt::Debug>(
        &mut self,
        peer: Peer,
        mut find: impl FnMut(&mut Vec<u8>) -> Option<T>,
    ) -> T {
        loop {
            if let Some(found) = find(&mut self.inboxes[peer.0].bytes) {
                return found;
            }
            let more = self.read(peer);
            assert!(more, "{peer:?}: the stream ended too early: {:?}", self.inboxes[peer.0]);
        }
    }

    /// Waits for more; `false`: there is no more.
    fn read(&mut self, peer: Peer) -> bool {
        let inbox = &mut self.inboxes[peer.0];
        if inbox.ended.is_some() {
            return false;
        }
        match self.world.receive(peer) {
            Reading::Bytes(bytes) => inbox.bytes.extend(bytes),
            ended => inbox.ended = Some(ended),
        }
        inbox.ended.is_none()
    }
}

impl Session<Simulated> {
    /// Whether something has arrived at the peer that was not looked at.
    pub(crate) fn has_arrived(&mut self, peer: Peer) -> bool {
        let arrived = self.world.arrived(peer);
        let bytes = &mut self.inboxes[peer.0].bytes;
        bytes.extend(arrived);
        !bytes.is_empty()
    }
}

impl<W: World> Drop for Session<W> {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        for peer in (0..self.inboxes.len()).map(Peer) {
            self.world.reset(peer);
        }
        self.until("all connections are gone", |world| world.counters().connections_now == 0);
        // A shard writes its counters one after the other, and may be at it.
        self.until("nobody is left who could hold anything", |world| {
            let counters = world.counters();
            let waits = counters.lagging_now + counters.retained_now + counters.unsent_bytes_now;
            let held = counters.receiving_bytes_now + counters.retained_bytes_now;
            let held = held + counters.deflate_dedicated_bytes_now + counters.tls_bytes_now;
            waits + held == 0
        });
        let journal = self.world.journal();
        let (mut opened, mut closed) = (journal.opened(), journal.closed_ids());
        for ids in [&mut opened, &mut closed] {
            ids.sort_by_key(|id| format!("{id}"));
        }
        assert_eq!(opened, closed, "each WebSocket is opened once and closed once");
    }
}
