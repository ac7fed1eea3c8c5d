//! The budget of memory: what peers make a shard hold is counted by cause, and whoever holds most of
//! it is the first to go when it is too much.
//!
//! Each [`Cause`] is a scene of three peers: one that makes the engine hold most, one that makes it
//! hold less of the same, and a bystander. A seed plays the same scene to the byte, so the least
//! budget that is enough can be searched for; one byte less must cost one peer, and the right one.

use tickwire_protocol::{CloseCode, Kind};
use tickwire_reactor::{Counters, Deflate, Ended};

use crate::application::numbered;
use crate::session::Session;
use crate::wire::{self, BINARY};
use crate::world::simulated::Simulated;
use crate::world::{Peer, Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(
    who_holds_most_is_closed_with_1013_and_the_others_go_on,
    a_decompressor_of_its_own_counts,
    who_is_owed_the_rest_of_a_large_frame_is_dropped,
    a_page_that_nobody_reads_is_dropped,
);

// With TLS the sessions are more than the request; `tls::memory` has those.
mod bare {
    use super::a_request_that_never_ends_is_refused_with_503;

    crate::world::in_each_bare_world!(a_request_that_never_ends_is_refused_with_503);
}

in_simulation!(
    what_is_held_is_counted_by_cause_and_given_back,
    a_byte_less_than_enough_costs_the_worst_offender,
    however_many_hold_something_it_is_never_more_than_the_budget,
    laggards_share_what_they_hold_back_together,
    a_close_that_is_owed_leaves_before_its_connection_goes,
);

/// Memory of all causes together.
const fn held(counters: &Counters) -> u64 {
    counters.receiving_bytes_now
        + counters.unsent_bytes_now
        + counters.deflate_dedicated_bytes_now
        + counters.retained_bytes_now
}

/// The setup with a budget.
fn setup(memory_max: usize) -> Setup {
    Setup::with_limits(|limits| limits.memory_max = Some(memory_max))
}

/// What a scene makes the engine hold.
#[derive(Clone, Copy, Debug)]
enum Cause {
    Request,
    Message,
    Unsent,
    Publications,
}

/// The peers of a scene.
struct Scene<W: World> {
    session: Session<W>,
    worst: Peer,
    lesser: Peer,
    bystander: Peer,
}

impl Cause {
    const ALL: [Self; 4] = [Self::Request, Self::Message, Self::Unsent, Self::Publications];

    /// Plays the scene under a budget.
    fn play<P: Place>(self, place: &P, memory_max: usize) -> Scene<P::World> {
        let mut session = Session::start(place, setup(memory_max));
        let path = if matches!(self, Self::Publications) { "/script" } else { "/echo" };
        let bystander = session.open(path);
        let (worst, lesser) = match self {
            Self::Request => (session.connect(), session.connect()),
            Self::Message => (session.open("/echo"), session.open("/echo")),
            Self::Unsent | Self::Publications => {
                let peers = (session.connect_narrow(), session.connect_narrow());
                session.upgrade(peers.0, "/script");
                session.upgrade(peers.1, "/script");
                peers
            }
        };
        let mut scene = Scene { session, worst, lesser, bystander };
        match self {
            Self::Request => {
                scene.send(lesser, &unfinished_request(1_000));
                scene.send(worst, &unfinished_request(5_000));
            }
            Self::Message => {
                scene.send(lesser, &unfinished_message(10_000));
                scene.send(worst, &unfinished_message(50_000));
            }
            Self::Unsent => {
                scene.send(lesser, &wire::text("send 50 1000"));
                scene.send(worst, &wire::text("send 200 1000"));
            }
            Self::Publications => {
                scene.subscribe(bystander);
                scene.subscribe(worst);
                scene.publish(60);
                scene.subscribe(lesser);
                scene.publish(40);
            }
        }
        scene
    }
}

impl<W: World> Scene<W> {
    /// Sends, and waits until it has had its effect.
    fn send(&mut self, peer: Peer, bytes: &[u8]) {
        self.session.send(peer, bytes);
        self.session.delivered();
    }

    fn subscribe(&mut self, peer: Peer) {
        self.session.say(peer, "subscribe news");
        assert!(self.session.heard(peer).starts_with("subscribed after "));
    }

    /// Publishes so many kilobytes, each of which the bystander takes before the next.
    fn publish(&mut self, count: u64) {
        let publisher = self.session.world.publisher();
        let news = publisher.topic("news");
        for number in 0..count {
            publisher.publish(&news, Kind::Text, numbered(number, 1_000).as_bytes());
            assert_eq!(self.session.heard(self.bystander), numbered(number, 1_000));
        }
    }

    fn evicted(&self) -> u64 {
        self.session.world.counters().evicted
    }
}

/// A request of so many bytes, without its end.
fn unfinished_request(bytes: usize) -> Vec<u8> {
    let mut head = b"GET /page HTTP/1.1\r\nHost: server.example.com\r\nX-Long: ".to_vec();
    head.resize(bytes, b'x');
    head
}

/// The first bytes of a message that is one byte longer.
fn unfinished_message(bytes: usize) -> Vec<u8> {
    let mut frame = wire::frame(BINARY, &vec![7; bytes + 1]);
    frame.pop();
    frame
}

/// The least budget under which nobody has to go.
fn least_budget(seed: &Seed, cause: Cause) -> usize {
    let enough = |budget: usize| cause.play(seed, budget).evicted() == 0;
    let held = held(&cause.play(seed, usize::MAX).session.world.counters());
    let (mut too_little, mut enough_yet) = (0, usize::try_from(held).expect("a size"));
    while !enough(enough_yet) {
        (too_little, enough_yet) = (enough_yet, enough_yet * 2);
    }
    while enough_yet - too_little > 1 {
        let middle = usize::midpoint(too_little, enough_yet);
        if enough(middle) {
            enough_yet = middle;
        } else {
            too_little = middle;
        }
    }
    enough_yet
}

fn a_byte_less_than_enough_costs_the_worst_offender(seed: &Seed) {
    for cause in Cause::ALL {
        let least = least_budget(seed, cause);
        for (budget, gone) in [(least + 1, 0), (least, 0), (least - 1, 1)] {
            let mut scene = cause.play(seed, budget);
            assert_eq!(scene.evicted(), gone, "{cause:?} at {budget}, {least} is enough");
            let now = held(&scene.session.world.counters());
            assert!(now <= budget as u64, "{cause:?} at {budget}: {now} bytes");
            if gone > 0 {
                check_the_others(cause, &mut scene);
            }
        }
    }
}

/// The worst offender was told, the lesser one and the bystander go on as if nothing had been.
fn check_the_others<W: World>(cause: Cause, scene: &mut Scene<W>) {
    let (session, worst, lesser) = (&mut scene.session, scene.worst, scene.lesser);
    if !matches!(cause, Cause::Request) {
        let journal = session.world.journal();
        assert_eq!(journal.closed_ids(), journal.opened()[1..2], "{cause:?}: the second to come");
    }
    session.say(scene.bystander, "word");
    assert_eq!(session.heard(scene.bystander), "word", "{cause:?}");
    let waits = match cause {
        Cause::Request => {
            for (peer, status) in [(lesser, 200), (worst, 503)] {
                session.send(peer, b"\r\n\r\n");
                assert_eq!(session.answer(peer).0, status);
            }
            return;
        }
        Cause::Message => {
            session.send(lesser, &[0]);
            assert_eq!(session.frame(lesser).payload.len(), 10_001);
            0
        }
        Cause::Unsent => 50,
        Cause::Publications => 40,
    };
    for number in 0..waits {
        assert_eq!(session.heard(lesser), numbered(number, 1_000));
    }
    session.part(lesser);
    check_evicted(session, worst);
}

/// What comes before it may be a part of what was sent; then the peer is told, and can say goodbye.
fn check_evicted<W: World>(session: &mut Session<W>, peer: Peer) {
    let close = loop {
        let frame = session.frame(peer);
        if frame.first == wire::CLOSE {
            break frame;
        }
    };
    let told = [&1013_u16.to_be_bytes()[..], REASON.as_bytes()].concat();
    assert_eq!(String::from_utf8_lossy(&close.payload), String::from_utf8_lossy(&told));
    session.send(peer, &wire::close(1013, ""));
    session.ended(peer);
}

const REASON: &str = "the server is short of memory: try again later";

fn who_holds_most_is_closed_with_1013_and_the_others_go_on(place: &impl Place) {
    // A buffer that grows may have room for twice what is in it.
    let mut session = Session::start(place, setup(120_000));
    let (lesser, worst, bystander) =
        (session.open("/echo"), session.open("/echo"), session.open("/echo"));
    session.send(lesser, &unfinished_message(30_000));
    session.delivered();
    session.send(worst, &unfinished_message(100_000));
    assert_eq!(session.closed(worst), (1013, REASON.to_owned()));
    let evicted = Ended::ByUs(CloseCode::TRY_AGAIN_LATER);
    assert_eq!(session.world.journal().closed(), [evicted]);
    session.send(worst, &wire::close(1013, ""));
    session.ended(worst);
    session.send(lesser, &[0]);
    assert_eq!(session.frame(lesser).payload.len(), 30_001);
    for peer in [lesser, bystander] {
        session.say(peer, "word");
        assert_eq!(session.heard(peer), "word");
        session.part(peer);
    }
    assert_eq!(session.world.counters().evicted, 1);
}

fn a_decompressor_of_its_own_counts(place: &impl Place) {
    // The compressed "Hello" of RFC 7692 section 7.2.3.1.
    let hello = wire::frame(wire::TEXT | wire::RSV1, b"\xf2\x48\xcd\xc9\xc9\x07\x00");
    for (budget, stays) in [(110_000, true), (40_000, false)] {
        let mut setup = setup(budget);
        setup.deflate = Some(Deflate::dedicated(10));
        let mut session = Session::start(place, setup);
        let bystander = session.open("/echo");
        let peer = session.connect();
        let offer = "Sec-WebSocket-Extensions: permessage-deflate";
        session.send(peer, &wire::request("/echo", &[offer]));
        assert!(session.head(peer).contains("permessage-deflate"));
        session.send(peer, &hello);
        if stays {
            assert_eq!(session.heard(peer), "Hello");
            let counted = |world: &_| World::counters(world).deflate_dedicated_bytes_now > 40_000;
            session.until("it is counted", counted);
            session.part(peer);
        } else {
            check_evicted(&mut session, peer);
            session.until("it is given back", |world| held(&world.counters()) == 0);
        }
        session.part(bystander);
    }
}

fn who_is_owed_the_rest_of_a_large_frame_is_dropped(place: &impl Place) {
    let mut setup = setup(8_000_000);
    setup.limits.protocol.message_bytes_max = 16_000_000;
    let mut session = Session::start(place, setup);
    let peer = session.connect_narrow();
    session.upgrade(peer, "/script");
    let bystander = session.open("/echo");
    // More than a kernel's socket buffers take.
    session.say(peer, "send 1 12000000");
    session.until("it is gone", |world| world.counters().connections_now == 1);
    assert_eq!(session.world.counters().evicted, 1);
    let evicted = Ended::ByUs(CloseCode::TRY_AGAIN_LATER);
    assert_eq!(session.world.journal().closed(), [evicted]);
    // No Close amid the frame: what has come is a part of it, and nothing else.
    let whole = wire::unmasked(wire::TEXT, numbered(0, 12_000_000).as_bytes());
    let come = session.rest(peer);
    assert!(come.len() < whole.len() && whole.starts_with(&come), "{} bytes", come.len());
    session.part(bystander);
}

fn a_page_that_nobody_reads_is_dropped(place: &impl Place) {
    let mut session = Session::start(place, setup(500_000));
    let peer = session.connect_narrow();
    session.send(peer, &wire::request("/long-page", &[]));
    session.until("it is gone", |world| world.counters().evicted == 1);
    session.until("it is gone", |world| world.counters().connections_now == 0);
}

fn a_request_that_never_ends_is_refused_with_503(place: &impl Place) {
    let mut session = Session::start(place, setup(3_000));
    let bystander = session.open("/echo");
    let peer = session.connect();
    session.send(peer, &unfinished_request(5_000));
    let (status, text) = session.answer(peer);
    assert_eq!(status, 503);
    assert!(text.contains("Retry-After: ") && text.contains("short of memory"), "{text}");
    session.part(bystander);
}

fn what_is_held_is_counted_by_cause_and_given_back(seed: &Seed) {
    for cause in Cause::ALL {
        let mut scene = cause.play(seed, usize::MAX);
        let session = &mut scene.session;
        let counted = |counters: &Counters| match cause {
            Cause::Request | Cause::Message => counters.receiving_bytes_now,
            Cause::Unsent => counters.unsent_bytes_now,
            Cause::Publications => counters.retained_bytes_now,
        };
        session.until("it is counted", |world| counted(&world.counters()) >= 6_000);
        for peer in [scene.worst, scene.lesser] {
            session.world.reset(peer);
        }
        session.until("it is given back", |world| held(&world.counters()) == 0);
        session.part(scene.bystander);
    }
}

fn however_many_hold_something_it_is_never_more_than_the_budget(seed: &Seed) {
    const BUDGET: usize = 300_000;
    let mut session = Session::start(seed, setup(BUDGET));
    let bystander = session.open("/echo");
    let peers: Vec<Peer> = (0..60).map(|_| session.open("/echo")).collect();
    for (number, peer) in peers.iter().enumerate() {
        session.send(*peer, &unfinished_message(1_000 + 500 * number));
        session.delivered();
        let now = held(&session.world.counters());
        assert!(now <= BUDGET as u64, "{now} bytes with {number} peers");
    }
    let evicted = session.world.counters().evicted;
    assert!((5..50).contains(&evicted), "{evicted} have gone");
    // Whoever holds little was never the worst.
    for (number, peer) in peers.iter().take(10).enumerate() {
        session.send(*peer, &[0]);
        assert_eq!(session.frame(*peer).payload.len(), 1_001 + 500 * number);
    }
    session.part(bystander);
}

fn laggards_share_what_they_hold_back_together(seed: &Seed) {
    // Ten hold back a hundred kilobytes together, which is ten for each; one holds forty for itself.
    let play = |budget: usize| {
        let mut session = Session::start(seed, setup(budget));
        let bystander = session.open("/script");
        let uploader = session.open("/echo");
        let narrow: Vec<Peer> = (0..10).map(|_| session.connect_narrow()).collect();
        narrow.iter().for_each(|peer| session.upgrade(*peer, "/script"));
        let mut scene = Scene { session, worst: uploader, lesser: narrow[0], bystander };
        scene.subscribe(bystander);
        narrow.iter().for_each(|peer| scene.subscribe(*peer));
        scene.send(uploader, &unfinished_message(40_000));
        scene.publish(100);
        (scene, narrow)
    };
    let (scene, _) = play(usize::MAX);
    let before = held(&scene.session.world.counters());
    drop(scene);
    let budget = usize::try_from(before).expect("a size") - 20_000;
    let (mut scene, narrow) = play(budget);
    assert_eq!(scene.evicted(), 1);
    check_evicted(&mut scene.session, scene.worst);
    for peer in narrow {
        for number in 0..100 {
            assert_eq!(scene.session.heard(peer), numbered(number, 1_000));
        }
        scene.session.part(peer);
    }
}

/// A peer that reads nothing of so many kilobytes, behind which there is a Close with 1000.
fn closing_peer(session: &mut Session<Simulated>, kilobytes: u64) -> Peer {
    let peer = session.connect_narrow();
    session.upgrade(peer, "/script");
    session.say(peer, &format!("send {kilobytes} 1000"));
    session.say(peer, "close 1000 bye");
    session.delivered();
    peer
}

/// Its messages come in order, and perhaps not all of them; then its Close, and the end.
fn check_goodbye(session: &mut Session<Simulated>, peer: Peer) {
    for number in 0.. {
        let frame = session.frame(peer);
        if frame.first == wire::CLOSE {
            assert_eq!(frame.payload, b"\x03\xe8bye");
            break;
        }
        assert_eq!(frame.payload, numbered(number, 1_000).as_bytes());
    }
    session.send(peer, &wire::close(1000, ""));
    session.ended(peer);
}

fn a_close_that_is_owed_leaves_before_its_connection_goes(seed: &Seed) {
    let mut session = Session::start(seed, setup(40_000));
    let bystander = session.open("/echo");
    let peer = closing_peer(&mut session, 30);
    // Together it is more than the budget, and the one that is closing holds most.
    session.send(bystander, &unfinished_message(10_000));
    session.delivered();
    let counters = session.world.counters();
    assert_eq!((counters.evicted, counters.dropped), (1, 0), "{counters:?}");
    check_goodbye(&mut session, peer);
    session.send(bystander, &[0]);
    assert_eq!(session.frame(bystander).payload.len(), 10_001);
    session.part(bystander);
}
