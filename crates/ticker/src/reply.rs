//! What the server says: every message of `ticker.v1` from here to a client, as serde writes it.
//!
//! These are shapes only. Sessions and the market fill them in; nothing here knows when a message
//! is due. Replies to a request carry its `id`, events carry none. Decimals and times are strings,
//! because JavaScript's numbers hold neither.

use serde::{Serialize, Serializer};

use crate::request::Id;

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
}

/// The close codes of the protocol, RFC 6455 section 7.4.2: 4000 to 4999 are the application's.
pub mod close {
    use tickwire::CloseCode;

    /// Too many messages that cannot be read.
    pub const UNREADABLE: CloseCode = CloseCode(4400);
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
#[derive(Debug, Serialize)]
pub struct SymbolResult<'a> {
    /// As it was asked for.
    pub symbol: &'a str,
    /// Whether it was done.
    pub ok: bool,
    /// How updates are delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// To a request to resume: whether the missing events follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<bool>,
    /// Sequence number that the first update follows.
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
        let (mode, recovered, seq) = (None, None, None);
        Self { symbol, ok: true, mode, recovered, seq, code: None, message: None }
    }

    /// It was not done, because of `code`.
    #[must_use]
    pub fn refused(symbol: &'a str, code: ErrorCode, message: String) -> Self {
        Self { ok: false, code: Some(code), message: Some(message), ..Self::done(symbol) }
    }
}

/// How updates are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Every event.
    Distinct,
}

/// A subscription that a connection holds.
#[derive(Debug, Serialize)]
pub struct Held<'a> {
    /// Its channel.
    pub channel: &'static str,
    /// Its symbol.
    pub symbol: &'a str,
    /// How its updates are delivered.
    pub mode: Mode,
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
    /// Over what a client then holds.
    pub crc: u32,
}

/// One event of an instrument.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "update")]
pub struct Update<'a> {
    /// Its channel.
    pub channel: &'static str,
    /// Its symbol.
    pub symbol: &'a str,
    /// Number of the event.
    pub seq: u64,
    /// Number of the event that was sent before.
    pub prev: u64,
    /// How many events are in this message.
    pub n: u32,
    /// When it happened.
    pub ts: Nanoseconds,
    /// The fields that it changed.
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
