//! Everything that can go wrong in a run, by kind, and what to do about it.
//!
//! A fault never ends the run: it is counted, and the first of its kind keeps a sentence that says
//! what was expected and what came. So a million faults cost a million additions to a counter and
//! one string for each kind. The names are part of the report's schema: they stay.
//!
//! Faults before a connection is open are told apart finely (refused, timed out, no port left),
//! because each has another remedy; faults of content are told apart by what a server must have
//! done wrong to cause them.

use std::collections::BTreeMap;
use std::io;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// One kind of fault. The order is that of a connection's life, and of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing listens at the address.
    ConnectRefused,
    /// No TCP connection, or no answer to the handshake, within the bound.
    ConnectTimedOut,
    /// This machine has no port left for one more connection to that address.
    PortsExhausted,
    /// This process may not open one more descriptor.
    DescriptorsExhausted,
    /// TCP could not connect for another reason.
    ConnectFailed,
    /// The handshake was answered with this HTTP status instead of 101.
    UpgradeRefused(u16),
    /// The handshake was answered with something that RFC 6455 section 4.1 does not allow.
    UpgradeInvalid,
    /// The connection ended before the handshake was answered.
    UpgradeEnded,
    /// The server closed during the run, with this code or none.
    Closed(Option<u16>),
    /// The connection was reset.
    Reset,
    /// TCP ended without a Close frame.
    Ended,
    /// A socket error other than a reset.
    Broken,
    /// The server broke RFC 6455; the code is what we closed with.
    Protocol(u16),
    /// The server takes nothing off its socket while it goes on sending.
    NotReading,
    /// A message of the other kind, text or binary, than the scenario sends.
    WrongKind,
    /// An echo that is longer or shorter than the message.
    EchoLength,
    /// An echo of the right length with other bytes.
    EchoContent,
    /// An echo that never came although the echo of a later message did.
    EchoSkipped,
    /// The echo of a message that was answered or given up before.
    EchoStale,
    /// A message although nothing was sent that it could answer.
    EchoUnexpected,
    /// An echo that had not come when the wait at the end of the run was over.
    EchoMissing,
    /// A published message too short for its time and sequence number.
    TooShort,
    /// A published message of another size than the first one.
    SizeChanged,
    /// A client's first message was not number 0 although it was open before the start.
    LateStart,
    /// Sequence numbers were left out.
    Gap,
    /// A sequence number came twice.
    Duplicate,
    /// A message came after one that follows it.
    Reordered,
    /// A newer message with an older value than the one before it.
    Stale,
    /// A time of publication that is still to come.
    Future,
    /// An update that says that it has more or fewer events in it than its numbers say.
    Miscounted,
    /// An update of a symbol whose snapshot had not come.
    NoSnapshot,
    /// A subscription that was refused or not answered.
    NotSubscribed,
    /// A message of a topic to which the client is not subscribed.
    Unasked,
    /// A request that the server answered with an error.
    Refused,
    /// A message that is not what the scenario's protocol says.
    Unreadable,
    /// A client received nothing while others did.
    Silent,
    /// The server did not answer our Close within the bound.
    CloseUnanswered,
}

impl Fault {
    /// The fault's name in the report, without its code.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimedOut => "connect_timed_out",
            Self::PortsExhausted => "ports_exhausted",
            Self::DescriptorsExhausted => "descriptors_exhausted",
            Self::ConnectFailed => "connect_failed",
            Self::UpgradeRefused(_) => "upgrade_refused",
            Self::UpgradeInvalid => "upgrade_invalid",
            Self::UpgradeEnded => "upgrade_ended",
            Self::Closed(_) => "closed",
            Self::Reset => "reset",
            Self::Ended => "ended",
            Self::Broken => "broken",
            Self::Protocol(_) => "protocol",
            Self::NotReading => "not_reading",
            Self::WrongKind => "wrong_kind",
            Self::EchoLength => "echo_length",
            Self::EchoContent => "echo_content",
            Self::EchoSkipped => "echo_skipped",
            Self::EchoStale => "echo_stale",
            Self::EchoUnexpected => "echo_unexpected",
            Self::EchoMissing => "echo_missing",
            Self::TooShort => "too_short",
            Self::SizeChanged => "size_changed",
            Self::LateStart => "late_start",
            Self::Gap => "gap",
            Self::Duplicate => "duplicate",
            Self::Reordered => "reordered",
            Self::Stale => "stale",
            Self::Future => "future",
            Self::Miscounted => "miscounted",
            Self::NoSnapshot => "no_snapshot",
            Self::NotSubscribed => "not_subscribed",
            Self::Unasked => "unasked",
            Self::Refused => "refused",
            Self::Unreadable => "unreadable",
            Self::Silent => "silent",
            Self::CloseUnanswered => "close_unanswered",
        }
    }

    /// The HTTP status or the Close code that belongs to the fault.
    #[must_use]
    pub const fn code(self) -> Option<u16> {
        match self {
            Self::UpgradeRefused(code) | Self::Protocol(code) => Some(code),
            Self::Closed(code) => code,
            _ => None,
        }
    }

    /// What the user can do about it, or where to look.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::ConnectRefused => "is the server running, on this host and port?",
            Self::ConnectTimedOut => {
                "does a firewall drop the connections, or is the server's accept backlog full? \
                 try fewer --connections"
            }
            Self::PortsExhausted => {
                "widen net.ipv4.ip_local_port_range, or wait a minute for closed connections to \
                 leave TIME_WAIT"
            }
            Self::DescriptorsExhausted => "raise the limit (`ulimit -n`), or lower --connections",
            Self::ConnectFailed => "check that the host can be reached from here",
            Self::UpgradeRefused(403) => "the server wants another Origin: see --header",
            Self::UpgradeRefused(404) => "does the address name the WebSocket endpoint's path?",
            Self::UpgradeRefused(429 | 503) => {
                "the server limits connections: raise its limit, or lower --connections"
            }
            Self::UpgradeRefused(_) => {
                "does the address name a WebSocket endpoint that needs no authentication?"
            }
            Self::UpgradeInvalid => "is it a WebSocket server? see RFC 6455 section 4.2.2",
            Self::UpgradeEnded => "the server's log may say why it hung up during the handshake",
            Self::Closed(Some(1008 | 1013)) => {
                "the server found the load too high or a client too slow: see its limits"
            }
            Self::Closed(Some(1009)) => "the server takes no messages of this --size",
            Self::Closed(_) | Self::Reset | Self::Ended | Self::Broken => {
                "the server's log may say why it ended the connection"
            }
            Self::Protocol(_) => "the server breaks RFC 6455: a defect of the server",
            Self::NotReading => "the server sends but does not read: a defect of the server",
            Self::WrongKind => "an echo keeps its kind, and published messages are binary",
            Self::EchoLength
            | Self::EchoContent
            | Self::EchoSkipped
            | Self::EchoStale
            | Self::EchoUnexpected => "is it an echo endpoint, which sends nothing of its own?",
            Self::EchoMissing => "the server stopped answering, or it is no echo endpoint",
            Self::TooShort => {
                "messages begin with 8 bytes of CLOCK_MONOTONIC nanoseconds and 8 of sequence \
                 number, both little-endian"
            }
            Self::SizeChanged => "a fan-out server publishes messages of one size",
            Self::LateStart => {
                "was the server publishing already? start it afresh for each run: it begins at 0 \
                 on `start`"
            }
            Self::Gap | Self::Duplicate | Self::Reordered => {
                "the server lost, repeated or reordered messages; if it drops for slow clients, \
                 lower its rate"
            }
            Self::Stale => "the server sent a value that a newer one had replaced",
            Self::Future => {
                "server and generator must run on one machine, so that they share CLOCK_MONOTONIC"
            }
            Self::Miscounted => "`n` is `seq - prev`, and 1 where every event is wanted",
            Self::NoSnapshot => "a snapshot comes before the first update of its symbol",
            Self::NotSubscribed => {
                "does the server publish what was asked for, --symbols or --topics?"
            }
            Self::Unasked => "the server mixed up its topics or its subscribers",
            Self::Refused => "the server's log may say why it refuses the request",
            Self::Unreadable => {
                "does the address speak ticker.v1.json? see docs/ticker-protocol.md"
            }
            Self::Silent => "the server forgot a subscriber, or never reached it",
            Self::CloseUnanswered => {
                "a server answers a Close with a Close: RFC 6455 section 5.5.1"
            }
        }
    }

    /// The kind of a socket's error before the connection is open.
    pub(crate) fn of_connect(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::CONNREFUSED) => Self::ConnectRefused,
            Some(Errno::TIMEDOUT) => Self::ConnectTimedOut,
            Some(Errno::ADDRNOTAVAIL) => Self::PortsExhausted,
            Some(Errno::MFILE | Errno::NFILE) => Self::DescriptorsExhausted,
            _ => Self::ConnectFailed,
        }
    }

    /// The kind of a socket's error once TCP is connected.
    pub(crate) fn of_connection(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::CONNRESET | Errno::PIPE) => Self::Reset,
            _ => Self::Broken,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())?;
        match self.code() {
            Some(code) => write!(formatter, " {code}"),
            None => Ok(()),
        }
    }
}

/// The faults of a run, counted by kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<(Fault, Occurrence)>", into = "Vec<(Fault, Occurrence)>")]
pub struct Faults {
    by_kind: BTreeMap<Fault, Occurrence>,
    total: u64,
}

/// How often a fault happened, and what it was the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Occurrence {
    /// How often.
    pub count: u64,
    /// The first one: which client, what was expected, what came.
    pub example: String,
}

impl Faults {
    /// Counts one fault; `example` is asked for only if it is the first of its kind.
    pub(crate) fn count(&mut self, fault: Fault, example: impl FnOnce() -> String) {
        self.count_many(fault, 1, example);
    }

    /// Counts `count` faults of one kind; none is none.
    pub(crate) fn count_many(
        &mut self,
        fault: Fault,
        count: u64,
        example: impl FnOnce() -> String,
    ) {
        if count > 0 {
            self.total = self.total.saturating_add(count);
            let first = || Occurrence { count: 0, example: example() };
            let occurrence = self.by_kind.entry(fault).or_insert_with(first);
            // A gap's count is the server's word, so it may be anything.
            occurrence.count = occurrence.count.saturating_add(count);
        }
    }

    /// Counts those of another generator too.
    pub(crate) fn add(&mut self, other: &Self) {
        for (fault, occurrence) in other.iter() {
            self.count_many(fault, occurrence.count, || occurrence.example.clone());
        }
    }

    /// Faults of all kinds.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Faults of one kind.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.by_kind.get(&fault).map_or(0, |occurrence| occurrence.count)
    }

    /// The kinds that happened, in the order of a connection's life.
    pub fn iter(&self) -> impl Iterator<Item = (Fault, &Occurrence)> {
        self.by_kind.iter().map(|(fault, occurrence)| (*fault, occurrence))
    }
}

impl From<Vec<(Fault, Occurrence)>> for Faults {
    fn from(occurrences: Vec<(Fault, Occurrence)>) -> Self {
        let mut faults = Self::default();
        for (fault, occurrence) in occurrences {
            faults.count_many(fault, occurrence.count, || occurrence.example);
        }
        faults
    }
}

impl From<Faults> for Vec<(Fault, Occurrence)> {
    fn from(faults: Faults) -> Self {
        faults.by_kind.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_counted_by_kind_with_the_first_as_example() {
        let mut faults = Faults::default();
        faults.count(Fault::Gap, || "first".into());
        faults.count(Fault::Gap, || panic!("asked for a second example"));
        faults.count(Fault::Closed(Some(1008)), || "policy".into());
        faults.count(Fault::Closed(None), || "none".into());
        faults.count_many(Fault::Silent, 0, || panic!("asked for an example of nothing"));
        assert_eq!(faults.total(), 4);
        assert_eq!((faults.of(Fault::Gap), faults.of(Fault::Silent)), (2, 0));
        let listed: Vec<_> = faults.iter().map(|(fault, seen)| (fault, seen.count)).collect();
        let closed = [(Fault::Closed(None), 1), (Fault::Closed(Some(1008)), 1)];
        assert_eq!(listed, [closed[0], closed[1], (Fault::Gap, 2)]);
    }

    #[test]
    fn socket_errors_are_told_apart() {
        for (errno, fault) in [
            (Errno::CONNREFUSED, Fault::ConnectRefused),
            (Errno::TIMEDOUT, Fault::ConnectTimedOut),
            (Errno::ADDRNOTAVAIL, Fault::PortsExhausted),
            (Errno::MFILE, Fault::DescriptorsExhausted),
            (Errno::NETUNREACH, Fault::ConnectFailed),
        ] {
            assert_eq!(Fault::of_connect(&errno.into()), fault);
        }
        for (errno, fault) in [
            (Errno::CONNRESET, Fault::Reset),
            (Errno::PIPE, Fault::Reset),
            (Errno::TIMEDOUT, Fault::Broken),
        ] {
            assert_eq!(Fault::of_connection(&errno.into()), fault);
        }
    }

    #[test]
    fn a_fault_is_named_with_its_code() {
        assert_eq!(Fault::UpgradeRefused(404).to_string(), "upgrade_refused 404");
        assert_eq!(Fault::Closed(None).to_string(), "closed");
        assert_eq!(Fault::Gap.to_string(), "gap");
    }
}
