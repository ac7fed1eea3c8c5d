//! Compressed messages: what half of one costs, what a bomb costs, and what is kept afterwards.

use tickwire_protocol::encode::{self, frame};
use tickwire_protocol::{
    Connection, Deflater, Event, Inflater, Kind, Limits, OpCode, ProtocolError, Role,
};

use crate::counting::{NOTHING, Taken, taken_by};

/// A client's compressed message with this payload, in frames of at most `fragment` bytes.
fn message(packed: &[u8], fragment: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    let fragments = packed.chunks(fragment);
    let last = fragments.len() - 1;
    for (index, fragment) in fragments.enumerate() {
        let opcode = if index == 0 { OpCode::Binary } else { OpCode::Continuation };
        let start = stream.len();
        frame(index == last, opcode, Some([1, 2, 3, 4]), fragment, &mut stream);
        if index == 0 {
            stream[start] |= 0x40;
        }
    }
    stream
}

/// Feeds `bytes`; gives the length of each message, and what the connection failed of.
fn feed(
    connection: &mut Connection,
    inflater: &mut Inflater,
    bytes: &mut [u8],
) -> (usize, Option<ProtocolError>) {
    let mut input = bytes;
    let (mut len, mut failure) = (0, None);
    let mut control = Vec::with_capacity(200);
    let mut mask = || unreachable!("a server does not mask");
    let limits = Limits::DEFAULT;
    while let Some(event) =
        connection.receive(&mut input, &limits, inflater, &mut mask, &mut control)
    {
        match event {
            Event::Message(message) => len += message.payload.len(),
            Event::Failed(error) => failure = Some(error),
            other => panic!("{other:?}"),
        }
    }
    (len, failure)
}

#[test]
fn idle_connections_that_keep_no_context_hold_no_window() {
    let packed = Deflater::new(6, 8, 15, false).compress(b"a message or two").to_vec();
    let mut inflater = Inflater::new(false);
    let mut connections: Vec<_> =
        (0..10_000).map(|_| Connection::with_deflate(Role::Server)).collect();
    let mut stream = message(&packed, 5);
    let original = stream.clone();
    let ((), taken) = taken_by(|| {
        for connection in &mut connections {
            stream.copy_from_slice(&original);
            assert_eq!(feed(connection, &mut inflater, &mut stream), (16, None));
        }
    });
    let memory = inflater.memory().cast_signed();
    assert!((taken.kept_bytes - memory).abs() < 2048, "{taken:?}, of which {memory} are shared");
    assert!(memory < 64 * 1024, "{memory} bytes");
}

#[test]
fn a_steady_echo_of_compressed_messages_allocates_nothing() {
    for context in [false, true] {
        let mut sender = Deflater::new(6, 8, 15, false);
        let mut stream = Vec::new();
        for text in ["", "ping", "twenty bytes of text", &"more and ".repeat(400)] {
            encode::deflated_message(
                Kind::Text,
                Some([1, 2, 3, 4]),
                text.as_bytes(),
                &mut sender,
                &mut stream,
            );
        }
        let mut connection = Connection::with_deflate(Role::Server);
        let (mut inflater, mut deflater) =
            (Inflater::new(context), Deflater::new(6, 8, 15, context));
        let mut input = stream.clone();
        let (mut out, mut control) = (Vec::with_capacity(4096), Vec::new());
        let mut turn = || {
            input.copy_from_slice(&stream);
            out.clear();
            let mut rest = &mut input[..];
            let mut mask = || unreachable!("a server does not mask");
            let limits = Limits::DEFAULT;
            while let Some(event) =
                connection.receive(&mut rest, &limits, &mut inflater, &mut mask, &mut control)
            {
                let Event::Message(message) = event else { panic!("{event:?}") };
                let (kind, payload) = (message.kind, message.payload);
                encode::deflated_message(kind, None, payload, &mut deflater, &mut out);
            }
            assert!(!out.is_empty());
        };
        turn();
        let ((), taken) = taken_by(|| (0..100).for_each(|_| turn()));
        assert_eq!(taken, NOTHING, "context kept: {context}");
    }
}

/// Wire behaviour: memory is the limit, one byte, and one inflater; and it is given back.
#[test]
fn a_deflate_bomb_takes_the_limit_and_one_window() {
    let bomb = Deflater::new(9, 9, 15, false).compress(&vec![0; 64 << 20]).to_vec();
    let limit = isize::try_from(Limits::DEFAULT.message_bytes_max).expect("a megabyte");
    for fragment in [bomb.len(), bomb.len() / 10] {
        for context in [false, true] {
            let mut stream = message(&bomb, fragment);
            let mut connection = Connection::with_deflate(Role::Server);
            let mut inflater = Inflater::new(context);
            let (seen, taken) = taken_by(|| feed(&mut connection, &mut inflater, &mut stream));
            assert_eq!(seen, (0, Some(ProtocolError::MessageTooBig)));
            // What grows is for a moment there twice, the second time half as long.
            let most = limit + limit / 2 + 50 * 1024 + 2 * bomb.len().cast_signed();
            assert!(taken.peak_bytes <= most, "{taken:?}");
            assert!(taken.kept_bytes <= 50 * 1024, "{taken:?}");
        }
    }
}

/// A thousand connections with half a bomb each hold the bytes that came, and no window.
#[test]
fn half_a_compressed_message_costs_what_arrived() {
    let bomb = Deflater::new(9, 9, 15, false).compress(&vec![0; 1 << 20]).to_vec();
    let half = message(&bomb, 100);
    let half = &half[..half.len() / 2];
    let mut inflater = Inflater::new(false);
    let mut connections: Vec<_> =
        (0..1000).map(|_| Connection::with_deflate(Role::Server)).collect();
    let mut stream = half.to_vec();
    let ((), taken) = taken_by(|| {
        for connection in &mut connections {
            stream.copy_from_slice(half);
            assert_eq!(feed(connection, &mut inflater, &mut stream), (0, None));
        }
    });
    let most = 1000 * (2 * half.len() + 200).cast_signed();
    assert!(taken.kept_bytes <= most, "{taken:?} of {} bytes each", half.len());
    assert_eq!(inflater.memory(), 0);
}

#[test]
fn a_declared_compressed_length_allocates_nothing() {
    let most = Limits::DEFAULT.message_bytes_max + Limits::DEFAULT.message_bytes_max / 4 + 64;
    for first in [0xc2, 0x42] {
        let mut header = [&[first, 0xff], &most.to_be_bytes()[..], &[1, 2, 3, 4]].concat();
        let mut connection = Connection::with_deflate(Role::Server);
        let mut inflater = Inflater::new(false);
        let (seen, taken) = taken_by(|| feed(&mut connection, &mut inflater, &mut header));
        assert_eq!(seen, (0, None));
        assert_eq!((taken.kept_bytes, inflater.memory()), (0, 0));
    }
}

#[test]
fn what_a_large_message_took_is_given_back() {
    let payload = vec![b'x'; 1 << 20];
    for (context, spare) in [(false, 64 * 1024), (true, 4 * 1024)] {
        let mut deflater = Deflater::new(6, 8, 15, context);
        let mut connection = Connection::with_deflate(Role::Server);
        let mut inflater = Inflater::new(context);
        let ((), taken) = taken_by(|| {
            let mut stream = Vec::new();
            let key = Some([1, 2, 3, 4]);
            encode::deflated_message(Kind::Binary, key, &payload, &mut deflater, &mut stream);
            assert_eq!(feed(&mut connection, &mut inflater, &mut stream), (1 << 20, None));
        });
        let states = 48 * 1024 + 384 * 1024;
        assert!(taken.kept_bytes <= states + spare + 64 * 1024, "{taken:?}");
        assert!(inflater.memory().cast_signed() <= 48 * 1024 + spare, "{inflater:?}");
    }
}

/// What `memory` says is what the allocator counts, to within half a hundredth.
#[test]
fn memory_is_what_is_held() {
    let close = |taken: &Taken, memory: usize| {
        let difference = (taken.kept_bytes - memory.cast_signed()).abs();
        difference * 200 <= taken.kept_bytes
    };
    for context in [false, true] {
        let mut inflater = Inflater::new(context);
        let mut stream = message(b"\xf2\x48\xcd\xc9\xc9\x07\x00", 100);
        let mut connection = Connection::with_deflate(Role::Server);
        let (_, taken) = taken_by(|| feed(&mut connection, &mut inflater, &mut stream));
        assert!(close(&taken, inflater.memory()), "{taken:?}, {inflater:?}");
    }
    for window_bits in 8..=15 {
        for mem_level in 1..=9 {
            let mut deflater = Deflater::new(6, mem_level, window_bits, false);
            assert_eq!(deflater.memory(), 0);
            let (_, taken) = taken_by(|| deflater.compress(b"Hello").len());
            assert!(close(&taken, deflater.memory()), "{taken:?}, {deflater:?}");
        }
    }
}
