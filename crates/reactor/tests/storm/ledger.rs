//! What was promised in a storm and what was done: the naive oracle that handlers and peers share.
//!
//! Handlers write down what they are called for and what they send, peers what they send and what
//! arrives; each entry is held against those before it. Nothing here knows how the engine works, only
//! what its documentation promises.
//!
//! Invariant: the first broken promise is kept and none after it, since one leads to others. It never
//! panics: an engine turns a handler's panic into Close 1011.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use tickwire_protocol::{CloseCode, Kind, Role};
use tickwire_reactor::{ConnectionId, Ended, Lagged, Limits};

use crate::manner::Manner;
use crate::note::Note;
use crate::random::Random;
use crate::topics::{Memory, NAMES, Publication, Record, first_policy};

/// The ledger as all that write in it hold it.
pub(crate) type Book = Rc<RefCell<Ledger>>;

/// A promise of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invariant {
    /// What arrives is whole frames, one behind the other, of the form that RFC 6455 gives them.
    Framing,
    /// Every accepted message arrives once, unchanged and in order, or is accounted for by a policy.
    Delivery,
    /// Every connection ends with the code that is due, or for a reason why it could not be told.
    Ending,
    /// Handlers are called once for what happens once, in order, and never early.
    Calls,
    /// What is kept stays within its limits.
    Budget,
    /// The counters add up.
    Sums,
    /// When all have gone nothing is left.
    Leftovers,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    pub(crate) detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.invariant, self.detail)
    }
}

/// All that is known of one life of a server.
pub(crate) struct Ledger {
    /// Since the beginning.
    pub(crate) now: Duration,
    pub(crate) limits: Limits,
    /// For what handlers choose.
    pub(crate) random: Random,
    pub(crate) sessions: Vec<Session>,
    pub(crate) topics: Vec<Record>,
    /// The last of each name.
    pub(crate) latest: BTreeMap<usize, usize>,
    /// By the number that is in the message.
    pub(crate) publications: Vec<Publication>,
    /// What is said for those who are too slow, by name.
    pub(crate) policies: Vec<Lagged>,
    /// Values that were retained: of which topic, at which place, how long.
    pub(crate) values: BTreeSet<(usize, u64, usize)>,
    /// How far clients had come that are gone.
    pub(crate) memories: VecDeque<Memory>,
    pub(crate) tally: Tally,
    pub(crate) shutdown_at: Option<Duration>,
    /// How long after that whoever is left is dropped.
    pub(crate) shutdown_patience: Duration,
    /// Those of the sessions that are open.
    pub(crate) open: Vec<usize>,
    /// For each shard an upper bound of the letters in its mailbox: on one thread nobody may wait for
    /// room.
    pub(crate) letters: Vec<usize>,
    /// Peers that may not have been accepted yet: any of them may become a letter when a shard hands
    /// it over.
    pub(crate) at_the_door: usize,
    /// Connections that were ended for want of memory, and when the last of them was.
    pub(crate) evicted: u64,
    pub(crate) evicted_at: Duration,
    violation: Option<Violation>,
}

/// What handlers counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// States of connections that were made and not dropped.
    pub(crate) states: usize,
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) heard: u64,
    pub(crate) lagged: u64,
    /// How those went on, and what they have lost.
    pub(crate) skipped: u64,
    pub(crate) merged: u64,
    pub(crate) lost: u64,
    /// Publications for which there was no room, by what their publishers chose.
    pub(crate) refused: u64,
    pub(crate) dropped: u64,
    /// Ends of lives that had lasted as long as they may.
    pub(crate) expired: u64,
    pub(crate) panics: u64,
    pub(crate) unconnected: u64,
}

/// How far a session is, as far as its handler was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A request, or a wish for a connection; or one that came to nothing.
    Asked,
    /// An outgoing connection could not be opened.
    Failed,
    Open,
    Over,
}

/// What was done for one peer and one connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) role: Role,
    pub(crate) manner: Manner,
    pub(crate) stage: Stage,
    pub(crate) id: Option<ConnectionId>,
    pub(crate) ended: Option<Ended>,
    pub(crate) opened_at: Duration,
    pub(crate) over_at: Duration,
    /// Whole messages of the peer that its handler has not heard.
    pub(crate) said: VecDeque<(Note, Kind)>,
    /// Messages of handlers that have not arrived at the peer.
    own: VecDeque<(Note, Kind)>,
    /// The same of other threads.
    direct: VecDeque<(Note, Kind)>,
    /// How many bytes those are.
    pub(crate) owed_bytes: usize,
    /// Pings of the handler.
    pub(crate) pings: u64,
    /// Pings of the peer.
    pub(crate) peer_pings: u64,
    pub(crate) timer: Option<Duration>,
    /// When the peer last sent a byte.
    pub(crate) last_said: Duration,
    /// When the peer last took something that it was sent.
    pub(crate) last_read: Duration,
    /// When the peer began what it has not finished.
    begun_at: Option<Duration>,
    /// How long the loop stood still meanwhile, in all.
    pub(crate) stall: Duration,
    /// When it began what it last took some time for.
    dawdled_from: Option<Duration>,
    /// Ends that somebody has brought about.
    excuses: Vec<Ended>,
    /// The topics that it is subscribed to by their names, and its patterns.
    pub(crate) named: BTreeSet<usize>,
    pub(crate) patterns: BTreeSet<usize>,
    /// What is said for it if it is too slow.
    pub(crate) policy: Option<Lagged>,
    /// It is to be closed for that.
    pub(crate) is_doomed: bool,
}

impl Ledger {
    pub(crate) fn new(limits: Limits, shards: usize, random: Random) -> Self {
        Self {
            now: Duration::ZERO,
            limits,
            random,
            sessions: Vec::new(),
            topics: Vec::new(),
            latest: BTreeMap::new(),
            publications: Vec::new(),
            policies: (0..NAMES.len()).map(first_policy).collect(),
            values: BTreeSet::new(),
            memories: VecDeque::new(),
            tally: Tally::default(),
            shutdown_at: None,
            shutdown_patience: Duration::ZERO,
            open: Vec::new(),
            letters: vec![0; shards],
            at_the_door: 0,
            evicted: 0,
            evicted_at: Duration::ZERO,
            violation: None,
        }
    }

    /// Keeps the first promise that does not hold.
    pub(crate) fn check(
        &mut self,
        holds: bool,
        invariant: Invariant,
        detail: impl FnOnce() -> String,
    ) {
        if !holds && self.violation.is_none() {
            let detail = format!("{} ({:?} since the start)", detail(), self.now);
            self.violation = Some(Violation { invariant, detail });
        }
    }

    pub(crate) fn verdict(&self) -> Result<(), Violation> {
        self.violation.clone().map_or(Ok(()), Err)
    }

    /// A new session; gives its number.
    pub(crate) fn begin(&mut self, role: Role, manner: Manner) -> usize {
        self.sessions.push(Session {
            role,
            manner,
            stage: Stage::Asked,
            id: None,
            ended: None,
            opened_at: Duration::ZERO,
            over_at: Duration::ZERO,
            said: VecDeque::new(),
            own: VecDeque::new(),
            direct: VecDeque::new(),
            owed_bytes: 0,
            pings: 0,
            peer_pings: 0,
            timer: None,
            last_said: self.now,
            last_read: self.now,
            begun_at: None,
            stall: Duration::ZERO,
            dawdled_from: None,
            excuses: Vec::new(),
            named: BTreeSet::new(),
            patterns: BTreeSet::new(),
            policy: None,
            is_doomed: false,
        });
        self.sessions.len() - 1
    }

    /// The session that a handler calls for must be open.
    pub(crate) fn expect_open(&mut self, number: usize, what: &str) {
        let session = &self.sessions[number];
        let (stage, is_open) = (session.stage, session.stage == Stage::Open);
        self.check(is_open, Invariant::Calls, || format!("{what} of {number}, which is {stage:?}"));
    }

    /// A handler is told of a new WebSocket.
    pub(crate) fn opened(&mut self, number: usize, id: ConnectionId, role: Role) {
        let session = &mut self.sessions[number];
        let (is_asked, before) = (session.stage == Stage::Asked, session.stage);
        let is_role = session.role == role;
        session.stage = Stage::Open;
        session.id = Some(id);
        session.opened_at = self.now;
        self.open.push(number);
        self.tally.opened += 1;
        self.check(is_asked, Invariant::Calls, || format!("{number} opens, and is {before:?}"));
        self.check(is_role, Invariant::Calls, || format!("{number} opens as a {role:?}"));
    }

    /// A peer has sent bytes; with `is_whole`, all that it had begun.
    pub(crate) fn said(&mut self, number: usize, is_whole: bool) {
        let now = self.now;
        let session = &mut self.sessions[number];
        session.last_said = now;
        let begun_at = session.begun_at.take().unwrap_or(now);
        if !is_whole {
            session.begun_at = Some(begun_at);
        } else if now - begun_at >= Duration::from_secs(1) {
            session.dawdled_from = Some(begun_at);
        }
    }

    /// A handler hears a message of the peer.
    pub(crate) fn heard(&mut self, number: usize, note: Note, kind: Kind) {
        self.expect_open(number, "a message");
        self.tally.heard += 1;
        let said = self.sessions[number].said.pop_front();
        let is_next = said == Some((note, kind));
        self.check(is_next, Invariant::Delivery, || {
            format!("{number} hears {note:?} {kind:?}, and was to hear {said:?}")
        });
    }

    /// A handler sends a message to its connection.
    pub(crate) fn send(&mut self, number: usize, note: Note, kind: Kind) {
        let session = &mut self.sessions[number];
        session.own.push_back((note, kind));
        session.owed_bytes += note.bytes + HEADER_BYTES;
    }

    /// Another thread sends a message to a connection.
    pub(crate) fn send_directly(&mut self, number: usize, note: Note, kind: Kind) {
        let session = &mut self.sessions[number];
        session.direct.push_back((note, kind));
        session.owed_bytes += note.bytes + HEADER_BYTES;
    }

    /// A message that was sent to it alone arrives at a peer.
    pub(crate) fn arrived(&mut self, number: usize, note: Note, kind: Kind) {
        let session = &mut self.sessions[number];
        // Last words may come behind messages that there was no time for.
        if note.lane == b'b' && session.own.len() > 1 && session.own.back() == Some(&(note, kind)) {
            session.own.clear();
            return;
        }
        let lane = if note.lane == b'D' { &mut session.direct } else { &mut session.own };
        let expected = lane.pop_front();
        session.owed_bytes = session.owed_bytes.saturating_sub(note.bytes + HEADER_BYTES);
        let is_next = expected == Some((note, kind));
        self.check(is_next, Invariant::Delivery, || {
            format!("{number} is sent {note:?} {kind:?}, and was to get {expected:?}")
        });
    }

    /// Somebody has brought about such an end.
    pub(crate) fn excuse(&mut self, number: usize, ended: Ended) {
        self.sessions[number].excuses.push(ended);
    }

    pub(crate) fn excuse_code(&mut self, number: usize, code: u16) {
        self.excuse(number, Ended::ByUs(CloseCode(code)));
    }

    /// A handler is told that a WebSocket is over.
    pub(crate) fn over(&mut self, number: usize, ended: Ended) {
        self.expect_open(number, "the end");
        let is_explained = self.is_explained(number, ended);
        let now = self.now;
        let session = &mut self.sessions[number];
        session.stage = Stage::Over;
        session.ended = Some(ended);
        session.over_at = now;
        session.timer = None;
        self.open.retain(|it| *it != number);
        self.unname_all(number);
        self.tally.closed += 1;
        self.tally.expired +=
            u64::from(ended == Ended::ByUs(CloseCode::GOING_AWAY) && self.shutdown_at.is_none());
        self.check(is_explained, Invariant::Ending, || {
            format!("{number} ends by {ended:?} for nothing")
        });
    }

    fn is_explained(&self, number: usize, ended: Ended) -> bool {
        let (session, limits, now) = (&self.sessions[number], &self.limits, self.now);
        if session.excuses.contains(&ended) {
            return true;
        }
        match ended {
            Ended::ByUs(CloseCode::GOING_AWAY) => {
                self.shutdown_at.is_some() || self.may_expire(number)
            }
            Ended::ByUs(CloseCode::POLICY_VIOLATION) => {
                let is_late = |at: Duration| now - at >= limits.message_timeout;
                let begun = session.begun_at.is_some_and(is_late)
                    || session.dawdled_from.is_some_and(is_late);
                let unsent = session.owed_bytes > unsent_least(limits);
                let pings = session.peer_pings > u64::from(limits.pings_per_second_max);
                let patterns =
                    !session.patterns.is_empty() && limits.pattern_topics_max < NAMES.len();
                begun || unsent || pings || patterns || session.stall >= limits.message_timeout
            }
            Ended::ByUs(CloseCode::TRY_AGAIN_LATER) => limits.memory_max.is_some(),
            Ended::Lost => {
                // Who does not read is not received from, and then counts as silent.
                let silence = now - session.last_said.min(session.last_read);
                silence.max(session.stall) >= limits.ping_after + limits.pong_timeout
            }
            _ => false,
        }
    }

    /// Whether a session is in the last tenth of its life.
    fn may_expire(&self, number: usize) -> bool {
        let session = &self.sessions[number];
        let least = self.limits.life_max.map(|life| life - life / 10);
        let age = self.now - session.opened_at;
        session.role == Role::Server && least.is_some_and(|least| age >= least)
    }

    /// Whether an end of the stream without a Close is to be expected: the peer has left the engine's
    /// unread for its time, which none does that is `attentive`, or was not to be reached at all.
    pub(crate) fn may_end_without_close(&self, number: usize, attentive: bool) -> bool {
        let (session, limits, now) = (&self.sessions[number], &self.limits, self.now);
        let late = |since: Duration, limit: Duration| now >= since + limit;
        let patience = match self.shutdown_at {
            // Half of the time for messages that wait ahead of the Close.
            Some(_) => limits.close_timeout.min(limits.shutdown_timeout / 2),
            None => limits.close_timeout,
        };
        let shutdown = self.is_cut_short();
        match session.ended {
            Some(Ended::Lost) => true,
            // Who is being closed and holds most is dropped where memory is short.
            Some(_) if self.evicted_since(session.over_at) => true,
            Some(_) => shutdown || (!attentive && late(session.over_at, patience)),
            None => session.stage == Stage::Asked || session.stage == Stage::Failed,
        }
    }

    /// Whether a shutdown has used up its time, which may be none at all.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.shutdown_at.is_some_and(|at| self.now >= at + self.shutdown_patience)
    }

    /// Whether the engine has ended connections for want of memory since then.
    pub(crate) fn evicted_since(&self, then: Duration) -> bool {
        self.evicted > 0 && self.evicted_at >= then
    }

    /// Whether handlers' messages to a session that has ended by a Close may be missing: they were
    /// more than a connection may leave unsent, or it held most when memory was short, and who does so
    /// while it is being closed is left its Close only.
    pub(crate) fn may_miss_messages(&self, number: usize) -> bool {
        let session = &self.sessions[number];
        session.ended == Some(Ended::ByUs(CloseCode::TRY_AGAIN_LATER))
            || session.owed_bytes > unsent_least(&self.limits)
            || self.evicted_since(session.over_at)
    }

    /// An open session and its connection, chosen by `number`.
    pub(crate) fn somebody(&self, number: u64) -> Option<(usize, ConnectionId)> {
        let place = number.checked_rem(self.open.len() as u64)?;
        let session = self.open[usize::try_from(place).expect("small")];
        self.sessions[session].id.map(|id| (session, id))
    }

    /// Whether there is room for a letter in the mailbox of a shard, which is then used.
    pub(crate) fn post(&mut self, shard: usize) -> bool {
        // In the midst of a turn whoever is at the door may be handed over.
        let most = self.letters[shard] + NOTICES + self.at_the_door + 1;
        let has_room = most < self.limits.mailbox_letters_max;
        self.letters[shard] += usize::from(has_room);
        has_room
    }

    /// There was no room for a publication; with `is_dropped`, its publisher did without.
    pub(crate) fn turned_down(&mut self, is_dropped: bool) {
        let count = if is_dropped { &mut self.tally.dropped } else { &mut self.tally.refused };
        *count += 1;
        let (letters, door) = (self.letters.iter().max(), self.at_the_door);
        let most = letters.map_or(0, |most| most + NOTICES + door);
        let max = self.limits.mailbox_letters_max;
        self.check(most >= max, Invariant::Budget, || {
            format!("a mailbox of {max} letters has no room, with {most} at most")
        });
    }

    /// Whether there is room for one more letter in every mailbox, between two turns.
    pub(crate) fn has_room_everywhere(&self) -> bool {
        let most = self.limits.mailbox_letters_max;
        self.letters.iter().all(|letters| letters + NOTICES + 1 < most)
    }
}

impl Session {
    /// Whether this is what its handler has sent before all that has not arrived.
    pub(crate) fn is_next(&self, note: Note, kind: Kind) -> bool {
        self.own.front() == Some(&(note, kind))
    }

    /// Messages on their way to the peer: of handlers, and of other threads.
    pub(crate) fn on_the_way(&self) -> (usize, usize) {
        (self.own.len(), self.direct.len())
    }
}

/// The letter that a shard is sent for topics that are made or gone, if it has none.
const NOTICES: usize = 1;

/// The longest header of a frame from a server.
const HEADER_BYTES: usize = 10;

/// What must at least be on its way to a connection that has too much unsent: what else counts is
/// control frames, and the rest of a publication.
fn unsent_least(limits: &Limits) -> usize {
    unsent_max(limits).saturating_sub(20 * 1024)
}

/// What `Limits::unsent_bytes_max` says: room for two messages in any case.
pub(crate) fn unsent_max(limits: &Limits) -> usize {
    let message = usize::try_from(limits.protocol.message_bytes_max).expect("a small limit");
    limits.unsent_bytes_max.max(2 * message)
}
