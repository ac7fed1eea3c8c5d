//! What a client says: requests of `ticker.v1`, read strictly and without copying.
//!
//! A session gives the text of one message, unmasked and valid UTF-8, and gets a [`Request`] whose
//! strings lie in that text. simd-json parses in place, so the text is used up. What cannot be
//! read is a [`Refused`] that carries the request's id as soon as there is one: a client can tell
//! which request it got wrong. Whether a symbol is listed or a mode is served is the session's
//! question, not this one's.

use std::borrow::Cow;

use serde::Serialize;
use simd_json::prelude::{TypedScalarValue, ValueAsScalar, ValueIntoString};
use simd_json::{Buffers, ErrorType, tape};

use crate::reply::ErrorCode;

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
    /// How updates are to be delivered, if asked for.
    pub mode: Option<&'a str>,
    /// Whether fewer than all updates are asked for.
    pub rate: bool,
    /// Whether fewer than all fields are asked for.
    pub crop: bool,
    /// Whether the events since an earlier connection are asked for.
    pub resume: bool,
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
        mode: optional(params, "mode", |value| value.into_string())
            .ok_or("`mode` must be a string")?,
        rate: optional(params, "max_rate", |value| value.cast_f64())
            .ok_or("`max_rate` must be a number")?
            .is_some_and(|rate| rate != 0.0),
        crop: optional(params, "fields", |value| value.as_array().map(|_| ()))
            .ok_or("`fields` must be an array")?
            .is_some(),
        resume: optional(params, "resume", |value| value.as_object().map(|_| ()))
            .ok_or("`resume` must be an object")?
            .is_some(),
    }))
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
    let message = match method {
        "set" => Cow::Borrowed("`set` is not served yet"),
        "auth" => Cow::Borrowed("`auth` is not served yet: this server asks for no token"),
        _ => format!("{} is no method", excerpt(method)).into(),
    };
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
mod tests {
    use super::*;

    fn read<'a>(text: &'a mut [u8]) -> Result<Option<Request<'a>>, Refused<'a>> {
        Reader::new().read(text)
    }

    fn method(json: &str) -> Method<'static> {
        let text = json.as_bytes().to_vec().leak();
        Reader::new().read(text).unwrap().unwrap().method
    }

    fn refused(json: &str) -> (Option<Id<'static>>, ErrorCode, String) {
        let text = json.as_bytes().to_vec().leak();
        let refused = Reader::new().read(text).unwrap_err();
        (refused.id, refused.code, refused.message.into_owned())
    }

    #[test]
    fn methods_are_read() {
        let cases = [
            (r#"{"id":1,"method":"ping"}"#, Method::Ping),
            (r#"{"method":"list","id":"a","later":{"x":[1]}}"#, Method::List),
            (r#"{"id":1,"method":"instruments","params":7}"#, Method::Instruments),
            (
                r#"{"id":1,"method":"unsubscribe","params":{"channel":"ticker","symbols":["A","B"]}}"#,
                Method::Unsubscribe(vec!["A", "B"]),
            ),
        ];
        for (json, expected) in cases {
            assert_eq!(method(json), expected, "{json}");
        }
    }

    #[test]
    fn a_subscription_has_its_defaults_and_says_what_it_asks_for() {
        let subscribe = |params: &str| {
            let params = format!(r#""channel":"ticker","symbols":["AAPL"]{params}"#);
            method(&format!(r#"{{"id":1,"method":"subscribe","params":{{{params}}}}}"#))
        };
        let plain = Subscribe {
            symbols: vec!["AAPL"],
            snapshot: true,
            mode: None,
            rate: false,
            crop: false,
            resume: false,
        };
        let cases = [
            ("", plain.clone()),
            (r#","mode":null,"max_rate":0,"later":1"#, plain.clone()),
            (r#","snapshot":false"#, Subscribe { snapshot: false, ..plain.clone() }),
            (r#","mode":"merge""#, Subscribe { mode: Some("merge"), ..plain.clone() }),
            (r#","max_rate":10"#, Subscribe { rate: true, ..plain.clone() }),
            (r#","max_rate":0.5"#, Subscribe { rate: true, ..plain.clone() }),
            (r#","fields":["bid"]"#, Subscribe { crop: true, ..plain.clone() }),
            (r#","resume":{"epoch":"x","seq":{"AAPL":1}}"#, Subscribe { resume: true, ..plain }),
        ];
        for (params, expected) in cases {
            assert_eq!(subscribe(params), Method::Subscribe(expected), "{params}");
        }
    }

    #[test]
    fn ids_are_integers_or_short_strings() {
        let text36 = "x".repeat(36);
        let cases = [
            ("-9223372036854775808".to_owned(), Id::Number(i64::MIN)),
            ("9223372036854775807".to_owned(), Id::Number(i64::MAX)),
            (r#""""#.to_owned(), Id::Text("".into())),
            (format!("\"{text36}\""), Id::Text(text36.as_str().into())),
            (format!("\"{}\"", "é".repeat(36)), Id::Text("é".repeat(36).into())),
            (r#""\u00e9\n""#.to_owned(), Id::Text("é\n".into())),
        ];
        for (written, expected) in cases {
            let mut text = format!(r#"{{"id":{written},"method":"ping"}}"#).into_bytes();
            assert_eq!(read(&mut text).unwrap().unwrap().id, expected);
        }
        let long = format!("\"{}\"", "x".repeat(37));
        for written in ["1.5", "null", "true", "[1]", "{}", "9223372036854775808", &long] {
            let (id, code, message) = refused(&format!(r#"{{"id":{written},"method":"ping"}}"#));
            assert_eq!((id, code), (None, ErrorCode::BadRequest), "{written}");
            assert!(message.starts_with("`id` must be"), "{message}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_the_id_if_there_is_one() {
        let one = Some(Id::Number(1));
        let cases = [
            ("", None, "not JSON at byte 0"),
            ("nothing", None, "not JSON"),
            (r#"{"id":1,"method":"ping""#, None, "not JSON"),
            (r#"{"id":1,"method":"ping"} {}"#, None, "not JSON"),
            ("[]", None, "one JSON object"),
            ("7", None, "one JSON object"),
            ("{}", None, "`method`"),
            (r#"{"id":1}"#, one.clone(), "`method`"),
            (r#"{"method":"ping"}"#, None, "needs an `id`"),
            (r#"{"id":1,"method":7}"#, one.clone(), "`method`"),
            (r#"{"id":1,"method":"subscribe"}"#, one.clone(), "`params`"),
            (r#"{"id":1,"method":"subscribe","params":[]}"#, one.clone(), "`params`"),
            (r#"{"id":1,"method":"subscribe","params":{}}"#, one.clone(), "`channel`"),
        ];
        for (json, id, message) in cases {
            let (given_id, code, given) = refused(json);
            assert_eq!((given_id, code), (id, ErrorCode::BadRequest), "{json}");
            assert!(given.contains(message), "{json}: {given}");
        }
    }

    #[test]
    fn parameters_of_the_wrong_shape_are_refused() {
        let symbols = r#""symbols":["A"]"#;
        let cases = [
            (r#""channel":"ticker""#.to_owned(), "`symbols`"),
            (r#""channel":"ticker","symbols":"A""#.to_owned(), "`symbols`"),
            (r#""channel":"ticker","symbols":[]"#.to_owned(), "`symbols`"),
            (r#""channel":"ticker","symbols":["A",1]"#.to_owned(), "`symbols`"),
            (format!(r#""channel":7,{symbols}"#), "`channel`"),
            (format!(r#""channel":"ticker",{symbols},"snapshot":1"#), "`snapshot`"),
            (format!(r#""channel":"ticker",{symbols},"mode":1"#), "`mode`"),
            (format!(r#""channel":"ticker",{symbols},"max_rate":"1""#), "`max_rate`"),
            (format!(r#""channel":"ticker",{symbols},"fields":"bid""#), "`fields`"),
            (format!(r#""channel":"ticker",{symbols},"resume":1"#), "`resume`"),
        ];
        for (params, message) in cases {
            let json = format!(r#"{{"id":"q","method":"subscribe","params":{{{params}}}}}"#);
            let (id, code, given) = refused(&json);
            assert_eq!((id, code), (Some(Id::Text("q".into())), ErrorCode::BadRequest), "{json}");
            assert!(given.contains(message), "{json}: {given}");
        }
    }

    #[test]
    fn other_channels_and_methods_have_errors_of_their_own() {
        for channel in ["trades", "book", ""] {
            let params = format!(r#"{{"channel":"{channel}","symbols":["A"]}}"#);
            let json = format!(r#"{{"id":1,"method":"subscribe","params":{params}}}"#);
            assert_eq!(refused(&json).1, ErrorCode::UnknownChannel, "{channel}");
        }
        for method in ["set", "auth", "PING", ""] {
            let json = format!(r#"{{"id":1,"method":"{method}"}}"#);
            assert_eq!(refused(&json).1, ErrorCode::UnknownMethod, "{method}");
        }
    }

    #[test]
    fn a_type_without_a_method_is_ignored() {
        let mut text = br#"{"type":"hello","id":1}"#.to_vec();
        assert_eq!(read(&mut text), Ok(None));
    }

    #[test]
    fn nesting_up_to_32_is_read_and_one_more_is_not() {
        let nested = |depth: usize| {
            let inner = depth - 1;
            let value = "[".repeat(inner) + &"]".repeat(inner);
            format!(r#"{{"id":1,"method":"ping","params":{value}}}"#)
        };
        assert_eq!(method(&nested(32)), Method::Ping);
        let (_, code, message) = refused(&nested(33));
        assert_eq!((code, message.as_str()), (ErrorCode::BadRequest, "nested deeper than 32"));
        assert_eq!(refused(&"[".repeat(60_000)).2, "nested deeper than 32");
    }

    #[test]
    fn a_request_names_at_most_4096_symbols() {
        let request = |count: usize| {
            let symbols = vec!["\"A\""; count].join(",");
            let params = format!(r#"{{"channel":"ticker","symbols":[{symbols}]}}"#);
            format!(r#"{{"id":1,"method":"unsubscribe","params":{params}}}"#)
        };
        assert_eq!(method(&request(4096)), Method::Unsubscribe(vec!["A"; 4096]));
        assert!(refused(&request(4097)).2.contains("4096"));
    }

    #[test]
    fn a_reader_reads_on_after_what_it_could_not_read() {
        let mut reader = Reader::new();
        for _ in 0..3 {
            assert!(reader.read(&mut br#"{"id":1,"met"#.to_vec()).is_err());
            let mut text = br#"{"id":1,"method":"ping"}"#.to_vec();
            assert!(reader.read(&mut text).is_ok_and(|request| request.is_some()));
        }
    }
}
