//! The run's latencies as a `HdrHistogram` log, which other programs read and draw.
//!
//! One line for each point of the series: begin, length, maximum (milliseconds) and the histogram in
//! V2 encoding, compressed. Times in the histograms are nanoseconds. See hdrhistogram.org.

use std::io;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use crate::clock;
use crate::measure::Measured;

/// Writes the log of a run.
///
/// # Errors
///
/// When `to` cannot be written.
pub fn hdr_log(measured: &Measured, to: &mut impl io::Write) -> io::Result<()> {
    let epoch = Duration::from_nanos(measured.began + clock::epoch_offset());
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("latencies in nanoseconds, by tickwire-load")
        .with_start_time(SystemTime::UNIX_EPOCH + epoch)
        .with_max_value_divisor(1e6)
        .begin_log_with(to, &mut serializer)?;
    for point in measured.points.iter().filter(|point| point.max > 0) {
        let (at, length) = (Duration::from_nanos(point.at), Duration::from_nanos(point.duration));
        log.write_histogram(&point.latency(), at, length, None).map_err(io::Error::other)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::measure::Measure;
    use crate::plan::Stage;

    #[test]
    fn the_log_has_every_latency() {
        let mut measure = Measure::new(&[Stage::new(Duration::from_secs(1))]);
        measure.begin(0);
        for latency in 1..=500 {
            measure.record(latency * 1_000, 1);
        }
        measure.end(1);
        let mut log = Vec::new();
        hdr_log(&measure.finish(), &mut log).unwrap();
        let text = String::from_utf8(log.clone()).unwrap();
        assert!(text.contains("[StartTime: "), "{text}");
        let mut count = 0;
        for entry in IntervalLogIterator::new(&log) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                let bytes = base64::Engine::decode(
                    &base64::engine::general_purpose::STANDARD,
                    interval.encoded_histogram(),
                )
                .unwrap();
                let histogram: hdrhistogram::Histogram<u64> =
                    Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
                count += histogram.len();
            }
        }
        assert_eq!(count, 500);
    }
}
