//! Room for one descriptor per connection.
//!
//! Linux gives a process a soft limit that is often 1,024 and a hard limit up to which it may raise
//! the soft one itself. That is done here, before the first connection, so that a run of 10,000
//! connections needs no `ulimit` from the user, and one that cannot work says so at once and not
//! after a thousand connections.

use std::fmt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open descriptors far enough for `connections`.
///
/// # Errors
///
/// When the hard limit does not allow it.
pub fn reserve(connections: usize) -> Result<(), DescriptorLimit> {
    let needed = connections as u64 + RESERVE;
    let limit = getrlimit(Resource::Nofile);
    // None stands for "no limit".
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let refused = DescriptorLimit { connections, hard: limit.maximum.unwrap_or(u64::MAX) };
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        return Err(refused);
    }
    let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(|_| refused)
}

/// How many connections one process may have.
#[must_use]
pub fn connections_max() -> usize {
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    usize::try_from(hard.saturating_sub(RESERVE)).unwrap_or(usize::MAX)
}

/// The hard limit of open descriptors is too low for the connections asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DescriptorLimit {
    /// The connections asked for.
    pub connections: usize,
    /// The hard limit.
    pub hard: u64,
}

impl fmt::Display for DescriptorLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, hard } = self;
        write!(
            formatter,
            "{connections} connections need as many open files, and this process may have {hard}: \
             use at most {} --connections for each of the --processes, or raise the hard limit \
             (`ulimit -Hn` as root, or LimitNOFILE= of a service)",
            hard.saturating_sub(RESERVE)
        )
    }
}

impl std::error::Error for DescriptorLimit {}

/// Descriptors that are no connections: three standard streams, the poll's, the report's file, and
/// what the process that uses this crate as a library has open besides.
const RESERVE: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_and_the_hard_one_is_explained() {
        let Some(hard) = getrlimit(Resource::Nofile).maximum else { return };
        let most = usize::try_from(hard - RESERVE).unwrap();
        assert_eq!(reserve(most), Ok(()));
        assert_eq!(getrlimit(Resource::Nofile).current, Some(hard));
        let refused = reserve(most + 1).unwrap_err();
        assert_eq!(refused, DescriptorLimit { connections: most + 1, hard });
        assert!(refused.to_string().contains(&format!("at most {most} --connections")));
    }
}
