//! Publishers that are faster than shards: told, or dropped for all, and nobody is woken in vain.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use tickwire_protocol::{Kind, Message};
use tickwire_reactor::{Connection, Connector, Full, Handler, Server, Timestamp};

use crate::session::Session;
use crate::world::{PATIENCE, Peer, Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(one_connection_can_be_left_out_by_anybody);

in_simulation!(
    full_mailbox_is_an_error_for_all_shards_or_for_none,
    what_is_dropped_is_dropped_for_all_shards_and_counted,
    handlers_drop_what_has_no_room,
);

const ROOM: usize = 4;

/// Two shards with room for four letters each; a peer of each that holds `both`, and that of the first
/// holds `one` too.
fn two_shards(place: &Seed) -> (Session<<Seed as Place>::World>, [Peer; 2]) {
    let setup = Setup::with_limits(|limits| limits.mailbox_letters_max = ROOM).with_shards(2);
    let mut session = Session::start(place, setup);
    let mut peers = [None; 2];
    while peers.contains(&None) {
        let peer = session.open("/script");
        peers[session.last_id().shard()].get_or_insert(peer);
    }
    let peers = peers.map(|peer| peer.expect("one of each shard"));
    for (peer, topic) in [(peers[0], "one"), (peers[0], "both"), (peers[1], "both")] {
        session.say(peer, &format!("subscribe {topic}"));
        assert_eq!(session.heard(peer), "subscribed after 0");
    }
    (session, peers)
}

fn full_mailbox_is_an_error_for_all_shards_or_for_none(place: &Seed) {
    let (mut session, peers) = two_shards(place);
    let publisher = session.world.publisher();
    let (one, both) = (publisher.topic("one"), publisher.topic("both"));
    for round in 0..10 {
        for number in 0..ROOM as u64 {
            let seq = round * ROOM as u64 + number + 1;
            assert_eq!(publisher.try_publish(&one, Kind::Text, b"one"), Ok(seq));
        }
        assert_eq!(publisher.try_publish(&one, Kind::Text, b"refused"), Err(Full));
        // There would be room in the other shard, and it gets nothing.
        assert_eq!(publisher.try_publish(&both, Kind::Text, b"refused"), Err(Full));
        let mut has_run = false;
        let batch = publisher.batch();
        let refused = batch.try_publish_with(&both, Kind::Text, |_, _, _| has_run = true);
        assert_eq!((refused, has_run), (Err(Full), false));
        drop(batch);
        assert_eq!(both.seq(), round, "no number is used");
        for _ in 0..ROOM {
            assert_eq!(session.heard(peers[0]), "one");
        }
        assert_eq!(publisher.try_publish(&both, Kind::Text, b"both"), Ok(round + 1));
        for peer in peers {
            assert_eq!(session.heard(peer), "both");
        }
    }
    let refused = |counters: &tickwire_reactor::Counters| counters.publications_refused;
    session.counted("refusals", 30, refused);
    let by_shard = session.world.metrics().shards;
    assert_eq!((refused(&by_shard[0]), refused(&by_shard[1])), (30, 0));
}

fn what_is_dropped_is_dropped_for_all_shards_and_counted(place: &Seed) {
    let (mut session, peers) = two_shards(place);
    let publisher = session.world.publisher();
    let (one, both) = (publisher.topic("one"), publisher.topic("both"));
    for round in 1..=10 {
        for _ in 0..ROOM {
            assert!(publisher.publish_or_drop(&one, Kind::Text, b"one").is_some());
        }
        assert_eq!(publisher.publish_or_drop(&one, Kind::Text, b"dropped"), None);
        let batch = publisher.batch();
        let write = |_, message: &mut Vec<u8>, _: &mut Vec<u8>| message.extend(b"dropped");
        assert_eq!(batch.publish_or_drop_with(&both, Kind::Text, write), None);
        drop(batch);
        for _ in 0..ROOM {
            assert_eq!(session.heard(peers[0]), "one");
        }
        assert_eq!(publisher.publish_or_drop(&both, Kind::Text, b"both"), Some(round));
        for peer in peers {
            assert_eq!(session.heard(peer), "both");
        }
    }
    session.counted("drops", 20, |counters| counters.publications_dropped);
    assert_eq!(session.world.metrics().shards[1].publications_dropped, 0);
}

fn handlers_drop_what_has_no_room(place: &Seed) {
    let (mut session, peers) = two_shards(place);
    let publisher = session.world.publisher();
    let one = publisher.topic("one");
    let mut dropped = 0;
    for _ in 0..30 {
        // The word comes in whole in the turn that has not taken its mail yet, or in pieces later.
        session.say(peers[1], "publish-or-drop one word");
        for _ in 0..ROOM {
            publisher.publish(&one, Kind::Text, b"full");
        }
        let answer = session.heard(peers[1]);
        let is_dropped = answer == "published None";
        assert!(is_dropped || answer == format!("published Some({})", one.seq()), "{answer}");
        dropped += u64::from(is_dropped);
        for index in 0..ROOM + usize::from(!is_dropped) {
            assert_eq!(session.heard(peers[0]), if index < ROOM { "full" } else { "word" });
        }
    }
    session.counted("drops", dropped, |counters| counters.publications_dropped);
}

fn one_connection_can_be_left_out_by_anybody(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(3));
    let publisher = session.world.publisher();
    let news = publisher.topic("news");
    let mut peers = Vec::new();
    for _ in 0..6 {
        let peer = session.open("/script");
        peers.push((peer, session.last_id()));
        session.say(peer, "subscribe news");
        assert_eq!(session.heard(peer), "subscribed after 0");
    }
    for round in 0..60 {
        let except = peers[round % 6].1;
        let text = format!("{round}");
        publisher.publish_except(&news, Kind::Text, text.as_bytes(), except);
    }
    for (index, (peer, _)) in peers.into_iter().enumerate() {
        for round in (0..60).filter(|round| round % 6 != index) {
            assert_eq!(session.heard(peer), format!("{round}"));
        }
        session.part(peer);
    }
}

/// A shard that begins its first turn when it is told to.
struct Gated(Arc<Mutex<Receiver<()>>>);

impl Handler for Gated {
    type State = ();

    fn start(&mut self, _connector: &mut Connector<'_, ()>) {
        let gate = self.0.lock().expect("one shard");
        gate.recv().expect("the gate is opened");
    }

    fn message(&mut self, _connection: &mut Connection<'_, ()>, _message: Message<'_>) {}
}

#[test]
fn shard_that_is_awake_is_not_woken() {
    let (open, gate) = channel();
    let gate = Arc::new(Mutex::new(gate));
    let server = Server::builder()
        .shards(1)
        .fallback(move |_| Gated(Arc::clone(&gate)))
        .start()
        .expect("a port of this machine, and a thread");
    let publisher = server.publisher();
    // It is awake, and busy with something else.
    for _ in 0..1_000 {
        publisher.close_lagging(0);
    }
    open.send(()).expect("the shard waits");
    let start = Timestamp::read();
    let mut wakes = 0;
    // It is awake until it has taken all of them; then it sleeps, and is woken for one more.
    for sent in 1.. {
        let counters = server.metrics().total();
        if counters.turns > 0 && sent == 1 {
            assert_eq!(counters.wakes, 0);
        }
        wakes = counters.wakes;
        if wakes > 0 {
            break;
        }
        assert!(Timestamp::read().since(start) < PATIENCE, "a shard that sleeps is woken");
        publisher.close_lagging(0);
        std::thread::yield_now();
    }
    assert!(wakes > 0);
}
