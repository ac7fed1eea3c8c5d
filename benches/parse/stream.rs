//! A stream that receives the same buffer for ever, for libraries that have no bare parser.
//!
//! A read gives what a socket with the buffer's bytes queued would give: as many as are left of it
//! and fit. It is always ready, so that a future over it is complete when it is first polled, and no
//! runtime is needed to drive it. Writes go nowhere.

use std::future::Future;
use std::io::{self, Read, Write};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The buffer, and how far it has been read.
#[derive(Debug)]
pub(crate) struct Repeated {
    bytes: Vec<u8>,
    at: usize,
}

impl Repeated {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), at: 0 }
    }

    /// The next at most `most` bytes.
    fn next_bytes(&mut self, most: usize) -> &[u8] {
        let from = self.at;
        let until = self.bytes.len().min(from + most);
        self.at = until % self.bytes.len();
        &self.bytes[from..until]
    }
}

impl Read for Repeated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.next_bytes(buffer.len());
        buffer[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

impl Write for Repeated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Repeated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = buffer.remaining();
        buffer.put_slice(self.next_bytes(most));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Repeated {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What a future gives that has all it needs.
///
/// # Panics
///
/// If it would wait.
#[inline]
pub(crate) fn ready<F: Future>(future: F) -> F::Output {
    poll(|context| pin!(future).poll(context))
}

/// Polls once, with a waker that wakes nobody.
///
/// # Panics
///
/// If there is something to wait for.
#[inline]
pub(crate) fn poll<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> T {
    match poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the stream has bytes at any time"),
    }
}
