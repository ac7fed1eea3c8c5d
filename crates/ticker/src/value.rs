//! The value of an instrument: all that is known of it, and since when, in some 130 bytes.
//!
//! The feed's thread writes it with every event, and the engine keeps the newest. On the shards
//! every message about the state of an instrument is made of it: a snapshot has all that is known, an
//! update what has changed since the number that the client has, whether that is one event or many.
//! So what a client gets never depends on which updates were sent to others.
//!
//! Little endian:
//!
//! | bytes | |
//! |---|---|
//! | 1 | version, 1 |
//! | 1 | which fields are known, a bit for each in the order of [`Field::ALL`] |
//! | 8 | when the last event happened, in nanoseconds since the Unix epoch |
//! | for each known field: 8 | number of the event that changed it last |
//! | 1 | length of its text |
//! | up to 64 | its text, a decimal |

use crate::field::{Field, Fields};
use crate::reply::{Data, Nanoseconds, Snapshot, TICKER, Update};

/// What is known of an instrument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Value<'a> {
    /// When the last event happened, in nanoseconds since the Unix epoch.
    pub ts_ns: u64,
    /// In the order of [`Field::ALL`]; none: it is not known.
    pub fields: [Option<Known<'a>>; Field::COUNT],
}

/// A field that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known<'a> {
    /// Number of the event that changed it last.
    pub changed_at: u64,
    /// The decimal as it is written: at most 64 characters.
    pub text: &'a str,
}

impl<'a> Value<'a> {
    /// Reads what [`Value::write`] wrote; `None`: that is something else.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&[version, known], mut rest) = bytes.split_first_chunk()?;
        if version != VERSION {
            return None;
        }
        let ts_ns = number(&mut rest)?;
        let mut value = Self { ts_ns, ..Self::default() };
        let known = Fields::from_bits(known);
        for (field, place) in Field::ALL.into_iter().zip(&mut value.fields) {
            if known.contains(field) {
                let changed_at = number(&mut rest)?;
                *place = Some(Known { changed_at, text: text(&mut rest)? });
            }
        }
        rest.is_empty().then_some(value)
    }

    /// Appends the value as bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        let known: Fields =
            Field::ALL.into_iter().filter(|field| self.fields[*field as usize].is_some()).collect();
        out.extend_from_slice(&[VERSION, known.bits()]);
        out.extend_from_slice(&self.ts_ns.to_le_bytes());
        for Known { changed_at, text } in self.fields.iter().flatten() {
            debug_assert!(is_decimal(text.as_bytes()), "{text:?}");
            out.extend_from_slice(&changed_at.to_le_bytes());
            out.push(u8::try_from(text.len()).expect("a decimal has at most 30 digits"));
            out.extend_from_slice(text.as_bytes());
        }
    }

    /// The snapshot of `fields`, as of event number `seq`.
    #[must_use]
    pub fn snapshot<'b>(
        &self,
        symbol: &'b str,
        epoch: &'b str,
        seq: u64,
        fields: Fields,
    ) -> Snapshot<'b>
    where
        'a: 'b,
    {
        Snapshot {
            channel: TICKER,
            symbol,
            epoch,
            seq,
            ts: Nanoseconds(self.ts_ns),
            data: self.data(fields, |_| true),
            crc: fields.contains_all(CHECKED).then(|| self.crc(symbol)),
        }
    }

    /// The update of `fields` for a client that has event number `prev`, as of number `seq`.
    #[must_use]
    pub fn update<'b>(&self, symbol: &'b str, prev: u64, seq: u64, fields: Fields) -> Update<'b>
    where
        'a: 'b,
    {
        let is_checked =
            seq / EVENTS_PER_CRC > prev / EVENTS_PER_CRC && fields.contains_all(CHECKED);
        Update {
            channel: TICKER,
            symbol,
            seq,
            prev,
            n: seq.saturating_sub(prev),
            ts: Nanoseconds(self.ts_ns),
            data: self.data(fields, |known| known.changed_at > prev),
            crc: is_checked.then(|| self.crc(symbol)),
        }
    }

    fn data(&self, fields: Fields, is_wanted: impl Fn(Known<'_>) -> bool) -> Data<'a> {
        let text = |field: Field| {
            let known = self.fields[field as usize].filter(|_| fields.contains(field))?;
            is_wanted(known).then_some(known.text)
        };
        Data {
            bid: text(Field::Bid),
            bid_size: text(Field::BidSize),
            ask: text(Field::Ask),
            ask_size: text(Field::AskSize),
            last: text(Field::Last),
            last_size: text(Field::LastSize),
            vol: text(Field::Vol),
            open: text(Field::Open),
        }
    }

    /// CRC-32 (IEEE) over `symbol:bid:ask:last:vol` as sent; a field not known is empty.
    fn crc(&self, symbol: &str) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(symbol.as_bytes());
        for field in [Field::Bid, Field::Ask, Field::Last, Field::Vol] {
            let text = self.fields[field as usize].map_or("", |known| known.text);
            hasher.update(b":");
            hasher.update(text.as_bytes());
        }
        hasher.finalize()
    }
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_le_bytes(*bytes))
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (&len, after) = rest.split_first()?;
    let (text, after) = after.split_at_checked(len.into())?;
    *rest = after;
    // It goes into JSON as it stands.
    if is_decimal(text) { str::from_utf8(text).ok() } else { None }
}

/// Whether it can be a decimal: nothing that would end a string of JSON, in any case.
fn is_decimal(text: &[u8]) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&text.len())
        && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'.'))
}

const VERSION: u8 = 1;

/// Longest text of a field: more than a decimal of 96 bits takes.
const TEXT_BYTES_MAX: usize = 64;

/// Every update with which a client passes a multiple of this carries a checksum.
const EVENTS_PER_CRC: u64 = 100;

/// The fields that a checksum is made of: who has not all of them gets none.
const CHECKED: Fields = Fields::from_bits(
    1 << Field::Bid as u8 | 1 << Field::Ask as u8 | 1 << Field::Last as u8 | 1 << Field::Vol as u8,
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;

    fn known(changed_at: u64, text: &str) -> Option<Known<'_>> {
        Some(Known { changed_at, text })
    }

    /// Bid, ask, last and volume, changed by events 3, 5, 7 and 7.
    const VALUE: Value<'static> = Value {
        ts_ns: 77,
        fields: [
            Some(Known { changed_at: 3, text: "189.41" }),
            None,
            Some(Known { changed_at: 5, text: "189.43" }),
            None,
            Some(Known { changed_at: 7, text: "189.42" }),
            None,
            Some(Known { changed_at: 7, text: "1203344" }),
            None,
        ],
    };

    fn json(message: &impl serde::Serialize) -> Json {
        serde_json::to_value(message).unwrap()
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let mut out = Vec::new();
        let value = Value {
            ts_ns: 0x0102,
            fields: [known(3, "-1.5"), None, None, None, None, None, None, known(9, "2")],
        };
        value.write(&mut out);
        let expected = [
            &[1, 0b1000_0001][..],
            &[2, 1, 0, 0, 0, 0, 0, 0],
            &[3, 0, 0, 0, 0, 0, 0, 0, 4],
            b"-1.5",
            &[9, 0, 0, 0, 0, 0, 0, 0, 1],
            b"2",
        ];
        assert_eq!(out, expected.concat());
        assert_eq!(Value::parse(&out), Some(value));
    }

    #[test]
    fn an_update_has_what_changed_since_the_number_that_the_client_has() {
        for (prev, data) in [
            (0, json!({"bid": "189.41", "ask": "189.43", "last": "189.42", "vol": "1203344"})),
            (3, json!({"ask": "189.43", "last": "189.42", "vol": "1203344"})),
            (6, json!({"last": "189.42", "vol": "1203344"})),
            (7, json!({})),
        ] {
            let update = json(&VALUE.update("AAPL", prev, 8, Fields::ALL));
            assert_eq!(update["data"], data, "after {prev}");
            assert_eq!((&update["prev"], &update["n"]), (&json!(prev), &json!(8 - prev)));
            assert_eq!((&update["seq"], &update["ts"]), (&json!(8), &json!("77")));
        }
    }

    #[test]
    fn only_the_wanted_fields_are_there_and_the_rest_is_said_all_the_same() {
        let fields: Fields = [Field::Bid, Field::Open].into_iter().collect();
        let snapshot = json(&VALUE.snapshot("AAPL", "k3Zq", 8, fields));
        assert_eq!(snapshot["data"], json!({"bid": "189.41"}));
        assert_eq!(snapshot["crc"], Json::Null);
        let update = json(&VALUE.update("AAPL", 4, 8, fields));
        assert_eq!((&update["data"], &update["n"]), (&json!({}), &json!(4)));
    }

    #[test]
    fn whoever_passes_a_hundred_with_all_that_is_checked_gets_a_checksum() {
        let crc = json!(crc32fast::hash(b"AAPL:189.41:189.43:189.42:1203344"));
        assert_eq!(json(&VALUE.snapshot("AAPL", "k3Zq", 8, Fields::ALL))["crc"], crc);
        for (prev, seq, is_checked) in [
            (99, 100, true),
            (98, 99, false),
            (100, 101, false),
            (42, 250, true),
            (100, 199, false),
        ] {
            let update = |fields| json(&VALUE.update("AAPL", prev, seq, fields))["crc"].clone();
            let expected = if is_checked { crc.clone() } else { Json::Null };
            assert_eq!(update(Fields::ALL), expected, "{prev} to {seq}");
            assert_eq!(update(CHECKED), expected, "{prev} to {seq}");
            assert_eq!(update([Field::Bid].into_iter().collect()), Json::Null);
        }
        let nothing = json(&Value::default().snapshot("AAPL", "k3Zq", 0, Fields::ALL));
        assert_eq!(nothing["crc"], json!(crc32fast::hash(b"AAPL::::")));
    }

    fn decimal() -> impl Strategy<Value = Option<(u64, String)>> {
        prop::option::of((any::<u64>(), "-?[0-9]{1,20}(\\.[0-9]{1,20})?"))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(ts_ns: u64, fields in prop::array::uniform8(decimal())) {
            let mut value = Value { ts_ns, ..Value::default() };
            for (place, field) in value.fields.iter_mut().zip(&fields) {
                *place = field.as_ref().map(|(changed_at, text)| Known { changed_at: *changed_at, text });
            }
            let mut out = Vec::new();
            value.write(&mut out);
            prop_assert_eq!(Value::parse(&out), Some(value));
            for len in 0..out.len() {
                prop_assert_eq!(Value::parse(&out[..len]), None);
            }
        }

        #[test]
        fn bytes_that_were_not_written_are_refused_or_make_json(
            place in 0_usize..60, byte: u8, noise in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut bytes = Vec::new();
            VALUE.write(&mut bytes);
            if let Some(spot) = bytes.get_mut(place) {
                *spot = byte;
            }
            for bytes in [&bytes, &noise] {
                if let Some(value) = Value::parse(bytes) {
                    let mut out = Vec::new();
                    crate::reply::write(&value.update("AAPL", 4, 8, Fields::ALL), &mut out);
                    prop_assert!(serde_json::from_slice::<Json>(&out).is_ok());
                }
            }
        }
    }
}
