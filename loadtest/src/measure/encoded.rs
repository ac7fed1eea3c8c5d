//! Histograms as text, for their way between processes: `HdrHistogram`'s V2 encoding in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::Deserialize as _;
use serde::de::Error as _;

/// For `#[serde(with = "encoded")]`.
pub(super) fn serialize<S: serde::Serializer>(
    histogram: &Histogram<u64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(encode(histogram)))
}

/// For `#[serde(with = "encoded")]`.
pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Histogram<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
    Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(D::Error::custom)
}

/// The encoding itself.
pub(super) fn encode(histogram: &Histogram<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(histogram, &mut bytes).expect("writing to a Vec cannot fail");
    bytes
}

/// What [`encode`] made; nothing is an empty histogram.
pub(super) fn decode(mut bytes: &[u8]) -> Histogram<u64> {
    if bytes.is_empty() {
        return super::histogram();
    }
    Deserializer::new().deserialize(&mut bytes).expect("the histogram was encoded by this program")
}
