//! permessage-deflate of the server in the tests (RFC 7692), on top of a library.

use zlib_rs::{Deflate as Compress, DeflateFlush, Inflate, InflateFlush, Status};

use crate::fault::Fault;
use crate::server::{Connection, MESSAGE_MAX};

/// What was agreed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Agreed {
    server_takeover: bool,
    client_takeover: bool,
    server_bits: u8,
}

/// The line of the answer and what was agreed; an error if the offer breaks the grammar.
pub(crate) fn negotiate(
    connection: &Connection,
    lines: &[String],
) -> Result<(String, Option<Agreed>), ()> {
    let lines = if connection.has(Fault::OnlyFirstExtensionLine) {
        &lines[..lines.len().min(1)]
    } else {
        lines
    };
    let mut offers: Vec<Vec<(String, Option<String>)>> = Vec::new();
    // A careless parser takes an empty value for a right one.
    let parse = |text: &str| {
        let clamped = text.replace("=\"\"", "=15");
        parameter(if connection.has(Fault::ClampsParameters) { &clamped } else { text })
    };
    for line in lines {
        for offer in line.split(',') {
            offers.push(offer.split(';').map(parse).collect::<Option<_>>().ok_or(()).or_else(
                |()| {
                    if connection.has(Fault::TakesAnyExtensionGrammar) {
                        Ok(Vec::new())
                    } else {
                        Err(())
                    }
                },
            )?);
        }
    }
    if connection.has(Fault::EchoesExtensions) && !offers.is_empty() {
        let name = offers[0].first().map_or("x", |(name, _)| name.as_str());
        if name != NAME {
            return Ok((format!("Sec-WebSocket-Extensions: {name}\r\n"), None));
        }
    }
    if connection.has(Fault::OnlyFirstOffer) {
        offers.truncate(1);
    }
    if !connection.settings.deflates {
        return Ok((String::new(), None));
    }
    let taken = offers.iter().find_map(|offer| take(connection, offer));
    Ok(taken.map_or_else(|| (String::new(), None), |(line, agreed)| (line, Some(agreed))))
}

/// A name and its value, unquoted; `None` if it breaks the grammar.
fn parameter(text: &str) -> Option<(String, Option<String>)> {
    let is_token = |text: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-._~!#$%&'*+^`|".contains(c);
        !text.is_empty() && text.chars().all(is_part)
    };
    let (name, value) = match text.trim().split_once('=') {
        None => (text.trim(), None),
        Some((name, value)) => {
            let bare = value.strip_prefix('"').map_or(Some(value), |rest| rest.strip_suffix('"'));
            (name, Some(bare?))
        }
    };
    let is_right = is_token(name) && value.is_none_or(is_token);
    is_right.then(|| (name.to_owned(), value.map(ToOwned::to_owned)))
}

const NAME: &str = "permessage-deflate";

/// The answer to one offer, if it can be taken.
fn take(connection: &Connection, offer: &[(String, Option<String>)]) -> Option<(String, Agreed)> {
    if offer.first()?.0 != NAME {
        return None;
    }
    let mut agreed = Agreed { server_takeover: true, client_takeover: true, server_bits: 15 };
    let (mut answer, mut seen) = (NAME.to_owned(), Vec::new());
    for (name, value) in &offer[1..] {
        let bits = value.as_ref().and_then(|value| match value.as_str() {
            "8" => Some(8),
            "9" => Some(9),
            value if value.len() == 2 => value.parse().ok().filter(|bits| (10..=15).contains(bits)),
            _ => None,
        });
        let is_right = match (name.as_str(), value, bits) {
            _ if seen.contains(name) => false,
            ("server_no_context_takeover", None, _) => {
                agreed.server_takeover = connection.has(Fault::LeansInSpiteOfAnswer);
                if !connection.has(Fault::ForgetsServerTakeover) {
                    answer += "; server_no_context_takeover";
                }
                true
            }
            ("client_no_context_takeover", None, _) => {
                agreed.client_takeover = connection.has(Fault::KeepsClientContext);
                answer += "; client_no_context_takeover";
                true
            }
            // No zlib can keep a raw stream within 2^8.
            ("server_max_window_bits", Some(_), Some(bits))
                if bits > 8 || takes_eight(connection) =>
            {
                agreed.server_bits = bits;
                let bits = if connection.has(Fault::AnswersTooManyBits) { 15 } else { bits };
                answer += &format!("; server_max_window_bits={bits}");
                true
            }
            ("client_max_window_bits", None, _) => {
                if connection.has(Fault::AnswersClientBitsBare) {
                    answer += "; client_max_window_bits";
                }
                true
            }
            ("client_max_window_bits", Some(_), Some(bits)) => {
                let bits = if connection.has(Fault::AnswersTooManyBits) { 14 } else { bits };
                answer += &format!("; client_max_window_bits={bits}");
                true
            }
            _ => false,
        };
        if !is_right && !connection.has(Fault::ClampsParameters) {
            return None;
        }
        seen.push(name.clone());
    }
    if connection.has(Fault::AnswersNonsense) {
        answer += "; x_nonsense=1";
    }
    Some((format!("Sec-WebSocket-Extensions: {answer}\r\n"), agreed))
}

fn takes_eight(connection: &Connection) -> bool {
    let faults = [Fault::AnswersTooManyBits, Fault::AnswersNonsense, Fault::IgnoresServerWindow];
    faults.into_iter().any(|fault| connection.has(fault))
}

/// Both directions of one connection.
pub(crate) struct Deflate {
    agreed: Agreed,
    compress: Compress,
    inflate: Inflate,
    is_first: bool,
}

impl Deflate {
    pub(crate) fn new(connection: &Connection, agreed: Agreed) -> Self {
        let bits =
            if connection.has(Fault::IgnoresServerWindow) { 15 } else { agreed.server_bits.max(9) };
        let (compress, inflate) = (Compress::new(6, false, bits), Inflate::new(false, 15));
        Self { agreed, compress, inflate, is_first: true }
    }

    /// The payload of one message, inflated; an error is the Close code.
    pub(crate) fn inflate(
        &mut self,
        connection: &Connection,
        payload: &[u8],
    ) -> Result<Vec<u8>, u16> {
        if !self.agreed.client_takeover || connection.has(Fault::ForgetsContext) {
            self.inflate = Inflate::new(false, 15);
        }
        let input = [payload, TAIL].concat();
        if self.is_first && !connection.has(Fault::TakesCutData) {
            // Only at the beginning of a block does a stored one put out its byte.
            let marked = [&input[..], b"\0\x01\0\xfe\xffX"].concat();
            let mut marked = inflate(&mut Inflate::new(false, 15), &marked, usize::MAX)?;
            if marked.pop() != Some(b'X') {
                return Err(1007);
            }
        }
        self.is_first = false;
        let is_limitless = connection.has(Fault::InflatesWithoutLimit);
        let limit = if is_limitless { usize::MAX } else { MESSAGE_MAX };
        inflate(&mut self.inflate, &input, limit)
    }

    /// The payload of a frame with RSV1.
    pub(crate) fn compress(&mut self, connection: &Connection, data: &[u8]) -> Vec<u8> {
        if !self.agreed.server_takeover {
            self.compress.reset();
        }
        // Room for more than deflate ever needs, so that one call does it.
        let mut out = vec![0; data.len() + data.len() / 8 + 64];
        let before = self.compress.total_out();
        self.compress.compress(data, &mut out, DeflateFlush::SyncFlush).unwrap();
        out.truncate(usize::try_from(self.compress.total_out() - before).unwrap());
        if out.ends_with(TAIL) && !connection.has(Fault::LeavesTail) {
            out.truncate(out.len() - TAIL.len());
        }
        out
    }
}

fn inflate(inflate: &mut Inflate, mut input: &[u8], limit: usize) -> Result<Vec<u8>, u16> {
    let mut out = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let before = (inflate.total_in(), inflate.total_out());
        let status = inflate.decompress(input, &mut piece, InflateFlush::SyncFlush);
        input = &input[usize::try_from(inflate.total_in() - before.0).unwrap()..];
        let written = usize::try_from(inflate.total_out() - before.1).unwrap();
        out.extend_from_slice(&piece[..written]);
        if out.len() > limit {
            return Err(1009);
        }
        match status {
            Err(_) => return Err(1007),
            // A block with BFINAL=1; another may follow.
            Ok(Status::StreamEnd) => *inflate = Inflate::new(false, 15),
            Ok(_) if input.is_empty() && written < piece.len() => return Ok(out),
            Ok(_) => {}
        }
    }
}

const TAIL: &[u8] = &[0, 0, 0xff, 0xff];
