//! The rules of the message protocol, one by one, in scripted time.
//!
//! The link here keeps subscriptions as plain data and writes down what the session does, in
//! order. That the engine keeps its half of the promise (nothing of a topic before what is sent
//! first) is tried over real sockets in `tests/`.

mod subscribing;
mod tokens;

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::instrument::Instrument;
use crate::terms::Mode;
use crate::value::Known;

const START_NS: u64 = 5_000_000_000;
const UNIX_NS: u64 = 1_795_343_478_000_000_000;

#[derive(Debug, PartialEq)]
enum Act {
    Sent(Json),
    /// An instrument's stream began, on these terms.
    Began(usize, Terms),
    /// An instrument's stream was taken up behind this number.
    TakenUp(usize, u64),
    Missed,
    Rate(usize, u16),
    Ended(usize),
    Closed(u16, String),
}

#[derive(Default)]
struct Script {
    acts: Vec<Act>,
    held: BTreeMap<InstrumentId, Terms>,
    silent_for: Duration,
    /// What was missed after a smaller number is not kept.
    kept_after: u64,
    /// Whether something that was missed is to be sent.
    has_missed: bool,
}

/// Of the instrument at each place the last event has this number more than its place.
const NEWEST: u64 = 1000;

impl Link for Script {
    type Value = Vec<u8>;

    fn send(&mut self, text: &[u8]) {
        self.acts.push(Act::Sent(serde_json::from_slice(text).unwrap()));
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        self.acts.push(Act::Closed(code.0, reason.to_owned()));
    }

    fn silent_for(&self) -> Duration {
        self.silent_for
    }

    fn subscribe(&mut self, instrument: InstrumentId, terms: Terms) -> (u64, Option<Vec<u8>>) {
        self.held.insert(instrument, terms);
        self.acts.push(Act::Began(instrument.index(), terms));
        let mut value = Value { ts_ns: 5, ..Value::default() };
        value.fields[0] = Some(Known { changed_at: 900, text: "189.41" });
        value.fields[4] = Some(Known { changed_at: 990, text: "189.42" });
        let mut bytes = Vec::new();
        value.write(&mut bytes);
        (self.newest(instrument), Some(bytes))
    }

    fn take_up(&mut self, instrument: InstrumentId, terms: Terms, seq: u64) -> Option<u64> {
        let newest = self.newest(instrument);
        (self.kept_after..=newest).contains(&seq).then(|| {
            self.held.insert(instrument, terms);
            self.acts.push(Act::TakenUp(instrument.index(), seq));
            self.has_missed = true;
            newest
        })
    }

    fn send_missed(&mut self) {
        if std::mem::take(&mut self.has_missed) {
            self.acts.push(Act::Missed);
        }
    }

    fn set_rate(&mut self, instrument: InstrumentId, max_rate: u16) {
        let terms = self.held.get_mut(&instrument).unwrap();
        assert_eq!(terms.mode, Mode::Merge);
        terms.max_rate = max_rate;
        self.acts.push(Act::Rate(instrument.index(), max_rate));
    }

    fn unsubscribe(&mut self, instrument: InstrumentId) {
        self.held.remove(&instrument).unwrap();
        self.acts.push(Act::Ended(instrument.index()));
    }

    fn newest(&self, instrument: InstrumentId) -> u64 {
        NEWEST + instrument.index() as u64
    }
}

struct Fixture {
    desk: Desk,
    link: Script,
    session: Session,
    now_ns: u64,
    unix_ns: u64,
}

impl Fixture {
    fn new() -> Self {
        Self::with(Rules::default(), &["AAPL", "MSFT", "BTCUSDT"])
    }

    /// A client that has not shown a token where one is asked for.
    fn unknown() -> Self {
        let mut fixture = Self::new();
        let sesame = "d0c04f4b1951e4aeaaec8223ed2039e542f3aae805a6fa7f6d794e5afff5d272";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, format!("desk-7 {sesame} 2026-11-22T10:33:08Z")).unwrap();
        fixture.desk.tokens = Some(Arc::new(Tokens::read(file.path()).unwrap()));
        fixture.session = Session::granted_until(0);
        fixture.open();
        fixture.link.acts.clear();
        fixture
    }

    fn with(rules: Rules, symbols: &[&str]) -> Self {
        let mut listing = Listing::default();
        for symbol in symbols {
            let (symbol, name) = (symbol.to_string(), format!("{symbol} by name"));
            listing.add(Instrument { symbol, name, price_decimals: 2 }).unwrap();
        }
        let desk = Desk::new(rules, Arc::new(listing), "k3Zq".into(), None);
        let (link, session) = (Script::default(), Session::granted_until(FOR_EVER));
        let mut fixture = Self { desk, link, session, now_ns: START_NS, unix_ns: UNIX_NS };
        fixture.open();
        fixture.link.acts.clear();
        fixture
    }

    fn now(&self) -> Timestamp {
        Timestamp::new(self.now_ns, self.unix_ns)
    }

    fn open(&mut self) -> Duration {
        let now = self.now();
        self.session.open(&mut self.desk, &mut self.link, now, "c-7f3a")
    }

    fn text(&mut self, text: &str) -> Vec<Act> {
        let now = self.now();
        self.session.text(&mut self.desk, &mut self.link, now, &mut text.as_bytes().to_vec());
        std::mem::take(&mut self.link.acts)
    }

    fn reply(&mut self, text: &str) -> Json {
        let mut acts = self.text(text);
        assert_eq!(acts.len(), 1, "one reply to {text}: {acts:?}");
        let Some(Act::Sent(reply)) = acts.pop() else { panic!("no reply to {text}") };
        reply
    }

    fn request(&mut self, method: &str, params: Json) -> Vec<Act> {
        self.text(&json!({"id": 7, "method": method, "params": params}).to_string())
    }

    fn subscribe(&mut self, params: Json) -> Vec<Act> {
        let mut whole = json!({"channel": "ticker"});
        whole.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        self.request("subscribe", whole)
    }

    fn timer(&mut self) -> (Option<Duration>, Vec<Act>) {
        let now = self.now();
        let next = self.session.timer(&mut self.desk, &mut self.link, now);
        (next, std::mem::take(&mut self.link.acts))
    }
}

/// The snapshot of the instrument at a place, whole.
fn snapshot(symbol: &str, seq: u64) -> Act {
    let crc = crc32fast::hash(format!("{symbol}:189.41::189.42:").as_bytes());
    Act::Sent(json!({
        "type": "snapshot", "channel": "ticker", "symbol": symbol, "epoch": "k3Zq", "seq": seq,
        "ts": "5", "data": {"bid": "189.41", "last": "189.42"}, "crc": crc,
    }))
}

const MERGE: Terms = Terms::of(Mode::Merge);

const DISTINCT: Terms = Terms::of(Mode::Distinct);

fn sent(act: &Act) -> &Json {
    let Act::Sent(json) = act else { panic!("not a message: {act:?}") };
    json
}

fn ack_of(acts: &[Act]) -> &Json {
    let ack = acts.iter().find(|act| matches!(act, Act::Sent(_))).map(sent).unwrap();
    assert_eq!((&ack["type"], &ack["id"]), (&json!("ack"), &json!(7)));
    ack
}

#[test]
fn the_welcome_tells_version_epoch_limits_and_time() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.open(), Duration::from_secs(1));
    let welcome = json!({
        "type": "welcome", "proto": "ticker.v1", "conn": "c-7f3a", "epoch": "k3Zq",
        "heartbeat_ms": 1000, "limits": {"symbols": 1024, "req_per_s": 10},
        "ts": UNIX_NS.to_string(),
    });
    assert_eq!(fixture.link.acts, [Act::Sent(welcome)]);
}

#[test]
fn list_names_what_is_held_and_instruments_what_could_be() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.reply(r#"{"id":1,"method":"list"}"#)["results"], json!([]));
    fixture.subscribe(json!({"symbols": ["BTCUSDT", "AAPL"]}));
    let list = fixture.reply(r#"{"id":"l","method":"list"}"#);
    let held = |symbol: &str| json!({"channel": "ticker", "symbol": symbol, "mode": "merge"});
    assert_eq!(list["results"], json!([held("AAPL"), held("BTCUSDT")]));
    assert_eq!((&list["id"], &list["method"]), (&json!("l"), &json!("list")));
    let instruments = fixture.reply(r#"{"id":2,"method":"instruments"}"#);
    assert_eq!(instruments["results"].as_array().unwrap().len(), 3);
    let first = json!({"symbol": "AAPL", "name": "AAPL by name"});
    assert_eq!(instruments["results"][0], first);
}

#[test]
fn a_ping_is_answered_with_the_time() {
    let pong = Fixture::new().reply(r#"{"id":"p-1","method":"ping"}"#);
    assert_eq!(pong, json!({"type": "pong", "id": "p-1", "ts": UNIX_NS.to_string()}));
}

#[test]
fn each_error_has_its_code_and_id() {
    let cases = [
        (r#"{"id":1,"#, Json::Null, "bad_request"),
        (r#"{"id":1,"method":"nothing"}"#, json!(1), "unknown_method"),
        (
            r#"{"id":"x","method":"subscribe","params":{"channel":"trades","symbols":["AAPL"]}}"#,
            json!("x"),
            "unknown_channel",
        ),
    ];
    for (text, id, code) in cases {
        let error = Fixture::new().reply(text);
        assert_eq!(error["type"], "error");
        assert_eq!((&error["id"], &error["code"]), (&id, &json!(code)), "{text}");
        assert!(error["message"].is_string());
    }
}

#[test]
fn the_tenth_unreadable_message_within_a_minute_is_answered_and_closes_with_4400() {
    let mut fixture = Fixture::new();
    for _ in 0..9 {
        assert_eq!(fixture.reply("nothing")["code"], "bad_request");
        fixture.now_ns += 5_000_000_000;
    }
    let acts = fixture.text("nothing");
    assert_eq!(sent(&acts[0])["code"], "bad_request");
    assert!(matches!(acts[1], Act::Closed(4400, _)), "{acts:?}");
}

#[test]
fn requests_that_are_readable_but_wrong_do_not_close() {
    let mut fixture = Fixture::new();
    for _ in 0..30 {
        assert_eq!(fixture.reply(r#"{"id":1,"method":"no"}"#)["code"], "unknown_method");
        assert_eq!(fixture.subscribe(json!({"symbols": ["NONE"]})).len(), 1);
        fixture.now_ns += 1_000_000_000;
    }
}

#[test]
fn requests_beyond_the_rate_are_refused_by_id_and_then_close_with_4429() {
    let mut fixture = Fixture::new();
    for _ in 0..50 {
        assert_eq!(fixture.reply(r#"{"id":1,"method":"ping"}"#)["type"], "pong");
    }
    let error = fixture.reply(r#"{"id":51,"method":"ping"}"#);
    assert_eq!((&error["code"], &error["id"]), (&json!("rate_limited"), &json!(51)));
    for _ in 0..9_999 {
        fixture.now_ns += 1_000_000;
        assert!(fixture.text(r#"{"id":1,"method":"ping"}"#).len() <= 1);
    }
    fixture.now_ns += 1_000_000;
    // The first is granted, as one in a tenth of a second is.
    assert_eq!(fixture.reply(r#"{"id":1,"method":"ping"}"#)["type"], "pong");
    let acts = fixture.text(r#"{"id":1,"method":"ping"}"#);
    assert_eq!(sent(&acts[0])["code"], "rate_limited");
    assert!(matches!(acts[1], Act::Closed(4429, _)), "{acts:?}");
}

#[test]
fn silence_is_broken_by_a_counting_heartbeat() {
    let mut fixture = Fixture::new();
    fixture.link.silent_for = Duration::from_secs(1);
    for n in 1..=3 {
        fixture.now_ns += 1_000_000_000;
        let (next, acts) = fixture.timer();
        let heartbeat = json!({"type": "heartbeat", "n": n, "ts": UNIX_NS.to_string()});
        assert_eq!(acts, [Act::Sent(heartbeat)]);
        assert_eq!(next, Some(Duration::from_secs(1)));
    }
    fixture.now_ns += 1_000_000_000;
    fixture.link.silent_for = Duration::from_millis(400);
    let (next, acts) = fixture.timer();
    assert_eq!((next, acts.len()), (Some(Duration::from_millis(600)), 0));
}

#[test]
fn a_connection_that_subscribes_to_nothing_for_30_s_is_closed_with_4408() {
    let mut fixture = Fixture::new();
    fixture.subscribe(json!({"symbols": ["NONE"]}));
    fixture.now_ns = START_NS + 29_999_000_000;
    let (next, acts) = fixture.timer();
    assert_eq!((next, acts.len()), (Some(Duration::from_millis(1)), 0));
    fixture.now_ns = START_NS + 30_000_000_000;
    let (next, acts) = fixture.timer();
    assert_eq!(next, None);
    assert!(matches!(acts[..], [Act::Closed(4408, _)]), "{acts:?}");
}

#[test]
fn a_connection_that_once_subscribed_may_stay_without() {
    let mut fixture = Fixture::new();
    fixture.subscribe(json!({"symbols": ["AAPL"]}));
    fixture.request("unsubscribe", json!({"channel": "ticker", "symbols": ["AAPL"]}));
    fixture.now_ns += 3_600_000_000_000;
    fixture.link.silent_for = Duration::from_secs(1);
    let (next, acts) = fixture.timer();
    assert!(next.is_some());
    assert_eq!(sent(&acts[0])["type"], "heartbeat");
}

#[test]
fn binary_messages_close_with_1003() {
    let mut link = Script::default();
    Session::binary(&mut link);
    assert!(matches!(link.acts[..], [Act::Closed(1003, _)]));
}

#[test]
fn a_shutdown_tells_when_to_come_back() {
    let mut fixture = Fixture::new();
    let (retry, deadline) = (Duration::from_millis(2500), Duration::from_secs(5));
    Session::shutdown(&mut fixture.desk, &mut fixture.link, retry, deadline);
    let notice = json!({
        "type": "notice", "code": "server_shutdown", "retry_ms": 2500, "deadline_ms": 5000,
    });
    assert_eq!(fixture.link.acts, [Act::Sent(notice)]);
}

#[test]
fn a_session_takes_64_bytes() {
    assert_eq!(size_of::<Session>(), 64);
}

/// Texts near to requests: the words of the protocol, JSON's own, and what does not belong there.
fn near_request() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\"id\"",
        "\"method\"",
        "\"params\"",
        "\"channel\"",
        "\"ticker\"",
        "\"symbols\"",
        "\"AAPL\"",
        "\"subscribe\"",
        "\"unsubscribe\"",
        "\"ping\"",
        "\"list\"",
        "\"resume\"",
        "\"set\"",
        "\"auth\"",
        "\"max_rate\"",
        "\"fields\"",
        "\"mode\"",
        "\"distinct\"",
        "1",
        "-",
        "0.5",
        "1e999",
        "null",
        "true",
        "\\u0000",
        "\\ud800",
        "é",
        "\u{0}",
        " ",
    ]);
    let request =
        r#"{"id":1,"method":"subscribe","params":{"channel":"ticker","symbols":["AAPL"]}}"#;
    let spliced =
        (0..request.len(), 0..request.len(), words.clone()).prop_map(|(from, to, word)| {
            format!("{}{word}{}", &request[..from.min(to)], &request[from.max(to)..])
        });
    prop_oneof![prop::collection::vec(words, 0..24).prop_map(|words| words.concat()), spliced]
}

proptest! {
    #[test]
    fn any_text_is_answered_once_or_ignored(texts in prop::collection::vec(near_request(), 1..40)) {
        let mut fixture = Fixture::new();
        for text in texts {
            let acts = fixture.text(&text);
            let is_reply = |act: &&Act| matches!(act, Act::Sent(it) if it["type"] != "snapshot");
            let replies = acts.iter().filter(is_reply).count();
            let ignored = serde_json::from_str::<Json>(&text)
                .is_ok_and(|json| json["type"].is_string() && json.get("method").is_none());
            prop_assert_eq!(replies, usize::from(!ignored), "{}", text);
            let held = fixture.link.held.iter().map(|(instrument, terms)| (*instrument, *terms));
            prop_assert!(fixture.session.holdings.iter().eq(held), "{}", text);
            if acts.iter().any(|act| matches!(act, Act::Closed(..))) {
                break;
            }
        }
    }
}
