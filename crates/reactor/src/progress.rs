//! Where publishers wait for shards: for room in a mailbox, or for deliveries.
//!
//! Stands between the end of a shard's turn and the threads that publish. A shard that has moved
//! tells those who wait; while nobody does, that is a fence and a load.
//!
//! The promise: who waits for something that a shard has done before it told, does not miss it. The
//! waiter announces itself, then looks; the shard moves, then looks for waiters; a full fence between
//! the two steps on both sides means that at least one of them sees the other.

use std::sync::PoisonError;
use std::time::Duration;

use crate::sync::{AtomicUsize, Condvar, Mutex, Ordering, fence, wait_while};

/// The waiters of a server.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    waiting: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Progress {
    /// Tells those who wait, if any, that something has moved. A shard calls it at most once a turn.
    pub(crate) fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.changed.notify_all();
        }
    }

    /// Waits for the next notice, for at most `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) {
        let mut first = true;
        self.wait_until(timeout, || !std::mem::take(&mut first));
    }

    /// Waits until `done`, for at most `timeout`. `done` is asked under the lock that `notify`
    /// takes, after this waiter has announced itself: no notice is missed.
    pub(crate) fn wait_until(&self, timeout: Duration, mut done: impl FnMut() -> bool) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        wait_while(&self.changed, guard, timeout, || !done());
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
