//! The two queues that are shared with the kernel: requests in, completions out.
//!
//! Everything that is asked of the kernel goes through a method here that knows what the kernel will
//! look at, and until when: most requests name a descriptor and nothing else, and [`Ring::send`] is
//! the one whose pointers its caller answers for. Completions that are not wanted yet are set aside
//! in their order. It does not know what a connection is.
//!
//! Invariant: `in_flight` counts the requests that the kernel still holds; while it is not 0, nothing
//! that they point to is freed.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::time::Duration;

use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Submitter, cqueue, opcode, squeue};
use rustix::io::Errno;
use rustix::net::SendFlags;

/// Which file a request is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// An entry of the ring's own table: not counted against the limit of open files, and found
    /// without the process's table.
    Direct(u32),
    /// An ordinary descriptor.
    Plain(RawFd),
}

/// Builds a request for either kind of target.
macro_rules! request {
    ($target:expr, |$file:ident| $request:expr) => {
        match $target {
            Target::Direct(index) => {
                let $file = Fixed(index);
                $request
            }
            Target::Plain(descriptor) => {
                let $file = Fd(descriptor);
                $request
            }
        }
    };
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Operation {
    Accept,
    Receive,
    Writable,
    Connect,
    Finish,
    Send,
    Wake,
    /// Whose completion says nothing: a cancellation, the closing of a descriptor.
    Aside,
}

/// What comes back with each completion of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) operation: Operation,
    /// Less than [`Tag::SLOTS_MAX`].
    pub(super) slot: u32,
    /// Differs for each socket that ever used the slot.
    pub(super) incarnation: u32,
}

impl Tag {
    /// 28 bits of the 64 that the kernel hands through; more sockets than any machine can hold.
    pub(super) const SLOTS_MAX: u32 = 1 << 28;

    const fn pack(self) -> u64 {
        (self.operation as u64) << 60 | (self.slot as u64) << 32 | self.incarnation as u64
    }

    #[expect(clippy::cast_possible_truncation, reason = "the parts of what was packed")]
    const fn unpack(packed: u64) -> Self {
        let operation = match packed >> 60 {
            0 => Operation::Accept,
            1 => Operation::Receive,
            2 => Operation::Writable,
            3 => Operation::Connect,
            4 => Operation::Finish,
            5 => Operation::Send,
            6 => Operation::Wake,
            _ => Operation::Aside,
        };
        let slot = (packed >> 32) as u32 & (Self::SLOTS_MAX - 1);
        Self { operation, slot, incarnation: packed as u32 }
    }
}

/// What has become of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completed {
    pub(super) tag: Tag,
    /// What the system call would have given: not negative, or an error number.
    pub(super) result: Result<u32, Errno>,
    /// More completions of the same request will follow.
    pub(super) more: bool,
    /// The receive buffer that was used, and whether the kernel goes on filling it.
    pub(super) buffer: Option<(u16, bool)>,
}

/// A ring that is in use, on the one thread that may use it.
pub(super) struct Ring {
    ring: NonNull<IoUring>,
    /// Knows the number under which the ring's descriptor is registered.
    submitter: Submitter<'static>,
    /// Requests that the kernel has not taken from the queue.
    queued: u32,
    in_flight: usize,
    /// Completions that were come upon while others were looked for.
    aside: VecDeque<Completed>,
    /// Flags of every wait.
    waiting: EnterFlags,
    /// The kernel has refused requests for good, whose pointers may dangle: it is never entered again.
    is_broken: bool,
}

impl fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Ring")
            .field("queued", &self.queued)
            .field("in_flight", &self.in_flight)
            .field("aside", &self.aside.len())
            .finish_non_exhaustive()
    }
}

impl Ring {
    /// Takes over a ring that is enabled, on the thread that has enabled it.
    pub(super) fn new(ring: IoUring) -> Self {
        let has_no_iowait = ring.params().is_feature_no_iowait();
        let ring = NonNull::from(Box::leak(Box::new(ring)));
        // SAFETY: it was leaked just now, and is freed in `drop`, behind every use of `submitter`.
        let mut submitter = unsafe { ring.as_ref() }.submitter();
        // Saves finding the descriptor in the process's table in each call; nothing depends on it.
        if let Err(error) = submitter.register_ring_fd() {
            tracing::debug!(%error, "the ring's descriptor cannot be registered");
        }
        let mut waiting = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        // A shard that waits for its peers does not wait for a disk.
        waiting.set(EnterFlags::NO_IOWAIT, has_no_iowait);
        Self {
            ring,
            submitter,
            queued: 0,
            in_flight: 0,
            aside: VecDeque::new(),
            waiting,
            is_broken: false,
        }
    }

    /// Takes one connection from the queue of `listener`.
    ///
    /// # Safety
    /// `address` and `length` stay where they are, and are looked at by nobody, until the request's
    /// last completion.
    pub(super) unsafe fn accept(
        &mut self,
        tag: Tag,
        listener: RawFd,
        address: *mut socket2::SockAddrStorage,
        length: *mut socket2::socklen_t,
        into_table: bool,
    ) {
        let accept = opcode::Accept::new(Fd(listener), address.cast(), length);
        let accept = if into_table {
            accept.file_index(Some(DestinationSlot::auto_target()))
        } else {
            accept.flags(rustix::net::SocketFlags::CLOEXEC.bits().cast_signed())
        };
        self.push(tag, accept.build());
    }

    /// Receives again and again, each time into a buffer of the group.
    pub(super) fn receive(&mut self, tag: Tag, target: Target, group: u16) {
        let entry = request!(target, |file| opcode::RecvMulti::new(file, group).build());
        self.push(tag, entry);
    }

    /// Completes when `target` can be written to.
    pub(super) fn poll_writable(&mut self, tag: Tag, target: Target) {
        let events = u32::from(rustix::event::PollFlags::OUT.bits());
        let entry = request!(target, |file| opcode::PollAdd::new(file, events).build());
        self.push(tag, entry);
    }

    /// Completes each time when `descriptor` becomes readable.
    pub(super) fn poll_readable(&mut self, tag: Tag, descriptor: RawFd) {
        let events = u32::from(rustix::event::PollFlags::IN.bits());
        self.push(tag, opcode::PollAdd::new(Fd(descriptor), events).multi(true).build());
    }

    /// Ends our half of the stream. The kernel does that on a thread of its own.
    pub(super) fn shutdown(&mut self, tag: Tag, target: Target) {
        /// SHUT_WR of shutdown(2).
        const WRITE: i32 = 1;
        let entry = request!(target, |file| opcode::Shutdown::new(file, WRITE).build());
        self.push(tag, entry);
    }

    /// Takes a request back; its last completion then follows.
    pub(super) fn cancel(&mut self, tag: Tag) {
        self.push(Self::ASIDE, opcode::AsyncCancel::new(tag.pack()).build());
    }

    /// Gives a descriptor back, behind all that was asked for it before.
    pub(super) fn close(&mut self, target: Target) {
        let entry = request!(target, |file| opcode::Close::new(file).build());
        self.push(Self::ASIDE, entry);
    }

    /// Sends without waiting, so that the request is complete when it has been taken from the queue.
    ///
    /// # Safety
    /// `bytes` is readable until the completion has been seen, or the ring is broken.
    pub(super) unsafe fn send(&mut self, tag: Tag, target: Target, bytes: *const [u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let flags = Self::SEND_FLAGS.bits().cast_signed();
        let entry = request!(target, |file| {
            opcode::Send::new(file, bytes.cast(), length).flags(flags).build()
        });
        self.push(tag, entry);
    }

    /// As [`Ring::send`], of several slices.
    ///
    /// # Safety
    /// `message`, its slices and their bytes are readable until the completion has been seen, or the
    /// ring is broken.
    pub(super) unsafe fn send_slices(
        &mut self,
        tag: Tag,
        target: Target,
        message: *const libc::msghdr,
    ) {
        let flags = Self::SEND_FLAGS.bits();
        let entry =
            request!(target, |file| opcode::SendMsg::new(file, message).flags(flags).build());
        self.push(tag, entry);
    }

    /// How many requests fit in the queue now.
    pub(super) fn room(&self) -> usize {
        let queue = self.submissions();
        queue.capacity() - queue.len()
    }

    /// Gives the kernel what is queued, which may take a part of it only. Runs nothing that waits to
    /// be completed.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        if self.is_broken {
            return Err(Self::broken());
        }
        // SAFETY: what the requests point to is answered for by whoever has queued them.
        let taken = unsafe { self.submitter.enter::<u64>(self.queued, 0, 0, None) };
        self.taken(taken?);
        Ok(())
    }

    /// Gives the kernel what is queued, lets it complete what it can, and waits for completions: until
    /// there is one, or for at most `timeout`.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.is_broken {
            return Err(Self::broken());
        }
        let timespec = timeout.map(Timespec::from).unwrap_or_default();
        // Without waiting there is nothing to time.
        let wanted = u32::from(timeout.is_none_or(|timeout| !timeout.is_zero()));
        let args = match timeout {
            Some(_) if wanted > 0 => SubmitArgs::new().timespec(&timespec),
            _ => SubmitArgs::new(),
        };
        let flags = self.waiting.bits();
        // SAFETY: as in `submit`; `args` and the time that it points to outlive the call.
        let taken = unsafe { self.submitter.enter(self.queued, wanted, flags, Some(&args)) };
        match taken {
            Ok(taken) => {
                self.taken(taken);
                Ok(())
            }
            Err(error) => match Errno::from_io_error(&error) {
                // The time is over, a signal came, or completions must be taken first.
                Some(Errno::TIME | Errno::INTR | Errno::BUSY | Errno::AGAIN) => Ok(()),
                Some(Errno::BADR) => Err(io::Error::other(
                    "the kernel has lost completions for want of memory; no connection can be trusted",
                )),
                _ => Err(error),
            },
        }
    }

    /// How many completions there are to take.
    pub(super) fn completed(&self) -> usize {
        self.aside.len() + self.completions().len()
    }

    /// The oldest completion.
    pub(super) fn next(&mut self) -> Option<Completed> {
        if !self.aside.is_empty() {
            return self.aside.pop_front();
        }
        self.newest()
    }

    /// Gives back what was taken last; it is the oldest again.
    pub(super) fn put_back(&mut self, completed: Completed) {
        self.aside.push_front(completed);
    }

    /// The next completion of a send; others are set aside. `None`: there is none yet.
    pub(super) fn next_send(&mut self) -> Option<Completed> {
        while let Some(completed) = self.newest() {
            if completed.tag.operation == Operation::Send {
                return Some(completed);
            }
            self.aside.push_back(completed);
        }
        None
    }

    /// Never enters the kernel again: what is queued is not to be looked at by anybody.
    pub(super) const fn give_up(&mut self) {
        self.is_broken = true;
    }

    /// Ends everything that is in flight, and tells `told` of each completion; `false`: some of it could
    /// not be ended, and the kernel may still write to where it was told to.
    pub(super) fn end(&mut self, mut told: impl FnMut(&Completed)) -> bool {
        /// Each time a round of completions, or a wait of 50 ms.
        const ROUNDS_MAX: usize = 100;
        if self.in_flight > 0 || self.queued > 0 {
            self.push(Self::ASIDE, opcode::AsyncCancel2::new(CancelBuilder::any()).build());
        }
        for _ in 0..ROUNDS_MAX {
            while let Some(completed) = self.next() {
                told(&completed);
            }
            if self.in_flight == 0 {
                return true;
            }
            if self.wait(Some(Duration::from_millis(50))).is_err() {
                return false;
            }
        }
        false
    }

    const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

    const ASIDE: Tag = Tag { operation: Operation::Aside, slot: 0, incarnation: 0 };

    fn broken() -> io::Error {
        io::Error::other("the kernel takes no more requests")
    }

    fn push(&mut self, tag: Tag, entry: squeue::Entry) {
        let entry = entry.user_data(tag.pack());
        while self.room() == 0 && !self.is_broken {
            if let Err(error) = self.submit()
                && !matches!(Errno::from_io_error(&error), Some(Errno::INTR))
                // What holds it up may be completions that nobody takes.
                && self.wait(Some(Duration::ZERO)).is_err()
            {
                tracing::error!(%error, "the kernel takes no requests");
                self.give_up();
            }
        }
        if self.is_broken {
            return;
        }
        // SAFETY: the queue exists for this call only, and `self` is borrowed alone.
        let mut queue = unsafe { self.ring().submission_shared() };
        // SAFETY: what the entry points to is answered for by whoever has called the unsafe method
        // that made it; the others point to nothing.
        let pushed = unsafe { queue.push(&entry) };
        debug_assert!(pushed.is_ok(), "there is room");
        drop(queue);
        self.queued += 1;
        self.in_flight += 1;
    }

    fn taken(&mut self, taken: usize) {
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        self.queued = self.queued.saturating_sub(taken);
    }

    fn newest(&mut self) -> Option<Completed> {
        let entry = self.completions().next()?;
        let more = cqueue::more(entry.flags());
        if !more {
            self.in_flight -= 1;
        }
        let is_kept = cqueue::buffer_more(entry.flags());
        Some(Completed {
            tag: Tag::unpack(entry.user_data()),
            result: u32::try_from(entry.result())
                .map_err(|_| Errno::from_raw_os_error(-entry.result())),
            more,
            buffer: cqueue::buffer_select(entry.flags()).map(|id| (id, is_kept)),
        })
    }

    const fn ring(&self) -> &IoUring {
        // SAFETY: it is valid until `drop`.
        unsafe { self.ring.as_ref() }
    }

    fn submissions(&self) -> squeue::SubmissionQueue<'_> {
        // SAFETY: only `push` writes to the queue, and it borrows `self` alone.
        unsafe { self.ring().submission_shared() }
    }

    fn completions(&self) -> cqueue::CompletionQueue<'_> {
        // SAFETY: no two of them exist at once: each is dropped in the statement that asks for it.
        unsafe { self.ring().completion_shared() }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: it was leaked by `new`; `submitter`, which borrows it, is not used any more.
        drop(unsafe { Box::from_raw(self.ring.as_ptr()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_comes_back_as_it_was() {
        for operation in [
            Operation::Accept,
            Operation::Receive,
            Operation::Writable,
            Operation::Connect,
            Operation::Finish,
            Operation::Send,
            Operation::Wake,
            Operation::Aside,
        ] {
            for slot in [0, 1, 0x0123_4567, Tag::SLOTS_MAX - 1] {
                for incarnation in [0, 1, 0x89ab_cdef, u32::MAX] {
                    let tag = Tag { operation, slot, incarnation };
                    assert_eq!(Tag::unpack(tag.pack()), tag);
                }
            }
        }
    }
}
