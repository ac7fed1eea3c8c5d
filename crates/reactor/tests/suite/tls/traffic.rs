//! What goes over TLS: in how few records, in what order, and how it ends.

use std::sync::Arc;

use tickwire_protocol::Kind;
use tickwire_reactor::Ended;

use super::handshake::{hear, open, setup};
use super::{Authority, TlsClient};
use crate::application::numbered;
use crate::session::Session;
use crate::wire;
use crate::world::{Peer, Place, Reading, World, in_each_bare_world, in_simulation};

in_each_bare_world!(
    what_a_turn_sends_is_one_record,
    large_messages_go_over_many_records,
    end_without_a_word_is_told_as_lost,
    announced_end_is_answered_and_told_as_lost_without_a_close,
);

in_simulation!(records_cut_at_every_byte_are_understood, stalled_reader_costs_a_cursor);

fn client() -> Arc<rustls::ClientConfig> {
    Arc::new(Authority::usual().client(&[&rustls::version::TLS13]))
}

/// The type of each record in `bytes` with its length.
fn records(bytes: &[u8]) -> Vec<(u8, usize)> {
    let mut records = Vec::new();
    let mut rest = bytes;
    while let [kind, _, _, high, low, behind @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        records.push((*kind, length));
        rest = &behind[length..];
    }
    assert!(rest.is_empty(), "a record is cut");
    records
}

/// Application data (RFC 8446 section 5.1).
const DATA: u8 = 23;

/// Tag and type, which each record of TLS 1.3 has besides its bytes.
const BESIDES: usize = 17;

fn what_a_turn_sends_is_one_record(place: &impl Place) {
    let mut session = Session::start(place, setup());
    let (peer, mut tls) = open(&mut session, &client(), "/script");
    let said = tls.say(&wire::text("send 100 50"));
    session.world.send(peer, &said);
    let expected: Vec<u8> =
        (0..100).flat_map(|it| wire::unmasked(wire::TEXT, numbered(it, 50).as_bytes())).collect();
    let mut raw = Vec::new();
    while tls.plain.len() < expected.len() {
        match session.world.receive(peer) {
            Reading::Bytes(bytes) => {
                tls.input(&bytes);
                raw.extend(bytes);
            }
            end => panic!("{end:?}"),
        }
    }
    assert_eq!(tls.plain, expected);
    // The ticket came with the answer to the upgrade, so all that is here is what the turn sent.
    assert_eq!(records(&raw), [(DATA, expected.len() + BESIDES)]);
}

fn large_messages_go_over_many_records(place: &impl Place) {
    let mut setup = setup();
    setup.limits.protocol.message_bytes_max = 4_000_000;
    let mut session = Session::start(place, setup);
    let (peer, mut tls) = open(&mut session, &client(), "/echo");
    // On both sides of a record, of a portion of four, and far beyond.
    for size in [16_380, 16_384, 16_385, 65_526, 65_536, 65_537, 1_000_000] {
        let payload = numbered(size, size);
        let said = tls.say(&wire::text(&payload));
        session.world.send(peer, &said);
        let expected = wire::unmasked(wire::TEXT, payload.as_bytes());
        hear(&mut session, peer, &mut tls, |it| it.plain.len() >= expected.len());
        assert!(tls.plain == expected, "an echo of {size} bytes");
        tls.plain.clear();
    }
}

fn end_without_a_word_is_told_as_lost(place: &impl Place) {
    let mut session = Session::start(place, setup());
    let (peer, _) = open(&mut session, &client(), "/echo");
    session.world.end(peer);
    session.until("it has ended", |world| !world.journal().closed().is_empty());
    assert_eq!(session.world.journal().closed(), [Ended::Lost]);
    session.counted("lost", 1, |counters| counters.lost);
}

fn announced_end_is_answered_and_told_as_lost_without_a_close(place: &impl Place) {
    let mut session = Session::start(place, setup());
    let (peer, mut tls) = open(&mut session, &client(), "/echo");
    let goodbye = tls.part();
    session.world.send(peer, &goodbye);
    hear(&mut session, peer, &mut tls, |it| it.is_over);
    session.counted("lost", 1, |counters| counters.lost);
    assert_eq!(session.world.journal().closed(), [Ended::Lost]);
}

fn records_cut_at_every_byte_are_understood(place: &impl Place) {
    let mut session = Session::start(place, setup());
    let (peer, mut tls) = open(&mut session, &client(), "/echo");
    let length = 2 * (wire::text("12345678").len() + 5 + BESIDES);
    for cut in 1..length {
        let records = [tls.say(&wire::text("12345678")), tls.say(&wire::text("87654321"))].concat();
        assert_eq!(records.len(), length);
        for piece in [&records[..cut], &records[cut..]] {
            session.world.send(peer, piece);
            session.let_time_pass(std::time::Duration::ZERO);
        }
        hear(&mut session, peer, &mut tls, |it| it.plain.len() >= 20);
        assert_eq!(tls.plain, b"\x81\x0812345678\x81\x0887654321", "cut at {cut}");
        tls.plain.clear();
    }
}

fn subscriber<W: World>(session: &mut Session<W>) -> (Peer, TlsClient) {
    let (peer, mut tls) = open(session, &client(), "/script");
    let said = tls.say(&wire::text("subscribe gold"));
    session.world.send(peer, &said);
    hear(session, peer, &mut tls, |it| it.plain.ends_with(b"subscribed after 0"));
    tls.plain.clear();
    (peer, tls)
}

fn stalled_reader_costs_a_cursor(seed: &crate::world::Seed) {
    let mut session = Session::start(seed, setup());
    let (stalled, mut stalled_tls) = subscriber(&mut session);
    let (reader, mut reader_tls) = subscriber(&mut session);
    session.world.set_window(stalled, 2_000);
    let publisher = session.world.publisher();
    let topic = publisher.topic("gold");
    let mut expected = Vec::new();
    for number in 0..2_000 {
        let payload = numbered(number, 100);
        publisher.publish(&topic, Kind::Text, payload.as_bytes());
        expected.extend(wire::unmasked(wire::TEXT, payload.as_bytes()));
        if number % 20 == 0 {
            hear(&mut session, reader, &mut reader_tls, |it| it.plain.len() == expected.len());
        }
    }
    hear(&mut session, reader, &mut reader_tls, |it| it.plain.len() == expected.len());
    assert!(reader_tls.plain == expected, "who reads gets all, in order");
    let counters = session.world.counters();
    assert_eq!(counters.lagging_now, 1);
    assert!(counters.retained_now > 1_900, "they wait in the log: {}", counters.retained_now);
    // Whoever lags was not given more than its socket took, but for a record or two.
    let to_the_reader = expected.len() as u64;
    assert!(counters.sent_bytes < to_the_reader + 10_000, "{counters:?}");
    hear(&mut session, stalled, &mut stalled_tls, |it| it.plain.len() == expected.len());
    assert!(stalled_tls.plain == expected, "who reads late gets all, in order");
}
