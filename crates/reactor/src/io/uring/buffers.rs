//! Where the kernel puts what is received: one ring of buffers for all sockets of a shard.
//!
//! The kernel takes a buffer when bytes are there, not when they are waited for, so connections that
//! are silent hold none. A buffer is lent to the shard for one completion and given back with the
//! next. Where the kernel can, it fills a buffer piece by piece (incremental consumption), so that a
//! few large ones serve long reads and short messages alike; else there are many small ones.
//!
//! Invariant: a buffer is the kernel's from [`Buffers::give_back`] until a completion says that it is
//! done with it, and ours from then on. While it is the kernel's, only bytes that completions have
//! told of are looked at.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::{BufRingEntry, IOU_PBUF_RING_INC};

/// How many buffers, and how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// A power of two.
    pub(super) count: u16,
    pub(super) bytes: u32,
    /// The kernel fills each piece by piece.
    pub(super) incremental: bool,
}

impl Shape {
    /// 1 MB that is filled piece by piece. More in all is slower: it does not stay in the cache. Smaller
    /// ones cut more messages in two: 8 of 16 KB made an echo of 16 KB dearer by a fifth, 16 of 64 KB by
    /// some per cent.
    pub(super) const INCREMENTAL: Self = Self { count: 4, bytes: 256 * 1024, incremental: true };

    /// 1 MB in pieces of which each holds one read.
    pub(super) const WHOLE: Self = Self { count: 256, bytes: 4 * 1024, incremental: false };
}

/// Received bytes, where they lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    id: u16,
    start: u32,
    length: u32,
    /// The kernel does not go on filling the buffer: it is to be given back.
    is_last: bool,
}

/// The buffers, and the ring in which they are given to the kernel.
#[derive(Debug)]
pub(super) struct Buffers {
    shape: Shape,
    /// `shape.count` entries, the first of which has the tail of the ring in a field of its own.
    entries: NonNull<BufRingEntry>,
    bytes: NonNull<u8>,
    /// By buffer: how far the kernel has filled it, as far as completions have told.
    filled: Box<[u32]>,
    tail: u16,
}

// SAFETY: it owns the memory that it points to, and nothing of it is bound to a thread.
unsafe impl Send for Buffers {}

impl Buffers {
    /// The one group of buffers of a ring.
    pub(super) const GROUP: u16 = 0;

    /// Makes buffers and registers them with `ring`; all are the kernel's.
    pub(super) fn new(ring: &IoUring, shape: Shape) -> io::Result<Self> {
        let entries = allocate(Self::entries_layout(shape)).cast();
        let bytes = allocate(Self::bytes_layout(shape));
        let filled = vec![0; usize::from(shape.count)].into_boxed_slice();
        let mut buffers = Self { shape, entries, bytes, filled, tail: 0 };
        let address = entries.as_ptr() as u64;
        let flags = if shape.incremental { IOU_PBUF_RING_INC } else { 0 };
        let flags = u16::try_from(flags).expect("a flag in the lower half");
        // SAFETY: the entries live as long as `self`, which outlives the ring's use of them: see
        // `Uring::drop`.
        let registered = unsafe {
            ring.submitter().register_buf_ring_with_flags(address, shape.count, Self::GROUP, flags)
        };
        registered?;
        for id in 0..shape.count {
            buffers.give_back(id);
        }
        Ok(buffers)
    }

    pub(super) const fn count(&self) -> usize {
        self.shape.count as usize
    }

    /// What a completion has put into a buffer: `length` bytes; `is_kept`: the kernel goes on filling
    /// it.
    pub(super) fn received(&mut self, id: u16, is_kept: bool, length: u32) -> Piece {
        let start = self.filled[usize::from(id)];
        if self.shape.incremental {
            self.filled[usize::from(id)] += length;
            // Nothing was put in, so the buffer stays the kernel's whatever the flag says.
            Piece { id, start, length, is_last: !is_kept && length > 0 }
        } else {
            Piece { id, start: 0, length, is_last: true }
        }
    }

    /// The bytes themselves.
    pub(super) fn bytes(&mut self, piece: Piece) -> &mut [u8] {
        let (start, length) = (piece.start as usize, piece.length as usize);
        let size = self.shape.bytes as usize;
        assert!(start + length <= size, "the kernel fills no buffer beyond its end");
        let offset = usize::from(piece.id) * size + start;
        // SAFETY: `id` is less than `count`, or `received` had panicked, so this is inside of what was
        // allocated.
        let pointer = unsafe { self.bytes.add(offset) };
        // SAFETY: the kernel has written these bytes, which it will not do again before the buffer is
        // given back, and nobody else has a reference into the buffers while `self` is borrowed.
        unsafe { std::slice::from_raw_parts_mut(pointer.as_ptr(), length) }
    }

    /// Whether a short piece ends where its buffer does, so that the kernel goes on in another one.
    pub(super) const fn is_cut(&self, piece: Piece) -> bool {
        /// To copy as much costs less than to keep half a message until its rest comes.
        const SHORT_BYTES_MAX: u32 = 32 * 1024;
        let is_short = piece.length <= SHORT_BYTES_MAX;
        self.shape.incremental && is_short && piece.start + piece.length == self.shape.bytes
    }

    /// The piece has been looked at: its buffer is the kernel's again if nothing else will be in it.
    pub(super) fn done(&mut self, piece: Piece) {
        if piece.is_last {
            self.give_back(piece.id);
        }
    }

    fn give_back(&mut self, id: u16) {
        self.filled[usize::from(id)] = 0;
        let index = usize::from(self.tail & (self.shape.count - 1));
        // SAFETY: the index is less than the number of entries.
        let mut entry = unsafe { self.entries.add(index) };
        // SAFETY: inside of what was allocated, as `id` is less than `count`.
        let bytes = unsafe { self.bytes.add(usize::from(id) * self.shape.bytes as usize) };
        // SAFETY: the kernel looks at entries up to the tail only, and this one is behind it; entries
        // are plain numbers, and zeroed memory is a valid one.
        let entry = unsafe { entry.as_mut() };
        entry.set_addr(bytes.as_ptr() as u64);
        entry.set_len(self.shape.bytes);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `entries` is the address of the first entry.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: it is aligned, lives as long as `self`, and all who look at it, here and in the
        // kernel, do so atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Whoever sees the new tail sees the entry.
        tail.store(self.tail, Ordering::Release);
    }

    /// The kernel wants the entries to begin with a page, of which no machine has larger ones.
    const fn entries_layout(shape: Shape) -> Layout {
        layout(shape.count as usize * size_of::<BufRingEntry>(), 64 * 1024)
    }

    const fn bytes_layout(shape: Shape) -> Layout {
        layout(shape.count as usize * shape.bytes as usize, 4 * 1024)
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; the kernel does not use it any more.
        unsafe { dealloc(self.entries.as_ptr().cast(), Self::entries_layout(self.shape)) };
        // SAFETY: as above.
        unsafe { dealloc(self.bytes.as_ptr(), Self::bytes_layout(self.shape)) };
    }
}

const fn layout(bytes: usize, alignment: usize) -> Layout {
    match Layout::from_size_align(bytes, alignment) {
        Ok(layout) => layout,
        Err(_) => panic!("buffers are small"),
    }
}

/// Zeroed memory, whose pages the system provides when they are first written to.
fn allocate(layout: Layout) -> NonNull<u8> {
    assert!(layout.size() > 0, "no ring is without buffers");
    // SAFETY: the layout is not empty.
    let pointer = unsafe { alloc_zeroed(layout) };
    NonNull::new(pointer).unwrap_or_else(|| handle_alloc_error(layout))
}
