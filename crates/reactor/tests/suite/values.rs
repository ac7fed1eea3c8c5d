//! Values: whoever wants only the newest gets that, in order, the last one always, and holds nothing.

use std::time::Duration;

use tickwire_protocol::Kind;
use tickwire_reactor::{Delivery, Topic};

use crate::application::numbered;
use crate::publishing::subscribe;
use crate::session::Session;
use crate::world::{Peer, Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(
    every_follower_of_every_shard_gets_the_last_value,
    value_is_what_the_publisher_retains_or_the_message,
    topic_says_how_it_is_delivered,
    publications_and_values_share_a_connection,
    stalled_follower_holds_nothing_and_then_gets_the_newest,
    nothing_comes_after_unsubscribing_or_another_subscription,
    publisher_does_not_get_its_own_value,
    patterns_give_values_of_topics_that_are_there_and_of_later_ones,
    last_value_of_a_topic_that_is_dropped_at_once_is_heard,
    known_value_that_is_old_is_followed_by_the_newest_at_once,
    faster_rate_lets_what_waits_leave,
    value_that_says_nothing_is_not_sent,
    panic_that_renders_a_value_costs_nobody,
);

in_simulation!(sampled_values_keep_their_rate_and_the_last_arrives);

/// Publishes an event, and what the topic's value is then.
fn publish<W: World>(session: &Session<W>, topic: &Topic) -> u64 {
    session.world.publisher().publish_with(topic, Kind::Text, |seq, event, value| {
        event.extend(format!("event {seq}").into_bytes());
        value.extend(format!("value {seq}").into_bytes());
    })
}

/// Has a peer follow the newest value of a topic; what that is at first has not to be heard.
fn follow<W: World>(session: &mut Session<W>, peer: Peer, topic: &str, how: &str) -> u64 {
    session.say(peer, &format!("value {topic} {how}"));
    let answer = session.heard(peer);
    let after = answer.strip_prefix("following after ").unwrap_or_else(|| panic!("{answer}"));
    after.parse().expect("a number")
}

/// The next value, as a number.
fn value<W: World>(session: &mut Session<W>, peer: Peer) -> u64 {
    let heard = session.heard(peer);
    let number = heard.strip_prefix("value ").unwrap_or_else(|| panic!("{heard}"));
    number.parse().expect("a number")
}

fn every_follower_of_every_shard_gets_the_last_value(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(3));
    let gold = session.world.publisher().topic("gold");
    let peers: Vec<Peer> = (0..12).map(|_| session.open("/script")).collect();
    for peer in &peers {
        assert_eq!(follow(&mut session, *peer, "gold", "merge"), 0);
    }
    for number in 1..=300 {
        assert_eq!(publish(&session, &gold), number);
        if number % 50 == 0 {
            // So that turns take publications in between, not all at once.
            session.until("a value is sent", |world| world.counters().values_sent >= 12);
        }
    }
    for peer in &peers {
        let mut last = 0;
        while last < 300 {
            let next = value(&mut session, *peer);
            assert!(next > last, "{next} comes after {last}");
            last = next;
        }
        session.part(*peer);
    }
    assert!(!gold.has_subscribers());
}

fn value_is_what_the_publisher_retains_or_the_message(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let gold = publisher.topic("gold");
    let peer = session.open("/script");
    follow(&mut session, peer, "gold", "merge");
    publish(&session, &gold);
    assert_eq!(session.heard(peer), "value 1");
    publisher.publish(&gold, Kind::Text, b"a message");
    assert_eq!(session.heard(peer), "a message");
    publish(&session, &gold);
    assert_eq!(session.heard(peer), "value 3");
    let late = session.open("/script");
    assert_eq!(follow(&mut session, late, "gold", "merge"), 3);
    assert_eq!(session.heard(late), "value 3");
    session.part(late);
    session.part(peer);
}

fn topic_says_how_it_is_delivered(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let gold = session.world.publisher().topic("gold");
    gold.set_delivery(Delivery::Merge);
    assert_eq!(gold.delivery(), Delivery::Merge);
    let (by_topic, by_choice) = (session.open("/script"), session.open("/script"));
    subscribe(&mut session, by_topic, "gold");
    follow(&mut session, by_choice, "gold", "distinct");
    publish(&session, &gold);
    assert_eq!(session.heard(by_topic), "value 1");
    assert_eq!(session.heard(by_choice), "event 1");
    session.part(by_topic);
    session.part(by_choice);
}

fn patterns_give_values_of_topics_that_are_there_and_of_later_ones(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(2));
    let publisher = session.world.publisher();
    let gold = publisher.topic("metal.gold");
    gold.set_delivery(Delivery::Merge);
    publish(&session, &gold);
    let watch = |session: &mut Session<_>, how: &str| {
        let peer = session.open("/script");
        session.say(peer, &format!("watch metal.* {how}"));
        assert_eq!(session.heard(peer), "watching metal.gold@1");
        peer
    };
    let as_it_says: Vec<Peer> = (0..3).map(|_| watch(&mut session, "")).collect();
    let by_choice: Vec<Peer> = (0..3).map(|_| watch(&mut session, "merge view 1")).collect();
    publish(&session, &gold);
    // A message of a topic that retains nothing is its value.
    let iron = publisher.topic("metal.iron");
    publisher.publish(&iron, Kind::Text, b"iron");
    for (peers, expected) in
        [(as_it_says, ["value 2", "iron"]), (by_choice, ["1>2 value 2", "0>1 iron"])]
    {
        for peer in peers {
            let mut heard = [session.heard(peer), session.heard(peer)];
            heard.sort_by_key(|words| words.ends_with("iron"));
            assert_eq!(heard, expected);
            // Of one's own name it is another subscription, and then the pattern's no more.
            session.say(peer, "value metal.gold distinct");
            assert_eq!(session.heard(peer), "following after 2");
            assert_eq!(session.heard(peer), "value 2");
            session.say(peer, "unwatch metal.*");
            assert_eq!(session.heard(peer), "unwatched true");
            session.say(peer, "subscriptions");
            assert_eq!(session.heard(peer), "subscriptions 1");
            session.part(peer);
        }
    }
    assert!(!gold.has_subscribers() && !iron.has_subscribers());
}

fn last_value_of_a_topic_that_is_dropped_at_once_is_heard(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(2));
    let publisher = session.world.publisher();
    let peers: Vec<Peer> = (0..4).map(|_| session.open("/script")).collect();
    for peer in &peers {
        session.say(*peer, "watch room.* merge");
        assert_eq!(session.heard(*peer), "watching");
    }
    for round in 0..100 {
        let room = publisher.topic(&format!("room.{}", round % 10));
        for number in [1, 2] {
            let text = format!("{round} {number}");
            assert_eq!(publisher.publish(&room, Kind::Text, text.as_bytes()), number);
        }
        drop(room);
        for peer in &peers {
            while session.heard(*peer) != format!("{round} 2") {}
        }
        session.until("the room is gone", |_| publisher.topics() == 0);
    }
    for peer in peers {
        session.part(peer);
    }
}

fn publications_and_values_share_a_connection(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let (chat, gold) = (publisher.topic("chat"), publisher.topic("gold"));
    let peer = session.open("/script");
    subscribe(&mut session, peer, "chat");
    follow(&mut session, peer, "gold", "merge");
    for _ in 0..200 {
        publish(&session, &gold);
        publish(&session, &chat);
    }
    let (mut said, mut last) = (0, 0);
    while said < 200 || last < 200 {
        let heard = session.heard(peer);
        let (word, number) = heard.split_once(' ').expect("two words");
        let number: u64 = number.parse().expect("a number");
        if word == "event" {
            assert_eq!(number, said + 1);
            said = number;
        } else {
            assert!(number > last, "{heard} comes after {last}");
            last = number;
            // What its publisher said before it is here already.
            assert!(said + 1 >= number, "{heard} comes before event {}", number - 1);
        }
    }
    session.part(peer);
}

fn stalled_follower_holds_nothing_and_then_gets_the_newest(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let gold = publisher.topic("gold");
    let peer = session.connect_narrow();
    session.upgrade(peer, "/script");
    let mut known = follow(&mut session, peer, "gold", "merge view 1");
    let reader = session.open("/script");
    subscribe(&mut session, reader, "gold");
    let mut count = 0;
    let mut stalled_for = 0;
    while stalled_for < 300 {
        assert!(count < 100_000, "a narrow socket takes less");
        count += 1;
        publisher.publish(&gold, Kind::Text, numbered(count, 1_000).as_bytes());
        session.counted("publications", count, |counters| counters.publications);
        assert_eq!(session.heard(reader), numbered(count, 1_000), "others are not held up");
        let counters = session.world.counters();
        stalled_for += u64::from(counters.lagging_now == 1);
        assert_eq!((counters.retained_now, counters.retained_bytes_now), (0, 0));
        // Nothing of it but the rest of one message and what keeps that.
        assert!(counters.unsent_bytes_now < 4_000, "{counters:?}");
    }
    assert!(publisher.outstanding() <= 1, "nobody waits for it");
    let mut heard_of = 0;
    while known < count {
        let heard = session.heard(peer);
        let (numbers, payload) = heard.split_once(' ').expect("numbers and a value");
        let (prev, seq) = numbers.split_once('>').expect("two numbers");
        assert_eq!(prev.parse(), Ok(known), "nothing is left out unsaid");
        known = seq.parse().expect("a number");
        assert_eq!(payload, numbered(known, 1_000));
        heard_of += 1;
    }
    assert!(heard_of <= count - 200, "{heard_of} of {count}");
    session.until("nobody lags", |world| world.counters().lagging_now == 0);
    session.part(peer);
    session.part(reader);
}

fn nothing_comes_after_unsubscribing_or_another_subscription(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let gold = session.world.publisher().topic("gold");
    let peer = session.open("/script");
    follow(&mut session, peer, "gold", "merge");
    publish(&session, &gold);
    assert_eq!(session.heard(peer), "value 1");
    assert_eq!(subscribe(&mut session, peer, "gold"), 1);
    assert_eq!(session.heard(peer), "value 1", "what it retains");
    publish(&session, &gold);
    assert_eq!(session.heard(peer), "event 2");
    assert_eq!(follow(&mut session, peer, "gold", "5"), 2);
    assert_eq!(session.heard(peer), "value 2", "what it retains");
    publish(&session, &gold);
    assert_eq!(session.heard(peer), "value 3");
    publish(&session, &gold);
    // It waits for its rate, or has left before.
    session.say(peer, "unsubscribe gold");
    let mut heard = session.heard(peer);
    if heard == "value 4" {
        heard = session.heard(peer);
    }
    assert_eq!(heard, "unsubscribed true");
    publish(&session, &gold);
    session.let_time_pass(Duration::from_secs(1));
    session.say(peer, "word");
    assert_eq!(session.heard(peer), "word");
    assert!(!gold.has_subscribers());
    session.part(peer);
}

fn publisher_does_not_get_its_own_value(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(2));
    let (one, other) = (session.open("/script"), session.open("/script"));
    follow(&mut session, one, "gold", "merge");
    follow(&mut session, other, "gold", "merge");
    session.say(one, "tell-others gold first");
    assert_eq!(session.heard(one), "told Ok(1)");
    assert_eq!(session.heard(other), "first");
    session.say(other, "tell-others gold second");
    assert_eq!(session.heard(other), "told Ok(2)");
    assert_eq!(session.heard(one), "second");
    session.part(one);
    session.part(other);
}

fn known_value_that_is_old_is_followed_by_the_newest_at_once(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let gold = session.world.publisher().topic("gold");
    for _ in 0..10 {
        publish(&session, &gold);
    }
    let (behind, up_to_date) = (session.open("/script"), session.open("/script"));
    assert_eq!(follow(&mut session, behind, "gold", "merge known 4 view 1"), 10);
    assert_eq!(session.heard(behind), "4>10 value 10");
    assert_eq!(follow(&mut session, up_to_date, "gold", "merge known 10 view 1"), 10);
    publish(&session, &gold);
    for peer in [behind, up_to_date] {
        assert_eq!(session.heard(peer), "10>11 value 11");
        session.part(peer);
    }
}

fn faster_rate_lets_what_waits_leave(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let gold = session.world.publisher().topic("gold");
    let peer = session.open("/script");
    follow(&mut session, peer, "gold", "1");
    publish(&session, &gold);
    assert_eq!(session.heard(peer), "value 1");
    publish(&session, &gold);
    session.counted("publications", 2, |counters| counters.publications);
    session.say(peer, "rate gold merge");
    // On a machine that is slow enough its second is over.
    let mut heard = [session.heard(peer), session.heard(peer)];
    heard.sort();
    assert_eq!(heard, ["rate true", "value 2"]);
    session.say(peer, "rate gold distinct");
    assert_eq!(session.heard(peer), "rate false", "that is a new subscription");
    session.say(peer, "rate silver merge");
    assert_eq!(session.heard(peer), "rate false", "it is not subscribed to that");
    session.part(peer);
}

fn value_that_says_nothing_is_not_sent(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let gold = session.world.publisher().topic("gold");
    let peer = session.open("/script");
    follow(&mut session, peer, "gold", "merge view 2");
    for seq in 1..=6 {
        publish(&session, &gold);
        session.counted("publications", seq, |counters| counters.publications);
        if seq % 2 == 0 {
            assert_eq!(session.heard(peer), format!("gold value {seq}"));
        }
    }
    session.part(peer);
}

fn panic_that_renders_a_value_costs_nobody(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let gold = session.world.publisher().topic("gold");
    let peer = session.open("/script");
    follow(&mut session, peer, "gold", "merge view 3");
    publish(&session, &gold);
    assert_eq!(session.heard(peer), "value 1", "as it was published");
    session.until("it is counted", |world| world.counters().panicked == 1);
    session.part(peer);
}

fn sampled_values_keep_their_rate_and_the_last_arrives(place: &Seed) {
    const STEP_MS: u64 = 10;
    for per_second in [1, 5, 20] {
        let mut session = Session::start(place, Setup::default());
        let gold = session.world.publisher().topic("gold");
        let peer = session.open("/script");
        follow(&mut session, peer, "gold", &per_second.to_string());
        let (mut heard, mut last) = (Vec::new(), 0);
        for step in 0..600 {
            // Three seconds of publications, and then as long nothing.
            if step < 300 {
                publish(&session, &gold);
            }
            session.let_time_pass(Duration::from_millis(STEP_MS));
            while session.has_arrived(peer) {
                last = value(&mut session, peer);
                heard.push(step * STEP_MS);
            }
        }
        assert_eq!(last, 300, "{per_second}: {heard:?}");
        for window in heard.windows(per_second + 1) {
            // What was sent in one step is heard in it or in the next.
            let apart = window[per_second] - window[0];
            assert!(apart + STEP_MS > 1_000, "{per_second} a second: {window:?}");
        }
        assert!(heard.len() >= per_second * 2, "{per_second} a second: {heard:?}");
        session.part(peer);
    }
}
