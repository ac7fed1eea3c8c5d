//! What stands behind the head of a request: bodies, which an upgrade has not, and early frames.

use super::Refusal;
use crate::case::{Case, Level, Need, miss, skip};
use crate::peer::text;
use crate::wire;

/// A body on an upgrade is how one request is smuggled behind another.
pub(super) fn bodies() -> Vec<Refusal> {
    let of = |id, sentence, lines: &'static [(&'static str, &'static str)], body: &'static str| {
        Refusal::raw(id, "RFC 9112 6", &[400, 413, 501], sentence, move |request| {
            let request =
                lines.iter().fold(request, |request, (name, value)| request.add(name, value));
            [request.bytes(), body.as_bytes().to_vec()].concat()
        })
    };
    vec![
        of(
            "handshake/body-content-length",
            "An upgrade with a body is refused.",
            &[("Content-Length", "5")],
            "hello",
        )
        .level(Level::Advice),
        of(
            "handshake/body-chunked",
            "An upgrade with a chunked body is refused.",
            &[("Transfer-Encoding", "chunked")],
            "0\r\n\r\n",
        )
        .level(Level::Advice),
        of(
            "handshake/body-both-lengths",
            "Content-Length beside Transfer-Encoding is refused.",
            &[("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
            "0\r\n\r\n",
        )
        .level(Level::Should),
        of(
            "handshake/body-two-lengths",
            "Two different Content-Length lines are refused.",
            &[("Content-Length", "0"), ("Content-Length", "5")],
            "",
        ),
        of(
            "handshake/body-length-garbled",
            "A Content-Length that is no number is refused.",
            &[("Content-Length", "-5")],
            "",
        ),
    ]
}

pub(super) fn early_frames() -> Case {
    let sentence = "Frames in the same segment as the request are answered behind the 101.";
    Case::new("handshake/early-frames", "RFC 6455 4.1", Level::Advice, sentence, |trial| {
        let request = trial.subject.request();
        let mut peer = trial.connect()?;
        peer.send(&[request.bytes(), wire::text("early"), wire::ping("p")].concat());
        peer.upgraded(&request)?;
        let mut left = vec![text("early"), crate::peer::pong("p")];
        while !left.is_empty() {
            let next = peer.expect_one_of(&left)?;
            left.remove(next);
        }
        Ok(())
    })
    .needs(Need::Echo)
}

pub(super) fn early_frame_cut() -> Case {
    let sentence = "A frame that begins in the segment of the request and ends later is whole.";
    Case::new("handshake/early-frame-cut", "RFC 6455 4.1", Level::Advice, sentence, |trial| {
        let request = trial.subject.request();
        let frame = wire::text("cut in two");
        for at in [1, 2, 6, 9] {
            let mut peer = trial.connect()?;
            peer.send(&[&request.bytes()[..], &frame[..at]].concat());
            peer.upgraded(&request)?;
            peer.send(&frame[at..]);
            peer.expect(&[text("cut in two")])?;
        }
        Ok(())
    })
    .needs(Need::Echo)
}

pub(super) fn body_not_frames() -> Case {
    let sentence = "A refused request has no frames behind it: they are not answered.";
    Case::new(
        "handshake/no-frames-after-refusal",
        "RFC 6455 4.2.2",
        Level::Must,
        sentence,
        |trial| {
            let mut peer = trial.connect()?;
            let request = trial.subject.request().set("Sec-WebSocket-Key", "short");
            peer.send(&[request.bytes(), wire::ping("frame")].concat());
            if peer.answer()?.status == 101 {
                // That it takes such a key is what `key-not-base64` tells.
                return skip("the server does not refuse a key that is too short");
            }
            peer.take_chunk(trial.subject.timeout.min(std::time::Duration::from_millis(300)));
            let came = peer.reader.rest();
            if came.windows(7).any(|window| window == b"\x8a\x05frame") {
                return miss("no frame behind a refusal", crate::transcript::escaped(came));
            }
            Ok(())
        },
    )
}
