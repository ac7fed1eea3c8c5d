//! The allocator that counts, and what a piece of work takes from it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    pub(crate) static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count(taken: usize, given: usize) {
    COUNT.set(COUNT.get() + usize::from(taken > 0));
    LIVE_BYTES.set(LIVE_BYTES.get() + taken.cast_signed() - given.cast_signed());
    PEAK_BYTES.set(PEAK_BYTES.get().max(LIVE_BYTES.get()));
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps to the contract of `alloc`, which is the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: `pointer` came from `System` with this layout, by the caller's contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size, layout.size());
        // SAFETY: `pointer` came from `System` with this layout, by the caller's contract.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a piece of work took from the heap.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) allocations: usize,
    /// Bytes held at its end, less those held before.
    pub(crate) kept_bytes: isize,
    /// Most bytes held meanwhile, less those held before.
    pub(crate) peak_bytes: isize,
}

pub(crate) const NOTHING: Taken = Taken { allocations: 0, kept_bytes: 0, peak_bytes: 0 };

pub(crate) fn taken_by<T>(work: impl FnOnce() -> T) -> (T, Taken) {
    let (count, live_bytes) = (COUNT.get(), LIVE_BYTES.get());
    PEAK_BYTES.set(live_bytes);
    let result = work();
    let taken = Taken {
        allocations: COUNT.get() - count,
        kept_bytes: LIVE_BYTES.get() - live_bytes,
        peak_bytes: PEAK_BYTES.get() - live_bytes,
    };
    (result, taken)
}
