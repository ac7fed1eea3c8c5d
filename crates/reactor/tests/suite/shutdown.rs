//! The end of a server: last words, Close 1001 to all, then nothing is left.

use std::time::Duration;

use tickwire_protocol::{CloseCode, Kind};
use tickwire_reactor::{Balance, Ended};

use crate::application::numbered;
use crate::session::Session;
use crate::wire;
use crate::world::{Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(
    every_peer_hears_the_last_words_and_1001,
    server_without_connections_ends_at_once,
    request_that_is_not_whole_ends_with_the_server,
    shutdown_twice_is_one_shutdown,
    what_was_published_before_the_shutdown_still_leaves,
    nobody_waits_for_a_server_that_has_ended,
    request_that_comes_whole_after_the_shutdown_began_is_answered_and_closed,
    shutdown_at_once_closes_all_and_waits_for_nobody,
    shutdown_at_once_ends_one_that_waits,
);

in_simulation!(
    connections_are_told_one_after_the_other_and_served_until_then,
    shutdown_that_is_asked_for_again_takes_the_sooner_end,
    every_connection_that_was_accepted_before_the_end_is_answered,
    peers_that_never_answer_hold_up_the_shutdown_no_longer_than_its_timeout,
    peer_that_reads_nothing_holds_up_the_shutdown_no_longer_than_its_timeout,
    last_words_behind_many_publications_are_not_too_much_unsent,
);

fn every_peer_hears_the_last_words_and_1001(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(2));
    let peers: Vec<_> = (0..10).map(|_| session.open("/echo")).collect();
    session.world.shutdown();
    for peer in &peers {
        assert_eq!(session.heard(*peer), "goodbye");
        assert_eq!(session.closed(*peer), (1001, "the server shuts down".to_owned()));
    }
    assert!(!session.world.is_over(), "it awaits the answers");
    for peer in &peers {
        session.send(*peer, &wire::close(1001, ""));
        session.ended(*peer);
    }
    session.until("it is over", World::is_over);
    let closed = session.world.journal().closed();
    assert_eq!(closed, [Ended::ByUs(CloseCode::GOING_AWAY); 10]);
}

fn last_words_behind_many_publications_are_not_too_much_unsent(place: &Seed) {
    let setup = Setup::with_limits(|limits| {
        limits.protocol.message_bytes_max = 1_024;
        limits.unsent_bytes_max = 4_096;
    });
    let mut session = Session::start(place, setup);
    let peer = session.open("/script");
    session.say(peer, "subscribe gold");
    assert_eq!(session.heard(peer), "subscribed after 0");
    session.world.set_window(peer, 0);
    let publisher = session.world.publisher();
    let topic = publisher.topic("gold");
    for number in 0..10 {
        publisher.publish(&topic, Kind::Text, numbered(number, 1_000).as_bytes());
        session.world.settle();
    }
    session.world.shutdown();
    session.world.settle();
    session.world.set_window(peer, usize::MAX);
    for number in 0..10 {
        assert_eq!(session.heard(peer), numbered(number, 1_000));
    }
    assert_eq!(session.heard(peer), "goodbye");
    assert_eq!(session.closed(peer), (1001, "the server shuts down".to_owned()));
}

fn server_without_connections_ends_at_once(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(3));
    session.world.shutdown();
    session.until("it is over", World::is_over);
}

fn request_that_is_not_whole_ends_with_the_server(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.connect();
    session.send(peer, b"GET / HTTP/1.1\r\n");
    session.delivered();
    session.world.shutdown();
    session.world.let_time_pass(Duration::from_millis(1_100));
    session.ended(peer);
    session.until("it is over", World::is_over);
    session.counted("connections dropped", 0, |counters| counters.cut);
}

fn request_that_comes_whole_after_the_shutdown_began_is_answered_and_closed(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let (socket, page) = (session.connect(), session.connect());
    session.counted("accepted", 2, |counters| counters.accepted);
    session.world.shutdown();
    // Both at once: the second that they have may pass while a busy machine does something else.
    session.send(page, b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n");
    session.upgrade(socket, "/echo");
    assert_eq!(session.heard(socket), "goodbye");
    assert_eq!(session.closed(socket), (1001, "the server shuts down".to_owned()));
    session.send(socket, &wire::close(1001, ""));
    session.ended(socket);
    assert_eq!(session.answer(page).0, 200);
    session.world.end(page);
    session.until("it is over", World::is_over);
}

fn shutdown_at_once_closes_all_and_waits_for_nobody(place: &impl Place) {
    let mut session = Session::start(place, Setup::default().with_shards(2));
    let peers: Vec<_> = (0..10).map(|_| session.open("/echo")).collect();
    session.world.shutdown_now();
    session.until("it is over", World::is_over);
    for peer in peers {
        // What a socket did not take at once is lost.
        session.rest(peer);
    }
    session.counted("connections dropped", 10, |counters| counters.cut);
    let closed = session.world.journal().closed();
    assert_eq!(closed, [Ended::ByUs(CloseCode::GOING_AWAY); 10]);
}

fn shutdown_at_once_ends_one_that_waits(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let (peer, slow) = (session.open("/echo"), session.connect());
    session.send(slow, b"GET / HTTP/1.1\r\n");
    session.delivered();
    session.world.shutdown();
    assert_eq!(session.heard(peer), "goodbye");
    session.world.shutdown_now();
    session.until("it is over", World::is_over);
    session.ended(slow);
}

fn connections_are_told_one_after_the_other_and_served_until_then(place: &Seed) {
    const PEERS: usize = 50;
    let mut session = Session::start(place, Setup::default());
    let peers: Vec<_> = (0..PEERS).map(|_| session.open("/echo")).collect();
    session.world.simulation.shutdown_over(Duration::from_secs(10));
    for second in 1..=10 {
        session.world.advance(Duration::from_millis(984));
        let told = peers.iter().filter(|peer| session.has_arrived(**peer)).count();
        let due = PEERS * second / 10;
        assert!(told.abs_diff(due) <= 2, "{told} after {second} s");
        for peer in &peers {
            if !session.has_arrived(*peer) {
                session.say(*peer, "still here");
                assert_eq!(session.heard(*peer), "still here");
            }
        }
    }
    session.world.advance(Duration::from_millis(200));
    for peer in &peers {
        assert_eq!(session.heard(*peer), "goodbye");
        assert_eq!(session.closed(*peer).0, 1001);
        session.send(*peer, &wire::close(1001, ""));
        session.ended(*peer);
    }
    session.until("it is over", World::is_over);
    session.counted("connections dropped", 0, |counters| counters.cut);
}

fn shutdown_that_is_asked_for_again_takes_the_sooner_end(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let peers: Vec<_> = (0..20).map(|_| session.open("/echo")).collect();
    for spread in [600, 5, 300] {
        session.world.simulation.shutdown_over(Duration::from_secs(spread));
    }
    session.world.advance(Duration::from_millis(5_100));
    for peer in &peers {
        assert_eq!(session.heard(*peer), "goodbye");
    }
    assert!(!session.world.is_over());
    session.world.advance(Duration::from_millis(5_100));
    assert!(session.world.is_over(), "5 s after the last was told");
}

fn every_connection_that_was_accepted_before_the_end_is_answered(place: &Seed) {
    for balance in [Balance::Kernel, Balance::LeastLoaded] {
        let mut session =
            Session::start(place, Setup { balance, ..Setup::default() }.with_shards(3));
        let peers: Vec<_> = (0..100).map(|_| session.connect()).collect();
        for peer in &peers {
            session.send(*peer, &wire::request("/echo", &[]));
        }
        // Some shards have turned, some have connections on their way to others.
        session.world.simulation.turn();
        session.world.shutdown();
        session.world.settle();
        let answered = peers.iter().filter(|peer| session.has_arrived(**peer)).count();
        let accepted = session.world.counters().accepted;
        assert_eq!(answered as u64, accepted, "{balance:?}");
        for peer in &peers {
            if session.has_arrived(*peer) {
                assert!(session.head(*peer).starts_with("HTTP/1.1 101 "));
                assert_eq!(session.heard(*peer), "goodbye");
                session.send(*peer, &wire::close(1001, ""));
            }
        }
        session.until("it is over", World::is_over);
    }
}

fn shutdown_twice_is_one_shutdown(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    session.world.shutdown();
    session.world.shutdown();
    assert_eq!(session.heard(peer), "goodbye");
    assert_eq!(session.closed(peer).0, 1001);
    session.send(peer, &wire::close(1001, ""));
    session.ended(peer);
    session.until("it is over", World::is_over);
    session.world.shutdown();
}

fn peers_that_never_answer_hold_up_the_shutdown_no_longer_than_its_timeout(place: &Seed) {
    let setup = Setup::with_limits(|limits| limits.shutdown_timeout = Duration::from_secs(3));
    let mut session = Session::start(place, setup);
    let silent = session.open("/echo");
    session.world.shutdown();
    session.world.advance(Duration::from_millis(2_900));
    assert_eq!(session.heard(silent), "goodbye");
    assert_eq!(session.closed(silent).0, 1001);
    assert!(!session.world.is_over());
    session.world.advance(Duration::from_millis(200));
    assert!(session.world.is_over());
    session.counted("connections dropped", 1, |counters| counters.cut);
}

fn peer_that_reads_nothing_holds_up_the_shutdown_no_longer_than_its_timeout(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let deaf = session.open("/script");
    session.world.set_window(deaf, 0);
    session.say(deaf, "send 100 1000");
    session.delivered();
    session.world.shutdown();
    session.world.advance(Duration::from_millis(4_900));
    assert!(!session.world.is_over());
    session.world.advance(Duration::from_millis(200));
    assert!(session.world.is_over());
}

fn nobody_waits_for_a_server_that_has_ended(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.mailbox_letters_max = 4);
    let mut session = Session::start(place, setup);
    let (publisher, peer) = (session.world.publisher(), session.open("/echo"));
    let (news, id) = (publisher.topic("news"), session.last_id());
    session.world.shutdown();
    assert_eq!(session.heard(peer), "goodbye");
    assert_eq!(session.closed(peer).0, 1001);
    session.send(peer, &wire::close(1001, ""));
    session.ended(peer);
    session.until("it is over", World::is_over);
    for number in 1..=10 {
        publisher.send(id, Kind::Text, b"nobody hears this");
        publisher.close(id, CloseCode::NORMAL, "nobody hears this");
        publisher.close_lagging(0);
        session.world.shutdown();
        assert_eq!(publisher.publish(&news, Kind::Text, b"nobody hears this"), number);
    }
    assert_eq!(publisher.outstanding(), 0);
}

fn what_was_published_before_the_shutdown_still_leaves(place: &impl Place) {
    const PUBLISHED: usize = 100;
    let mut session = Session::start(place, Setup::default());
    let publisher = session.world.publisher();
    let topic = publisher.topic("news");
    let peer = session.open("/script");
    session.say(peer, "subscribe news");
    assert_eq!(session.heard(peer), "subscribed after 0");
    for number in 0..PUBLISHED {
        publisher.publish(&topic, Kind::Text, format!("{number}").as_bytes());
    }
    session.world.shutdown();
    let mut heard = Vec::new();
    let mut frame = session.frame(peer);
    while frame.first == wire::TEXT {
        heard.push(String::from_utf8(frame.payload).expect("text"));
        frame = session.frame(peer);
    }
    assert_eq!((frame.first, &frame.payload[..2]), (wire::CLOSE, &1001_u16.to_be_bytes()[..]));
    session.send(peer, &wire::close(1001, ""));
    session.ended(peer);
    let mut due: Vec<_> = (0..PUBLISHED).map(|number| format!("{number}")).collect();
    due.push("goodbye".to_owned());
    assert_eq!(heard, due);
}
