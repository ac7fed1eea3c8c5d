//! Finds the end of an HTTP/1.1 head as its bytes arrive.
//!
//! First stop of a new connection's bytes, in front of `request` and `client`. Each byte is looked
//! at once, in whatever pieces it comes, so the work is linear in the bytes (CVE-2023-43669 was a
//! parse from the start at every read); only an unfinished head is kept, and it grows with what
//! arrived. What breaks the framing of lines is refused at the byte that shows it: NUL, a bare CR
//! or LF, a folded line, a first byte that no head begins with.
//!
//! Invariant for the files behind: in a head that comes out of here CR and LF stand only as CRLF,
//! there is no NUL, no line begins with whitespace, and the last line is empty.
//! The lines themselves are parsed elsewhere, once.

use crate::field;
use crate::limits::Limits;

/// Collects a head; allocates only when one comes in more than one piece.
#[derive(Debug)]
pub(crate) struct HeadReader {
    scan: Scan,
    /// The bytes of an unfinished head.
    stash: Vec<u8>,
}

/// Which kind of head is expected: it decides what its first byte may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadKind {
    /// Begins with a method, perhaps after empty lines (RFC 9112 section 2.2).
    Request,
    /// Begins with `HTTP/`.
    Response,
}

/// What makes a head unusable, found while looking for its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadFault {
    /// The first byte begins no head of this kind: another protocol, often TLS.
    NotHttp,
    /// A NUL byte.
    Nul,
    /// CR without LF.
    BareCarriageReturn,
    /// LF without CR.
    BareLineFeed,
    /// A line that begins with whitespace (obs-fold, RFC 9112 section 5.2).
    FoldedLine,
    /// More bytes than `Limits::request_bytes_max`.
    TooLong,
    /// More header lines than `Limits::request_headers_max`.
    TooManyLines,
}

impl HeadReader {
    pub(crate) const fn new(kind: HeadKind) -> Self {
        Self { scan: Scan::new(kind), stash: Vec::new() }
    }

    /// Bytes on the heap, of a head that has not come whole.
    pub(crate) const fn memory(&self) -> usize {
        self.stash.capacity()
    }

    /// Takes bytes of a head off `input`; gives the head, its final empty line included, once it
    /// is whole. What follows it stays in `input`. After a fault nothing more may be fed.
    pub(crate) fn push<'r, 'a: 'r>(
        &'r mut self,
        input: &mut &'a mut [u8],
        limits: &Limits,
    ) -> Result<Option<&'r [u8]>, HeadFault> {
        if self.scan.place == Place::End {
            self.stash = Vec::new();
            self.scan = Scan::new(self.scan.kind);
        }
        let (len, complete) = match self.scan.advance(input, limits)? {
            Some(len) => (len, true),
            None => (input.len(), false),
        };
        let (taken, rest) = core::mem::take(input).split_at_mut(len);
        *input = rest;
        if complete && self.stash.is_empty() {
            return Ok(Some(taken));
        }
        self.stash.extend_from_slice(taken);
        Ok(complete.then_some(&self.stash))
    }
}

/// Where in a head the last byte was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first byte of the first line.
    Start,
    /// After the CR of an empty line before the first line.
    StartCarriageReturn,
    /// Within a line.
    Line,
    /// After the CR of a line.
    LineCarriageReturn,
    /// At the first byte of a header line.
    LineStart,
    /// After the CR of the empty line that ends the head.
    EndCarriageReturn,
    /// After the head.
    End,
}

#[derive(Debug)]
struct Scan {
    kind: HeadKind,
    place: Place,
    header_lines: usize,
    /// Bytes looked at in earlier pieces.
    bytes: usize,
}

impl Scan {
    const fn new(kind: HeadKind) -> Self {
        Self { kind, place: Place::Start, header_lines: 0, bytes: 0 }
    }

    /// Looks at `input` up to the end of the head. Gives the number of its bytes that belong to
    /// the head if the end is among them.
    fn advance(&mut self, input: &[u8], limits: &Limits) -> Result<Option<usize>, HeadFault> {
        let room = limits.request_bytes_max.saturating_sub(self.bytes);
        let bytes = &input[..room.min(input.len())];
        let mut index = 0;
        loop {
            if self.place == Place::Line {
                // Only CR, LF and NUL matter within a line.
                let plain = field::position(&bytes[index..], |byte| byte <= b'\r');
                index = plain.map_or(bytes.len(), |plain| index + plain);
            }
            let Some(&byte) = bytes.get(index) else { break };
            self.place = self.step(byte, limits)?;
            index += 1;
            if self.place == Place::End {
                return Ok(Some(index));
            }
        }
        if input.len() >= room && !input.is_empty() {
            // The head may have `room` bytes more and its end was not among them.
            return Err(HeadFault::TooLong);
        }
        self.bytes += input.len();
        Ok(None)
    }

    #[inline]
    fn step(&mut self, byte: u8, limits: &Limits) -> Result<Place, HeadFault> {
        Ok(match (self.place, byte) {
            (Place::Line, b'\r') => Place::LineCarriageReturn,
            (Place::Line, b'\n') => return Err(HeadFault::BareLineFeed),
            (Place::Line, 0) => return Err(HeadFault::Nul),
            (Place::Line, _) => Place::Line,
            (Place::LineCarriageReturn, b'\n') => Place::LineStart,
            (Place::LineStart, b'\r') => Place::EndCarriageReturn,
            (Place::LineStart, b'\n') => return Err(HeadFault::BareLineFeed),
            (Place::LineStart, b' ' | b'\t') => return Err(HeadFault::FoldedLine),
            (Place::LineStart, 0) => return Err(HeadFault::Nul),
            (Place::LineStart, _) => {
                self.header_lines += 1;
                if self.header_lines > limits.request_headers_max.min(Limits::HEADERS_CEILING) {
                    return Err(HeadFault::TooManyLines);
                }
                Place::Line
            }
            (Place::EndCarriageReturn, b'\n') => Place::End,
            (Place::Start, _) => return self.first(byte),
            (Place::StartCarriageReturn, b'\n') => Place::Start,
            (
                Place::LineCarriageReturn | Place::EndCarriageReturn | Place::StartCarriageReturn,
                _,
            ) => return Err(HeadFault::BareCarriageReturn),
            (Place::End, _) => Place::End,
        })
    }

    fn first(&self, byte: u8) -> Result<Place, HeadFault> {
        match (self.kind, byte) {
            (HeadKind::Request, b'\r') => Ok(Place::StartCarriageReturn),
            (HeadKind::Request, _) if field::is_token_byte(byte) => Ok(Place::Line),
            (HeadKind::Response, b'H') => Ok(Place::Line),
            _ => Err(HeadFault::NotHttp),
        }
    }
}
