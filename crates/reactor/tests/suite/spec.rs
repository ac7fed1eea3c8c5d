//! The specification of the wire, line by line: what a client sends, and exactly what it must see.
//!
//! Each module is a section, each test a line of it or one half of a line, each case in it one input.
//! Every case is played many times, each time by a new peer: with its bytes in one piece, cut in two
//! at every offset, and byte by byte; the server has taken the first piece before the next is sent.
//! What must be seen never depends on the cut.
//!
//! On real sockets every cut is played once. The simulation, which cuts everything once more at random, has
//! a share of the cuts for each of its seeds, so that all of them together play all cuts.
//!
//! What is expected is written here in full, from the RFCs, and compared in full: a further header
//! line, a further frame or a byte behind the end fails the case.

mod client;
mod closing;
mod deflate;
mod frames;
mod handshake;
mod policy;

use crate::session::Session;
use crate::world::{Loopback, Peer, Place, Seed, World};

/// One input of a client, and what it must see.
#[derive(Clone, Debug)]
struct Case<Due> {
    name: String,
    sent: Vec<u8>,
    due: Due,
}

impl<Due> Case<Due> {
    fn new(name: impl Into<String>, sent: impl Into<Vec<u8>>, due: Due) -> Self {
        Self { name: name.into(), sent: sent.into(), due }
    }
}

/// Where the bytes of a case are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Nowhere,
    At(usize),
    /// Between any two bytes of the first [`Cut::EVERYWHERE_BYTES`].
    Everywhere,
}

impl Cut {
    /// What is longer is a long payload or a long header line: a cut within them meets the same
    /// state at each offset. So cuts are made at every offset of the first so many bytes and of
    /// the last ones, and at [`Cut::SAMPLES`] places between.
    const EVERYWHERE_BYTES: usize = 512;
    const SAMPLES: usize = 32;
    const LAST_BYTES: usize = 16;

    fn all(length: usize) -> Vec<Self> {
        let begin = length.min(Self::EVERYWHERE_BYTES);
        let end = length.saturating_sub(Self::LAST_BYTES).max(begin);
        let step = ((end - begin) / Self::SAMPLES).max(1);
        let offsets = (1..begin).chain((begin..end).step_by(step)).chain(end.max(1)..length);
        let mut cuts = vec![Self::Nowhere, Self::Everywhere];
        cuts.extend(offsets.map(Self::At));
        cuts
    }

    /// The piece of `bytes` that is sent in this round.
    fn piece(self, bytes: &[u8], round: usize) -> Option<&[u8]> {
        let single = bytes.len().min(Self::EVERYWHERE_BYTES);
        match self {
            Self::Nowhere => (round == 0).then_some(bytes),
            Self::At(offset) => match round {
                0 => Some(&bytes[..offset]),
                1 => Some(&bytes[offset..]),
                _ => None,
            },
            Self::Everywhere if round < single => Some(&bytes[round..=round]),
            Self::Everywhere => (round == single && single < bytes.len()).then(|| &bytes[single..]),
        }
    }
}

/// Which of all cuts are played in this place.
trait Share: Place {
    /// Every how manieth, and from which on.
    fn share(&self) -> (usize, usize);
}

impl Share for Loopback {
    fn share(&self) -> (usize, usize) {
        (1, 0)
    }
}

impl Share for Seed {
    fn share(&self) -> (usize, usize) {
        let number = |number: u64| usize::try_from(number).expect("there are few seeds");
        (number(Self::TRIED), number(self.0 % Self::TRIED))
    }
}

/// A peer that plays a case with a cut.
struct Play<'a, Due> {
    case: &'a Case<Due>,
    cut: Cut,
    peer: Peer,
    /// What it sends: the bytes of the case, with what only the peer knows filled in.
    sent: Vec<u8>,
}

/// Names the case if a panic passes by.
struct TellCase<'a>(&'a str, Cut);

impl Drop for TellCase<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the case: {}; cut: {:?}", self.0, self.1);
        }
    }
}

/// So many peers play at a time: few enough for the descriptors of a process, and enough that
/// waiting for the server to take a piece is shared by many.
const PLAYED_AT_A_TIME: usize = 128;

/// Plays all cases with all their cuts. `ready` makes a connection of a new peer what the case
/// needs; `look` compares what the peer sees with what is due, to the end of the stream. Gives the
/// case of each play.
fn play<'a, P: Share, Due>(
    place: &P,
    session: &mut Session<P::World>,
    cases: &'a [Case<Due>],
    mut ready: impl FnMut(&mut Session<P::World>, &[Peer]),
    look: impl FnMut(&mut Session<P::World>, Peer, &Case<Due>),
) -> Vec<&'a Case<Due>> {
    let open = |session: &mut Session<P::World>, cases: &[&'a Case<Due>]| {
        let peers: Vec<_> = cases.iter().map(|_| session.connect()).collect();
        ready(session, &peers);
        peers.into_iter().zip(cases.iter().map(|case| case.sent.clone())).collect()
    };
    play_between(place, session, cases, open, look)
}

/// The same where `open` gives a peer for each case, and the bytes that it sends.
fn play_between<'a, P: Share, Due>(
    place: &P,
    session: &mut Session<P::World>,
    cases: &'a [Case<Due>],
    mut open: impl FnMut(&mut Session<P::World>, &[&'a Case<Due>]) -> Vec<(Peer, Vec<u8>)>,
    mut look: impl FnMut(&mut Session<P::World>, Peer, &Case<Due>),
) -> Vec<&'a Case<Due>> {
    let cuts = cases
        .iter()
        .flat_map(|case| Cut::all(case.sent.len()).into_iter().map(move |cut| (case, cut)));
    let (step, from) = place.share();
    let all: Vec<_> = cuts.skip(from).step_by(step).collect();
    for part in all.chunks(PLAYED_AT_A_TIME) {
        let (cases, cuts): (Vec<_>, Vec<_>) = part.iter().copied().unzip();
        let peers = open(session, &cases);
        let plays = cases.into_iter().zip(cuts).zip(peers);
        let plays: Vec<_> =
            plays.map(|((case, cut), (peer, sent))| Play { case, cut, peer, sent }).collect();
        send_in_pieces(session, &plays);
        for play in plays {
            let told = TellCase(&play.case.name, play.cut);
            look(session, play.peer, play.case);
            drop(told);
            // It has seen the end. What it holds is given back now, not when the session ends.
            session.world.reset(play.peer);
        }
    }
    all.into_iter().map(|(case, _)| case).collect()
}

/// Sends the pieces of all plays, each when the server has taken those before it.
fn send_in_pieces<W: World, Due>(session: &mut Session<W>, plays: &[Play<'_, Due>]) {
    for round in 0.. {
        let mut sent = false;
        for play in plays {
            if let Some(piece) = play.cut.piece(&play.sent, round) {
                session.send(play.peer, piece);
                sent = true;
            }
        }
        if !sent {
            return;
        }
        session.delivered();
    }
}
