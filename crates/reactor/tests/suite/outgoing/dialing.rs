//! From the wish for a connection to the request: addresses, deadlines, limits.

use std::collections::HashSet;
use std::time::Duration;

use tickwire_reactor::Deflate;

use super::{called, dial, line, switching};
use crate::session::Session;
use crate::wire::{self, TEXT};
use crate::world::simulated::Simulated;
use crate::world::{Place, Seed, Setup, World, in_each_world, in_simulation};

in_each_world!(
    request_says_what_the_rfc_asks_for,
    refusal_is_told_after_the_last_address,
    next_address_is_tried,
    destination_that_cannot_be_written_is_not_called,
    one_connection_more_than_the_limit_fails,
    request_may_be_longer_than_what_may_be_left_unsent,
    panic_when_there_is_no_connection_costs_nobody_anything,
    compressors_of_their_own_are_offered_to_no_more_than_may_have_them,
);

in_simulation!(
    deaf_address_is_given_up_at_its_deadline,
    server_that_takes_the_connection_has_as_long_for_its_answer,
    answer_that_drips_does_not_hold_the_connection,
    failed_connection_can_be_tried_again_later,
    connection_that_was_begun_does_not_wait_any_more,
    connection_that_is_reset_before_its_answer_fails,
    no_further_address_is_tried_once_a_shutdown_has_begun,
);

fn request_says_what_the_rfc_asks_for(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let mut keys = HashSet::new();
    for _ in 0..5 {
        let (far, request) = called(&mut session, "/echo?of=gold");
        let key = line(&request, "Sec-WebSocket-Key: ").to_owned();
        assert!(key.len() == 24 && key.ends_with("=="), "{key} is 16 bytes in base64");
        assert_eq!(
            request,
            format!(
                "GET /echo?of=gold HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Protocol: chat, superchat\r\nX-Feed: gold\r\n\r\n"
            )
        );
        session.send(far, &switching(&request, &["Sec-WebSocket-Protocol: superchat"]));
        assert!(keys.insert(key), "a key is fresh for each connection");
    }
    session.until("all are open", |world| world.counters().connected == 5);
    assert_eq!(session.world.journal().outgoing(), vec!["connected Some(\"superchat\")"; 5]);
}

fn refusal_is_told_after_the_last_address(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let caller = session.open("/script");
    let (one, two) = (session.world.nobody(), session.world.nobody());
    session.say(caller, &format!("connect {one},{two} /echo"));
    session.counted("failures", 1, |counters| counters.connect_failures);
    let outgoing = session.world.journal().outgoing();
    assert!(outgoing.len() == 1 && outgoing[0].contains("ConnectionRefused"), "{outgoing:?}");
    session.say(caller, "connect , /echo");
    session.counted("failures", 2, |counters| counters.connect_failures);
    assert_eq!(session.world.journal().outgoing()[1], "NoAddress");
    session.until("so many are left", |world| world.counters().connections_now == 1);
}

fn next_address_is_tried(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let caller = session.open("/script");
    let (nobody, far) = (session.world.nobody(), session.world.far());
    session.say(caller, &format!("connect {nobody},{nobody},{far} /echo"));
    let far = session.pick_up();
    let request = session.head(far);
    session.send(far, &switching(&request, &[]));
    session.send(far, &wire::unmasked(TEXT, b"echo"));
    assert_eq!(session.masked_frame(far).0.payload, b"echo");
    session.until("so many are left", |world| world.counters().outgoing_now == 1);
}

fn deaf_address_is_given_up_at_its_deadline(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let caller = session.open("/script");
    let deaf = session.world.deaf();
    session.say(caller, &format!("connect {deaf},{deaf} /echo"));
    // Each address has its own ten seconds.
    session.world.advance(Duration::from_millis(10_040));
    session.world.advance(Duration::from_millis(9_960));
    session.until("so many are left", |world| world.counters().outgoing_now == 1);
    session.world.advance(Duration::from_millis(200));
    assert_eq!(session.world.journal().outgoing(), ["ConnectTimeout"]);
    session.until("so many are left", |world| world.counters().outgoing_now == 0);
}

fn destination_that_cannot_be_written_is_not_called(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let caller = session.open("/script");
    let far = session.world.far();
    for (count, target) in [(1, "no-slash"), (2, "/white space"), (3, "/\u{e9}"), (4, "/\r\nX: y")]
    {
        session.say(caller, &format!("connect {far} {target}"));
        session.counted("failures", count, |counters| counters.connect_failures);
    }
    assert_eq!(session.world.journal().outgoing(), vec!["Request(Target)"; 4]);
    session.until("so many are left", |world| world.counters().connections_now == 1);
    // The next to arrive is the next that is right.
    session.say(caller, &format!("connect {far} /right"));
    let peer = session.pick_up();
    assert!(session.head(peer).starts_with("GET /right "));
}

fn one_connection_more_than_the_limit_fails(place: &impl Place) {
    let setup = Setup::with_limits(|limits| limits.outgoing_max = 3);
    let mut session = Session::start(place, setup);
    let mut open = Vec::new();
    for _ in 0..3 {
        let (far, request) = called(&mut session, "/echo");
        session.send(far, &switching(&request, &[]));
        open.push(far);
    }
    session.counted("WebSockets", 3, |counters| counters.connected);
    dial(&mut session, "/echo");
    session.counted("failures", 1, |counters| counters.connect_failures);
    assert_eq!(session.world.journal().outgoing()[3], "TooMany");
    // One that has gone makes room.
    session.world.reset(open[0]);
    session.until("so many are left", |world| world.counters().outgoing_now == 2);
    let (far, request) = called(&mut session, "/echo");
    session.send(far, &switching(&request, &[]));
    session.counted("WebSockets", 4, |counters| counters.connected);
}

fn request_may_be_longer_than_what_may_be_left_unsent(place: &impl Place) {
    let setup = Setup::with_limits(|limits| {
        limits.unsent_bytes_max = 0;
        // Twice as much may be unsent: less than a request has.
        limits.protocol.message_bytes_max = 80;
    });
    let mut session = Session::start(place, setup);
    let (far, request) = called(&mut session, "/echo");
    assert!(request.len() > 2 * (80 + 16));
    session.send(far, &switching(&request, &[]));
    session.until("it is open", |world| world.counters().connected == 1);
    session.send(far, &wire::unmasked(TEXT, b"echo"));
    assert_eq!(session.masked_frame(far).0.payload, b"echo");
    session.until("nobody else is closed", |world| world.counters().connections_now == 2);
    assert_eq!(session.world.journal().closed(), []);
}

fn panic_when_there_is_no_connection_costs_nobody_anything(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let caller = session.open("/script");
    let nobody = session.world.nobody();
    session.say(caller, &format!("connect {nobody} /panic/connect-failed"));
    session.counted("panics", 1, |counters| counters.panicked);
    session.until("so many are left", |world| world.counters().connections_now == 1);
    session.say(caller, "word");
    assert_eq!(session.heard(caller), "word");
    session.part(caller);
}

fn server_that_takes_the_connection_has_as_long_for_its_answer(place: &Seed) {
    for (answered, after) in [(true, 9_900), (false, 10_100)] {
        let mut session = Session::start(place, Setup::default());
        dial(&mut session, "/echo");
        session.world.settle();
        // What it took to connect does not count.
        session.world.advance(Duration::from_millis(9_900));
        let far = session.pick_up();
        let request = session.head(far);
        session.world.advance(Duration::from_millis(after));
        session.send(far, &switching(&request, &[]));
        session.world.settle();
        assert_eq!(session.world.counters().connected, u64::from(answered));
        let outgoing = session.world.journal().outgoing();
        let expected = if answered { "connected None" } else { "HandshakeTimeout" };
        assert_eq!(outgoing, [expected]);
        assert_eq!(session.world.is_closed(far), !answered);
    }
}

fn answer_that_drips_does_not_hold_the_connection(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let (far, request) = called(&mut session, "/echo");
    let answer = switching(&request, &[]);
    for byte in &answer[..99] {
        session.send(far, &[*byte]);
        session.world.advance(Duration::from_millis(100));
    }
    assert!(!session.world.is_closed(far));
    session.send(far, &answer[99..100]);
    session.world.advance(Duration::from_millis(200));
    assert!(session.world.is_closed(far));
    assert_eq!(session.world.journal().outgoing(), ["HandshakeTimeout"]);
}

fn failed_connection_can_be_tried_again_later(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let caller = session.open("/script");
    let nobody = session.world.nobody();
    session.say(caller, &format!("connect {nobody} /again"));
    for count in 1..=5 {
        session.world.settle();
        session.counted("failures", count, |counters| counters.connect_failures);
        session.world.advance(Duration::from_millis(990));
        session.counted("failures", count, |counters| counters.connect_failures);
        session.world.advance(Duration::from_millis(50));
    }
    session.world.shutdown();
    session.world.settle();
    let outgoing = session.world.journal().outgoing();
    assert_eq!(outgoing.last().map(String::as_str), Some("ShuttingDown"));
    assert_eq!(outgoing.len(), 7, "once for each, and nothing after the shutdown: {outgoing:?}");
}

fn connection_that_is_reset_before_its_answer_fails(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let (far, request) = called(&mut session, "/echo");
    session.send(far, &switching(&request, &[])[..40]);
    session.world.settle();
    session.world.reset(far);
    session.world.settle();
    let outgoing = session.world.journal().outgoing();
    assert_eq!(outgoing, ["Socket(Kind(ConnectionReset))"]);
}

fn no_further_address_is_tried_once_a_shutdown_has_begun(place: &Seed) {
    let mut session = Session::start(place, Setup::default());
    let caller = session.open("/script");
    let (deaf, far) = (session.world.deaf(), session.world.far());
    session.say(caller, &format!("connect {deaf},{far} /echo"));
    let simulation = &mut session.world.simulation;
    let first = loop {
        simulation.turn();
        if let Some((first, _)) = simulation.dialed() {
            break first;
        }
    };
    // Both are seen in one turn.
    simulation.refuse(first);
    simulation.shutdown();
    session.world.settle();
    assert!(!session.world.is_called());
    let outgoing = session.world.journal().outgoing();
    assert_eq!(outgoing, ["Socket(Kind(ConnectionRefused))"]);
}

fn compressors_of_their_own_are_offered_to_no_more_than_may_have_them(place: &impl Place) {
    let setup = Setup { deflate: Some(Deflate::dedicated(1)), ..Setup::default() };
    let mut session = Session::start(place, setup);
    let own = "permessage-deflate; client_max_window_bits, \
               permessage-deflate; client_no_context_takeover; client_max_window_bits";
    let shared = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                  client_max_window_bits";
    let offer = |request: &str| line(request, "Sec-WebSocket-Extensions: ").to_owned();
    let (first, request) = called(&mut session, "/echo");
    assert_eq!(offer(&request), own);
    // The first is not answered yet, but it may be.
    assert_eq!(offer(&called(&mut session, "/echo").1), shared);
    // A server that wants no compression gives the place back, and so does one that goes.
    session.send(first, &switching(&request, &[]));
    session.counted("WebSockets", 1, |counters| counters.connected);
    let (third, request) = called(&mut session, "/echo");
    assert_eq!(offer(&request), own);
    session.world.reset(third);
    session.until("it has gone", |world| world.counters().deflate_dedicated_now == 0);
    assert_eq!(offer(&called(&mut session, "/echo").1), own);
}

fn connection_that_was_begun_does_not_wait_any_more(place: &Seed) {
    let setup = Setup::with_limits(|limits| limits.outgoing_waiting_max = 2);
    let mut session = Session::start(place, setup);
    let caller = session.open("/script");
    for round in 1..=3 {
        for _ in 0..3 {
            session.say(caller, "connect-after 5 /echo");
        }
        session.world.settle();
        let refused = |session: &Session<Simulated>| {
            let outgoing = session.world.journal().outgoing();
            outgoing.iter().filter(|it| *it == "TooManyWaiting").count()
        };
        assert_eq!(refused(&session), round);
        session.world.advance(Duration::from_millis(5_033));
        session.counted("begun", 2 * round as u64, |counters| counters.connect_failures);
    }
}
