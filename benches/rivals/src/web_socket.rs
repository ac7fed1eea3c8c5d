//! web-socket: `WebSocket::server` on a buffered stream, events answered as in its
//! `autobahn-server` example: the application joins fragments, checks text and answers Ping, Close
//! and errors. It has no permessage-deflate.
//!
//! The library has no handshake; hyper reads the request and tungstenite's `create_response` judges
//! it, so what the conformance table says of the opening handshake is theirs. Its reads cannot be
//! interrupted, so broadcast reads and writes in halves of their own.

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, BufReader, BufWriter};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use web_socket::{CloseCode, DataType, Event, MessageType, Stream, WebSocket};

use crate::publisher::Subscription;
use crate::transport::Transport;
use crate::upgrade::Handover;
use crate::{Failure, Options, WRITE_BUFFER_BYTES, Work};

pub(crate) async fn serve<S: Transport>(
    stream: S,
    options: Options,
    work: Work,
) -> Result<(), Failure> {
    let work = Handover::new(work);
    let service = service_fn(async |mut request: Request<Incoming>| {
        let Ok(response) = create_response_with_body(&request, String::new) else {
            return Response::builder().status(StatusCode::BAD_REQUEST).body(String::new());
        };
        if let Some(work) = work.take() {
            let upgraded = hyper::upgrade::on(&mut request);
            tokio::spawn(async move { run::<S>(upgraded.await?, options, work).await });
        }
        Ok(response)
    });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await?;
    Ok(())
}

async fn run<S: Transport>(
    upgraded: Upgraded,
    options: Options,
    work: Work,
) -> Result<(), Failure> {
    let parts = upgraded
        .downcast::<TokioIo<S>>()
        .map_err(|_| "the connection is not the one that was accepted")?;
    let (read, write) = parts.io.into_inner().halves();
    let input = BufReader::new(std::io::Cursor::new(parts.read_buf).chain(read));
    match work {
        Work::Echo => echo(connection(tokio::io::join(input, write), options)).await?,
        Work::Broadcast(subscription) => {
            let output = BufWriter::with_capacity(WRITE_BUFFER_BYTES, write);
            let (read, write) = (connection(input, options), connection(output, options));
            broadcast(read, write, subscription, options.flush_each).await?;
        }
    }
    Ok(())
}

fn connection<S>(stream: S, options: Options) -> WebSocket<S> {
    let mut connection = WebSocket::server(stream);
    if let Some(size) = options.max_message {
        connection.max_payload_len = size;
    }
    connection
}

async fn echo<S>(mut connection: WebSocket<S>) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut joined = Vec::new();
    loop {
        match connection.recv().await? {
            Event::Data { ty, data } => {
                let (message_type, message) = match ty {
                    DataType::Complete(message_type) => (message_type, &*data),
                    DataType::Stream(part) => {
                        joined.extend_from_slice(&data);
                        let Stream::End(message_type) = part else { continue };
                        (message_type, &*joined)
                    }
                };
                match message_type {
                    MessageType::Binary => connection.send(message).await?,
                    MessageType::Text => match std::str::from_utf8(message) {
                        Ok(text) => connection.send(text).await?,
                        Err(_) => return connection.close(CloseCode::InvalidPayload).await,
                    },
                }
                joined.clear();
            }
            Event::Ping(data) => connection.send_pong(data).await?,
            Event::Pong(_) => {}
            Event::Error(_) => return connection.close(CloseCode::ProtocolError).await,
            Event::Close { .. } => return connection.close(()).await,
        }
    }
}

/// What the reading half leaves to the writing one.
enum Due {
    Start,
    Pong(Box<[u8]>),
    Close(CloseCode),
}

async fn broadcast<R, W>(
    read: WebSocket<R>,
    write: WebSocket<W>,
    subscription: Subscription,
    flush_each: bool,
) -> std::io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (answers, due) = mpsc::channel(ANSWERS_MAX);
    tokio::select! {
        ended = receive(read, answers) => ended,
        ended = send(write, subscription, due, flush_each) => ended,
    }
}

/// Reads until the peer ends the connection.
async fn receive<R: AsyncRead + Unpin>(
    mut read: WebSocket<R>,
    answers: mpsc::Sender<Due>,
) -> std::io::Result<()> {
    loop {
        let answer = match read.recv().await? {
            Event::Data { ty: DataType::Complete(MessageType::Text), data }
                if *data == *b"start" =>
            {
                Due::Start
            }
            Event::Data { .. } | Event::Pong(_) => continue,
            Event::Ping(data) => Due::Pong(data),
            Event::Error(_) => Due::Close(CloseCode::ProtocolError),
            Event::Close { .. } => Due::Close(CloseCode::Normal),
        };
        let closes = matches!(answer, Due::Close(_));
        // The writing half cannot end before this one.
        let _ = answers.send(answer).await;
        if closes {
            // It ends the connection when it has sent the answer.
            std::future::pending::<()>().await;
        }
    }
}

async fn send<W: AsyncWrite + Unpin>(
    mut write: WebSocket<W>,
    mut subscription: Subscription,
    mut due: mpsc::Receiver<Due>,
    flush_each: bool,
) -> std::io::Result<()> {
    loop {
        tokio::select! {
            Some(answer) = due.recv() => match answer {
                Due::Start => subscription.start(),
                Due::Pong(data) => {
                    write.send_pong(data).await?;
                    write.flash().await?;
                }
                Due::Close(code) => return write.close(code).await,
            },
            payload = subscription.next() => {
                let mut next = payload;
                while let Some(payload) = next {
                    write.send(&*payload).await?;
                    if flush_each {
                        write.flash().await?;
                    }
                    next = subscription.ready();
                }
                write.flash().await?;
                subscription.flushed();
            }
        }
    }
}

/// Answers that may wait for a writer that is busy; the reader waits for room.
const ANSWERS_MAX: usize = 16;
