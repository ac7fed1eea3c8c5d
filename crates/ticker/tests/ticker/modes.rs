//! Merge and distinct over real sockets: whoever reads slowly, leaves and comes back or changes its
//! mind finds `prev` to be the number that it has, and ends with what everybody has.

use serde_json::{Value as Json, json};
use tickwire_ticker::player::Speed;
use tickwire_ticker::session::SlowConsumer;

use crate::book::{Book, number, text};
use crate::client::Client;
use crate::fleet::Fleet;
use crate::server::{Server, recording, replay, trades};

/// Takes messages until the book of `client` has event number `seq` of `symbol`.
fn read_to(client: &mut Client, book: &mut Book, symbol: &str, seq: u64) {
    while book.seq(symbol) < seq {
        book.take(&client.message());
    }
}

/// A book of a client that has subscribed, with a snapshot of each symbol.
fn begin(client: &mut Client, symbols: &[&str], terms: Json) -> Book {
    client.ask(1, "subscribe", symbols, terms);
    client.reply(1);
    let mut book = Book::default();
    for _ in symbols {
        book.take(&client.message());
    }
    book
}

#[test]
fn who_wants_the_newest_and_does_not_read_ends_with_what_everybody_has() {
    const EVENTS: u64 = 60_000;
    let (first, second) = (recording(trades("AAA", EVENTS)), recording(trades("BBB", 20_000)));
    let server = Server::replaying(&[&first, &second], 2);
    let mut slow = Client::narrow(server.address());
    let mut book = begin(&mut slow, &["AAA", "BBB"], json!({}));
    // Nobody waits for it.
    let mut reader = Fleet::connect(server.address(), 1, &["AAA", "BBB"]);
    reader.read_until(EVENTS + 20_000);
    read_to(&mut slow, &mut book, "AAA", EVENTS);
    read_to(&mut slow, &mut book, "BBB", 20_000);
    assert!(book.most_merged > 1 && book.updates < EVENTS, "{} updates", book.updates);
    let mut later = Client::connect(server.address());
    let whole = begin(&mut later, &["AAA", "BBB"], json!({}));
    for symbol in ["AAA", "BBB"] {
        assert_eq!(book.data(symbol), whole.data(symbol));
    }
}

#[test]
fn who_wants_every_event_and_reads_slowly_gets_every_event() {
    const EVENTS: u64 = 20_000;
    let file = recording(trades("AAA", EVENTS));
    let server = Server::replaying(&[&file], 1);
    let mut slow = Client::narrow(server.address());
    let mut book = begin(&mut slow, &["AAA"], json!({"mode": "distinct"}));
    read_to(&mut slow, &mut book, "AAA", EVENTS);
    assert_eq!((book.most_merged, book.updates), (1, EVENTS));
}

#[test]
fn what_is_not_wanted_is_left_out_and_the_numbers_go_on() {
    const EVENTS: u64 = 3_000;
    let quotes = (0..EVENTS).map(|index| {
        let ts = 1_700_000_000_000_000_000 + index * 1_000_000;
        format!(
            r#"{{"ts":{ts},"symbol":"AAA","type":"quote","bid":100.25,"ask":100.{}}}"#,
            30 + index % 2
        )
    });
    let file = recording(quotes);
    let server = Server::replaying(&[&file], 1);
    let mut client = Client::connect(server.address());
    client.ask(1, "subscribe", &["AAA"], json!({"fields": ["bid", "vol"]}));
    assert_eq!(client.reply(1)["results"][0]["fields"], json!(["bid", "vol"]));
    let (mut seq, mut data) = (0, json!({}));
    while seq < EVENTS {
        let message = client.message();
        if message["type"] == "update" {
            assert_eq!(
                (number(&message, "prev"), number(&message, "n")),
                (seq, number(&message, "seq") - seq)
            );
        }
        seq = number(&message, "seq");
        assert_eq!(message["crc"], Json::Null);
        let changes = message["data"].as_object().unwrap();
        assert!(data == json!({}) || changes.is_empty(), "the bid never changes: {message}");
        data.as_object_mut().unwrap().extend(changes.clone());
    }
    assert_eq!(data, json!({"bid": "100.25"}));
}

#[test]
fn who_comes_back_in_time_misses_nothing_in_either_mode() {
    const EVENTS: u64 = 900;
    let file = recording(trades("AAA", EVENTS));
    for mode in ["merge", "distinct"] {
        let server = Server::start(|settings| {
            settings.feed = replay(&[&file]);
            settings.pace.speed = Speed::Times(3.0);
            settings.pace.hold_for = 1;
        });
        let mut client = Client::connect(server.address());
        let mut book = begin(&mut client, &["AAA"], json!({"mode": mode}));
        for times in 1..=3 {
            read_to(&mut client, &mut book, "AAA", times * EVENTS / 4);
            drop(client);
            client = Client::at(server.address(), "/ticker");
            let epoch = text(&client.message(), "epoch").to_owned();
            let resume = json!({"epoch": epoch, "seq": {"AAA": book.seq("AAA")}});
            client.ask(
                times as i64,
                "subscribe",
                &["AAA"],
                json!({"mode": mode, "resume": resume}),
            );
            let result = client.message()["results"][0].clone();
            assert_eq!((&result["recovered"], &result["mode"]), (&json!(true), &json!(mode)));
            assert!(number(&result, "seq") >= book.seq("AAA"), "{result}");
        }
        read_to(&mut client, &mut book, "AAA", EVENTS);
        assert_eq!(book.data("AAA")["vol"], json!((2 * EVENTS).to_string()), "{mode}");
        if mode == "distinct" {
            assert_eq!((book.most_merged, book.updates), (1, EVENTS));
        }
    }
}

#[test]
fn who_comes_back_with_numbers_of_before_or_too_late_begins_with_a_snapshot() {
    let file = recording(trades("AAA", 3_000));
    let server = Server::replaying(&[&file], 1);
    let mut reader = Fleet::connect(server.address(), 1, &["AAA"]);
    reader.read_until(3_000);
    let mut client = Client::at(server.address(), "/ticker");
    let epoch = text(&client.message(), "epoch").to_owned();
    for (id, (mode, epoch, seq, recovered)) in [
        // More than a thousand events ago: too many for every event, and all the same for the newest.
        ("distinct", &*epoch, 1_900, false),
        ("merge", &epoch, 1_900, true),
        ("distinct", &epoch, 2_990, true),
        ("merge", "0", 2_990, false),
        ("distinct", "0", 2_990, false),
        ("merge", &epoch, 3_001, false),
        ("distinct", &epoch, 3_001, false),
        ("merge", &epoch, 3_000, true),
    ]
    .into_iter()
    .enumerate()
    {
        let id = i64::try_from(id).unwrap();
        let resume = json!({"epoch": epoch, "seq": {"AAA": seq}});
        client.ask(id, "subscribe", &["AAA"], json!({"mode": mode, "resume": resume}));
        let result = client.message()["results"][0].clone();
        let expected = (&json!(recovered), &json!(3_000));
        assert_eq!((&result["recovered"], &result["seq"]), expected, "{mode} {seq}");
        let missed = match (recovered, mode) {
            (false, _) => 1,
            (true, "distinct") => 3_000 - seq,
            (true, _) => u64::from(seq < 3_000),
        };
        let mut last = seq;
        for _ in 0..missed {
            let message = client.message();
            assert_eq!(message["type"], if recovered { "update" } else { "snapshot" });
            assert!(!recovered || number(&message, "prev") == last, "{message}");
            last = number(&message, "seq");
        }
        assert!(missed == 0 || last == 3_000);
    }
}

#[test]
fn set_changes_rate_and_mode_while_updates_flow() {
    let server = Server::start(|settings| settings.pace.speed = Speed::Times(20.0));
    let mut client = Client::connect(server.address());
    let mut book = begin(&mut client, &["MRDX", "TLMR"], json!({}));
    let mut id = 1;
    for (more, told) in [
        (json!({"max_rate": 10}), json!({"mode": "merge", "max_rate": 10})),
        (json!({"mode": "distinct"}), json!({"mode": "distinct"})),
        (json!({"mode": "merge", "max_rate": 5}), json!({"mode": "merge", "max_rate": 5})),
        (json!({"max_rate": 0}), json!({"mode": "merge"})),
    ] {
        for _ in 0..10 {
            book.take(&client.message());
        }
        id += 1;
        client.ask(id, "set", &["MRDX"], more);
        let ack = loop {
            let message = client.message();
            if message["id"] == id {
                break message;
            }
            book.take(&message);
        };
        let mut result = ack["results"][0].clone();
        let is_anew = result.as_object_mut().unwrap().remove("seq").is_some();
        let mut expected = json!({"symbol": "MRDX", "ok": true});
        expected.as_object_mut().unwrap().extend(told.as_object().unwrap().clone());
        assert_eq!(result, expected);
        if is_anew {
            let snapshot = client.message();
            assert_eq!((text(&snapshot, "type"), text(&snapshot, "symbol")), ("snapshot", "MRDX"));
            book.take(&snapshot);
        }
    }
    for _ in 0..100 {
        book.take(&client.message());
    }
}

#[test]
fn who_falls_out_of_what_is_kept_is_told_and_subscribes_anew() {
    const EVENTS: u64 = 200_000;
    let file = recording(trades("AAA", EVENTS));
    let server = Server::start(|settings| {
        settings.feed = replay(&[&file]);
        settings.pace.speed = Speed::Times(250.0);
        settings.pace.hold_for = 1;
        settings.engine.limits.log_entries_max = 256;
        settings.rules.slow_consumer = SlowConsumer::Drop;
    });
    let mut slow = Client::narrow(server.address());
    let mut book = begin(&mut slow, &["AAA"], json!({"mode": "distinct"}));
    // It reads on when the server has lost patience.
    crate::http::wait_for(server.address(), "tickwire_overruns_total");
    let notice = loop {
        let message = slow.message();
        if message["type"] == "notice" {
            break message;
        }
        book.take(&message);
    };
    assert_eq!((text(&notice, "code"), text(&notice, "symbol")), ("resync_required", "AAA"));
    assert!(number(&notice, "current") > book.seq("AAA"), "{notice}");
    slow.ask(2, "list", &[], json!({}));
    // Nothing of the symbol comes in between.
    assert_eq!(slow.message()["results"], json!([]));
    let mut book = begin(&mut slow, &["AAA"], json!({}));
    read_to(&mut slow, &mut book, "AAA", EVENTS);
    assert_eq!(book.data("AAA")["vol"], json!((2 * EVENTS).to_string()));
}
