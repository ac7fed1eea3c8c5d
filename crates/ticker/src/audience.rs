//! Who listens, as the feed's thread needs to know it: how many connections hold a subscription,
//! and whether the server is ending.
//!
//! Handlers tell it on their shards' threads when a connection's first subscription begins or its
//! last one ends; the player waits on it. Nothing here is touched per message.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The connections that hold a subscription.
#[derive(Debug, Default)]
pub struct Audience {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    listeners: usize,
    ended: bool,
}

impl Audience {
    /// A connection holds its first subscription.
    pub fn join(&self) {
        self.lock().listeners += 1;
        self.changed.notify_all();
    }

    /// A connection holds no subscription any more.
    pub fn leave(&self) {
        self.lock().listeners -= 1;
    }

    /// The server is ending: nobody waits any more.
    pub fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits until `listeners` connections hold a subscription; `false` if the server ends first.
    pub fn wait_for(&self, listeners: usize) -> bool {
        let waiting = |state: &mut State| state.listeners < listeners && !state.ended;
        let state = self.changed.wait_while(self.lock(), waiting);
        !state.unwrap_or_else(PoisonError::into_inner).ended
    }

    /// Waits for `time`; `false` if the server ends before.
    pub fn wait(&self, time: Duration) -> bool {
        let going_on = |state: &mut State| !state.ended;
        let waited = self.changed.wait_timeout_while(self.lock(), time, going_on);
        !waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// How many connections hold a subscription.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.lock().listeners
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A count is whole after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn waiting_ends_when_enough_listen() {
        let audience = Audience::default();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| audience.wait_for(2));
            audience.join();
            audience.leave();
            audience.join();
            audience.join();
            assert!(waiter.join().unwrap());
        });
        assert_eq!(audience.listeners(), 2);
        assert!(audience.wait_for(0));
    }

    #[test]
    fn waiting_ends_when_the_server_does() {
        let audience = Audience::default();
        thread::scope(|scope| {
            let listeners = scope.spawn(|| audience.wait_for(1));
            let time = scope.spawn(|| audience.wait(Duration::from_secs(3_600)));
            audience.end();
            assert!(!listeners.join().unwrap());
            assert!(!time.join().unwrap());
        });
    }
}
