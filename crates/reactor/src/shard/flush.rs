//! The end of a turn: everything that was gathered or published leaves, once per connection.
//!
//! A batch item is what a connection's own bytes and its run of publications are in this turn, two
//! borrowed slices. What a socket does not take becomes the connection's unsent rest, or, for
//! publications, a cursor. Connections that were behind are served when their socket has room.

use tickwire_fanout::{Due, Settled};
use tickwire_protocol::Role;

use super::Shard;
use super::closing::{ended, lagged};
use super::messages::discard;
use crate::clock::Tick;
use crate::connection::{Link, Stage};
use crate::fanouts::Audience;
use crate::handler::Handler;
use crate::io::{Backend, Key, Outgoing, Sent};
use crate::limits::Limits;
use crate::local::Local;
use crate::outbound::{Segment, Unsent};

/// Vectors that are used again in each flush.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    batch: Vec<Item>,
    results: Vec<Sent>,
    /// What one lagging connection is given.
    line: Vec<u8>,
}

/// One send of this turn.
#[derive(Clone, Copy, Debug)]
struct Item {
    key: Key,
    own: Segment,
    /// The publications that go with it.
    due: Option<Due>,
}

impl<H: Handler, B: Backend> Shard<H, B> {
    /// Sends everything, and ends the connections that are over.
    pub(super) fn flush(&mut self) {
        self.unflushed = false;
        let mut sent_ns = self.local.now.monotonic_ns();
        for audience in self.local.fanouts.audiences() {
            let runs = self.local.counters.runs;
            self.local.fanouts[audience].seal();
            let mut from = 0;
            while from < self.local.fanouts[audience].due().len() {
                from = self.batch_published(audience, from);
                self.send_batch(audience);
            }
            if self.local.counters.runs > runs {
                sent_ns = self.local.hub.clock.monotonic_ns();
                self.local.fanouts.sent(audience, sent_ns, self.local.recorder());
            }
        }
        self.flush_own();
        self.catch_up();
        self.local.end_turn(sent_ns);
        self.overruns();
        self.relieve();
        // What a handler had to say to that.
        self.flush_own();
        self.conclude();
    }

    /// Sends only what connections were sent by handlers and protocol, to keep the gathered bytes few.
    pub(super) fn flush_own(&mut self) {
        self.batch_own();
        // Nothing in this batch is a publication, so any audience will do.
        self.send_batch(Audience::PLAIN);
        self.local.gather.clear();
    }

    /// An item for each of the connections that are owed publications from place `from` on, with
    /// its own bytes in front; gives the place where the next batch begins.
    fn batch_published(&mut self, audience: Audience, from: usize) -> usize {
        let Local { fanouts, values, deflaters, links, gather, tick, .. } = &mut self.local;
        let (coding, fanout) = fanouts.coded(audience);
        let mut render = values.renderer(self.handler.handler(), coding, deflaters);
        let end = fanout.compose(from, Limits::BATCH_SENDS, &mut render);
        for index in from..end {
            let due = fanout.due()[index];
            let link = &mut links[due.slot as usize];
            if link.is_blocked() {
                fanout.hold(due);
                continue;
            }
            let own = gather.take(&mut link.share);
            link.sent = *tick;
            self.flush.batch.push(Item { key: link.key(due.slot), own, due: Some(due) });
        }
        end
    }

    /// An item for each connection that has only bytes of its own.
    fn batch_own(&mut self) {
        for slot in self.local.gather.slots() {
            let link = &mut self.local.links[slot as usize];
            let own = self.local.gather.take(&mut link.share);
            if !own.is_empty() {
                self.flush.batch.push(Item { key: link.key(slot), own, due: None });
            }
        }
    }

    fn send_batch(&mut self, audience: Audience) {
        if self.flush.batch.is_empty() {
            return;
        }
        let mut scratch = std::mem::take(&mut self.flush);
        let (gather, fanout) = (&self.local.gather, &self.local.fanouts[audience]);
        let outgoing = scratch.batch.iter().map(|item| Outgoing {
            key: item.key,
            first: gather.get(item.own),
            // Empty for a connection that has gone since it was due.
            second: item.due.map_or(&[], |due| fanout.run(due.run)),
        });
        self.backend.send(outgoing, &mut scratch.results);
        self.local.counters.sends += scratch.batch.len() as u64;
        for (item, sent) in scratch.batch.drain(..).zip(scratch.results.drain(..)) {
            self.settle(audience, &item, &sent);
        }
        self.flush = scratch;
    }

    fn settle(&mut self, audience: Audience, item: &Item, sent: &Sent) {
        let local = &mut self.local;
        let fanout = &mut local.fanouts[audience];
        let mut unsent = None;
        let taken = match sent {
            Sent::Taken(taken) => *taken,
            Sent::Held(taken) => {
                unsent = Some(Unsent::default());
                *taken
            }
            Sent::Broken(_) => {
                if let Some(due) = item.due {
                    fanout.hold(due);
                }
                return ended(local, &mut self.handler, item.key, true);
            }
        };
        local.counters.sent_bytes += taken as u64;
        let own = item.own.len();
        if let Some(due) = item.due {
            local.counters.runs += 1;
            let settled = fanout.settle(due, taken.saturating_sub(own));
            if let Settled::Lagging { rest } = settled {
                unsent = Some(Unsent::rest_of_frame(&local.unsent, rest));
            }
        }
        if taken < own {
            unsent = Some(Unsent::rest_of(&local.unsent, local.gather.get(item.own), taken));
        }
        if let Some(unsent) = unsent {
            local.counters.short_sends += 1;
            local.links[item.key.index()].unsent = Some(Box::new(unsent));
        }
    }

    /// Serves the connections whose sockets have room again.
    pub(super) fn catch_up(&mut self) {
        let mut writable = std::mem::take(&mut self.local.writable);
        writable.retain(|key| {
            self.local.link(*key).is_some_and(|link| link.is_blocked()) && self.catch_up_one(*key)
        });
        self.local.writable = writable;
    }

    /// Gives one connection what it can take; `true`: it takes more than its share of this turn.
    fn catch_up_one(&mut self, key: Key) -> bool {
        for _ in 0..Limits::CATCH_UPS_PER_TURN {
            let line = &mut self.flush.line;
            line.clear();
            let Local { fanouts, values, deflaters, links, .. } = &mut self.local;
            let link = &links[key.index()];
            let (coding, fanout) = fanouts.coded(link.audience);
            let Some(unsent) = &link.unsent else { return false };
            unsent.write(Limits::CATCH_UP_BYTES, line);
            let own = line.len();
            if own == unsent.len() {
                let mut render = values.renderer(self.handler.handler(), coding, deflaters);
                fanout.owed(key.slot, line, &mut render);
            }
            if line.is_empty() {
                fanout.settle_owed(key.slot, 0);
                self.unblock(key);
                return false;
            }
            let local = &mut self.local;
            let outgoing = Outgoing { key, first: line, second: &[] };
            self.backend.send(std::iter::once(outgoing), &mut self.flush.results);
            local.counters.sends += 1;
            let (taken, is_held) = match self.flush.results.pop() {
                Some(Sent::Taken(taken)) => (taken, false),
                Some(Sent::Held(taken)) => (taken, true),
                Some(Sent::Broken(_)) | None => {
                    ended(local, &mut self.handler, key, true);
                    return false;
                }
            };
            local.counters.sent_bytes += taken as u64;
            let link = &mut local.links[key.index()];
            if taken > 0 {
                link.sent = local.tick;
            }
            let is_heard = taken > 0 && link.paused;
            if let Some(unsent) = &mut link.unsent {
                let fanout = &mut local.fanouts[link.audience];
                unsent.drop_taken(taken.min(own));
                let settled = fanout.settle_owed(key.slot, taken.saturating_sub(own));
                if let Settled::Lagging { rest } = settled
                    && !rest.is_empty()
                {
                    unsent.begin_with(rest);
                }
            }
            if is_heard {
                local.heard(key);
            }
            if taken < line.len() || is_held {
                local.counters.short_sends += 1;
                return false;
            }
        }
        true
    }

    /// The connection has got everything: it needs nothing of its own any more.
    fn unblock(&mut self, key: Key) {
        let link = &mut self.local.links[key.index()];
        link.unsent = None;
        if std::mem::take(&mut link.paused) {
            self.backend.resume(key);
            if link.stage == Stage::Open && link.latest != Tick::NEVER {
                // The rest of a message could not come meanwhile.
                link.latest = self.local.tick.after(self.local.limits.message_timeout);
            }
        }
        if matches!(link.stage, Stage::Finishing | Stage::Ending) {
            self.local.ending.push(key);
        }
        if !matches!(link.stage, Stage::Open | Stage::Handshake | Stage::Connecting) {
            // From its last byte on the peer has its time to answer.
            self.local.set_deadline(key, self.local.limits.close_timeout);
        }
    }

    /// Asks the handler about connections that fell out of what the shard retains.
    fn overruns(&mut self) {
        for audience in self.local.fanouts.audiences() {
            while let Some(overrun) = self.local.fanouts[audience].next_overrun() {
                let key = self.local.links[overrun.slot as usize].key(overrun.slot);
                let lag = (overrun.from, overrun.skipped);
                lagged(&mut self.local, &mut self.handler, &mut self.inbound, key, lag);
            }
        }
    }

    /// Carries out what the back end must do for connections that end or do not read.
    fn conclude(&mut self) {
        while let Some(key) = self.local.pausing.pop() {
            if self.local.link(key).is_some_and(|link| link.paused) {
                self.backend.pause(key);
            }
        }
        let mut ending = std::mem::take(&mut self.local.ending);
        for key in ending.drain(..) {
            let Some(link) = self.local.link(key) else { continue };
            if link.is_blocked() {
                continue;
            }
            match link.stage {
                Stage::Ending if self.backend.part(key) => self.vacate(key),
                // It is heard of again when the socket has room.
                Stage::Ending => self.local.links[key.index()].unsent = Some(Box::default()),
                Stage::Finishing => self.backend.finish(key),
                Stage::Vacant
                | Stage::Handshake
                | Stage::Connecting
                | Stage::Open
                | Stage::Closing
                | Stage::Parting => {}
            }
        }
        self.local.ending = ending;
    }

    fn vacate(&mut self, key: Key) {
        self.backend.close(key);
        let local = &mut self.local;
        let inbound = std::mem::take(&mut self.inbound[key.index()]);
        local.release(inbound.held());
        local.unsubscribe_all(key.slot);
        local.wheel.disarm(key.slot);
        let network = local.networks.get_mut(key.index()).and_then(Option::take);
        let link = std::mem::replace(&mut local.links[key.index()], Link::vacant());
        local.hub.admission.leave(link.place, network);
        local.deflaters.dedicated_bytes -= link.deflater.as_ref().map_or(0, |own| own.memory());
        local.counters.deflate_dedicated_now -= u64::from(link.dedicated);
        local.counters.connections_now -= 1;
        match (link.role, &local.hub.loads) {
            (Role::Client, _) => local.counters.outgoing_now -= 1,
            (Role::Server, Some(loads)) => loads.leave(usize::from(local.shard)),
            (Role::Server, None) => {}
        }
        discard(local, self.handler.take(key));
    }
}
