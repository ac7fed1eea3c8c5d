//! Every field of [`Limits`], each tried one below, at and one above what it says.
//!
//! A case has the name of its field. [`each_is_tried`] sees that no field is without one, and
//! [`each_is_documented`] that `docs/limits.md` has a row with its default. Durations pass in the
//! simulation: a tick before its end nothing may have happened yet, two ticks behind it must have.
//!
//! `sizes` has the limits of bytes, `numbers` those of things that are counted, `times` the durations.
//! How each behaves beside its edge is with the cases of its topic.

mod numbers;
mod sizes;
mod times;

use std::collections::BTreeMap;

use tickwire_reactor::Limits;

use self::numbers::{
    accepts_per_second_max, connections_max, connections_per_address_max, empty_fragments_max,
    letters_per_turn_max, log_entries_max, mailbox_letters_max, outgoing_max, outgoing_waiting_max,
    pattern_topics_max, patterns_per_connection_max, pings_per_second_max, request_headers_max,
};
use self::sizes::{
    log_bytes_max, memory_max, message_bytes_max, request_bytes_max, unsent_bytes_max,
    unsent_pause_bytes,
};
use self::times::{
    close_timeout, connect_timeout, farewell_timeout, handshake_timeout, life_max, message_timeout,
    ping_after, pong_timeout, shutdown_timeout,
};
use crate::world::{in_each_world, in_simulation};

/// The cases, and their names.
macro_rules! cases {
    (in_each_world: $($each:ident),+; in_simulation: $($simulated:ident),+;) => {
        in_each_world!($($each),+);
        in_simulation!($($simulated),+);
        const TRIED: &[&str] = &[$(stringify!($each),)+ $(stringify!($simulated)),+];
    };
}

cases! {
    in_each_world:
        request_bytes_max,
        request_headers_max,
        message_bytes_max,
        empty_fragments_max,
        connections_max,
        connections_per_address_max,
        outgoing_max,
        outgoing_waiting_max,
        patterns_per_connection_max,
        pattern_topics_max,
        pings_per_second_max,
        unsent_bytes_max,
        mailbox_letters_max;
    in_simulation:
        accepts_per_second_max,
        handshake_timeout,
        connect_timeout,
        message_timeout,
        ping_after,
        pong_timeout,
        close_timeout,
        farewell_timeout,
        life_max,
        shutdown_timeout,
        unsent_pause_bytes,
        letters_per_turn_max,
        log_entries_max,
        log_bytes_max,
        memory_max;
}

/// One less than a limit, the limit, and one more; and whether that is within it.
fn around(limit: usize) -> [(usize, bool); 3] {
    [(limit - 1, true), (limit, true), (limit + 1, false)]
}

/// The names of all limits with their defaults, as Rust writes them.
fn fields() -> BTreeMap<String, String> {
    let written = format!("{:#?}", Limits::default());
    let fields = written.lines().filter_map(|line| line.trim().strip_suffix(',')?.split_once(": "));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn each_is_tried() {
    let tried = TRIED.iter().map(ToString::to_string).collect::<Vec<String>>();
    assert!(fields().len() > 20, "they can be read: {:?}", fields());
    for name in fields().keys() {
        assert!(tried.contains(name), "{name} has no case here");
    }
    for name in tried {
        assert!(fields().contains_key(&name), "{name} is no limit any more");
    }
}

#[test]
fn each_is_documented() {
    let page = include_str!("../../../../docs/limits.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows: BTreeMap<String, String> = rows
        .filter(|(name, _)| !name.contains(' '))
        .map(|(name, rest)| (name.to_owned(), in_code(rest.split(" |").next().unwrap_or_default())))
        .collect();
    assert_eq!(rows, fields());
}

/// A default of the page as Rust writes it: `64 KiB` is `65536`.
fn in_code(text: &str) -> String {
    match text.replace(',', "").split_once(' ') {
        Some((number, "s")) => format!("{number}s"),
        Some((number, unit @ ("KiB" | "MiB"))) => {
            let number: u64 = number.parse().expect("a number of bytes");
            (number << if unit == "KiB" { 10 } else { 20 }).to_string()
        }
        Some(_) => panic!("{text:?} has an unknown unit"),
        None if text == "none" => "None".to_owned(),
        None => text.replace(',', ""),
    }
}

/// The defaults that the specification of the wire recommends.
#[test]
fn defaults_are_those_that_were_chosen() {
    let fields = fields();
    for (name, value) in [
        ("request_bytes_max", "8192"),
        ("request_headers_max", "64"),
        ("handshake_timeout", "10s"),
        ("message_bytes_max", "1048576"),
        ("empty_fragments_max", "1024"),
        ("ping_after", "20s"),
        ("pong_timeout", "20s"),
        ("unsent_pause_bytes", "65536"),
        ("unsent_bytes_max", "1048576"),
        ("close_timeout", "5s"),
        ("pings_per_second_max", "100"),
        ("life_max", "None"),
    ] {
        assert_eq!(fields[name], value, "{name}");
    }
}
