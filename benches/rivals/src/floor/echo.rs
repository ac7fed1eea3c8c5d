//! The floor of echo: takes the mask off, puts a header before, and sends back all that came in one
//! read with one system call.

use std::os::fd::OwnedFd;

use rustix::event::Timespec;

use super::{Connection, Frame, MASK_BYTES, OPCODE_CLOSE, Task, send_all, write_header};

/// The answers of the read at hand.
#[derive(Debug, Default)]
pub(super) struct Echo {
    answers: Vec<u8>,
}

impl Task for Echo {
    fn received(&mut self, socket: &OwnedFd, received: &mut [u8]) -> Option<usize> {
        self.answers.clear();
        let (mut taken, mut goes_on) = (0, true);
        while let Some(Frame { payload, end }) = Frame::at_start(&received[taken..]) {
            let frame = &mut received[taken..taken + end];
            goes_on &= frame[0] & 0xF != OPCODE_CLOSE;
            write_header(&mut self.answers, frame[0], end - payload);
            let (head, masked) = frame.split_at_mut(payload);
            let mask = &head[payload - MASK_BYTES..];
            unmask(masked, [mask[0], mask[1], mask[2], mask[3]]);
            self.answers.extend_from_slice(masked);
            taken += end;
        }
        let sent = send_all(socket, &self.answers).is_ok();
        (sent && goes_on).then_some(taken)
    }

    fn turn(&mut self, _connections: &[Option<Connection>]) -> Option<Timespec> {
        None
    }
}

/// In a form that the compiler makes vectors of.
fn unmask(payload: &mut [u8], mask: [u8; MASK_BYTES]) {
    let (whole, rest) = payload.as_chunks_mut::<MASK_BYTES>();
    for word in whole {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}
