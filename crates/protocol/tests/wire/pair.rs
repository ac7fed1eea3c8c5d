//! A client and a server joined in memory: whatever they do, each gets what the other said.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;
use tickwire_protocol::encode::{frame, ping};
use tickwire_protocol::mask::Key;
use tickwire_protocol::{
    CloseCode, Connection, Event, Inflater, Kind, Limits, OpCode, Role, State,
};

/// One thing that happens.
#[derive(Debug, Clone)]
enum Action {
    /// A side sends a message in fragments of these lengths and the rest.
    Send {
        side: usize,
        kind: Kind,
        payload: Vec<u8>,
        fragments: Vec<usize>,
    },
    Ping {
        side: usize,
        payload: Vec<u8>,
    },
    Close {
        side: usize,
        code: u16,
    },
    /// The network delivers so many bytes to a side.
    Deliver {
        side: usize,
        bytes: usize,
    },
}

fn action() -> impl Strategy<Value = Action> {
    let side = 0..2_usize;
    prop_oneof![
        6 => (side.clone(), message(), vec(0..20_usize, 0..4)).prop_map(
            |(side, (kind, payload), fragments)| Action::Send { side, kind, payload, fragments },
        ),
        2 => (side.clone(), vec(any::<u8>(), 0..=125))
            .prop_map(|(side, payload)| Action::Ping { side, payload }),
        8 => (side.clone(), 0..200_usize)
            .prop_map(|(side, bytes)| Action::Deliver { side, bytes }),
        1 => (side, 3000..5000_u16).prop_map(|(side, code)| Action::Close { side, code }),
    ]
}

fn message() -> impl Strategy<Value = (Kind, Vec<u8>)> {
    prop_oneof![
        ".{0,40}".prop_map(|text| (Kind::Text, text.into_bytes())),
        vec(any::<u8>(), 0..300).prop_map(|bytes| (Kind::Binary, bytes)),
    ]
}

/// One side, with the bytes on their way to it.
struct Side {
    connection: Connection,
    inflater: Inflater,
    keys: u8,
    incoming: VecDeque<u8>,
    sent: Vec<(Kind, Vec<u8>)>,
    received: Vec<(Kind, Vec<u8>)>,
    pings_sent: Vec<Vec<u8>>,
    pongs_received: Vec<Vec<u8>>,
    closed: Option<Option<CloseCode>>,
    close_code_sent: Option<CloseCode>,
}

impl Side {
    fn new(role: Role) -> Self {
        Self {
            connection: Connection::new(role),
            inflater: Inflater::new(false),
            keys: 0,
            incoming: VecDeque::new(),
            sent: Vec::new(),
            received: Vec::new(),
            pings_sent: Vec::new(),
            pongs_received: Vec::new(),
            closed: None,
            close_code_sent: None,
        }
    }

    fn key(&mut self, role: Role) -> Option<Key> {
        self.keys = self.keys.wrapping_add(97);
        (role == Role::Client).then_some([self.keys, 1, 2, self.keys])
    }

    /// Takes what has come; gives what is owed.
    fn receive(&mut self, bytes: usize) -> Vec<u8> {
        let bytes = bytes.min(self.incoming.len());
        let mut piece: Vec<u8> = self.incoming.drain(..bytes).collect();
        let mut input = &mut piece[..];
        let mut control = Vec::new();
        let keys = &mut self.keys;
        let mut mask = || {
            *keys = keys.wrapping_add(31);
            [*keys, 3, *keys, 4]
        };
        let limits = Limits::default();
        while let Some(event) = self.connection.receive(
            &mut input,
            &limits,
            &mut self.inflater,
            &mut mask,
            &mut control,
        ) {
            match event {
                Event::Message(message) => {
                    self.received.push((message.kind, message.payload.to_vec()));
                }
                Event::Ping(_) => {}
                Event::Pong(payload) => self.pongs_received.push(payload.to_vec()),
                Event::Closed(code, _) => self.closed = Some(code),
                Event::Failed(error) => panic!("both sides keep to the protocol: {error}"),
            }
        }
        control
    }
}

const ROLES: [Role; 2] = [Role::Server, Role::Client];

fn act(sides: &mut [Side; 2], action: Action) {
    match action {
        Action::Send { side, kind, payload, fragments } => {
            if sides[side].connection.is_closing() {
                return;
            }
            let frames =
                encode_fragments(&mut sides[side], ROLES[side], kind, &payload, &fragments);
            sides[1 - side].incoming.extend(frames);
            sides[side].sent.push((kind, payload));
        }
        Action::Ping { side, payload } => {
            if sides[side].connection.is_closing() {
                return;
            }
            let mut out = Vec::new();
            let key = sides[side].key(ROLES[side]);
            ping(&payload, key, &mut out);
            sides[1 - side].incoming.extend(out);
            sides[side].pings_sent.push(payload);
        }
        Action::Close { side, code } => {
            let mut out = Vec::new();
            if sides[side].connection.state() == State::Open {
                sides[side].close_code_sent = Some(CloseCode(code));
            }
            sides[side].connection.close(CloseCode(code), "done", &mut || [9; 4], &mut out);
            sides[1 - side].incoming.extend(out);
        }
        Action::Deliver { side, bytes } => {
            let owed = sides[side].receive(bytes);
            sides[1 - side].incoming.extend(owed);
        }
    }
}

fn encode_fragments(
    side: &mut Side,
    role: Role,
    kind: Kind,
    payload: &[u8],
    fragments: &[usize],
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut opcode = if kind == Kind::Text { OpCode::Text } else { OpCode::Binary };
    let mut rest = payload;
    for &len in fragments {
        let (fragment, after) = rest.split_at(len.min(rest.len()));
        rest = after;
        frame(false, opcode, side.key(role), fragment, &mut out);
        opcode = OpCode::Continuation;
    }
    frame(true, opcode, side.key(role), rest, &mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn both_sides_get_what_the_other_said(actions in vec(action(), 0..60)) {
        let mut sides = ROLES.map(Side::new);
        for action in actions {
            act(&mut sides, action);
        }
        while sides.iter().any(|side| !side.incoming.is_empty()) {
            for side in 0..2 {
                act(&mut sides, Action::Deliver { side, bytes: usize::MAX });
            }
        }
        let closed = sides.iter().any(|side| side.connection.is_closing());
        for (side, other) in [(&sides[0], &sides[1]), (&sides[1], &sides[0])] {
            if !closed {
                prop_assert_eq!(&side.received, &other.sent);
                prop_assert_eq!(&side.pongs_received, &side.pings_sent);
                continue;
            }
            prop_assert!(other.sent.starts_with(&side.received));
            prop_assert!(side.pings_sent.starts_with(&side.pongs_received));
            // A side that did not close first got everything that was said before the Close.
            if side.close_code_sent.is_none() {
                prop_assert_eq!(&side.received, &other.sent);
            }
            prop_assert_eq!(side.connection.state(), State::Closed);
            // The other's own code, or the echo of ours.
            let expected = other.close_code_sent.or(side.close_code_sent);
            prop_assert_eq!(side.closed, Some(expected));
        }
    }
}
