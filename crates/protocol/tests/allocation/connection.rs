//! Connections and handshakes without compression.

use tickwire_protocol::encode::{self, frame};
use tickwire_protocol::{
    CloseCode, Connection, Event, Inflater, Kind, Limits, OpCode, RequestReader, Role, State,
    upgrade,
};

use crate::counting::{LIVE_BYTES, NOTHING, Taken, taken_by};

/// Feeds `bytes`; gives how many messages came and whether the connection failed or closed.
fn feed(connection: &mut Connection, bytes: &mut [u8], control: &mut Vec<u8>) -> (usize, bool) {
    let mut input = bytes;
    let mut messages = 0;
    let mut ended = false;
    let mut mask = || unreachable!("a server does not mask");
    let mut inflater = Inflater::new(false);
    while let Some(event) =
        connection.receive(&mut input, &Limits::DEFAULT, &mut inflater, &mut mask, control)
    {
        match event {
            Event::Message(_) => messages += 1,
            Event::Ping(_) | Event::Pong(_) => {}
            Event::Closed(..) | Event::Failed(_) => ended = true,
        }
    }
    (messages, ended)
}

fn masked(fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame(fin, opcode, Some([1, 2, 3, 4]), payload, &mut out);
    out
}

/// A client's frame header that declares `len` bytes in the 64-bit form.
fn header_declaring(opcode: u8, len: u64) -> Vec<u8> {
    [&[0x80 | opcode, 0xff], &len.to_be_bytes()[..], &[1, 2, 3, 4]].concat()
}

#[test]
fn the_counting_sees_what_is_taken() {
    let (buffer, taken) = taken_by(|| Vec::<u8>::with_capacity(1000));
    assert_eq!(taken, Taken { allocations: 1, kept_bytes: 1000, peak_bytes: 1000 });
    let (_, taken) = taken_by(|| vec![0_u8; 500].len() + buffer.capacity());
    assert_eq!(taken, Taken { allocations: 1, kept_bytes: 0, peak_bytes: 500 });
}

/// CVE-2022-35922 and its like: 2^62 or all of the limit is declared and nothing follows.
#[test]
fn a_declared_length_allocates_nothing() {
    let largest = Limits::DEFAULT.message_bytes_max;
    let mut control = Vec::with_capacity(1024);
    let mut connections: Vec<Connection> =
        (0..1000).map(|_| Connection::new(Role::Server)).collect();
    let begun = masked(false, OpCode::Text, b"");
    for header in [
        header_declaring(1, largest),
        header_declaring(2, largest - 1),
        header_declaring(9, 125)[..1].to_vec(),
        [0x89, 0xfd, 1, 2, 3, 4].to_vec(),
        [begun, header_declaring(0, largest)].concat(),
    ] {
        for connection in &mut connections {
            *connection = Connection::new(Role::Server);
        }
        let mut header = header;
        let original = header.clone();
        let ((), taken) = taken_by(|| {
            for connection in &mut connections {
                header.copy_from_slice(&original);
                assert_eq!(feed(connection, &mut header, &mut control), (0, false));
            }
        });
        assert_eq!(taken, NOTHING, "{}", original.escape_ascii());
    }
    for declared in [1 << 62, (1 << 63) - 1, u64::MAX, largest + 1] {
        let mut header = header_declaring(2, declared);
        let mut connection = Connection::new(Role::Server);
        let (ended, taken) = taken_by(|| feed(&mut connection, &mut header, &mut control));
        assert_eq!(ended, (0, true));
        // The text of the reason.
        assert_eq!(taken.kept_bytes, 0);
        assert!(taken.peak_bytes <= 256, "{taken:?} for {declared}");
        control.clear();
    }
}

#[test]
fn a_steady_echo_allocates_nothing() {
    let mut stream = Vec::new();
    for text in ["", "ping", "twenty bytes of text", "ümläut", &"x".repeat(70_000)] {
        stream.extend(masked(true, OpCode::Text, text.as_bytes()));
        stream.extend(masked(true, OpCode::Binary, text.as_bytes()));
        stream.extend(masked(true, OpCode::Ping, b"are you there"));
        stream.extend(masked(true, OpCode::Pong, b""));
    }
    let mut connection = Connection::new(Role::Server);
    let mut input = stream.clone();
    let (mut out, mut control) = (Vec::new(), Vec::new());
    let mut turn = || {
        input.copy_from_slice(&stream);
        out.clear();
        control.clear();
        let mut rest = &mut input[..];
        let mut mask = || unreachable!("a server does not mask");
        let mut inflater = Inflater::new(false);
        while let Some(event) =
            connection.receive(&mut rest, &Limits::DEFAULT, &mut inflater, &mut mask, &mut control)
        {
            if let Event::Message(message) = event {
                encode::message(message.kind, message.payload, &mut out);
            }
        }
        (out.len(), control.len())
    };
    let first = turn();
    let ((), taken) = taken_by(|| (0..100).for_each(|_| assert_eq!(turn(), first)));
    assert_eq!(taken, NOTHING);
}

/// Pieces and fragments of one read share one buffer, whatever the number of messages.
#[test]
fn joined_messages_of_one_read_share_a_buffer_that_is_freed_at_its_end() {
    let mut stream = Vec::new();
    for _ in 0..50 {
        stream.extend(masked(false, OpCode::Text, b"first half, "));
        stream.extend(masked(true, OpCode::Continuation, b"second half"));
    }
    let mut connection = Connection::new(Role::Server);
    let mut control = Vec::new();
    let (seen, taken) = taken_by(|| feed(&mut connection, &mut stream, &mut control));
    assert_eq!(seen, (50, false));
    assert_eq!((taken.allocations, taken.kept_bytes), (2, 0), "the state and its buffer");
}

#[test]
fn what_is_kept_of_a_message_is_in_proportion_to_what_arrived() {
    // Well below the limit, so that the bound by what the header declares shows.
    let len = 600_000_usize;
    let message = masked(true, OpCode::Text, &vec![b'x'; len]);
    let mut connection = Connection::new(Role::Server);
    let mut control = Vec::new();
    let live_before = LIVE_BYTES.get();
    let mut arrived = 0;
    let mut allocations = 0;
    let mut messages = 0;
    let mut bytes = message;
    for piece in bytes.chunks_mut(1000) {
        arrived += piece.len();
        let ((complete, _), taken) = taken_by(|| feed(&mut connection, piece, &mut control));
        messages += complete;
        allocations += taken.allocations;
        let kept = (LIVE_BYTES.get() - live_before).cast_unsigned();
        assert!(kept <= 2 * arrived + 200, "{kept} bytes are kept after {arrived} arrived");
        assert!(kept <= len + 200, "{kept} bytes are kept of a message of {len}");
    }
    assert_eq!(messages, 1);
    assert!(allocations < 20, "{allocations} allocations: the room is to double");
    assert_eq!(LIVE_BYTES.get(), live_before, "nothing is kept after the message");
}

#[test]
fn one_byte_of_a_large_message_keeps_little() {
    for (opcode, most) in [(1, 200), (2, 200), (9, 200)] {
        let declared = if opcode == 9 { 100 } else { Limits::DEFAULT.message_bytes_max };
        let mut bytes = match opcode {
            9 => masked(true, OpCode::Ping, &[b'x'; 100])[..7].to_vec(),
            _ => [&header_declaring(opcode, declared)[..], b"\x00"].concat(),
        };
        let mut connection = Connection::new(Role::Server);
        let mut control = Vec::new();
        let (_, taken) = taken_by(|| feed(&mut connection, &mut bytes, &mut control));
        assert!((1..=most).contains(&taken.kept_bytes), "opcode {opcode}: {taken:?}");
    }
}

#[test]
fn fragments_cost_no_memory_each() {
    let mut connection = Connection::new(Role::Server);
    let mut control = Vec::new();
    let (_, taken) = taken_by(|| {
        let mut bytes = masked(false, OpCode::Binary, b"x");
        feed(&mut connection, &mut bytes, &mut control);
        let mut fragment = masked(false, OpCode::Continuation, b"x");
        for _ in 1..100_000 {
            fragment[2..].copy_from_slice(&[0; 5]);
            assert_eq!(feed(&mut connection, &mut fragment, &mut control), (0, false));
        }
    });
    assert!(taken.kept_bytes <= 200_200, "{taken:?} for 100,000 fragments of one byte");
}

#[test]
fn nothing_is_kept_once_a_cut_frame_is_over() {
    let limits = Limits::DEFAULT;
    let mut control = Vec::with_capacity(1024);
    let mut connection = Connection::new(Role::Server);
    let cut = [
        (masked(true, OpCode::Ping, b"cut here"), 9),
        (masked(true, OpCode::Pong, b"cut here"), 3),
        (masked(true, OpCode::Text, b"cut here"), 8),
        (masked(true, OpCode::Binary, b"cut here"), 13),
    ];
    for (mut bytes, at) in cut {
        let (first, second) = bytes.split_at_mut(at);
        let (_, taken) = taken_by(|| {
            feed(&mut connection, first, &mut control);
            feed(&mut connection, second, &mut control);
        });
        assert_eq!(taken.kept_bytes, 0);
    }

    // A message under way is dropped at our Close, at the peer's, and at a failure.
    let mut begun = masked(false, OpCode::Text, &[b'x'; 1000]);
    let (_, taken) = taken_by(|| {
        feed(&mut connection, &mut begun.clone(), &mut control);
        connection.close(CloseCode::NORMAL, "", &mut || unreachable!("a server"), &mut control);
        assert_eq!(connection.state(), State::CloseSent);
    });
    assert_eq!(taken.kept_bytes, 0);
    let mut other = Connection::new(Role::Server);
    let (_, taken) = taken_by(|| {
        feed(&mut other, &mut begun, &mut control);
        let mut close = masked(true, OpCode::Close, b"");
        let mut input = &mut close[..];
        let mut mask = || unreachable!("a server does not mask");
        let mut inflater = Inflater::new(false);
        let event = other.receive(&mut input, &limits, &mut inflater, &mut mask, &mut control);
        assert_eq!(event, Some(Event::Closed(None, "")));
    });
    assert_eq!(taken.kept_bytes, 0);
    let mut other = Connection::new(Role::Server);
    let mut begun = masked(false, OpCode::Binary, &[b'x'; 1000]);
    begun.extend(masked(true, OpCode::Ping, b"cut"));
    let (_, taken) = taken_by(|| {
        let cut = begun.len() - 1;
        feed(&mut other, &mut begun[..cut], &mut control);
        feed(&mut other, &mut begun[cut..], &mut control);
        let mut wrong = *b"\xff";
        let mut input = &mut wrong[..];
        let mut mask = || unreachable!("a server does not mask");
        let mut inflater = Inflater::new(false);
        let event = other.receive(&mut input, &limits, &mut inflater, &mut mask, &mut control);
        assert!(matches!(event, Some(Event::Failed(_))), "{event:?}");
    });
    assert_eq!(taken.kept_bytes, 0);
}

const REQUEST: &[u8] = b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n";

#[test]
fn a_handshake_in_one_read_allocates_nothing() {
    let mut bytes = REQUEST.to_vec();
    let mut out = Vec::with_capacity(1024);
    let ((), taken) = taken_by(|| {
        let mut reader = RequestReader::new();
        let mut input = &mut bytes[..];
        let request = reader.push(&mut input, &Limits::DEFAULT).expect("valid");
        let request = request.expect("complete");
        let upgrade = upgrade(&request).expect("a valid handshake");
        upgrade.accept(upgrade.choose(&["superchat"]), &mut out).expect("it was offered");
    });
    assert_eq!(taken, NOTHING);
}

#[test]
fn an_unfinished_head_keeps_what_arrived() {
    let mut reader = RequestReader::new();
    let mut limits = Limits::DEFAULT;
    limits.request_bytes_max = 1 << 20;
    let live_before = LIVE_BYTES.get();
    let mut allocations = 0;
    for arrived in 1..=1_000_000_usize {
        let mut byte = *b"x";
        let (_, taken) = taken_by(|| reader.push(&mut &mut byte[..], &limits).map(|_| ()));
        allocations += taken.allocations;
        let kept = (LIVE_BYTES.get() - live_before).cast_unsigned();
        assert!(kept <= 2 * arrived + 64, "{kept} bytes are kept after {arrived} arrived");
    }
    assert!(allocations < 32, "{allocations} allocations: the room is to double");
}

/// Kinds are told apart, so that this test would notice a payload that is not what was sent.
#[test]
fn the_buffer_shared_by_messages_keeps_them_apart() {
    let mut stream = Vec::new();
    for (kind, halves) in [
        (OpCode::Binary, ["a longer message", ", to leave something behind"]),
        (OpCode::Text, ["sh", "ort"]),
    ] {
        stream.extend(masked(false, kind, halves[0].as_bytes()));
        stream.extend(masked(true, OpCode::Continuation, halves[1].as_bytes()));
    }
    let mut connection = Connection::new(Role::Server);
    let mut input = &mut stream[..];
    let mut control = Vec::new();
    let mut mask = || unreachable!("a server does not mask");
    let mut inflater = Inflater::new(false);
    for (kind, text) in
        [(Kind::Binary, "a longer message, to leave something behind"), (Kind::Text, "short")]
    {
        let Some(Event::Message(message)) = connection.receive(
            &mut input,
            &Limits::DEFAULT,
            &mut inflater,
            &mut mask,
            &mut control,
        ) else {
            panic!("a message is complete");
        };
        assert_eq!((message.kind, &*message.payload), (kind, text.as_bytes()));
    }
}

#[test]
fn what_a_connection_holds_is_what_it_says() {
    let mut control = Vec::with_capacity(1024);
    let long = masked(true, OpCode::Binary, &[7; 10_000]);
    let fragment = masked(false, OpCode::Text, b"the first of several fragments");
    let ping = masked(true, OpCode::Ping, b"are you there");
    for bytes in [&long[..], &fragment, &ping, &[&fragment[..], &ping[..10]].concat()] {
        for cut in 0..bytes.len() {
            let mut connection = Connection::new(Role::Server);
            let mut first = bytes[..cut].to_vec();
            let (_, taken) = taken_by(|| feed(&mut connection, &mut first, &mut control));
            assert_eq!(isize::try_from(connection.memory()), Ok(taken.kept_bytes), "cut at {cut}");
            connection.close(CloseCode::NORMAL, "", &mut || unreachable!(), &mut control);
            assert!(connection.memory() < 256, "no message is awaited any more");
            control.clear();
        }
    }
    let mut reader = RequestReader::new();
    let mut head = b"GET / HTTP/1.1\r\nHost: server.exam".to_vec();
    let (_, taken) = taken_by(|| reader.push(&mut &mut head[..], &Limits::DEFAULT).is_ok());
    assert_eq!(isize::try_from(reader.memory()), Ok(taken.kept_bytes));
}
