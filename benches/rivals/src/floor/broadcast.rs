//! The floor of broadcast: makes the messages of a turn once and sends every connection those very
//! bytes with one system call.
//!
//! At rate 0 a turn is a whole burst: all that may be on its way at once leaves together, which is the
//! least that a burst can cost. A socket that is full is waited for, so the slowest connection sets
//! the pace and nobody is skipped. At other rates a turn has the messages that are due, which is one
//! unless the floor is late.

use std::os::fd::OwnedFd;

use rustix::event::Timespec;
use rustix::time::{ClockId, clock_gettime};

use super::{Connection, Frame, OPCODE_CLOSE, Task, send_all, write_header};
use crate::Publication;

/// What is published, and how far that is.
#[derive(Debug)]
pub(super) struct Broadcast {
    publication: Publication,
    /// The frames of a turn.
    turn: Vec<u8>,
    /// When the publication began, in nanoseconds, while there is one.
    started: Option<u64>,
    /// The number of the next message.
    number: u64,
}

impl Broadcast {
    pub(super) fn new(publication: Publication) -> Self {
        Self { publication, turn: Vec::new(), started: None, number: 0 }
    }

    /// Messages that are due now, and when the next one is.
    fn due(&self, started: u64) -> (u64, Option<Timespec>) {
        if self.publication.rate == 0 {
            return (self.publication.burst.into(), Some(Timespec::default()));
        }
        let interval = NANOSECONDS / u64::from(self.publication.rate);
        let passed = now() - started;
        let due = (passed / interval + 1).saturating_sub(self.number);
        let wait = (self.number + due) * interval - passed;
        (
            due,
            Some(Timespec {
                tv_sec: (wait / NANOSECONDS).cast_signed(),
                tv_nsec: (wait % NANOSECONDS).cast_signed(),
            }),
        )
    }

    /// Makes the frames of a turn.
    fn make(&mut self, messages: u64) {
        self.turn.clear();
        for _ in 0..messages {
            let size = self.publication.size as usize;
            write_header(&mut self.turn, BINARY, size);
            let payload = self.turn.len();
            self.turn.extend_from_slice(&now().to_le_bytes());
            self.turn.extend_from_slice(&self.number.to_le_bytes());
            self.turn.resize(payload + size, b'.');
            self.number += 1;
        }
    }
}

impl Task for Broadcast {
    /// The first message of anybody begins the publication.
    fn received(&mut self, socket: &OwnedFd, received: &mut [u8]) -> Option<usize> {
        let mut taken = 0;
        while let Some(Frame { end, .. }) = Frame::at_start(&received[taken..]) {
            if received[taken] & 0xF == OPCODE_CLOSE {
                // Whether it arrives is the same to us: the connection ends.
                let _ = send_all(socket, &CLOSE);
                return None;
            }
            self.started.get_or_insert_with(now);
            taken += end;
        }
        Some(taken)
    }

    fn turn(&mut self, connections: &[Option<Connection>]) -> Option<Timespec> {
        let started = self.started?;
        if connections.iter().all(Option::is_none) {
            (self.started, self.number) = (None, 0);
            return None;
        }
        let (messages, wait) = self.due(started);
        if messages > 0 {
            self.make(messages);
            for connection in connections.iter().flatten().filter(|it| it.upgraded) {
                // One that has gone says so with its next event.
                let _ = send_all(&connection.socket, &self.turn);
            }
        }
        wait
    }
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * NANOSECONDS + now.tv_nsec.cast_unsigned()
}

const NANOSECONDS: u64 = 1_000_000_000;

/// The first byte of an unfragmented binary message.
const BINARY: u8 = 0x82;

/// A Close without a code.
const CLOSE: [u8; 2] = [0x88, 0];
