//! The newest values of the topics of which a connection of this shard gets values.
//!
//! Beside the fan-out, which knows only their sequence numbers: here are their bytes, one value for each
//! topic however many get it, written over by the next. A shard of which nobody gets values has none,
//! and looks at none.
//!
//! Invariant: a topic is here exactly as long as its publications come with values to this shard, so a
//! value that somebody is owed is here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tickwire_fanout::{TopicKey, TopicMap, Value};
use tickwire_protocol::Kind;

use crate::deflate::{Coding, Deflaters};
use crate::delivery::Merged;
use crate::frame::{Frame, message_of};
use crate::handler::Handler;
use crate::topic::{Topic, WeakTopic};

#[derive(Default)]
pub(crate) struct NewestValues {
    values: TopicMap<Newest>,
    /// What a handler makes of one.
    payload: Vec<u8>,
    /// Calls of handlers that panicked.
    pub(crate) panicked: u64,
}

struct Newest {
    name: Arc<str>,
    /// A value does not keep its topic.
    topic: WeakTopic,
    seq: u64,
    /// As a frame, not compressed.
    frame: Vec<u8>,
}

impl NewestValues {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Begins with a topic, if it is not here; `seq` and `frame` are what it retains.
    pub(crate) fn begin(&mut self, topic: &Topic, seq: u64, frame: Option<&Frame>) -> u64 {
        let empty = || Newest {
            name: topic.shared_name(),
            topic: topic.downgrade(),
            seq: 0,
            frame: Vec::new(),
        };
        let newest = self.values.entry(topic.key()).or_insert_with(empty);
        if let Some(frame) = frame {
            newest.replace(seq, frame);
        }
        newest.seq
    }

    /// Takes the value of a publication, if somebody gets values of the topic.
    pub(crate) fn publish(&mut self, topic: TopicKey, seq: u64, frame: &Frame) {
        if let Some(newest) = self.values.get_mut(&topic) {
            newest.replace(seq, frame.value());
        }
    }

    /// Nobody gets values of the topic any more; it, if somebody did.
    pub(crate) fn end(&mut self, topic: TopicKey) -> Option<WeakTopic> {
        self.values.remove(&topic).map(|newest| newest.topic)
    }

    /// What makes messages of values, in a coding.
    pub(crate) fn renderer<'a, H: Handler>(
        &'a mut self,
        handler: &'a mut H,
        coding: Coding,
        deflaters: &'a mut Deflaters,
    ) -> impl FnMut(Value, &mut Vec<u8>) + use<'a, H> {
        move |value, out| self.render(handler, value, coding, deflaters, out)
    }

    fn render<H: Handler>(
        &mut self,
        handler: &mut H,
        value: Value,
        coding: Coding,
        deflaters: &mut Deflaters,
        out: &mut Vec<u8>,
    ) {
        let Value { topic, view, renderer, prev, seq } = value;
        let Some(newest) = self.values.get(&topic) else { return };
        debug_assert_eq!(newest.seq, seq, "the fan-out hears of every value");
        let (kind, payload) = message_of(&newest.frame);
        let topic = &*newest.name;
        let merged = Merged { topic, view, prev, seq, kind, payload, handler: renderer };
        let made = &mut self.payload;
        made.clear();
        // It is called for nobody in particular, so nobody pays for a panic but the rendering.
        let called = catch_unwind(AssertUnwindSafe(|| handler.merged(&merged, made)));
        let kind_made: Option<Kind> = called.unwrap_or_else(|_| {
            self.panicked += 1;
            None
        });
        match kind_made {
            None if coding == Coding::PLAIN => out.extend_from_slice(&newest.frame),
            None => deflaters.message(coding, kind, None, payload, out),
            Some(_) if made.is_empty() => {}
            Some(kind) => deflaters.message(coding, kind, None, made, out),
        }
    }
}

impl Newest {
    fn replace(&mut self, seq: u64, frame: &[u8]) {
        if seq > self.seq {
            self.seq = seq;
            self.frame.clear();
            self.frame.extend_from_slice(frame);
        }
    }
}
