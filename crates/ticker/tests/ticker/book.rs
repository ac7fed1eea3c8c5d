//! What a client holds of each symbol, and what it may believe of the next message.

use std::collections::HashMap;

use serde_json::Value as Json;

/// By symbol the fields merged so far and the last number.
#[derive(Default)]
pub(crate) struct Book {
    held: HashMap<String, (Json, u64)>,
    /// The most events that were in one update.
    pub(crate) most_merged: u64,
    pub(crate) updates: u64,
}

impl Book {
    /// Takes a snapshot or an update, which must follow what is held.
    pub(crate) fn take(&mut self, message: &Json) {
        let symbol = text(message, "symbol");
        let (seq, data) = (number(message, "seq"), message["data"].clone());
        if message["type"] == "snapshot" {
            self.held.insert(symbol.to_owned(), (data, seq));
            assert_eq!(message["crc"], self.crc(symbol), "{message}");
            return;
        }
        let (held, last) = self.held.get_mut(symbol).expect("a snapshot comes first");
        let (prev, n) = (number(message, "prev"), number(message, "n"));
        assert_eq!((prev, n), (*last, seq - *last), "{message}");
        assert!(n > 0, "{message}");
        held.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
        *last = seq;
        self.most_merged = self.most_merged.max(n);
        self.updates += 1;
        if seq / 100 > prev / 100 {
            assert_eq!(message["crc"], self.crc(symbol), "{message}");
        } else {
            assert_eq!(message["crc"], Json::Null, "{message}");
        }
    }

    pub(crate) fn data(&self, symbol: &str) -> &Json {
        &self.held[symbol].0
    }

    pub(crate) fn seq(&self, symbol: &str) -> u64 {
        self.held[symbol].1
    }

    fn crc(&self, symbol: &str) -> u32 {
        let data = self.data(symbol);
        let field = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
        let fields = ["bid", "ask", "last", "vol"].map(field).join(":");
        crc32fast::hash(format!("{symbol}:{fields}").as_bytes())
    }
}

pub(crate) fn text<'a>(message: &'a Json, field: &str) -> &'a str {
    message[field].as_str().unwrap_or_else(|| panic!("no {field} in {message}"))
}

pub(crate) fn number(message: &Json, field: &str) -> u64 {
    message[field].as_u64().unwrap_or_else(|| panic!("no {field} in {message}"))
}
