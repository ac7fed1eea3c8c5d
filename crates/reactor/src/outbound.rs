//! What leaves: the bytes that a turn gathers, and what a socket would not take.
//!
//! All that handlers and the protocol say in a turn is gathered in one buffer, each connection's
//! bytes in one contiguous [`Segment`], and sent when the turn ends: one system call per
//! connection, and no buffer per connection. Only a connection whose socket did not take
//! everything has an [`Unsent`] of its own until the socket has room again.

/// Where in the gathered bytes a connection's own bytes of this turn lie; empty if it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    start: u32,
    end: u32,
}

impl Segment {
    pub(crate) const EMPTY: Self = Self { start: 0, end: 0 };

    pub(crate) const fn is_empty(self) -> bool {
        self.start == self.end
    }

    pub(crate) const fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// The bytes of one turn.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    bytes: Vec<u8>,
    /// Slots with a segment, in the order in which they began one.
    slots: Vec<u32>,
}

impl Gather {
    /// What the buffer keeps from turn to turn.
    const SPARE_BYTES_MAX: usize = 1024 * 1024;

    /// Lets `write` append to the bytes of `slot`, whose segment is `segment`.
    pub(crate) fn append(
        &mut self,
        slot: u32,
        segment: &mut Segment,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let old = *segment;
        let mut start = self.bytes.len();
        if !old.is_empty() {
            if old.end as usize == start {
                start = old.start as usize;
            } else {
                // Others have written since: what we had moves to the end, so that it stays in one piece.
                self.bytes.extend_from_within(old.start as usize..old.end as usize);
            }
        }
        let before = self.bytes.len();
        write(&mut self.bytes);
        if old.is_empty() && self.bytes.len() > before {
            self.slots.push(slot);
        }
        // A shard flushes long before this, and one connection's share is limited.
        let offset = |at: usize| u32::try_from(at).expect("less than 4 GiB gathered in a turn");
        *segment = Segment { start: offset(start), end: offset(self.bytes.len()) };
        if segment.is_empty() {
            *segment = Segment::default();
        }
    }

    pub(crate) fn get(&self, segment: Segment) -> &[u8] {
        &self.bytes[segment.start as usize..segment.end as usize]
    }

    pub(crate) fn slots(&self) -> &[u32] {
        &self.slots
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets everything; every segment must have been reset.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.slots.clear();
        if self.bytes.capacity() > Self::SPARE_BYTES_MAX {
            self.bytes = Vec::new();
        }
    }
}

/// What a blocked connection still has to send of its own. Publications are not here: they are a
/// cursor in the shard's log.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    /// Goes first: it may begin in the middle of a frame.
    line: Vec<u8>,
    /// Whole control frames; they overtake the messages behind them (RFC 6455 §5.5).
    control: Vec<u8>,
    /// Whole messages.
    data: Vec<u8>,
}

impl Unsent {
    /// What a socket left of `bytes`.
    pub(crate) fn rest_of(bytes: &[u8]) -> Self {
        Self { line: bytes.to_vec(), ..Self::default() }
    }

    /// Lets `write` append whole messages.
    pub(crate) fn data(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.data);
    }

    /// Lets `write` append one whole control frame. When the peer leaves them all unread the newest
    /// stands for those before it: the last Pong answers all earlier Pings (RFC 6455 §5.5.3), and
    /// after a Close nothing else matters.
    pub(crate) fn control(&mut self, bytes_max: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.control.len();
        write(&mut self.control);
        if self.control.len() > bytes_max {
            self.control.drain(..before);
        }
    }

    /// Forgets the messages that have not begun to leave.
    pub(crate) fn drop_data(&mut self) {
        self.data = Vec::new();
    }

    pub(crate) const fn len(&self) -> usize {
        self.line.len() + self.control.len() + self.data.len()
    }

    /// Moves everything, in the order in which it must leave, to the end of `out`.
    pub(crate) fn take(&mut self, out: &mut Vec<u8>) {
        for part in [&mut self.line, &mut self.control, &mut self.data] {
            out.append(part);
        }
    }

    /// Puts what a socket left of taken bytes back to the front.
    pub(crate) fn put_back(&mut self, rest: &[u8]) {
        debug_assert!(self.len() == 0, "everything was taken");
        self.line.extend_from_slice(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_one_piece_even_if_others_write_between() {
        let mut gather = Gather::default();
        let (mut first, mut second) = (Segment::default(), Segment::default());
        gather.append(1, &mut first, |out| out.extend_from_slice(b"one"));
        gather.append(2, &mut second, |out| out.extend_from_slice(b"two"));
        gather.append(1, &mut first, |out| out.extend_from_slice(b"+more"));
        gather.append(1, &mut first, |out| out.extend_from_slice(b"+end"));
        assert_eq!(gather.get(first), b"one+more+end");
        assert_eq!(gather.get(second), b"two");
        assert_eq!(gather.slots(), [1, 2]);
    }

    #[test]
    fn writing_nothing_leaves_no_trace() {
        let mut gather = Gather::default();
        let mut segment = Segment::default();
        gather.append(1, &mut segment, |_| {});
        assert!(segment.is_empty());
        assert!(gather.slots().is_empty());
    }

    #[test]
    fn control_frames_overtake_messages_but_not_a_frame_that_has_begun() {
        let mut unsent = Unsent::rest_of(b"rest");
        unsent.data(|out| out.extend_from_slice(b"data"));
        unsent.control(100, |out| out.extend_from_slice(b"pong"));
        let mut out = Vec::new();
        unsent.take(&mut out);
        assert_eq!(out, b"restpongdata");
        assert_eq!(unsent.len(), 0);
    }

    #[test]
    fn unread_pongs_do_not_pile_up() {
        let mut unsent = Unsent::default();
        for number in 0..1_000_u32 {
            unsent.control(64, |out| out.extend_from_slice(&number.to_be_bytes()));
            assert!(unsent.len() <= 64);
        }
        let mut out = Vec::new();
        unsent.take(&mut out);
        assert!(out.ends_with(&999_u32.to_be_bytes()));
    }
}
