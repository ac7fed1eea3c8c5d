//! What sessions of TLS make a shard hold: counted, and within its budget of memory.

use std::sync::Arc;

use tickwire_protocol::CloseCode;
use tickwire_reactor::Ended;

use super::handshake::{hear, open, setup};
use super::{Authority, TlsClient};
use crate::session::Session;
use crate::wire::{self, BINARY};
use crate::world::{Peer, Place, Seed, World, in_each_bare_world, in_simulation};

in_each_bare_world!(
    sessions_are_counted_and_a_record_that_has_not_come_whole_is_too,
    who_holds_most_of_unfinished_records_is_closed_with_1013,
);

in_simulation!(handshakes_that_nobody_finishes_stay_within_the_budget);

fn client() -> Arc<rustls::ClientConfig> {
    Arc::new(Authority::usual().client(&[&rustls::version::TLS13]))
}

/// Sends a message of so many bytes in one record, but for the last byte of it, and gives that.
fn send_unfinished<W: World>(
    session: &mut Session<W>,
    peer: Peer,
    tls: &mut TlsClient,
    bytes: usize,
) -> u8 {
    let mut said = tls.say(&wire::frame(BINARY, &vec![7; bytes]));
    let last = said.pop().expect("a record");
    session.world.send(peer, &said);
    last
}

fn sessions_are_counted_and_a_record_that_has_not_come_whole_is_too(place: &impl Place) {
    let mut session = Session::start(place, setup());
    let counted = |session: &Session<_>| World::counters(&session.world).tls_bytes_now;
    let (peer, mut tls) = open(&mut session, &client(), "/echo");
    let one = counted(&session);
    assert!((1_000..20_000).contains(&one), "{one} bytes");
    drop(open(&mut session, &client(), "/echo"));
    session.until("another is counted", |world| world.counters().tls_bytes_now >= one + 1_000);
    let two = counted(&session);
    let last = send_unfinished(&mut session, peer, &mut tls, 10_000);
    let more = two + 10_000;
    session.until("the record is counted", |world| world.counters().tls_bytes_now >= more);
    session.world.send(peer, &[last]);
    hear(&mut session, peer, &mut tls, |it| it.plain.len() > 10_000);
    session.until("it is given back", |world| world.counters().tls_bytes_now <= two);
}

fn who_holds_most_of_unfinished_records_is_closed_with_1013(place: &impl Place) {
    let mut setup = setup();
    setup.limits.memory_max = Some(26_000);
    let mut session = Session::start(place, setup);
    let (bystander, mut theirs) = open(&mut session, &client(), "/echo");
    let (lesser, mut less) = open(&mut session, &client(), "/echo");
    let (worst, mut more) = open(&mut session, &client(), "/echo");
    let last = send_unfinished(&mut session, lesser, &mut less, 5_000);
    // Three sessions, and the record.
    session.until("it is counted", |world| world.counters().tls_bytes_now >= 14_000);
    assert_eq!(session.world.counters().evicted, 0);
    send_unfinished(&mut session, worst, &mut more, 14_000);
    hear(&mut session, worst, &mut more, |it| it.plain.len() > 4);
    assert_eq!(more.plain[..4], [wire::CLOSE, more.plain[1], 0x03, 0xf5], "1013");
    let evicted = Ended::ByUs(CloseCode::TRY_AGAIN_LATER);
    assert_eq!(session.world.journal().closed(), [evicted]);
    session.world.send(lesser, &[last]);
    hear(&mut session, lesser, &mut less, |it| it.plain.len() > 5_000);
    let said = theirs.say(&wire::text("word"));
    session.world.send(bystander, &said);
    hear(&mut session, bystander, &mut theirs, |it| {
        it.plain == wire::unmasked(wire::TEXT, b"word")
    });
    assert_eq!(session.world.counters().evicted, 1);
}

fn handshakes_that_nobody_finishes_stay_within_the_budget(seed: &Seed) {
    const BUDGET: usize = 40_000;
    let mut setup = setup();
    setup.limits.memory_max = Some(BUDGET);
    let mut session = Session::start(seed, setup);
    let (bystander, mut theirs) = open(&mut session, &client(), "/echo");
    for _ in 0..50 {
        let peer = session.connect();
        let hello = TlsClient::new(&client(), "localhost").output();
        session.world.send(peer, &hello[..hello.len() - 1]);
        session.world.settle();
        let now = session.world.counters().tls_bytes_now;
        assert!(now <= BUDGET as u64, "{now} bytes");
    }
    assert!(session.world.counters().evicted > 30);
    let said = theirs.say(&wire::text("word"));
    session.world.send(bystander, &said);
    hear(&mut session, bystander, &mut theirs, |it| {
        it.plain == wire::unmasked(wire::TEXT, b"word")
    });
}
