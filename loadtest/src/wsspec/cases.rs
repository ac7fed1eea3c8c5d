//! All cases, in the order of the report, and the two shapes that most of them have.
//!
//! A [`Violation`] is bytes after which the server must fail the connection; it becomes three
//! cases: that it does so, that its Close says why, and that it does so too when every byte comes
//! alone. An [`Exchange`] is bytes that are right and the answers that are due, whole and bytewise.
//!
//! The levels keep apart what the RFC demands from what it recommends: failing the connection is a
//! MUST, a Close frame with the right code before it goes is a SHOULD (RFC 6455 section 7.1.7).

mod close;
mod control;
mod deflate;
mod fragments;
mod frames;
mod handshake;
mod limits;
mod negotiation;
mod server;
mod text;
mod timing;

use crate::case::{Case, Level, Need, Outcome, miss};
use crate::peer::{Failure, Trial};
use crate::reader::Event;
use crate::wire;

/// Every case there is.
pub(crate) fn all() -> Vec<Case> {
    [
        handshake::cases(),
        frames::cases(),
        fragments::cases(),
        control::cases(),
        close::cases(),
        text::cases(),
        server::cases(),
        negotiation::cases(),
        deflate::cases(),
        limits::cases(),
        timing::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Bytes after which a server must fail the connection.
pub(crate) struct Violation {
    pub(crate) id: &'static str,
    pub(crate) section: &'static str,
    pub(crate) level: Level,
    /// How binding it is to say why.
    pub(crate) code_level: Level,
    pub(crate) sentence: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// The Close codes that say why.
    pub(crate) codes: &'static [u16],
}

impl Violation {
    /// A violation whose rule is a MUST and whose Close a SHOULD.
    pub(crate) fn new(
        id: &'static str,
        section: &'static str,
        codes: &'static [u16],
        bytes: Vec<u8>,
        sentence: &'static str,
    ) -> Self {
        let (level, code_level) = (Level::Must, Level::Should);
        Self { id, section, level, code_level, sentence, bytes, codes }
    }

    /// The rule binds less.
    pub(crate) fn level(mut self, level: Level) -> Self {
        self.level = level;
        self.code_level = self.code_level.max(level);
        self
    }

    /// Saying why binds less.
    pub(crate) fn code_level(mut self, level: Level) -> Self {
        self.code_level = level;
        self
    }

    /// The three cases of it.
    pub(crate) fn cases(self) -> [Case; 3] {
        let Self { id, section, level, code_level, sentence, bytes, codes } = self;
        let whole = bytes.clone();
        let failing = |id: String, words: String, bytes: Vec<u8>, bytewise: bool| {
            Case::new(id, section, level, words, move |trial| fails(trial, &bytes, bytewise))
        };
        let why = Case::new(
            format!("{id}.code"),
            section,
            code_level,
            format!("Before the connection goes, {} comes.", close_words(codes)),
            move |trial| closes(trial, &bytes, codes),
        );
        [
            failing(id.to_owned(), sentence.to_owned(), whole.clone(), false),
            why,
            failing(format!("{id}.bytewise"), format!("{sentence} Byte by byte."), whole, true),
        ]
    }
}

/// After `bytes` the connection fails, and a message behind them is not processed.
fn fails(trial: &Trial<'_>, bytes: &[u8], bytewise: bool) -> Outcome {
    let mut peer = trial.open()?;
    peer.send_cut(bytes, bytewise);
    peer.send(&behind());
    not_echoed(bytes, &peer.expect_failure()?)
}

/// What must not be processed behind a violation: whatever the server took it for, it would answer
/// one of these.
pub(crate) fn behind() -> Vec<u8> {
    [wire::ping("behind the violation"), wire::text("behind the violation")].concat()
}

/// A Close that is itself the violation must not be answered as if it were right.
pub(crate) fn not_echoed(bytes: &[u8], failure: &Failure) -> Outcome {
    let is_close = bytes.first().is_some_and(|first| first & 15 == wire::CLOSE);
    match failure.close {
        Some(None | Some(1000)) if is_close => {
            miss("the connection to fail", "the answer to a right Close")
        }
        _ => Ok(()),
    }
}

/// After `bytes` a Close with one of `codes` comes.
pub(crate) fn closes(trial: &Trial<'_>, bytes: &[u8], codes: &[u16]) -> Outcome {
    let mut peer = trial.open()?;
    peer.send(bytes);
    expect_code(&peer.expect_failure()?.close, codes)
}

/// Whether the Close that came, if one did, has one of `codes`.
pub(crate) fn expect_code(close: &Option<Option<u16>>, codes: &[u16]) -> Outcome {
    match close {
        Some(Some(code)) if codes.contains(code) => Ok(()),
        Some(Some(code)) => miss(close_words(codes), format!("Close {code}")),
        Some(None) => miss(close_words(codes), "Close without a code"),
        None => miss(close_words(codes), "the end of the connection without a Close"),
    }
}

pub(crate) fn close_words(codes: &[u16]) -> String {
    let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
    format!("Close {}", codes.join(" or "))
}

/// Right bytes, and what is due for them.
pub(crate) struct Exchange {
    pub(crate) id: &'static str,
    pub(crate) section: &'static str,
    pub(crate) sentence: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) events: Vec<Event>,
}

impl Exchange {
    /// The two cases of it, whole and bytewise.
    pub(crate) fn cases(self) -> Vec<Case> {
        let Self { id, section, sentence, bytes, events } = self;
        let make = |id: String, words: String, bytewise: bool| {
            let (bytes, events) = (bytes.clone(), events.clone());
            let needs_echo = events.iter().any(|event| matches!(event, Event::Message(_)));
            let case = Case::new(id, section, Level::Must, words, move |trial| {
                let mut peer = trial.open()?;
                peer.send_cut(&bytes, bytewise);
                peer.expect(&events)?;
                peer.expect_alive()
            });
            if needs_echo { case.needs(Need::Echo) } else { case }
        };
        vec![
            make(id.to_owned(), sentence.to_owned(), false),
            make(format!("{id}.bytewise"), format!("{sentence} Byte by byte."), true),
        ]
    }
}
