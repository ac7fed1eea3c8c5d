//! What the server says: every message of `ticker.v1` from here to a client, as serde writes it.
//!
//! These are shapes only. Sessions and the market fill them in; nothing here knows when a message
//! is due. Replies to a request carry its `id`, events carry none. Decimals and times are strings,
//! because JavaScript's numbers hold neither.

use serde::{Serialize, Serializer};

use crate::field::Fields;
use crate::request::Id;
use crate::terms::{Mode, Terms};

/// Nanoseconds since the Unix epoch, written as a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nanoseconds(pub u64);

impl Serialize for Nanoseconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// What a client can do about an error; stable strings of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The message or a part of it cannot be read, or asks for what is not served.
    BadRequest,
    /// No method of this name.
    UnknownMethod,
    /// No channel of this name.
    UnknownChannel,
    /// No instrument under this symbol.
    UnknownSymbol,
    /// The connection holds as many symbols as it may.
    TooManySymbols,
    /// More requests than the connection may send.
    RateLimited,
    /// The connection does not hold this symbol.
    NotSubscribed,
    /// No token that is known and still good was shown.
    Unauthorized,
}

/// The close codes of the protocol, RFC 6455 section 7.4.2: 4000 to 4999 are the application's.
pub mod close {
    use tickwire::CloseCode;

    /// Too many messages that cannot be read.
    pub const UNREADABLE: CloseCode = CloseCode(4400);
    /// No token in time, or one that is good no more.
    pub const UNAUTHORIZED: CloseCode = CloseCode(4401);
    /// No subscription in time.
    pub const NO_SUBSCRIPTION: CloseCode = CloseCode(4408);
    /// The client reads slower than the market moves.
    pub const SLOW_CONSUMER: CloseCode = CloseCode(4410);
    /// Too many requests for too long.
    pub const TOO_MANY_REQUESTS: CloseCode = CloseCode(4429);
}

/// The first message on a connection.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "welcome")]
pub struct Welcome<'a> {
    /// Version of the protocol.
    pub proto: &'static str,
    /// Name of the connection, as it stands in the server's log.
    pub conn: &'a str,
    /// Changes when sequence numbers begin anew.
    pub epoch: &'a str,
    /// Longest silence of the server.
    pub heartbeat_ms: u32,
    /// What a client may ask for.
    pub limits: Limits,
    /// The server's time.
    pub ts: Nanoseconds,
}

/// Limits that a client is told.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Limits {
    /// Symbols that a connection may hold.
    pub symbols: usize,
    /// Requests a second, over time.
    pub req_per_s: u32,
}

/// The one answer to a request that could be read.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "ack")]
pub struct Ack<'a, R> {
    /// The request's, verbatim.
    pub id: &'a Id<'a>,
    /// The request's.
    pub method: &'static str,
    /// One for each symbol asked for, in that order; or what was asked for.
    pub results: &'a [R],
    /// When the request was taken up.
    pub time_in: Nanoseconds,
    /// When it was answered.
    pub time_out: Nanoseconds,
}

/// What became of one symbol of a request.
#[derive(Clone, Debug, Serialize)]
pub struct SymbolResult<'a> {
    /// As it was asked for.
    pub symbol: &'a str,
    /// Whether it was done.
    pub ok: bool,
    /// On which terms it is delivered.
    #[serde(flatten)]
    pub terms: Option<Agreed>,
    /// To a request to resume: whether the missing events follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<bool>,
    /// Sequence number that the first update follows; if it is recovered, that with which nothing is
    /// missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Why it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl<'a> SymbolResult<'a> {
    /// It was done, and there is no more to say.
    #[must_use]
    pub const fn done(symbol: &'a str) -> Self {
        let (terms, recovered, seq) = (None, None, None);
        Self { symbol, ok: true, terms, recovered, seq, code: None, message: None }
    }

    /// It was not done, because of `code`.
    #[must_use]
    pub fn refused(symbol: &'a str, code: ErrorCode, message: String) -> Self {
        Self { ok: false, code: Some(code), message: Some(message), ..Self::done(symbol) }
    }
}

/// Terms of a subscription as a client is told them: what is as usual is left out, but the mode.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Agreed {
    mode: Mode,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_rate: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Fields>,
}

impl From<Terms> for Agreed {
    fn from(Terms { mode, max_rate, fields }: Terms) -> Self {
        let max_rate = Some(max_rate).filter(|rate| *rate > 0);
        Self { mode, max_rate, fields: Some(fields).filter(|fields| *fields != Fields::ALL) }
    }
}

/// A subscription that a connection holds.
#[derive(Debug, Serialize)]
pub struct Held<'a> {
    /// Its channel.
    pub channel: &'static str,
    /// Its symbol.
    pub symbol: &'a str,
    /// Its terms.
    #[serde(flatten)]
    pub terms: Agreed,
}

/// What a token that was shown is good for.
#[derive(Debug, Serialize)]
pub struct Authorized<'a> {
    /// Whose it is.
    pub name: &'a str,
    /// When it ends; left out: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Nanoseconds>,
}

/// An instrument that can be subscribed to.
#[derive(Debug, Serialize)]
pub struct Listed<'a> {
    /// Its symbol.
    pub symbol: &'a str,
    /// What people call it.
    pub name: &'a str,
}

/// The answer to a ping.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "pong")]
pub struct Pong<'a> {
    /// The request's, verbatim.
    pub id: &'a Id<'a>,
    /// The server's time.
    pub ts: Nanoseconds,
}

/// Sent when there was nothing else to send.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "heartbeat")]
pub struct Heartbeat {
    /// Counts from 1.
    pub n: u32,
    /// The server's time.
    pub ts: Nanoseconds,
}

/// The server is going down: a Close with 1001 follows.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "notice")]
pub struct ShutdownNotice {
    /// Always `server_shutdown`.
    pub code: &'static str,
    /// How long the client should wait before it connects again.
    pub retry_ms: u32,
    /// When the connection is cut at the latest.
    pub deadline_ms: u32,
}

/// What a client was not sent of a symbol is gone, and its subscription with it.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "notice")]
pub struct ResyncNotice<'a> {
    /// Always `resync_required`.
    pub code: &'static str,
    /// Its channel.
    pub channel: &'static str,
    /// Its symbol.
    pub symbol: &'a str,
    /// Number of its last event.
    pub current: u64,
}

/// The token that the client has shown is about to end.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "notice")]
pub struct ExpiryNotice {
    /// Always `token_expires`.
    pub code: &'static str,
    /// How long it is still good.
    pub expires_ms: u32,
}

/// The answer to a request that cannot be served at all.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "error")]
pub struct Error<'a> {
    /// The request's, verbatim; null where it has none that could be read.
    pub id: Option<&'a Id<'a>>,
    /// What is wrong.
    pub code: ErrorCode,
    /// The same for people.
    pub message: &'a str,
}

/// All that is known of an instrument.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "snapshot")]
pub struct Snapshot<'a> {
    /// Its channel.
    pub channel: &'static str,
    /// Its symbol.
    pub symbol: &'a str,
    /// Changes when sequence numbers begin anew.
    pub epoch: &'a str,
    /// Number of the last event in it.
    pub seq: u64,
    /// When that event happened.
    pub ts: Nanoseconds,
    /// Every field that is known.
    pub data: Data<'a>,
    /// Over what a client then holds, if that is all that it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crc: Option<u32>,
}

/// One event of an instrument, or several merged into one.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "update")]
pub struct Update<'a> {
    /// Its channel.
    pub channel: &'static str,
    /// Its symbol.
    pub symbol: &'a str,
    /// Number of the last event in it.
    pub seq: u64,
    /// Number of the last event in what this client was sent before.
    pub prev: u64,
    /// How many events are in this message.
    pub n: u64,
    /// When the last of them happened.
    pub ts: Nanoseconds,
    /// The fields that they changed.
    pub data: Data<'a>,
    /// Over what a client then holds; now and then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crc: Option<u32>,
}

/// Fields of the channel `ticker`, each as the decimal that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Data<'a> {
    /// Best bid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bid: Option<&'a str>,
    /// Size at the best bid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bid_size: Option<&'a str>,
    /// Best ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask: Option<&'a str>,
    /// Size at the best ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask_size: Option<&'a str>,
    /// Price of the last trade.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<&'a str>,
    /// Size of the last trade.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_size: Option<&'a str>,
    /// Sum of the sizes of all trades.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vol: Option<&'a str>,
    /// First price seen: what a change is measured against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<&'a str>,
}

/// Appends `message` to `out` as JSON.
pub fn write(message: &impl Serialize, out: &mut Vec<u8>) {
    // These shapes have string keys and no fallible part, and a Vec takes every byte.
    serde_json::to_writer(out, message).expect("a reply is always JSON");
}

/// Version of the protocol, as the welcome tells it.
pub const PROTO: &str = "ticker.v1";

/// The subprotocol of the handshake.
pub const SUBPROTOCOL: &str = "ticker.v1.json";

/// The channel of best prices and last trades.
pub const TICKER: &str = "ticker";

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn json(message: &impl Serialize) -> String {
        let mut out = Vec::new();
        write(message, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_strings_and_what_is_not_known_is_left_out() {
        let data = Data { last: Some("189.44"), ..Data::default() };
        let ts = Nanoseconds(1_795_343_478_000_000_000);
        let update = Update {
            channel: TICKER,
            symbol: "AAPL",
            seq: 1047,
            prev: 1046,
            n: 1,
            ts,
            data,
            crc: None,
        };
        assert_eq!(
            json(&update),
            r#"{"type":"update","channel":"ticker","symbol":"AAPL","seq":1047,"prev":1046,"n":1,"ts":"1795343478000000000","data":{"last":"189.44"}}"#
        );
    }

    #[test]
    fn a_result_tells_terms_that_are_not_as_usual() {
        let last = [crate::field::Field::Last].into_iter().collect();
        for (terms, written) in [
            (Terms::of(Mode::Distinct), r#""mode":"distinct""#),
            (Terms::default(), r#""mode":"merge""#),
            (Terms { max_rate: 5, ..Terms::default() }, r#""mode":"merge","max_rate":5"#),
            (Terms { fields: last, ..Terms::default() }, r#""mode":"merge","fields":["last"]"#),
        ] {
            let result = SymbolResult { terms: Some(terms.into()), ..SymbolResult::done("A") };
            assert_eq!(json(&result), format!(r#"{{"symbol":"A","ok":true,{written}}}"#));
        }
        assert_eq!(json(&SymbolResult::done("A")), r#"{"symbol":"A","ok":true}"#);
    }

    #[test]
    fn an_id_goes_back_as_it_came() {
        let cases = [
            (Id::Number(i64::MIN), "-9223372036854775808"),
            (Id::Text(Cow::Borrowed("a\"b\n\u{1F600}")), r#""a\"b\n😀""#),
        ];
        for (id, written) in cases {
            let pong = json(&Pong { id: &id, ts: Nanoseconds(5) });
            assert_eq!(pong, format!(r#"{{"type":"pong","id":{written},"ts":"5"}}"#));
        }
    }

    #[test]
    fn an_error_without_an_id_says_null() {
        let error = Error { id: None, code: ErrorCode::BadRequest, message: "not JSON at byte 17" };
        assert_eq!(
            json(&error),
            r#"{"type":"error","id":null,"code":"bad_request","message":"not JSON at byte 17"}"#
        );
    }
}
