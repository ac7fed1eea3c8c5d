//! Cases of Ping, Pong and the form of control frames (RFC 6455 section 5.5).

use crate::case::{Case, Level, Need};
use crate::cases::{Exchange, Violation};
use crate::peer::{pong, text};
use crate::wire::{self, CLOSE, Frame, PING, PONG};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = form().into_iter().flat_map(Violation::cases).collect();
    cases.extend(right().into_iter().flat_map(Exchange::cases));
    cases.extend([every_length(), before_the_echo(), fifty_pings()]);
    cases
}

fn form() -> Vec<Violation> {
    let of = |id, frame: Frame, sentence| {
        Violation::new(id, "RFC 6455 5.5", &[1002], frame.bytes(), sentence)
    };
    let long = |opcode| Frame::new(opcode, vec![b'x'; 126]);
    let reason = [&1000_u16.to_be_bytes()[..], &[b'x'; 124]].concat();
    vec![
        of("control/ping-126", long(PING), "A Ping of 126 bytes fails the connection."),
        of("control/pong-126", long(PONG), "A Pong of 126 bytes fails the connection."),
        of(
            "control/close-126",
            Frame::new(CLOSE, reason),
            "A Close of 126 bytes fails the connection.",
        ),
        of(
            "control/ping-65536",
            Frame::new(PING, vec![b'x'; 65_536]),
            "A Ping of 65,536 bytes fails the connection.",
        ),
        of(
            "control/ping-125-in-16",
            Frame::new(PING, vec![b'x'; 125]).sixteen(),
            "A Ping whose length stands in 16 bits fails the connection.",
        )
        .level(Level::Should),
        of(
            "control/ping-fin-0",
            Frame::new(PING, "ab").more(),
            "A Ping with FIN 0 fails the connection.",
        ),
        of(
            "control/pong-fin-0",
            Frame::new(PONG, "ab").more(),
            "A Pong with FIN 0 fails the connection.",
        ),
        of(
            "control/close-fin-0",
            Frame::new(CLOSE, 1000_u16.to_be_bytes()).more(),
            "A Close with FIN 0 fails the connection.",
        ),
    ]
}

fn right() -> Vec<Exchange> {
    let of = |id, section, sentence, bytes: Vec<Vec<u8>>, events| Exchange {
        id,
        section,
        sentence,
        bytes: bytes.concat(),
        events,
    };
    let (five, six) = ("RFC 6455 5.5.2", "RFC 6455 5.5.3");
    vec![
        of(
            "control/ping-empty",
            five,
            "An empty Ping gets an empty Pong.",
            vec![wire::ping("")],
            vec![pong("")],
        ),
        of(
            "control/ping-bytes",
            five,
            "A Pong has the very bytes of its Ping, whatever they are.",
            vec![wire::ping([0, 0xff, 0xfe, 0x80, 1])],
            vec![pong([0, 0xff, 0xfe, 0x80, 1])],
        ),
        of(
            "control/ping-125",
            five,
            "A Ping of 125 bytes gets a Pong of the same.",
            vec![wire::ping(vec![0xa5; 125])],
            vec![pong(vec![0xa5; 125])],
        ),
        of(
            "control/pings-in-order",
            six,
            "Ten Pings get ten Pongs, in order.",
            (0..10).map(|number| wire::ping([number])).collect(),
            (0..10).map(|number| pong([number])).collect(),
        ),
        of(
            "control/pong-unsolicited",
            six,
            "A Pong that nobody asked for is ignored.",
            vec![wire::pong("news"), wire::pong(""), wire::ping("x")],
            vec![pong("x")],
        ),
    ]
}

/// In several connections, because so many Pings in a second are a flood to some servers.
fn every_length() -> Case {
    let sentence = "Pings of every length from 0 to 125 get Pongs of the same bytes.";
    Case::new("control/ping-every-length", "RFC 6455 5.5.3", Level::Must, sentence, |trial| {
        for first in (0..=125_u8).step_by(PINGS_MAX) {
            let mut peer = trial.open()?;
            for length in (first..=125).take(PINGS_MAX) {
                let body: Vec<u8> = (0..length).map(|byte| byte ^ length).collect();
                peer.send(&wire::ping(&body[..]));
                peer.expect(&[pong(body)])?;
            }
        }
        Ok(())
    })
}

/// So many in a second are below any sensible limit.
const PINGS_MAX: usize = 32;

fn before_the_echo() -> Case {
    let sentence = "A Ping that comes with a message is answered, and so is the message.";
    Case::new("control/ping-with-message", "RFC 6455 5.5.2", Level::Must, sentence, |trial| {
        let mut peer = trial.open()?;
        peer.send(&[wire::text("first"), wire::ping("p"), wire::text("second")].concat());
        // A Pong may overtake messages that wait.
        let mut left = vec![text("first"), pong("p"), text("second")];
        while !left.is_empty() {
            let next = peer.expect_one_of(&left)?;
            left.remove(next);
        }
        peer.expect_alive()
    })
    .needs(Need::Echo)
}

/// Fifty Pings are below any sensible limit of a second, and each must be answered while they are read.
fn fifty_pings() -> Case {
    let sentence = "Fifty Pings in one write get fifty Pongs, in order, if they are read.";
    Case::new("control/fifty-pings-at-once", "RFC 6455 5.5.3", Level::Must, sentence, |trial| {
        let mut peer = trial.open()?;
        let stream: Vec<u8> = (0..50).flat_map(|number| wire::ping([number])).collect();
        peer.send(&stream);
        for number in 0..50 {
            peer.expect(&[pong([number])])?;
        }
        peer.expect_alive()
    })
}
