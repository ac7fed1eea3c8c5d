//! How long publications took inside: counted once each by class and shard, at their true size.

use std::time::Duration;

use tickwire_protocol::Kind;
use tickwire_reactor::{Histogram, TooManyClasses, Topic};

use crate::session::Session;
use crate::world::{Peer, Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(each_publication_is_counted_once_for_each_shard_and_class);

in_simulation!(
    a_delay_has_its_size_where_it_was,
    those_who_lag_do_not_spoil_the_figure_of_the_others,
    a_batch_is_as_old_as_its_first_publication,
    what_is_given_up_for_a_connection_is_settled,
);

fn subscribe<W: World>(session: &mut Session<W>, peer: Peer, topic: &str) {
    session.say(peer, &format!("subscribe {topic}"));
    assert_eq!(session.heard(peer), "subscribed after 0");
}

/// Sent and settled of a class, over all shards.
fn of_class(world: &impl World, class: &str) -> (Histogram, Histogram) {
    let latencies = world.latencies();
    let mut of_class = latencies.iter().filter(|latency| latency.class == class);
    let first = of_class.next().expect("the class is there");
    of_class.fold((first.sent.clone(), first.settled.clone()), |(sent, settled), more| {
        (sent.plus(&more.sent), settled.plus(&more.settled))
    })
}

fn each_publication_is_counted_once_for_each_shard_and_class(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(2));
    let publisher = session.world.publisher();
    let [news, quotes, unheard] = ["news", "quotes", "unheard"].map(|name| publisher.topic(name));
    publisher.set_class(&quotes, "quotes").expect("room for a class");
    publisher.set_class(&unheard, "quotes").expect("it is there");
    let peers: Vec<Peer> = (0..4).map(|_| session.open("/script")).collect();
    for peer in &peers {
        subscribe(&mut session, *peer, "news");
        subscribe(&mut session, *peer, "quotes");
    }
    let is_used = |shard: &tickwire_reactor::Counters| u64::from(shard.connections_now > 0);
    let shards = session.world.metrics().shards.iter().map(is_used).sum::<u64>();
    for number in 1..=30_u64 {
        let topic = if number % 3 == 0 { &quotes } else { &news };
        publisher.publish(topic, Kind::Text, b"x");
        publisher.publish(&unheard, Kind::Text, b"x");
        // One after the other, so that nobody lags where the simulated network takes less.
        for peer in &peers {
            assert_eq!(session.heard(*peer), "x");
        }
    }
    for (class, count) in [("default", 20), ("quotes", 10)] {
        let count = count * shards;
        session.until("all is settled", |world| of_class(world, class).1.count() >= count);
        let (sent, settled) = of_class(&session.world, class);
        assert_eq!((sent.count(), settled.count()), (count, count), "{class}");
    }
    for number in 0..14 {
        assert_eq!(publisher.set_class(&news, &format!("{number}")), Ok(()));
    }
    assert_eq!(publisher.set_class(&news, "one too many"), Err(TooManyClasses));
    assert_eq!(publisher.set_class(&news, "quotes"), Ok(()));
    peers.into_iter().for_each(|peer| session.part(peer));
}

const MS: Duration = Duration::from_millis(1);

fn published(session: &Session<crate::world::simulated::Simulated>, topic: &Topic) {
    session.world.publisher().publish(topic, Kind::Text, &[b'x'; 1_000]);
}

fn a_delay_has_its_size_where_it_was(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let news = session.world.publisher().topic("news");
    let peer = session.open("/script");
    subscribe(&mut session, peer, "news");
    published(&session, &news);
    // The shard sleeps, or is busy with something else.
    session.world.simulation.advance(50 * MS);
    session.world.settle();
    let (sent, settled) = of_class(&session.world, "default");
    assert_eq!((sent.count(), sent.sum()), (1, 50 * MS));
    assert_eq!((settled.count(), settled.sum()), (1, 50 * MS));
    let p50 = sent.quantile(0.5).expect("one was counted");
    assert!(p50 >= 50 * MS && p50 <= 75 * MS, "{p50:?}");
    assert_eq!(session.heard(peer).len(), 1_000);
    session.part(peer);
}

fn those_who_lag_do_not_spoil_the_figure_of_the_others(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let news = session.world.publisher().topic("news");
    let [prompt, slow] = [(); 2].map(|()| session.open("/script"));
    subscribe(&mut session, prompt, "news");
    subscribe(&mut session, slow, "news");
    session.world.set_window(slow, 100);
    for count in 1..=3 {
        published(&session, &news);
        assert_eq!(session.heard(prompt).len(), 1_000);
        let (sent, settled) = of_class(&session.world, "default");
        assert_eq!((sent.count(), sent.sum()), (count, Duration::ZERO));
        assert!(settled.count() < 2, "{settled:?}");
        session.world.advance(50 * MS);
    }
    session.world.set_window(slow, 64 * 1024);
    for _ in 0..3 {
        assert_eq!(session.heard(slow).len(), 1_000);
    }
    session.world.settle();
    let (sent, settled) = of_class(&session.world, "default");
    assert_eq!((sent.count(), sent.sum()), (3, Duration::ZERO));
    assert_eq!(settled.count(), 3);
    // The rest of a frame that was cut is the connection's own: the publication counts as given.
    let waited = settled.sum();
    assert!(waited == 150 * MS || waited == 300 * MS, "{waited:?}");
    session.part(prompt);
    session.part(slow);
}

fn a_batch_is_as_old_as_its_first_publication(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let news = publisher.topic("news");
    let peer = session.open("/script");
    subscribe(&mut session, peer, "news");
    let batch = publisher.batch();
    for _ in 0..40 {
        batch.publish_with(&news, Kind::Text, |_, message, _| message.push(b'x'));
        session.world.simulation.advance(MS);
    }
    drop(batch);
    session.world.settle();
    let (sent, _) = of_class(&session.world, "default");
    // 32 of them are dated by the first, 40 ms ago, the others by the 33rd, 8 ms ago.
    assert_eq!((sent.count(), sent.sum()), (40, 32 * 40 * MS + 8 * 8 * MS));
    for _ in 0..40 {
        assert_eq!(session.heard(peer), "x");
    }
    session.part(peer);
}

fn what_is_given_up_for_a_connection_is_settled(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let news = session.world.publisher().topic("news");
    let peer = session.open("/script");
    subscribe(&mut session, peer, "news");
    session.world.set_window(peer, 100);
    for _ in 0..3 {
        published(&session, &news);
        session.world.settle();
    }
    session.world.advance(20 * MS);
    assert!(of_class(&session.world, "default").1.count() < 3);
    session.world.reset(peer);
    session.world.settle();
    published(&session, &news);
    session.world.settle();
    assert_eq!(of_class(&session.world, "default").1.count(), 3, "the last was for nobody");
}
