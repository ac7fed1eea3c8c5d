//! The message protocol over real sockets: what the engine and a session promise together.

use std::time::Duration;

use serde_json::{Value as Json, json};
use tickwire_protocol::Kind;
use tickwire_ticker::player::Speed;

use crate::book::{Book, number, text};
use crate::client::{Arrival, Client};
use crate::server::{Server, recording, trades};

/// A server with a synthetic feed at many times its speed.
fn lively() -> Server {
    Server::start(|settings| settings.pace.speed = Speed::Times(20.0))
}

#[test]
fn the_subprotocol_is_answered_when_it_is_offered_and_assumed_when_none_is() {
    let server = Server::quiet();
    for (offered, answered) in [
        (&["ticker.v1.json"][..], Some("ticker.v1.json")),
        (&["chat", "ticker.v1.json"], Some("ticker.v1.json")),
        (&["chat", "superchat"], None),
        (&[], None),
    ] {
        let mut client = Client::offer(server.address(), offered);
        assert_eq!(client.protocol(), answered, "{offered:?}");
        let welcome = client.message();
        assert_eq!((text(&welcome, "type"), text(&welcome, "proto")), ("welcome", "ticker.v1"));
        assert!(text(&welcome, "conn").starts_with("c-"), "{welcome}");
        assert!(text(&welcome, "ts").parse::<u64>().unwrap() > 1_700_000_000_000_000_000);
        assert_eq!(welcome["limits"], json!({"symbols": 1024, "req_per_s": 10}));
    }
}

#[test]
fn every_event_follows_ack_and_snapshot_without_gap() {
    let (first, second) = (recording(trades("AAA", 1_000)), recording(trades("BBB", 250)));
    let server = Server::replaying(&[&first, &second], 1);
    let mut client = Client::connect(server.address());
    client.subscribe(1, &["AAA", "NONE", "BBB"]);
    let ack = client.message();
    assert_eq!((text(&ack, "type"), text(&ack, "method")), ("ack", "subscribe"));
    let oks: Vec<_> = (0..3).map(|index| ack["results"][index]["ok"].as_bool()).collect();
    assert_eq!(oks, [Some(true), Some(false), Some(true)]);
    let mut book = Book::default();
    for symbol in ["AAA", "BBB"] {
        let snapshot = client.message();
        assert_eq!((text(&snapshot, "type"), text(&snapshot, "symbol")), ("snapshot", symbol));
        assert_eq!((number(&snapshot, "seq"), &snapshot["data"]), (0, &json!({})));
        book.take(&snapshot);
    }
    for _ in 0..1_250 {
        book.take(&client.message());
    }
    let aaa = json!({"last": "109.99", "last_size": "2", "vol": "2000", "open": "100.00"});
    let bbb = json!({"last": "102.49", "last_size": "2", "vol": "500", "open": "100.00"});
    assert_eq!((book.data("AAA"), book.data("BBB")), (&aaa, &bbb));
    // Who comes later gets the same state at once.
    let mut later = Client::connect(server.address());
    later.subscribe(1, &["AAA"]);
    assert_eq!(later.message()["results"][0]["seq"], 1_000);
    let snapshot = later.message();
    assert_eq!((number(&snapshot, "seq"), &snapshot["data"]), (1_000, &aaa));
    assert_eq!(snapshot["ts"], "1700000000999000000");
}

#[test]
fn a_subscription_that_begins_amid_the_stream_has_its_snapshot_in_the_right_place() {
    let server = lively();
    let mut client = Client::connect(server.address());
    let mut book = Book::default();
    let symbols = ["MRDX", "QUIL-C", "TLMR"];
    client.subscribe(0, &symbols);
    client.reply(0);
    for round in 1..=40 {
        for _ in 0..20 {
            book.take(&client.message());
        }
        // Held already: the stream begins anew, and everything stays in sequence.
        client.subscribe(round, &symbols);
        loop {
            let message = client.message();
            if message["id"] != round {
                book.take(&message);
                continue;
            }
            for symbol in symbols {
                let snapshot = client.message();
                assert_eq!(
                    (text(&snapshot, "type"), text(&snapshot, "symbol")),
                    ("snapshot", symbol)
                );
                book.take(&snapshot);
            }
            break;
        }
        if round % 10 == 0 {
            // Below 10 requests a second.
            for _ in 0..2_000 {
                book.take(&client.message());
            }
        }
    }
}

#[test]
fn nothing_of_a_symbol_follows_the_ack_of_its_end() {
    let server = lively();
    let mut client = Client::connect(server.address());
    client.subscribe(1, &["MRDX", "QUIL-C"]);
    client.reply(1);
    for _ in 0..200 {
        client.message();
    }
    client.unsubscribe(2, &["MRDX", "ORVA"]);
    let ack = client.reply(2);
    assert_eq!(ack["results"][0], json!({"symbol": "MRDX", "ok": true}));
    assert_eq!(ack["results"][1]["code"], "not_subscribed");
    for _ in 0..1_000 {
        assert_eq!(client.message()["symbol"], "QUIL-C");
    }
    client.send(&json!({"id": 3, "method": "list"}));
    let held = json!([{"channel": "ticker", "symbol": "QUIL-C", "mode": "distinct"}]);
    assert_eq!(client.reply(3)["results"], held);
}

#[test]
fn pipelined_requests_are_answered_in_order_one_reply_each() {
    let server = Server::quiet();
    let mut client = Client::connect(server.address());
    client.send(&json!({"id": "a", "method": "ping"}));
    client.send(&json!({"id": -7, "method": "instruments"}));
    client.send(&json!({"id": 3, "method": "dance"}));
    client.subscribe(4, &["ORVA"]);
    let params =
        json!({"channel": "ticker", "symbols": ["ORVA"], "mode": "distinct", "max_rate": 1});
    client.send(&json!({"id": 5, "method": "subscribe", "params": params}));
    let params = json!({"channel": "trades", "symbols": ["ORVA"]});
    client.send(&json!({"id": 6, "method": "subscribe", "params": params}));
    client.send(&json!({"type": "of a later version"}));
    client.send(&json!({"id": 7, "method": "list"}));
    let expected = [
        ("pong", json!("a")),
        ("ack", json!(-7)),
        ("error", json!(3)),
        ("ack", json!(4)),
        ("snapshot", Json::Null),
        ("ack", json!(5)),
        ("error", json!(6)),
        ("ack", json!(7)),
    ];
    let mut replies = Vec::new();
    for (kind, id) in expected {
        let reply = client.message();
        assert_eq!((text(&reply, "type"), &reply["id"]), (kind, &id), "{reply}");
        replies.push(reply);
    }
    assert_eq!(replies[1]["results"].as_array().unwrap().len(), 50);
    assert_eq!(replies[1]["results"][0], json!({"symbol": "ORVA", "name": "Orvane Systems"}));
    assert_eq!(replies[2]["code"], "unknown_method");
    assert_eq!(replies[5]["results"][0]["code"], "bad_request");
    assert!(text(&replies[5]["results"][0], "message").contains("`max_rate`"));
    assert_eq!(replies[6]["code"], "unknown_channel");
}

#[test]
fn messages_that_cannot_be_read_get_an_error_and_the_tenth_closes() {
    let server = lively();
    let mut neighbour = Client::connect(server.address());
    neighbour.subscribe(1, &["MRDX"]);
    neighbour.reply(1);
    let mut book = Book::default();
    let mut client = Client::connect(server.address());
    let deep = "[".repeat(33) + &"]".repeat(33);
    let bad = ["nothing", "", "{\"id\":1", "[]", "{}", "\"x\"", &deep, "{\"id\":1,\"method\":2}"];
    for (index, message) in bad.into_iter().cycle().take(10).enumerate() {
        client.send_bytes(Kind::Text, message.as_bytes());
        let error = client.message();
        let (kind, code) = (text(&error, "type"), text(&error, "code"));
        assert_eq!((kind, code), ("error", "bad_request"), "message {index}: {error}");
        book.take(&neighbour.message());
    }
    assert_eq!(client.close_code(), 4400);
    assert_eq!(client.next(), Arrival::Ended);
    for _ in 0..500 {
        book.take(&neighbour.message());
    }
}

#[test]
fn kinds_and_sizes_that_are_not_served_close_with_their_code() {
    let server = Server::quiet();
    let padded = |len: usize| {
        let mut message = br#"{"id":1,"method":"ping"}"#.to_vec();
        message.resize(len, b' ');
        message
    };
    let mut client = Client::connect(server.address());
    client.send_bytes(Kind::Text, &padded(65_536));
    assert_eq!(client.message()["type"], "pong");
    client.send_bytes(Kind::Text, &padded(65_537));
    assert_eq!(client.close_code(), 1009);
    let mut client = Client::connect(server.address());
    client.send_bytes(Kind::Binary, b"{}");
    assert_eq!(client.close_code(), 1003);
    let mut client = Client::connect(server.address());
    client.send_bytes(Kind::Text, b"{\"id\":\"\xff\",\"method\":\"ping\"}");
    assert_eq!(client.close_code(), 1007);
}

#[test]
fn requests_beyond_the_rate_are_refused_and_the_connection_stays() {
    let server = Server::quiet();
    let mut client = Client::connect(server.address());
    client.send_together((0..70).map(|id| json!({"id": id, "method": "ping"})));
    let mut pongs = 0;
    for id in 0..70 {
        let reply = client.message();
        assert_eq!(reply["id"], id);
        match text(&reply, "type") {
            "pong" => pongs += 1,
            _ => assert_eq!(text(&reply, "code"), "rate_limited"),
        }
    }
    assert_eq!(pongs, 50, "they came in no time, which is worth no further one");
}

#[test]
fn who_subscribes_to_nothing_in_time_is_closed_with_4408() {
    let server =
        Server::start(|settings| settings.rules.subscribe_within = Duration::from_millis(200));
    let mut subscriber = Client::connect_and_subscribe(server.address(), &["ORVA"]);
    subscriber.reply(1);
    let mut idle = Client::connect_and_subscribe(server.address(), &["NONE"]);
    assert_eq!(idle.close_code(), 4408);
    subscriber.send(&json!({"id": 2, "method": "ping"}));
    assert_eq!(subscriber.reply(2)["type"], "pong");
}

#[test]
fn a_silent_server_sends_counted_heartbeats() {
    let server = Server::start(|settings| {
        settings.pace.hold_for = usize::MAX;
        settings.rules.heartbeat = Duration::from_millis(100);
    });
    let mut client = Client::connect(server.address());
    let mut last_ts = 0;
    for n in 1..=4 {
        let Arrival::Message(heartbeat) = client.next_of_all() else { panic!("no heartbeat") };
        assert_eq!((text(&heartbeat, "type"), number(&heartbeat, "n")), ("heartbeat", n));
        let ts: u64 = text(&heartbeat, "ts").parse().unwrap();
        assert!(ts > last_ts + 100_000_000, "{ts} follows {last_ts}");
        last_ts = ts;
    }
}

#[test]
fn a_shutdown_is_announced_and_then_closes_with_1001() {
    let server = lively();
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(server.address())).collect();
    for client in &mut clients {
        client.subscribe(1, &["MRDX"]);
        client.reply(1);
    }
    server.stop();
    let mut retries = Vec::new();
    for client in &mut clients {
        let notice = loop {
            let message = client.message();
            if message["type"] == "notice" {
                break message;
            }
        };
        assert_eq!(text(&notice, "code"), "server_shutdown");
        assert_eq!(number(&notice, "deadline_ms"), 5_000);
        retries.push(number(&notice, "retry_ms"));
        assert_eq!(client.close_code(), 1001);
        assert_eq!(client.next(), Arrival::Ended);
    }
    assert!(retries.iter().all(|retry| (1_000..5_000).contains(retry)), "{retries:?}");
    retries.sort_unstable();
    retries.dedup();
    assert!(retries.len() > 10, "clients are told different times: {retries:?}");
}
