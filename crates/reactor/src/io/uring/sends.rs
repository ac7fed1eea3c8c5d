//! A batch of sends, from borrowed slices to requests and back to results.
//!
//! The slices of a batch are borrowed for the call that sends them, so all of its requests must be
//! over when that call returns. They are: a send that does not wait is complete when the kernel has
//! taken it from the queue. Should the kernel refuse to take some, the ring is given up with them in
//! it, and never looked at again.
//!
//! Invariant: requests that point to the slices of a batch are queued by [`Sends::run`] only, and when
//! it returns each of them has completed, or the ring is broken.

use std::time::Duration;

use rustix::io::Errno;

use super::ring::{Operation, Ring, Tag, Target};
use crate::io::{Outgoing, Sent};

/// The sends of one batch that are on their way together.
#[derive(Debug)]
pub(super) struct Sends {
    items: Vec<Item>,
    /// For those of two slices: where they lie, as the kernel wants to be told.
    slices: Vec<[libc::iovec; 2]>,
    messages: Vec<libc::msghdr>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) slot: u32,
    pub(super) length: usize,
    /// Where its result belongs.
    pub(super) index: usize,
    target: Target,
    first: *const [u8],
    second: *const [u8],
}

impl Sends {
    /// As many leave together: the cost of a call is nothing then, and their completions fit in the
    /// queue many times.
    pub(super) const MAX: usize = 256;

    pub(super) fn new() -> Self {
        Self {
            items: Vec::with_capacity(Self::MAX),
            slices: Vec::with_capacity(Self::MAX),
            messages: Vec::with_capacity(Self::MAX),
        }
    }

    /// Notes a send; nothing is queued yet.
    pub(super) fn add(&mut self, slot: u32, target: Target, index: usize, outgoing: &Outgoing<'_>) {
        let (first, second) = match (outgoing.first, outgoing.second) {
            ([], second) => (second, &[][..]),
            both => both,
        };
        let length = first.len() + second.len();
        self.items.push(Item { slot, length, index, target, first, second });
    }

    pub(super) const fn len(&self) -> usize {
        self.items.len()
    }

    /// Sends what was noted, and puts what became of each into `results`.
    ///
    /// # Safety
    /// The slices of all that were added since the last `run` are still borrowed.
    pub(super) unsafe fn run(&mut self, ring: &mut Ring, results: &mut [Sent]) {
        /// How often in a row the kernel may take nothing, for want of memory, before it is given up.
        const REFUSALS_MAX: u32 = 1_000;
        for index in 0..self.items.len() {
            // SAFETY: passed on.
            unsafe { self.queue(index, ring) };
        }
        let (mut left, mut refusals) = (self.items.len(), 0);
        while left > 0 {
            let submitted = ring.submit();
            let before = left;
            while let Some(completed) = ring.next_send() {
                let item = &self.items[completed.tag.slot as usize];
                results[item.index] = outcome(completed.result);
                left -= 1;
            }
            if left == before {
                refusals += 1;
            }
            if left == 0 {
                break;
            }
            // Completions that had no place in the queue are put there, or what keeps the kernel from
            // taking more comes to an end.
            let waited = ring.wait(Some(Duration::ZERO));
            if refusals > REFUSALS_MAX || waited.is_err() {
                tracing::error!(?submitted, ?waited, left, "the kernel takes no more sends");
                ring.give_up();
                return;
            }
        }
    }

    /// The sends that have been run, with where their results are.
    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.slices.clear();
        self.messages.clear();
    }

    /// # Safety
    /// As [`Sends::run`].
    unsafe fn queue(&mut self, index: usize, ring: &mut Ring) {
        let item = &self.items[index];
        let slot = u32::try_from(index).expect("at most 256");
        let tag = Tag { operation: Operation::Send, slot, incarnation: 0 };
        if item.second.is_empty() {
            // SAFETY: the bytes are borrowed until `run` returns, and by then it has completed.
            return unsafe { ring.send(tag, item.target, item.first) };
        }
        // Room for as many was reserved, so what has been pushed stays where it is.
        self.slices.push([item.first, item.second].map(|slice| libc::iovec {
            iov_base: slice.cast::<libc::c_void>().cast_mut(),
            iov_len: slice.len(),
        }));
        let slices = self.slices.last_mut().expect("it was pushed just now");
        // SAFETY: it is plain numbers and pointers, for all of which zero is a value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = slices.as_mut_ptr();
        message.msg_iovlen = 2;
        self.messages.push(message);
        let message = self.messages.last().expect("it was pushed just now");
        // SAFETY: the bytes as above; the message and its slices stay until `clear`.
        unsafe { ring.send_slices(tag, item.target, message) };
    }
}

fn outcome(result: Result<u32, Errno>) -> Sent {
    match result {
        Ok(count) => Sent::Taken(count as usize),
        Err(Errno::AGAIN | Errno::INTR) => Sent::Taken(0),
        Err(error) => Sent::Broken(std::io::Error::from(error).kind()),
    }
}
