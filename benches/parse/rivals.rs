//! Other libraries for Rust, each the way its own documentation shows first for speed.
//!
//! A library whose parser can be called by itself is given the bytes in the buffer type that it
//! asks for; one that has only connections is driven through an in-memory stream that is always
//! ready ([`Repeated`](crate::stream::Repeated)), polled by hand, without a runtime. Two of them have
//! both a parser of frames and a connection, and are measured twice.
//!
//! What each allocates or copies beyond that is its own doing and is measured.

use std::pin::Pin;

use bytes::BytesMut;
use futures_core::Stream;
use tickwire_benches::{BUFFER_BYTES, Received};
use tokio::io::BufReader;
use tokio_util::codec::Decoder;
use tungstenite::protocol::{Role as TungsteniteRole, WebSocketConfig, WebSocketContext};

use crate::contestant::{Contestant, is_text};
use crate::stream::{Repeated, poll, ready};

/// fastwebsockets, feature `simd`: through the stream, `read_frame` as in its README. Validates text
/// with simdutf8; keeps its buffer of 8 KB.
pub(crate) struct Fastwebsockets(fastwebsockets::WebSocket<Repeated>);

impl Contestant for Fastwebsockets {
    const NAME: &'static str = "fastwebsockets";

    fn new(received: &Received) -> Self {
        let stream = Repeated::new(&received.bytes);
        Self(fastwebsockets::WebSocket::after_handshake(stream, fastwebsockets::Role::Server))
    }

    fn pass(&mut self, frames: usize, show: &mut impl FnMut(&[u8])) {
        ready(async {
            for _ in 0..frames {
                show(&self.0.read_frame().await.expect("the frames are valid").payload);
            }
        });
    }
}

/// tokio-websockets, whose vectors and simdutf8 are always on: through the stream, as its server
/// builder makes it. Its buffer of 8 KB cannot be chosen.
pub(crate) struct TokioWebsockets(tokio_websockets::WebSocketStream<Repeated>);

impl Contestant for TokioWebsockets {
    const NAME: &'static str = "tokio-websockets";

    fn new(received: &Received) -> Self {
        Self(tokio_websockets::ServerBuilder::new().serve(Repeated::new(&received.bytes)))
    }

    fn pass(&mut self, frames: usize, show: &mut impl FnMut(&[u8])) {
        for _ in 0..frames {
            let message = poll(|context| Pin::new(&mut self.0).poll_next(context));
            let message = message.expect("the stream has no end").expect("the frames are valid");
            show(message.as_payload());
        }
    }
}

/// sockudo-ws, feature `simd`: its parser of frames by itself, over a buffer that is filled anew. It
/// leaves text to the caller, who uses what it offers for that.
pub(crate) struct SockudoFrames {
    parser: sockudo_ws::frame::FrameParser,
    received: Vec<u8>,
    buffer: BytesMut,
}

impl Contestant for SockudoFrames {
    const NAME: &'static str = "sockudo-ws frames";

    fn new(received: &Received) -> Self {
        let mut parser = sockudo_ws::frame::FrameParser::new(MESSAGE_BYTES_MAX, true);
        parser.set_compression(false);
        let buffer = BytesMut::with_capacity(received.bytes.len());
        Self { parser, received: received.bytes.clone(), buffer }
    }

    fn pass(&mut self, frames: usize, show: &mut impl FnMut(&[u8])) {
        self.buffer.extend_from_slice(&self.received);
        for _ in 0..frames {
            let frame = self.parser.parse(&mut self.buffer).expect("the frames are valid");
            let frame = frame.expect("the frames are complete");
            if frame.header.opcode == sockudo_ws::OpCode::Text {
                frame.as_text().expect("the texts are valid");
            }
            show(&frame.payload);
        }
    }
}

/// sockudo-ws, feature `simd`: its connection without input and output, by the call that it names
/// the hot path, which gives all messages of a buffer in a vector that is used again.
pub(crate) struct SockudoMessages {
    protocol: sockudo_ws::protocol::Protocol,
    received: Vec<u8>,
    buffer: BytesMut,
    messages: Vec<sockudo_ws::Message>,
}

impl Contestant for SockudoMessages {
    const NAME: &'static str = "sockudo-ws messages";

    fn new(received: &Received) -> Self {
        let role = sockudo_ws::Role::Server;
        let protocol =
            sockudo_ws::protocol::Protocol::new(role, MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX);
        let buffer = BytesMut::with_capacity(received.bytes.len());
        Self { protocol, received: received.bytes.clone(), buffer, messages: Vec::new() }
    }

    fn pass(&mut self, frames: usize, show: &mut impl FnMut(&[u8])) {
        self.buffer.extend_from_slice(&self.received);
        let done = self.protocol.process_into(&mut self.buffer, &mut self.messages);
        done.expect("the frames are valid");
        assert_eq!(self.messages.len(), frames, "messages of the buffer");
        for message in self.messages.drain(..) {
            show(message.as_bytes());
        }
    }
}

/// web-socket: through the stream, behind the buffered reader that its documentation asks for, of
/// our buffer's size. It does not validate text, which is done for it with simdutf8.
pub(crate) struct WebSocket {
    socket: web_socket::WebSocket<BufReader<Repeated>>,
    is_text: bool,
}

impl Contestant for WebSocket {
    const NAME: &'static str = "web-socket";

    fn new(received: &Received) -> Self {
        let stream = BufReader::with_capacity(BUFFER_BYTES, Repeated::new(&received.bytes));
        Self { socket: web_socket::WebSocket::server(stream), is_text: is_text(received) }
    }

    fn pass(&mut self, frames: usize, show: &mut impl FnMut(&[u8])) {
        ready(async {
            for _ in 0..frames {
                let event = self.socket.recv_event().await.expect("the stream has no end");
                let web_socket::Event::Data { data, .. } = event else {
                    panic!("only messages are in it")
                };
                if self.is_text {
                    simdutf8::basic::from_utf8(&data).expect("the texts are valid");
                }
                show(&data);
            }
        });
    }
}

/// yawc, feature `simd`: its decoder of frames by itself, over a buffer that is filled anew. It
/// leaves text to its connection, as which it is validated here with simdutf8.
pub(crate) struct YawcFrames {
    decoder: yawc::codec::Decoder,
    received: Vec<u8>,
    buffer: BytesMut,
}

impl Contestant for YawcFrames {
    const NAME: &'static str = "yawc frames";

    fn new(received: &Received) -> Self {
        let decoder = yawc::codec::Decoder::new(yawc::Role::Server, MESSAGE_BYTES_MAX);
        let buffer = BytesMut::with_capacity(received.bytes.len());
        Self { decoder, received: received.bytes.clone(), buffer }
    }

    fn pass(&mut self, frames: usize, show: &mut impl FnMut(&[u8])) {
        self.buffer.extend_from_slice(&self.received);
        for _ in 0..frames {
            let frame = self.decoder.decode(&mut self.buffer).expect("the frames are valid");
            let frame = frame.expect("the frames are complete");
            if frame.opcode() == yawc::OpCode::Text {
                simdutf8::basic::from_utf8(frame.payload()).expect("the texts are valid");
            }
            show(frame.payload());
        }
    }
}

/// yawc, feature `simd`: its connection, through the stream, with the validation of text that it
/// leaves out unless asked.
pub(crate) struct YawcMessages(yawc::WebSocket<Repeated>);

impl Contestant for YawcMessages {
    const NAME: &'static str = "yawc messages";

    fn new(received: &Received) -> Self {
        let stream = Repeated::new(&received.bytes);
        let options = yawc::Options::default().with_utf8();
        let socket = yawc::WebSocket::from_stream(stream, yawc::Role::Server, options);
        Self(socket.expect("there are no extensions to agree on"))
    }

    fn pass(&mut self, frames: usize, show: &mut impl FnMut(&[u8])) {
        for _ in 0..frames {
            let frame = poll(|context| self.0.poll_next_frame(context));
            show(frame.expect("the frames are valid").payload());
        }
    }
}

/// tungstenite, on which tokio-tungstenite and axum stand: through the blocking stream, with a read
/// buffer of our size, since it fills its own 128 KB with zeros before every read.
pub(crate) struct Tungstenite {
    context: WebSocketContext,
    stream: Repeated,
}

impl Contestant for Tungstenite {
    const NAME: &'static str = "tungstenite";

    fn new(received: &Received) -> Self {
        let config = WebSocketConfig::default().read_buffer_size(BUFFER_BYTES);
        let context = WebSocketContext::new(TungsteniteRole::Server, Some(config));
        Self { context, stream: Repeated::new(&received.bytes) }
    }

    fn pass(&mut self, frames: usize, show: &mut impl FnMut(&[u8])) {
        for _ in 0..frames {
            let message = self.context.read(&mut self.stream).expect("the frames are valid");
            show(&message.into_data());
        }
    }
}

/// What rivals that want to know are told to take: their usual order of magnitude.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
