//! fastwebsockets: its `upgrade` in a hyper service and a `FragmentCollector`, as in its
//! `echo_server` example. It has no permessage-deflate.
//!
//! It writes each frame at once; for many messages its documentation puts a buffered stream under it
//! and flushes that, which broadcast does with tokio's `BufWriter`. Its `is_upgrade_request` is
//! asked first and its errors are answered, though its examples do neither.

use fastwebsockets::upgrade::{UpgradeFut, is_upgrade_request, upgrade};
use fastwebsockets::{
    FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, WebSocket, WebSocketError,
    WebSocketRead, WebSocketWrite,
};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::header::{SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, BufWriter};
use tokio::sync::mpsc;

use crate::publisher::Subscription;
use crate::transport::Transport;
use crate::upgrade::Handover;
use crate::{Failure, Options, WRITE_BUFFER_BYTES, Work};

pub(crate) async fn serve(
    stream: impl Transport,
    options: Options,
    work: Work,
) -> Result<(), Failure> {
    let work = Handover::new(work);
    let service = service_fn(async |mut request: Request<Incoming>| {
        if !is_upgrade_request(&request) {
            return refusal(StatusCode::UPGRADE_REQUIRED);
        }
        let (response, upgraded) = match upgrade(&mut request) {
            Ok(upgraded) => upgraded,
            Err(WebSocketError::InvalidSecWebsocketVersion) => {
                return refusal(StatusCode::UPGRADE_REQUIRED);
            }
            Err(_) => return refusal(StatusCode::BAD_REQUEST),
        };
        if let Some(work) = work.take() {
            tokio::spawn(tokio::task::unconstrained(run(upgraded, options, work)));
        }
        Ok(response)
    });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await?;
    Ok(())
}

fn refusal(status: StatusCode) -> Result<Response<Empty<Bytes>>, hyper::http::Error> {
    Response::builder()
        .status(status)
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .body(Empty::new())
}

async fn run(upgraded: UpgradeFut, options: Options, work: Work) -> Result<(), WebSocketError> {
    let mut connection = upgraded.await?;
    if let Some(size) = options.max_message {
        // Its limit is the first length that is refused.
        connection.set_max_message_size(size + 1);
    }
    match work {
        Work::Echo => echo(connection).await,
        Work::Broadcast(subscription) => {
            let (read, write) = connection.split(|stream| {
                let (read, write) = tokio::io::split(stream);
                (read, BufWriter::with_capacity(WRITE_BUFFER_BYTES, write))
            });
            broadcast(read, write, subscription, options.flush_each).await
        }
    }
}

async fn echo<S>(connection: WebSocket<S>) -> Result<(), WebSocketError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = FragmentCollector::new(connection);
    loop {
        let frame = connection.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => connection.write_frame(frame).await?,
            _ => {}
        }
    }
}

async fn broadcast<R, W>(
    read: WebSocketRead<R>,
    write: WebSocketWrite<W>,
    subscription: Subscription,
    flush_each: bool,
) -> Result<(), WebSocketError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (answers, due) = mpsc::channel(ANSWERS_MAX);
    let (start, started) = mpsc::channel(1);
    tokio::select! {
        ended = receive(read, answers, start) => ended,
        ended = send(write, subscription, due, started, flush_each) => ended,
    }
}

/// Reads until the peer ends the connection; Pongs and Closes that are due go to the writing side.
async fn receive<R: AsyncRead + Unpin>(
    read: WebSocketRead<R>,
    answers: mpsc::Sender<Frame<'static>>,
    start: mpsc::Sender<()>,
) -> Result<(), WebSocketError> {
    let mut read = FragmentCollectorRead::new(read);
    loop {
        let frame = read.read_frame(&mut |frame| answers.send(frame)).await?;
        match frame.opcode {
            OpCode::Text if &*frame.payload == b"start" => {
                // It has been asked for already if the queue is full.
                let _ = start.try_send(());
            }
            // The writing side ends the connection when it has sent the answer.
            OpCode::Close => std::future::pending().await,
            _ => {}
        }
    }
}

async fn send<W: AsyncWrite + Unpin>(
    mut write: WebSocketWrite<W>,
    mut subscription: Subscription,
    mut due: mpsc::Receiver<Frame<'static>>,
    mut started: mpsc::Receiver<()>,
    flush_each: bool,
) -> Result<(), WebSocketError> {
    loop {
        tokio::select! {
            Some(()) = started.recv() => subscription.start(),
            Some(frame) = due.recv() => {
                let closes = frame.opcode == OpCode::Close;
                write.write_frame(frame).await?;
                write.flush().await?;
                if closes {
                    return Ok(());
                }
            }
            payload = subscription.next() => {
                let mut next = payload;
                while let Some(payload) = next {
                    write.write_frame(Frame::binary(Payload::Borrowed(&payload))).await?;
                    if flush_each {
                        write.flush().await?;
                    }
                    next = subscription.ready();
                }
                write.flush().await?;
                subscription.flushed();
            }
        }
    }
}

/// Pongs that may wait for a writer that is busy; the reader waits for room.
const ANSWERS_MAX: usize = 16;
