//! Messages in both directions, and that nothing is believed or processed that should not be.
//!
//! What a frame must be, line by line, is in `spec`.

use crate::session::Session;
use crate::wire::{self, BINARY, TEXT};
use crate::world::{Place, Setup, in_each_world};

in_each_world!(
    messages_are_echoed_with_their_kind,
    every_length_class_is_echoed,
    declared_length_is_not_believed,
    nothing_is_processed_after_a_violation,
);

fn messages_are_echoed_with_their_kind(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    for (first, payload) in [
        (TEXT, &b"Hello"[..]),
        (BINARY, b"\x00\xff\xfe"),
        (TEXT, b""),
        (BINARY, b""),
        (TEXT, "\u{1f600} \u{e9} \u{3b1}".as_bytes()),
    ] {
        session.send(peer, &wire::frame(first, payload));
        let frame = session.frame(peer);
        assert_eq!((frame.first, &*frame.payload), (first, payload));
    }
    session.part(peer);
    session.counted("messages", 5, |counters| counters.received_messages);
}

fn every_length_class_is_echoed(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    for length in [1, 125, 126, 127, 65_535, 65_536, 65_537, 1024 * 1024] {
        let payload: Vec<u8> = (0..length).map(|index: u32| index.to_be_bytes()[3]).collect();
        session.send(peer, &wire::frame(BINARY, &payload));
        assert!(session.frame(peer).payload == payload, "{length} bytes come back as others");
    }
    session.part(peer);
}

fn declared_length_is_not_believed(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let waiting = session.open("/echo");
    session.send(waiting, &wire::header(BINARY, 1024 * 1024));
    let refused = session.open("/echo");
    session.send(refused, &wire::header(BINARY, 1 << 62));
    assert_eq!(session.closed(refused).0, 1009);
    session.ended(refused);
    // The one at the limit is still awaited.
    let masked = &wire::frame(BINARY, &vec![7; 1024 * 1024])[14..];
    session.send(waiting, masked);
    assert!(session.frame(waiting).payload == vec![7; 1024 * 1024]);
    session.part(waiting);
}

fn nothing_is_processed_after_a_violation(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.open("/echo");
    let after = [wire::text("before"), b"\x81\x05Hello".to_vec(), wire::text("behind")].concat();
    session.send(peer, &after);
    assert_eq!(session.heard(peer), "before");
    assert_eq!(session.closed(peer).0, 1002);
    session.send(peer, &wire::text("still there?"));
    session.ended(peer);
    session.counted("messages", 1, |counters| counters.received_messages);
}
