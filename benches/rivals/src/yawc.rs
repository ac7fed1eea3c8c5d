//! yawc: `upgrade_with_options` in a hyper service, then its `Stream` and `Sink`, as in its
//! `echo_server` example and its own comparison.
//!
//! UTF-8 is checked only if asked for, and a server of text that does not is no server of
//! RFC 6455: it is asked for.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use yawc::{Frame, HttpWebSocket, OpCode, Options as YawcOptions, WebSocket, WebSocketError};

use crate::connection::{self, run};
use crate::transport::Transport;
use crate::upgrade::Handover;
use crate::{Failure, Options, WRITE_BUFFER_BYTES, Work};

impl connection::Message for Frame {
    fn binary(payload: Bytes) -> Self {
        Self::binary(payload)
    }

    fn is_data(&self) -> bool {
        matches!(self.opcode(), OpCode::Text | OpCode::Binary)
    }

    fn is_start(&self) -> bool {
        self.opcode() == OpCode::Text && self.payload() == "start"
    }

    fn is_close(&self) -> bool {
        self.opcode() == OpCode::Close
    }
}

/// Its frames with their errors, which its own `Stream` leaves out.
///
/// A connection that has failed has the right Close frame ready, and sends it when it is asked for one
/// more frame: its examples do not ask, and drop it.
struct Connection {
    inner: HttpWebSocket,
    failed: bool,
}

impl Stream for Connection {
    type Item = Result<Frame, WebSocketError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(self.inner.poll_next_frame(context)) {
                Ok(frame) => return Poll::Ready(Some(Ok(frame))),
                Err(WebSocketError::ConnectionClosed) => return Poll::Ready(None),
                Err(error) if self.failed => return Poll::Ready(Some(Err(error))),
                Err(_) => self.failed = true,
            }
        }
    }
}

impl Sink<Frame> for Connection {
    type Error = WebSocketError;

    fn poll_ready(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.inner).poll_ready(context)
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Frame) -> Result<(), Self::Error> {
        Pin::new(&mut self.inner).start_send(frame)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}

pub(crate) async fn serve(
    stream: impl Transport,
    options: Options,
    work: Work,
) -> Result<(), Failure> {
    let work = Handover::new(work);
    let service = service_fn(async |mut request| {
        let (response, upgraded) =
            WebSocket::upgrade_with_options(&mut request, settings(options))?;
        if let Some(work) = work.take() {
            tokio::spawn(async move {
                let connection = Connection { inner: upgraded.await?, failed: false };
                run(connection, options, work).await
            });
        }
        Ok::<_, WebSocketError>(response)
    });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await?;
    Ok(())
}

fn settings(options: Options) -> YawcOptions {
    let mut settings =
        YawcOptions::default().with_utf8().with_backpressure_boundary(WRITE_BUFFER_BYTES);
    if let Some(size) = options.max_message {
        // Its limits are the first length that is refused.
        settings = settings.with_limits(size + 1, size + 1);
    }
    if let Some(size) = options.read_buffer {
        settings = settings.with_read_buffer_capacity(size);
    }
    if options.deflate {
        settings = settings.with_balanced_compression();
    }
    settings
}
