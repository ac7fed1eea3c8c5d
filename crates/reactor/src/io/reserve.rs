//! A descriptor that is kept to turn connections away with when there is no other.
//!
//! When descriptors are used up, a connection in the kernel's queue would wait for an answer that does
//! not come, and its client with it. So one descriptor is kept in reserve by all shards of the process,
//! whose descriptors are the same: it is given up to accept the connection, which is closed at once,
//! and taken again. A client that is turned away so can try another server or come back; one that hangs
//! cannot. What that does not help against (no memory, no descriptor in the whole system) is tried
//! again after a while.
//!
//! Invariant: while the reserve is given up nobody keeps a connection. Whoever has accepted one in that
//! moment has it in place of the reserve, and gives it back ([`Reserve::is_whole`]).

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

/// A share in the reserve, for one who accepts into descriptors. With the last of them it is given
/// back.
#[derive(Debug)]
pub(super) struct Reserve(());

/// What all shares have in common.
#[derive(Debug)]
struct Common {
    descriptor: Option<OwnedFd>,
    shares: usize,
}

static COMMON: Mutex<Common> = Mutex::new(Common { descriptor: None, shares: 0 });

/// There is no descriptor in [`COMMON`]; so that whoever has one to lose asks no further.
static IS_OUT: AtomicBool = AtomicBool::new(true);

impl Reserve {
    pub(super) fn new() -> Self {
        let mut common = lock();
        common.shares += 1;
        common.renew();
        Self(())
    }

    /// Takes a descriptor again, if there is one and it has none.
    pub(super) fn renew(&self) {
        if IS_OUT.load(Ordering::SeqCst) {
            lock().renew();
        }
    }

    /// Whether a descriptor is in reserve. If not, whoever has just accepted a connection has it.
    pub(super) fn is_whole(&self) -> bool {
        !IS_OUT.load(Ordering::SeqCst) || lock().descriptor.is_some()
    }

    /// Closes the connection that `accept` takes in place of the reserve. `None`: there is none.
    pub(super) fn refuse<T>(
        &self,
        accept: impl FnOnce() -> io::Result<T>,
    ) -> Option<io::Result<()>> {
        let mut common = lock();
        if common.descriptor.is_some() {
            IS_OUT.store(true, Ordering::SeqCst);
        }
        common.descriptor.take()?;
        let refused = accept().map(drop);
        common.renew();
        Some(refused)
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        let mut common = lock();
        common.shares -= 1;
        if common.shares == 0 {
            IS_OUT.store(true, Ordering::SeqCst);
            common.descriptor = None;
        }
    }
}

impl Common {
    fn renew(&mut self) {
        if self.descriptor.is_none() {
            // Good for nothing but to be given up.
            self.descriptor = eventfd(0, EventfdFlags::CLOEXEC).ok();
        }
        IS_OUT.store(self.descriptor.is_none(), Ordering::SeqCst);
    }
}

fn lock() -> MutexGuard<'static, Common> {
    COMMON.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether it is this process that has no more descriptors, or the system.
pub(super) fn lacks_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}
