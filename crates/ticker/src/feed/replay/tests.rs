//! Replays of small files and, where they are at hand, of recorded ones.

use std::io::Write;

use rust_decimal::{Decimal, dec};
use tempfile::NamedTempFile;

use super::*;

fn file(lines: &[String]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(lines.join("\n").as_bytes()).unwrap();
    file
}

fn trade(ts: u64, symbol: &str, price: &str) -> String {
    format!(r#"{{"ts":{ts},"symbol":"{symbol}","type":"trade","price":{price}}}"#)
}

fn open(files: &[&NamedTempFile]) -> Result<Replay, ReplayError> {
    let paths: Vec<_> = files.iter().map(|file| file.path().to_owned()).collect();
    Replay::open(&paths)
}

/// Offset, time, symbol and price of what is left of a replay of trades.
fn rest(replay: &mut Replay) -> Vec<(u64, u64, String, Decimal)> {
    let mut rest = Vec::new();
    while let Some(event) = replay.next_event() {
        let Change::Trade(trade) = event.change else { unreachable!() };
        let symbol = replay.listing().instrument(event.instrument).symbol.clone();
        rest.push((event.offset_ns, event.ts_ns, symbol, trade.price));
    }
    rest
}

#[test]
fn files_start_together_and_are_merged_by_time() {
    let first = file(&[trade(1000, "A", "1"), trade(1005, "A", "2"), trade(1010, "A", "3")]);
    let second = file(&[trade(50, "B", "1.5"), trade(55, "B", "2.5"), trade(57, "A", "9")]);
    let mut replay = open(&[&first, &second]).unwrap();
    let expected = [
        (0, 1000, "A", dec!(1)),
        (0, 50, "B", dec!(1.5)),
        (5, 1005, "A", dec!(2)),
        (5, 55, "B", dec!(2.5)),
        (7, 57, "A", dec!(9)),
        (10, 1010, "A", dec!(3)),
    ];
    let expected = expected.map(|(offset, ts, symbol, price)| (offset, ts, symbol.into(), price));
    assert_eq!(rest(&mut replay), expected);
    assert_eq!((replay.events(), replay.skipped(), replay.listing().len()), (6, 0, 2));
}

#[test]
fn lines_out_of_shape_are_skipped_and_counted() {
    let lines = ["nothing".into(), trade(1, "A", "1"), String::new(), trade(2, "A", "\"x\"")];
    let file = file(&[&lines[..], &[trade(3, "A", "2"), "{".into()]].concat());
    let mut replay = open(&[&file]).unwrap();
    assert_eq!((replay.events(), replay.skipped()), (2, 3));
    assert_eq!(rest(&mut replay).len(), 2);
}

#[test]
fn an_event_before_its_predecessor_keeps_its_place() {
    let file =
        file(&[trade(10, "A", "1"), trade(30, "A", "2"), trade(5, "A", "3"), trade(40, "A", "4")]);
    let offsets: Vec<_> = rest(&mut open(&[&file]).unwrap()).iter().map(|event| event.0).collect();
    assert_eq!(offsets, [0, 20, 20, 30]);
}

#[test]
fn a_rewound_replay_yields_the_same_events_later() {
    let file = file(&[trade(10, "A", "1"), trade(30, "A", "2")]);
    let mut replay = open(&[&file]).unwrap();
    let first = rest(&mut replay);
    for round in 1..4 {
        replay.rewind().unwrap();
        let later = rest(&mut replay);
        let shifted: Vec<_> = first
            .iter()
            .map(|(offset, ts, symbol, price)| (offset + round * 20, *ts, symbol.clone(), *price))
            .collect();
        assert_eq!(later, shifted, "round {round}");
    }
}

#[test]
fn prices_get_the_decimals_of_the_finest() {
    let first = file(&[trade(1, "A", "1.5"), trade(2, "A", "2.0"), trade(3, "B", "7")]);
    let second = file(&[trade(1, "A", "1.125")]);
    let replay = open(&[&first, &second]).unwrap();
    let decimals: Vec<_> =
        replay.listing().iter().map(|(_, instrument)| instrument.price_decimals).collect();
    assert_eq!(decimals, [3, 0]);
}

#[test]
fn a_file_without_an_event_or_that_is_not_there_is_an_error_that_names_it() {
    let empty = file(&["nothing".into(), "{}".into()]);
    let error = open(&[&empty]).unwrap_err();
    assert!(matches!(error, ReplayError::Empty(_, 2)), "{error}");
    let name = empty.path().file_name().unwrap().to_str().unwrap().to_owned();
    assert!(error.to_string().contains(&name), "{error}");
    let gone = empty.path().with_extension("gone");
    let error = Replay::open(&[gone]).unwrap_err();
    assert!(matches!(error, ReplayError::Open(..)), "{error}");
    assert!(error.to_string().contains("gone"), "{error}");
}

#[test]
fn recorded_files_have_the_events_that_they_are_known_to_have() {
    let Some(folder) = crate::recorded_data() else {
        println!("skipped: there is no folder of recorded data; TICKWIRE_DATA names one");
        return;
    };
    let names = ["btcusdt-2021-01-08", "esh4-2023-12-25", "usdjpy-2013-01-01"];
    let paths = names.map(|name| folder.join(format!("{name}.ndjson.gz")));
    let mut replay = Replay::open(&paths).unwrap();
    assert_eq!((replay.events(), replay.skipped()), (31_849, 0));
    let instruments: Vec<_> = replay
        .listing()
        .iter()
        .map(|(_, instrument)| (instrument.symbol.clone(), instrument.price_decimals))
        .collect();
    let expected = [("BTCUSDT", 2), ("ESH4", 2), ("USDJPY", 3)];
    assert_eq!(instruments, expected.map(|(symbol, decimals)| (symbol.to_owned(), decimals)));
    let (mut counts, mut last) = ([[0; 2]; 3], 0);
    while let Some(event) = replay.next_event() {
        assert!(event.offset_ns >= last);
        last = event.offset_ns;
        let kind = usize::from(matches!(event.change, Change::Quote(_)));
        counts[event.instrument.index()][kind] += 1;
    }
    assert_eq!(counts, [[2_001, 451], [2_973, 25_424], [0, 1_000]]);
}
