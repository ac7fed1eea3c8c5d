//! A case: one sentence of the standard, and the steps that find out whether it holds.
//!
//! Cases are plain values made once by `cases`, in the order of the report; `run` takes them
//! through, `report` tells of them. Their names are stable: people put them into scripts.
//!
//! Invariant: a case says nothing about a server on which it has no meaning. What it needs is
//! declared, and without it the verdict is *skip* with the reason, never *pass*.

use std::fmt;

use crate::peer::Trial;
use crate::subject::Subject;

/// How binding a sentence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Level {
    /// The RFC says MUST, or nothing else can be meant.
    Must,
    /// The RFC says SHOULD, or implies it.
    Should,
    /// Good servers do it; no RFC asks for it.
    Advice,
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::Advice => "advice",
        })
    }
}

/// What a case cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Echo,
    Deflate,
    MessageLimit,
    Subprotocol,
    Origin,
    MissingPath,
}

impl Need {
    /// Why the case is left out, if `subject` lacks this.
    fn missing(self, subject: &Subject) -> Option<&'static str> {
        let (is_there, reason) = match self {
            Self::Echo => (subject.facts.echo, "the server does not echo"),
            Self::Deflate => (subject.facts.deflate, "the server does not do permessage-deflate"),
            Self::MessageLimit => {
                (subject.message_max.is_some(), "say --max-message BYTES, the server's limit")
            }
            Self::Subprotocol => {
                (subject.subprotocol.is_some(), "say --subprotocol NAME, one that the server knows")
            }
            Self::Origin => {
                (subject.origin.is_some(), "say --origin ORIGIN, one that the server admits")
            }
            Self::MissingPath => {
                (subject.missing_path.is_some(), "say --missing-path PATH, one that is not served")
            }
        };
        (!is_there).then_some(reason)
    }
}

/// Why the steps of a case ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The sentence does not hold.
    Miss { expected: String, got: String },
    /// The sentence does not apply to this server.
    Skip(String),
}

/// The sentence does not hold.
pub(crate) fn miss<T>(expected: impl Into<String>, got: impl fmt::Display) -> Result<T, Stop> {
    Err(Stop::Miss { expected: expected.into(), got: got.to_string() })
}

/// The sentence does not apply.
pub(crate) fn skip<T>(reason: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Skip(reason.into()))
}

/// What steps return.
pub(crate) type Outcome = Result<(), Stop>;

type Steps = Box<dyn Fn(&Trial<'_>) -> Outcome + Send + Sync>;

/// One sentence and its steps.
pub(crate) struct Case {
    /// Group and name, such as `frames/rsv2`.
    pub(crate) id: String,
    /// Where the sentence stands, such as `RFC 6455 5.2`.
    pub(crate) section: &'static str,
    pub(crate) level: Level,
    /// What is required, in one sentence.
    pub(crate) sentence: String,
    /// Measures time or weighs on the server, so nothing runs beside it.
    pub(crate) is_alone: bool,
    needs: Vec<Need>,
    steps: Steps,
}

impl Case {
    /// A case without needs.
    pub(crate) fn new(
        id: impl Into<String>,
        section: &'static str,
        level: Level,
        sentence: impl Into<String>,
        steps: impl Fn(&Trial<'_>) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        Self {
            id: id.into(),
            section,
            level,
            sentence: sentence.into(),
            is_alone: false,
            needs: Vec::new(),
            steps: Box::new(steps),
        }
    }

    /// Has no meaning without `need`.
    pub(crate) fn needs(mut self, need: Need) -> Self {
        self.needs.push(need);
        self
    }

    /// Nothing runs beside it.
    pub(crate) fn alone(mut self) -> Self {
        self.is_alone = true;
        self
    }

    /// The part of the name before the slash.
    pub(crate) fn group(&self) -> &str {
        self.id.split_once('/').map_or(&self.id, |(group, _)| group)
    }

    /// Takes the case through.
    pub(crate) fn run(&self, subject: &Subject) -> Report {
        let trial = Trial::new(subject);
        let missing = self.needs.iter().find_map(|need| need.missing(subject));
        let verdict = match missing {
            Some(reason) => Verdict::Skip(reason.to_owned()),
            None => match (self.steps)(&trial) {
                Ok(()) => Verdict::Pass,
                Err(Stop::Skip(reason)) => Verdict::Skip(reason),
                Err(Stop::Miss { expected, got }) => Verdict::Fail { expected, got },
            },
        };
        let transcript = trial.transcript.into_inner();
        Report { verdict, sent: transcript.sent_words(), received: transcript.received_words() }
    }
}

/// What a case found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) verdict: Verdict,
    /// What was sent, shortened.
    pub(crate) sent: String,
    /// What came, shortened.
    pub(crate) received: String,
}

/// Whether a sentence holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Fail { expected: String, got: String },
    Skip(String),
}
