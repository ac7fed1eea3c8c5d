//! Replays through the whole server.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tickwire::Timestamp;
use tickwire_ticker::config::FeedChoice;
use tickwire_ticker::player::Speed;

use crate::client::{Arrival, Client};
use crate::fleet::Fleet;
use crate::http::{metric, wait_for, wait_for_metric};
use crate::server::{Server, recorded_data, recording, replay, trades};

#[test]
fn lines_out_of_shape_are_skipped_and_counted_in_a_metric() {
    let mut lines = trades("AAA", 5);
    lines.insert(2, "no event".to_owned());
    lines.push(r#"{"ts":1,"symbol":"AAA","type":"trade"}"#.to_owned());
    let file = recording(lines);
    let server = Server::replaying(&[&file], 1);
    assert_eq!(metric(server.address(), "tickwire_skipped_lines_total"), 2);
    let mut client = Client::connect(server.address());
    client.subscribe(1, &["AAA"]);
    client.reply(1);
    for seq in 0..=5 {
        assert_eq!(client.message()["seq"], seq);
    }
    // A batch is counted once it is published.
    wait_for_metric(server.address(), "tickwire_events_total", 5);
}

#[test]
fn a_replay_waits_for_as_many_listeners_as_it_is_told() {
    let file = recording(trades("AAA", 10));
    let server = Server::replaying(&[&file], 2);
    let mut first = Client::connect(server.address());
    first.subscribe(1, &["AAA"]);
    first.reply(1);
    // Who subscribes to nothing or to the same again does not count.
    let mut idle = Client::connect(server.address());
    idle.subscribe(1, &["NONE"]);
    idle.reply(1);
    first.subscribe(2, &["AAA"]);
    first.reply(2);
    assert_eq!(metric(server.address(), "tickwire_events_total"), 0);
    let mut second = Client::connect(server.address());
    second.subscribe(1, &["AAA"]);
    for client in [&mut first, &mut second] {
        while client.message()["seq"] != 10 {}
    }
}

#[test]
fn a_looped_replay_goes_on_with_its_numbers() {
    let file = recording(trades("AAA", 10));
    let server = Server::start(|settings| {
        settings.feed = replay(&[&file]);
        settings.pace.speed = Speed::Max;
        settings.pace.repeat = true;
        settings.pace.hold_for = 1;
    });
    let mut client = Client::connect(server.address());
    client.subscribe(1, &["AAA"]);
    client.reply(1);
    let mut last = String::new();
    for seq in 0..=1_000 {
        let message = client.message();
        assert_eq!(message["seq"], seq);
        if let Some(price) = message["data"]["last"].as_str() {
            last = price.to_owned();
        }
    }
    assert_eq!(last, "100.09", "the thousandth event is the last of a pass");
}

#[test]
fn a_replay_takes_its_time_divided_by_the_speed() {
    // 101 events over 2,000 s, five thousand times as fast: 0.4 s. At the speed of life nobody would
    // wait for the second one.
    let lines = (0..101_u64).map(|index| {
        let ts = 1_700_000_000_000_000_000 + index * 20_000_000_000;
        format!(r#"{{"ts":{ts},"symbol":"AAA","type":"trade","price":{index}}}"#)
    });
    let file = recording(lines);
    let server = Server::start(|settings| {
        settings.feed = replay(&[&file]);
        settings.pace.speed = Speed::Times(5_000.0);
        settings.pace.hold_for = 1;
    });
    let mut client = Client::connect(server.address());
    let before = Timestamp::read();
    client.subscribe(1, &["AAA"]);
    client.reply(1);
    client.message();
    for seq in 1..=101 {
        assert_eq!(client.message()["seq"], seq);
    }
    // It began after the subscription, and no event is ever early; a busy machine may be late.
    let took = Timestamp::read().since(before);
    assert!(took >= Duration::from_millis(400), "{took:?}");
}

#[test]
fn who_stays_behind_at_full_speed_is_closed_with_4410_and_the_others_get_everything() {
    let events = 200_000;
    let file = recording(trades("AAA", events));
    let server = Server::start(|settings| {
        settings.feed = replay(&[&file]);
        settings.pace.speed = Speed::Max;
        settings.pace.hold_for = 2;
        // Longer than the one that reads waits for a core of a busy machine.
        settings.pace.patience = Duration::from_secs(3);
    });
    let mut stopped = Client::connect(server.address());
    stopped.subscribe(1, &["AAA"]);
    stopped.reply(1);
    let mut reader = Fleet::connect(server.address(), 1, &["AAA"]);
    let last = reader.read_until(events);
    assert_eq!(last, [HashMap::from([("AAA".to_owned(), events)])]);
    // What was on its way to the one that did not read is in sequence up to the Close.
    let mut seq = 0;
    loop {
        match stopped.next() {
            Arrival::Message(message) => {
                assert!(message["type"] == "snapshot" || message["prev"] == seq, "{message}");
                seq = message["seq"].as_u64().unwrap();
            }
            Arrival::Closed(code, reason) => {
                assert_eq!((code, reason.as_str()), (4410, "slow consumer"));
                break;
            }
            Arrival::Ended => panic!("ended without a Close after number {seq}"),
        }
    }
    assert!(seq < events, "it was closed because it was behind");
}

#[test]
fn who_falls_out_of_what_is_kept_is_closed_with_4410_at_any_speed() {
    let events = 200_000;
    let file = recording(trades("AAA", events));
    let server = Server::start(|settings| {
        settings.feed = replay(&[&file]);
        // A millisecond between two of them becomes four microseconds: in less than a second the
        // socket is full and so is the log.
        settings.pace.speed = Speed::Times(250.0);
        settings.pace.hold_for = 1;
        settings.engine.limits.log_entries_max = 256;
    });
    let mut stopped = Client::connect(server.address());
    stopped.subscribe(1, &["AAA"]);
    stopped.reply(1);
    wait_for(server.address(), "tickwire_overruns_total");
    assert_eq!(stopped.close_code(), 4410);
}

#[test]
fn a_message_of_many_instruments_is_answered_whole() {
    let symbols: Vec<String> = (0..1_100).map(|index| format!("S{index}")).collect();
    let file = recording(symbols.iter().flat_map(|symbol| trades(symbol, 1)));
    let server = Server::replaying(&[&file], usize::MAX);
    let mut client = Client::connect(server.address());
    let names: Vec<&str> = symbols.iter().map(String::as_str).collect();
    client.subscribe(1, &names);
    let ack = client.reply(1);
    let results = ack["results"].as_array().unwrap();
    let ok = results.iter().filter(|result| result["ok"] == true).count();
    assert_eq!((ok, results.len()), (1_024, 1_100));
    assert!(results[1_024..].iter().all(|result| result["code"] == "too_many_symbols"));
    for name in &names[..1_024] {
        assert_eq!(client.message()["symbol"], *name);
    }
    client.send(&json!({"id": 2, "method": "list"}));
    assert_eq!(client.reply(2)["results"].as_array().unwrap().len(), 1_024);
}

#[test]
fn a_thousand_subscribers_get_every_recorded_event_in_sequence() {
    let Some(folder) = recorded_data() else {
        println!("skipped: there is no folder of recorded data; TICKWIRE_DATA names one");
        return;
    };
    // Both ends of a thousand connections are in this process.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let names = ["btcusdt-2021-01-08", "esh4-2023-12-25", "usdjpy-2013-01-01"];
    let server = Server::start(|settings| {
        let paths = names.map(|name| folder.join(format!("{name}.ndjson.gz")));
        settings.feed = FeedChoice::Replay(paths.into());
        settings.pace.speed = Speed::Max;
        settings.pace.hold_for = SUBSCRIBERS;
        // On a machine that is busy with other tests a subscriber may wait for its turn.
        settings.pace.patience = Duration::from_secs(20);
    });
    let counts = [("BTCUSDT", 2_452), ("ESH4", 28_397), ("USDJPY", 1_000)];
    let begun = SystemTime::now();
    let mut fleet = Fleet::connect(server.address(), SUBSCRIBERS, &counts.map(|count| count.0));
    let updates = counts.iter().map(|count| count.1).sum();
    let last = fleet.read_until(updates);
    let expected: HashMap<_, _> =
        counts.into_iter().map(|(symbol, count)| (symbol.to_owned(), count)).collect();
    assert_eq!(last.len(), SUBSCRIBERS);
    assert!(last.iter().all(|last| *last == expected));
    let took = begun.elapsed().unwrap();
    println!("{SUBSCRIBERS} subscribers got {updates} updates each in {took:?}");
}

const SUBSCRIBERS: usize = 1_000;
