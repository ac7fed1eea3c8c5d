//! What all shards and publishers of a server share: topics by name, mailboxes, places.
//!
//! A message is encoded once, here, under its topic's lock; the shards share its bytes. A shard without
//! a subscriber is neither written to nor woken. Every shard with one gets the publication, or none
//! does: room in all their mailboxes is reserved first.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tickwire_protocol::{Kind, encode};

use crate::admission::Admission;
use crate::clock::Clock;
use crate::config::{Balance, Config};
use crate::deflate::Deflate;
use crate::directory::Directory;
use crate::epoch::Epoch;
use crate::error::Full;
use crate::frame::Frame;
use crate::frames::Frames;
use crate::io::Key;
use crate::latency::{Latencies, Published};
use crate::loads::Loads;
use crate::mailbox::{Mail, Mailbox};
use crate::pace::Pace;
use crate::progress::Progress;
use crate::topic::Topic;

/// What all shards and publishers of a server share.
pub(crate) struct Hub {
    pub(crate) directory: Arc<Directory>,
    pub(crate) mailboxes: Arc<[Mailbox]>,
    pub(crate) admission: Admission,
    pub(crate) progress: Progress,
    /// What publications are dated by.
    pub(crate) clock: Clock,
    /// How long they took.
    pub(crate) latencies: Latencies,
    /// What publications are made of.
    frames: Frames,
    /// What the server offers of compression.
    pub(crate) deflate: Option<Deflate>,
    /// How fast connections are accepted, if that is limited.
    pub(crate) pace: Option<Pace>,
    /// Present where shards share newcomers out.
    pub(crate) loads: Option<Loads>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hub").field("mailboxes", &self.mailboxes).finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub of these shards for a server as `config` says.
    pub(crate) fn new(mailboxes: Box<[Mailbox]>, config: &Config, epoch: Epoch) -> Self {
        let mailboxes: Arc<[Mailbox]> = mailboxes.into();
        let shares_out = config.balance == Balance::LeastLoaded && mailboxes.len() > 1;
        Self {
            directory: Arc::new(Directory::new(epoch, Arc::clone(&mailboxes))),
            admission: Admission::new(&config.limits, config.origins.clone()),
            progress: Progress::default(),
            clock: Clock::default(),
            latencies: Latencies::new(mailboxes.len()),
            frames: Frames::default(),
            deflate: config.deflate,
            pace: config.limits.accepts_per_second_max.map(Pace::new),
            loads: shares_out.then(|| Loads::new(mailboxes.len())),
            mailboxes,
        }
    }

    /// The same, in another time.
    pub(crate) fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    pub(crate) fn frame(&self, encoded: &[u8]) -> Frame {
        Frame::new(encoded, self.may_deflate(encoded))
    }

    pub(crate) fn may_deflate(&self, encoded: &[u8]) -> bool {
        self.deflate.is_some_and(|deflate| encoded.len() > deflate.threshold_bytes)
    }

    /// Publishes without waking anybody, unless it has to wait for room.
    pub(crate) fn publish_waiting(
        &self,
        topic: &Topic,
        kind: Kind,
        at_ns: u64,
        exclude: Option<(usize, Key)>,
        write: impl FnOnce(u64, &mut Vec<u8>, &mut Vec<u8>),
    ) -> u64 {
        let mut once = once(write);
        loop {
            match self.publish(topic, kind, at_ns, exclude, &mut once) {
                Ok(seq) => return seq,
                Err(NoRoom { .. }) => {
                    self.wake();
                    // Bounded, because a notice between the refusal and the wait would be missed.
                    self.progress.wait(Duration::from_millis(1));
                }
            }
        }
    }

    /// Publishes without waking anybody, unless there is no room.
    pub(crate) fn try_publish(
        &self,
        topic: &Topic,
        kind: Kind,
        at_ns: u64,
        exclude: Option<(usize, Key)>,
        write: impl FnOnce(u64, &mut Vec<u8>, &mut Vec<u8>),
    ) -> Result<u64, Full> {
        self.publish(topic, kind, at_ns, exclude, &mut once(write)).map_err(|NoRoom { shard }| {
            self.mailboxes[shard].count_refused();
            self.wake();
            Full
        })
    }

    /// As [`Hub::try_publish`], for a publisher that does without.
    pub(crate) fn publish_or_drop(
        &self,
        topic: &Topic,
        kind: Kind,
        at_ns: u64,
        exclude: Option<(usize, Key)>,
        write: impl FnOnce(u64, &mut Vec<u8>, &mut Vec<u8>),
    ) -> Option<u64> {
        let published = self.publish(topic, kind, at_ns, exclude, &mut once(write));
        let dropped = |NoRoom { shard }: &NoRoom| {
            self.mailboxes[*shard].count_dropped();
            self.wake();
        };
        published.inspect_err(dropped).ok()
    }

    /// Wakes the shards that sleep and have mail.
    pub(crate) fn wake(&self) {
        Mailbox::wake_all(&self.mailboxes);
    }

    /// Gives the publication, dated `at_ns`, to every interested shard, or to none: then `write` has not
    /// run.
    fn publish(
        &self,
        topic: &Topic,
        kind: Kind,
        at_ns: u64,
        exclude: Option<(usize, Key)>,
        write: Write<'_>,
    ) -> Result<u64, NoRoom> {
        let mut locked = topic.lock();
        let state = &mut *locked;
        let room = Reservation::of(&self.mailboxes, &state.interested)?;
        let seq = state.seq + 1;
        state.payload.clear();
        state.retained_payload.clear();
        // If it panics, nothing was published and the room is given back.
        write(seq, &mut state.payload, &mut state.retained_payload);
        room.use_up();
        state.seq = seq;
        let is_news = state.retain(kind, self) && topic.note_retention(state);
        if !state.interested.is_empty() || state.ring.is_some() {
            state.encoded.clear();
            encode::message(kind, &state.payload, &mut state.encoded);
            let message_len = state.encoded.len();
            let may_deflate = self.may_deflate(&state.encoded);
            if !state.valued.is_empty() && !state.retained_payload.is_empty() {
                encode::message(kind, &state.retained_payload, &mut state.encoded);
            }
            let frame = match &mut state.ring {
                None => self.frames.frame(&state.encoded, message_len, may_deflate),
                Some(ring) => ring.push(&state.encoded, message_len, may_deflate),
            };
            let published = Published { at_ns, class: state.class };
            let mail = |shard: usize, frame| {
                let exclude = exclude.filter(|it| it.0 == shard).map(|it| it.1);
                Mail::Publish { topic: topic.key(), seq, frame, exclude, published }
            };
            if let [first @ .., last] = &*state.interested {
                for shard in first {
                    self.mailboxes[*shard].push_reserved(mail(*shard, frame.clone()));
                }
                self.mailboxes[*last].push_reserved(mail(*last, frame));
            }
        }
        drop(locked);
        if is_news {
            self.directory.settle(topic);
        }
        Ok(seq)
    }

    /// Shard `index` has ended: nobody waits for it any more.
    pub(crate) fn close(&self, index: usize) {
        self.mailboxes[index].close();
        self.directory.close(index);
        self.progress.notify();
    }

    /// Pushes a letter to each shard, waiting for room.
    pub(crate) fn deliver_to_all(&self, mail: impl Fn() -> Mail) {
        for mailbox in &*self.mailboxes {
            self.deliver(mailbox, mail());
        }
    }

    /// Pushes a letter that is not a publication, waiting for room.
    pub(crate) fn deliver(&self, mailbox: &Mailbox, mail: Mail) {
        let mut mail = mail;
        while let Err(back) = mailbox.push(mail) {
            mail = back;
            self.progress.wait(Duration::from_millis(1));
        }
    }
}

/// Makes a message and, if it wants, a new retained value of a sequence number.
type Write<'a> = &'a mut dyn FnMut(u64, &mut Vec<u8>, &mut Vec<u8>);

/// A closure that is called once at most, as one that may be asked for again.
fn once(
    write: impl FnOnce(u64, &mut Vec<u8>, &mut Vec<u8>),
) -> impl FnMut(u64, &mut Vec<u8>, &mut Vec<u8>) {
    let mut write = Some(write);
    move |seq, message, retained| {
        if let Some(write) = write.take() {
            write(seq, message, retained);
        }
    }
}

/// The mailbox of this shard is full.
struct NoRoom {
    shard: usize,
}

/// Room for one letter in several mailboxes, given back when it is dropped unused.
struct Reservation<'a> {
    mailboxes: &'a [Mailbox],
    /// Of these shards' mailboxes the first `count` have room for us.
    shards: &'a [usize],
    count: usize,
}

impl<'a> Reservation<'a> {
    fn of(mailboxes: &'a [Mailbox], shards: &'a [usize]) -> Result<Self, NoRoom> {
        let mut room = Self { mailboxes, shards, count: 0 };
        for shard in shards {
            if !mailboxes[*shard].reserve() {
                return Err(NoRoom { shard: *shard });
            }
            room.count += 1;
        }
        Ok(room)
    }

    /// Each place will be taken by `Mailbox::push_reserved`.
    fn use_up(mut self) {
        self.count = 0;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        for shard in &self.shards[..self.count] {
            self.mailboxes[*shard].release();
        }
    }
}
