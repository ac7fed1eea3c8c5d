//! The rules of the message protocol, one by one, in scripted time.
//!
//! The link here keeps subscriptions as plain data and writes down what the session does, in
//! order. That the engine keeps its half of the promise (nothing of a topic before what is sent
//! first) is tried over real sockets in `tests/`.

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
fn an_ack_with_a_result_per_symbol_precedes_the_snapshots() {
    let mut fixture = Fixture::new();
    let acts = fixture.subscribe(json!({"symbols": ["MSFT", "NONE", "AAPL"]}));
    let ack = json!({
        "type": "ack", "id": 7, "method": "subscribe",
        "results": [
            {"symbol": "MSFT", "ok": true, "mode": "merge", "seq": 1001},
            {"symbol": "NONE", "ok": false, "code": "unknown_symbol",
             "message": "NONE is not listed"},
            {"symbol": "AAPL", "ok": true, "mode": "merge", "seq": 1000},
        ],
        "time_in": UNIX_NS.to_string(), "time_out": UNIX_NS.to_string(),
    });
    let expected = [
        Act::Began(1, MERGE),
        Act::Began(0, MERGE),
        Act::Sent(ack),
        snapshot("MSFT", 1001),
        snapshot("AAPL", 1000),
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
    let results = json!([{"symbol": "AAPL", "ok": true, "mode": "merge"}]);
    assert_eq!(goes_on.len(), 1, "{goes_on:?}");
    assert_eq!(ack_of(&goes_on)["results"], results);
    let anew = fixture.subscribe(json!({"symbols": ["AAPL"]}));
    assert_eq!(anew[0], Act::Began(0, MERGE));
    assert_eq!(ack_of(&anew)["results"][0]["seq"], 1000);
    assert_eq!(anew[2], snapshot("AAPL", 1000));
    assert_eq!(fixture.session.held(), 1);
}

#[test]
fn a_symbol_named_twice_is_begun_once() {
    let mut fixture = Fixture::new();
    let acts = fixture.subscribe(json!({"symbols": ["AAPL", "AAPL"]}));
    let result = json!({"symbol": "AAPL", "ok": true, "mode": "merge", "seq": 1000});
    assert_eq!(ack_of(&acts)["results"], json!([result, result]));
    assert_eq!(acts[2..], [snapshot("AAPL", 1000)]);
}

#[test]
fn terms_are_agreed_on_told_and_listed() {
    let mut fixture = Fixture::new();
    let last_bid: Fields =
        [crate::field::Field::Last, crate::field::Field::Bid].into_iter().collect();
    for (params, terms, told) in [
        (json!({}), MERGE, json!({"mode": "merge"})),
        (json!({"mode": "distinct"}), DISTINCT, json!({"mode": "distinct"})),
        (json!({"mode": "distinct", "max_rate": 0}), DISTINCT, json!({"mode": "distinct"})),
        (
            json!({"max_rate": 10}),
            Terms { max_rate: 10, ..MERGE },
            json!({"mode": "merge", "max_rate": 10}),
        ),
        (
            json!({"mode": "merge", "fields": ["last", "bid"]}),
            Terms { fields: last_bid, ..MERGE },
            json!({"mode": "merge", "fields": ["bid", "last"]}),
        ),
    ] {
        let mut whole = json!({"symbols": ["AAPL"]});
        whole.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        let acts = fixture.subscribe(whole);
        assert_eq!(acts[0], Act::Began(0, terms));
        let mut result = json!({"symbol": "AAPL", "ok": true, "seq": 1000});
        result.as_object_mut().unwrap().extend(told.as_object().unwrap().clone());
        assert_eq!(ack_of(&acts)["results"], json!([result]));
        let mut held = json!({"channel": "ticker", "symbol": "AAPL"});
        held.as_object_mut().unwrap().extend(told.as_object().unwrap().clone());
        assert_eq!(fixture.reply(r#"{"id":1,"method":"list"}"#)["results"], json!([held]));
    }
    assert_eq!(fixture.session.held(), 1);
}

#[test]
fn terms_that_cannot_be_had_together_are_refused_symbol_by_symbol() {
    let mut fixture = Fixture::new();
    for (params, message) in [
        (json!({"mode": "distinct", "max_rate": 10}), "`max_rate`"),
        (json!({"mode": "distinct", "fields": ["bid"]}), "`fields`"),
    ] {
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
}

#[test]
fn a_snapshot_has_the_fields_that_were_asked_for_and_no_checksum_over_others() {
    let mut fixture = Fixture::new();
    let acts = fixture.subscribe(json!({"symbols": ["AAPL"], "fields": ["last", "vol"]}));
    let snapshot = sent(&acts[2]);
    assert_eq!((&snapshot["data"], &snapshot["crc"]), (&json!({"last": "189.42"}), &Json::Null));
}

#[test]
fn a_symbol_held_already_changes_its_rate_as_it_goes_and_begins_anew_with_another_mode() {
    let mut fixture = Fixture::new();
    let subscribe = |fixture: &mut Fixture, params: Json| {
        let mut whole = json!({"symbols": ["AAPL"], "snapshot": false});
        whole.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        fixture.subscribe(whole)
    };
    subscribe(&mut fixture, json!({"max_rate": 10}));
    let acts = subscribe(&mut fixture, json!({"max_rate": 2}));
    assert_eq!((acts.len(), &acts[0]), (2, &Act::Rate(0, 2)));
    let result = json!([{"symbol": "AAPL", "ok": true, "mode": "merge", "max_rate": 2}]);
    assert_eq!(ack_of(&acts)["results"], result);
    let acts = subscribe(&mut fixture, json!({"max_rate": 2}));
    assert_eq!(acts.len(), 1, "nothing is another: {acts:?}");
    let acts = subscribe(&mut fixture, json!({"mode": "distinct"}));
    assert_eq!((&acts[0], &acts[2]), (&Act::Began(0, DISTINCT), &snapshot("AAPL", 1000)));
    assert_eq!(fixture.link.held.len(), 1);
}

#[test]
fn set_changes_rates_as_they_go_and_everything_else_with_a_snapshot() {
    let mut fixture = Fixture::new();
    fixture.subscribe(json!({"symbols": ["AAPL", "MSFT"]}));
    let mut set = |params: Json| {
        let mut whole = json!({"channel": "ticker", "symbols": ["AAPL", "BTCUSDT", "NONE"]});
        whole.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        let acts = fixture.request("set", whole);
        let results = ack_of(&acts)["results"].clone();
        for index in 1..3 {
            assert_eq!(results[index]["code"], "not_subscribed", "{results}");
        }
        (acts, results[0].clone())
    };
    let (acts, result) = set(json!({"max_rate": 2}));
    assert_eq!((acts.len(), &acts[0]), (2, &Act::Rate(0, 2)));
    let slow = json!({"symbol": "AAPL", "ok": true, "mode": "merge", "max_rate": 2});
    assert_eq!(result, slow);
    assert_eq!(set(json!({"max_rate": 2, "mode": "merge"})).1, slow);
    let (acts, result) = set(json!({"fields": ["bid"]}));
    let cropped: Fields = [crate::field::Field::Bid].into_iter().collect();
    assert_eq!(acts[0], Act::Began(0, Terms { max_rate: 2, fields: cropped, ..MERGE }));
    assert_eq!((&result["seq"], sent(&acts[2])["type"].as_str()), (&json!(1000), Some("snapshot")));
    let (acts, result) = set(json!({"mode": "distinct"}));
    assert_eq!((&acts[0], &acts[2]), (&Act::Began(0, DISTINCT), &snapshot("AAPL", 1000)));
    assert_eq!(result, json!({"symbol": "AAPL", "ok": true, "mode": "distinct", "seq": 1000}));
    assert_eq!(set(json!({"max_rate": 2})).1["code"], "bad_request");
    assert_eq!(
        set(json!({"mode": "merge", "max_rate": 5})).0[0],
        Act::Began(0, Terms { max_rate: 5, ..MERGE })
    );
    assert_eq!(
        fixture.session.holdings.terms(fixture.desk.listing.find("MSFT").unwrap()),
        Some(MERGE)
    );
}

#[test]
fn what_was_missed_follows_the_ack_and_what_is_lost_is_a_snapshot() {
    for mode in ["merge", "distinct"] {
        let mut fixture = Fixture::new();
        fixture.link.kept_after = 990;
        // One that is kept, one that is not, and one that was not named.
        let resume = json!({"epoch": "k3Zq", "seq": {"AAPL": 995, "MSFT": 989}});
        let symbols = ["AAPL", "MSFT", "BTCUSDT"];
        let acts = fixture.subscribe(
            json!({"symbols": symbols, "snapshot": false, "mode": mode, "resume": resume}),
        );
        let terms = if mode == "merge" { MERGE } else { DISTINCT };
        let result = |symbol, recovered, seq: u64| json!({"symbol": symbol, "ok": true, "mode": mode, "recovered": recovered, "seq": seq});
        let results = json!([
            result("AAPL", true, 1000),
            result("MSFT", false, 1001),
            result("BTCUSDT", false, 1002),
        ]);
        assert_eq!(ack_of(&acts)["results"], results);
        let begun = [Act::TakenUp(0, 995), Act::Began(1, terms), Act::Began(2, terms)];
        assert_eq!(acts[..3], begun);
        assert_eq!(acts[4..], [snapshot("MSFT", 1001), snapshot("BTCUSDT", 1002), Act::Missed]);
        assert_eq!(fixture.session.held(), 3);
    }
}

#[test]
fn numbers_of_another_epoch_or_of_the_future_recover_nothing() {
    let mut fixture = Fixture::new();
    for resume in [
        json!({"epoch": "k3Zr", "seq": {"AAPL": 1000}}),
        json!({"epoch": "", "seq": {"AAPL": 1000}}),
        json!({"epoch": "k3Zq", "seq": {"AAPL": 1001}}),
        json!({"epoch": "k3Zq", "seq": {}}),
    ] {
        let acts = fixture.subscribe(json!({"symbols": ["AAPL"], "resume": resume}));
        assert_eq!(ack_of(&acts)["results"][0]["recovered"], false, "{resume}");
        assert_eq!(acts[2..], [snapshot("AAPL", 1000)], "{resume}");
    }
}

#[test]
fn a_slow_client_is_closed_or_told_which_symbols_to_subscribe_to_anew() {
    for (slow_consumer, goes_on) in [(SlowConsumer::Close, false), (SlowConsumer::Drop, true)] {
        let rules = Rules { slow_consumer, ..Rules::default() };
        let mut fixture = Fixture::with(rules, &["AAPL", "MSFT", "BTCUSDT"]);
        fixture.subscribe(json!({"symbols": ["AAPL", "MSFT", "BTCUSDT"], "mode": "distinct"}));
        let lost = ["AAPL", "BTCUSDT"].map(|symbol| fixture.desk.listing.find(symbol).unwrap());
        let went_on = fixture.session.lagged(&mut fixture.desk, &mut fixture.link, &lost);
        assert_eq!(went_on, goes_on);
        let acts = std::mem::take(&mut fixture.link.acts);
        if !goes_on {
            assert_eq!(acts, []);
            continue;
        }
        let notice = |symbol: &str, current: u64| {
            Act::Sent(json!({
                "type": "notice", "code": "resync_required", "channel": "ticker",
                "symbol": symbol, "current": current,
            }))
        };
        let expected =
            [Act::Ended(0), notice("AAPL", 1000), Act::Ended(2), notice("BTCUSDT", 1002)];
        assert_eq!(acts, expected);
        let list = fixture.reply(r#"{"id":1,"method":"list"}"#)["results"].clone();
        assert_eq!(list, json!([{"channel": "ticker", "symbol": "MSFT", "mode": "distinct"}]));
    }
}

#[test]
fn without_a_token_only_ping_and_auth_are_served() {
    let mut fixture = Fixture::unknown();
    for method in ["list", "instruments"] {
        let error = fixture.reply(&json!({"id": 1, "method": method}).to_string());
        assert_eq!((&error["code"], &error["id"]), (&json!("unauthorized"), &json!(1)), "{method}");
    }
    let acts = fixture.subscribe(json!({"symbols": ["AAPL"]}));
    assert_eq!((acts.len(), &sent(&acts[0])["code"]), (1, &json!("unauthorized")));
    assert_eq!(fixture.reply(r#"{"id":1,"method":"ping"}"#)["type"], "pong");
    let wrong = fixture.reply(r#"{"id":2,"method":"auth","params":{"token":"open"}}"#);
    assert_eq!((&wrong["type"], &wrong["code"]), (&json!("error"), &json!("unauthorized")));
    let ack = fixture.reply(r#"{"id":3,"method":"auth","params":{"token":"sesame"}}"#);
    assert_eq!(ack["results"], json!([{"name": "desk-7", "expires": EXPIRES_NS.to_string()}]));
    assert_eq!(fixture.subscribe(json!({"symbols": ["AAPL"]})).len(), 3);
}

/// When the token of [`Fixture::unknown`] ends: 110 s after the beginning.
const EXPIRES_NS: u64 = UNIX_NS + 110_000_000_000;

#[test]
fn where_no_token_is_asked_for_any_will_do() {
    let ack = Fixture::new().reply(r#"{"id":3,"method":"auth","params":{"token":"open"}}"#);
    assert_eq!((&ack["type"], &ack["results"]), (&json!("ack"), &json!([])));
}

#[test]
fn a_connection_that_shows_no_token_for_30_s_is_closed_with_4401() {
    let mut fixture = Fixture::unknown();
    fixture.now_ns = START_NS + 30_000_000_000;
    let (next, acts) = fixture.timer();
    assert_eq!(next, None);
    assert!(matches!(acts[..], [Act::Closed(4401, _)]), "{acts:?}");
}

#[test]
fn a_token_that_ends_is_announced_and_another_one_takes_its_place() {
    let mut fixture = Fixture::unknown();
    let auth = r#"{"id":3,"method":"auth","params":{"token":"sesame"}}"#;
    fixture.reply(auth);
    fixture.subscribe(json!({"symbols": ["AAPL"]}));
    fixture.unix_ns = EXPIRES_NS - 30_000_000_001;
    assert_eq!(fixture.timer(), (Some(Duration::from_secs(1)), vec![]));
    fixture.unix_ns = EXPIRES_NS - 29_500_000_000;
    let notice = json!({"type": "notice", "code": "token_expires", "expires_ms": 29_500});
    assert_eq!(fixture.timer().1, [Act::Sent(notice.clone())]);
    assert_eq!(fixture.timer().1, [], "once");
    // The same again is another one as far as the session knows.
    fixture.reply(auth);
    assert_eq!(fixture.timer().1, [Act::Sent(notice)]);
    fixture.unix_ns = EXPIRES_NS;
    let (next, acts) = fixture.timer();
    assert!(matches!(acts[..], [Act::Closed(4401, _)]) && next.is_none(), "{acts:?}");
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
            prop_assert_eq!(fixture.session.held(), fixture.link.held.len());
            if acts.iter().any(|act| matches!(act, Act::Closed(..))) {
                break;
            }
        }
    }
}
