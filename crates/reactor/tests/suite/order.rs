//! Order across topics: what one publisher publishes arrives in the order in which it did, at every
//! connection of every shard, whichever of its topics that is subscribed to.

use std::thread;

use tickwire_protocol::Kind;
use tickwire_reactor::Topic;

use crate::session::Session;
use crate::world::loopback::Sockets;
use crate::world::{Loopback, Peer, Place, Setup, World, in_each_world};

in_each_world!(handlers_and_others_keep_their_order_across_topics);

const TOPICS: usize = 5;

/// Which topics a peer holds: all but those whose bit is clear, never none.
fn held(peer: usize) -> Vec<usize> {
    (0..TOPICS).filter(|topic| (peer * 7 + 3) >> topic & 1 == 1).collect()
}

/// Peers with their topics.
fn subscribers<W: World>(session: &mut Session<W>, count: usize) -> Vec<(Peer, Vec<usize>)> {
    let subscribed = |index| {
        let peer = session.open("/script");
        let held = held(index);
        for topic in &held {
            session.say(peer, &format!("subscribe t{topic}"));
            assert!(session.heard(peer).starts_with("subscribed after "));
        }
        (peer, held)
    };
    (0..count).map(subscribed).collect()
}

/// The topic of a publisher's message with this number.
const fn topic_of(publisher: usize, number: usize) -> usize {
    (number * number + 3 * number + publisher) % TOPICS
}

/// Hears all that `publishers` have published, `each` of them so much, as far as it is held.
fn check<W: World>(
    session: &mut Session<W>,
    peer: Peer,
    held: &[usize],
    publishers: usize,
    each: usize,
) {
    let of = |publisher: usize| {
        (0..each).filter(move |number| held.contains(&topic_of(publisher, *number)))
    };
    let mut expected: Vec<_> = (0..publishers).map(of).collect();
    let total: usize = (0..publishers).map(|publisher| of(publisher).count()).sum();
    for _ in 0..total {
        let heard = session.heard(peer);
        let words: Vec<usize> = heard.split(' ').map(|it| it.parse().expect("a number")).collect();
        assert_eq!(expected[words[0]].next(), Some(words[1]), "of publisher {}", words[0]);
    }
}

/// Three handlers, of whatever shards, and one other publish in turn.
fn handlers_and_others_keep_their_order_across_topics(place: &impl Place) {
    const HANDLERS: usize = 3;
    const EACH: usize = 120;
    let mut session = Session::start(place, Setup::default().with_shards(3));
    let peers = subscribers(&mut session, 8);
    let publisher = session.world.publisher();
    let topics: Vec<Topic> = (0..TOPICS).map(|it| publisher.topic(&format!("t{it}"))).collect();
    let handlers: Vec<Peer> = (0..HANDLERS).map(|_| session.open("/script")).collect();
    for number in 0..EACH {
        for (name, handler) in handlers.iter().enumerate() {
            let topic = topic_of(name, number);
            session.say(*handler, &format!("publish t{topic} {name} {number}"));
        }
        let text = format!("{HANDLERS} {number}");
        let topic = &topics[topic_of(HANDLERS, number)];
        publisher.publish(topic, Kind::Text, text.as_bytes());
        if number % 10 == 9 {
            for handler in &handlers {
                for _ in 0..10 {
                    assert!(session.heard(*handler).starts_with("published Ok("));
                }
            }
        }
    }
    for (peer, held) in &peers {
        check(&mut session, *peer, held, HANDLERS + 1, EACH);
        session.part(*peer);
    }
}

#[test]
fn threads_keep_their_order_across_topics() {
    for letters in [4, 16_384] {
        let setup = Setup::with_limits(|limits| limits.mailbox_letters_max = letters);
        for place in [Some(Loopback::EPOLL), Loopback::io_uring()].into_iter().flatten() {
            threads_keep_order(Session::start(&place, setup.with_shards(3)));
        }
    }
}

/// Threads publish beside each other, some by the message and some by the batch, and wait where a mailbox
/// is full.
fn threads_keep_order(mut session: Session<Sockets>) {
    const THREADS: usize = 4;
    const EACH: usize = 400;
    let peers = subscribers(&mut session, 9);
    let threads: Vec<_> = (0..THREADS)
        .map(|name| {
            let publisher = session.world.publisher();
            thread::spawn(move || {
                let topic = |it| publisher.topic(&format!("t{it}"));
                let topics: Vec<Topic> = (0..TOPICS).map(topic).collect();
                for begin in (0..EACH).step_by(8) {
                    let batch = publisher.batch();
                    for number in begin..begin + 8 {
                        let text = format!("{name} {number}");
                        let topic = &topics[topic_of(name, number)];
                        let write = |_, message: &mut Vec<u8>, _: &mut Vec<u8>| {
                            message.extend(text.bytes());
                        };
                        if name % 2 == 0 {
                            batch.publish_with(topic, Kind::Text, write);
                        } else {
                            publisher.publish_with(topic, Kind::Text, write);
                        }
                    }
                }
            })
        })
        .collect();
    for (peer, held) in &peers {
        check(&mut session, *peer, held, THREADS, EACH);
    }
    threads.into_iter().for_each(|thread| thread.join().expect("a publisher ends"));
}
