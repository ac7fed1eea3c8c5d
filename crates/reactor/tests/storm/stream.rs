//! The strict reading of what an engine sends to one peer: an HTTP head, then frames (RFC 6455
//! section 5), some of them compressed (RFC 7692).
//!
//! Written here and not taken from the crates under test. It accepts only what RFC 6455 lets an
//! endpoint of the other role send, so a byte that is lost, doubled, changed or put in the midst of
//! another frame does not pass: it breaks a header, or the text that the frame carries.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// Which messages go through a compressor, and what both sides have agreed to forget.
pub(crate) struct Zlib {
    compress: Compress,
    inflate: Decompress,
    forgets_ours: bool,
    forgets_theirs: bool,
    scratch: Vec<u8>,
}

impl Zlib {
    /// `ours`, `theirs`: whether what the peer sends, and what the engine sends, begins afresh with
    /// each message.
    pub(crate) fn new(ours: bool, theirs: bool) -> Self {
        Self {
            compress: Compress::new(Compression::fast(), false),
            inflate: Decompress::new(false),
            forgets_ours: ours,
            forgets_theirs: theirs,
            scratch: Vec::with_capacity(MESSAGE_BYTES_MAX),
        }
    }

    pub(crate) fn pack(&mut self, payload: &[u8]) -> Vec<u8> {
        if self.forgets_ours {
            self.compress.reset();
        }
        let mut packed = Vec::with_capacity(payload.len() + 64);
        self.compress
            .compress_vec(payload, &mut packed, FlushCompress::Sync)
            .expect("there is room");
        packed.truncate(packed.len() - 4);
        packed
    }

    fn unpack(&mut self, packed: &[u8]) -> Result<Vec<u8>, String> {
        if self.forgets_theirs {
            self.inflate.reset(false);
        }
        self.scratch.clear();
        for part in [packed, b"\x00\x00\xff\xff"] {
            self.inflate
                .decompress_vec(part, &mut self.scratch, FlushDecompress::Sync)
                .map_err(|error| format!("a message cannot be inflated: {error}"))?;
        }
        Ok(self.scratch.clone())
    }
}

/// Longer than any message of a storm.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Bytes that have come and were not read yet.
pub(crate) struct Stream {
    bytes: Vec<u8>,
    at: usize,
    /// Frames that come must be masked: the engine is the client.
    masked: bool,
    pub(crate) zlib: Option<Zlib>,
    has_closed: bool,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl Stream {
    pub(crate) const fn new(masked: bool) -> Self {
        Self { bytes: Vec::new(), at: 0, masked, zlib: None, has_closed: false }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether all that has come was read.
    pub(crate) const fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// All that is left, unread.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// The head of an HTTP request or answer, once it is whole.
    pub(crate) fn head(&mut self) -> Result<Option<String>, String> {
        let rest = self.rest();
        let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") else {
            return if rest.len() > 8_192 { Err("a head without end".into()) } else { Ok(None) };
        };
        let head =
            String::from_utf8(rest[..end + 4].to_vec()).map_err(|_| "a head that is no text")?;
        self.at += end + 4;
        Ok(Some(head))
    }

    /// The next frame, once it is whole.
    pub(crate) fn frame(&mut self) -> Result<Option<Read>, String> {
        let rest = &self.bytes[self.at..];
        if self.has_closed && !rest.is_empty() {
            return Err(format!("{} bytes come behind the Close", rest.len()));
        }
        let [first, second, ..] = *rest else { return Ok(None) };
        if (second & 0x80 != 0) != self.masked {
            return Err(format!("a header {first:#04x} {second:#04x} with the wrong mask bit"));
        }
        let mask_len = if self.masked { 4 } else { 0 };
        let (length_len, least) = match second & 0x7f {
            126 => (2, 126),
            127 => (8, 65_536),
            _ => (0, 0),
        };
        let Some(payload_at) = Some(2 + length_len + mask_len).filter(|at| rest.len() >= *at)
        else {
            return Ok(None);
        };
        let length = match length_len {
            0 => usize::from(second & 0x7f),
            _ => rest[2..2 + length_len].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        };
        if length < least || length > MESSAGE_BYTES_MAX {
            return Err(format!("a length of {length} in {length_len} bytes"));
        }
        let Some(payload) = rest.get(payload_at..payload_at + length) else { return Ok(None) };
        let mut payload = payload.to_vec();
        if self.masked {
            let key: [u8; 4] = rest[payload_at - 4..payload_at].try_into().expect("four bytes");
            payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        }
        self.at += payload_at + length;
        self.read(first, payload).map(Some)
    }

    /// What a whole frame says. The engine sends no fragments.
    fn read(&mut self, first: u8, payload: Vec<u8>) -> Result<Read, String> {
        if first & 0x08 != 0 && payload.len() > 125 {
            return Err(format!("a control frame of {} bytes", payload.len()));
        }
        Ok(match (first, &mut self.zlib) {
            (0x81, _) => Read::Text(payload),
            (0x82, _) => Read::Binary(payload),
            (0xc1, Some(zlib)) => Read::Text(zlib.unpack(&payload)?),
            (0xc2, Some(zlib)) => Read::Binary(zlib.unpack(&payload)?),
            (0x88, _) => {
                self.has_closed = true;
                return close(&payload);
            }
            (0x89, _) => Read::Ping(payload),
            (0x8a, _) => Read::Pong(payload),
            _ => return Err(format!("a frame that begins with {first:#04x}")),
        })
    }
}

fn close(payload: &[u8]) -> Result<Read, String> {
    match payload {
        [] => Ok(Read::Close(None, String::new())),
        [high, low, reason @ ..] => {
            let reason = String::from_utf8(reason.to_vec());
            let reason = reason.map_err(|_| "a reason that is no text".to_owned())?;
            Ok(Read::Close(Some(u16::from_be_bytes([*high, *low])), reason))
        }
        [_] => Err("a Close with half a code".to_owned()),
    }
}

/// A frame as the peer sends it, with the shortest form of its length.
pub(crate) fn frame(masked: bool, first: u8, payload: &[u8], out: &mut Vec<u8>) {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mask = if masked { 0x80 } else { 0 };
    out.push(first);
    match payload.len() {
        short @ 0..=125 => out.push(mask | u8::try_from(short).expect("at most 125")),
        medium @ 126..=0xffff => {
            out.push(mask | 126);
            out.extend(u16::try_from(medium).expect("at most 65,535").to_be_bytes());
        }
        long => {
            out.push(mask | 127);
            out.extend((long as u64).to_be_bytes());
        }
    }
    if masked {
        out.extend(KEY);
        out.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        out.extend(payload);
    }
}
