//! What leaves: the bytes that a turn gathers, and what a socket would not take.
//!
//! All that handlers and the protocol say in a turn is gathered in one buffer, each connection's
//! bytes in one contiguous [`Segment`], and sent when the turn ends: one system call per
//! connection, and no buffer per connection. Only a connection whose socket did not take
//! everything has an [`Unsent`] of its own until the socket has room again.

use crate::limits::Limits;
use crate::memory::Account;

/// Where in the gathered bytes a connection's own bytes of this turn lie; empty if it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    start: u32,
    end: u32,
}

impl Segment {
    pub(crate) const fn is_empty(self) -> bool {
        self.start == self.end
    }

    pub(crate) const fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// Which of the segments is a connection's: its number counted from 1, or 0 if it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share(u32);

impl Share {
    pub(crate) const NONE: Self = Self(0);

    const fn index(self) -> usize {
        (self.0 as usize).wrapping_sub(1)
    }
}

/// The bytes of one turn.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    bytes: Vec<u8>,
    /// Slots and their segments, in the order in which these were begun.
    segments: Vec<(u32, Segment)>,
}

impl Gather {
    /// What the buffer keeps from turn to turn.
    const SPARE_BYTES_MAX: usize = 1024 * 1024;

    /// Lets `write` append to the bytes of `slot`, whose share is `share`; how many they are then.
    pub(crate) fn append(
        &mut self,
        slot: u32,
        share: &mut Share,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        // A shard flushes long before this, and one connection's share is limited.
        let offset = |at: usize| u32::try_from(at).expect("less than 4 GiB gathered in a turn");
        let start = self.bytes.len();
        let Some((_, segment)) = self.segments.get_mut(share.index()) else {
            write(&mut self.bytes);
            let end = self.bytes.len();
            if end > start {
                self.segments.push((slot, Segment { start: offset(start), end: offset(end) }));
                *share = Share(offset(self.segments.len()));
            }
            return end - start;
        };
        if segment.end as usize != start {
            // Others have written since: what we had moves to the end, so that it stays in one piece.
            self.bytes.extend_from_within(segment.start as usize..segment.end as usize);
            segment.start = offset(start);
        }
        write(&mut self.bytes);
        segment.end = offset(self.bytes.len());
        segment.len()
    }

    /// Takes a connection's segment of this turn away from it; empty if it has none.
    pub(crate) fn take(&self, share: &mut Share) -> Segment {
        let segment = self.segments.get(share.index()).map(|(_, segment)| *segment);
        *share = Share::NONE;
        segment.unwrap_or_default()
    }

    /// How many bytes a share has so far.
    pub(crate) fn held(&self, share: Share) -> usize {
        self.segments.get(share.index()).map_or(0, |(_, segment)| segment.len())
    }

    pub(crate) fn get(&self, segment: Segment) -> &[u8] {
        &self.bytes[segment.start as usize..segment.end as usize]
    }

    /// The slots that have begun a segment.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> {
        self.segments.iter().map(|(slot, _)| *slot)
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets everything; every share must have been taken.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.segments.clear();
        if self.bytes.capacity() > Self::SPARE_BYTES_MAX {
            self.bytes = Vec::new();
        }
    }
}

/// What a blocked connection still has to send of its own. Publications are not here: they are a
/// cursor in the shard's log.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    /// Of the shard, and what is in it for this.
    account: Account,
    accounted: usize,
    /// Goes first: the rest of a frame that a socket cut, or of an HTTP head.
    cut: Vec<u8>,
    /// Whole control frames; they overtake the messages behind them (RFC 6455 §5.5).
    control: Vec<u8>,
    /// Whole messages.
    data: Vec<u8>,
    /// Our Close; nothing may follow it (RFC 6455 §5.5.1).
    end: Vec<u8>,
}

impl Unsent {
    /// What a socket left of a turn's own `bytes` when it took `taken` of them. `account` is what it
    /// counts its memory in.
    pub(crate) fn rest_of(account: &Account, bytes: &[u8], taken: usize) -> Self {
        let end = cut_end(bytes, taken);
        let mut unsent = Self::rest_of_frame(account, &bytes[taken..end]);
        let mut rest = &bytes[end..];
        while !rest.is_empty() {
            let (frame, behind) = rest.split_at(frame_len(rest).min(rest.len()));
            let lane = match frame[0] & 0x0f {
                CLOSE => &mut unsent.end,
                PING | PONG => &mut unsent.control,
                _ => &mut unsent.data,
            };
            lane.extend_from_slice(frame);
            rest = behind;
        }
        unsent.count();
        unsent
    }

    /// The rest of a frame that a socket cut, with nothing behind it.
    pub(crate) fn rest_of_frame(account: &Account, cut: &[u8]) -> Self {
        let mut unsent = Self::default();
        unsent.account = account.clone();
        unsent.begin_with(cut);
        unsent
    }

    /// Puts the rest of a frame that a socket cut in front, where nothing may be yet.
    pub(crate) fn begin_with(&mut self, cut: &[u8]) {
        debug_assert!(self.cut.is_empty(), "two frames cannot both be cut");
        self.cut.extend_from_slice(cut);
        self.count();
    }

    /// Lets `write` append whole messages.
    pub(crate) fn data(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.data);
        self.count();
    }

    /// Lets `write` append one whole control frame: a Ping or Pong ahead of messages, a Close behind
    /// them. When the peer leaves them all unread the newest stands for those before it: the last
    /// Pong answers all earlier Pings (RFC 6455 §5.5.3).
    pub(crate) fn control(&mut self, bytes_max: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.control.len();
        write(&mut self.control);
        if self.control.get(before).is_some_and(|first| first & 0x0f == CLOSE) {
            self.end.extend(self.control.drain(before..));
        } else if self.control.len() > bytes_max {
            self.control.drain(..before);
        }
        self.count();
    }

    /// Forgets the messages that have not begun to leave; a Close behind them is then next.
    pub(crate) fn drop_data(&mut self) {
        self.data = Vec::new();
        self.count();
    }

    /// Whether no message waits, and what does is short: Pongs, a Close, the rest of a small frame.
    pub(crate) const fn is_bare(&self) -> bool {
        self.data.is_empty() && self.accounted <= Limits::EVICTED_BYTES_MAX
    }

    /// Bytes of memory that it holds.
    pub(crate) const fn memory(&self) -> usize {
        self.accounted
    }

    pub(crate) const fn len(&self) -> usize {
        self.cut.len() + self.control.len() + self.data.len() + self.end.len()
    }

    /// Appends what must leave first to `out`, in order and at most `bytes_max` of it.
    pub(crate) fn write(&self, bytes_max: usize, out: &mut Vec<u8>) {
        let mut left = bytes_max;
        for part in [&self.cut, &self.control, &self.data, &self.end] {
            let (part, _) = part.split_at(left.min(part.len()));
            out.extend_from_slice(part);
            left -= part.len();
        }
    }

    /// Forgets the first `taken` bytes: a socket took them. What waits stays in its lane but for the
    /// rest of a frame that was cut, so that later control frames still overtake whole messages.
    pub(crate) fn drop_taken(&mut self, taken: usize) {
        let from_cut = taken.min(self.cut.len());
        drop_front(&mut self.cut, from_cut);
        let mut left = taken - from_cut;
        for lane in [&mut self.control, &mut self.data, &mut self.end] {
            let from_lane = left.min(lane.len());
            left -= from_lane;
            if from_lane > 0 {
                let end = cut_end(lane, from_lane);
                self.cut.extend_from_slice(&lane[from_lane..end]);
                drop_front(lane, end);
            }
        }
        self.count();
    }

    /// Brings the account up to date.
    fn count(&mut self) {
        let lanes = [&self.cut, &self.control, &self.data, &self.end];
        let held = size_of::<Self>() + lanes.iter().map(|lane| lane.capacity()).sum::<usize>();
        self.account.change(self.accounted, held);
        self.accounted = held;
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.account.change(self.accounted, 0);
    }
}

/// Forgets the first `taken` bytes, and with the last of them the memory: who stays behind for long
/// must not hold what it has been given.
fn drop_front(bytes: &mut Vec<u8>, taken: usize) {
    if taken == bytes.len() {
        *bytes = Vec::new();
    } else {
        bytes.drain(..taken);
    }
}

/// Opcodes of control frames (RFC 6455 §5.2).
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// Where the frame ends that a socket cut when it took `taken` of `bytes`, which begin with a frame
/// or an HTTP answer; `taken` itself where it took whole frames.
fn cut_end(bytes: &[u8], taken: usize) -> usize {
    // An HTTP head is never dropped, so it is no message even if nothing of it was taken.
    let mut end = http_len(bytes);
    while end < taken {
        end += frame_len(&bytes[end..]);
    }
    end.clamp(taken, bytes.len())
}

/// The length of the HTTP answer in front; of a 101 and of a request of ours, behind which frames
/// may follow, that of its head.
fn http_len(bytes: &[u8]) -> usize {
    let has_frames_behind = bytes.starts_with(b"HTTP/1.1 101 ") || bytes.starts_with(b"GET ");
    if !has_frames_behind {
        return if bytes.starts_with(b"HTTP/") { bytes.len() } else { 0 };
    }
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4)
}

/// The length of the frame in front, which is ours and whole; to a server it is masked
/// (RFC 6455 §5.2).
fn frame_len(bytes: &[u8]) -> usize {
    let [_, second, ..] = *bytes else { return bytes.len() };
    let mask = if second & MASKED == 0 { 0 } else { 4 };
    let unmasked = match (second & !MASKED, bytes) {
        (126, &[_, _, high, low, ..]) => 4 + usize::from(u16::from_be_bytes([high, low])),
        (127, &[_, _, a, b, c, d, e, f, g, h, ..]) => {
            let payload = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            usize::try_from(payload).unwrap_or(usize::MAX).saturating_add(10)
        }
        (short, _) => 2 + usize::from(short),
    };
    unmasked.saturating_add(mask)
}

/// In the second byte of a frame: the payload is masked, and the key is in front of it.
const MASKED: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_one_piece_even_if_others_write_between() {
        let mut gather = Gather::default();
        let (mut first, mut second) = (Share::NONE, Share::NONE);
        gather.append(1, &mut first, |out| out.extend_from_slice(b"one"));
        gather.append(2, &mut second, |out| out.extend_from_slice(b"two"));
        gather.append(1, &mut first, |out| out.extend_from_slice(b"+more"));
        gather.append(1, &mut first, |out| out.extend_from_slice(b"+end"));
        assert_eq!(gather.slots().collect::<Vec<_>>(), [1, 2]);
        let (first, second) = (gather.take(&mut first), gather.take(&mut second));
        assert_eq!(gather.get(first), b"one+more+end");
        assert_eq!(gather.get(second), b"two");
    }

    #[test]
    fn writing_nothing_leaves_no_trace() {
        let mut gather = Gather::default();
        let mut share = Share::NONE;
        assert_eq!(gather.append(1, &mut share, |_| {}), 0);
        assert_eq!(share, Share::NONE);
        assert_eq!(gather.slots().count(), 0);
    }

    #[test]
    fn what_was_taken_is_begun_anew() {
        let mut gather = Gather::default();
        let mut share = Share::NONE;
        gather.append(1, &mut share, |out| out.extend_from_slice(b"gone"));
        let gone = gather.take(&mut share);
        assert!(gather.take(&mut share).is_empty());
        assert_eq!(gather.append(1, &mut share, |out| out.extend_from_slice(b"more")), 4);
        let more = gather.take(&mut share);
        assert_eq!((gather.get(gone), gather.get(more)), (&b"gone"[..], &b"more"[..]));
    }

    #[test]
    fn control_frames_overtake_messages_but_not_a_frame_that_has_begun() {
        let mut unsent = Unsent::rest_of_frame(&Account::default(), b"rest");
        unsent.data(|out| out.extend_from_slice(b"data"));
        unsent.control(100, |out| out.extend_from_slice(b"pong"));
        let mut out = Vec::new();
        unsent.write(usize::MAX, &mut out);
        assert_eq!(out, b"restpongdata");
    }

    /// The oracle is the list of frames: what was cut leaves first, then Pongs, then the others.
    #[test]
    fn wherever_a_socket_cuts_only_the_cut_frame_stays_in_front_of_control_frames() {
        let head = &b"HTTP/1.1 101 Switching Protocols\r\n\r\n"[..];
        let frames = [&b"\x81\x03one"[..], b"\x82\x00", &long(126), &long(70_000), b"\x81\x02ok"];
        check_every_cut(&[], &frames);
        check_every_cut(head, &frames);
        // To a server: behind a request, and masked.
        let mask = |payload| {
            let mut frame = Vec::new();
            let (kind, key) = (tickwire_protocol::Kind::Text, [1, 2, 3, 4]);
            tickwire_protocol::encode::masked_message(kind, key, payload, &mut frame);
            frame
        };
        let masked = [mask(b"one"), mask(b""), mask(&[7; 126]), mask(&[7; 70_000]), mask(b"ok")];
        check_every_cut(
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            &masked.each_ref().map(Vec::as_slice),
        );
    }

    fn check_every_cut(head: &[u8], frames: &[&[u8]]) {
        let bytes = [head, &frames.concat()].concat();
        for taken in (0..400).chain(70_000..bytes.len()) {
            let mut end = head.len();
            for frame in frames {
                end += if end < taken { frame.len() } else { 0 };
            }
            let expected = [&bytes[taken..end], b"\x8a\x00", &bytes[end..]].concat();
            // Taken from what was gathered, or from what waited already.
            let gathered = Unsent::rest_of(&Account::default(), &bytes, taken);
            let mut waited = Unsent::rest_of(&Account::default(), &bytes, 0);
            waited.drop_taken(taken);
            for mut unsent in [gathered, waited] {
                unsent.control(100, |out| out.extend_from_slice(b"\x8a\x00"));
                let mut out = Vec::new();
                unsent.write(usize::MAX, &mut out);
                assert!(out == expected, "{taken} of {} taken", bytes.len());
            }
        }
    }

    fn long(payload: usize) -> Vec<u8> {
        let mut frame = Vec::new();
        tickwire_protocol::encode::message(
            tickwire_protocol::Kind::Binary,
            &vec![7; payload],
            &mut frame,
        );
        frame
    }

    #[test]
    fn gathered_pongs_keep_their_order_and_a_close_comes_last() {
        let gathered = b"\x81\x01m\x8a\x011\x81\x01n\x8a\x012\x88\x00";
        let mut unsent = Unsent::rest_of(&Account::default(), gathered, 1);
        unsent.control(100, |out| out.extend_from_slice(b"\x8a\x013"));
        let mut out = Vec::new();
        unsent.write(usize::MAX, &mut out);
        assert_eq!(out, b"\x01m\x8a\x011\x8a\x012\x8a\x013\x81\x01n\x88\x00");
    }

    #[test]
    fn an_answer_is_never_dropped() {
        let mut unsent =
            Unsent::rest_of(&Account::default(), b"HTTP/1.1 200 OK\r\n\r\n\x81\x00 page", 0);
        unsent.drop_data();
        assert_eq!(unsent.len(), 26);
        let mut unsent =
            Unsent::rest_of(&Account::default(), b"HTTP/1.1 101 Switching\r\n\r\n\x81\x00", 0);
        unsent.drop_data();
        assert_eq!(unsent.len(), 26);
    }

    #[test]
    fn portions_of_any_size_are_the_whole_in_order() {
        let frames = [&b"\x81\x03abc"[..], b"\x8a\x01p", b"\x82\x02de"].concat();
        for portion in 1..=frames.len() + 4 {
            let mut unsent = Unsent::rest_of_frame(&Account::default(), b"rest");
            unsent.data(|out| out.extend_from_slice(&frames));
            let (mut out, mut line) = (Vec::new(), Vec::new());
            while unsent.len() > 0 {
                line.clear();
                unsent.write(portion, &mut line);
                assert!((1..=portion).contains(&line.len()));
                unsent.drop_taken(line.len());
                out.extend_from_slice(&line);
            }
            assert_eq!(out, [b"rest", &frames[..]].concat(), "portions of {portion}");
        }
    }

    #[test]
    fn unread_pongs_do_not_pile_up() {
        let mut unsent = Unsent::default();
        for number in 0..1_000_u32 {
            unsent.control(64, |out| out.extend_from_slice(&number.to_be_bytes()));
            assert!(unsent.len() <= 64);
        }
        let mut out = Vec::new();
        unsent.write(usize::MAX, &mut out);
        assert!(out.ends_with(&999_u32.to_be_bytes()));
    }

    #[test]
    fn what_is_held_is_in_the_account_until_it_is_gone() {
        let account = Account::default();
        let frames = [&b"\x81\x03abc"[..], b"\x8a\x01p", b"\x82\x02de", b"\x88\x00"].concat();
        let lanes = |unsent: &Unsent| {
            let lanes = [&unsent.cut, &unsent.control, &unsent.data, &unsent.end];
            size_of::<Unsent>() + lanes.iter().map(|lane| lane.capacity()).sum::<usize>()
        };
        let mut unsent = Unsent::rest_of(&account, &frames, 1);
        let other = Unsent::rest_of_frame(&account, b"other");
        let steps: [fn(&mut Unsent); 4] = [
            |unsent| unsent.data(|out| out.extend_from_slice(&[7; 100_000])),
            |unsent| unsent.control(64, |out| out.extend_from_slice(b"\x8a\x7d")),
            |unsent| unsent.drop_taken(7),
            Unsent::drop_data,
        ];
        for step in steps {
            step(&mut unsent);
            assert_eq!(unsent.memory(), lanes(&unsent));
            assert_eq!(account.bytes(), lanes(&unsent) + lanes(&other));
        }
        drop(other);
        assert_eq!(account.bytes(), lanes(&unsent));
        drop(unsent);
        assert_eq!(account.bytes(), 0);
    }
}
