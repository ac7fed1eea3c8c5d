//! The mailbox in every way in which its threads can be interleaved, by loom.
//!
//! A model runs the real `mailbox` and `progress` on loom's atomics: loom tries each schedule with
//! up to so many preemptions, and lets each load see each store that the memory model allows it to
//! see. A letter that is slept through, or a publisher whom nobody tells, is a deadlock to it, with
//! the schedule that leads there.
//!
//! `scripts/test models` runs them. Each names the line without which it fails; all were tried.

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::progress::Progress;
use crate::sync::{Condvar, Mutex};

/// What a shard sleeps on: rung once for each wake-up.
#[derive(Default)]
struct Bell {
    rung: Mutex<usize>,
    changed: Condvar,
}

impl Bell {
    fn wait(&self) {
        let mut rung = self.rung.lock().expect("no thread panics");
        while *rung == 0 {
            rung = self.changed.wait(rung).expect("no thread panics");
        }
        *rung = 0;
    }

    fn rung(&self) -> usize {
        *self.rung.lock().expect("no thread panics")
    }
}

impl Wake for Arc<Bell> {
    fn wake(&self) {
        *self.rung.lock().expect("no thread panics") += 1;
        self.changed.notify_one();
    }
}

fn mailbox(capacity: usize) -> (Arc<Mailbox>, Arc<Bell>) {
    let bell = Arc::new(Bell::default());
    (Arc::new(Mailbox::new(capacity, Box::new(Arc::clone(&bell)))), bell)
}

fn letter() -> Mail {
    Mail::CloseLagging { behind: 0 }
}

/// Every schedule with at most this many preemptions: enough for each order of two steps on two
/// sides, twice; one more takes minutes and has found nothing else.
const PREEMPTIONS: usize = 3;

fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(run);
}

/// Takes so many letters, and sleeps whenever there are none, as a shard does.
fn take(mailbox: &Mailbox, bell: &Bell, letters: usize) {
    let mut taken = 0;
    loop {
        while mailbox.take().is_some() {
            taken += 1;
        }
        if taken == letters {
            return;
        }
        if mailbox.fall_asleep() {
            bell.wait();
        }
        mailbox.wake_up();
    }
}

/// Without the fence in `fall_asleep`, or that in `wake_all`: a deadlock, the shard sleeps on a letter.
/// With the flag raised after looking at the queue: the same.
#[test]
fn no_letter_of_a_sender_is_slept_through() {
    model(|| {
        let (mailbox, bell) = mailbox(2);
        let sender = Arc::clone(&mailbox);
        let sender = thread::spawn(move || {
            for _ in 0..2 {
                assert!(sender.push(letter()).is_ok(), "there is room for both");
            }
        });
        take(&mailbox, &bell, 2);
        sender.join().expect("the sender ends");
    });
}

/// As the model before: with two senders, of whom either may find the flag taken down by the other.
#[test]
fn no_letter_of_two_senders_is_slept_through() {
    model(|| {
        let (mailbox, bell) = mailbox(2);
        let senders = [(); 2].map(|()| {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || assert!(mailbox.push(letter()).is_ok(), "there is room"))
        });
        take(&mailbox, &bell, 2);
        for sender in senders {
            sender.join().expect("the sender ends");
        }
    });
}

/// With a store in place of the exchange in `takes_down_the_flag`: two wake-ups.
#[test]
fn a_shard_is_woken_once_for_what_it_sleeps_on() {
    model(|| {
        let (mailbox, bell) = mailbox(2);
        assert!(mailbox.fall_asleep());
        let senders = [(); 2].map(|()| {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || assert!(mailbox.push(letter()).is_ok(), "there is room"))
        });
        for sender in senders {
            sender.join().expect("the sender ends");
        }
        assert_eq!(bell.rung(), 1);
    });
}

/// With `Relaxed` for the `Acquire` in `reserve` or the `Release` in `take`: a push into a queue that
/// still looks full, which `push_reserved` says is impossible.
#[test]
fn room_that_was_promised_is_there() {
    model(|| {
        let (mailbox, _bell) = mailbox(1);
        assert!(mailbox.push(letter()).is_ok());
        let senders = [(); 2].map(|()| {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || usize::from(mailbox.push(letter()).is_ok()))
        });
        let mut taken = usize::from(mailbox.take().is_some());
        let pushed = 1 + senders.map(|it| it.join().expect("it ends")).iter().sum::<usize>();
        while mailbox.take().is_some() {
            taken += 1;
        }
        assert_eq!(taken, pushed, "what was pushed and what was taken");
        assert!(mailbox.reserve(), "all room is free again");
        assert!(!mailbox.reserve(), "and no more than all");
    });
}

/// A reservation that is given back while another sender looks: room is never lost, nor made up.
#[test]
fn room_that_was_given_back_is_free() {
    model(|| {
        let (mailbox, _bell) = mailbox(1);
        let other = Arc::clone(&mailbox);
        let other = thread::spawn(move || {
            if other.reserve() {
                other.release();
            }
        });
        let first = mailbox.reserve();
        if first {
            mailbox.push_reserved(letter());
        }
        other.join().expect("the sender ends");
        assert_eq!(mailbox.take().is_some(), first);
        assert!(mailbox.reserve(), "all room is free again");
        assert!(!mailbox.reserve(), "and no more than all");
    });
}

/// A publisher that finds the mailbox full waits as `Hub::deliver` does, but until there is room and
/// not for a millisecond. Without the fence in `notify`, or that in `wait_until`: a deadlock, the
/// publisher waits for ever.
#[test]
fn a_publisher_that_waits_for_room_is_told() {
    model(|| {
        let (mailbox, _bell) = mailbox(1);
        let progress = Arc::new(Progress::default());
        assert!(mailbox.push(letter()).is_ok());
        let (to, told) = (Arc::clone(&mailbox), Arc::clone(&progress));
        let publisher = thread::spawn(move || {
            told.wait_until(Duration::MAX, || to.reserve());
            to.push_reserved(letter());
        });
        assert!(mailbox.take().is_some());
        progress.notify();
        publisher.join().expect("the publisher ends");
        assert!(mailbox.take().is_some());
    });
}

/// The same for deliveries: what `Publisher::wait_outstanding` waits for.
#[test]
fn a_publisher_that_waits_for_deliveries_is_told() {
    model(|| {
        let (mailbox, _bell) = mailbox(1);
        let progress = Arc::new(Progress::default());
        mailbox.published.fetch_add(1, Ordering::Relaxed);
        let (to, told) = (Arc::clone(&mailbox), Arc::clone(&progress));
        let publisher = thread::spawn(move || {
            told.wait_until(Duration::MAX, || to.outstanding() == 0);
        });
        mailbox.set_delivered(1);
        progress.notify();
        publisher.join().expect("the publisher ends");
    });
}

/// Whoever waits for room of a shard that ends is let go of, and its letter is thrown away. Without
/// the look at `closed` in `reserve`: a deadlock.
#[test]
fn a_mailbox_that_closes_holds_nobody_up() {
    model(|| {
        let (mailbox, _bell) = mailbox(1);
        let progress = Arc::new(Progress::default());
        assert!(mailbox.push(letter()).is_ok());
        let (to, told) = (Arc::clone(&mailbox), Arc::clone(&progress));
        let publisher = thread::spawn(move || {
            told.wait_until(Duration::MAX, || to.reserve());
            to.push_reserved(letter());
            assert_eq!(to.outstanding(), 0, "nobody will deliver them");
        });
        mailbox.close();
        progress.notify();
        publisher.join().expect("the publisher ends");
        assert!(mailbox.reserve(), "room without end");
    });
}
