//! The machine that figures belong to, as far as it tells.

use std::fs;

use rustix::system::uname;
use serde::{Deserialize, Serialize};

/// What a figure cannot be read without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Cores that the system has online.
    pub cores: usize,
    /// Operating system and version.
    pub kernel: String,
    /// The congestion control of new connections.
    pub congestion_control: String,
    /// Tasks that wanted a core in the last minute (the load average): at the start, and after each
    /// round. What the comparison itself adds is 1 to 2.
    pub load: Vec<f64>,
}

impl Machine {
    /// This machine now; what it does not tell is empty.
    #[must_use]
    pub fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processors = read("/proc/cpuinfo");
        let name = processors.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "model name").then(|| value.trim().to_owned())
        });
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let listed = processors.lines().filter(|line| line.starts_with("processor")).count();
        let system = uname();
        let kernel = format!(
            "{} {}",
            system.sysname().to_string_lossy(),
            system.release().to_string_lossy()
        );
        Self {
            cpu: name.unwrap_or_default(),
            // This process may be pinned to fewer than there are.
            cores: listed.max(cores),
            kernel,
            congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control").trim().to_owned(),
            load: load().into_iter().collect(),
        }
    }

    /// Adds the present load.
    pub(super) fn note_load(&mut self) {
        self.load.extend(load());
    }
}

fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}
