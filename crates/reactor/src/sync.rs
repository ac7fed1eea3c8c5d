//! What the shards' mailboxes are synchronised with: the real thing, or loom's model of it.
//!
//! `mailbox` and `progress` take their atomics, their lock and their queue from here, and nothing
//! from `std` or crossbeam. Built for the models (`RUSTFLAGS="--cfg loom"`, tests only) they get
//! loom's, which runs each way in which threads may be interleaved and stores may be seen late; the
//! code under test is the same. Everywhere else this file is a list of names.

#[cfg(not(all(loom, test)))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
    use std::time::Duration;

    pub(crate) use crossbeam_queue::ArrayQueue;

    /// Waits on `changed` while `condition` holds, for at most `timeout`.
    pub(crate) fn wait_while(
        changed: &Condvar,
        guard: MutexGuard<'_, ()>,
        timeout: Duration,
        mut condition: impl FnMut() -> bool,
    ) {
        drop(changed.wait_timeout_while(guard, timeout, |()| condition()));
    }
}

#[cfg(all(loom, test))]
mod modelled {
    use std::collections::VecDeque;
    use std::time::Duration;

    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};

    /// Waits for ever: in a model time does not rescue anybody, so a notice that is missed is a
    /// deadlock, which loom reports.
    pub(crate) fn wait_while(
        changed: &Condvar,
        guard: MutexGuard<'_, ()>,
        _timeout: Duration,
        mut condition: impl FnMut() -> bool,
    ) {
        let mut guard = guard;
        while condition() {
            guard = changed.wait(guard).expect("no thread panics");
        }
    }

    /// A bounded queue that promises no more than crossbeam's: who takes a letter sees what was
    /// written before it was pushed, and nothing else is ordered. Whether there is one, or room, is
    /// read without the lock, so that it may be seen late.
    #[derive(Debug)]
    pub(crate) struct ArrayQueue<T> {
        letters: Mutex<VecDeque<T>>,
        length: AtomicUsize,
        capacity: usize,
    }

    impl<T> ArrayQueue<T> {
        pub(crate) fn new(capacity: usize) -> Self {
            Self { letters: Mutex::default(), length: AtomicUsize::new(0), capacity }
        }

        pub(crate) fn push(&self, letter: T) -> Result<(), T> {
            if self.len() == self.capacity {
                return Err(letter);
            }
            let mut letters = self.letters.lock().expect("no thread panics");
            letters.push_back(letter);
            self.length.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        pub(crate) fn pop(&self) -> Option<T> {
            if self.is_empty() {
                return None;
            }
            let mut letters = self.letters.lock().expect("no thread panics");
            let letter = letters.pop_front()?;
            self.length.fetch_sub(1, Ordering::Relaxed);
            Some(letter)
        }

        pub(crate) fn len(&self) -> usize {
            self.length.load(Ordering::Relaxed)
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.len() == 0
        }

        pub(crate) const fn capacity(&self) -> usize {
            self.capacity
        }
    }
}

#[cfg(all(loom, test))]
pub(crate) use modelled::*;
#[cfg(not(all(loom, test)))]
pub(crate) use real::*;
