//! Publications: each once, in order, to every subscriber of every shard, however many publish.

use std::thread;
use std::time::Duration;

use tickwire_protocol::{CloseCode, Kind};
use tickwire_reactor::{Ended, Publisher, Topic};

use crate::application::Entry;
use crate::session::Session;
use crate::wire;
use crate::world::loopback::Sockets;
use crate::world::{
    Loopback, PATIENCE, Peer, Place, Seed, Setup, World, in_each_world, in_simulation,
};

in_each_world!(
    every_subscriber_of_every_shard_gets_every_publication_in_order,
    topics_are_separate_and_share_one_order,
    retained_value_comes_first_and_then_what_follows_it,
    subscribing_anew_begins_anew,
    nothing_of_a_topic_comes_after_unsubscribing,
    handlers_publish_to_all_shards,
    handler_can_publish_to_all_but_its_own_connection,
    topic_without_subscribers_is_counted_and_retained,
    topic_is_gone_with_its_last_subscriber,
    topics_that_come_and_go_leave_nothing,
    batch_is_delivered_whole,
    publication_that_panics_was_never_published,
    message_to_one_connection_reaches_only_that,
    stalled_subscriber_does_not_hold_up_others,
    lagging_subscriber_catches_up,
    overrun_subscriber_is_closed_with_1008,
    overrun_subscriber_that_skips_goes_on,
    those_who_lag_can_be_closed,
    those_who_lag_can_be_left_behind,
);

in_simulation!(full_mailbox_is_told_to_a_handler);

/// Cases with threads that publish while others subscribe: only real shards run beside them.
mod with_threads {
    macro_rules! tests {
        ($($case:ident),+ $(,)?) => {
            $(#[test]
            fn $case() {
                super::on_each(super::$case, Setup::default().with_shards(3));
            })+
        };
    }
    use super::Setup;

    tests!(
        publications_of_many_threads_have_one_order_for_all,
        subscription_misses_nothing_and_repeats_nothing_while_others_publish,
        connections_come_and_go_while_others_publish,
        waiting_for_deliveries_ends_when_all_is_delivered,
    );

    #[test]
    fn full_mailbox_makes_publishers_wait_and_loses_nothing() {
        let setup = Setup::with_limits(|limits| limits.mailbox_letters_max = 2).with_shards(2);
        super::on_each(super::publications_of_many_threads_have_one_order_for_all, setup);
    }
}

/// Runs a case on each back end of real shards.
fn on_each(case: impl Fn(Session<Sockets>), setup: Setup) {
    for place in [Some(Loopback::EPOLL), Loopback::io_uring()].into_iter().flatten() {
        case(Session::start(&place, setup));
    }
}

fn publish(publisher: &Publisher, topic: &Topic, text: &str) -> u64 {
    publisher.publish(topic, Kind::Text, text.as_bytes())
}

/// Subscribes a peer on `/script`; the sequence number that it begins behind.
pub(crate) fn subscribe<W: World>(session: &mut Session<W>, peer: Peer, topic: &str) -> u64 {
    session.say(peer, &format!("subscribe {topic}"));
    let answer = session.heard(peer);
    let after = answer.strip_prefix("subscribed after ").unwrap_or_else(|| panic!("{answer}"));
    after.parse().expect("a number")
}

/// So many peers on `/script` that each shard has some, all subscribed to `topic`.
fn subscribers<W: World>(session: &mut Session<W>, count: usize, topic: &str) -> Vec<Peer> {
    let peers: Vec<Peer> = (0..count).map(|_| session.open("/script")).collect();
    for peer in &peers {
        assert_eq!(subscribe(session, *peer, topic), 0);
    }
    peers
}

fn every_subscriber_of_every_shard_gets_every_publication_in_order(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(3));
    let peers = subscribers(&mut session, 12, "news");
    let publisher = session.world.publisher();
    let news = publisher.topic("news");
    for number in 1..=500 {
        assert_eq!(publish(&publisher, &news, &format!("{number}")), number);
        if number % 50 == 0 {
            // So that turns take publications in between, not all at once.
            assert_eq!(session.heard(peers[0]), format!("{}", number / 50));
        }
    }
    for (index, peer) in peers.iter().enumerate() {
        for number in if index == 0 { 11 } else { 1 }..=500 {
            assert_eq!(session.heard(*peer), format!("{number}"));
        }
        session.part(*peer);
    }
    assert_eq!(news.seq(), 500);
    assert!(!news.has_subscribers());
}

fn topics_are_separate_and_share_one_order(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let topics: Vec<Topic> = (0..5).map(|index| publisher.topic(&format!("t{index}"))).collect();
    let peers: Vec<Peer> = (0..5).map(|_| session.open("/script")).collect();
    for (index, peer) in peers.iter().enumerate() {
        for topic in topics.iter().take(index + 1) {
            subscribe(&mut session, *peer, topic.name());
        }
    }
    for number in 0..200 {
        let topic = &topics[number * 7 % 5];
        publish(&publisher, topic, &format!("{} {number}", topic.name()));
    }
    for (index, peer) in peers.iter().enumerate() {
        for number in (0..200).filter(|number| number * 7 % 5 <= index) {
            assert_eq!(session.heard(*peer), format!("t{} {number}", number * 7 % 5));
        }
        session.part(*peer);
    }
    assert_eq!(publisher.topic("t0"), topics[0]);
}

fn retained_value_comes_first_and_then_what_follows_it(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(2));
    let publisher = session.world.publisher();
    let price = publisher.topic("price");
    publisher.retain_with(&price, Kind::Text, |seq, value| {
        value.extend(format!("value as of {seq}").bytes());
    });
    for last in 0..20 {
        let peer = session.open("/script");
        assert_eq!(subscribe(&mut session, peer, "price"), last);
        assert_eq!(session.heard(peer), format!("value as of {last}"));
        let write = |seq: u64, message: &mut Vec<u8>, value: &mut Vec<u8>| {
            message.extend(format!("change {seq}").bytes());
            value.extend(format!("value as of {seq}").bytes());
        };
        assert_eq!(publisher.publish_with(&price, Kind::Text, write), last + 1);
        assert_eq!(session.heard(peer), format!("change {}", last + 1));
    }
    // A publication without a value leaves the one that is retained.
    publish(&publisher, &price, "change 21");
    let peer = session.open("/script");
    assert_eq!(subscribe(&mut session, peer, "price"), 21);
    assert_eq!(session.heard(peer), "value as of 20");
}

fn subscribing_anew_begins_anew(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peers = subscribers(&mut session, 1, "news");
    let publisher = session.world.publisher();
    let news = publisher.topic("news");
    let mut expected = 0;
    for round in 0..50 {
        publish(&publisher, &news, &format!("{}", 2 * round + 1));
        publish(&publisher, &news, &format!("{}", 2 * round + 2));
        session.say(peers[0], "subscribe news");
        // What comes before the answer is of the old subscription, what comes behind of the new.
        loop {
            let heard = session.heard(peers[0]);
            if let Some(after) = heard.strip_prefix("subscribed after ") {
                let after: u64 = after.parse().expect("a number");
                assert!(after >= expected, "{after} comes again after {expected}");
                expected = after;
                break;
            }
            expected += 1;
            assert_eq!(heard, format!("{expected}"));
        }
    }
    publish(&publisher, &news, "101");
    for number in expected + 1..=101 {
        assert_eq!(session.heard(peers[0]), format!("{number}"));
    }
    session.part(peers[0]);
}

fn nothing_of_a_topic_comes_after_unsubscribing(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let (news, rest) = (publisher.topic("news"), publisher.topic("rest"));
    let peer = session.open("/script");
    for round in 0..50 {
        subscribe(&mut session, peer, "news");
        subscribe(&mut session, peer, "rest");
        for _ in 0..5 {
            publish(&publisher, &news, "news");
            publish(&publisher, &rest, "rest");
        }
        session.say(peer, "unsubscribe news");
        for _ in 0..5 {
            publish(&publisher, &news, "news");
        }
        publish(&publisher, &rest, "end");
        let mut unsubscribed = false;
        loop {
            let heard = session.heard(peer);
            match &*heard {
                "news" => assert!(!unsubscribed, "round {round}"),
                "unsubscribed true" => unsubscribed = true,
                "end" => break,
                other => assert_eq!(other, "rest"),
            }
        }
        if !unsubscribed {
            // The publications were faster than the word; nothing may come behind its answer.
            while session.heard(peer) != "unsubscribed true" {}
        }
        assert!(!news.has_subscribers());
        session.say(peer, "unsubscribe news");
        assert_eq!(session.heard(peer), "unsubscribed false");
        session.say(peer, "unsubscribe rest");
        assert_eq!(session.heard(peer), "unsubscribed true");
    }
    session.part(peer);
}

fn handlers_publish_to_all_shards(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(3));
    let peers = subscribers(&mut session, 9, "chat");
    for (index, peer) in peers.iter().enumerate() {
        session.say(*peer, &format!("publish chat from {index}"));
        let answer = format!("published Ok({})", index + 1);
        // The answer is this connection's own, so it may be before or behind the publication.
        let both = [session.heard(*peer), session.heard(*peer)];
        assert!(both.contains(&answer), "{both:?}");
        assert!(both.contains(&format!("from {index}")), "{both:?}");
        for other in peers.iter().filter(|other| *other != peer) {
            assert_eq!(session.heard(*other), format!("from {index}"));
        }
    }
}

fn handler_can_publish_to_all_but_its_own_connection(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(2));
    let peers = subscribers(&mut session, 6, "chat");
    for (index, peer) in peers.iter().enumerate() {
        session.say(*peer, &format!("tell-others chat from {index}"));
        assert_eq!(session.heard(*peer), format!("told Ok({})", index + 1));
        for other in peers.iter().filter(|other| *other != peer) {
            assert_eq!(session.heard(*other), format!("from {index}"));
        }
    }
    // Nobody heard its own: nothing is left but the answer to the Close.
    for peer in peers {
        session.part(peer);
    }
}

fn topic_without_subscribers_is_counted_and_retained(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let topic = publisher.topic("quiet");
    for number in 1..=10 {
        let seq = publisher.publish_with(&topic, Kind::Text, |seq, _, value| {
            value.extend(format!("{seq}").bytes());
        });
        assert_eq!(seq, number);
    }
    assert_eq!(publisher.outstanding(), 0, "a shard without a subscriber is not written to");
    let peer = session.open("/script");
    assert_eq!(subscribe(&mut session, peer, "quiet"), 10);
    assert_eq!(session.heard(peer), "10");
    session.part(peer);
    session.counted("publications", 0, |counters| counters.publications);
}

fn topic_is_gone_with_its_last_subscriber(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(2));
    let publisher = session.world.publisher();
    for round in 1..=10 {
        let peers = subscribers(&mut session, 4, "news");
        assert_eq!(publisher.topics(), 1);
        assert_eq!(publish(&publisher, &publisher.topic("news"), "1"), 1, "round {round}");
        assert_eq!(publish(&publisher, &publisher.topic("news"), "2"), 2, "subscribers keep it");
        for (index, peer) in peers.into_iter().enumerate() {
            assert_eq!(session.heard(peer), "1");
            assert_eq!(session.heard(peer), "2");
            match index % 3 {
                0 => session.world.reset(peer),
                1 => session.part(peer),
                _ => {
                    session.say(peer, "unsubscribe news");
                    assert_eq!(session.heard(peer), "unsubscribed true");
                }
            }
        }
        session.until("the topic is gone", |_| publisher.topics() == 0);
    }
}

fn topics_that_come_and_go_leave_nothing(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let peers = subscribers(&mut session, 1, "news");
    for round in 0..20 {
        session.say(peers[0], &format!("ephemeral {} {round}", 500));
        assert_eq!(session.heard(peers[0]), "ephemeral 500");
        session.until("one topic is left", |_| publisher.topics() == 1);
    }
    session.part(peers[0]);
    // The publications of all were on their way when their topics were left.
    session.counted("publications", 20 * 500, |counters| counters.publications);
}

fn batch_is_delivered_whole(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(2));
    let peers = subscribers(&mut session, 4, "news");
    let publisher = session.world.publisher();
    let news = publisher.topic("news");
    for round in 0..10 {
        let batch = publisher.batch();
        for number in 0..100 {
            batch.publish_with(&news, Kind::Text, |_, message, _| {
                message.extend(format!("{}", round * 100 + number).bytes());
            });
        }
        drop(batch);
    }
    for peer in peers {
        for number in 0..1_000 {
            assert_eq!(session.heard(peer), format!("{number}"));
        }
    }
}

fn publication_that_panics_was_never_published(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peers = subscribers(&mut session, 1, "news");
    let publisher = session.world.publisher();
    let news = publisher.topic("news");
    let panics = std::panic::AssertUnwindSafe(|| {
        publisher.publish_with(&news, Kind::Text, |_, message, _| {
            message.extend(b"half of it");
            panic!("asked for");
        })
    });
    assert!(std::panic::catch_unwind(panics).is_err());
    assert_eq!(publish(&publisher, &news, "the first"), 1);
    assert_eq!(session.heard(peers[0]), "the first");
    session.until("all is delivered", |_| publisher.outstanding() == 0);
}

fn message_to_one_connection_reaches_only_that(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(2));
    let publisher = session.world.publisher();
    let mut peers = Vec::new();
    for _ in 0..6 {
        let peer = session.open("/echo");
        peers.push((peer, session.last_id()));
    }
    for (_, id) in &peers {
        publisher.send(*id, Kind::Text, format!("to {id}").as_bytes());
    }
    for (peer, id) in peers {
        assert_eq!(session.heard(peer), format!("to {id}"));
        session.part(peer);
        publisher.send(id, Kind::Text, b"nobody hears this");
    }
}

/// A peer on `path` that is subscribed to `topic` and does not read from now on.
pub(crate) fn stalled<W: World>(session: &mut Session<W>, path: &str, topic: &str) -> Peer {
    let peer = session.connect_narrow();
    session.upgrade(peer, path);
    subscribe(session, peer, topic);
    peer
}

/// Publishes until a subscriber lags by at least 50 publications, while `readers` take theirs; how
/// many were published.
fn publish_until_lagging<W: World>(
    session: &mut Session<W>,
    topic: &Topic,
    readers: &[Peer],
) -> u64 {
    let publisher = session.world.publisher();
    let mut count = 0;
    while session.world.counters().retained_now < 50 {
        assert!(count < 100_000, "a narrow socket takes less");
        for _ in 0..10 {
            count += 1;
            publish(&publisher, topic, &crate::application::numbered(count, 1_000));
        }
        session.counted("publications", count, |counters| counters.publications);
        for reader in readers {
            for number in count - 9..=count {
                assert_eq!(session.heard(*reader), crate::application::numbered(number, 1_000));
            }
        }
    }
    count
}

fn stalled_subscriber_does_not_hold_up_others(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let news = session.world.publisher().topic("news");
    stalled(&mut session, "/script", "news");
    let peer = session.open("/script");
    subscribe(&mut session, peer, "news");
    publish_until_lagging(&mut session, &news, &[peer]);
    assert!(session.world.publisher().outstanding() >= 50);
    session.part(peer);
}

fn lagging_subscriber_catches_up(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let news = session.world.publisher().topic("news");
    let peer = stalled(&mut session, "/script", "news");
    let count = publish_until_lagging(&mut session, &news, &[]);
    for number in 1..=count {
        assert_eq!(session.heard(peer), crate::application::numbered(number, 1_000));
    }
    // The counters are those of a turn that has ended, and may be behind what has been heard.
    session.until("nobody lags", |world| world.counters().lagging_now == 0);
    session.until("nothing is retained", |world| world.counters().retained_now == 0);
    publish(&session.world.publisher(), &news, "and on");
    assert_eq!(session.heard(peer), "and on");
    session.part(peer);
}

/// Takes publications, which must follow each other, until something else: the last number, and that.
fn numbers<W: World>(session: &mut Session<W>, peer: Peer, after: u64) -> (u64, wire::Frame) {
    let mut last = after;
    loop {
        let frame = session.frame(peer);
        let next = crate::application::numbered(last + 1, 1_000);
        if frame.payload != next.as_bytes() {
            return (last, frame);
        }
        last += 1;
    }
}

fn overrun_subscriber_is_closed_with_1008(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.log_entries_max = 100);
    let mut session = Session::start(place, setup);
    let publisher = session.world.publisher();
    let news = publisher.topic("news");
    let peer = stalled(&mut session, "/script", "news");
    let mut count = 0;
    while session.world.counters().overruns == 0 {
        count += 1;
        assert!(count < 100_000, "a narrow socket takes less");
        publish(&publisher, &news, &crate::application::numbered(count, 1_000));
        session.counted("publications", count, |counters| counters.publications);
        assert!(session.world.counters().retained_now <= 100);
    }
    let (_, close) = numbers(&mut session, peer, 0);
    assert_eq!((close.first, &*close.payload), (wire::CLOSE, &b"\x03\xf0slow consumer"[..]));
    session.send(peer, &wire::close(1008, ""));
    session.ended(peer);
    let ended = session.world.journal().closed();
    assert_eq!(ended, [Ended::ByUs(CloseCode::POLICY_VIOLATION)]);
    assert!(!news.has_subscribers());
}

fn overrun_subscriber_that_skips_goes_on(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.log_bytes_max = 50_000);
    let mut session = Session::start(place, setup);
    let publisher = session.world.publisher();
    let news = publisher.topic("news");
    let peer = stalled(&mut session, "/skip", "news");
    let mut count = 0;
    while session.world.counters().overruns == 0 {
        count += 1;
        assert!(count < 100_000, "a narrow socket takes less");
        publish(&publisher, &news, &crate::application::numbered(count, 1_000));
        session.counted("publications", count, |counters| counters.publications);
    }
    let (before, note) = numbers(&mut session, peer, 0);
    assert_eq!(note.payload, b"skipped");
    for number in count + 1..=count + 10 {
        publish(&publisher, &news, &crate::application::numbered(number, 1_000));
    }
    let mut first = session.heard(peer);
    let mut gap = before;
    while first != crate::application::numbered(gap + 1, 1_000) {
        gap += 1;
        assert!(gap < count + 10, "{first} is no publication");
    }
    assert!(gap > before, "something was skipped");
    for number in gap + 2..=count + 10 {
        first = session.heard(peer);
        assert_eq!(first, crate::application::numbered(number, 1_000));
    }
    session.part(peer);
}

fn those_who_lag_can_be_closed(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let news = publisher.topic("news");
    let deaf = stalled(&mut session, "/script", "news");
    let peer = session.open("/script");
    subscribe(&mut session, peer, "news");
    publish_until_lagging(&mut session, &news, &[peer]);
    let late = publisher.wait_outstanding(10, Duration::ZERO).expect_err("one peer does not read");
    assert!(late.outstanding >= 50);
    publisher.close_lagging(u64::MAX - 1);
    publisher.close_lagging(10);
    session.until("all is delivered", |_| publisher.outstanding() == 0);
    assert_eq!(publisher.wait_outstanding(0, Duration::ZERO), Ok(()));
    let (_, close) = numbers(&mut session, deaf, 0);
    assert_eq!(&close.payload[..2], &1008_u16.to_be_bytes()[..]);
    let lagged = |entry: &&Entry| matches!(entry, Entry::Lagged(_));
    assert_eq!(session.world.journal().entries().iter().filter(lagged).count(), 1);
    session.part(peer);
}

fn those_who_lag_can_be_left_behind(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let news = publisher.topic("news");
    let deaf = stalled(&mut session, "/skip", "news");
    let peer = session.open("/script");
    subscribe(&mut session, peer, "news");
    let count = publish_until_lagging(&mut session, &news, &[peer]);
    assert!(publisher.outstanding() >= 50, "somebody does not read");
    publisher.close_lagging(10);
    session.until("nobody waits for it", |_| publisher.outstanding() == 0);
    publish(&publisher, &news, "more");
    assert_eq!(session.heard(peer), "more");
    session.until("nobody waits for it yet", |_| publisher.outstanding() == 0);
    // It reads again, and nothing was left out.
    let (before, note) = numbers(&mut session, deaf, 0);
    assert_eq!(note.payload, b"skipped");
    let (last, more) = numbers(&mut session, deaf, before);
    assert_eq!((last, &*more.payload), (count, &b"more"[..]));
    // Whoever has caught up counts again.
    session.until("it has caught up", |world| world.counters().lagging_now == 0);
    let mut again = 0;
    while publisher.outstanding() < 50 {
        again += 1;
        assert!(again < 100_000, "a narrow socket takes less");
        publish(&publisher, &news, &crate::application::numbered(again, 1_000));
        assert_eq!(session.heard(peer), crate::application::numbered(again, 1_000));
    }
    session.part(peer);
}

fn full_mailbox_is_told_to_a_handler(place: &Seed) {
    let setup = Setup::with_limits(|limits| limits.mailbox_letters_max = 2);
    let mut session = Session::start(place, setup);
    let publisher = session.world.publisher();
    let news = publisher.topic("news");
    let peer = subscribers(&mut session, 1, "news")[0];
    let mut refused = 0;
    for round in 0..50 {
        // The word comes in whole in the turn that has not taken its mail yet, or in pieces later.
        session.say(peer, "publish news 3");
        publish(&publisher, &news, "1");
        publish(&publisher, &news, "2");
        let mut heard: Vec<_> = (0..3).map(|_| session.heard(peer)).collect();
        if heard.iter().any(|text| text == "published Err(Full)") {
            refused += 1;
        } else {
            heard.push(session.heard(peer));
            assert!(heard.contains(&format!("published Ok({})", news.seq())), "{round}: {heard:?}");
            assert!(heard.contains(&"3".to_owned()), "{round}: {heard:?}");
        }
        let order: Vec<_> = heard.iter().filter(|text| !text.starts_with("published")).collect();
        assert!(order.is_sorted(), "{round}: {heard:?}");
        assert_eq!(order.len(), heard.len() - 1, "{round}: {heard:?}");
    }
    assert!(0 < refused && refused < 50, "{refused} of 50");
    session.part(peer);
}

fn publications_of_many_threads_have_one_order_for_all(mut session: Session<Sockets>) {
    const THREADS: usize = 4;
    const EACH: usize = 500;
    let peers = subscribers(&mut session, 8, "news");
    let publishers: Vec<_> = (0..THREADS)
        .map(|name| {
            let publisher = session.world.publisher();
            thread::spawn(move || {
                let news = publisher.topic("news");
                for number in 0..EACH {
                    publisher.publish_with(&news, Kind::Text, |seq, message, _| {
                        message.extend(format!("{seq} {name} {number}").bytes());
                    });
                }
            })
        })
        .collect();
    let first: Vec<String> = (0..THREADS * EACH).map(|_| session.heard(peers[0])).collect();
    let mut next = [0; THREADS];
    for (seq, heard) in first.iter().enumerate() {
        let words: Vec<usize> =
            heard.split(' ').map(|word| word.parse().expect("number")).collect();
        assert_eq!(words[0], seq + 1, "publications are delivered in the order of their numbers");
        assert_eq!(words[2], next[words[1]], "each thread's own order is kept");
        next[words[1]] += 1;
    }
    for peer in &peers[1..] {
        for expected in &first {
            assert_eq!(session.heard(*peer), *expected);
        }
    }
    for publisher in publishers {
        publisher.join().expect("a publisher ends");
    }
}

/// A thread that publishes until it is told to stop, never so fast that a subscriber that reads
/// falls out of the log, and says how far it came.
fn publish_beside(publisher: Publisher) -> (std::sync::mpsc::Sender<()>, thread::JoinHandle<u64>) {
    let (stop, stopped) = std::sync::mpsc::channel();
    let running = thread::spawn(move || {
        let news = publisher.topic("news");
        let mut last = 0;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            if publisher.wait_outstanding(5_000, Duration::from_millis(10)).is_err() {
                continue;
            }
            last = publisher.publish_with(&news, Kind::Text, |seq, message, value| {
                message.extend(format!("{seq}").bytes());
                value.extend(format!("as of {seq}").bytes());
            });
        }
        last
    });
    (stop, running)
}

fn subscription_misses_nothing_and_repeats_nothing_while_others_publish(
    mut session: Session<Sockets>,
) {
    let peer = session.open("/script");
    let (stop, running) = publish_beside(session.world.publisher());
    let mut last = 0;
    for _ in 0..200 {
        session.say(peer, "subscribe news");
        // The rest of the subscription before.
        let mut heard = session.heard(peer);
        while !heard.starts_with("subscribed") {
            last += 1;
            assert_eq!(heard, format!("{last}"));
            heard = session.heard(peer);
        }
        let after = heard.strip_prefix("subscribed after ").expect("the answer");
        let after: u64 = after.parse().expect("a number");
        assert!(after >= last, "{after} comes again after {last}");
        last = after;
        if last > 0 {
            assert_eq!(session.heard(peer), format!("as of {last}"));
        }
    }
    drop(stop);
    let end = running.join().expect("the publisher ends");
    for number in last + 1..=end {
        assert_eq!(session.heard(peer), format!("{number}"));
    }
}

fn connections_come_and_go_while_others_publish(mut session: Session<Sockets>) {
    let (stop, running) = publish_beside(session.world.publisher());
    for round in 0..100 {
        let peer = session.open("/script");
        session.say(peer, "subscribe news");
        let after: u64 =
            session.heard(peer).trim_start_matches("subscribed after ").parse().expect("a number");
        let skip = u64::from(after > 0);
        for number in 0..5 + skip {
            let heard = session.heard(peer);
            if number >= skip {
                assert_eq!(heard, format!("{}", after + number + 1 - skip), "round {round}");
            }
        }
        session.world.reset(peer);
    }
    drop(stop);
    running.join().expect("the publisher ends");
    let news = session.world.publisher().topic("news");
    session.until("nobody is subscribed", |_| !news.has_subscribers());
}

fn waiting_for_deliveries_ends_when_all_is_delivered(mut session: Session<Sockets>) {
    let peers = subscribers(&mut session, 4, "news");
    let publisher = session.world.publisher();
    let news = publisher.topic("news");
    for round in 0..50 {
        for _ in 0..20 {
            publish(&publisher, &news, "news");
        }
        assert_eq!(publisher.wait_outstanding(0, PATIENCE), Ok(()), "round {round}");
    }
    for peer in peers {
        for _ in 0..1_000 {
            assert_eq!(session.heard(peer), "news");
        }
    }
}
