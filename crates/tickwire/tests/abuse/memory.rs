//! How much memory a process has, as its operator sees it.
//!
//! Read from `/proc`: pages that are resident for the process, its code and its stacks included.
//! What the kernel keeps for sockets (some four kilobytes each) is not among them and is the same
//! for any server.

use std::fs;

/// The memory of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    process: u32,
}

impl Memory {
    pub(crate) fn of(process: u32) -> Self {
        Self { process }
    }

    /// Resident bytes now, to the page. `VmRSS` would be off by up to 32 pages for each core: the
    /// kernel sums it up from counters of its cores that it reads loosely.
    pub(crate) fn resident(self) -> u64 {
        self.read("smaps_rollup", "Rss")
    }

    /// The most bytes that were resident at once since [`Memory::forget_peak`], or since it began;
    /// off by up to 32 pages for each core.
    pub(crate) fn peak(self) -> u64 {
        self.read("status", "VmHWM")
    }

    pub(crate) fn forget_peak(self) {
        fs::write(self.path("clear_refs"), "5").expect("our own child");
    }

    fn read(self, file: &str, name: &str) -> u64 {
        let content = fs::read_to_string(self.path(file)).expect("the process runs");
        let line = content.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kilobytes.expect("a line in kilobytes") * 1024
    }

    fn path(self, file: &str) -> String {
        format!("/proc/{}/{file}", self.process)
    }
}
