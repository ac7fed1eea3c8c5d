//! A load in parts, and results put together.

use std::net::IpAddr;

use hdrhistogram::Histogram;

use crate::load::{Connections, Load, Outcome, Work};
use crate::measure::{Measured, Point, StageMeasured};
use crate::plan::Ramp;

/// The load in so many parts, each with its share of connections and rates. Only the first tells a
/// fan-out server to begin, and each draws other lists of topics.
pub(super) fn shares(load: &Load, processes: usize) -> Vec<Load> {
    let mut shares = Vec::new();
    let mut begun = 0;
    for number in 0..processes {
        let end = load.connections * (number + 1) / processes;
        let connections = end - begun;
        begun = end;
        let factor = connections as f64 / load.connections as f64;
        let mut share = load.clone();
        share.connections = connections;
        share.server_pid = None;
        for stage in &mut share.stages {
            stage.rate = stage.rate.map(|rate| rate.scaled(factor));
            // Whole clients only: the parts of a ramp add up to it but for a client each.
            let whole = |ramp: Ramp| Ramp { from: ramp.from.floor(), to: ramp.to.floor() };
            stage.connections = stage.connections.map(|ramp| whole(ramp.scaled(factor)));
        }
        if let Work::Fanout { starts } = &mut share.work {
            *starts = *starts && number == 0;
        }
        if let Some(topics) = &mut share.topics {
            topics.seed += number as u64;
        }
        share.sources = sources(&load.sources, number, processes);
        shares.push(share);
    }
    shares
}

/// The source addresses of one part: its own as far as there are enough.
fn sources(all: &[IpAddr], number: usize, processes: usize) -> Vec<IpAddr> {
    let own: Vec<IpAddr> = all.iter().copied().skip(number).step_by(processes).collect();
    match own.is_empty() && !all.is_empty() {
        true => vec![all[number % all.len()]],
        false => own,
    }
}

impl Outcome {
    /// Both results as one of a load that ran beside the other.
    pub(super) fn beside(mut self, other: Self) -> Self {
        let Connections { opened, failed, lost, deflated, resumed } = other.connections;
        self.connections.opened += opened;
        self.connections.failed += failed;
        self.connections.lost += lost;
        self.connections.deflated += deflated;
        self.connections.resumed += resumed;
        self.connecting = self.connecting.max(other.connecting);
        self.measured = self.measured.beside(other.measured);
        self.faults.add(&other.faults);
        for (treated, count) in other.treatment {
            *self.treatment.entry(treated).or_default() += count;
        }
        self.interrupted |= other.interrupted;
        self
    }
}

impl Measured {
    fn beside(mut self, other: Self) -> Self {
        for (stage, other) in self.stages.iter_mut().zip(other.stages) {
            stage.add(&other);
        }
        add(&mut self.lag, &other.lag);
        let mut others = other.points.into_iter();
        for (point, other) in self.points.iter_mut().zip(others.by_ref()) {
            point.add(&other);
        }
        self.points.extend(others);
        self.rss_bytes += other.rss_bytes;
        self.generators += other.generators;
        self.sum_up();
        self
    }
}

impl StageMeasured {
    fn add(&mut self, other: &Self) {
        self.window = self.window.beside(other.window);
        self.sends = self.sends.plus(other.sends);
        add(&mut self.latency, &other.latency);
        add(&mut self.raw, &other.raw);
    }
}

impl Point {
    fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.open += other.open;
        let mut latency = self.latency();
        add(&mut latency, &other.latency());
        self.summarize(&latency);
    }
}

fn add(histogram: &mut Histogram<u64>, other: &Histogram<u64>) {
    histogram.add(other).expect("all histograms have the same bounds");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measure::Measure;
    use crate::plan::Stage;

    #[test]
    fn a_load_is_divided_without_rest() {
        let target = "ws://127.0.0.1:1/".parse().unwrap();
        let fanout = Work::Fanout { starts: true };
        let mut load = Load::new(target, fanout, 100, Duration::from_secs(1));
        load.stages[0].rate = Some(Ramp { from: 0.0, to: 1_000.0 });
        load.sources = (1..=5).map(|last| IpAddr::from([127, 0, 0, last])).collect();
        let shares = shares(&load, 3);
        let connections: Vec<usize> = shares.iter().map(|share| share.connections).collect();
        assert_eq!(connections, [33, 33, 34]);
        let rate: f64 = shares.iter().map(|share| share.stages[0].rate.unwrap().to).sum();
        assert!((rate - 1_000.0).abs() < 1e-9);
        let sources: Vec<usize> = shares.iter().map(|share| share.sources.len()).collect();
        assert_eq!(sources, [2, 2, 1], "no address is used by two");
        let starts = |share: &Load| share.work == Work::Fanout { starts: true };
        assert!(starts(&shares[0]) && !starts(&shares[1]) && !starts(&shares[2]));
    }

    #[test]
    fn percentiles_of_two_are_those_of_all_messages() {
        let measured = |latencies: std::ops::Range<u64>| {
            let mut measure = Measure::new(&[Stage::new(Duration::from_secs(1))]);
            measure.begin(0);
            latencies.for_each(|latency| measure.record_due(latency * 1_000, latency, 3));
            measure.end(1);
            measure.finish()
        };
        let both = measured(1..51).beside(measured(51..101));
        assert_eq!((both.latency.len(), both.generators, both.window.bytes), (100, 2, 300));
        assert_eq!(both.latency.value_at_quantile(0.9) / 1_000, 90);
        assert_eq!((both.raw.len(), both.raw.max()), (100, 100));
        let points: u64 = both.points.iter().map(|point| point.latency().len()).sum();
        assert_eq!(points, 100);
    }

    #[test]
    fn an_outcome_survives_its_way_between_processes() {
        let mut measure = Measure::new(&[Stage::new(Duration::from_secs(1))]);
        measure.begin(0);
        measure.record(5_000, 20);
        measure.end(1);
        let json = serde_json::to_string(&measure.finish()).unwrap();
        let measured: Measured = serde_json::from_str(&json).unwrap();
        assert_eq!((measured.latency.len(), measured.window.bytes), (1, 20));
        assert_eq!(measured.points[0].latency().max(), measured.latency.max());
    }
}
