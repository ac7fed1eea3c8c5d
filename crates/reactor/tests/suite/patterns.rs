//! Patterns: all topics whose names begin alike, those of today and those of tomorrow.

use std::thread;

use tickwire_protocol::Kind;
use tickwire_reactor::{PatternError, Publisher};

use crate::session::Session;
use crate::world::loopback::Sockets;
use crate::world::{Loopback, Peer, Place, Setup, World, in_each_world};

in_each_world!(
    pattern_takes_in_what_is_there_and_what_is_made_later,
    first_publication_of_a_topic_that_is_dropped_at_once_is_heard,
    overlap_of_patterns_and_names_is_one_stream,
    end_of_a_pattern_leaves_what_is_held_otherwise,
    what_is_no_pattern_is_refused,
    more_patterns_than_allowed_are_refused,
    pattern_that_takes_in_too_much_is_refused_or_ends_its_connection,
    pattern_keeps_no_topic,
    subscription_by_name_keeps_its_topic_beside_a_pattern,
    patterns_go_with_their_connections,
);

fn publish(publisher: &Publisher, topic: &str, text: &str) -> u64 {
    publisher.publish(&publisher.topic(topic), Kind::Text, text.as_bytes())
}

/// A peer on `/script` that has subscribed to a pattern, and heard `expected` of it.
fn watcher<W: World>(session: &mut Session<W>, pattern: &str, expected: &str) -> Peer {
    let peer = session.open("/script");
    ask(session, peer, &format!("watch {pattern}"), &format!("watching{expected}"));
    peer
}

fn ask<W: World>(session: &mut Session<W>, peer: Peer, words: &str, answer: &str) {
    session.say(peer, words);
    assert_eq!(session.heard(peer), answer);
}

fn pattern_takes_in_what_is_there_and_what_is_made_later(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(3));
    let publisher = session.world.publisher();
    let (gold, iron) = (publisher.topic("quotes.gold"), publisher.topic("quotes.iron"));
    let other = publisher.topic("quote");
    publish(&publisher, "quotes.gold", "before");
    let peers: Vec<Peer> =
        (0..9).map(|_| watcher(&mut session, "quotes.*", " quotes.gold@1 quotes.iron@0")).collect();
    let zinc = publisher.topic("quotes.zinc");
    let apart = publisher.topic("quotas.zinc");
    for round in 0..20 {
        for topic in [&gold, &other, &zinc, &apart, &iron] {
            publish(&publisher, topic.name(), &format!("{} {round}", topic.name()));
        }
        let later = format!("quotes.{round}");
        publish(&publisher, &later, &later);
        for peer in &peers {
            for name in ["quotes.gold", "quotes.zinc", "quotes.iron"] {
                assert_eq!(session.heard(*peer), format!("{name} {round}"));
            }
            assert_eq!(session.heard(*peer), later);
        }
    }
    for peer in peers {
        session.part(peer);
    }
    assert!(!gold.has_subscribers() && !zinc.has_subscribers());
}

fn first_publication_of_a_topic_that_is_dropped_at_once_is_heard(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(2));
    let publisher = session.world.publisher();
    let all: Vec<Peer> = (0..4).map(|_| watcher(&mut session, "*", "")).collect();
    let none = watcher(&mut session, "nobody*", "");
    for round in 0..200 {
        // The one handle is gone before the shard hears of the topic; the same name comes again.
        assert_eq!(publish(&publisher, &format!("room {}", round % 10), &format!("{round}")), 1);
        if round % 10 == 9 {
            for peer in &all {
                for number in round - 9..=round {
                    assert_eq!(session.heard(*peer), format!("{number}"));
                }
            }
            session.until("all topics are gone", |_| publisher.topics() == 0);
        }
    }
    session.part(none);
}

fn overlap_of_patterns_and_names_is_one_stream(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let gold = publisher.topic("quotes.gold");
    let peer = session.open("/script");
    ask(&mut session, peer, "subscribe quotes.gold", "subscribed after 0");
    // What is held already goes on as it is, and is not told again.
    ask(&mut session, peer, "watch quotes.*", "watching");
    ask(&mut session, peer, "watch quotes.g*", "watching");
    ask(&mut session, peer, "watch *", "watching");
    ask(&mut session, peer, "watch *", "watching");
    publish(&publisher, "quotes.gold", "once");
    let iron = publisher.topic("quotes.iron");
    publish(&publisher, "quotes.iron", "once too");
    assert_eq!(session.heard(peer), "once");
    assert_eq!(session.heard(peer), "once too");
    ask(&mut session, peer, "subscribe quotes.iron", "subscribed after 1");
    publish(&publisher, "quotes.iron", "again");
    assert_eq!(session.heard(peer), "again");
    session.part(peer);
    assert!(!gold.has_subscribers() && !iron.has_subscribers());
}

fn end_of_a_pattern_leaves_what_is_held_otherwise(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let topics = ["a", "ab", "abc", "b"].map(|name| publisher.topic(name));
    let peer = session.open("/script");
    ask(&mut session, peer, "subscribe ab", "subscribed after 0");
    ask(&mut session, peer, "watch ab*", "watching abc@0");
    ask(&mut session, peer, "watch a*", "watching a@0");
    let mut number = 0;
    let mut hears = |session: &mut Session<_>, expected: &[&str]| {
        number += 1;
        for topic in &topics {
            publish(&publisher, topic.name(), &format!("{} {number}", topic.name()));
        }
        for name in expected {
            assert_eq!(session.heard(peer), format!("{name} {number}"));
        }
        // Nothing else was on its way.
        ask(session, peer, &format!("end-{number}"), &format!("end-{number}"));
    };
    hears(&mut session, &["a", "ab", "abc"]);
    ask(&mut session, peer, "unwatch a*", "unwatched true");
    hears(&mut session, &["ab", "abc"]);
    ask(&mut session, peer, "unwatch a*", "unwatched false");
    ask(&mut session, peer, "unsubscribe abc", "unsubscribed false");
    ask(&mut session, peer, "unsubscribe ab", "unsubscribed true");
    hears(&mut session, &["ab", "abc"]);
    ask(&mut session, peer, "subscribe abc", "subscribed after 3");
    ask(&mut session, peer, "unwatch ab*", "unwatched true");
    hears(&mut session, &["abc"]);
    ask(&mut session, peer, "unsubscribe abc", "unsubscribed true");
    hears(&mut session, &[]);
    session.part(peer);
    assert!(topics.iter().all(|topic| !topic.has_subscribers()));
}

fn what_is_no_pattern_is_refused(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/script");
    for pattern in ["quotes", "*.gold", "quotes.**", "q*s", ""] {
        ask(&mut session, peer, &format!("watch {pattern}"), "refused NotAPattern");
        ask(&mut session, peer, &format!("unwatch {pattern}"), "unwatched false");
    }
    let long = format!("watch {}*", "x".repeat(1_024));
    ask(&mut session, peer, &long, "refused NotAPattern");
    session.part(peer);
}

fn more_patterns_than_allowed_are_refused(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.patterns_per_connection_max = 2);
    let mut session = Session::start(place, setup);
    let peer = watcher(&mut session, "a*", "");
    ask(&mut session, peer, "watch b*", "watching");
    let refused = format!("refused {:?}", PatternError::TooManyPatterns { max: 2 });
    ask(&mut session, peer, "watch c*", &refused);
    ask(&mut session, peer, "watch a*", "watching");
    ask(&mut session, peer, "unwatch a*", "unwatched true");
    ask(&mut session, peer, "watch c*", "watching");
    publish(&session.world.publisher(), "c", "heard");
    assert_eq!(session.heard(peer), "heard");
    session.part(peer);
}

fn pattern_that_takes_in_too_much_is_refused_or_ends_its_connection(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.pattern_topics_max = 3);
    let mut session = Session::start(place, setup);
    let publisher = session.world.publisher();
    let mut topics: Vec<_> = (0..3).map(|name| publisher.topic(&format!("a{name}"))).collect();
    let full = watcher(&mut session, "a*", " a0@0 a1@0 a2@0");
    let narrow = watcher(&mut session, "a3*", "");
    topics.push(publisher.topic("a3"));
    // The one would miss something from now on; the other does not.
    assert_eq!(session.closed(full).0, 1008);
    session.send(full, &crate::wire::close(1008, ""));
    session.ended(full);
    publish(&publisher, "a3", "heard");
    assert_eq!(session.heard(narrow), "heard");
    let late = session.open("/script");
    let refused = format!("refused {:?}", PatternError::TooManyTopics { max: 3 });
    ask(&mut session, late, "watch a*", &refused);
    topics.pop();
    // Until the shard has heard of it, the topic is there.
    session.until("the topic is gone", |_| publisher.topics() == 3);
    ask(&mut session, late, "watch a*", "watching a0@0 a1@0 a2@0");
    session.part(late);
    session.part(narrow);
}

fn pattern_keeps_no_topic(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.pattern_topics_max = 150).with_shards(2);
    let mut session = Session::start(place, setup);
    let publisher = session.world.publisher();
    let peers: Vec<Peer> = (0..3).map(|_| watcher(&mut session, "room.*", "")).collect();
    for round in 0..20 {
        // A hundred at a time, and many more in all than a pattern may take in.
        for room in 0..100 {
            let room = publisher.topic(&format!("room.{round}.{room}"));
            assert_eq!(publisher.publish(&room, Kind::Text, b"1"), 1);
            assert_eq!(publisher.publish(&room, Kind::Text, b"2"), 2);
        }
        for peer in &peers {
            for _ in 0..100 {
                assert_eq!(session.heard(*peer), "1");
                assert_eq!(session.heard(*peer), "2");
            }
            // Its shard forgets them, a turn later or two.
            let mut asks = 0;
            while {
                session.say(*peer, "subscriptions");
                session.heard(*peer) != "subscriptions 0"
            } {
                asks += 1;
                assert!(asks < 10_000, "topics that are gone are held for ever");
            }
        }
        session.until("all rooms are gone", |_| publisher.topics() == 0);
    }
}

fn subscription_by_name_keeps_its_topic_beside_a_pattern(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let watching = watcher(&mut session, "room.*", "");
    let named = session.open("/script");
    ask(&mut session, named, "subscribe room.1", "subscribed after 0");
    for number in 1..=5 {
        assert_eq!(publish(&publisher, "room.1", "heard"), number);
        assert_eq!(session.heard(watching), "heard");
        assert_eq!(session.heard(named), "heard");
    }
    ask(&mut session, named, "unsubscribe room.1", "unsubscribed true");
    session.until("the topic is gone", |_| publisher.topics() == 0);
    assert_eq!(publish(&publisher, "room.1", "anew"), 1);
    assert_eq!(session.heard(watching), "anew");
    session.part(watching);
    session.part(named);
}

fn patterns_go_with_their_connections(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(2));
    let publisher = session.world.publisher();
    let gold = publisher.topic("quotes.gold");
    for round in 0..10 {
        let peers: Vec<Peer> = (0..4)
            .map(|_| watcher(&mut session, "quotes.*", &format!(" quotes.gold@{round}")))
            .collect();
        for (index, peer) in peers.into_iter().enumerate() {
            match index % 2 {
                0 => session.world.reset(peer),
                _ => session.part(peer),
            }
        }
        session.until("nobody is subscribed", |_| !gold.has_subscribers());
        publish(&publisher, "quotes.gold", "nobody hears this");
        let iron = publisher.topic("quotes.iron");
        assert!(!iron.has_subscribers(), "no shard has a pattern any more");
    }
}

#[test]
fn nothing_is_missed_while_topics_and_patterns_come_and_go() {
    for place in [Some(Loopback::EPOLL), Loopback::io_uring()].into_iter().flatten() {
        come_and_go(Session::start(&place, Setup::default().with_shards(3)));
    }
}

/// Threads make topics, publish three messages to each and drop it, while peers of every shard watch and
/// others begin and end to watch: who watches gets all three of each, in order.
fn come_and_go(mut session: Session<Sockets>) {
    const THREADS: usize = 3;
    const TOPICS: usize = 300;
    let steady: Vec<Peer> = (0..6).map(|_| watcher(&mut session, "feed.*", "")).collect();
    let restless: Vec<Peer> = (0..3).map(|_| session.open("/script")).collect();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let publisher = session.world.publisher();
            thread::spawn(move || {
                for number in 0..TOPICS {
                    // The names of the threads are the same, so topics are shared, or made anew.
                    let topic = publisher.topic(&format!("feed.{number}"));
                    for message in 0..3 {
                        let text = format!("{thread} {number} {message}");
                        publisher.publish(&topic, Kind::Text, text.as_bytes());
                    }
                }
            })
        })
        .collect();
    for _ in 0..50 {
        for peer in &restless {
            session.say(*peer, "watch feed.1*");
            session.say(*peer, "unwatch feed.1*");
        }
        for peer in &restless {
            while session.heard(*peer) != "unwatched true" {}
        }
    }
    threads.into_iter().for_each(|thread| thread.join().expect("a publisher ends"));
    for peer in steady {
        let mut next = [0; THREADS];
        for _ in 0..THREADS * TOPICS * 3 {
            let heard = session.heard(peer);
            let words: Vec<usize> =
                heard.split(' ').map(|it| it.parse().expect("number")).collect();
            assert_eq!(words[1] * 3 + words[2], next[words[0]], "{heard}");
            next[words[0]] += 1;
        }
        session.part(peer);
    }
}
