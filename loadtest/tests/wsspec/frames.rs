//! Frames and messages of the server in the tests (RFC 6455 sections 5 to 7).

use crate::deflate::{Agreed, Deflate};
use crate::fault::Fault;
use crate::server::{Connection, MESSAGE_MAX};

/// Serves frames until the connection ends.
pub(crate) fn run(connection: &mut Connection, agreed: Option<Agreed>) {
    let deflate = agreed.map(|agreed| Deflate::new(connection, agreed));
    let mut session = Session {
        connection,
        deflate,
        message: None,
        held: Vec::new(),
        pings: 0,
        is_closed: false,
    };
    if session.connection.settings.greets {
        session.send_frame(0x81, b"welcome");
        session.send_frame(0x81, b"this server greets");
    }
    while session.frame() {}
    session.connection.end();
}

struct Session<'a> {
    connection: &'a mut Connection,
    deflate: Option<Deflate>,
    message: Option<Joined>,
    /// Of [`Fault::Interleaves`]: the second half of a message.
    held: Vec<u8>,
    pings: usize,
    is_closed: bool,
}

/// A message of which not all has come.
struct Joined {
    is_text: bool,
    is_compressed: bool,
    payload: Vec<u8>,
    /// So much of the payload is whole characters.
    checked: usize,
    empty: usize,
}

struct Header {
    fin: bool,
    rsv: u8,
    opcode: u8,
    is_masked: bool,
    /// 0, 2 or 8 bytes.
    form: usize,
    length: u64,
    key: [u8; 4],
    size: usize,
}

impl Session<'_> {
    /// Serves one frame; `false` when the connection is over.
    fn frame(&mut self) -> bool {
        let Some(header) = self.header() else { return false };
        let verdict = if self.is_ignored(&header) { Ok(()) } else { self.check(&header) };
        if let (Err(code), false) = (verdict, self.has(Fault::ChecksLate)) {
            return self.fail(code);
        }
        let Some(payload) = self.payload(&header) else { return false };
        let payload = match payload {
            Ok(payload) => payload,
            Err(code) => return self.fail(code),
        };
        if let Err(code) = verdict {
            return self.fail(code);
        }
        let goes_on = match header.opcode {
            0..=2 => self.data(&header, payload),
            8 => self.close(&header, &payload),
            9 => self.ping(&payload),
            10 if self.has(Fault::ClosesAtPong) => self.fail(1002),
            _ => true,
        };
        if self.has(Fault::OneFramePerRead) {
            self.connection.take_all();
        }
        goes_on
    }

    fn has(&self, fault: Fault) -> bool {
        self.connection.has(fault)
    }

    fn header(&mut self) -> Option<Header> {
        loop {
            if let Some(header) = parse(self.connection.input()) {
                self.connection.take(header.size);
                return Some(header);
            }
            if self.has(Fault::FrameInOneRead) {
                self.connection.take_all();
            }
            if !self.connection.fill() {
                return None;
            }
        }
    }

    /// A Close whose form is wrong, which a server with the fault passes over.
    fn is_ignored(&self, header: &Header) -> bool {
        self.has(Fault::IgnoresBadCloses) && header.opcode == 8
    }

    fn check(&self, header: &Header) -> Result<(), u16> {
        let is_control = header.opcode >= 8;
        let begins = matches!(header.opcode, 1 | 2);
        let may_compress = self.deflate.is_some();
        let is_reserved = match header.rsv {
            0 => false,
            4 if may_compress && begins => false,
            4 if may_compress => !self.has(Fault::TakesRsv1Anywhere),
            _ => !self.has(Fault::TakesReservedBits),
        };
        if is_reserved || (header.rsv & 4 != 0 && self.has(Fault::RefusesCompressed)) {
            return Err(1002);
        }
        let is_unknown = matches!(header.opcode, 3..=7 | 11..);
        let takes_long = self.has(Fault::TakesLongControls);
        let is_nested = begins && self.message.is_some();
        let is_loose = header.opcode == 0 && self.message.is_none();
        let is_long_form = (header.form == 2 && header.length < 126)
            || (header.form == 8 && header.length <= 0xffff);
        let wrong = (is_unknown && !self.has(Fault::TakesReservedOpcodes))
            || (!header.is_masked && !self.has(Fault::TakesUnmasked))
            || (is_control && !header.fin && !self.has(Fault::TakesFragmentedControls))
            || (is_control && header.length > 125 && !takes_long)
            || (is_nested && !self.has(Fault::TakesNestedBeginnings))
            || (is_loose && !self.has(Fault::TakesLooseContinuations))
            || (is_long_form && !self.has(Fault::TakesLongForms))
            || (header.opcode == 0 && self.has(Fault::NoFragments));
        if wrong {
            return Err(1002);
        }
        if header.length >> 63 == 1 && !self.has(Fault::CutsLengths) {
            return Err(1002);
        }
        self.check_size(header)
    }

    fn check_size(&self, header: &Header) -> Result<(), u16> {
        let limit =
            if self.has(Fault::LimitOneTooLow) { MESSAGE_MAX - 1 } else { MESSAGE_MAX } as u64;
        let before = self.message.as_ref().map_or(0, |message| message.payload.len() as u64);
        let before = if self.has(Fault::LimitPerFrame) { 0 } else { before };
        let is_big = header.length.saturating_add(before) > limit;
        if is_big && !self.has(Fault::NoLimit) && !self.has(Fault::CutsLengths) {
            return Err(1009);
        }
        Ok(())
    }

    /// The payload, unmasked; text is looked at as it comes. `None` when the connection is over.
    fn payload(&mut self, header: &Header) -> Option<Result<Vec<u8>, u16>> {
        let length =
            if self.has(Fault::CutsLengths) { header.length & 0xff } else { header.length };
        let mut payload = Vec::new();
        loop {
            let missing = usize::try_from(length).ok()?.checked_sub(payload.len())?;
            let count = missing.min(self.connection.input().len());
            let start = payload.len();
            payload.extend_from_slice(&self.connection.input()[..count]);
            self.connection.take(count);
            if self.has(Fault::QuadraticMessage) {
                Connection::labour(payload.len(), count);
            }
            if header.is_masked {
                self.unmask(header, &mut payload, start);
            }
            if !self.has(Fault::ChecksLate) && self.is_bad_text(header, &payload) {
                return Some(Err(1007));
            }
            if count == missing {
                return Some(Ok(payload));
            }
            if self.has(Fault::FrameInOneRead) {
                self.connection.take_all();
                payload.clear();
                return Some(Ok(Vec::new())).filter(|_| self.connection.fill());
            }
            if !self.connection.fill() {
                return None;
            }
        }
    }

    fn unmask(&self, header: &Header, payload: &mut [u8], start: usize) {
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        let end = if self.has(Fault::TailStaysMasked) { length / 4 * 4 } else { length };
        let key =
            if self.has(Fault::ZeroKeyIsNoKey) && header.key[0] == 0 { [0; 4] } else { header.key };
        for (at, byte) in payload.iter_mut().enumerate().skip(start).take_while(|(at, _)| *at < end)
        {
            *byte ^= key[at % 4];
        }
    }

    /// Whether text that has come so far can no longer become right.
    fn is_bad_text(&self, header: &Header, payload: &[u8]) -> bool {
        if self.has(Fault::TakesAnyText) || header.rsv != 0 {
            return false;
        }
        let text = match (header.opcode, &self.message) {
            (1, _) => payload.to_vec(),
            (0, Some(message)) if message.is_text && !message.is_compressed => {
                [&message.payload[message.checked..], payload].concat()
            }
            _ => return false,
        };
        std::str::from_utf8(&text).is_err_and(|error| error.error_len().is_some())
    }

    fn data(&mut self, header: &Header, payload: Vec<u8>) -> bool {
        let fresh = || Joined {
            is_text: header.opcode == 1,
            is_compressed: header.rsv & 4 != 0 && self.deflate.is_some(),
            payload: Vec::new(),
            checked: 0,
            empty: 0,
        };
        let begun = self.message.take().filter(|_| header.opcode == 0);
        let mut message = begun.unwrap_or_else(fresh);
        message.empty += usize::from(payload.is_empty());
        if message.empty > EMPTY_MAX && !self.has(Fault::NoLimitOfEmptyFragments) {
            return self.fail(1008);
        }
        message.payload.extend(payload);
        if self.has(Fault::QuadraticFragments) {
            Connection::labour(message.payload.len(), 1);
        }
        if message.is_text && !message.is_compressed {
            message.checked += match std::str::from_utf8(&message.payload[message.checked..]) {
                Ok(text) => text.len(),
                Err(error) => error.valid_up_to(),
            };
        }
        if header.fin {
            self.whole(message)
        } else {
            self.message = Some(message);
            true
        }
    }

    fn whole(&mut self, message: Joined) -> bool {
        let mut payload = message.payload;
        let inflates = message.is_compressed || self.has(Fault::InflatesEverything);
        if let (true, Some(deflate)) = (inflates, &mut self.deflate) {
            payload = match deflate.inflate(self.connection, &payload) {
                Ok(payload) => payload,
                Err(1007) if self.connection.has(Fault::IgnoresBadData) => Vec::new(),
                Err(code) => return self.fail(code),
            };
        }
        let limit = if self.has(Fault::LimitOneTooLow) { MESSAGE_MAX - 1 } else { MESSAGE_MAX };
        let is_limitless = [Fault::InflatesWithoutLimit, Fault::NoLimit, Fault::LimitPerFrame]
            .into_iter()
            .any(|fault| self.has(fault));
        if payload.len() > limit && !is_limitless {
            return self.fail(1009);
        }
        let is_bad = std::str::from_utf8(&payload).is_err() && !self.has(Fault::TakesAnyText);
        let is_foreign = !payload.is_ascii() && self.has(Fault::RefusesNonAscii);
        if message.is_text && (is_bad || is_foreign) {
            return self.fail(1007);
        }
        if self.connection.settings.echoes {
            self.echo(message.is_text, payload);
        }
        true
    }

    fn echo(&mut self, is_text: bool, mut payload: Vec<u8>) {
        let first =
            if is_text || (self.has(Fault::LosesKind) && payload.len() < 10) { 1 } else { 2 };
        if payload.is_empty() && self.has(Fault::DropsEmpty) {
            return;
        }
        if payload.len() > 200 && self.has(Fault::LosesLastByteOfLong) {
            payload.pop();
        }
        if payload.len() > 50_000 && self.has(Fault::StaleBytes) {
            let mine = *payload.last().unwrap();
            *payload.last_mut().unwrap() = self.connection.swap_last_byte(mine);
        }
        if payload.len() > 10_000 && self.has(Fault::Interleaves) {
            let rest = std::mem::replace(&mut self.held, payload.split_off(5000));
            self.send_frame(first, &payload);
            if !rest.is_empty() {
                self.send_frame(0x80, &rest);
            }
            return;
        }
        let compresses = payload.len() >= COMPRESS_MIN || self.has(Fault::EmptyOfNoByte);
        if let (true, Some(deflate)) = (compresses, &mut self.deflate) {
            let mut bytes = deflate.compress(self.connection, &payload);
            if payload.is_empty() {
                bytes.clear();
            }
            if bytes.len() > 1000 && self.has(Fault::Rsv1OnContinuations) {
                let rest = bytes.split_off(500);
                self.send_frame(0x40 | first, &bytes);
                return self.send_frame(0xc0, &rest);
            }
            return self.send_frame(0xc0 | first, &bytes);
        }
        self.send_frame(0x80 | first, &payload);
    }

    fn ping(&mut self, payload: &[u8]) -> bool {
        self.pings += 1;
        if self.has(Fault::GivesUpOnPings) && self.pings > 1000 {
            return true;
        }
        let is_limitless = self.has(Fault::NoPingLimit) || self.has(Fault::QueuesPongs);
        if self.pings > PINGS_MAX && !is_limitless {
            return self.fail(1008);
        }
        if !self.has(Fault::NoPong) {
            self.send_frame(0x8a, payload);
        }
        true
    }

    fn close(&mut self, header: &Header, body: &[u8]) -> bool {
        let code = body.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
        let is_allowed = |code| {
            matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
                || self.has(Fault::EchoesAnyCode)
        };
        let is_right_header = self.check(header).is_ok();
        let is_right = body.len() != 1
            && code.is_none_or(is_allowed)
            && std::str::from_utf8(body.get(2..).unwrap_or_default()).is_ok();
        if self.has(Fault::IgnoresBadCloses) && !(is_right && is_right_header) {
            return true;
        }
        if self.has(Fault::AnswersBadCloses) && !is_right {
            return self.answer_close(Some(1000));
        }
        if !is_right {
            let is_reason = body.len() > 2 && code.is_some_and(is_allowed);
            return self.fail(if is_reason { 1007 } else { 1002 });
        }
        if self.has(Fault::RefusesEveryCode) {
            return self.fail(if code == Some(1007) { 1002 } else { 1007 });
        }
        let is_clients = code == Some(1010) && !self.has(Fault::EchoesAnyCode);
        self.answer_close(if is_clients { Some(1000) } else { code })
    }

    fn answer_close(&mut self, code: Option<u16>) -> bool {
        let body = code.map(u16::to_be_bytes);
        self.send_frame(0x88, body.as_ref().map_or(&[], |body| &body[..]));
        self.is_closed = true;
        self.has(Fault::GoesOnAfterClose)
    }

    /// Fails the connection: a Close with `code`, and the end.
    fn fail(&mut self, code: u16) -> bool {
        if self.has(Fault::BareDrop) {
            self.connection.drop_it();
            return false;
        }
        if !self.is_closed {
            self.send_frame(0x88, &code.to_be_bytes());
        }
        if self.has(Fault::GoesOnAfterViolation) {
            self.connection.take(self.connection.input().len().min(2));
            return true;
        }
        false
    }

    fn send_frame(&mut self, first: u8, payload: &[u8]) {
        let length = payload.len();
        let mut out = vec![first];
        let long = self.has(Fault::WritesLongForms) && length > 100;
        let masks = (self.has(Fault::MasksPongs) && first == 0x8a)
            || (self.has(Fault::MasksShortMessages) && first & 15 < 3 && length < 10);
        let mask_bit = if masks { 0x80 } else { 0 };
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(length @ ..126), _) if !long => out.push(mask_bit | length),
            (_, Ok(length)) if !long => {
                out.push(126);
                out.extend(length.to_be_bytes());
            }
            _ => {
                out.push(127);
                out.extend((length as u64).to_be_bytes());
            }
        }
        if masks {
            // This key leaves everything as it is.
            out.extend([0; 4]);
        }
        out.extend(payload);
        self.connection.send(&out);
    }
}

/// The header at the beginning of `input`, if it is there as a whole.
fn parse(input: &[u8]) -> Option<Header> {
    let [first, second, ..] = *input else { return None };
    let short = second & 0x7f;
    let form = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let length = input.get(2..2 + form)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let is_masked = second & 0x80 != 0;
    let size = 2 + form + if is_masked { 4 } else { 0 };
    let key = if is_masked { input.get(2 + form..size)?.try_into().ok()? } else { [0; 4] };
    Some(Header {
        fin: first & 0x80 != 0,
        rsv: first >> 4 & 7,
        opcode: first & 15,
        is_masked,
        form,
        length: if form == 0 { u64::from(short) } else { length },
        key,
        size,
    })
}

/// Empty fragments that a message may have.
const EMPTY_MAX: usize = 1024;

/// Pings of one connection; no test of something else comes near.
const PINGS_MAX: usize = 5000;

/// Shorter messages are sent as they are.
const COMPRESS_MIN: usize = 32;
