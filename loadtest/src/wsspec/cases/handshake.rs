//! Cases of the opening handshake (RFC 6455 section 4, RFC 9110 and 9112 where it leans on HTTP).
//!
//! A [`Refusal`] is a request that must not be upgraded; it becomes three cases: that an HTTP error
//! answers it, that the status is the fitting one, and that it is refused byte by byte too.

mod accepted;
mod answers;
mod body;
mod headers;
mod origins;
mod request_line;
mod subprotocols;

use std::sync::Arc;

use crate::case::{Case, Level, Outcome, miss};
use crate::peer::Trial;
use crate::request::Request;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        accepted::sample(),
        accepted::other_key(),
        accepted::bytewise(),
        accepted::cut_in_two(),
    ];
    cases.extend(accepted::tokens());
    cases.extend(accepted::lines());
    cases.extend(refusals().into_iter().flat_map(Refusal::cases));
    cases.extend([
        answers::version_named(),
        answers::method_allowed(),
        answers::upgrade_named(),
        body::early_frames(),
        body::early_frame_cut(),
    ]);
    cases.extend([request_line::http2_preface(), body::body_not_frames(), answers::error_ends()]);
    cases.extend(subprotocols::cases());
    cases.extend(origins::cases());
    cases
}

/// A request that must not be upgraded.
pub(crate) struct Refusal {
    id: &'static str,
    section: &'static str,
    level: Level,
    sentence: &'static str,
    edit: Arc<dyn Fn(Request) -> Vec<u8> + Send + Sync>,
    statuses: &'static [u16],
}

impl Refusal {
    fn new(
        id: &'static str,
        section: &'static str,
        statuses: &'static [u16],
        sentence: &'static str,
        edit: impl Fn(Request) -> Request + Send + Sync + 'static,
    ) -> Self {
        Self::raw(id, section, statuses, sentence, move |request| edit(request).bytes())
    }

    fn raw(
        id: &'static str,
        section: &'static str,
        statuses: &'static [u16],
        sentence: &'static str,
        edit: impl Fn(Request) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self { id, section, level: Level::Must, sentence, edit: Arc::new(edit), statuses }
    }

    fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    fn cases(self) -> [Case; 3] {
        let Self { id, section, level, sentence, edit, statuses } = self;
        let make = |suffix: &str, level: Level, sentence: String, bytewise: bool, any: bool| {
            let edit = Arc::clone(&edit);
            Case::new(format!("{id}{suffix}"), section, level, sentence, move |trial| {
                refused(
                    trial,
                    &edit(trial.subject.request()),
                    bytewise,
                    if any { &[] } else { statuses },
                )
            })
        };
        let status = statuses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        let status = format!("The status of the refusal is {status}.");
        [
            make("", level, sentence.to_owned(), false, true),
            make(".status", level.max(Level::Should), status, false, false),
            make(".bytewise", level, format!("{sentence} Byte by byte."), true, true),
        ]
    }
}

/// The answer is an error, and with one of `statuses` unless that is empty.
fn refused(trial: &Trial<'_>, bytes: &[u8], bytewise: bool, statuses: &[u16]) -> Outcome {
    let mut peer = trial.connect()?;
    peer.send_cut(bytes, bytewise);
    let answer = peer.answer()?;
    if !(400..600).contains(&answer.status) {
        return miss("an HTTP error", answer);
    }
    if !statuses.is_empty() && !statuses.contains(&answer.status) {
        return miss(format!("a status of {statuses:?}"), answer);
    }
    Ok(())
}

fn refusals() -> Vec<Refusal> {
    [
        request_line::methods(),
        headers::needed(),
        headers::keys(),
        headers::versions(),
        headers::lists(),
        headers::lines(),
        request_line::first_lines(),
        body::bodies(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
