//! One reading of `/proc` for a process, its children, and the cores that it may use.
//!
//! All times are sums since some beginning, so only differences of two readings mean anything. What
//! the kernel does not tell is 0.

use std::fs;

use crate::clock::{self, Nanoseconds};

/// What was so at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) at: Nanoseconds,
    pub(super) name: String,
    /// CPU time of all threads, exact.
    pub(super) cpu: Nanoseconds,
    /// In user space and in the kernel, in whole ticks of the kernel.
    pub(super) user: Nanoseconds,
    pub(super) system: Nanoseconds,
    /// Resident memory in bytes.
    pub(super) rss: u64,
    pub(super) voluntary: u64,
    pub(super) involuntary: u64,
    pub(super) cpus: String,
    /// Time in software interrupts on those cores, in whole ticks.
    pub(super) softirq: Nanoseconds,
    /// CPU time of their kernel threads.
    pub(super) ksoftirqd: Nanoseconds,
}

impl Sample {
    /// The present state; `None` if there is no such process.
    pub(super) fn take(pid: u32) -> Option<Self> {
        let mut sample = Self { at: clock::now(), ..Self::default() };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        sample.name = field(&status, "Name:").unwrap_or_default().to_owned();
        sample.cpus = field(&status, "Cpus_allowed_list:").unwrap_or_default().to_owned();
        for process in family(pid) {
            sample.add_process(process);
        }
        let cpus = numbers(&sample.cpus);
        sample.softirq = softirq(&cpus);
        sample.ksoftirqd = ksoftirqd(&cpus);
        Some(sample)
    }

    /// Adds what was spent from one reading to the next.
    ///
    /// The exact CPU time is that of the threads there are, and forgets those that ended in between;
    /// the one in ticks does not.
    pub(super) fn add(&mut self, from: &Self, to: &Self) {
        let user = to.user.saturating_sub(from.user);
        let system = to.system.saturating_sub(from.system);
        let exact = to.cpu.saturating_sub(from.cpu);
        self.cpu += exact.max((user + system).saturating_sub(2 * TICK));
        self.user += user;
        self.system += system;
        self.voluntary += to.voluntary.saturating_sub(from.voluntary);
        self.involuntary += to.involuntary.saturating_sub(from.involuntary);
        self.softirq += to.softirq.saturating_sub(from.softirq);
        self.ksoftirqd += to.ksoftirqd.saturating_sub(from.ksoftirqd);
    }

    fn add_process(&mut self, pid: u32) {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
        let stat = read("stat").unwrap_or_default();
        // The name in brackets may hold anything: count from behind it.
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| {
            fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default() * TICK
        };
        self.user += ticks(11);
        self.system += ticks(12);
        self.rss += resident_bytes(pid);
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return };
        for thread in threads.flatten() {
            self.cpu += run_time(&thread.path().join("schedstat"));
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            let count = |name| field(&status, name).and_then(|text| text.parse::<u64>().ok());
            self.voluntary += count("voluntary_ctxt_switches:").unwrap_or_default();
            self.involuntary += count("nonvoluntary_ctxt_switches:").unwrap_or_default();
        }
    }
}

/// Resident memory of one process.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kilobytes = field(&status, "VmRSS:").and_then(|text| text.split(' ').next());
    kilobytes.and_then(|text| text.parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// The rest of the line that begins with `name`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The first number of a thread's scheduler statistics: for how long it ran.
fn run_time(path: &std::path::Path) -> Nanoseconds {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// A process and all its children.
fn family(pid: u32) -> Vec<u32> {
    let mut members = vec![pid];
    let mut next = 0;
    while let Some(parent) = members.get(next).copied() {
        next += 1;
        let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            members.extend(children.split_whitespace().filter_map(|it| it.parse::<u32>().ok()));
        }
    }
    members
}

/// The numbers of a list such as `0-2,5`.
fn numbers(list: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// The seventh number of each core's line in `/proc/stat`.
fn softirq(cpus: &[u32]) -> Nanoseconds {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let of_line = |line: &str| {
        let (name, numbers) = line.split_once(' ')?;
        let cpu = name.strip_prefix("cpu")?.parse::<u32>().ok()?;
        let ticks = numbers.split_whitespace().nth(6)?.parse::<u64>().ok()?;
        cpus.contains(&cpu).then_some(ticks * TICK)
    };
    text.lines().filter_map(of_line).sum()
}

fn ksoftirqd(cpus: &[u32]) -> Nanoseconds {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let of_process = |entry: fs::DirEntry| {
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        let cpu = name.trim().strip_prefix("ksoftirqd/")?.parse::<u32>().ok()?;
        cpus.contains(&cpu).then(|| run_time(&entry.path().join("schedstat")))
    };
    processes.flatten().filter_map(of_process).sum()
}

/// What the kernel counts these times in: hundredths of a second, on every architecture of Linux.
const TICK: Nanoseconds = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read() {
        assert_eq!(numbers("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(numbers("3"), [3]);
        assert_eq!(numbers(""), [0; 0]);
    }

    #[test]
    fn what_this_process_does_is_seen() {
        let pid = std::process::id();
        let before = Sample::take(pid).unwrap();
        let cpu = clock::thread_cpu();
        let memory = vec![1_u8; 64 << 20];
        while clock::thread_cpu() < cpu + 100_000_000 {
            std::hint::black_box(&memory);
        }
        let after = Sample::take(pid).unwrap();
        let mut spent = Sample::default();
        spent.add(&before, &after);
        assert!(spent.cpu >= 70_000_000, "{spent:?}");
        assert!(spent.user + spent.system >= 70_000_000, "{spent:?}");
        assert!(after.rss > before.rss + (32 << 20), "{before:?} {after:?}");
        assert!(!after.cpus.is_empty());
        drop(memory);
    }

    #[test]
    fn children_belong_to_the_family() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        assert!(family(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(Sample::take(u32::MAX), None);
    }
}
