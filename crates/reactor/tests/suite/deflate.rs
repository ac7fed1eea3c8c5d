//! permessage-deflate (RFC 7692) as the engine runs it: who shares a compressor, who has one, what a
//! publication costs, and that each peer's own zlib reads what it is sent.
//!
//! The peers compress and inflate with `flate2`, which has nothing in common with the engine's zlib.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tickwire_protocol::Kind;
use tickwire_reactor::Deflate;

use crate::application::numbered;
use crate::session::Session;
use crate::wire;
use crate::world::{Peer, Place, Seed, Setup, World, in_each_world, in_simulation};

/// What browsers offer.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";

/// A peer with its own two ends of a compressed stream. It keeps its window from message to message
/// in both directions, whatever was agreed: that must never hurt as far as reading goes.
struct Zlib {
    peer: Peer,
    keeps_context: bool,
    compress: Compress,
    inflate: Decompress,
}

impl Zlib {
    /// Opens a WebSocket with compression, and checks what the server agreed to.
    fn open<W: World>(session: &mut Session<W>, path: &str, offer: &str, agreed: &str) -> Self {
        let peer = session.connect();
        Self::upgrade(session, peer, path, offer, agreed)
    }

    fn upgrade<W: World>(
        session: &mut Session<W>,
        peer: Peer,
        path: &str,
        offer: &str,
        agreed: &str,
    ) -> Self {
        session.send(peer, &wire::request(path, &[offer]));
        let head = session.head(peer);
        assert!(head.contains(&format!("Sec-WebSocket-Extensions: {agreed}\r\n")), "{head}");
        Self {
            peer,
            keeps_context: !agreed.contains("client_no_context_takeover"),
            compress: Compress::new(Compression::best(), false),
            inflate: Decompress::new(false),
        }
    }

    /// A compressed text message as this peer sends it.
    fn text(&mut self, text: &str) -> Vec<u8> {
        wire::frame(wire::TEXT | wire::RSV1, &self.pack(text))
    }

    fn pack(&mut self, text: &str) -> Vec<u8> {
        if !self.keeps_context {
            self.compress.reset();
        }
        // What does not fit into this would stay in zlib.
        let mut packed = Vec::with_capacity(text.len() + 64);
        self.compress
            .compress_vec(text.as_bytes(), &mut packed, FlushCompress::Sync)
            .expect("there is room");
        packed.truncate(packed.len() - 4);
        packed
    }

    /// The next message, and whether it came compressed.
    fn heard<W: World>(&mut self, session: &mut Session<W>) -> (String, bool) {
        let (first, payload) = session.compressed(self.peer);
        let compressed = first == wire::TEXT | wire::RSV1;
        assert!(compressed || first == wire::TEXT, "{first:#x}");
        let text = if compressed { self.unpack(&payload) } else { payload };
        (String::from_utf8(text).expect("text is UTF-8"), compressed)
    }

    fn unpack(&mut self, packed: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(1 << 20);
        for part in [packed, b"\x00\x00\xff\xff"] {
            self.inflate
                .decompress_vec(part, &mut text, FlushDecompress::Sync)
                .expect("the server compresses well");
        }
        text
    }
}

fn setup(deflate: Deflate) -> Setup {
    Setup { deflate: Some(deflate), ..Setup::default() }
}

const SHARED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

in_each_world!(
    nothing_is_agreed_on_unless_both_sides_want_it,
    messages_go_compressed_in_both_directions,
    short_messages_go_as_they_are,
    a_publication_is_the_same_bytes_for_all_who_share_a_window,
    a_retained_value_goes_compressed,
    newest_values_go_compressed_to_those_who_agreed,
    shared_and_private_messages_in_turn_are_read_with_one_window,
    connections_with_a_compressor_of_their_own_keep_the_context,
    only_so_many_connections_have_a_compressor_of_their_own,
    what_a_connection_held_is_given_back,
    a_compressor_that_gives_memory_back_is_counted,
    a_topic_is_left_only_when_nobody_of_any_window_holds_it,
    a_topic_that_is_gone_is_owed_however_much_goes_to_another_window,
    a_bomb_in_ten_fragments_ends_at_the_message_limit,
    a_slow_peer_gets_every_compressed_publication,
);

in_simulation!(last_words_do_not_refer_to_messages_that_were_dropped,);

fn nothing_is_agreed_on_unless_both_sides_want_it(place: &impl Place) {
    let mut session = Session::start(place, Setup::default());
    let peer = session.connect();
    session.send(peer, &wire::request("/echo", &[OFFER]));
    assert!(!session.head(peer).contains("Extensions"));
    session.part(peer);
    let mut session = Session::start(place, setup(Deflate::shared()));
    let peer = session.connect();
    session.send(peer, &wire::request("/echo", &[]));
    assert!(!session.head(peer).contains("Extensions"));
    let text = numbered(0, 1_000);
    session.say(peer, &text);
    assert_eq!(session.heard(peer), text);
}

fn messages_go_compressed_in_both_directions(place: &impl Place) {
    let mut session = Session::start(place, setup(Deflate::shared()));
    let mut zlib = Zlib::open(&mut session, "/echo", OFFER, SHARED);
    for length in [256, 300, 1_000, 70_000, 1_000_000] {
        let text = numbered(length, length);
        let bytes = zlib.text(&text);
        session.send(zlib.peer, &bytes);
        assert_eq!(zlib.heard(&mut session), (text, true), "{length}");
    }
}

fn short_messages_go_as_they_are(place: &impl Place) {
    let mut session = Session::start(place, setup(Deflate::shared()));
    let mut zlib = Zlib::open(&mut session, "/echo", OFFER, SHARED);
    for length in [0, 1, 100, 255] {
        let text = ".".repeat(length);
        let bytes = zlib.text(&text);
        session.send(zlib.peer, &bytes);
        assert_eq!(zlib.heard(&mut session), (text, false), "{length}");
    }
}

fn a_publication_is_the_same_bytes_for_all_who_share_a_window(place: &impl Place) {
    let mut session = Session::start(place, setup(Deflate::shared()).with_shards(2));
    let small = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10";
    let small_agreed = format!("{SHARED}; server_max_window_bits=10");
    let mut peers: Vec<Zlib> = Vec::new();
    for index in 0..6 {
        let (offer, agreed) = if index < 4 { (OFFER, SHARED) } else { (small, &*small_agreed) };
        let zlib = Zlib::open(&mut session, "/script", offer, agreed);
        session.say(zlib.peer, "subscribe prices");
        assert_eq!(session.heard(zlib.peer), "subscribed after 0");
        peers.push(zlib);
    }
    let plain = session.open("/script");
    session.say(plain, "subscribe prices");
    assert_eq!(session.heard(plain), "subscribed after 0");
    let topic = session.world.publisher().topic("prices");
    let text = numbered(1, 5_000);
    session.world.publisher().publish(&topic, Kind::Text, text.as_bytes());
    assert_eq!(session.heard(plain), text);
    let packed: Vec<_> = peers.iter().map(|zlib| session.compressed(zlib.peer)).collect();
    for (zlib, (first, payload)) in peers.iter_mut().zip(&packed) {
        assert_eq!(*first, wire::TEXT | wire::RSV1);
        assert!(payload.len() < 100, "{} bytes", payload.len());
        assert_eq!(zlib.unpack(payload), text.as_bytes());
    }
    assert!(packed[..4].iter().all(|it| *it == packed[0]));
    assert!(packed[4..].iter().all(|it| *it == packed[4]));
}

fn a_retained_value_goes_compressed(place: &impl Place) {
    let mut session = Session::start(place, setup(Deflate::shared()));
    let topic = session.world.publisher().topic("prices");
    let text = numbered(7, 2_000);
    session.world.publisher().retain_with(&topic, Kind::Text, |_, value| {
        value.extend_from_slice(text.as_bytes());
    });
    let mut zlib = Zlib::open(&mut session, "/script", OFFER, SHARED);
    session.say(zlib.peer, "subscribe prices");
    assert_eq!(zlib.heard(&mut session), ("subscribed after 0".to_owned(), false));
    assert_eq!(zlib.heard(&mut session), (text, true));
}

fn newest_values_go_compressed_to_those_who_agreed(place: &impl Place) {
    let mut session = Session::start(place, setup(Deflate::shared()));
    let publisher = session.world.publisher();
    let topic = publisher.topic("prices");
    let mut zlib = Zlib::open(&mut session, "/script", OFFER, SHARED);
    let plain = session.open("/script");
    for (view, before) in [(0, ""), (1, "0>1 ")] {
        session.say(zlib.peer, &format!("value prices merge view {view} known 0"));
        session.say(plain, &format!("value prices merge view {view} known 0"));
        let seq = topic.seq();
        assert_eq!(zlib.heard(&mut session), (format!("following after {seq}"), false));
        assert_eq!(session.heard(plain), format!("following after {seq}"));
        let text = numbered(7, 2_000);
        if view == 0 {
            publisher.publish_with(&topic, Kind::Text, |_, message, value| {
                message.extend_from_slice(b"an event");
                value.extend_from_slice(text.as_bytes());
            });
        }
        // In the second round the value is there already, and what they know of is older.
        assert_eq!(zlib.heard(&mut session), (format!("{before}{text}"), true));
        assert_eq!(session.heard(plain), format!("{before}{text}"));
    }
    session.part(plain);
}

fn shared_and_private_messages_in_turn_are_read_with_one_window(place: &impl Place) {
    for (deflate, agreed) in
        [(Deflate::shared(), SHARED), (Deflate::dedicated(10), "permessage-deflate")]
    {
        let mut session = Session::start(place, setup(deflate));
        let mut zlib = Zlib::open(&mut session, "/script", OFFER, agreed);
        session.say(zlib.peer, "subscribe prices");
        assert_eq!(zlib.heard(&mut session).0, "subscribed after 0");
        let publisher = session.world.publisher();
        let topic = publisher.topic("prices");
        for round in 0..20 {
            // One word: that is what `/script` says back.
            let text = numbered(round, 400 + round).replace(' ', "-");
            publisher.publish(&topic, Kind::Text, text.as_bytes());
            // A connection's own compressor does not know what others were sent.
            let compressed = agreed == SHARED;
            assert_eq!(zlib.heard(&mut session), (text.clone(), compressed));
            let bytes = zlib.text(&text);
            session.send(zlib.peer, &bytes);
            assert_eq!(zlib.heard(&mut session), (text, true));
        }
    }
}

fn connections_with_a_compressor_of_their_own_keep_the_context(place: &impl Place) {
    let mut session = Session::start(place, setup(Deflate::dedicated(1)));
    let mut zlib = Zlib::open(&mut session, "/echo", OFFER, "permessage-deflate");
    // No byte of it occurs twice in a row, so only memory of the first helps with the second.
    let text: String = (0..2_000_u32).map(|n| char::from(b'!' + (n * n / 7 % 90) as u8)).collect();
    let mut lengths = Vec::new();
    for _ in 0..3 {
        let bytes = zlib.text(&text);
        session.send(zlib.peer, &bytes);
        let (first, payload) = session.compressed(zlib.peer);
        assert_eq!(first, wire::TEXT | wire::RSV1);
        assert_eq!(zlib.unpack(&payload), text.as_bytes());
        lengths.push(payload.len());
    }
    assert!(lengths[1] * 10 < lengths[0], "{lengths:?}");
    assert!(lengths[2] * 10 < lengths[0], "{lengths:?}");
}

fn only_so_many_connections_have_a_compressor_of_their_own(place: &impl Place) {
    let mut session = Session::start(place, setup(Deflate::dedicated(2)));
    let own = "permessage-deflate";
    let first = Zlib::open(&mut session, "/echo", OFFER, own);
    let _second = Zlib::open(&mut session, "/echo", OFFER, own);
    let _third = Zlib::open(&mut session, "/echo", OFFER, SHARED);
    assert_eq!(session.world.counters().deflate_dedicated_now, 2);
    session.part(first.peer);
    session.until("it has gone", |world| world.counters().deflate_dedicated_now == 1);
    let _fourth = Zlib::open(&mut session, "/echo", OFFER, own);
}

fn what_a_connection_held_is_given_back(place: &impl Place) {
    let mut session = Session::start(place, setup(Deflate::dedicated(100)));
    let mut zlib = Zlib::open(&mut session, "/echo", OFFER, "permessage-deflate");
    session.delivered();
    let before = session.world.counters().deflate_bytes_now;
    let text = numbered(0, 1_000);
    let bytes = zlib.text(&text);
    session.send(zlib.peer, &bytes);
    assert_eq!(zlib.heard(&mut session), (text, true));
    session.until("memory is counted", |world| {
        world.counters().deflate_bytes_now >= before + 47 * 1024 + 32 * 1024
    });
    session.world.reset(zlib.peer);
    session.until("it is given back", |world| {
        let counters = world.counters();
        (counters.deflate_bytes_now, counters.deflate_dedicated_now) == (before, 0)
    });
}

fn a_compressor_that_gives_memory_back_is_counted(place: &impl Place) {
    let mut session = Session::start(place, setup(Deflate::dedicated(100)));
    let mut zlib = Zlib::open(&mut session, "/echo", OFFER, "permessage-deflate");
    session.delivered();
    let before = session.world.counters().deflate_bytes_now;
    // Half of what its output keeps, then more than it keeps: nothing of that compresses.
    for length in [30_000, 100_000, 30_000] {
        let text = noise(length);
        let bytes = zlib.text(&text);
        session.send(zlib.peer, &bytes);
        assert_eq!(zlib.heard(&mut session), (text, true), "{length}");
    }
    session.world.reset(zlib.peer);
    session.until("it is given back", |world| {
        let counters = world.counters();
        (counters.deflate_bytes_now, counters.deflate_dedicated_now) == (before, 0)
    });
}

/// Text of all visible characters without any order.
fn noise(length: usize) -> String {
    let mut random = 1_u32;
    let mut next = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b' ' + (random >> 24) as u8 % 95)
    };
    (0..length).map(|_| next()).collect()
}

fn a_topic_is_left_only_when_nobody_of_any_window_holds_it(place: &impl Place) {
    let mut session = Session::start(place, setup(Deflate::shared()));
    let plain = session.open("/script");
    let zlib = Zlib::open(&mut session, "/script", OFFER, SHARED);
    for peer in [plain, zlib.peer] {
        session.say(peer, "subscribe prices");
        assert_eq!(session.heard(peer), "subscribed after 0");
    }
    let topic = session.world.publisher().topic("prices");
    session.say(plain, "unsubscribe prices");
    assert_eq!(session.heard(plain), "unsubscribed true");
    assert!(topic.has_subscribers());
    session.world.publisher().publish(&topic, Kind::Text, b"still here");
    assert_eq!(session.heard(zlib.peer), "still here");
    session.part(zlib.peer);
    session.until("nobody is left", |_| !topic.has_subscribers());
}

fn a_topic_that_is_gone_is_owed_however_much_goes_to_another_window(place: &impl Place) {
    let mut session = Session::start(place, setup(Deflate::shared()));
    let publisher = session.world.publisher();
    let slow = session.connect_narrow();
    session.upgrade(slow, "/script");
    session.say(slow, "watch room*");
    assert_eq!(session.heard(slow), "watching");
    let mut zlib = Zlib::open(&mut session, "/script", OFFER, SHARED);
    session.say(zlib.peer, "subscribe prices");
    assert_eq!(zlib.heard(&mut session).0, "subscribed after 0");
    let (room, prices) = (publisher.topic("room"), publisher.topic("prices"));
    let texts: Vec<String> = (0..300).map(|number| numbered(number, 3_000)).collect();
    for text in &texts {
        publisher.publish(&room, Kind::Text, text.as_bytes());
    }
    session.until("it lags", |world| world.counters().lagging_now == 1);
    drop(room);
    for number in 0..2 * texts.len() as u64 {
        let text = numbered(number, 10);
        publisher.publish(&prices, Kind::Text, text.as_bytes());
        assert_eq!(zlib.heard(&mut session).0, text);
    }
    for text in texts {
        assert_eq!(session.heard(slow), text);
    }
}

fn a_bomb_in_ten_fragments_ends_at_the_message_limit(place: &impl Place) {
    let mut setup = setup(Deflate::shared());
    setup.limits.protocol.message_bytes_max = 100_000;
    let mut session = Session::start(place, setup);
    let mut zlib = Zlib::open(&mut session, "/echo", OFFER, SHARED);
    // Ten megabytes of one letter are ten kilobytes.
    let packed = zlib.pack(&"a".repeat(10_000_000));
    assert!(packed.len() < 20_000);
    let pieces: Vec<&[u8]> = packed.chunks(packed.len().div_ceil(10)).collect();
    for (index, piece) in pieces.iter().enumerate() {
        let first = if index == 0 { wire::TEXT_BEGINS | wire::RSV1 } else { wire::GOES_ON };
        let last = if index + 1 == pieces.len() { wire::ENDS } else { 0 };
        session.send(zlib.peer, &wire::frame(first | last, piece));
    }
    let (code, _) = session.closed(zlib.peer);
    assert_eq!(code, 1009);
    let held = session.world.counters().deflate_bytes_now;
    assert!(held < 100_000 + 64 * 1024, "{held} bytes");
}

fn a_slow_peer_gets_every_compressed_publication(place: &impl Place) {
    let mut session = Session::start(place, setup(Deflate::shared()));
    let mut zlib = {
        let peer = session.connect_narrow();
        Zlib::upgrade(&mut session, peer, "/script", OFFER, SHARED)
    };
    session.say(zlib.peer, "subscribe prices");
    assert_eq!(zlib.heard(&mut session).0, "subscribed after 0");
    let publisher = session.world.publisher();
    let topic = publisher.topic("prices");
    let mut random = 1_u32;
    let mut text = |number: u64| {
        let noise = (0..3_000).map(|_| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + (random >> 28) as u8)
        });
        numbered(number, 10) + &noise.collect::<String>()
    };
    let texts: Vec<String> = (0..200).map(&mut text).collect();
    for text in &texts {
        publisher.publish(&topic, Kind::Text, text.as_bytes());
    }
    session.until("it lags", |world| world.counters().short_sends > 0);
    for text in texts {
        assert_eq!(zlib.heard(&mut session), (text, true));
    }
}

fn last_words_do_not_refer_to_messages_that_were_dropped(place: &Seed) {
    let mut deflate = Deflate::dedicated(1);
    deflate.threshold_bytes = 0;
    let mut setup = setup(deflate);
    setup.limits.protocol.message_bytes_max = 1_000;
    setup.limits.unsent_bytes_max = 4_000;
    let mut session = Session::start(place, setup);
    let mut zlib = Zlib::open(&mut session, "/echo", OFFER, "permessage-deflate");
    session.world.set_window(zlib.peer, 0);
    for _ in 0..3 {
        session.send(zlib.peer, &wire::text(&(noise(900) + "goodbye")));
    }
    session.send(zlib.peer, &wire::text(&noise(990)));
    // The Pongs make it more than a connection may leave unsent, so the messages are forgotten.
    for _ in 0..28 {
        session.send(zlib.peer, &wire::frame(wire::PING, &[b'p'; 125]));
    }
    session.delivered();
    session.world.shutdown();
    session.world.settle();
    session.world.set_window(zlib.peer, 64 * 1024);
    for _ in 0..28 {
        assert_eq!(session.compressed(zlib.peer).0, wire::PONG);
    }
    assert_eq!(zlib.heard(&mut session).0, "goodbye");
    assert_eq!(session.closed(zlib.peer).0, 1001);
}
