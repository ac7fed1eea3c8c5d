//! Cases of deadlines and of work that must stay linear (RFC 6455 sections 7.1.1 and 10.4).
//!
//! A server that waits for ever for what a client began is full after as many clients; one that
//! looks again at all it has for every byte that comes is busy with one. The first wait up to
//! `--patience`; the second compare the time for an amount with that for four times as much, and
//! only call it a failure where it is far from four times and takes long.

use std::time::Duration;

use tickwire_load::clock;

use crate::case::{Case, Level, Need, Outcome, Stop, miss};
use crate::peer::{Peer, Seen, Trial, binary, seen_words};
use crate::reader::Event;
use crate::wire::{self, BINARY, Frame, RSV2, TEXT};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        silent_handshake(),
        dripped_handshake(),
        unanswered_close(),
        violation_ends(),
        talking_after_close(),
        head_linear(),
        message_linear(),
        fragments_linear(),
    ]
}

fn silent_handshake() -> Case {
    let sentence = "A connection that says nothing is ended.";
    Case::new("timing/handshake-silent", "RFC 6455 10.4", Level::Advice, sentence, |trial| {
        let mut peer = trial.connect()?;
        until_end(trial, &mut peer, &[])
    })
}

fn dripped_handshake() -> Case {
    let sentence = "A request that comes byte by byte, slowly, is ended at a deadline of its own.";
    Case::new("timing/handshake-dripped", "RFC 6455 10.4", Level::Advice, sentence, |trial| {
        let mut peer = trial.connect()?;
        peer.send(&trial.subject.request().open_bytes());
        peer.send(b"X-Slow: ");
        until_end(trial, &mut peer, b"x")
    })
}

/// Sends `drip` again and again until an HTTP error or the end has come.
fn until_end(trial: &Trial<'_>, peer: &mut Peer<'_>, drip: &[u8]) -> Outcome {
    let deadline = deadline(trial.subject.patience);
    while clock::now() < deadline {
        if !drip.is_empty() && !peer.try_send(drip) {
            return Ok(());
        }
        match peer.answer_within(DRIP)? {
            Some(answer) if answer.status >= 400 => return Ok(()),
            Some(answer) => return miss("408, or the end", answer),
            None if peer.is_ended() => return Ok(()),
            None => {}
        }
    }
    miss(format!("408, or the end, within {:?}", trial.subject.patience), "nothing")
}

fn unanswered_close() -> Case {
    let sentence = "A server whose Close is not answered ends TCP all the same.";
    Case::new("timing/close-unanswered", "RFC 6455 7.1.1", Level::Should, sentence, |trial| {
        let mut peer = trial.open()?;
        peer.send(&Frame::new(TEXT, "ab").rsv(RSV2).bytes());
        loop {
            match peer.see(trial.subject.patience) {
                Seen::End(_) => return Ok(()),
                Seen::Event(Event::Close(..) | Event::Ping(_)) => {}
                Seen::Event(Event::Message(_)) if !trial.subject.facts.echo => {}
                seen => return miss("the end of the connection", seen_words(&seen)),
            }
        }
    })
}

fn violation_ends() -> Case {
    let sentence = "After a violation the server ends TCP at once, once its Close is answered.";
    Case::new("timing/violation-ends-tcp", "RFC 6455 7.1.7", Level::Should, sentence, |trial| {
        let mut peer = trial.open()?;
        peer.send(&Frame::new(TEXT, "ab").rsv(RSV2).bytes());
        let failure = peer.expect_failure()?;
        if failure.end.is_none() {
            peer.expect_end(trial.subject.timeout)?;
        }
        Ok(())
    })
}

fn talking_after_close() -> Case {
    let sentence = "A client that goes on talking after the closing handshake is cut off.";
    Case::new("timing/close-talked-over", "RFC 6455 7.1.1", Level::Advice, sentence, |trial| {
        let mut peer = trial.open()?;
        peer.send(&wire::close(1000, ""));
        peer.expect_close()?;
        let deadline = deadline(trial.subject.patience);
        while clock::now() < deadline {
            if !peer.try_send(&wire::ping("still here")) {
                return Ok(());
            }
            peer.take_chunk(DRIP);
        }
        miss(format!("an end to it within {:?}", trial.subject.patience), "none")
    })
}

fn head_linear() -> Case {
    let sentence = "A head of 256 KB in writes of one byte is refused early, or takes linear time.";
    Case::new("timing/head-bytewise-linear", "RFC 6455 10.4", Level::Should, sentence, |trial| {
        linear(|size| {
            let mut peer = trial.connect()?;
            peer.send(&trial.subject.request().open_bytes());
            peer.send(b"X-Long: ");
            let is_taken = peer.pour(&b"x".repeat(size)) && peer.pour(b"\r\n\r\n");
            let answer = peer.answer_within(trial.subject.patience)?;
            if answer.is_none() && !peer.is_ended() {
                return miss("an answer", "nothing, in the time allowed");
            }
            Ok(is_taken)
        })
    })
    .alone()
}

fn message_linear() -> Case {
    let sentence = "A message in writes of one byte takes time linear in its bytes.";
    Case::new("timing/message-bytewise-linear", "RFC 6455 10.4", Level::Should, sentence, |trial| {
        trial.admits(SIZE_LARGE)?;
        linear(|size| {
            let mut peer = trial.open()?;
            let is_taken = peer.pour(&wire::binary(vec![7; size]));
            peer.expect(&[binary(vec![7; size])])?;
            Ok(is_taken)
        })
    })
    .needs(Need::Echo)
    .alone()
}

fn fragments_linear() -> Case {
    let sentence = "A message in fragments of one byte takes time linear in their number.";
    Case::new("timing/fragments-linear", "RFC 6455 5.4", Level::Should, sentence, |trial| {
        trial.admits(SIZE_LARGE)?;
        linear(|size| {
            let mut peer = trial.open()?;
            let pieces = wire::middle([7]).repeat(size - 2);
            let first = Frame::new(BINARY, [7]).more().bytes();
            peer.send(&[first, pieces, wire::end([7])].concat());
            match peer.see(trial.subject.timeout) {
                Seen::Event(Event::Message(message)) if message.payload == vec![7; size] => {
                    Ok(true)
                }
                // A limit of the number of fragments bounds the work too.
                Seen::Event(Event::Close(Some(1008 | 1009), _)) => Ok(false),
                seen => miss("the message, or Close 1008", seen_words(&seen)),
            }
        })
    })
    .needs(Need::Echo)
    .alone()
}

/// Whether `work` takes not much more than four times as long for four times as much. It returns
/// whether the server took all; one that refuses early has bounded its work.
fn linear(work: impl Fn(usize) -> Result<bool, Stop>) -> Outcome {
    let timed = |size: usize| -> Result<Option<Duration>, Stop> {
        let start = clock::now();
        let is_taken = work(size)?;
        Ok(is_taken.then(|| Duration::from_nanos(clock::now() - start)))
    };
    let Some(small) = timed(SIZE_LARGE / 4)? else { return Ok(()) };
    let Some(large) = timed(SIZE_LARGE)? else { return Ok(()) };
    if large > small * RATIO_MAX && large > NOISE {
        let expected = format!("about four times {small:?} for four times as much");
        return miss(expected, format!("{large:?}"));
    }
    Ok(())
}

fn deadline(wait: Duration) -> clock::Nanoseconds {
    clock::now() + clock::Nanoseconds::try_from(wait.as_nanos()).unwrap_or(u64::MAX / 2)
}

/// Between two bytes of a slow client: well below any idle limit.
const DRIP: Duration = Duration::from_millis(50);

/// The larger amount; quadratic work on so many bytes is seconds.
const SIZE_LARGE: usize = 256 * 1024;

/// Linear is 4, quadratic 16; the machine is not quiet.
const RATIO_MAX: u32 = 9;

/// Below this nothing can be said about time.
const NOISE: Duration = Duration::from_millis(1000);
