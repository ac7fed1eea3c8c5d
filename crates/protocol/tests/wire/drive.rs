//! Feeds a connection with cut input and writes down what it saw.

use tickwire_protocol::{CloseCode, Connection, Event, Inflater, Kind, Limits, Role};

use crate::oracle;

/// An event, with its bytes kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Closed(Option<u16>, String),
    Failed(u16),
}

impl Seen {
    fn of(event: &Event<'_>) -> Self {
        match event {
            Event::Message(message) => match message.kind {
                Kind::Text => Self::Text(message.as_str().expect("text is UTF-8").to_owned()),
                Kind::Binary => Self::Binary(message.payload.to_vec()),
            },
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Closed(code, reason) => {
                Self::Closed(code.map(|CloseCode(code)| code), (*reason).to_owned())
            }
            Event::Failed(error) => Self::Failed(error.close_code().0),
        }
    }
}

/// Everything that came of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) seen: Vec<Seen>,
    /// What the connection owes the peer, as it goes on the wire.
    pub(crate) control: Vec<u8>,
}

/// Ways of cutting `len` bytes, as the lengths of the pieces: whole, in two at every offset, and
/// in pieces of one, two and three bytes.
pub(crate) fn cuts(len: usize) -> impl Iterator<Item = Vec<usize>> {
    let halves = (0..=len).map(move |first| vec![first, len - first]);
    let chunks = (1..=3).map(move |size| {
        let mut pieces = vec![size; len / size];
        pieces.push(len % size);
        pieces
    });
    halves.chain(chunks)
}

/// Gives `stream` to `connection` in pieces of the lengths `pieces`.
pub(crate) fn feed(
    connection: &mut Connection,
    stream: &[u8],
    pieces: &[usize],
    limits: &Limits,
) -> Outcome {
    feed_with(connection, &mut Inflater::new(false), stream, pieces, limits)
}

/// The same, where messages may be compressed.
pub(crate) fn feed_with(
    connection: &mut Connection,
    inflater: &mut Inflater,
    stream: &[u8],
    pieces: &[usize],
    limits: &Limits,
) -> Outcome {
    let mut outcome = Outcome { seen: Vec::new(), control: Vec::new() };
    let mut mask = || MASK;
    let mut rest = stream;
    for &len in pieces {
        let (piece, after) = rest.split_at(len);
        rest = after;
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        while let Some(event) =
            connection.receive(&mut input, limits, inflater, &mut mask, &mut outcome.control)
        {
            outcome.seen.push(Seen::of(&event));
            if matches!(event, Event::Closed(..) | Event::Failed(_)) {
                assert!(input.is_empty(), "what follows the end is ignored");
            }
        }
        assert!(input.is_empty(), "None means that all input is used up");
    }
    assert!(rest.is_empty(), "the pieces are the stream");
    outcome
}

/// Runs `stream` through a fresh connection of `role`, cut in every way, and gives the outcome,
/// which must be the same each time.
pub(crate) fn run(name: &str, role: Role, stream: &[u8], limits: &Limits) -> Outcome {
    let whole = feed(&mut Connection::new(role), stream, &[stream.len()], limits);
    assert_owed(name, role, &whole);
    for pieces in cuts(stream.len()) {
        let cut = feed(&mut Connection::new(role), stream, &pieces, limits);
        assert_eq!(cut, whole, "{name}: cut as {pieces:?}");
    }
    whole
}

/// As [`run`], with permessage-deflate, and context kept by the peer or not.
pub(crate) fn run_deflate(
    name: &str,
    role: Role,
    context: bool,
    stream: &[u8],
    limits: &Limits,
) -> Outcome {
    let feed = |pieces: &[usize]| {
        let mut connection = Connection::with_deflate(role);
        feed_with(&mut connection, &mut Inflater::new(context), stream, pieces, limits)
    };
    let whole = feed(&[stream.len()]);
    assert_owed(name, role, &whole);
    for pieces in cuts(stream.len()) {
        assert_eq!(feed(&pieces), whole, "{name}: cut as {pieces:?}");
    }
    whole
}

/// Checks that exactly what is due was sent: a Pong for each Ping, in order, then the Close that
/// answers the end, if there was one; masked by a client and only by a client.
pub(crate) fn assert_owed(name: &str, role: Role, outcome: &Outcome) {
    let mut due = Vec::new();
    for (index, seen) in outcome.seen.iter().enumerate() {
        let last = index + 1 == outcome.seen.len();
        match seen {
            Seen::Ping(payload) => due.push((oracle::PONG, payload.clone())),
            Seen::Closed(code, _) => {
                assert!(last, "{name}: nothing comes after Closed");
                // Section 7.4.1: 1010 is not used by a server.
                let barred = (role == Role::Server).then_some(1010);
                let echo = code.map(|code| if Some(code) == barred { 1000 } else { code });
                due.push((
                    oracle::CLOSE,
                    echo.map_or(Vec::new(), |code| code.to_be_bytes().into()),
                ));
            }
            Seen::Failed(code) => {
                assert!(last, "{name}: nothing comes after Failed");
                due.push((oracle::CLOSE, code.to_be_bytes().into()));
            }
            Seen::Text(_) | Seen::Binary(_) | Seen::Pong(_) => {}
        }
    }
    let failed = matches!(outcome.seen.last(), Some(Seen::Failed(_)));
    let mut sent = oracle::frames(&outcome.control, role == Role::Client);
    if failed && let Some((_, body)) = sent.last_mut() {
        // The reason is for people.
        let reason = body.split_off(body.len().min(2));
        assert!(!reason.is_empty() && str::from_utf8(&reason).is_ok(), "{name}: a reason is given");
    }
    assert_eq!(sent, due, "{name}: what the connection owes");
}

/// The key that clients mask with in these tests.
pub(crate) const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
