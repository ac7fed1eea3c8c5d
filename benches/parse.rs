//! What does a received frame cost before the application sees it?
//!
//! A 16 KB buffer of masked binary frames, again and again:
//! - `frames in place`: the parser alone, unmasking where the bytes lie. Masking twice is the
//!   identity, so the buffer needs no refilling.
//! - `messages`: a copy of the buffer as a receive makes one, then the connection's state machine
//!   with all its rules.
//! - `tungstenite messages`: the same bytes through tungstenite as a server, which copies them from
//!   its stream, with a read buffer of the same size.

use std::hint::black_box;
use std::io::{self, Read, Write};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tickwire_benches::{PAYLOAD_LENS, Received};
use tickwire_frame::{Parser, Role, Rules};
use tickwire_protocol::{Connection, Event, Limits};
use tungstenite::protocol::{Role as RivalRole, WebSocketConfig, WebSocketContext};

fn parsers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for payload_len in PAYLOAD_LENS {
        let mut received = Received::new(payload_len);
        let frames = received.frames();
        group.throughput(Throughput::Elements(frames));

        group.bench_function(BenchmarkId::new("tungstenite messages", payload_len), |bencher| {
            let mut rival = Rival::new(&received.bytes);
            bencher.iter(|| assert_eq!(rival.pass(frames), received.payload_bytes()));
        });
        group.bench_function(BenchmarkId::new("messages", payload_len), |bencher| {
            let mut buffer = received.bytes.clone();
            let mut connection = Connection::new(Role::Server);
            bencher.iter(|| {
                buffer.copy_from_slice(black_box(&received.bytes));
                assert_eq!(messages(&mut connection, &mut buffer), received.payload_bytes());
            });
        });
        group.bench_function(BenchmarkId::new("frames in place", payload_len), |bencher| {
            let mut parser = Parser::new(Rules::new(Role::Server));
            let expected = received.payload_bytes();
            bencher
                .iter(|| assert_eq!(frames_in_place(&mut parser, &mut received.bytes), expected));
        });
    }
    group.finish();
}

/// Parses every frame of `bytes`; gives the sum of their payloads' lengths.
fn frames_in_place(parser: &mut Parser, bytes: &mut [u8]) -> u64 {
    let (mut input, mut total) = (black_box(bytes), 0);
    while let Some(piece) = parser.next(&mut input).expect("the frames are valid") {
        total += black_box(piece.payload).len() as u64;
    }
    total
}

/// Takes every message of `bytes`; gives the sum of their payloads' lengths.
fn messages(connection: &mut Connection, bytes: &mut [u8]) -> u64 {
    let (limits, mut control) = (Limits::default(), Vec::new());
    let (mut input, mut total) = (bytes, 0);
    while let Some(event) = connection.receive(&mut input, &limits, &mut || [0; 4], &mut control) {
        let Event::Message(message) = event else { panic!("only messages are in it") };
        total += black_box(message.payload).len() as u64;
    }
    total
}

/// tungstenite over a stream that repeats the same bytes for ever.
struct Rival<'a> {
    context: WebSocketContext,
    stream: Repeated<'a>,
}

impl<'a> Rival<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let config = WebSocketConfig::default().read_buffer_size(bytes.len());
        let context = WebSocketContext::new(RivalRole::Server, Some(config));
        Self { context, stream: Repeated { bytes, at: 0 } }
    }

    /// Takes `frames` messages; gives the sum of their payloads' lengths.
    fn pass(&mut self, frames: u64) -> u64 {
        (0..frames)
            .map(|_| {
                let message = self.context.read(&mut self.stream).expect("the frames are valid");
                black_box(message.into_data()).len() as u64
            })
            .sum()
    }
}

struct Repeated<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Read for Repeated<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.bytes[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at = (self.at + count) % self.bytes.len();
        Ok(count)
    }
}

impl Write for Repeated<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

criterion_group!(benches, parsers);
criterion_main!(benches);
