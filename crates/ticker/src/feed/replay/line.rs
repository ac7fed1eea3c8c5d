//! One recorded line: JSON in, a trade or a quote out, or the reason why it is none.
//!
//! The shape is `{"ts":ns,"symbol":…,"type":"trade","price":…,"size":…}` or
//! `{…,"type":"quote","bid":…,"ask":…,"bid_size":…,"ask_size":…}`; sizes may be missing and other
//! fields are ignored. Numbers become decimals here, rounded to the digits that a recorder's binary
//! fraction can be trusted with.

use std::fmt;

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use simd_json::prelude::{ValueAsScalar, ValueIntoString};
use simd_json::{Buffers, tape};

use super::lines::{LINE_BYTES_MAX, Line};
use crate::event::{Change, Quote, Trade};
use crate::instrument::is_symbol;

/// Reads lines; keeps the JSON parser's buffers between them.
#[derive(Default)]
pub(super) struct Parser {
    buffers: Buffers,
}

/// A line that is an event.
#[derive(Debug, PartialEq)]
pub(super) struct Record<'a> {
    pub(super) ts_ns: u64,
    pub(super) symbol: &'a str,
    pub(super) change: Change,
}

/// Why a line is no event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OutOfShape {
    /// There is nothing in it, which is nobody's fault.
    Blank,
    TooLong,
    NotJson(usize),
    NotObject,
    Time,
    Symbol,
    Kind,
    /// This field is no number, or not one that a decimal of 28 digits can hold.
    Number(&'static str),
    /// This size is negative.
    Negative(&'static str),
    /// The listing is full.
    TooManySymbols,
}

impl Parser {
    /// Reads one line, which it uses up.
    pub(super) fn parse<'a>(&mut self, line: Line<'a>) -> Result<Record<'a>, OutOfShape> {
        let text = line.text.ok_or(OutOfShape::TooLong)?;
        if text.trim_ascii().is_empty() {
            return Err(OutOfShape::Blank);
        }
        let tape = simd_json::to_tape_with_buffers(text, &mut self.buffers)
            .map_err(|error| OutOfShape::NotJson(error.index()))?;
        let root = tape.as_value();
        let event = root.as_object().ok_or(OutOfShape::NotObject)?;
        let ts_ns = event.get("ts").and_then(|ts| ts.as_u64()).ok_or(OutOfShape::Time)?;
        let symbol = event.get("symbol").and_then(|symbol| symbol.into_string());
        let symbol = symbol.filter(|symbol| is_symbol(symbol)).ok_or(OutOfShape::Symbol)?;
        let change = match event.get("type").and_then(|kind| kind.into_string()) {
            Some("trade") => Change::Trade(trade(&event)?),
            Some("quote") => Change::Quote(quote(&event)?),
            _ => return Err(OutOfShape::Kind),
        };
        Ok(Record { ts_ns, symbol, change })
    }
}

impl fmt::Debug for Parser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Parser").finish_non_exhaustive()
    }
}

impl fmt::Display for OutOfShape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => formatter.write_str("it is blank"),
            Self::TooLong => write!(formatter, "it is longer than {LINE_BYTES_MAX} bytes"),
            Self::NotJson(byte) => write!(formatter, "it is not JSON at byte {byte}"),
            Self::NotObject => formatter.write_str("it is not a JSON object"),
            Self::Time => formatter.write_str("`ts` must be nanoseconds since 1970, an integer"),
            Self::Symbol => formatter
                .write_str("`symbol` must be a string of 1 to 32 printable ASCII characters"),
            Self::Kind => formatter.write_str("`type` must be \"trade\" or \"quote\""),
            Self::Number(field) => write!(formatter, "`{field}` must be a number"),
            Self::Negative(field) => write!(formatter, "`{field}` must not be negative"),
            Self::TooManySymbols => formatter.write_str("there are too many symbols"),
        }
    }
}

fn trade(event: &tape::Object<'_, '_>) -> Result<Trade, OutOfShape> {
    Ok(Trade { price: price(event, "price")?, size: size(event, "size")? })
}

fn quote(event: &tape::Object<'_, '_>) -> Result<Quote, OutOfShape> {
    Ok(Quote {
        bid: price(event, "bid")?,
        bid_size: size(event, "bid_size")?,
        ask: price(event, "ask")?,
        ask_size: size(event, "ask_size")?,
    })
}

/// A price; it may be zero or negative, as that of oil was in April 2020.
fn price(event: &tape::Object<'_, '_>, field: &'static str) -> Result<Decimal, OutOfShape> {
    event.get(field).and_then(decimal).ok_or(OutOfShape::Number(field))
}

fn size(event: &tape::Object<'_, '_>, field: &'static str) -> Result<Option<Decimal>, OutOfShape> {
    let Some(value) = event.get(field).filter(|value| value.as_null().is_none()) else {
        return Ok(None);
    };
    let size = decimal(value).ok_or(OutOfShape::Number(field))?;
    if size.is_sign_negative() && !size.is_zero() {
        return Err(OutOfShape::Negative(field));
    }
    Ok(Some(size))
}

fn decimal(value: tape::Value<'_, '_>) -> Option<Decimal> {
    if let Some(integer) = value.as_i64() {
        return Some(Decimal::from(integer));
    }
    if let Some(integer) = value.as_u64() {
        return Some(Decimal::from(integer));
    }
    let number = value.as_f64()?;
    let decimal = Decimal::from_f64(number)?.round_sf(DOUBLE_DIGITS)?.normalize();
    // What is too small for 28 digits is not zero.
    (decimal.is_zero() == (number == 0.0)).then_some(decimal)
}

/// Decimal digits that a binary fraction of 64 bits keeps: `0.00031099999999999997` was written
/// as `0.000311`.
const DOUBLE_DIGITS: u32 = 15;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rust_decimal::dec;

    use super::*;

    fn parse(text: &str) -> Result<Record<'static>, OutOfShape> {
        let text = Some(text.as_bytes().to_vec().leak());
        Parser::default().parse(Line { number: 1, text })
    }

    #[test]
    fn trades_and_quotes_are_read_with_and_without_sizes() {
        let trade = |price, size| Change::Trade(Trade { price, size });
        let quote =
            |bid, bid_size, ask, ask_size| Change::Quote(Quote { bid, bid_size, ask, ask_size });
        let cases = [
            (
                r#""type":"trade","price":39432.48,"size":2,"side":"sell","id":5"#,
                trade(dec!(39432.48), Some(dec!(2))),
            ),
            (r#""type":"trade","price":4800,"size":null"#, trade(dec!(4800), None)),
            (r#""type":"trade","price":-37.63"#, trade(dec!(-37.63), None)),
            (
                r#""type":"quote","bid":86.655,"ask":86.728"#,
                quote(dec!(86.655), None, dec!(86.728), None),
            ),
            (
                r#""type":"quote","bid":4799.0,"bid_size":16,"ask":4799.5,"ask_size":0,"seq":1"#,
                quote(dec!(4799), Some(dec!(16)), dec!(4799.5), Some(dec!(0))),
            ),
        ];
        for (fields, change) in cases {
            let text = format!(r#"{{"ts":1610064000278000000,"symbol":"X",{fields}}}"#);
            let expected = Record { ts_ns: 1_610_064_000_278_000_000, symbol: "X", change };
            assert_eq!(parse(&text), Ok(expected), "{fields}");
        }
    }

    #[test]
    fn the_noise_of_binary_fractions_is_rounded_away() {
        let cases = [
            ("0.00031099999999999997", "0.000311"),
            ("0.0063289999999999996", "0.006329"),
            ("3.2909330000000003", "3.290933"),
            ("4799.0", "4799"),
            ("1e-7", "0.0000001"),
            ("1.5e6", "1500000"),
            ("9007199254740993", "9007199254740993"),
            ("18446744073709551615", "18446744073709551615"),
            ("0.0", "0"),
        ];
        for (number, expected) in cases {
            let text = format!(r#"{{"ts":1,"symbol":"X","type":"trade","price":{number}}}"#);
            let Change::Trade(trade) = parse(&text).unwrap().change else { unreachable!() };
            assert_eq!(trade.price.to_string(), expected, "{number}");
        }
    }

    #[test]
    fn what_is_out_of_shape_says_why() {
        let cases = [
            ("", OutOfShape::Blank),
            (" \t\r", OutOfShape::Blank),
            ("7", OutOfShape::NotObject),
            ("[]", OutOfShape::NotObject),
            (r#"{"symbol":"X","type":"trade","price":1}"#, OutOfShape::Time),
            (r#"{"ts":-1,"symbol":"X","type":"trade","price":1}"#, OutOfShape::Time),
            (r#"{"ts":1.5,"symbol":"X","type":"trade","price":1}"#, OutOfShape::Time),
            (r#"{"ts":1,"type":"trade","price":1}"#, OutOfShape::Symbol),
            (r#"{"ts":1,"symbol":"","type":"trade","price":1}"#, OutOfShape::Symbol),
            (r#"{"ts":1,"symbol":"X Y","type":"trade","price":1}"#, OutOfShape::Symbol),
            (r#"{"ts":1,"symbol":"X","price":1}"#, OutOfShape::Kind),
            (r#"{"ts":1,"symbol":"X","type":"book","price":1}"#, OutOfShape::Kind),
            (r#"{"ts":1,"symbol":"X","type":"trade"}"#, OutOfShape::Number("price")),
            (r#"{"ts":1,"symbol":"X","type":"trade","price":"1"}"#, OutOfShape::Number("price")),
            (r#"{"ts":1,"symbol":"X","type":"trade","price":1e300}"#, OutOfShape::Number("price")),
            (r#"{"ts":1,"symbol":"X","type":"trade","price":1e-30}"#, OutOfShape::Number("price")),
            (
                r#"{"ts":1,"symbol":"X","type":"trade","price":1,"size":true}"#,
                OutOfShape::Number("size"),
            ),
            (
                r#"{"ts":1,"symbol":"X","type":"trade","price":1,"size":-1}"#,
                OutOfShape::Negative("size"),
            ),
            (r#"{"ts":1,"symbol":"X","type":"quote","bid":1}"#, OutOfShape::Number("ask")),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
        let cut = r#"{"ts":1,"symbol":"X","type":"trade","pri"#;
        assert!(matches!(parse(cut), Err(OutOfShape::NotJson(_))));
        let long = Line { number: 1, text: None };
        assert_eq!(Parser::default().parse(long), Err(OutOfShape::TooLong));
    }

    const LINE: &[u8] =
        br#"{"ts":1610064000278000000,"symbol":"X","type":"trade","price":1.5,"size":2}"#;

    proptest! {
        #[test]
        fn a_line_that_is_damaged_is_an_event_or_says_why(
            place in 0..=LINE.len(),
            bytes in prop::collection::vec(any::<u8>(), 0..4),
            cut in 0_usize..6,
        ) {
            let mut line = LINE.to_vec();
            let end = (place + cut).min(line.len());
            line.splice(place..end, bytes);
            match Parser::default().parse(Line { number: 1, text: Some(&mut line) }) {
                Ok(record) => prop_assert!(is_symbol(record.symbol)),
                Err(reason) => prop_assert!(!reason.to_string().is_empty()),
            }
        }
    }
}
