//! Waking at a moment, and not up to a millisecond later.
//!
//! mio's poll takes a timeout that epoll rounds up to whole milliseconds: far too coarse for a
//! schedule of some thousand messages a second. A `timerfd` of `CLOCK_MONOTONIC` is exact to the
//! wake-up itself (some 30 µs where the core slept). It is set only when the moment changes, one
//! system call of 0.1 µs.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::clock::Nanoseconds;

/// A timer whose expiry is an event of the poll.
#[derive(Debug)]
pub(crate) struct Timer {
    descriptor: OwnedFd,
    set_for: Nanoseconds,
}

impl Timer {
    /// A timer that is not set; its events come with `token`.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let raw = descriptor.as_raw_fd();
        registry.register(&mut SourceFd(&raw), token, Interest::READABLE)?;
        Ok(Self { descriptor, set_for: 0 })
    }

    /// Makes the poll return at `moment` at the latest. Setting it anew clears the last expiry, so
    /// it needs no read.
    pub(crate) fn set(&mut self, moment: Nanoseconds) -> io::Result<()> {
        if self.set_for == moment {
            return Ok(());
        }
        self.set_for = moment;
        let seconds = i64::try_from(moment / 1_000_000_000).unwrap_or(i64::MAX);
        let nanoseconds = i64::try_from(moment % 1_000_000_000).expect("less than a second");
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let expiry = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let setting = Itimerspec { it_interval: none, it_value: expiry };
        timerfd_settime(self.descriptor.as_fd(), TimerfdTimerFlags::ABSTIME, &setting)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mio::{Events, Poll};

    use super::*;
    use crate::clock;

    #[test]
    fn the_poll_returns_at_the_moment_each_time() {
        let mut poll = Poll::new().unwrap();
        let mut timer = Timer::new(poll.registry(), Token(7)).unwrap();
        let mut events = Events::with_capacity(4);
        for _ in 0..3 {
            let moment = clock::now() + 300_000;
            timer.set(moment).unwrap();
            // Ends early where the process was stopped and goes on.
            while poll.poll(&mut events, None).is_err() {}
            assert_eq!(events.iter().next().unwrap().token(), Token(7));
            assert!(clock::now() >= moment);
        }
    }
}
