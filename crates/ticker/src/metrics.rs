//! What `/metrics` tells: the engine's counters per shard, and the ticker's own.
//!
//! The ticker's counters are changed when a connection opens, subscribes or ends, and once per
//! published batch; nothing here is touched per delivered message. The text is OpenMetrics, which
//! Prometheus scrapes.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tickwire::{Ended, Handle, Histogram, Latency};

/// The counters of a ticker.
#[derive(Debug)]
pub struct Metrics {
    /// Events that were published.
    pub events: Counter,
    /// Lines of the feed that are no events.
    pub skipped: Counter,
    /// Open WebSocket connections.
    pub clients: Gauge,
    /// Subscriptions that all connections hold together.
    pub subscriptions: Gauge,
    ended: Family<EndedLabels, Counter>,
    engine: Arc<OnceLock<Handle>>,
    registry: Registry,
}

impl Metrics {
    /// Counters at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            events: Counter::default(),
            skipped: Counter::default(),
            clients: Gauge::default(),
            subscriptions: Gauge::default(),
            ended: Family::default(),
            engine: Arc::default(),
            registry: Registry::with_prefix("tickwire"),
        };
        metrics.register();
        metrics
    }

    /// Shows the counters of this engine too.
    pub fn show_engine(&self, engine: Handle) {
        // A second engine is not shown: a ticker has one.
        let _ = self.engine.set(engine);
    }

    /// Counts the end of a connection.
    pub fn count_end(&self, ended: Ended) {
        let (code, by) = match ended {
            Ended::ByPeer(code) => (code.map_or(1005, |code| code.0), "peer"),
            Ended::ByUs(code) => (code.0, "server"),
            _ => (1006, "none"),
        };
        self.ended.get_or_create(&EndedLabels { code: bounded(code), by }).inc();
    }

    /// All counters as OpenMetrics text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes every byte");
        text
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("events", "Market events published", self.events.clone());
        registry.register("skipped_lines", "Lines of the feed out of shape", self.skipped.clone());
        registry.register("clients", "WebSocket connections open now", self.clients.clone());
        let help = "Subscriptions held now, of all connections together";
        registry.register("subscriptions", help, self.subscriptions.clone());
        let help = "WebSocket connections ended, by close code and who sent it";
        registry.register("ended", help, self.ended.clone());
        registry.register_collector(Box::new(Engine(Arc::clone(&self.engine))));
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Peers choose among thousands of codes; those that nobody defined are one series.
const fn bounded(code: u16) -> u16 {
    match code {
        1000..=1015 | 4400..=4499 => code,
        _ => 4999,
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndedLabels {
    /// The code of the Close; 1005 for one without, 1006 where there was none (RFC 6455 section
    /// 7.4.1).
    code: u16,
    by: &'static str,
}

/// The engine's counters, read when they are asked for.
#[derive(Debug)]
struct Engine(Arc<OnceLock<Handle>>);

impl Collector for Engine {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(engine) = self.0.get() else { return Ok(()) };
        let help = "The back end that runs";
        let mut family = encoder.encode_descriptor("backend", help, None, MetricType::Gauge)?;
        family.encode_family(&[("name", engine.backend())])?.encode_gauge(&1_u64)?;
        let metrics = engine.metrics();
        let help = "Connections of the fullest shard over the mean of all";
        encoder
            .encode_descriptor("imbalance_ratio", help, None, MetricType::Gauge)?
            .encode_gauge(&metrics.imbalance())?;
        let shards = metrics.shards;
        let Some(first) = shards.first() else { return Ok(()) };
        for (place, (name, help, _)) in first.each().enumerate() {
            // The engine documents which of its counters go up and down by their names.
            let gauge = name.ends_with("_now");
            let kind = if gauge { MetricType::Gauge } else { MetricType::Counter };
            let help = help.trim().trim_end_matches('.');
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (shard, counters) in shards.iter().enumerate() {
                let Some((_, _, value)) = counters.each().nth(place) else { continue };
                let labels = [("shard", shard)];
                let mut metric = family.encode_family(&labels)?;
                if gauge {
                    metric.encode_gauge(&value)?;
                } else {
                    metric.encode_counter::<NoLabels, _, u64>(&value, None)?;
                }
            }
        }
        let latencies = engine.latencies();
        let help = "From publishing until the kernel has the last byte for all that keep up";
        encode_histograms("publish_to_sent", help, &latencies, |it| &it.sent, &mut encoder)?;
        let help = "From publishing until the kernel has the last byte for those that lagged too";
        encode_histograms("publish_to_settled", help, &latencies, |it| &it.settled, &mut encoder)
    }
}

/// One histogram of each shard and class, in seconds.
fn encode_histograms(
    name: &str,
    help: &str,
    latencies: &[Latency],
    histogram: impl Fn(&Latency) -> &Histogram,
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let unit = Some(&Unit::Seconds);
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
    for latency in latencies {
        let histogram = histogram(latency);
        let in_seconds = |(bound, count): (Duration, u64)| match bound {
            Duration::MAX => (f64::INFINITY, count),
            bound => (bound.as_secs_f64(), count),
        };
        let buckets: Vec<_> = histogram.buckets().map(in_seconds).collect();
        let labels = [("shard", latency.shard.to_string()), ("class", latency.class.clone())];
        let (sum, count) = (histogram.sum().as_secs_f64(), histogram.count());
        family.encode_family(&labels)?.encode_histogram::<NoLabels>(sum, count, &buckets, None)?;
    }
    Ok(())
}

/// Labels of exemplars, of which there are none.
type NoLabels = [(&'static str, &'static str); 0];

#[cfg(test)]
mod tests {
    use tickwire::CloseCode;

    use super::*;

    #[test]
    fn the_text_has_each_counter_with_its_help_and_ends() {
        let metrics = Metrics::new();
        metrics.events.inc_by(7);
        metrics.clients.inc();
        metrics.count_end(Ended::ByUs(CloseCode(4410)));
        metrics.count_end(Ended::ByPeer(None));
        metrics.count_end(Ended::Lost);
        let text = metrics.text();
        for line in [
            "# TYPE tickwire_events counter",
            "tickwire_events_total 7",
            "tickwire_skipped_lines_total 0",
            "# TYPE tickwire_clients gauge",
            "tickwire_clients 1",
            "tickwire_ended_total{code=\"4410\",by=\"server\"} 1",
            "tickwire_ended_total{code=\"1005\",by=\"peer\"} 1",
            "tickwire_ended_total{code=\"1006\",by=\"none\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn codes_that_peers_invent_do_not_make_series_of_their_own() {
        let metrics = Metrics::new();
        for code in 3000..3900 {
            metrics.count_end(Ended::ByPeer(Some(CloseCode(code))));
        }
        let text = metrics.text();
        assert!(text.contains("tickwire_ended_total{code=\"4999\",by=\"peer\"} 900"), "{text}");
    }
}
