//! Connections that the engine opens to other servers (RFC 6455 section 4.1), against a far server
//! that is a peer of these cases and says whatever bytes it likes.
//!
//! `dialing` is what comes before the answer, `answers` the answer itself, `frames` an open
//! connection, `ends` its end, `storms` all of it at random.

mod answers;
mod dialing;
mod ends;
mod frames;
mod storms;

use tickwire_protocol::accept_value;

use crate::session::Session;
use crate::world::{Peer, World};

/// A peer that told the engine to connect to `target` of the far server.
pub(crate) fn dial<W: World>(session: &mut Session<W>, target: &str) -> Peer {
    let caller = session.open("/script");
    let far = session.world.far();
    session.say(caller, &format!("connect {far} {target}"));
    caller
}

/// The far server, once it has the request: itself and the request.
pub(crate) fn called<W: World>(session: &mut Session<W>, target: &str) -> (Peer, String) {
    dial(session, target);
    let far = session.pick_up();
    let request = session.head(far);
    (far, request)
}

/// A connection to the far server that is open.
fn opened<W: World>(session: &mut Session<W>, target: &str) -> Peer {
    let (far, request) = called(session, target);
    session.send(far, &switching(&request, &[]));
    far
}

/// The answer that a request is due, with more header lines.
pub(crate) fn switching(request: &str, lines: &[&str]) -> Vec<u8> {
    let key = line(request, "Sec-WebSocket-Key: ");
    let accept = accept_value(key.as_bytes().try_into().expect("24 characters"));
    let accept = std::str::from_utf8(&accept).expect("it is base64");
    let mut head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n"
    );
    for line in lines {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// What follows `start` in the one line of a head that begins with it.
fn line<'a>(head: &'a str, start: &str) -> &'a str {
    let mut lines = head.lines().filter_map(|line| line.strip_prefix(start));
    let line = lines.next().expect("the line is there");
    assert_eq!(lines.next(), None, "it is there once");
    line
}
