//! Clients that come back: all that they missed or nothing of it, and no gap and no repetition behind.

use std::thread;
use std::time::Duration;

use tickwire_protocol::Kind;
use tickwire_reactor::{Epoch, Keep, Publisher, Topic};

use crate::application::numbered;
use crate::session::Session;
use crate::world::loopback::Sockets;
use crate::world::simulated::Simulated;
use crate::world::{Loopback, Peer, Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(
    returning_client_gets_all_that_it_missed_and_what_follows,
    what_cannot_be_had_whole_is_lost_whole,
    more_than_half_of_what_may_be_unsent_is_lost,
    kept_topics_stay_until_they_keep_nothing,
    topic_made_anew_has_another_numbering,
    numbering_of_before_can_be_continued,
    resuming_anew_begins_anew,
    several_topics_are_answered_once_and_share_the_room,
);

in_simulation!(clients_that_stall_go_and_return_never_see_a_part);

fn publish(publisher: &Publisher, topic: &Topic, count: u64) {
    for _ in 0..count {
        publisher.publish_with(topic, Kind::Text, |seq, message, _| {
            message.extend(format!("{seq}").bytes());
        });
    }
}

fn kept(publisher: &Publisher, name: &str, messages: usize) -> Topic {
    let topic = publisher.topic(name);
    topic.keep(Keep { messages, bytes: 100_000 });
    topic
}

/// A peer on `/script` that takes up `topic` behind `seq`, and hears `answer`.
fn resume<W: World>(
    session: &mut Session<W>,
    topic: &Topic,
    epoch: Epoch,
    seq: u64,
    answer: &str,
) -> Peer {
    let peer = session.open("/script");
    session.say(peer, &format!("resume {} {epoch}:{seq}", topic.name()));
    assert_eq!(session.heard(peer), answer, "after {seq}");
    peer
}

fn hear<W: World>(session: &mut Session<W>, peer: Peer, numbers: impl Iterator<Item = u64>) {
    for number in numbers {
        assert_eq!(session.heard(peer), format!("{number}"));
    }
}

fn returning_client_gets_all_that_it_missed_and_what_follows(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(2));
    let publisher = session.world.publisher();
    let news = kept(&publisher, "news", 100);
    let (mut seq, epoch) = (0, news.epoch());
    for _ in 0..10 {
        let missed = news.seq() - seq;
        let answer = format!("recovered {missed} to {}", news.seq());
        let peer = resume(&mut session, &news, epoch, seq, &answer);
        hear(&mut session, peer, seq + 1..=seq + missed);
        seq += missed;
        publish(&publisher, &news, 5);
        hear(&mut session, peer, seq + 1..=seq + 5);
        seq += 5;
        session.world.reset(peer);
        publish(&publisher, &news, seq % 40);
    }
}

fn what_cannot_be_had_whole_is_lost_whole(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let news = kept(&publisher, "news", 10);
    publish(&publisher, &news, 50);
    let (epoch, other) = (news.epoch(), Epoch(!news.epoch().0));
    for (epoch, seq, recovered) in [
        (epoch, 50, Some(0)),
        (epoch, 49, Some(1)),
        (epoch, 40, Some(10)),
        (epoch, 39, None),
        (epoch, 0, None),
        (epoch, 51, None),
        (epoch, u64::MAX, None),
        (other, 49, None),
        (other, 50, None),
    ] {
        let last = news.seq();
        let answer = match recovered {
            Some(count) => format!("recovered {count} to {last}"),
            None => format!("lost to {last}"),
        };
        let peer = resume(&mut session, &news, epoch, seq, &answer);
        if recovered.is_some() {
            hear(&mut session, peer, seq + 1..=last);
        }
        // Nothing is between that and what follows.
        session.say(peer, "here");
        assert_eq!(session.heard(peer), "here");
        assert!(news.has_subscribers());
        session.part(peer);
    }
    let never = publisher.topic("never-kept");
    publish(&publisher, &never, 5);
    let peer = resume(&mut session, &never, never.epoch(), 5, "lost to 5");
    publish(&publisher, &never, 1);
    hear(&mut session, peer, 6..=6);
}

fn more_than_half_of_what_may_be_unsent_is_lost(place: &impl Place) {
    let setup = Setup::with_limits(|limits| {
        limits.protocol.message_bytes_max = 1_000;
        limits.unsent_bytes_max = 40_000;
    });
    let mut session = Session::start(place, setup);
    let publisher = session.world.publisher();
    let news = kept(&publisher, "news", 1_000);
    for number in 1..=30 {
        publisher.publish(&news, Kind::Text, numbered(number, 996).as_bytes());
    }
    let peer = resume(&mut session, &news, news.epoch(), 9, "lost to 30");
    session.part(peer);
    // Twenty of a thousand bytes each are just half of what it may have unsent.
    let peer = resume(&mut session, &news, news.epoch(), 10, "recovered 20 to 30");
    for number in 11..=30 {
        assert_eq!(session.heard(peer), numbered(number, 996));
    }
    session.part(peer);
}

fn kept_topics_stay_until_they_keep_nothing(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    publish(&publisher, &kept(&publisher, "news", 10), 5);
    assert_eq!(publisher.topics(), 1);
    let news = publisher.topic("news");
    assert_eq!(news.seq(), 5);
    let peer = resume(&mut session, &news, publisher.epoch(), 3, "recovered 2 to 5");
    hear(&mut session, peer, 4..=5);
    session.part(peer);
    news.keep(Keep { messages: 0, bytes: 0 });
    let peer = resume(&mut session, &news, publisher.epoch(), 3, "lost to 5");
    session.part(peer);
    drop(news);
    session.until("the topic is gone", |_| publisher.topics() == 0);
}

fn topic_made_anew_has_another_numbering(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let mut epochs = std::collections::HashSet::new();
    for _ in 0..10 {
        let news = kept(&publisher, "news", 10);
        let epoch = news.epoch();
        assert!(epochs.insert(epoch), "each numbering has its own epoch");
        publish(&publisher, &news, 5);
        for old in epochs.iter().filter(|old| **old != epoch) {
            let peer = resume(&mut session, &news, *old, 4, "lost to 5");
            session.part(peer);
        }
        news.forget();
        drop(news);
        session.until("the topic is gone", |_| publisher.topics() == 0);
    }
    assert!(epochs.contains(&publisher.epoch()), "the first is the server's");
}

fn numbering_of_before_can_be_continued(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let news = kept(&publisher, "news", 10);
    let epoch = Epoch(7);
    assert!(news.continue_from(epoch, 1_000));
    assert!(!news.continue_from(epoch, 2_000), "it has been");
    assert_eq!((news.seq(), news.epoch()), (1_000, epoch));
    let at_the_end = resume(&mut session, &news, epoch, 1_000, "recovered 0 to 1000");
    let behind = resume(&mut session, &news, epoch, 999, "lost to 1000");
    publish(&publisher, &news, 2);
    for peer in [at_the_end, behind] {
        hear(&mut session, peer, 1_001..=1_002);
    }
    let peer = resume(&mut session, &news, epoch, 1_000, "recovered 2 to 1002");
    hear(&mut session, peer, 1_001..=1_002);
}

fn resuming_anew_begins_anew(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let news = kept(&publisher, "news", 100);
    let epoch = news.epoch();
    let peer = resume(&mut session, &news, epoch, 0, "recovered 0 to 0");
    publish(&publisher, &news, 10);
    hear(&mut session, peer, 1..=10);
    session.say(peer, &format!("resume news {epoch}:7"));
    assert_eq!(session.heard(peer), "recovered 3 to 10");
    publish(&publisher, &news, 1);
    hear(&mut session, peer, 8..=11);
    session.say(peer, "unsubscribe news");
    assert_eq!(session.heard(peer), "unsubscribed true");
}

fn several_topics_are_answered_once_and_share_the_room(place: &impl Place) {
    let setup = Setup::with_limits(|limits| {
        limits.protocol.message_bytes_max = 1_000;
        limits.unsent_bytes_max = 40_000;
    });
    let mut session = Session::start(place, setup);
    let publisher = session.world.publisher();
    let topics = ["one", "two", "three"].map(|name| kept(&publisher, name, 1_000));
    for topic in &topics {
        for number in 1..=20 {
            publisher.publish(topic, Kind::Text, numbered(number, 996).as_bytes());
        }
    }
    let peer = session.open("/script");
    // Ten of a thousand bytes each: there is room for twenty.
    session.say(peer, "resume-all one,two,three 10");
    let answer = "recovered 10 to 20;recovered 10 to 20;lost to 20;";
    assert_eq!(session.heard(peer), answer);
    publisher.publish(&topics[2], Kind::Text, b"behind");
    for _ in 0..2 {
        for number in 11..=20 {
            assert_eq!(session.heard(peer), numbered(number, 996));
        }
    }
    assert_eq!(session.heard(peer), "behind");
    session.part(peer);
}

#[test]
fn clients_that_go_and_return_while_others_publish_miss_nothing() {
    for place in [Some(Loopback::EPOLL), Loopback::io_uring()].into_iter().flatten() {
        go_and_return(Session::start(&place, Setup::default().with_shards(2)));
    }
}

/// A thread publishes without a pause; clients read some of it, go without a word and come back.
fn go_and_return(mut session: Session<Sockets>) {
    let publisher = session.world.publisher();
    let news = kept(&publisher, "news", 20_000);
    news.keep(Keep { messages: 20_000, bytes: 400_000 });
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let (running, epoch) = (news.clone(), news.epoch());
    let running = thread::spawn(move || {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            if publisher.wait_outstanding(2_000, Duration::from_millis(10)).is_ok() {
                publish(&publisher, &running, 10);
            }
        }
    });
    let (mut recovered, mut last) = (0, [0; 3]);
    for round in 0..150 {
        let last = &mut last[round % 3];
        let peer = session.open("/script");
        session.say(peer, &format!("resume news {epoch}:{last}"));
        let answer = session.heard(peer);
        let words: Vec<&str> = answer.split(' ').collect();
        match words[..] {
            ["recovered", count, "to", seq] => {
                let (count, seq): (u64, u64) =
                    (count.parse().expect("a number"), seq.parse().expect("a number"));
                assert_eq!(*last + count, seq, "all of it, or nothing");
                recovered += count;
            }
            ["lost", "to", seq] => *last = seq.parse().expect("a number"),
            _ => panic!("{answer}"),
        }
        // Sometimes it has not even got what it missed when it goes again.
        let heard = 1 + (round as u64 * 37) % 200;
        hear(&mut session, peer, *last + 1..=*last + heard);
        *last += heard;
        session.world.reset(peer);
    }
    drop(stop);
    running.join().expect("the publisher ends");
    assert!(recovered > 0, "nobody ever came back in time");
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("less than a usize")
    }
}

/// A client that remembers the last publication that it has read, whether it is there or not.
#[derive(Clone, Copy, Default)]
struct Client {
    peer: Option<Peer>,
    last: u64,
}

impl Client {
    /// Comes back with what it remembers, or with nonsense; whether it recovers.
    fn come_back(
        &mut self,
        session: &mut Session<Simulated>,
        news: &Topic,
        dice: &mut Dice,
    ) -> bool {
        let from = if dice.below(6) == 0 { dice.below(600) as u64 } else { self.last };
        let peer = session.open("/script");
        session.say(peer, &format!("resume news {}:{from}", news.epoch()));
        let answer = session.heard(peer);
        let seq = answer.rsplit(' ').next().and_then(|seq| seq.parse().ok());
        let seq: u64 = seq.expect("a number");
        let is_recovered = answer.starts_with("recovered ");
        assert!(!is_recovered || from <= seq, "{answer} after {from}");
        self.last = if is_recovered { from } else { seq };
        session.world.set_window(peer, [0, 100, 3_000, usize::MAX][dice.below(4)]);
        self.peer = Some(peer);
        is_recovered
    }

    /// Reads up to `count` publications: those that follow what it remembers.
    fn read(&mut self, session: &mut Session<Simulated>, news: &Topic, count: usize) {
        let Some(peer) = self.peer else { return };
        for _ in 0..count {
            if self.last == news.seq() {
                return;
            }
            let heard = session.heard(peer);
            let is_next = heard.starts_with(&format!("{} ", self.last + 1));
            assert!(is_next, "{heard:.20} after {}", self.last);
            self.last += 1;
        }
    }
}

/// Clients with sockets of every width stall, go without a word and come back. Who is told that it
/// recovers reads on where it stopped; who is told that it does not, behind the number that it is told.
fn clients_that_stall_go_and_return_never_see_a_part(place: &Seed) {
    let setup = Setup::with_limits(|limits| {
        limits.protocol.message_bytes_max = 1_000;
        limits.unsent_bytes_max = 12_000;
    });
    let mut session = Session::start(place, setup.with_shards(2));
    let publisher = session.world.publisher();
    let news = publisher.topic("news");
    news.keep(Keep { messages: 40, bytes: 8_000 });
    let mut dice = Dice(place.0);
    let mut clients = [Client::default(); 4];
    let mut answers = [0; 2];
    for _ in 0..400 {
        let client = &mut clients[dice.below(4)];
        match (client.peer, dice.below(8)) {
            (_, 0..=2) => {
                let bytes = 20 + dice.below(300) as u64;
                for _ in 0..=dice.below(12) {
                    publisher.publish_with(&news, Kind::Text, |seq, message, _| {
                        message.extend(numbered(seq, bytes).bytes());
                    });
                }
            }
            (None, _) => {
                let is_recovered = client.come_back(&mut session, &news, &mut dice);
                answers[usize::from(is_recovered)] += 1;
            }
            (Some(gone), 3) => {
                session.world.reset(gone);
                client.peer = None;
            }
            (Some(peer), _) => {
                session.world.set_window(peer, 400 + dice.below(3_000));
                client.read(&mut session, &news, dice.below(30));
            }
        }
    }
    assert!(answers.iter().all(|count| *count > 0), "{answers:?}");
    for mut client in clients {
        let Some(peer) = client.peer else { continue };
        session.world.set_window(peer, usize::MAX);
        client.read(&mut session, &news, usize::MAX);
        session.part(peer);
    }
}
