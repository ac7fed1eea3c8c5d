//! Echo and broadcast for libraries whose connection is a `Stream` and a `Sink` of messages: five of
//! the seven.
//!
//! All messages that are ready are fed to the sink, then it is flushed once: what
//! `StreamExt::forward` does as well, and what each of the libraries documents as its way to write
//! many messages. Waiting for the peer never leaves anything unflushed.

use std::error::Error;

use bytes::Bytes;
use futures_util::{FutureExt as _, Sink, SinkExt as _, Stream, StreamExt as _};

use crate::publisher::Subscription;
use crate::{Failure, Options, Work};

/// A message of any of the libraries.
pub(crate) trait Message {
    /// A binary message.
    fn binary(payload: Bytes) -> Self;
    /// Whether it is text or binary; all else the library answers by itself.
    fn is_data(&self) -> bool;
    /// Whether it is the text `start`.
    fn is_start(&self) -> bool;
    /// Whether the peer closes.
    fn is_close(&self) -> bool;
}

/// Does `work` on `connection` until the peer ends it.
///
/// # Errors
///
/// What the library reports; the connection is to be dropped then.
pub(crate) async fn run<C, M, E>(connection: C, options: Options, work: Work) -> Result<(), Failure>
where
    C: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
    M: Message,
    E: Error + Send + Sync + 'static,
{
    match work {
        Work::Echo if options.flush_each => Ok(echo_each(connection).await?),
        Work::Echo => Ok(echo(connection).await?),
        Work::Broadcast(subscription) => {
            Ok(broadcast(connection, subscription, options.flush_each).await?)
        }
    }
}

async fn echo_each<C, M, E>(mut connection: C) -> Result<(), E>
where
    C: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
    M: Message,
{
    while let Some(message) = connection.next().await {
        let message = message?;
        if message.is_data() {
            connection.send(message).await?;
        }
    }
    Ok(())
}

async fn echo<C, M, E>(mut connection: C) -> Result<(), E>
where
    C: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
    M: Message,
{
    while let Some(first) = connection.next().await {
        let mut next = Some(first);
        while let Some(message) = next {
            let message = match message {
                Ok(message) => message,
                Err(error) => {
                    // The peer gets what it was owed before its mistake.
                    let _ = connection.flush().await;
                    return Err(error);
                }
            };
            if message.is_data() {
                connection.feed(message).await?;
            }
            next = connection.next().now_or_never().flatten();
        }
        connection.flush().await?;
    }
    Ok(())
}

async fn broadcast<C, M, E>(
    mut connection: C,
    mut subscription: Subscription,
    flush_each: bool,
) -> Result<(), E>
where
    C: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
    M: Message,
{
    loop {
        tokio::select! {
            message = connection.next() => match message.transpose()? {
                Some(message) if message.is_start() => subscription.start(),
                // Nothing may follow the answer, which the library sends while it is asked for more.
                Some(message) if message.is_close() => break,
                Some(_) => {}
                None => return Ok(()),
            },
            payload = subscription.next() => {
                let mut next = payload;
                while let Some(payload) = next {
                    connection.feed(M::binary(payload)).await?;
                    if flush_each {
                        connection.flush().await?;
                    }
                    next = subscription.ready();
                }
                connection.flush().await?;
                subscription.flushed();
            }
        }
    }
    while let Some(message) = connection.next().await {
        message?;
    }
    Ok(())
}
