//! The server in the same report: what a run cost it.
//!
//! A rate says little without its price. A watch reads `/proc` at the moments between a run's
//! stages: CPU time of the server's processes (user and system), resident memory before the
//! connections and with them, context switches, and the software interrupts of the cores that the
//! server may use. The last matter: half of what a small message costs is network work, which the
//! kernel books partly on whoever runs at the time and partly on a thread of its own.
//!
//! [`ServerProcess`] starts a server by its command, waits for its port, and stops it by its id.
//! Nothing here runs while messages flow.

mod process;
mod sample;

use serde::{Deserialize, Serialize};

use crate::load::{Live, Part};
use crate::plan::Stage;
pub use process::{ServerError, ServerProcess};
pub(crate) use sample::resident_bytes;
use sample::{Sample, SoftirqThreads};

/// What a run cost the server, over the stages that count.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServerUse {
    /// Its process, whose children count too.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// CPU time, as the scheduler measured it.
    pub cpu_seconds: f64,
    /// The part in user space; counted in hundredths of a second.
    pub cpu_user_seconds: f64,
    /// The part in the kernel; counted in hundredths of a second.
    pub cpu_system_seconds: f64,
    /// CPU time and that of the kernel's threads for software interrupts, for each message.
    pub cpu_per_message_us: Option<f64>,
    /// CPU time by the time that passed: 2 is two cores.
    pub cores: f64,
    /// For how long its threads together were ready to run and had no core, because other work had
    /// it: what was measured is then the machine's too.
    #[serde(default)]
    pub wait_seconds: Option<f64>,
    /// The same by the time that passed: 0.1 is a tenth of it.
    #[serde(default)]
    pub wait_share: Option<f64>,
    /// Resident memory before the first connection.
    pub rss_before_bytes: u64,
    /// Resident memory with all connections open, before the first message.
    pub rss_open_bytes: u64,
    /// Resident memory at the end of the last stage.
    pub rss_end_bytes: u64,
    /// The most that it was since the process began, as seen at the end of the last stage.
    #[serde(default)]
    pub rss_peak_bytes: Option<u64>,
    /// What each connection added, before the first message; not known of less than a hundred.
    pub rss_per_connection_bytes: Option<f64>,
    /// Times that a thread of it waited for something.
    pub voluntary_switches: u64,
    /// Times that one was taken off its core.
    pub involuntary_switches: u64,
    /// The cores that it may use.
    pub cpus: String,
    /// Time in software interrupts on those cores, whoever they are for; counted in hundredths of a
    /// second, and part of it is in the CPU time above.
    pub softirq_seconds: f64,
    /// CPU time of the kernel's threads for software interrupts on those cores; never in the CPU
    /// time above.
    pub ksoftirqd_seconds: f64,
    /// Each stage by itself, warming up included.
    pub stages: Vec<StageUse>,
}

/// What a stage cost the server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StageUse {
    /// CPU time by the time that passed.
    pub cores: f64,
    /// Resident memory at its end.
    pub rss_end_bytes: u64,
    /// The most that it was since the process began.
    #[serde(default)]
    pub rss_peak_bytes: Option<u64>,
}

/// Readings of one server over one run.
#[derive(Debug)]
pub(crate) struct Watch {
    pid: u32,
    softirqs: SoftirqThreads,
    before: Sample,
    /// One for the begin of each stage, and one for the end.
    samples: Vec<Sample>,
    open: usize,
    ended: bool,
}

impl Watch {
    /// Reads the server before the first connection; `None` if there is no such process.
    pub(crate) fn new(pid: u32) -> Option<Self> {
        let softirqs = SoftirqThreads::find();
        let before = Sample::take(pid, &softirqs)?;
        Some(Self { pid, softirqs, before, samples: Vec::new(), open: 0, ended: false })
    }

    /// Takes a reading when a stage begins, and when the last one has ended.
    pub(crate) fn follow(&mut self, live: &Live) {
        let due = match live.part {
            Part::Connecting => 0,
            Part::Running => live.stage + 1,
            // Whatever came to its end before has begun.
            _ => self.samples.len() + usize::from(!self.ended),
        };
        self.ended = live.part > Part::Running;
        if self.samples.len() < due {
            self.mark(live.open);
        }
    }

    fn mark(&mut self, open: usize) {
        if self.samples.is_empty() {
            self.open = open;
        }
        // A server that is gone keeps its last reading.
        let last = self.samples.last().unwrap_or(&self.before);
        let sample = Sample::take(self.pid, &self.softirqs).unwrap_or_else(|| last.clone());
        self.samples.push(sample);
    }

    /// What happened in the stages that count, in which so many messages were right.
    pub(crate) fn finish(self, stages: &[Stage], messages: u64) -> ServerUse {
        let mut spent = Sample::default();
        let mut seconds = 0.0;
        let stage_use = |pair: &[Sample]| StageUse {
            cores: pair[1].cpu.saturating_sub(pair[0].cpu) as f64
                / (pair[1].at - pair[0].at).max(1) as f64,
            rss_end_bytes: pair[1].rss,
            rss_peak_bytes: Some(pair[1].peak),
        };
        for (pair, stage) in self.samples.windows(2).zip(stages) {
            if !stage.warm_up {
                spent.add(&pair[0], &pair[1]);
                seconds += (pair[1].at - pair[0].at) as f64 / 1e9;
            }
        }
        let (first, last) = (self.samples.first(), self.samples.last());
        let rss = |sample: Option<&Sample>| sample.unwrap_or(&self.before).rss;
        let added = rss(first).saturating_sub(self.before.rss);
        let cpu = (spent.cpu + spent.ksoftirqd) as f64;
        let share = |time: u64| if seconds > 0.0 { time as f64 / 1e9 / seconds } else { 0.0 };
        ServerUse {
            pid: self.pid,
            name: self.before.name.clone(),
            cpu_seconds: spent.cpu as f64 / 1e9,
            cpu_user_seconds: spent.user as f64 / 1e9,
            cpu_system_seconds: spent.system as f64 / 1e9,
            cpu_per_message_us: (messages > 0).then(|| cpu / 1e3 / messages as f64),
            cores: share(spent.cpu),
            wait_seconds: Some(spent.wait as f64 / 1e9),
            wait_share: Some(share(spent.wait)),
            rss_before_bytes: self.before.rss,
            rss_open_bytes: rss(first),
            rss_end_bytes: rss(last),
            rss_peak_bytes: Some(last.unwrap_or(&self.before).peak),
            rss_per_connection_bytes: (self.open >= OPEN_MIN)
                .then(|| added as f64 / self.open as f64),
            voluntary_switches: spent.voluntary,
            involuntary_switches: spent.involuntary,
            cpus: self.before.cpus.clone(),
            softirq_seconds: spent.softirq as f64 / 1e9,
            ksoftirqd_seconds: spent.ksoftirqd as f64 / 1e9,
            stages: self.samples.windows(2).map(stage_use).collect(),
        }
    }
}

/// Memory comes in pages and the allocator's portions: with fewer connections it tells of those.
const OPEN_MIN: usize = 100;
