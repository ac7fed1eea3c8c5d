//! Policies for slow clients: who lost something is told so, and goes on as its connection, its topics or
//! the handler say.

use std::time::Duration;

use tickwire_protocol::{CloseCode, Kind};
use tickwire_reactor::{Counters, Ended, Topic};

use crate::application::{lagged, numbered};
use crate::publishing::{stalled, subscribe};
use crate::session::Session;
use crate::wire::{self, Frame};
use crate::world::{Peer, Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(
    one_that_merges_gets_the_newest_value_and_then_values,
    one_that_skips_goes_on_with_what_comes,
    one_that_closes_does_so_with_its_own_code,
    connection_has_its_way_before_its_topics,
    topic_without_a_value_is_skipped,
    only_topics_that_lost_something_count,
    topics_of_a_pattern_have_their_policies,
    publisher_can_make_those_merge_who_are_late,
);

in_simulation!(topic_that_is_gone_has_its_policy_still);

/// Publishes event and value; the event is long, and both have the sequence number in front.
fn publish<W: World>(session: &Session<W>, topic: &Topic) -> u64 {
    session.world.publisher().publish_with(topic, Kind::Text, |seq, event, value| {
        event.extend(numbered(seq, 1_000).into_bytes());
        value.extend(format!("value {seq}").into_bytes());
    })
}

fn setup() -> Setup {
    Setup::with_limits(|limits| limits.log_entries_max = 100)
}

/// Publishes until somebody has lost something; the number of the last publication. `others` is how many
/// there were of other topics.
fn publish_until_lost<W: World>(session: &mut Session<W>, topic: &Topic, others: u64) -> u64 {
    let before = session.world.counters();
    while session.world.counters().overruns == before.overruns {
        let count = publish(session, topic);
        assert!(count < 100_000, "a narrow socket takes less");
        session.counted("publications", others + count, |counters| counters.publications);
    }
    assert!(session.world.counters().publications_lost > before.publications_lost);
    topic.seq()
}

/// Takes events of a topic, which follow each other, until something else: the last number, and that.
fn events<W: World>(session: &mut Session<W>, peer: Peer) -> (u64, Frame) {
    let mut last = 0;
    loop {
        let frame = session.frame(peer);
        if frame.payload != numbered(last + 1, 1_000).into_bytes() {
            return (last, frame);
        }
        last += 1;
    }
}

/// Takes what is left of the events, and then the note of what is lost.
fn note<W: World>(session: &mut Session<W>, peer: Peer) -> (u64, String) {
    let (last, frame) = events(session, peer);
    (last, String::from_utf8(frame.payload).expect("a text"))
}

/// Nobody lags any more, and so many went on without what they had lost, or by value.
fn counts<W: World>(session: &mut Session<W>, skipped: u64, merged: u64) {
    session.until("nobody lags", |world| world.counters().lagging_now == 0);
    let Counters { overruns_skipped, overruns_merged, .. } = session.world.counters();
    assert_eq!((overruns_skipped, overruns_merged), (skipped, merged));
}

fn one_that_merges_gets_the_newest_value_and_then_values(place: &impl Place) {
    let mut session = Session::start(place, setup());
    let scores = session.world.publisher().topic("scores");
    scores.set_lagged(lagged("merge").expect("a policy"));
    let peer = stalled(&mut session, "/tell", "scores");
    let newest = publish_until_lost(&mut session, &scores, 0);
    let (last, note) = note(&mut session, peer);
    assert_eq!(note, "lost of scores");
    assert!(last < newest, "something is lost");
    assert_eq!(session.heard(peer), format!("value {newest}"));
    for _ in 0..3 {
        let number = publish(&session, &scores);
        assert_eq!(session.heard(peer), format!("value {number}"));
    }
    counts(&mut session, 0, 1);
    // Every publication again, if it says so.
    session.say(peer, "value scores distinct");
    assert_eq!(session.heard(peer), format!("following after {}", newest + 3));
    assert_eq!(session.heard(peer), format!("value {}", newest + 3));
    publish(&session, &scores);
    assert_eq!(session.heard(peer), numbered(newest + 4, 1_000));
    session.part(peer);
    assert!(!scores.has_subscribers());
}

fn one_that_skips_goes_on_with_what_comes(place: &impl Place) {
    let mut session = Session::start(place, setup());
    let scores = session.world.publisher().topic("scores");
    scores.set_lagged(lagged("skip").expect("a policy"));
    let peer = stalled(&mut session, "/tell", "scores");
    let newest = publish_until_lost(&mut session, &scores, 0);
    let (last, note) = note(&mut session, peer);
    assert_eq!(note, "lost of scores");
    assert!(last < newest, "something is lost");
    counts(&mut session, 1, 0);
    for _ in 0..3 {
        let number = publish(&session, &scores);
        assert_eq!(session.heard(peer), numbered(number, 1_000));
    }
    session.part(peer);
}

fn one_that_closes_does_so_with_its_own_code(place: &impl Place) {
    let mut session = Session::start(place, setup());
    let scores = session.world.publisher().topic("scores");
    scores.set_lagged(lagged("4410").expect("a policy"));
    let peer = stalled(&mut session, "/script", "scores");
    publish_until_lost(&mut session, &scores, 0);
    let (_, close) = events(&mut session, peer);
    assert_eq!((close.first, &*close.payload), (wire::CLOSE, &b"\x11\x3atoo slow"[..]));
    session.send(peer, &wire::close(4_410, ""));
    session.ended(peer);
    assert_eq!(session.world.journal().closed(), [Ended::ByUs(CloseCode(4_410))]);
    counts(&mut session, 0, 0);
}

fn connection_has_its_way_before_its_topics(place: &impl Place) {
    let mut session = Session::start(place, setup());
    let scores = session.world.publisher().topic("scores");
    let peer = session.connect_narrow();
    session.upgrade(peer, "/tell");
    for (word, answer) in [("skip", "policy"), ("nothing", "policy"), ("merge", "policy")] {
        session.say(peer, &format!("policy {word}"));
        assert_eq!(session.heard(peer), answer);
    }
    subscribe(&mut session, peer, "scores");
    let newest = publish_until_lost(&mut session, &scores, 0);
    assert_eq!(note(&mut session, peer).1, "lost of scores");
    assert_eq!(session.heard(peer), format!("value {newest}"));
    counts(&mut session, 0, 1);
    session.part(peer);
    // The next one in its slot has no policy of its own.
    let peer = stalled(&mut session, "/script", "scores");
    assert_eq!(session.heard(peer), format!("value {newest}"));
    publish_until_lost(&mut session, &scores, 0);
    let close = loop {
        let frame = session.frame(peer);
        if frame.first == wire::CLOSE {
            break frame;
        }
    };
    assert_eq!(&close.payload[..2], &1008_u16.to_be_bytes()[..]);
}

fn topic_without_a_value_is_skipped(place: &impl Place) {
    let mut session = Session::start(place, setup());
    let scores = session.world.publisher().topic("scores");
    scores.set_lagged(lagged("merge").expect("a policy"));
    let peer = stalled(&mut session, "/tell", "scores");
    let publisher = session.world.publisher();
    let publish = |number: u64| {
        publisher.publish(&scores, Kind::Text, numbered(number, 1_000).as_bytes());
    };
    let mut count = 0;
    while session.world.counters().overruns == 0 {
        count += 1;
        assert!(count < 100_000, "a narrow socket takes less");
        publish(count);
        session.counted("publications", count, |counters| counters.publications);
    }
    assert_eq!(note(&mut session, peer).1, "lost of scores");
    counts(&mut session, 1, 0);
    publish(count + 1);
    assert_eq!(session.heard(peer), numbered(count + 1, 1_000));
    session.part(peer);
}

fn only_topics_that_lost_something_count(place: &impl Place) {
    let mut session = Session::start(place, setup());
    let publisher = session.world.publisher();
    let [scores, prices, alarms] = ["scores", "prices", "alarms"].map(|name| publisher.topic(name));
    scores.set_lagged(lagged("skip").expect("a policy"));
    prices.set_lagged(lagged("merge").expect("a policy"));
    alarms.set_lagged(lagged("4410").expect("a policy"));
    let peer = stalled(&mut session, "/tell", "scores");
    subscribe(&mut session, peer, "alarms");
    subscribe(&mut session, peer, "prices");
    publish(&session, &alarms);
    // The long event, in full: before anything is stuck.
    assert_eq!(session.heard(peer), numbered(1, 1_000));
    let newest = publish_until_lost(&mut session, &scores, 1);
    let (_, note) = note(&mut session, peer);
    assert_eq!(note, "lost of scores");
    counts(&mut session, 1, 0);
    publish(&session, &prices);
    assert_eq!(session.heard(peer), numbered(1, 1_000));
    publish(&session, &scores);
    assert_eq!(session.heard(peer), numbered(newest + 1, 1_000));
    session.part(peer);
}

fn topics_of_a_pattern_have_their_policies(place: &impl Place) {
    let mut session = Session::start(place, setup());
    let scores = session.world.publisher().topic("games.scores");
    scores.set_lagged(lagged("merge").expect("a policy"));
    let peer = session.connect_narrow();
    session.upgrade(peer, "/tell");
    session.say(peer, "watch games.*");
    assert_eq!(session.heard(peer), "watching games.scores@0");
    let newest = publish_until_lost(&mut session, &scores, 0);
    assert_eq!(note(&mut session, peer).1, "lost of games.scores");
    assert_eq!(session.heard(peer), format!("value {newest}"));
    counts(&mut session, 0, 1);
    session.say(peer, "unwatch games.*");
    assert_eq!(session.heard(peer), "unwatched true");
    assert!(!scores.has_subscribers());
    session.part(peer);
}

fn topic_that_is_gone_has_its_policy_still(place: &Seed) {
    let mut session = Session::start(place, setup());
    let publisher = session.world.publisher();
    let (scores, noise) = (publisher.topic("games.scores"), publisher.topic("noise"));
    scores.set_lagged(lagged("skip").expect("a policy"));
    let reader = session.open("/script");
    subscribe(&mut session, reader, "noise");
    let peer = session.connect_narrow();
    session.upgrade(peer, "/tell");
    session.say(peer, "watch games.*");
    assert_eq!(session.heard(peer), "watching games.scores@0");
    while session.world.counters().retained_now < 5 {
        let count = scores.seq() + 1;
        assert!(count < 100_000, "a narrow socket takes less");
        // Without a value, which would keep the topic.
        publisher.publish(&scores, Kind::Text, numbered(count, 1_000).as_bytes());
        session.counted("publications", count, |counters| counters.publications);
    }
    drop(scores);
    session.until("the topic is gone", |_| publisher.topics() == 1);
    while session.world.counters().overruns == 0 {
        let count = publish(&session, &noise);
        assert!(count < 1_000, "who is so far behind is overrun");
        assert_eq!(session.heard(reader), numbered(count, 1_000));
    }
    assert_eq!(note(&mut session, peer).1, "lost of games.scores");
    counts(&mut session, 1, 0);
    session.part(peer);
    session.part(reader);
}

fn publisher_can_make_those_merge_who_are_late(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let scores = publisher.topic("scores");
    scores.set_lagged(lagged("merge").expect("a policy"));
    let peer = stalled(&mut session, "/tell", "scores");
    let mut newest = 0;
    while session.world.counters().retained_now < 50 {
        newest = publish(&session, &scores);
        session.counted("publications", newest, |counters| counters.publications);
    }
    publisher.close_lagging(10);
    session.until("all is delivered", |_| publisher.outstanding() == 0);
    assert_eq!(publisher.wait_outstanding(0, Duration::ZERO), Ok(()));
    assert_eq!(note(&mut session, peer).1, "waits of scores");
    assert_eq!(session.heard(peer), format!("value {newest}"));
    counts(&mut session, 0, 1);
    session.part(peer);
}
