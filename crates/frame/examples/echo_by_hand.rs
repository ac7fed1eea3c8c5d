//! The echo loop of the crate's front page, with the opening handshake that it leaves out.
//!
//! `cargo run -p tickwire-frame --example echo_by_hand`, then in the console of a browser:
//! `s = new WebSocket("ws://127.0.0.1:9001"); s.onmessage = e => console.log(e.data);
//! s.onopen = () => s.send("hello")`.
//!
//! One thread for each connection and a handshake that trusts its client: this shows the crate, not
//! how to write a server. The handshake that refuses what RFC 6455 section 4 refuses is in
//! `tickwire-protocol`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use base64::prelude::{BASE64_STANDARD, Engine};
use sha1::{Digest, Sha1};
use tickwire_frame::{CloseCode, Header, OpCode, Parser, Role, Rules, close};

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:9001")?;
    eprintln!("echoing on ws://{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = upgrade(&stream).and_then(|()| echo(stream)) {
                eprintln!("connection lost: {error}");
            }
        });
    }
    Ok(())
}

/// Answers the opening handshake (RFC 6455 section 4.2.2).
fn upgrade(stream: &TcpStream) -> io::Result<()> {
    let mut key = None;
    // A client waits for the answer before its first frame, so that none is lost in this reader.
    for line in BufReader::new(stream).lines() {
        let line = line?;
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("sec-websocket-key") => {
                key = Some(value.to_owned());
            }
            None if line.is_empty() => break,
            _ => {}
        }
    }
    let key = key.ok_or(io::ErrorKind::InvalidData)?;
    let digest = Sha1::digest(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = BASE64_STANDARD.encode(digest);
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    let mut stream = stream;
    stream.write_all(answer.as_bytes())
}

/// Sends back what comes, until the peer closes or breaks the protocol.
fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut parser = Parser::new(Rules::new(Role::Server));
    let mut buffer = [0; 16 * 1024];
    let mut answer = Vec::new();
    let mut open = true;
    while open {
        let received = stream.read(&mut buffer)?;
        open = received > 0;
        let mut input = &mut buffer[..received];
        while open {
            match parser.next(&mut input) {
                // All of `input` is consumed: nothing of it has to be kept.
                Ok(None) => break,
                // A frame, or as much of it as has come, unmasked where it lies in `buffer`.
                Ok(Some(piece)) => {
                    if piece.first {
                        let opcode = match piece.opcode {
                            OpCode::Ping => OpCode::Pong,
                            same => same,
                        };
                        put_header(&mut answer, piece.fin, opcode, piece.frame_len);
                    }
                    answer.extend_from_slice(piece.payload);
                    open = !(piece.last && piece.opcode == OpCode::Close);
                }
                // Every error knows the code to close with.
                Err(error) => {
                    put_close(&mut answer, error.close_code(), &error.to_string());
                    open = false;
                }
            }
        }
        stream.write_all(&answer)?;
        answer.clear();
    }
    Ok(())
}

fn put_header(answer: &mut Vec<u8>, fin: bool, opcode: OpCode, payload_len: u64) {
    // A server's frames are not masked.
    let header = Header { fin, rsv1: false, opcode, mask: None, payload_len };
    let mut bytes = [0; Header::LEN_MAX];
    let len = header.encode(&mut bytes);
    answer.extend_from_slice(&bytes[..len]);
}

fn put_close(answer: &mut Vec<u8>, code: CloseCode, reason: &str) {
    let mut body = [0; close::BODY_LEN_MAX];
    let len = close::encode(code, reason, &mut body);
    put_header(answer, true, OpCode::Close, len as u64);
    answer.extend_from_slice(&body[..len]);
}
