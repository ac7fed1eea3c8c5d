//! This engine: the frame crate alone, and the connection over it.

use tickwire_benches::Received;
use tickwire_frame::{OpCode, Parser, Role, Rules, utf8};
use tickwire_protocol::{Connection, Event, Inflater, Limits};

use crate::contestant::Contestant;

/// The frame crate's parser and its check of text, over a buffer that was just received into.
pub(crate) struct Frames {
    received: Vec<u8>,
    buffer: Vec<u8>,
    parser: Parser,
}

impl Contestant for Frames {
    const NAME: &'static str = "tickwire-frame";

    fn new(received: &Received) -> Self {
        let parser = Parser::new(Rules::new(Role::Server));
        Self { received: received.bytes.clone(), buffer: received.bytes.clone(), parser }
    }

    fn pass(&mut self, frames: usize, show: &mut impl FnMut(&[u8])) {
        self.buffer.copy_from_slice(&self.received);
        take_frames(&mut self.parser, &mut self.buffer, frames, show);
    }
}

/// The same without receiving: what decoding and unmasking cost by themselves.
pub(crate) struct InPlace {
    buffer: Vec<u8>,
    parser: Parser,
}

impl Contestant for InPlace {
    const NAME: &'static str = "tickwire-frame in place";

    fn new(received: &Received) -> Self {
        Self { buffer: received.bytes.clone(), parser: Parser::new(Rules::new(Role::Server)) }
    }

    fn pass(&mut self, frames: usize, show: &mut impl FnMut(&[u8])) {
        take_frames(&mut self.parser, &mut self.buffer, frames, show);
    }
}

#[inline(always)]
fn take_frames(
    parser: &mut Parser,
    mut input: &mut [u8],
    frames: usize,
    show: &mut impl FnMut(&[u8]),
) {
    let mut count = 0;
    while let Some(piece) = parser.next(&mut input).expect("the frames are valid") {
        if piece.opcode == OpCode::Text && !piece.ascii {
            utf8::check(piece.payload).expect("the texts are valid");
        }
        show(piece.payload);
        count += 1;
    }
    assert_eq!(count, frames, "frames of the buffer");
}

/// The connection: order of fragments, limits, text, control frames.
pub(crate) struct Messages {
    received: Vec<u8>,
    buffer: Vec<u8>,
    connection: Connection,
    limits: Limits,
    control: Vec<u8>,
}

impl Contestant for Messages {
    const NAME: &'static str = "tickwire-protocol";

    fn new(received: &Received) -> Self {
        Self {
            received: received.bytes.clone(),
            buffer: received.bytes.clone(),
            connection: Connection::new(Role::Server),
            limits: Limits::default(),
            control: Vec::new(),
        }
    }

    fn pass(&mut self, frames: usize, show: &mut impl FnMut(&[u8])) {
        self.buffer.copy_from_slice(&self.received);
        let (mut input, mut count) = (&mut self.buffer[..], 0);
        let mut inflater = Inflater::new(false);
        while let Some(event) = self.connection.receive(
            &mut input,
            &self.limits,
            &mut inflater,
            &mut || [0; 4],
            &mut self.control,
        ) {
            let Event::Message(message) = event else { panic!("only messages are in it") };
            show(message.payload);
            count += 1;
        }
        assert_eq!(count, frames, "messages of the buffer");
    }
}
