//! What broadcast servers publish: one task makes the messages, tokio's broadcast channel hands each
//! connection a reference to them, which is how a tokio service would do it.
//!
//! Bytes 0..8 of a message are the nanoseconds of CLOCK_MONOTONIC at its publication, bytes 8..16
//! its number from 0, both little-endian. Messages are published in turns: a connection takes all
//! that are queued before it flushes. At rate 0 two turns, of half a burst each, are on their way at
//! most: a turn ends when the last connection has flushed it, so the slowest sets the pace and
//! nobody is skipped. At other rates a connection that falls 1,024 messages behind misses some.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio::time::MissedTickBehavior;

use crate::Publication;

/// Half of what may be on its way, given back when nobody holds it any more.
type Turn = Arc<OwnedSemaphorePermit>;

/// The sending side.
#[derive(Debug)]
pub(crate) struct Publisher {
    messages: broadcast::Sender<Published>,
    start: mpsc::Sender<()>,
}

/// The receiving side, one for each connection.
#[derive(Debug)]
pub(crate) struct Subscription {
    messages: broadcast::Receiver<Published>,
    start: mpsc::Sender<()>,
    /// Turns that were received and are not yet flushed.
    unflushed: Vec<Turn>,
}

#[derive(Debug, Clone)]
struct Published {
    payload: Bytes,
    /// The last message of a turn holds it.
    turn: Option<Turn>,
}

impl Publisher {
    /// Starts the task that publishes.
    pub(crate) fn start(publication: Publication) -> Self {
        let capacity = (publication.burst as usize).max(QUEUE_MESSAGES_MAX);
        let (messages, _) = broadcast::channel(capacity);
        // One `start` is enough, whoever else sends it.
        let (start, started) = mpsc::channel(1);
        tokio::spawn(publish(publication, messages.clone(), started));
        Self { messages, start }
    }

    /// A subscription to all messages from now on.
    pub(crate) fn subscription(&self) -> Subscription {
        let messages = self.messages.subscribe();
        Subscription { messages, start: self.start.clone(), unflushed: Vec::new() }
    }
}

impl Subscription {
    /// Waits for the next message; `None`: there will be no more.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.messages.recv().await {
                Ok(published) => return Some(self.take(published)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// The next message, if it is there.
    pub(crate) fn ready(&mut self) -> Option<Bytes> {
        self.messages.try_recv().ok().map(|published| self.take(published))
    }

    /// To be called when all messages so far are with the system.
    pub(crate) fn flushed(&mut self) {
        self.unflushed.clear();
    }

    /// Asks for the publication to begin.
    pub(crate) fn start(&self) {
        // It has been asked for already if the queue is full.
        let _ = self.start.try_send(());
    }

    fn take(&mut self, published: Published) -> Bytes {
        self.unflushed.extend(published.turn);
        published.payload
    }
}

async fn publish(
    publication: Publication,
    messages: broadcast::Sender<Published>,
    mut started: mpsc::Receiver<()>,
) {
    while started.recv().await.is_some() {
        match publication.rate {
            0 => flood(publication, &messages).await,
            rate => pace(publication.size, rate, &messages).await,
        }
        // Forgets what connections that have gone asked for.
        while started.try_recv().is_ok() {}
    }
}

/// Publishes as fast as the slowest connection takes it, while there is one.
async fn flood(publication: Publication, messages: &broadcast::Sender<Published>) {
    let turn_len = publication.burst.div_ceil(2);
    let turns = Arc::new(Semaphore::new(if publication.burst == 1 { 1 } else { 2 }));
    let mut number = 0;
    while messages.receiver_count() > 0 {
        let Ok(turn) = turns.clone().acquire_owned().await else { return };
        for _ in 1..turn_len {
            send(messages, publication.size, &mut number, None);
        }
        send(messages, publication.size, &mut number, Some(Arc::new(turn)));
    }
}

/// Publishes at even intervals, while there is a connection.
async fn pace(size: u32, rate: u32, messages: &broadcast::Sender<Published>) {
    let mut interval = tokio::time::interval(Duration::from_secs(1) / rate);
    interval.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut number = 0;
    while messages.receiver_count() > 0 {
        interval.tick().await;
        send(messages, size, &mut number, None);
    }
}

/// Publishes message `number`, and counts it.
fn send(messages: &broadcast::Sender<Published>, size: u32, number: &mut u64, turn: Option<Turn>) {
    let now = clock_gettime(ClockId::Monotonic);
    let now_ns = now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned();
    let mut payload = BytesMut::with_capacity(size as usize);
    payload.extend_from_slice(&now_ns.to_le_bytes());
    payload.extend_from_slice(&number.to_le_bytes());
    payload.resize(size as usize, b'.');
    *number += 1;
    // It fails when the last connection has just gone, which the caller sees next.
    let _ = messages.send(Published { payload: payload.freeze(), turn });
}

/// What a connection may be behind before it misses messages: ten seconds at 100 a second.
const QUEUE_MESSAGES_MAX: usize = 1024;
