//! What a peer hears: each frame held against what was promised to it.
//!
//! Messages of handlers and of other threads come in the order in which they were sent, publications
//! in that of their topics, Pongs in that of their Pings; a Close has the code that the handler was
//! told, and everything that was said before it is there.

use tickwire_protocol::{CloseCode, Kind};
use tickwire_reactor::Ended;
use tickwire_reactor::io::sim::Simulation;

use super::speech::agreed;
use super::{Peer, Phase, Temper};
use crate::handler::Application;
use crate::ledger::{Book, Invariant};
use crate::note::Note;
use crate::random::Random;
use crate::stream::{Read, frame};

impl Peer {
    /// Reads all that has come whole.
    pub(super) fn read(
        &mut self,
        simulation: &mut Simulation<Application>,
        book: &Book,
        random: &mut Random,
    ) -> Result<(), String> {
        if self.phase == Phase::Asking && !self.read_head(simulation, book, random)? {
            return Ok(());
        }
        if self.phase != Phase::Open {
            return Ok(());
        }
        while let Some(read) = self.stream.frame()? {
            let number = self.number.expect("it has been answered");
            match read {
                Read::Text(payload) => self.hear(number, &payload, Kind::Text, book),
                Read::Binary(payload) => self.hear(number, &payload, Kind::Binary, book),
                Read::Ping(payload) => self.hear_ping(simulation, number, &payload, book),
                Read::Pong(payload) => self.hear_pong(number, &payload, book),
                Read::Close(code, reason) => {
                    self.hear_close(simulation, number, code, &reason, book);
                }
            }
        }
        Ok(())
    }

    /// Reads the answer, or as a far server the request; whether frames follow.
    fn read_head(
        &mut self,
        simulation: &mut Simulation<Application>,
        book: &Book,
        random: &mut Random,
    ) -> Result<bool, String> {
        let Some(head) = self.stream.head()? else { return Ok(false) };
        if !self.masks {
            let query = head.strip_prefix("GET /far?").and_then(|rest| rest.split(' ').next());
            let number = query.and_then(|query| query.parse().ok());
            self.number = Some(number.ok_or("a request of the engine without its session")?);
            let is_right = self.answer(&head, random);
            if self.is_steady() {
                self.say_the_rest(simulation, book);
            }
            self.phase = if is_right { Phase::Open } else { Phase::Answered { body: 0 } };
            return Ok(is_right);
        }
        let number = self.number.expect("a client has its number");
        if head.starts_with("HTTP/1.1 101 ") {
            self.stream.zlib = agreed(&head);
            self.phase = Phase::Open;
            return Ok(true);
        }
        let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        let is_right = self.is_right_answer(number, status, book);
        let (request, line) = (self.request, head.lines().next());
        book.borrow_mut().check(is_right, Invariant::Ending, || {
            format!("{number} asks for {request:?} and is answered {line:?}")
        });
        let body = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let body = body.and_then(|body| body.parse().ok()).ok_or("an answer without length")?;
        self.phase = Phase::Answered { body };
        Ok(false)
    }

    fn hear(&mut self, number: usize, payload: &[u8], kind: Kind, book: &Book) {
        let mut book = book.borrow_mut();
        let Some(note) = Note::read(payload) else {
            return book.check(false, Invariant::Framing, || {
                let shown = &payload[..payload.len().min(60)];
                format!("{number} gets what nobody has written: {}", shown.escape_ascii())
            });
        };
        // What was missed is sent to it alone.
        let is_missed = book.sessions[number].is_next(note, kind);
        if !is_missed {
            let is_value = match note.lane {
                b'P' => self.holding.follows(note.about, &book),
                lane => matches!(lane, b'r' | b'V'),
            };
            if is_value {
                let in_time = self.is_attentive();
                return self.holding.hear_value(number, note, in_time, &mut book);
            }
            if note.lane == b'P' {
                return self.holding.hear_publication(number, note, &mut book);
            }
        }
        book.arrived(number, note, kind);
        self.holding.hear(number, note, &mut book);
    }

    fn hear_ping(
        &mut self,
        simulation: &mut Simulation<Application>,
        number: usize,
        payload: &[u8],
        book: &Book,
    ) {
        // The heartbeat of the engine has no payload.
        if let Some(count) = counted(payload) {
            let (before, is_attentive) = (self.pinged, self.is_attentive());
            let last = book.borrow().sessions[number].pings;
            let is_next = before < count && count <= last;
            let is_next = is_next && (!is_attentive || count == before + 1);
            book.borrow_mut().check(is_next, Invariant::Delivery, || {
                format!("{number} gets Ping {count} of {last} after {before}")
            });
            self.pinged = count;
        }
        if self.temper != Temper::Mute && !self.is_done {
            frame(self.masks, 0x8a, payload, &mut self.rest);
            if self.is_steady() {
                self.say_the_rest(simulation, book);
            }
        }
    }

    /// Pongs come in the order of their Pings; where they were not read some may be left out.
    fn hear_pong(&mut self, number: usize, payload: &[u8], book: &Book) {
        let (before, last, count) = (self.pongs, self.pings, counted(payload).unwrap_or(0));
        let is_next = before < count && count <= last;
        let is_next = is_next && (!self.is_attentive() || count == before + 1);
        book.borrow_mut().check(is_next, Invariant::Delivery, || {
            format!("{number} gets Pong {count} of {last} after {before}")
        });
        self.pongs = count;
    }

    fn hear_close(
        &mut self,
        simulation: &mut Simulation<Application>,
        number: usize,
        code: Option<u16>,
        reason: &str,
        book: &Book,
    ) {
        let mut ledger = book.borrow_mut();
        let ended = ledger.sessions[number].ended;
        let told = match ended {
            Some(Ended::ByUs(told)) => Some(Some(told)),
            Some(Ended::ByPeer(told)) => Some(told),
            _ => None,
        };
        let is_told = told == Some(code.map(CloseCode));
        ledger.check(is_told, Invariant::Ending, || {
            format!("{number} gets Close {code:?} {reason:?}, and its handler was told {ended:?}")
        });
        let (own, _) = ledger.sessions[number].on_the_way();
        let is_excused = own == 0 || !self.is_attentive() || ledger.may_miss_messages(number);
        ledger.check(is_excused, Invariant::Delivery, || {
            format!("{number} gets Close {code:?} {reason:?} ahead of {own} messages")
        });
        drop(ledger);
        self.closed = Some(code);
        if !self.is_done && self.temper != Temper::Mute {
            self.close_with(number, code, book);
            self.say_the_rest(simulation, book);
        }
        if !self.masks && !self.has_left() {
            // The server is the one to end the stream (RFC 6455 section 7.1.1).
            self.say_the_rest(simulation, book);
            self.has_ended = true;
            self.has_seen_end = true;
            simulation.end(self.socket);
        }
    }
}

fn counted(payload: &[u8]) -> Option<u64> {
    std::str::from_utf8(payload).ok()?.parse().ok()
}
