//! Who speaks TLS to wear the server out: floods of what costs a sender little, messages without an
//! end, handshakes that nobody finishes. Each ends at a limit, and others notice nothing.

use std::sync::Arc;
use std::time::Duration;

use tickwire_reactor::Limits;

use super::handshake::{hear, open, setup};
use super::{Authority, TlsClient};
use crate::session::Session;
use crate::wire;
use crate::world::{Place, Seed, World, in_each_bare_world, in_simulation};

in_each_bare_world!(
    flood_ahead_of_a_hello_is_refused,
    hello_without_an_end_is_refused,
    flood_of_new_keys_is_refused,
    nothing_behind_an_announced_end_is_looked_at,
);

in_simulation!(
    hello_byte_by_byte_is_understood_or_dropped_in_time,
    a_thousand_half_handshakes_are_dropped_and_hold_nothing,
);

fn client() -> Arc<rustls::ClientConfig> {
    Arc::new(Authority::usual().client(&[&rustls::version::TLS13]))
}

/// A record of TLS (RFC 8446 section 5.1).
fn record(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a record's").to_be_bytes();
    [&[kind, 3, 1], &length[..], bytes].concat()
}

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

fn flood_ahead_of_a_hello_is_refused(place: &impl Place) {
    let mut session = Session::start(place, setup());
    for (failures, (what, bytes)) in [
        ("warnings", record(ALERT, &[1, 90])),
        ("empty messages", record(HANDSHAKE, &[])),
        ("changes of the cipher", record(CHANGE_CIPHER_SPEC, &[1])),
        ("empty alerts", record(ALERT, &[])),
    ]
    .into_iter()
    .enumerate()
    {
        let peer = session.connect();
        session.world.send(peer, &bytes.repeat(1_000));
        session.counted(what, failures as u64 + 1, |counters| counters.tls_failures);
        session.rest(peer);
    }
}

fn hello_without_an_end_is_refused(place: &impl Place) {
    let mut session = Session::start(place, setup());
    // The longest message that rustls takes, a byte of it in each record: 6 bytes of memory for one.
    let peer = session.connect();
    session.world.send(peer, &record(HANDSHAKE, &[1, 0, 0xff, 0xff]));
    session.world.send(peer, &record(HANDSHAKE, &[0]).repeat(10_000));
    session.counted("failures", 1, |counters| counters.tls_failures);
    session.rest(peer);
    // Longer than that it is refused for what it declares.
    let peer = session.connect();
    session.world.send(peer, &record(HANDSHAKE, &[1, 0xff, 0xff, 0xff]));
    session.counted("failures", 2, |counters| counters.tls_failures);
    session.rest(peer);
}

fn flood_of_new_keys_is_refused(place: &impl Place) {
    let mut session = Session::start(place, setup());
    let (peer, mut tls) = open(&mut session, &client(), "/echo");
    // Each asks for new keys of the server's, too.
    let ask = |tls: &mut TlsClient, times: usize| {
        let mut asked = Vec::new();
        for _ in 0..times {
            tls.connection.refresh_traffic_keys().expect("keys");
            asked.extend(tls.output());
        }
        asked
    };
    for _ in 0..10 {
        // Not too often between messages: that is everybody's right (RFC 8446 section 4.6.3).
        let asked = ask(&mut tls, 20);
        session.world.send(peer, &asked);
        let said = tls.say(&wire::text("hello"));
        session.world.send(peer, &said);
        hear(&mut session, peer, &mut tls, |it| it.plain.ends_with(b"\x81\x05hello"));
        tls.plain.clear();
    }
    assert_eq!(session.world.counters().tls_failures, 0);
    let asked = ask(&mut tls, 1_000);
    session.world.send(peer, &asked);
    session.counted("failures", 1, |counters| counters.tls_failures);
    session.counted("lost", 1, |counters| counters.lost);
    session.rest(peer);
}

fn nothing_behind_an_announced_end_is_looked_at(place: &impl Place) {
    let mut session = Session::start(place, setup());
    let (peer, mut tls) = open(&mut session, &client(), "/echo");
    let goodbye = tls.part();
    let behind = [record(HANDSHAKE, &[0; 100]), record(ALERT, &[1, 0]).repeat(100)].concat();
    session.world.send(peer, &[goodbye, behind].concat());
    hear(&mut session, peer, &mut tls, |it| it.is_over);
    session.counted("lost", 1, |counters| counters.lost);
    assert_eq!(session.world.counters().tls_failures, 0);
}

fn hello_byte_by_byte_is_understood_or_dropped_in_time(seed: &Seed) {
    let mut session = Session::start(seed, setup());
    let timeout = Limits::default().handshake_timeout;
    for pause in [Duration::ZERO, timeout / 100] {
        let peer = session.connect();
        let mut tls = TlsClient::new(&client(), "localhost");
        for byte in tls.output() {
            session.world.send(peer, &[byte]);
            session.let_time_pass(pause);
        }
        if pause.is_zero() {
            hear(&mut session, peer, &mut tls, |it| !it.connection.is_handshaking());
        } else {
            session.let_time_pass(Limits::default().close_timeout * 2);
            assert!(session.world.is_closed(peer), "a byte now and then is no progress");
        }
    }
}

fn a_thousand_half_handshakes_are_dropped_and_hold_nothing(seed: &Seed) {
    let mut session = Session::start(seed, setup());
    let (polite, mut tls) = open(&mut session, &client(), "/echo");
    let hello = TlsClient::new(&client(), "localhost").output();
    let peers: Vec<_> = (0..1_000).map(|_| session.connect()).collect();
    for (number, &peer) in peers.iter().enumerate() {
        // From nothing to a whole hello, whose answer they do not read.
        session.world.send(peer, &hello[..hello.len() * (number % 5) / 4]);
    }
    let limits = Limits::default();
    for time in [limits.handshake_timeout, limits.close_timeout] {
        let said = tls.say(&wire::text("hello"));
        session.world.send(polite, &said);
        hear(&mut session, polite, &mut tls, |it| it.plain.ends_with(b"\x81\x05hello"));
        tls.plain.clear();
        session.let_time_pass(time + Duration::from_millis(100));
    }
    assert!(peers.iter().all(|&peer| session.world.is_closed(peer)));
}
