//! The back end by itself, with real sockets: what must hold when rings are too small for what comes.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::OnceLock;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::buffers::Shape;
use super::*;
use crate::listener;

/// What this kernel can do; `None`, with a word, where it has no io_uring for us.
fn features() -> Option<Features> {
    static FOUND: OnceLock<Result<Features, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| Features::find().map_err(|error| explain(&error)));
    match found {
        Ok(features) => Some(*features),
        Err(reason) => {
            let required = std::env::var_os("TICKWIRE_REQUIRE_IO_URING").is_some();
            assert!(!required, "io_uring is required and not there: {reason}");
            eprintln!("skipped: io_uring cannot run here: {reason}");
            None
        }
    }
}

/// Two buffers of a page each, in the way that this kernel fills them.
fn two_buffers(features: Features) -> Features {
    Features { buffers: Shape { count: 2, bytes: 4096, ..features.buffers }, ..features }
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Accepted(Key),
    NotAccepted(bool),
    Connected(Key),
    Received(Key, Vec<u8>),
    Writable(Key),
    Ended(Key, Option<ErrorKind>),
}

/// A ring with a listener.
struct Server {
    uring: Uring,
    bell: Bell,
    address: SocketAddr,
}

impl Server {
    fn start(features: Features, table: usize) -> Self {
        let listener = listener::listen(([127, 0, 0, 1], 0).into(), 1).unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        let (prepared, bell) = Prepared::new(&features, Some(listener), false, table).unwrap();
        Self { uring: prepared.enable().unwrap(), bell, address }
    }

    fn client(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// A connection, as its peer and as we have it.
    fn pair(&mut self) -> (TcpStream, Key) {
        let stream = self.client();
        match &*self.events() {
            [Event::Accepted(key)] => (stream, *key),
            others => panic!("a connection was to come: {others:?}"),
        }
    }

    /// One turn's share of what has happened; waits until something has.
    fn events(&mut self) -> Vec<Event> {
        for _ in 0..300 {
            self.uring.wait(Some(Duration::from_millis(100))).unwrap();
            let events = self.take();
            if !events.is_empty() {
                return events;
            }
        }
        panic!("waited in vain")
    }

    /// What can be seen without waiting for the kernel.
    fn take(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(completion) = self.uring.next() {
            let event = match completion {
                Completion::Accepted { key, peer } => {
                    assert!(peer.ip().is_loopback() && peer.port() > 0, "{peer}");
                    Event::Accepted(key)
                }
                Completion::NotAccepted { refused, .. } => Event::NotAccepted(refused),
                Completion::Arrived { peer, .. } => panic!("{peer} is to be accepted"),
                Completion::Connected { key } => Event::Connected(key),
                Completion::Secured { .. } | Completion::Nothing => panic!("there is no TLS here"),
                Completion::Received { key, bytes } => {
                    // A buffer may end in the middle of a message.
                    if let Some(Event::Received(last, before)) = events.last_mut()
                        && *last == key
                    {
                        before.extend_from_slice(bytes);
                        continue;
                    }
                    Event::Received(key, bytes.to_vec())
                }
                Completion::Writable { key } => Event::Writable(key),
                Completion::Ended { key, error } => {
                    Event::Ended(key, error.map(|error| error.kind()))
                }
            };
            events.push(event);
        }
        events
    }

    /// Sends the same to each; how much was taken.
    fn send(&mut self, keys: &[Key], first: &[u8], second: &[u8]) -> Vec<usize> {
        let batch = keys.iter().map(|key| Outgoing { key: *key, first, second });
        let mut results = Vec::new();
        self.uring.send(batch, &mut results);
        let taken = results.iter().map(|sent| match sent {
            Sent::Taken(taken) => *taken,
            Sent::Held(_) => panic!("nothing is held back here"),
            Sent::Broken(kind) => panic!("{kind}"),
        });
        taken.collect()
    }

    /// Turns until `bytes` bytes have come, by connection.
    fn collect(&mut self, bytes: usize, received: &mut HashMap<Key, Vec<u8>>) {
        let mut left = bytes;
        while left > 0 {
            for event in self.events() {
                if let Event::Received(key, bytes) = event {
                    left -= bytes.len();
                    received.entry(key).or_default().extend(bytes);
                }
            }
        }
    }
}

/// Waits for the end of what a peer receives; nothing may come before it.
fn ends(peer: &mut TcpStream) {
    let mut rest = Vec::new();
    // Unlike a single read it goes on when a ring that is gone interrupts this thread.
    peer.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, []);
}

fn message(number: usize) -> Vec<u8> {
    (0..50 + number % 200).map(|index| (number * 31 + index).to_le_bytes()[0]).collect()
}

#[test]
fn bytes_go_both_ways_in_one_slice_or_two() {
    let Some(features) = features() else { return };
    let whole = Features { buffers: Shape::WHOLE, ..features };
    for (features, table) in [(features, 64), (features, 0), (whole, 64)] {
        let mut server = Server::start(features, table);
        let (mut peer, key) = server.pair();
        for number in 0..1_000 {
            peer.write_all(&message(number)).unwrap();
            assert_eq!(server.events(), [Event::Received(key, message(number))]);
            let (first, second) = (&message(number)[..number % 3], &message(number)[number % 3..]);
            assert_eq!(server.send(&[key], first, second), [message(number).len()]);
            let mut answer = vec![0; message(number).len()];
            peer.read_exact(&mut answer).unwrap();
            assert_eq!(answer, message(number));
        }
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(server.events(), [Event::Ended(key, None)]);
        server.uring.finish(key);
        server.uring.wait(Some(Duration::ZERO)).unwrap();
        ends(&mut peer);
        server.uring.close(key);
    }
}

/// As many connections as the limit of open files allows, up to 10,000, talk at the same time.
#[test]
fn two_buffers_serve_ten_thousand_connections() {
    let Some(features) = features() else { return };
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let most = limit.maximum.map_or(10_000, |most| usize::try_from(most).unwrap());
    let count = 10_000.min(most.saturating_sub(500));
    for features in [two_buffers(features), Features { completions: 512, ..two_buffers(features) }]
    {
        let mut server = Server::start(features, count + 64);
        let (mut peers, mut keys) = (Vec::new(), Vec::new());
        while keys.len() < count {
            while peers.len() < count && peers.len() < keys.len() + 256 {
                peers.push(server.client());
            }
            for event in server.events() {
                let Event::Accepted(key) = event else { panic!("{event:?}") };
                keys.push(key);
            }
        }
        for (number, peer) in peers.iter_mut().enumerate() {
            peer.write_all(&message(number)).unwrap();
        }
        let total = (0..count).map(|number| message(number).len()).sum();
        let mut received = HashMap::new();
        server.collect(total, &mut received);
        // The queue of a listener is in order.
        for (number, key) in keys.iter().enumerate() {
            assert_eq!(received[key], message(number));
        }
        assert!(server.send(&keys, b"one", b"two").iter().all(|taken| *taken == 6));
        for peer in &mut peers {
            let mut bytes = [0; 6];
            peer.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"onetwo");
        }
        drop(peers);
        let mut ended = 0;
        while ended < count {
            for event in server.events() {
                let Event::Ended(key, _) = event else { panic!("{event:?}") };
                server.uring.close(key);
                ended += 1;
            }
        }
    }
}

#[test]
fn completions_beyond_the_queue_are_neither_lost_nor_reordered() {
    let Some(features) = features() else { return };
    let mut server = Server::start(Features { requests: 4, completions: 8, ..features }, 256);
    let (mut peers, keys): (Vec<_>, Vec<_>) = (0..200).map(|_| server.pair()).unzip();
    for round in 0..20 {
        for (number, peer) in peers.iter_mut().enumerate() {
            peer.write_all(&message(number + round)).unwrap();
        }
        // Their completions share the queue with those of what is received meanwhile.
        assert!(
            server.send(&keys, &message(round), &[]).iter().all(|it| *it == message(round).len())
        );
        let total = (0..peers.len()).map(|number| message(number + round).len()).sum();
        let mut received = HashMap::new();
        server.collect(total, &mut received);
        for (number, peer) in peers.iter_mut().enumerate() {
            assert_eq!(received[&keys[number]], message(number + round));
            let mut bytes = vec![0; message(round).len()];
            peer.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, message(round));
        }
    }
}

#[test]
fn what_comes_late_for_a_closed_connection_reaches_nobody_and_costs_no_buffer() {
    let Some(features) = features() else { return };
    let mut server = Server::start(two_buffers(features), 64);
    for _ in 0..500 {
        let (mut old_peer, old) = server.pair();
        old_peer.write_all(b"for the old one").unwrap();
        // Its completion is there, and has not been looked at.
        server.uring.wait(Some(Duration::from_secs(30))).unwrap();
        let mut new_peer = server.client();
        server.uring.close(old);
        let Event::Accepted(new) = server.events().remove(0) else { panic!("not accepted") };
        assert_eq!(new.slot, old.slot, "the slot is used again");
        assert_ne!(new.generation, old.generation);
        new_peer.write_all(b"for the new one").unwrap();
        assert_eq!(server.events(), [Event::Received(new, b"for the new one".to_vec())]);
        let mut results = Vec::new();
        let stale = Outgoing { key: old, first: b"stale", second: &[] };
        server.uring.send([stale].into_iter(), &mut results);
        assert!(matches!(&*results, [Sent::Broken(_)]));
        server.uring.close(new);
        // A reset or an end, depending on whether the bytes were read.
        let _ = old_peer.read_to_end(&mut Vec::new());
    }
}

#[test]
fn paused_connection_gets_its_bytes_later_and_in_order() {
    let Some(features) = features() else { return };
    let mut server = Server::start(features, 64);
    let (mut peer, key) = server.pair();
    let writer = thread::spawn(move || {
        for number in 0..4_000 {
            peer.write_all(&message(number)).unwrap();
        }
        peer
    });
    let expected: Vec<u8> = (0..4_000).flat_map(message).collect();
    let mut received: Vec<u8> = Vec::new();
    let mut turn = 0;
    let mut ended = false;
    while !ended {
        server.uring.wait(Some(Duration::from_millis(1))).unwrap();
        for event in server.take() {
            match event {
                Event::Received(_, bytes) => received.extend(bytes),
                Event::Ended(_, None) => ended = true,
                other => panic!("{other:?}"),
            }
        }
        turn += 1;
        match turn % 5 {
            0 => server.uring.pause(key),
            1 => {
                // Whatever comes now is not to be seen before it is resumed.
                let before = received.len();
                server.uring.wait(Some(Duration::from_millis(1))).unwrap();
                let seen = server.take();
                assert!(turn == 1 || seen.is_empty(), "{} bytes, then {seen:?}", before);
                for event in seen {
                    let Event::Received(_, bytes) = event else { panic!("{event:?}") };
                    received.extend(bytes);
                }
            }
            3 => {
                server.uring.resume(key);
                server.uring.pause(key);
                server.uring.resume(key);
            }
            _ => {}
        }
        if received.len() == expected.len() && writer.is_finished() && !ended {
            break;
        }
    }
    let peer = writer.join().unwrap();
    server.uring.pause(key);
    server.uring.resume(key);
    drop(peer);
    assert_eq!(server.events(), [Event::Ended(key, None)]);
    assert!(received == expected, "{} of {} bytes", received.len(), expected.len());
}

#[test]
fn bytes_that_a_socket_did_not_take_are_sent_when_it_has_room() {
    let Some(features) = features() else { return };
    let mut server = Server::start(features, 64);
    let (mut peer, key) = server.pair();
    let bytes: Vec<u8> = (0..4_000_000_u32).map(|it| (it / 7).to_le_bytes()[0]).collect();
    let reader = thread::spawn(move || {
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        received
    });
    let mut sent = 0;
    while sent < bytes.len() {
        let (first, second) = bytes[sent..].split_at((bytes.len() - sent) / 2);
        let taken = server.send(&[key], first, second)[0];
        sent += taken;
        if sent < bytes.len() {
            assert_eq!(server.events(), [Event::Writable(key)]);
        }
    }
    server.uring.finish(key);
    server.uring.close(key);
    while !reader.is_finished() {
        server.uring.wait(Some(Duration::from_millis(10))).unwrap();
        assert_eq!(server.take(), []);
    }
    assert!(reader.join().unwrap() == bytes);
}

#[test]
fn closed_connection_ends_for_its_peer_even_while_its_end_is_being_told() {
    let Some(features) = features() else { return };
    let mut server = Server::start(features, 2);
    for _ in 0..200 {
        // The table has two places: neither is given to a new one before it is free.
        let (mut first, one) = server.pair();
        let (mut second, two) = server.pair();
        server.uring.finish(one);
        server.uring.close(one);
        server.uring.close(two);
        server.uring.wait(Some(Duration::ZERO)).unwrap();
        while !server.uring.sockets.is_empty() {
            server.uring.wait(Some(Duration::from_millis(10))).unwrap();
            assert_eq!(server.take(), []);
        }
        server.uring.wait(Some(Duration::ZERO)).unwrap();
        ends(&mut first);
        ends(&mut second);
    }
}

#[test]
fn connection_that_the_table_has_no_room_for_is_turned_away_and_the_next_comes_in() {
    let Some(features) = features() else { return };
    let mut server = Server::start(features, 2);
    let (_first, one) = server.pair();
    let (_second, two) = server.pair();
    let mut third = server.client();
    assert_eq!(server.events(), [Event::NotAccepted(true)]);
    ends(&mut third);
    server.uring.close(one);
    let (mut fourth, key) = server.pair();
    fourth.write_all(b"fourth").unwrap();
    assert_eq!(server.events(), [Event::Received(key, b"fourth".to_vec())]);
    server.uring.close(two);
}

#[test]
fn connections_wait_while_accepting_is_paused() {
    let Some(features) = features() else { return };
    let mut server = Server::start(features, 64);
    let (_first, _) = server.pair();
    server.uring.pause_accepting();
    server.uring.wait(Some(Duration::ZERO)).unwrap();
    assert_eq!(server.take(), []);
    let mut second = server.client();
    second.write_all(b"second").unwrap();
    server.uring.wait(Some(Duration::from_millis(20))).unwrap();
    assert_eq!(server.take(), []);
    server.uring.resume_accepting();
    let Event::Accepted(key) = server.events().remove(0) else { panic!("not accepted") };
    assert_eq!(server.events(), [Event::Received(key, b"second".to_vec())]);
}

#[test]
fn connection_of_ours_comes_about_or_fails_and_may_begin_anew() {
    let Some(features) = features() else { return };
    let mut server = Server::start(features, 0);
    let far = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let key = server.uring.connect(nobody, None).unwrap();
    assert_eq!(server.events(), [Event::Ended(key, Some(ErrorKind::ConnectionRefused))]);
    let again = server.uring.connect(far.local_addr().unwrap(), Some(key)).unwrap();
    assert_eq!(again, key);
    assert_eq!(server.events(), [Event::Connected(key)]);
    let (mut peer, _) = far.accept().unwrap();
    peer.write_all(b"welcome").unwrap();
    assert_eq!(server.events(), [Event::Received(key, b"welcome".to_vec())]);
    assert_eq!(server.send(&[key], b"thanks", &[]), [6]);
    let mut bytes = [0; 6];
    peer.read_exact(&mut bytes).unwrap();
    server.uring.finish(key);
    ends(&mut peer);
    drop(peer);
    assert_eq!(server.events(), [Event::Ended(key, None)]);
    // One that has not come about is replaced: what is told of the old one is nobody's.
    let key = server.uring.connect(far.local_addr().unwrap(), None).unwrap();
    server.uring.connect(nobody, Some(key)).unwrap();
    assert_eq!(server.events(), [Event::Ended(key, Some(ErrorKind::ConnectionRefused))]);
    server.uring.close(key);
}

#[test]
fn bell_of_another_thread_ends_a_wait_each_time() {
    let Some(features) = features() else { return };
    let Server { mut uring, bell, .. } = Server::start(features, 0);
    let (turn, turns) = std::sync::mpsc::channel();
    let ringer = thread::spawn(move || {
        while turns.recv().is_ok() {
            bell.wake();
        }
    });
    for _ in 0..1_000 {
        turn.send(()).unwrap();
        // Hangs for ever if it is not heard.
        uring.wait(None).unwrap();
        assert!(uring.next().is_none());
    }
    drop(turn);
    ringer.join().unwrap();
}

#[test]
fn dropped_ring_gives_back_its_port_and_its_connections() {
    let Some(features) = features() else { return };
    for table in [0, 64] {
        let mut server = Server::start(features, table);
        let (mut peer, _) = server.pair();
        let address = server.address;
        server.uring.stop_accepting();
        drop(server);
        ends(&mut peer);
        assert!(TcpStream::connect(address).is_err(), "nobody listens");
    }
}
