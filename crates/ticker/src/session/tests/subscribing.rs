//! Subscriptions: their terms, how they change, and what becomes of those who come back.

use super::*;
use crate::field::Field;

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
    let last_bid: Fields = [Field::Last, Field::Bid].into_iter().collect();
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
    let cropped: Fields = [Field::Bid].into_iter().collect();
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
