//! What is received: from a completion to what the shard is lent.
//!
//! Bytes are lent where they lie, in a buffer, but for two cases: those that come while the shard does
//! not want them are kept by their socket, and a short piece at the end of a buffer is put together with
//! its rest in the next. A request that has ended for another reason than the socket's end is made
//! again, or waits until there are buffers.
//!
//! Invariant: each buffer that a completion names is either lent or done with, whoever it was for.

use std::io;

use rustix::io::Errno;

use super::buffers::Piece;
use super::ring::{Completed, Tag};
use super::{Found, Uring};
use crate::io::Key;

impl Uring {
    pub(super) fn received(&mut self, completed: &Completed) -> Option<Found> {
        let length = completed.result.unwrap_or(0);
        // Whoever it was for: the buffer is ours now, and must not be lost.
        let piece =
            completed.buffer.map(|(id, is_kept)| self.buffers.received(id, is_kept, length));
        let Self { sockets, buffers, .. } = self;
        let socket = sockets.get_mut(completed.tag.slot as usize);
        let socket = socket.filter(|it| it.incarnation == completed.tag.incarnation);
        let Some(socket) = socket else {
            buffers.done(piece?);
            return None;
        };
        socket.receiving = completed.more;
        let key = Key { slot: completed.tag.slot, generation: socket.generation };
        match (completed.result, piece) {
            (_, Some(piece)) if socket.closed => {
                buffers.done(piece);
                None
            }
            (Ok(1..), Some(piece)) if socket.paused => {
                let held = socket.held.get_or_insert_default();
                held.bytes.extend_from_slice(buffers.bytes(piece));
                buffers.done(piece);
                None
            }
            (Ok(1..), Some(piece)) => {
                let is_joined = buffers.is_cut(piece) && self.join(completed.tag, piece);
                self.receive(key);
                Some(if is_joined { Found::Held(key) } else { Found::Received(key, piece) })
            }
            (result, piece) => {
                if let Some(piece) = piece {
                    buffers.done(piece);
                }
                let is_closed = socket.closed;
                if is_closed { None } else { self.not_received(key, result.err()) }
            }
        }
    }

    /// Puts a short piece together with what follows it in the next buffer, if that is there: where a
    /// buffer ends is no reason to make the protocol keep half a message.
    fn join(&mut self, tag: Tag, piece: Piece) -> bool {
        let Some(next) = self.ring.next() else { return false };
        let (true, Ok(length @ 1..), Some((id, is_kept))) =
            (next.tag == tag, next.result, next.buffer)
        else {
            self.ring.put_back(next);
            return false;
        };
        self.sockets[tag.slot as usize].receiving = next.more;
        let rest = self.buffers.received(id, is_kept, length);
        for piece in [piece, rest] {
            self.lent_held.extend_from_slice(self.buffers.bytes(piece));
            self.buffers.done(piece);
        }
        true
    }

    /// A completion of a receive that has brought no bytes.
    fn not_received(&mut self, key: Key, error: Option<Errno>) -> Option<Found> {
        match error {
            Some(Errno::NOBUFS) => {
                self.starved.push_back(key);
                None
            }
            // Taken back for a pause that may be over by now, or ended for nothing.
            Some(Errno::CANCELED | Errno::AGAIN | Errno::INTR) => {
                self.receive(key);
                None
            }
            error => {
                let socket = &mut self.sockets[key.index()];
                if socket.paused {
                    socket.held.get_or_insert_default().end = Some(error);
                    // Whatever the kernel says twice, the end is told once.
                    socket.ended = true;
                    return None;
                }
                let is_news = !std::mem::replace(&mut socket.ended, true);
                is_news.then(|| Found::Ended(key, error.map(io::Error::from)))
            }
        }
    }

    /// What was held back of a socket that is received from again: its bytes, then its end.
    pub(super) fn unhold(&mut self, key: Key) -> Option<Found> {
        let socket = self.socket(key).filter(|socket| !socket.paused)?;
        let held = socket.held.as_mut()?;
        if !held.bytes.is_empty() {
            self.lent_held = std::mem::take(&mut held.bytes);
            // Once more for the end.
            self.resumed.push_front(key);
            return Some(Found::Held(key));
        }
        let end = socket.held.take()?.end;
        end.map(|error| Found::Ended(key, error.map(io::Error::from)))
    }
}
