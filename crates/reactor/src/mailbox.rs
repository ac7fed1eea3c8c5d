//! How other threads reach a shard: a bounded queue, and a flag that says whether it sleeps.
//!
//! Waking a sleeping core costs about 12 µs, looking at a flag 35 ns. So a sender wakes the shard
//! only if it sleeps, and the first who does takes the flag down: one wake for a whole batch.
//! Room is reserved before anything is pushed, so that a message for several shards goes to all of
//! them or to none.
//!
//! The promise: whatever was pushed before the shard goes to sleep is taken before it sleeps. The
//! shard raises the flag, then looks at the queue; the sender pushes, then looks at the flag; a
//! full fence between the two steps on both sides means that at least one of them sees the other.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tickwire_fanout::TopicKey;
use tickwire_protocol::CloseCode;

use crate::destination::Destination;
use crate::frame::Frame;
use crate::io::{Key, Newcomer};
use crate::latency::Published;
use crate::sync::{ArrayQueue, AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

/// A letter to a shard.
#[derive(Debug)]
pub(crate) enum Mail {
    /// A publication, in the order of its topic.
    Publish { topic: TopicKey, seq: u64, frame: Frame, exclude: Option<Key>, published: Published },
    /// A message for one connection.
    Send { key: Key, frame: Frame },
    /// Close one connection.
    Close { key: Key, code: CloseCode, reason: Box<str> },
    /// Every connection that lags by more than this many publications goes through `Handler::lagged`.
    CloseLagging { behind: u64 },
    /// Open a connection to another server. The state is what the shard's handler keeps for each.
    Connect { destination: Box<Destination>, state: Box<dyn Any + Send> },
    /// A connection that another shard has accepted, and where it comes from.
    Arrived(Box<(Newcomer, SocketAddr)>),
    /// There are notices of topics; the shard takes them in each turn.
    Notices,
    /// Stop accepting, close all connections within this time, end.
    Shutdown { spread: Duration },
    /// Stop accepting, drop all connections, end.
    ShutdownNow,
}

/// Ends a shard's wait.
pub(crate) trait Wake: Send + Sync {
    fn wake(&self);
}

impl Wake for mio::Waker {
    fn wake(&self) {
        if let Err(error) = Self::wake(self) {
            tracing::error!(%error, "a shard could not be woken");
        }
    }
}

/// One shard's queue.
pub(crate) struct Mailbox {
    queue: ArrayQueue<Mail>,
    /// Places taken: letters in the queue, and room promised to senders.
    reserved: AtomicUsize,
    asleep: AtomicBool,
    /// The shard has ended: letters are thrown away, and nobody waits for room.
    closed: AtomicBool,
    waker: Box<dyn Wake>,
    /// Publications pushed so far.
    published: AtomicU64,
    /// Publications that this mailbox had no room for, by what became of them.
    refused: AtomicU64,
    dropped: AtomicU64,
    /// Times that the shard slept and was woken.
    wakes: AtomicU64,
    /// Publications that every subscriber of this shard was given whole, counted from the first.
    delivered: AtomicU64,
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Mailbox")
            .field("letters", &self.queue.len())
            .field("asleep", &self.asleep)
            .finish_non_exhaustive()
    }
}

impl Mailbox {
    pub(crate) fn new(capacity: usize, waker: Box<dyn Wake>) -> Self {
        Self {
            queue: ArrayQueue::new(capacity.max(1)),
            reserved: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            waker,
            published: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            wakes: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
        }
    }

    /// Promises room for one letter; `false`: the mailbox is full.
    pub(crate) fn reserve(&self) -> bool {
        if self.is_closed() {
            return true;
        }
        // Acquires what `take` releases: the place that became free is seen to be free.
        if self.reserved.fetch_add(1, Ordering::Acquire) < self.queue.capacity() {
            return true;
        }
        self.reserved.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Gives back a promise that was not used.
    pub(crate) fn release(&self) {
        self.reserved.fetch_sub(1, Ordering::Relaxed);
    }

    /// Pushes a letter for which room was reserved. The shard sees it in its next turn, for which
    /// somebody has to [`wake`](Self::wake) it.
    pub(crate) fn push_reserved(&self, mail: Mail) {
        // Once closed it stays so: room that was not counted is never used.
        if self.is_closed() {
            return;
        }
        if matches!(mail, Mail::Publish { .. }) {
            self.published.fetch_add(1, Ordering::Relaxed);
        }
        let pushed = self.queue.push(mail);
        debug_assert!(pushed.is_ok(), "room was reserved");
    }

    /// Wakes the shard if it sleeps and has mail; for whatever was pushed before.
    pub(crate) fn wake(&self) {
        Self::wake_all(std::slice::from_ref(self));
    }

    /// The same for several, with one fence: it is what costs, and there may be many shards.
    pub(crate) fn wake_all(mailboxes: &[Self]) {
        fence(Ordering::SeqCst);
        mailboxes.iter().for_each(Self::wake_fenced);
    }

    fn wake_fenced(&self) {
        if self.queue.is_empty() {
            return;
        }
        // Looked at first, so that senders to a shard that is awake only share the flag's cache line.
        if self.asleep.load(Ordering::Relaxed) && self.takes_down_the_flag() {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            self.waker.wake();
        }
    }

    /// A publication found no room here, and its publisher was told.
    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A publication found no room here, and was dropped.
    pub(crate) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// How many publications were refused and how many dropped, and how often the shard was woken.
    pub(crate) fn pressure(&self) -> (u64, u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.refused), count(&self.dropped), count(&self.wakes))
    }

    /// Not a swap: whoever comes second writes nothing.
    fn takes_down_the_flag(&self) -> bool {
        let (taken, not) = (Ordering::AcqRel, Ordering::Relaxed);
        self.asleep.compare_exchange(true, false, taken, not).is_ok()
    }

    /// Pushes a letter if there is room.
    pub(crate) fn push(&self, mail: Mail) -> Result<(), Mail> {
        if !self.reserve() {
            return Err(mail);
        }
        self.push_reserved(mail);
        self.wake();
        Ok(())
    }

    /// The oldest letter; the shard only.
    pub(crate) fn take(&self) -> Option<Mail> {
        let mail = self.queue.pop()?;
        self.reserved.fetch_sub(1, Ordering::Release);
        Some(mail)
    }

    /// How many letters there are.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Announces that the shard is about to sleep; `false`: there is mail, do not. The shard only.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.queue.is_empty() {
            return true;
        }
        self.asleep.store(false, Ordering::Relaxed);
        false
    }

    /// The shard has ended: letters that are left and those to come are thrown away.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        while self.queue.pop().is_some() {}
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Takes the announcement back after a wait. The shard only.
    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Publications on their way: pushed, and not yet given to every subscriber.
    pub(crate) fn outstanding(&self) -> u64 {
        if self.is_closed() {
            return 0;
        }
        // Delivered first: it never passes what was published before it was read.
        let delivered = self.delivered.load(Ordering::Acquire);
        self.published.load(Ordering::Acquire).saturating_sub(delivered)
    }

    /// How many publications have been delivered. The shard only.
    pub(crate) fn set_delivered(&self, delivered: u64) {
        self.delivered.store(delivered, Ordering::Release);
    }
}

#[cfg(all(loom, test))]
mod models;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    struct Bell(mpsc::Sender<()>);

    impl Wake for Bell {
        fn wake(&self) {
            self.0.send(()).expect("the shard waits");
        }
    }

    fn mailbox(capacity: usize) -> (Arc<Mailbox>, mpsc::Receiver<()>) {
        let (sender, receiver) = mpsc::channel();
        (Arc::new(Mailbox::new(capacity, Box::new(Bell(sender)))), receiver)
    }

    fn letter(slot: u32) -> Mail {
        let key = Key { slot, generation: 0 };
        Mail::Close { key, code: CloseCode::NORMAL, reason: "".into() }
    }

    #[test]
    fn a_full_mailbox_refuses_until_a_letter_is_taken() {
        let (mailbox, _bell) = mailbox(2);
        assert!(mailbox.push(letter(0)).is_ok());
        assert!(mailbox.reserve());
        assert!(mailbox.push(letter(1)).is_err(), "promised room is not given twice");
        mailbox.push_reserved(letter(2));
        assert!(mailbox.take().is_some());
        assert!(mailbox.push(letter(3)).is_ok());
    }

    #[test]
    fn a_closed_mailbox_takes_any_number_of_letters_and_keeps_none() {
        let (mailbox, _bell) = mailbox(2);
        assert!(mailbox.push(letter(0)).is_ok());
        assert!(mailbox.reserve());
        mailbox.close();
        mailbox.push_reserved(letter(1));
        for slot in 0..10 {
            assert!(mailbox.push(letter(slot)).is_ok());
        }
        assert!(mailbox.take().is_none());
    }

    #[test]
    fn only_a_sleeping_shard_is_woken_and_only_once() {
        let (mailbox, bell) = mailbox(8);
        mailbox.push(letter(0)).expect("room");
        assert!(bell.try_recv().is_err());
        assert!(!mailbox.fall_asleep(), "there is mail");
        mailbox.take();
        assert!(mailbox.fall_asleep());
        mailbox.push(letter(1)).expect("room");
        mailbox.push(letter(2)).expect("room");
        assert!(bell.try_recv().is_ok());
        assert!(bell.try_recv().is_err());
    }

    #[test]
    fn no_letter_is_slept_through() {
        const LETTERS: u32 = 20_000;
        let (mailbox, bell) = mailbox(16);
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || {
                    for slot in 0..LETTERS {
                        while mailbox.push(letter(slot)).is_err() {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let mut taken = 0;
        while taken < 2 * LETTERS {
            while mailbox.take().is_some() {
                taken += 1;
            }
            if taken < 2 * LETTERS && mailbox.fall_asleep() {
                // Hangs for ever if a wake-up is lost.
                bell.recv().expect("senders hold the bell");
                mailbox.wake_up();
            }
            while bell.try_recv().is_ok() {}
        }
        for sender in senders {
            sender.join().expect("sender ends");
        }
    }
}
