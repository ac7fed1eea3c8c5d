//! The rules of the message protocol, one by one, in scripted time.
//!
//! The link here keeps subscriptions as plain data and writes down what the session does, in
//! order. That the engine keeps its half of the promise (nothing of a topic before what is sent
//! first) is tried over real sockets in `tests/`.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::instrument::Instrument;

const START_NS: u64 = 5_000_000_000;
const UNIX_NS: u64 = 1_795_343_478_000_000_000;

#[derive(Debug, PartialEq)]
enum Act {
    Sent(Json),
    Snapshot(String),
    Began(usize),
    Ended(usize),
    Closed(u16, String),
}

#[derive(Default)]
struct Script {
    acts: Vec<Act>,
    held: BTreeSet<InstrumentId>,
    silent_for: Duration,
}

impl Link for Script {
    type Snapshot = String;

    fn send(&mut self, text: &[u8]) {
        self.acts.push(Act::Sent(serde_json::from_slice(text).unwrap()));
    }

    fn send_snapshot(&mut self, snapshot: &String) {
        self.acts.push(Act::Snapshot(snapshot.clone()));
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        self.acts.push(Act::Closed(code.0, reason.to_owned()));
    }

    fn silent_for(&self) -> Duration {
        self.silent_for
    }

    fn holds(&self, instrument: InstrumentId) -> bool {
        self.held.contains(&instrument)
    }

    fn subscribe(&mut self, instrument: InstrumentId) -> (u64, Option<String>) {
        self.held.insert(instrument);
        let index = instrument.index();
        self.acts.push(Act::Began(index));
        (1000 + index as u64, Some(format!("snapshot {index}")))
    }

    fn unsubscribe(&mut self, instrument: InstrumentId) -> bool {
        let held = self.held.remove(&instrument);
        if held {
            self.acts.push(Act::Ended(instrument.index()));
        }
        held
    }
}

struct Fixture {
    desk: Desk,
    link: Script,
    session: Session,
    now_ns: u64,
}

impl Fixture {
    fn new() -> Self {
        Self::with(Rules::default(), &["AAPL", "MSFT", "BTCUSDT"])
    }

    fn with(rules: Rules, symbols: &[&str]) -> Self {
        let mut listing = Listing::default();
        for symbol in symbols {
            let (symbol, name) = (symbol.to_string(), format!("{symbol} by name"));
            listing.add(Instrument { symbol, name, price_decimals: 2 }).unwrap();
        }
        let desk = Desk::new(rules, Arc::new(listing), "k3Zq".into());
        let (link, session) = (Script::default(), Session::default());
        let mut fixture = Self { desk, link, session, now_ns: START_NS };
        fixture.open();
        fixture.link.acts.clear();
        fixture
    }

    fn now(&self) -> Timestamp {
        Timestamp::new(self.now_ns, UNIX_NS)
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
fn an_ack_with_a_result_per_symbol_precedes_the_snapshots() {
    let mut fixture = Fixture::new();
    let acts = fixture.subscribe(json!({"symbols": ["MSFT", "NONE", "AAPL"]}));
    let ack = json!({
        "type": "ack", "id": 7, "method": "subscribe",
        "results": [
            {"symbol": "MSFT", "ok": true, "mode": "distinct", "seq": 1001},
            {"symbol": "NONE", "ok": false, "code": "unknown_symbol",
             "message": "NONE is not listed"},
            {"symbol": "AAPL", "ok": true, "mode": "distinct", "seq": 1000},
        ],
        "time_in": UNIX_NS.to_string(), "time_out": UNIX_NS.to_string(),
    });
    let expected = [
        Act::Began(1),
        Act::Began(0),
        Act::Sent(ack),
        Act::Snapshot("snapshot 1".to_owned()),
        Act::Snapshot("snapshot 0".to_owned()),
    ];
    assert_eq!(acts, expected);
}

#[test]
fn without_snapshot_only_the_ack_tells_where_the_stream_begins() {
    let mut fixture = Fixture::new();
    let acts = fixture.subscribe(json!({"symbols": ["AAPL"], "snapshot": false}));
    assert_eq!(acts.len(), 2, "{acts:?}");
    assert_eq!(ack_of(&acts)["results"][0]["seq"], 1000);
}

#[test]
fn a_symbol_held_already_goes_on_or_begins_anew_with_a_snapshot() {
    let mut fixture = Fixture::new();
    fixture.subscribe(json!({"symbols": ["AAPL"]}));
    let goes_on = fixture.subscribe(json!({"symbols": ["AAPL"], "snapshot": false}));
    let results = json!([{"symbol": "AAPL", "ok": true, "mode": "distinct"}]);
    assert_eq!(goes_on.len(), 1, "{goes_on:?}");
    assert_eq!(ack_of(&goes_on)["results"], results);
    let anew = fixture.subscribe(json!({"symbols": ["AAPL"]}));
    assert_eq!(anew[0], Act::Began(0));
    assert_eq!(ack_of(&anew)["results"][0]["seq"], 1000);
    assert_eq!(anew[2], Act::Snapshot("snapshot 0".to_owned()));
    assert_eq!(fixture.session.held(), 1);
}

#[test]
fn a_symbol_named_twice_is_begun_once() {
    let mut fixture = Fixture::new();
    let acts = fixture.subscribe(json!({"symbols": ["AAPL", "AAPL"]}));
    let result = json!({"symbol": "AAPL", "ok": true, "mode": "distinct", "seq": 1000});
    assert_eq!(ack_of(&acts)["results"], json!([result, result]));
    assert_eq!(acts.iter().filter(|act| matches!(act, Act::Snapshot(_))).count(), 1);
}

#[test]
fn what_is_not_served_yet_is_refused_symbol_by_symbol() {
    let mut fixture = Fixture::new();
    let cases = [
        (json!({"mode": "merge"}), "only distinct"),
        (json!({"mode": "sampled"}), "only distinct"),
        (json!({"max_rate": 10}), "`max_rate`"),
        (json!({"fields": ["bid"]}), "`fields`"),
    ];
    for (params, message) in cases {
        let mut whole = json!({"symbols": ["AAPL", "MSFT"]});
        whole.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        let acts = fixture.subscribe(whole);
        assert_eq!(acts.len(), 1, "{acts:?}");
        for result in ack_of(&acts)["results"].as_array().unwrap() {
            assert_eq!((&result["ok"], &result["code"]), (&json!(false), &json!("bad_request")));
            assert!(result["message"].as_str().unwrap().contains(message), "{result}");
        }
    }
    assert_eq!(fixture.session.held(), 0);
    let acts = fixture.subscribe(json!({"symbols": ["AAPL"], "mode": "distinct", "max_rate": 0}));
    assert_eq!(ack_of(&acts)["results"][0]["ok"], true);
}

#[test]
fn nothing_is_recovered_and_a_snapshot_takes_its_place() {
    let mut fixture = Fixture::new();
    let resume = json!({"epoch": "k3Zq", "seq": {"AAPL": 1041}});
    let acts = fixture.subscribe(json!({"symbols": ["AAPL"], "snapshot": false, "resume": resume}));
    assert_eq!(ack_of(&acts)["results"][0]["recovered"], false);
    assert_eq!(acts[2], Act::Snapshot("snapshot 0".to_owned()));
}

#[test]
fn symbols_beyond_the_limit_are_refused_one_by_one() {
    let rules = Rules { symbols_max: 2, ..Rules::default() };
    let mut fixture = Fixture::with(rules, &["A", "B", "C"]);
    let acts = fixture.subscribe(json!({"symbols": ["A", "B", "C", "A"]}));
    let results = &ack_of(&acts)["results"];
    let oks: Vec<_> = (0..4).map(|index| results[index]["ok"].as_bool().unwrap()).collect();
    assert_eq!(oks, [true, true, false, true]);
    assert_eq!(results[2]["code"], "too_many_symbols");
    fixture.request("unsubscribe", json!({"channel": "ticker", "symbols": ["B"]}));
    let acts = fixture.subscribe(json!({"symbols": ["C"]}));
    assert_eq!(ack_of(&acts)["results"][0]["ok"], true);
}

#[test]
fn an_end_is_acknowledged_and_what_is_not_held_is_not() {
    let mut fixture = Fixture::new();
    fixture.subscribe(json!({"symbols": ["AAPL"]}));
    let symbols = json!({"channel": "ticker", "symbols": ["AAPL", "AAPL", "MSFT", "NONE"]});
    let acts = fixture.request("unsubscribe", symbols);
    assert_eq!(acts[0], Act::Ended(0));
    let ack = ack_of(&acts[1..]);
    assert_eq!(ack["results"][0], json!({"symbol": "AAPL", "ok": true}));
    for index in 1..4 {
        assert_eq!(ack["results"][index]["code"], "not_subscribed", "{ack}");
    }
    assert_eq!(acts.len(), 2);
}

#[test]
fn list_names_what_is_held_and_instruments_what_could_be() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.reply(r#"{"id":1,"method":"list"}"#)["results"], json!([]));
    fixture.subscribe(json!({"symbols": ["BTCUSDT", "AAPL"]}));
    let list = fixture.reply(r#"{"id":"l","method":"list"}"#);
    let held = |symbol: &str| json!({"channel": "ticker", "symbol": symbol, "mode": "distinct"});
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
fn a_session_takes_32_bytes() {
    assert_eq!(size_of::<Session>(), 32);
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
            let replies = acts.iter().filter(|act| matches!(act, Act::Sent(_))).count();
            let ignored = serde_json::from_str::<Json>(&text)
                .is_ok_and(|json| json["type"].is_string() && json.get("method").is_none());
            prop_assert_eq!(replies, usize::from(!ignored), "{}", text);
            prop_assert_eq!(fixture.session.held() as usize, fixture.link.held.len());
            if acts.iter().any(|act| matches!(act, Act::Closed(..))) {
                break;
            }
        }
    }
}
