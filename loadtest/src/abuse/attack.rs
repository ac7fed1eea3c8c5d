//! The attacks: what is written, and whether answers are read.

use std::io::Write;

use clap::ValueEnum;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde::{Deserialize, Serialize};
use tickwire_frame::{Header, OpCode, mask};

/// A way to hurt a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Attack {
    /// Connects and says nothing.
    Mute,
    /// Sends its handshake a byte each half second (slowloris).
    SlowRequest,
    /// After the handshake, a frame's header a byte each half second.
    SlowHeader,
    /// A message's payload a byte each half second.
    SlowPayload,
    /// One message without end, in fragments of one byte.
    Fragments,
    /// One message without end, in fragments of nothing.
    EmptyFragments,
    /// Pings of 125 bytes as fast as the server takes them.
    PingFlood,
    /// The same, without reading an answer.
    DeafPings,
    /// Messages of 1 KB as fast as the server takes them, without reading an echo.
    Deaf,
    /// A compressed message of 64 KB that inflates to 64 MB.
    Bomb,
    /// Handshakes as fast as they are answered, each dropped at once.
    Storm,
}

impl Attack {
    /// All of them, from the quiet to the loud.
    pub const ALL: [Self; 11] = [
        Self::Mute,
        Self::SlowRequest,
        Self::SlowHeader,
        Self::SlowPayload,
        Self::Fragments,
        Self::EmptyFragments,
        Self::PingFlood,
        Self::DeafPings,
        Self::Deaf,
        Self::Bomb,
        Self::Storm,
    ];

    /// Its name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mute => "mute",
            Self::SlowRequest => "slow-request",
            Self::SlowHeader => "slow-header",
            Self::SlowPayload => "slow-payload",
            Self::Fragments => "fragments",
            Self::EmptyFragments => "empty-fragments",
            Self::PingFlood => "ping-flood",
            Self::DeafPings => "deaf-pings",
            Self::Deaf => "deaf",
            Self::Bomb => "bomb",
            Self::Storm => "storm",
        }
    }

    /// Whether it begins after the handshake.
    pub(super) const fn upgrades(self) -> bool {
        !matches!(self, Self::Mute | Self::SlowRequest)
    }

    /// Whether what the server sends is read once the connection is open.
    pub(super) const fn reads(self) -> bool {
        !matches!(self, Self::DeafPings | Self::Deaf)
    }

    /// Whether its bytes go one by one.
    pub(super) const fn is_slow(self) -> bool {
        matches!(self, Self::SlowRequest | Self::SlowHeader | Self::SlowPayload)
    }

    /// What is written after the handshake: once, and then again and again.
    pub(super) fn script(self) -> (Vec<u8>, Vec<u8>) {
        let frame = |fin, opcode, payload: &[u8]| {
            let mut bytes = Vec::new();
            push(fin, false, opcode, payload, &mut bytes);
            bytes
        };
        let many = |one: Vec<u8>| one.repeat(CHUNK / one.len());
        match self {
            Self::Mute | Self::SlowRequest | Self::Storm => (Vec::new(), Vec::new()),
            // A length of 8 bytes makes the header 14 bytes long: seven seconds.
            Self::SlowHeader => (frame(true, OpCode::Binary, &[0; 70_000]), Vec::new()),
            Self::SlowPayload => (frame(true, OpCode::Binary, &[0; 100]), Vec::new()),
            Self::Fragments => {
                (frame(false, OpCode::Binary, b"x"), many(frame(false, OpCode::Continuation, b"x")))
            }
            Self::EmptyFragments => {
                (frame(false, OpCode::Binary, b""), many(frame(false, OpCode::Continuation, b"")))
            }
            Self::PingFlood | Self::DeafPings => {
                (Vec::new(), many(frame(true, OpCode::Ping, &[0; 125])))
            }
            Self::Deaf => (Vec::new(), many(frame(true, OpCode::Binary, &[0; 1024]))),
            Self::Bomb => {
                let mut bytes = Vec::new();
                push(true, true, OpCode::Binary, &packed_zeros(BOMB_BYTES), &mut bytes);
                (bytes, Vec::new())
            }
        }
    }
}

/// Appends a masked frame.
fn push(fin: bool, rsv1: bool, opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
    let payload_len = payload.len() as u64;
    let header = Header { fin, rsv1, opcode, mask: Some(KEY), payload_len };
    let mut head = [0; Header::LEN_MAX];
    let head_len = header.encode(&mut head);
    out.extend_from_slice(&head[..head_len]);
    let at = out.len();
    out.extend_from_slice(payload);
    mask::apply(KEY, &mut out[at..]);
}

/// A message of zeros as permessage-deflate has it (RFC 7692 section 7.2.1): a sync flush, without
/// its last four bytes.
fn packed_zeros(bytes: usize) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..bytes / zeros.len() {
        encoder.write_all(&zeros).expect("writing to a Vec cannot fail");
    }
    encoder.flush().expect("writing to a Vec cannot fail");
    let mut packed = encoder.get_ref().clone();
    packed.truncate(packed.len().saturating_sub(4));
    packed
}

/// An attacker's key need not be unforeseeable.
const KEY: mask::Key = *b"evil";

/// Bytes written at a time.
const CHUNK: usize = 16 * 1024;

/// What the bomb inflates to: beyond the usual limits of 1 MB and 16 MB.
const BOMB_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use tickwire_frame::Role;
    use tickwire_protocol::{Connection, Event, Inflater, Limits};

    use super::*;

    #[test]
    fn every_attack_is_well_formed_until_it_is_too_much() {
        for attack in Attack::ALL {
            let (mut once, mut again) = attack.script();
            let deflate = attack == Attack::Bomb;
            let mut server = match deflate {
                true => Connection::with_deflate(Role::Server),
                false => Connection::new(Role::Server),
            };
            let mut limits = Limits::default();
            limits.message_bytes_max = 128 << 20;
            limits.empty_fragments_max = u32::MAX;
            let (mut inflater, mut control) = (Inflater::new(false), Vec::new());
            let mut longest = 0;
            for bytes in [&mut once, &mut again] {
                let mut input = &mut bytes[..];
                let mut mask = || KEY;
                while let Some(event) =
                    server.receive(&mut input, &limits, &mut inflater, &mut mask, &mut control)
                {
                    match event {
                        Event::Message(message) => longest = longest.max(message.payload.len()),
                        Event::Ping(_) => {}
                        event => panic!("{attack:?}: {event:?}"),
                    }
                }
            }
            assert_eq!(longest == BOMB_BYTES, deflate, "{attack:?}: {longest}");
        }
    }

    #[test]
    fn the_bomb_is_small_before_it_goes_off() {
        let (bomb, _) = Attack::Bomb.script();
        assert!(bomb.len() < 100_000, "{} bytes", bomb.len());
        assert!(Attack::ALL.iter().all(|attack| {
            attack.to_possible_value().is_some_and(|value| value.get_name() == attack.name())
        }));
    }
}
