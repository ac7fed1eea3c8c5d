//! One reading of `/proc` for a process, its children, and the cores that it may use.
//!
//! All times are sums since some beginning, so only differences of two readings mean anything. What
//! the kernel does not tell is 0.

use std::fs;
use std::path::{Path, PathBuf};

use crate::clock::{self, Nanoseconds};

/// What was so at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) at: Nanoseconds,
    pub(super) name: String,
    /// CPU time of all threads, exact.
    pub(super) cpu: Nanoseconds,
    /// For how long its threads were ready to run and had no core; of the threads that there are.
    pub(super) wait: Nanoseconds,
    /// In user space and in the kernel, in whole ticks of the kernel.
    pub(super) user: Nanoseconds,
    pub(super) system: Nanoseconds,
    /// Resident memory in bytes.
    pub(super) rss: u64,
    /// The most that it was since the process began.
    pub(super) peak: u64,
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
    ///
    /// Between two stages the generator does nothing else meanwhile, so this must be quick: some
    /// 0.1 ms for a server of a few threads.
    pub(super) fn take(pid: u32, softirqs: &SoftirqThreads) -> Option<Self> {
        let mut sample = Self { at: clock::now(), ..Self::default() };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        sample.name = field(&status, "Name:").unwrap_or_default().to_owned();
        sample.cpus = field(&status, "Cpus_allowed_list:").unwrap_or_default().to_owned();
        for process in family(pid) {
            sample.add_process(process);
        }
        let cpus = numbers(&sample.cpus);
        sample.softirq = softirq(&cpus);
        sample.ksoftirqd = softirqs.run_time(&cpus);
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
        self.wait += to.wait.saturating_sub(from.wait);
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
        let status = read("status").unwrap_or_default();
        self.rss += bytes(&status, "VmRSS:");
        self.peak += bytes(&status, "VmHWM:");
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return };
        for thread in threads.flatten() {
            let [ran, waited] = scheduled(&thread.path().join("schedstat"));
            self.cpu += ran;
            self.wait += waited;
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            let count = |name| field(&status, name).and_then(|text| text.parse::<u64>().ok());
            self.voluntary += count("voluntary_ctxt_switches:").unwrap_or_default();
            self.involuntary += count("nonvoluntary_ctxt_switches:").unwrap_or_default();
        }
    }
}

/// Resident memory of one process.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    bytes(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default(), "VmRSS:")
}

/// A size that the kernel tells in kilobytes.
fn bytes(status: &str, name: &str) -> u64 {
    let kilobytes = field(status, name).and_then(|text| text.split(' ').next());
    kilobytes.and_then(|text| text.parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// The rest of the line that begins with `name`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The first two numbers of a thread's scheduler statistics: for how long it ran, and for how long
/// it was ready to run and had no core.
fn scheduled(path: &Path) -> [Nanoseconds; 2] {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut numbers = text.split_whitespace().map_while(|text| text.parse().ok());
    [(); 2].map(|()| numbers.next().unwrap_or_default())
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

/// The kernel's threads for software interrupts, one for each core: looked for once, because that
/// takes a look at every process there is.
#[derive(Debug, Default)]
pub(super) struct SoftirqThreads(Vec<(u32, PathBuf)>);

impl SoftirqThreads {
    pub(super) fn find() -> Self {
        let of_process = |entry: fs::DirEntry| {
            entry.file_name().to_str()?.parse::<u32>().ok()?;
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            let cpu = name.trim().strip_prefix("ksoftirqd/")?.parse::<u32>().ok()?;
            Some((cpu, entry.path().join("schedstat")))
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        Self(processes.filter_map(of_process).collect())
    }

    /// CPU time of those of these cores.
    fn run_time(&self, cpus: &[u32]) -> Nanoseconds {
        let wanted = self.0.iter().filter(|(cpu, _)| cpus.contains(cpu));
        wanted.map(|(_, schedstat)| scheduled(schedstat)[0]).sum()
    }
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
        let softirqs = SoftirqThreads::find();
        let before = Sample::take(pid, &softirqs).unwrap();
        let cpu = clock::thread_cpu();
        // More than other tests of this process give back meanwhile.
        let memory = vec![1_u8; 256 << 20];
        while clock::thread_cpu() < cpu + 100_000_000 {
            std::hint::black_box(&memory);
        }
        let after = Sample::take(pid, &softirqs).unwrap();
        let mut spent = Sample::default();
        spent.add(&before, &after);
        assert!(spent.cpu >= 70_000_000, "{spent:?}");
        assert!(spent.user + spent.system >= 70_000_000, "{spent:?}");
        assert!(after.rss > before.rss + (128 << 20), "{before:?} {after:?}");
        assert!(!after.cpus.is_empty() && after.peak >= after.rss, "{after:?}");
        drop(memory);
    }

    #[test]
    fn children_belong_to_the_family() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        assert!(family(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(Sample::take(u32::MAX, &SoftirqThreads::default()), None);
    }
}
