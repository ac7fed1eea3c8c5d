//! Faults that are planted to see that they are found: a promise that cannot be seen broken is not
//! tested.
//!
//! They lie between the simulation and whoever checks it: bytes on their way to a peer, messages of a
//! handler, what the counters and the shards say of themselves. To the checks it is the same as if the
//! engine did it.
//!
//! Invariant: a fault strikes now and then until it is found, since the peer that it strikes may go
//! before it can complain. It does nothing where it could not be noticed, such as exchanging frames
//! that nobody promised in an order.

use tickwire_reactor::Counters;
use tickwire_reactor::io::sim::Held;

use crate::ledger::Invariant;
use crate::note::Note;
use crate::random::Random;
use crate::topics::LASTING;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    LoseByte,
    DoubleByte,
    ChangeByte,
    ExchangeBytes,
    /// A frame comes in the midst of another.
    Interleave,
    LoseFrame,
    DoubleFrame,
    /// Two messages to one peer.
    ExchangeFrames,
    /// A publication comes twice.
    DoublePublication,
    /// Nothing comes of topics that were made later.
    LoseRooms,
    /// The first of what a client has missed.
    LoseMissed,
    LoseClose,
    ChangeCode,
    /// A message that a peer has sent.
    LoseAsked,
    /// A message that a handler has sent.
    ForgetSent,
    /// A topic, or a pattern, that is unsubscribed goes on.
    HoldOn,
    WatchOn,
    /// One of the topics that a pattern takes in.
    HideJoined,
    /// Numbers of another numbering are taken for the topic's own.
    BelieveEpoch,
    /// A client that comes back is given a part.
    ResumeLate,
    /// A topic keeps more, or less, than it was told.
    KeepMore,
    KeepLess,
    /// A publication that there is no room for is said to be published.
    PretendToPublish,
    /// The connection that is not to get a publication gets it.
    SpareNobody,
    /// A connection ends before its time, or has no end.
    EndEarly,
    LiveOn,
    /// Values come more often than they may.
    Hasten,
    /// A value that the peer has already.
    RepeatValue,
    /// No values of some topics.
    LoseValues,
    DoubleValue,
    /// A value and the publication ahead of it.
    ExchangeValue,
    /// A client that is too slow is not told of a topic that it loses something of.
    HideLost,
    /// It goes on, whatever the policies say.
    IgnorePolicy,
    /// Publications that are dropped are not counted.
    CountNoDrops,
    TellTwice,
    CountTwice,
    KeepTooMuch,
    KeepSlot,
    KeepState,
}

impl Fault {
    /// Each with the promises of which one must be seen broken first.
    pub(crate) const ALL: [(Self, &[Invariant]); 39] = {
        use Invariant::{Budget, Calls, Delivery, Ending, Framing, Leftovers, Sums};
        [
            (Self::LoseByte, &[Framing, Delivery, Ending]),
            (Self::DoubleByte, &[Framing, Delivery, Ending]),
            (Self::ChangeByte, &[Framing, Delivery, Ending]),
            (Self::ExchangeBytes, &[Framing, Delivery, Ending]),
            (Self::Interleave, &[Framing]),
            (Self::LoseFrame, &[Delivery]),
            (Self::DoubleFrame, &[Delivery]),
            (Self::ExchangeFrames, &[Delivery]),
            (Self::DoublePublication, &[Delivery]),
            (Self::LoseRooms, &[Delivery]),
            (Self::LoseMissed, &[Delivery]),
            (Self::LoseClose, &[Ending]),
            (Self::ChangeCode, &[Ending]),
            (Self::LoseAsked, &[Delivery]),
            (Self::ForgetSent, &[Delivery]),
            (Self::HoldOn, &[Delivery]),
            (Self::WatchOn, &[Delivery]),
            (Self::Hasten, &[Delivery]),
            (Self::RepeatValue, &[Delivery]),
            (Self::LoseValues, &[Delivery]),
            (Self::DoubleValue, &[Delivery]),
            (Self::ExchangeValue, &[Delivery]),
            (Self::HideLost, &[Delivery]),
            (Self::IgnorePolicy, &[Delivery, Ending, Sums]),
            (Self::HideJoined, &[Delivery]),
            (Self::BelieveEpoch, &[Delivery]),
            (Self::ResumeLate, &[Delivery]),
            (Self::KeepMore, &[Delivery]),
            (Self::KeepLess, &[Delivery]),
            (Self::PretendToPublish, &[Delivery]),
            (Self::SpareNobody, &[Delivery]),
            (Self::EndEarly, &[Ending]),
            (Self::LiveOn, &[Ending]),
            (Self::CountNoDrops, &[Sums]),
            (Self::TellTwice, &[Calls]),
            (Self::CountTwice, &[Sums]),
            (Self::KeepTooMuch, &[Budget]),
            (Self::KeepSlot, &[Leftovers]),
            (Self::KeepState, &[Leftovers]),
        ]
    };

    /// Spoils `bytes` on their way to a peer with an open WebSocket. They begin with a frame that is
    /// not compressed if `is_plain`.
    pub(crate) fn strike(self, bytes: &mut Vec<u8>, is_plain: bool, random: &mut Random) {
        let is_always = matches!(
            self,
            Self::LoseRooms | Self::LoseMissed | Self::LoseValues | Self::ExchangeValue
        );
        if bytes.is_empty() || !(is_always || random.one_in(20)) {
            return;
        }
        let at = random.below(bytes.len());
        match self {
            Self::LoseByte => drop(bytes.remove(at)),
            Self::DoubleByte => bytes.insert(at, bytes[at]),
            Self::ChangeByte => bytes[at] ^= 1 << random.below(8),
            Self::ExchangeBytes if at > 0 => bytes.swap(at - 1, at),
            _ if is_plain => self.strike_frames(bytes),
            _ => {}
        }
    }

    fn strike_frames(self, bytes: &mut Vec<u8>) {
        let mut frames = frames(bytes);
        let both = |is: fn(&[u8]) -> bool| {
            move |frames: &Vec<&[u8]>| frames.windows(2).position(|two| is(two[0]) && is(two[1]))
        };
        let first = |is: fn(&[u8]) -> bool| {
            move |frames: &Vec<&[u8]>| frames.iter().position(|frame| is(frame))
        };
        let spoilt = match self {
            Self::Interleave => both(is_message)(&frames).map(|at| {
                let (outer, inner) = (frames[at], frames[at + 1]);
                let (head, tail) = outer.split_at(outer.len() - 1);
                frames.splice(at..at + 2, []);
                (at, [head, inner, tail].concat())
            }),
            Self::LoseFrame => first(is_message)(&frames).map(|at| {
                frames.remove(at);
                (at, Vec::new())
            }),
            Self::DoubleFrame => first(is_message)(&frames).map(|at| (at, frames[at].to_vec())),
            Self::ExchangeFrames => both(is_own)(&frames)
                .filter(|at| frames[*at] != frames[at + 1])
                .map(|at| (at, frames.splice(at..at + 2, []).rev().collect::<Vec<_>>().concat())),
            Self::DoublePublication => {
                first(is_publication)(&frames).map(|at| (at, frames[at].to_vec()))
            }
            Self::LoseRooms => first(is_of_a_room)(&frames).map(|at| {
                frames.retain(|frame| !is_of_a_room(frame));
                (at, Vec::new())
            }),
            Self::LoseValues => first(is_value_that_is_lost)(&frames).map(|at| {
                frames.retain(|frame| !is_value_that_is_lost(frame));
                (at, Vec::new())
            }),
            Self::DoubleValue => first(is_value)(&frames).map(|at| (at, frames[at].to_vec())),
            Self::ExchangeValue => {
                let at = frames.windows(2).position(|it| is_publication(it[0]) && is_value(it[1]));
                at.map(|at| (at, frames.splice(at..at + 2, []).rev().collect::<Vec<_>>().concat()))
            }
            Self::LoseMissed => {
                let at = frames.windows(2).position(|it| is_answer(it[0]) && is_publication(it[1]));
                at.map(|at| {
                    frames.remove(at + 1);
                    (at, Vec::new())
                })
            }
            Self::LoseClose => first(is_close)(&frames).map(|at| {
                frames.remove(at);
                (at, Vec::new())
            }),
            Self::ChangeCode => first(is_close)(&frames).map(|at| {
                let frame = frames.remove(at);
                let changed: Vec<u8> = match frame {
                    [first, second, high, low, rest @ ..] => {
                        [&[*first, *second, *high, low ^ 1], rest].concat()
                    }
                    _ => b"\x88\x02\x03\xe8".to_vec(),
                };
                (at, changed)
            }),
            _ => None,
        };
        if let Some((at, spoilt)) = spoilt {
            frames.insert(at, &spoilt);
            *bytes = frames.concat();
        }
    }

    /// Spoils what the engine counts.
    pub(crate) fn spoil_counters(self, counters: &mut Counters) {
        counters.connect_failures += u64::from(self == Self::CountTwice);
        if self == Self::CountNoDrops {
            counters.publications_dropped = 0;
        }
    }

    /// Spoils what the shards say that they hold.
    pub(crate) fn spoil_held(self, held: &mut Held) {
        held.log_bytes_most += usize::from(self == Self::KeepTooMuch) * 1_000_000;
        held.connections += usize::from(self == Self::KeepSlot);
    }
}

/// The frames of an engine that is the server; what is behind the last whole one is one more.
fn frames(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut frames, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let length = match rest {
            [_, 126, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
            [_, short @ 0..=125, ..] => 2 + usize::from(*short),
            _ => rest.len(),
        };
        let (frame, behind) = rest.split_at(length.min(rest.len()));
        frames.push(frame);
        rest = behind;
    }
    frames
}

/// Whether it is a whole message, uncompressed.
fn is_message(frame: &[u8]) -> bool {
    lane(frame).is_some()
}

/// Whether it is a whole message of the handler, uncompressed.
fn is_own(frame: &[u8]) -> bool {
    lane(frame).is_some_and(|lane| !matches!(lane, b'P' | b'D' | b'V' | b'r'))
}

fn is_publication(frame: &[u8]) -> bool {
    lane(frame) == Some(b'P')
}

/// Whether it is the answer to a client that comes back and gets what it missed.
fn is_answer(frame: &[u8]) -> bool {
    lane(frame) == Some(b'a')
}

/// Whether it is a publication of a topic that does not last.
fn is_of_a_room(frame: &[u8]) -> bool {
    is_publication(frame) && note(frame).is_some_and(|note| note.about >= LASTING as u64)
}

/// Whether it is a value that is told.
fn is_value(frame: &[u8]) -> bool {
    lane(frame) == Some(b'V')
}

/// The same, of a place that most topics come to and stay at for a while.
fn is_value_that_is_lost(frame: &[u8]) -> bool {
    is_value(frame) && note(frame).is_some_and(|note| note.number >= 10)
}

fn note(frame: &[u8]) -> Option<Note> {
    let payload = if frame.get(1) == Some(&126) { 4 } else { 2 };
    frame.get(payload..).and_then(Note::read)
}

fn is_close(frame: &[u8]) -> bool {
    frame.first() == Some(&0x88)
}

/// The lane that a whole message is on.
fn lane(frame: &[u8]) -> Option<u8> {
    let (&[first, second], _) = frame.split_first_chunk()?;
    let is_whole = match *frame {
        [_, 126, high, low, ..] => frame.len() >= 4 + usize::from(u16::from_be_bytes([high, low])),
        _ => second != 126 && frame.len() >= 2 + usize::from(second),
    };
    let payload = if second == 126 { 4 } else { 2 };
    (matches!(first, 0x81 | 0x82) && is_whole).then(|| frame.get(payload).copied()).flatten()
}
