//! One connection as its shard keeps it, in two halves that lie in two tables under the same slot.
//!
//! [`Inbound`] is what bytes from the peer go through; a message is lent from there while the
//! handler runs. [`Link`] is everything the handler and the flush need: so both can be borrowed at
//! once. An idle connection is these two entries and owns nothing on the heap.

use std::net::SocketAddr;

use tickwire_protocol::{Connection, Deflater, Inflater, RequestReader, Role};

use crate::admission::Place;
use crate::clock::Tick;
use crate::deflate::Coding;
use crate::fanouts::Audience;
use crate::io::Key;
use crate::memory::Held;
use crate::outbound::{Share, Unsent};
use crate::shard::Attempt;

/// The half that bytes come in through.
#[derive(Debug, Default)]
pub(crate) enum Inbound {
    /// No connection.
    #[default]
    Vacant,
    /// The request has not come whole; there is a reader once a part of it has.
    Request { reader: Option<Box<RequestReader>>, peer: SocketAddr },
    /// A connection of ours is not open yet.
    Outgoing(Box<Attempt>),
    /// A WebSocket.
    Open {
        connection: Connection,
        /// A decompressor of its own, where the peer's messages refer to earlier ones.
        inflater: Option<Box<Inflater>>,
    },
    /// All that still comes is ignored.
    Discard,
}

impl Inbound {
    /// What it holds on the heap of what was received.
    pub(crate) fn held(&self) -> Held {
        let receiving = |receiving| Held { receiving, inflating: 0 };
        match self {
            Self::Open { connection, inflater } => Held {
                receiving: connection.memory(),
                inflating: inflater.as_ref().map_or(0, |own| own.memory()),
            },
            Self::Request { reader: Some(reader), .. } => receiving(reader.memory()),
            // What we connect to is not what memory has to be defended against.
            Self::Outgoing(_)
            | Self::Request { reader: None, .. }
            | Self::Vacant
            | Self::Discard => Held::default(),
        }
    }
}

/// How far a connection has come. It only moves forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No connection.
    #[default]
    Vacant,
    /// Waiting for the request.
    Handshake,
    /// Ours: waiting for the socket to be connected, then for the answer to our request.
    Connecting,
    /// A WebSocket; messages go both ways.
    Open,
    /// We sent our Close and wait for the peer's.
    Closing,
    /// Ours, and both sides have said their last: the server is the one to end the stream
    /// (RFC 6455 section 7.1.1), and we wait for that.
    Parting,
    /// Everything is said and the peer may still be talking: send the rest, end our half of the
    /// stream, wait for the peer's end. Closing at once with input unread would reset the connection
    /// and could take our last bytes from the peer.
    Finishing,
    /// Everything is said on both sides: send the rest and close.
    Ending,
}

/// The half that the handler and the flush work on.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) generation: u32,
    pub(crate) stage: Stage,
    /// What it holds of the server's places.
    pub(crate) place: Place,
    /// Which side of the protocol is ours: that of a client if we opened the connection.
    pub(crate) role: Role,
    /// The back end was told not to receive.
    pub(crate) paused: bool,
    /// A Ping of ours has not been answered by anything.
    pub(crate) pinged: bool,
    /// It has, or has offered to have, a compressor or a decompressor of its own.
    pub(crate) dedicated: bool,
    /// The form in which it takes what is encoded once for many.
    pub(crate) coding: Coding,
    /// With whom it shares publications.
    pub(crate) audience: Audience,
    /// This turn's own bytes.
    pub(crate) share: Share,
    /// The engine's next deadline; what it means depends on the stage.
    pub(crate) deadline: Tick,
    /// When patience ends whatever trickles: with the frame or message that has begun to arrive, and
    /// once the connection is over with the last words that leave.
    pub(crate) latest: Tick,
    /// The application's timer.
    pub(crate) timer: Tick,
    /// When something was last received.
    pub(crate) received: Tick,
    /// When something was last sent.
    pub(crate) sent: Tick,
    /// When the second began in which the peer's Pings are counted.
    pub(crate) pings_since: Tick,
    /// While it is open, the Pings of that second; from then on, the bytes that came behind our last
    /// word.
    pub(crate) tally: u32,
    /// Present exactly while the socket does not take what it is given.
    pub(crate) unsent: Option<Box<Unsent>>,
    /// A compressor of its own.
    pub(crate) deflater: Option<Box<Deflater>>,
}

impl Link {
    pub(crate) const fn vacant() -> Self {
        Self {
            generation: 0,
            stage: Stage::Vacant,
            place: Place::None,
            role: Role::Server,
            paused: false,
            pinged: false,
            dedicated: false,
            coding: Coding::PLAIN,
            audience: Audience::PLAIN,
            share: Share::NONE,
            deadline: Tick::NEVER,
            latest: Tick::NEVER,
            timer: Tick::NEVER,
            received: Tick(0),
            sent: Tick(0),
            pings_since: Tick(0),
            tally: 0,
            unsent: None,
            deflater: None,
        }
    }

    pub(crate) const fn key(&self, slot: u32) -> Key {
        Key { slot, generation: self.generation }
    }

    /// Bytes of memory that it holds for itself alone.
    pub(crate) fn held(&self) -> usize {
        let unsent = self.unsent.as_ref().map_or(0, |unsent| unsent.memory());
        unsent + self.deflater.as_ref().map_or(0, |own| own.memory())
    }

    /// Whether it has agreed on compression.
    pub(crate) fn deflates(&self) -> bool {
        self.deflater.is_some() || self.coding != Coding::PLAIN
    }

    pub(crate) const fn is_blocked(&self) -> bool {
        self.unsent.is_some()
    }

    /// The soonest of the deadlines.
    pub(crate) fn next_deadline(&self) -> Tick {
        self.deadline.min(self.latest).min(self.timer)
    }
}

/// What every connection costs, idle or not, with an application that keeps nothing or a pointer:
/// a cache line of each table.
const _: () = assert!(size_of::<Link>() <= 64);
const _: () = assert!(size_of::<Inbound>() <= 72);
