//! What a client says: requests of `ticker.v1`, read strictly and without copying.
//!
//! A session gives the text of one message, unmasked and valid UTF-8, and gets a [`Request`] whose
//! strings lie in that text. simd-json parses in place, so the text is used up. What cannot be
//! read is a [`Refused`] that carries the request's id as soon as there is one: a client can tell
//! which request it got wrong. Whether a symbol is listed or terms can be had together is the
//! session's question, not this one's.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Serialize;
use simd_json::prelude::{TypedScalarValue, ValueAsScalar, ValueIntoString};
use simd_json::{Buffers, ErrorType, tape};

use crate::field::{Field, Fields};
use crate::reply::ErrorCode;
use crate::terms::{Mode, Wanted};

/// The id that a client gave to its request, echoed verbatim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Id<'a> {
    /// A 64-bit integer.
    Number(i64),
    /// Up to 36 characters.
    Text(Cow<'a, str>),
}

/// A request that could be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// Which request the reply belongs to.
    pub id: Id<'a>,
    /// What is asked for.
    pub method: Method<'a>,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Method<'a> {
    /// Deliver symbols from now on.
    Subscribe(Subscribe<'a>),
    /// Deliver symbols no more.
    Unsubscribe(Vec<&'a str>),
    /// Deliver symbols that are held on other terms.
    Set(Set<'a>),
    /// Believe who this is.
    Auth(&'a str),
    /// Which subscriptions are held.
    List,
    /// Which instruments there are.
    Instruments,
    /// Answer at once.
    Ping,
}

/// Parameters of a subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe<'a> {
    /// What to deliver.
    pub symbols: Vec<&'a str>,
    /// Whether a snapshot comes before the updates.
    pub snapshot: bool,
    /// On which terms.
    pub wanted: Wanted,
    /// What the client has from an earlier connection.
    pub resume: Option<Resume<'a>>,
}

/// What a client has from an earlier connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Resume<'a> {
    /// What the numbers are of.
    pub epoch: &'a str,
    /// By symbol, the number of the last event that it has.
    pub seqs: HashMap<&'a str, u64>,
}

/// Other terms for subscriptions.
#[derive(Clone, Debug, PartialEq)]
pub struct Set<'a> {
    /// Which ones.
    pub symbols: Vec<&'a str>,
    /// On which terms.
    pub wanted: Wanted,
}

/// A message that is no request that can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused<'a> {
    /// The request's id, where one could be read.
    pub id: Option<Id<'a>>,
    /// What is wrong.
    pub code: ErrorCode,
    /// The same for people.
    pub message: Cow<'static, str>,
}

/// Reads requests; keeps the parser's buffers between them.
pub struct Reader {
    buffers: Buffers,
}

impl Reader {
    /// A reader with small buffers; they grow up to the largest message.
    #[must_use]
    pub fn new() -> Self {
        Self { buffers: Buffers::with_max_depth(1024, DEPTH_MAX) }
    }

    /// Reads one message. `None`: it is to be ignored, because it has a `type` and no `method`,
    /// as an event of a later version may have.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the message; [`ErrorCode::BadRequest`] where it cannot be read.
    pub fn read<'a>(&mut self, text: &'a mut [u8]) -> Result<Option<Request<'a>>, Refused<'a>> {
        let tape = simd_json::to_tape_with_buffers(text, &mut self.buffers).map_err(not_json)?;
        let root = tape.as_value();
        let Some(message) = root.as_object() else {
            return Err(bad(None, "a message is one JSON object"));
        };
        let Some(method) = message.get("method") else {
            let ignored = message.get("type").is_some_and(|kind| kind.is_str());
            return if ignored { Ok(None) } else { Err(bad(id(&message).ok(), NO_METHOD)) };
        };
        let id = id(&message).map_err(|message| bad(None, message))?;
        let Some(method) = method.into_string() else { return Err(bad(Some(id), NO_METHOD)) };
        let method = match method {
            "ping" => Method::Ping,
            "list" => Method::List,
            "instruments" => Method::Instruments,
            "subscribe" => with_params(&message, subscribe, &id)?,
            "unsubscribe" => with_params(&message, unsubscribe, &id)?,
            "set" => with_params(&message, set, &id)?,
            "auth" => with_params(&message, auth, &id)?,
            _ => return Err(unknown_method(id, method)),
        };
        Ok(Some(Request { id, method }))
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reader").finish_non_exhaustive()
    }
}

type Object<'tape, 'a> = tape::Object<'tape, 'a>;
type Value<'tape, 'a> = tape::Value<'tape, 'a>;

/// Why parameters were refused.
struct Fault {
    code: ErrorCode,
    message: Cow<'static, str>,
}

impl From<&'static str> for Fault {
    fn from(message: &'static str) -> Self {
        Self { code: ErrorCode::BadRequest, message: Cow::Borrowed(message) }
    }
}

fn with_params<'a>(
    message: &Object<'_, 'a>,
    read: fn(&Object<'_, 'a>) -> Result<Method<'a>, Fault>,
    id: &Id<'a>,
) -> Result<Method<'a>, Refused<'a>> {
    let refuse =
        |fault: Fault| Refused { id: Some(id.clone()), code: fault.code, message: fault.message };
    let params = message.get("params").and_then(|params| params.as_object());
    let params = params.ok_or_else(|| refuse("`params` must be an object".into()))?;
    read(&params).map_err(refuse)
}

fn subscribe<'a>(params: &Object<'_, 'a>) -> Result<Method<'a>, Fault> {
    channel(params)?;
    Ok(Method::Subscribe(Subscribe {
        symbols: symbols(params)?,
        snapshot: optional(params, "snapshot", |value| value.as_bool())
            .ok_or("`snapshot` must be true or false")?
            .unwrap_or(true),
        wanted: wanted(params)?,
        resume: optional(params, "resume", |value| resume(&value))
            .ok_or("`resume` must have `epoch`, a string, and `seq`, numbers by symbol")?,
    }))
}

/// The terms that a request asks for.
fn wanted(params: &Object<'_, '_>) -> Result<Wanted, Fault> {
    Ok(Wanted {
        mode: optional(params, "mode", |value| value.into_string()?.parse::<Mode>().ok())
            .ok_or("`mode` must be merge or distinct")?,
        max_rate: optional(params, "max_rate", |value| rate(&value))
            .ok_or("`max_rate` must be a whole number of updates a second; 0: as they come")?,
        fields: optional(params, "fields", |value| fields(&value)).ok_or(
            "`fields` must be an array of some of \
             bid, bid_size, ask, ask_size, last, last_size, vol, open",
        )?,
    })
}

/// More than the largest that is told apart is as good as that.
fn rate(value: &Value<'_, '_>) -> Option<u16> {
    value.as_u64().map(|rate| u16::try_from(rate).unwrap_or(u16::MAX))
}

fn fields(value: &Value<'_, '_>) -> Option<Fields> {
    let names = value.as_array()?;
    let fields: Option<Fields> =
        names.iter().map(|name| Field::named(name.into_string()?)).collect();
    fields.filter(|fields| !fields.is_empty())
}

fn resume<'a>(value: &Value<'_, 'a>) -> Option<Resume<'a>> {
    let resume = value.as_object()?;
    let epoch = resume.get("epoch")?.into_string()?;
    let seqs = resume.get("seq")?.as_object()?;
    let seqs = seqs.iter().map(|(symbol, seq)| Some((symbol, seq.as_u64()?)));
    Some(Resume { epoch, seqs: seqs.collect::<Option<_>>()? })
}

fn set<'a>(params: &Object<'_, 'a>) -> Result<Method<'a>, Fault> {
    channel(params)?;
    let (symbols, wanted) = (symbols(params)?, wanted(params)?);
    if wanted == Wanted::default() {
        return Err("`set` needs `max_rate`, `mode` or `fields`".into());
    }
    Ok(Method::Set(Set { symbols, wanted }))
}

fn auth<'a>(params: &Object<'_, 'a>) -> Result<Method<'a>, Fault> {
    let token = params.get("token").and_then(|token| token.into_string());
    Ok(Method::Auth(token.ok_or("`token` must be a string")?))
}

fn unsubscribe<'a>(params: &Object<'_, 'a>) -> Result<Method<'a>, Fault> {
    channel(params)?;
    symbols(params).map(Method::Unsubscribe)
}

/// Only one channel is served, so that its name carries nothing further.
fn channel(params: &Object<'_, '_>) -> Result<(), Fault> {
    let channel = params.get("channel").and_then(|channel| channel.into_string());
    match channel.ok_or("`channel` must be a string")? {
        crate::reply::TICKER => Ok(()),
        other => Err(Fault {
            code: ErrorCode::UnknownChannel,
            message: format!("{} is no channel; there is `ticker`", excerpt(other)).into(),
        }),
    }
}

fn symbols<'a>(params: &Object<'_, 'a>) -> Result<Vec<&'a str>, Fault> {
    let symbols = params.get("symbols").and_then(|symbols| symbols.as_array());
    let symbols = symbols.ok_or("`symbols` must be an array of strings")?;
    if symbols.is_empty() {
        return Err("`symbols` must name at least one".into());
    }
    if symbols.len() > SYMBOLS_PER_REQUEST_MAX {
        return Err("`symbols` must not name more than 4096; send several requests".into());
    }
    let strings = symbols.iter().map(|symbol| symbol.into_string()).collect::<Option<_>>();
    strings.ok_or_else(|| "`symbols` must be an array of strings".into())
}

/// A parameter that may be left out or null; `None` if it is there and `read` cannot read it.
fn optional<'a, T>(
    params: &Object<'_, 'a>,
    name: &str,
    read: impl Fn(Value<'_, 'a>) -> Option<T>,
) -> Option<Option<T>> {
    match params.get(name) {
        Some(value) if value.as_null().is_none() => read(value).map(Some),
        _ => Some(None),
    }
}

fn id<'a>(message: &Object<'_, 'a>) -> Result<Id<'a>, &'static str> {
    let value = message.get("id").ok_or("a request needs an `id`")?;
    if let Some(number) = value.as_i64() {
        return Ok(Id::Number(number));
    }
    match value.into_string() {
        Some(text) if text.chars().nth(ID_CHARS_MAX).is_none() => Ok(Id::Text(text.into())),
        _ => Err("`id` must be a 64-bit integer or a string of at most 36 characters"),
    }
}

fn bad<'a>(id: Option<Id<'a>>, message: &'static str) -> Refused<'a> {
    Refused { id, code: ErrorCode::BadRequest, message: Cow::Borrowed(message) }
}

fn not_json(error: simd_json::Error) -> Refused<'static> {
    let message = match error.error() {
        ErrorType::DepthLimitExceeded => Cow::Borrowed("nested deeper than 32"),
        _ => format!("not JSON at byte {}", error.index()).into(),
    };
    Refused { id: None, code: ErrorCode::BadRequest, message }
}

fn unknown_method<'a>(id: Id<'a>, method: &str) -> Refused<'a> {
    let message = format!("{} is no method", excerpt(method)).into();
    Refused { id: Some(id), code: ErrorCode::UnknownMethod, message }
}

/// The start of a text that a client sent, for a message that quotes it.
pub fn excerpt(text: &str) -> String {
    let mut quoted: String = text.chars().take(EXCERPT_CHARS_MAX).collect();
    if quoted.len() < text.len() {
        quoted.push('…');
    }
    quoted
}

const NO_METHOD: &str = "a request needs a `method`, which is a string";

/// Deepest nesting of a message: the deepest request of the protocol takes 4.
const DEPTH_MAX: usize = 32;

/// Longest textual id: a UUID.
const ID_CHARS_MAX: usize = 36;

/// Most symbols of a request. A connection holds a quarter of that; without this, a message of
/// 64 KB of two-letter symbols that are not listed would be answered with more than 1 MB.
const SYMBOLS_PER_REQUEST_MAX: usize = 4096;

/// Longest quotation of what a client sent.
const EXCERPT_CHARS_MAX: usize = 48;

#[cfg(test)]
mod tests;
