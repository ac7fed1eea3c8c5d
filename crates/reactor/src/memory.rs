//! What peers make a shard hold in memory, by cause, and how much of it there may be.
//!
//! Beside the way of a byte: whatever keeps bytes for a single peer says so here, when it begins to,
//! when it grows and when it is gone. That is never so in the steady state, where messages come
//! whole, sockets take what they are given and nobody lags; so to keep these accounts costs a message
//! nothing. What the shard does when they exceed [`Limits::memory_max`](crate::Limits::memory_max)
//! is in `shard/relief`.
//!
//! Invariant: each account is the sum over the connections that are there, to the byte; with the last
//! of them it is back at zero. What a shard holds for all of them alike (tables, the bytes of a turn,
//! shared compressors, what a log keeps for the next turn) is not counted: it has bounds of its own.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::rc::Rc;

/// An account that several parts of a shard add to and take from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account(Rc<Cell<usize>>);

impl Account {
    /// What held `before` bytes holds `now`.
    pub(crate) fn change(&self, before: usize, now: usize) {
        self.0.set(self.0.get() - before + now);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.get()
    }
}

/// What one connection holds of what it was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Of a request, an answer, a message or a control frame that has not come whole.
    pub(crate) receiving: usize,
    /// In a decompressor of its own.
    pub(crate) inflating: usize,
}

impl Held {
    pub(crate) const fn bytes(self) -> usize {
        self.receiving + self.inflating
    }
}

/// Memory that this process may use, in bytes: that of the machine, or less if one of its control
/// groups (version 2) has a limit. `None` where the kernel does not tell.
pub(crate) fn available() -> Option<usize> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let root = Path::new("/sys/fs/cgroup");
    let own = root.join(group.unwrap_or_default());
    let limits = own.ancestors().take_while(|it| it.starts_with(root)).filter_map(|group| {
        fs::read_to_string(group.join("memory.max")).ok()?.trim().parse::<usize>().ok()
    });
    limits.chain(machine).min()
}

/// The machine's memory as `/proc/meminfo` has it.
fn total(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_machine_is_read() {
        let text = "MemTotal:       24689240 kB\nMemFree:        13811848 kB\n";
        assert_eq!(total(text), Some(24_689_240 * 1024));
        assert_eq!(total("MemFree: 5 kB\n"), None);
        assert_eq!(total("MemTotal: 5 MB\n"), None);
    }

    #[test]
    fn this_machine_tells_how_much_may_be_used() {
        let available = available().expect("Linux tells");
        assert!(available > 16 * 1024 * 1024, "{available} bytes");
    }
}
