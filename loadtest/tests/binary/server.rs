//! Small servers, one thread for each connection. What they do right is tungstenite's; what they
//! do wrong is the test's.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

pub(crate) type Socket = WebSocket<TcpStream>;

/// Listens on a free port and serves each connection, by number, on a thread of its own. Threads
/// end with their connection, or with the test.
pub(crate) fn start(serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (serve, stream) = (Arc::clone(&serve), stream.unwrap());
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || serve(number, stream));
        }
    });
    address
}

/// Serves messages: `answer` gets each with its number on the connection, which ends on an error.
pub(crate) fn answering(
    answer: impl Fn(&mut Socket, usize, Message) -> tungstenite::Result<()> + Send + Sync + 'static,
) -> SocketAddr {
    start(move |_, stream| {
        if let Ok(mut socket) = tungstenite::accept(stream) {
            serve(&mut socket, &answer);
        }
    })
}

/// Reads to the end; Pings and Close are answered by tungstenite itself.
pub(crate) fn serve(
    socket: &mut Socket,
    answer: impl Fn(&mut Socket, usize, Message) -> tungstenite::Result<()>,
) {
    let mut number = 0;
    while let Ok(message) = socket.read() {
        if message.is_binary() || message.is_text() {
            if answer(socket, number, message).is_err() {
                return;
            }
            number += 1;
        }
    }
}

/// Reads a request and returns the answer to its key.
pub(crate) fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    derive_accept_key(key.unwrap().as_bytes())
}

/// Answers the handshake by hand, with `early` bytes in the same segment.
pub(crate) fn accept_with(mut stream: TcpStream, early: &[u8]) -> Socket {
    let accept = read_request(&mut stream);
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes();
    answer.extend_from_slice(early);
    stream.write_all(&answer).unwrap();
    WebSocket::from_raw_socket(stream, Role::Server, None)
}

/// Reads to the end and says nothing.
pub(crate) fn read_to_end(mut stream: TcpStream) {
    while stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {}
}

/// Hangs up and reads to the end, so that closing is no reset.
pub(crate) fn hang_up(stream: TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    read_to_end(stream);
}

/// An error that makes a server give up its connection.
pub(crate) fn give_up() -> tungstenite::Result<()> {
    Err(tungstenite::Error::ConnectionClosed)
}
