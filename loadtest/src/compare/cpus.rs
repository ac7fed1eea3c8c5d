//! Which cores a server and the generator have.
//!
//! A child has the cores of the thread that starts it. So a server is pinned by starting it from a
//! thread that is pinned for that moment: nothing of it, no thread either, ever runs elsewhere.

use std::fmt;
use std::io;
use std::str::FromStr;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

/// Some cores, written as `0-2,5`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cpus(Vec<usize>);

/// The cores of both sides; without any a side runs wherever this process may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// Of each server.
    pub server: Option<Cpus>,
    /// Of the generator.
    pub client: Option<Cpus>,
}

/// The calling thread on other cores than before, until this is dropped.
#[derive(Debug)]
pub(crate) struct Pinned {
    before: CpuSet,
}

impl Placement {
    /// The first core for servers and the second for the generator, of those that this process may
    /// use; none if there is but one.
    #[must_use]
    pub fn usual() -> Self {
        let Ok(allowed) = sched_getaffinity(None) else { return Self::default() };
        let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
        match (cpus.next(), cpus.next()) {
            (Some(first), Some(second)) => {
                Self { server: Some(Cpus(vec![first])), client: Some(Cpus(vec![second])) }
            }
            _ => Self::default(),
        }
    }

    /// Puts the calling thread on the generator's cores.
    pub(crate) fn pin_client(&self) -> io::Result<Option<Pinned>> {
        self.client.as_ref().map(Cpus::pin).transpose()
    }

    /// Puts the calling thread on the server's cores.
    pub(crate) fn pin_server(&self) -> io::Result<Option<Pinned>> {
        self.server.as_ref().map(Cpus::pin).transpose()
    }
}

impl Cpus {
    fn pin(&self) -> io::Result<Pinned> {
        let before = sched_getaffinity(None)?;
        let mut wanted = CpuSet::new();
        for cpu in &self.0 {
            wanted.set(*cpu);
        }
        sched_setaffinity(None, &wanted).map_err(|error| {
            let words = format!("the cores {self} cannot be had: {error}");
            io::Error::new(io::Error::from(error).kind(), words)
        })?;
        Ok(Pinned { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // The cores were there a moment ago; a thread that stays pinned is no harm.
        let _ = sched_setaffinity(None, &self.before);
    }
}

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no list of cores such as 0-2,5");
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
            let (first, last) = (number(first)?, number(last)?);
            if first > last || last >= CpuSet::MAX_CPU {
                return Err(wrong());
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

impl TryFrom<String> for Cpus {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Cpus> for String {
    fn from(cpus: Cpus) -> Self {
        cpus.to_string()
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, run) in self.0.chunk_by(|one, next| one + 1 == *next).enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match run {
                [first, .., last] => write!(formatter, "{comma}{first}-{last}")?,
                _ => write!(formatter, "{comma}{}", run[0])?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read_and_written() {
        for text in ["0", "0-2,5", "3,5-6"] {
            assert_eq!(text.parse::<Cpus>().unwrap().to_string(), text);
        }
        for text in ["", "a", "2-1", "1,,2", "0-1024", "-1"] {
            assert!(text.parse::<Cpus>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_thread_is_pinned_for_as_long_as_it_should_be() {
        let before = sched_getaffinity(None).unwrap();
        let first = (0..CpuSet::MAX_CPU).find(|cpu| before.is_set(*cpu)).unwrap();
        let pinned = Cpus(vec![first]).pin().unwrap();
        let during = sched_getaffinity(None).unwrap();
        assert!(during.count() == 1 && during.is_set(first));
        drop(pinned);
        assert!(sched_getaffinity(None).unwrap() == before);
        let error = Cpus(vec![CpuSet::MAX_CPU - 1]).pin().unwrap_err();
        assert!(error.to_string().contains("the cores 1023 cannot be had"), "{error}");
    }
}
