//! What this kernel's io_uring can do, found out by trying it.
//!
//! Versions tell little: distributions carry features back, and sandboxes take them away. So a small
//! ring is made in the best way that the kernel takes, and bytes are sent through it as they will be
//! later. What cannot be done without is told in words, with the way out.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use io_uring::IoUring;
use rustix::io::Errno;

use super::buffers::{Buffers, Shape};
use super::ring::{Operation, Ring, Tag, Target};

/// How rings are made here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    pub(super) setup: Setup,
    pub(super) buffers: Shape,
    /// Requests that can be queued.
    pub(super) requests: u32,
    /// Completions that have a place; more than that wait in the kernel.
    pub(super) completions: u32,
}

/// A way to set up a ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    /// Completions are worked out when they are waited for, and at no other time (Linux 6.1); else
    /// whenever the thread enters the kernel (5.19). A ring with neither interrupts the thread for
    /// each, which costs 8 to 23 % more than epoll does.
    deferred: bool,
    /// The queue of requests is a plain ring, without an index in front of it (6.6).
    flat: bool,
}

impl Features {
    /// Finds the best that works.
    ///
    /// # Errors
    /// When no ring can be made, or none that receives as is needed.
    pub(crate) fn find() -> io::Result<Self> {
        let mut refusal = io::Error::from(Errno::INVAL);
        for setup in Setup::BEST_FIRST {
            for buffers in [Shape::INCREMENTAL, Shape::WHOLE] {
                let features = Self { setup, buffers, requests: 512, completions: 4096 };
                match features.receives() {
                    Ok(()) => return Ok(features),
                    Err(error) => refusal = error,
                }
            }
            // Only what the kernel does not know may be different in another way.
            if Errno::from_io_error(&refusal) != Some(Errno::INVAL) {
                break;
            }
        }
        Err(refusal)
    }

    /// In words for a log: how completions come and what is received into.
    pub(crate) const fn describe(&self) -> &'static str {
        match (self.setup.deferred, self.buffers.incremental) {
            (true, true) => "deferred task work, incremental buffers",
            (true, false) => "deferred task work, whole buffers",
            (false, true) => "cooperative task work, incremental buffers",
            (false, false) => "cooperative task work, whole buffers",
        }
    }

    /// A ring that is to be enabled on the thread that will use it.
    pub(super) fn disabled_ring(&self) -> io::Result<IoUring> {
        self.setup.builder(self.completions).setup_r_disabled().build(self.requests)
    }

    /// Gives `ring` a table of files of its own; whether it can be had.
    pub(super) fn register_table(self, ring: &IoUring, files: usize) -> bool {
        let files = u32::try_from(files).unwrap_or(u32::MAX);
        match ring.submitter().register_files_sparse(files) {
            Ok(()) => true,
            Err(error) => {
                tracing::info!(%error, "the ring has no table of files; ordinary descriptors do");
                false
            }
        }
    }

    /// Receives twice through a small ring, as later for every socket.
    fn receives(&self) -> io::Result<()> {
        let ring = self.setup.builder(16).build(8)?;
        let mut buffers = Buffers::new(&ring, Shape { count: 2, bytes: 64, ..self.buffers })?;
        let mut ring = Ring::new(ring);
        let (mut near, far) = UnixStream::pair()?;
        let tag = Tag { operation: Operation::Receive, slot: 1, incarnation: 2 };
        ring.receive(tag, Target::Plain(far.as_raw_fd()), Buffers::GROUP);
        let received = [&b"first"[..], b"second"].into_iter().try_for_each(|message| {
            near.write_all(message)?;
            ring.wait(Some(Duration::from_secs(1)))?;
            let completed = ring.next().ok_or_else(|| io::Error::from(Errno::INVAL))?;
            let length = completed.result.map_err(io::Error::from)?;
            let (id, is_kept) = completed.buffer.ok_or_else(|| io::Error::from(Errno::INVAL))?;
            let piece = buffers.received(id, is_kept, length);
            let is_right = completed.tag == tag && completed.more;
            if is_right && buffers.bytes(piece) == message && is_kept == self.buffers.incremental {
                Ok(())
            } else {
                Err(Errno::INVAL.into())
            }
        });
        if !ring.end(|_| {}) {
            // The kernel may still write to them.
            std::mem::forget(buffers);
        }
        received
    }
}

impl Setup {
    const BEST_FIRST: [Self; 3] = [
        Self { deferred: true, flat: true },
        Self { deferred: true, flat: false },
        Self { deferred: false, flat: false },
    ];

    fn builder(self, completions: u32) -> io_uring::Builder {
        let mut builder = IoUring::builder();
        // A request that fails does not hold up those behind it.
        builder.setup_cqsize(completions).setup_clamp().setup_submit_all();
        if self.deferred {
            builder.setup_single_issuer().setup_defer_taskrun();
        } else {
            builder.setup_coop_taskrun();
        }
        if self.flat {
            builder.setup_no_sqarray();
        }
        builder
    }
}

/// Why there is no io_uring here, and the way out.
pub(crate) fn explain(error: &io::Error) -> String {
    let sysctl = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let disabled = sysctl.is_ok_and(|value| value.trim() != "0");
    let why = match Errno::from_io_error(error) {
        Some(Errno::NOSYS) => {
            "this kernel has none, or a sandbox hides it: it takes Linux 6.0, and a seccomp filter that \
             allows io_uring_setup, io_uring_enter and io_uring_register"
        }
        Some(Errno::PERM | Errno::ACCESS) if disabled => {
            "the system forbids it: set the sysctl kernel.io_uring_disabled to 0"
        }
        Some(Errno::PERM | Errno::ACCESS) => {
            "it is forbidden here, as containers do: allow io_uring_setup, io_uring_enter and \
             io_uring_register in the seccomp filter"
        }
        Some(Errno::NOMEM) => {
            "it gets no memory for its queues: raise the limit of locked memory (ulimit -l, or \
             LimitMEMLOCK= of systemd)"
        }
        Some(Errno::MFILE | Errno::NFILE) => "no file can be opened any more: raise ulimit -n",
        Some(Errno::INVAL | Errno::OPNOTSUPP) => {
            "this kernel's is too old: it takes Linux 6.0, for receiving into a ring of buffers"
        }
        _ => return format!("{error}; epoll runs everywhere"),
    };
    format!("{why}; or use epoll ({error})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_says_what_to_do() {
        for (errno, way_out) in [
            (Errno::NOSYS, "Linux 6.0"),
            (Errno::PERM, "allow"),
            (Errno::NOMEM, "LimitMEMLOCK"),
            (Errno::MFILE, "ulimit -n"),
            (Errno::INVAL, "Linux 6.0"),
            (Errno::IO, "epoll"),
        ] {
            let words = explain(&errno.into());
            // Where the sysctl forbids it, that is the word.
            let is_sysctl = errno == Errno::PERM && words.contains("kernel.io_uring_disabled");
            assert!(words.contains(way_out) || is_sysctl, "{words}");
            assert!(words.contains("epoll"), "{words}");
        }
    }
}
