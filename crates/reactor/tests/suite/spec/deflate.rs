//! permessage-deflate (RFC 7692), line by line.
//!
//! Offers are answered or declined; then compressed messages come and go. What a client compresses
//! and how it reads the server's is done here with a library that the engine does not use, and with
//! the examples of the RFC to the byte.
//!
//! Two engines are played: one that keeps no context, where all connections share, and one that
//! keeps the context of each connection, in both directions. How publications are compressed is with
//! the other cases of `deflate`.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tickwire_reactor::Deflate;

use super::frames::{check_after, fails, goes_on};
use super::handshake::{Due, OPENS, Request, check_with, with};
use super::{Case, Share};
use crate::session::Session;
use crate::wire::{
    self, BINARY, BINARY_BEGINS, CLOSE, ENDS, GOES_ON, PING, PONG, RSV1, TEXT, TEXT_BEGINS,
};
use crate::world::{Peer, Setup, World, in_each_bare_world};

in_each_bare_world!(
    offers_are_answered_with_what_holds,
    offers_with_a_wrong_parameter_are_declined,
    first_offer_that_can_be_accepted_is_taken,
    engine_without_compression_declines_every_offer,
    engine_that_keeps_context_says_no_more_than_it_was_asked,
    examples_of_section_7_2_3_are_read,
    example_that_shares_a_window_is_read_where_context_is_kept,
    reference_to_a_forgotten_message_fails_with_1007,
    messages_without_compression_are_accepted_after_negotiation,
    rsv1_anywhere_but_on_a_messages_first_frame_fails_with_1002,
    rsv1_is_of_one_message_only,
    data_that_is_no_deflate_fails_with_1007,
    text_is_checked_after_inflating,
    messages_are_limited_after_inflating,
    bombs_fail_with_1009,
    short_messages_go_out_as_they_are,
    long_messages_go_out_compressed_and_stand_alone_without_context,
    client_may_have_the_server_forget_where_context_is_kept,
    window_of_the_server_is_as_small_as_asked,
);

const LINE: &str = "Sec-WebSocket-Extensions: permessage-deflate";

/// An engine that keeps no context.
fn shared() -> Setup {
    Setup { deflate: Some(Deflate::shared()), ..Setup::default() }
}

/// An engine that keeps context in both directions.
fn dedicated() -> Setup {
    Setup { deflate: Some(Deflate::dedicated(1_000)), ..Setup::default() }
}

fn offer(offer: &str, due: Due) -> Request {
    with(format!("Sec-WebSocket-Extensions: {offer}"), due)
}

/// Opens a WebSocket with compression for each peer.
fn upgrade<W: World>(session: &mut Session<W>, peers: &[Peer]) {
    for &peer in peers {
        session.send(peer, &wire::request("/echo", &[LINE]));
    }
    for &peer in peers {
        let head = session.head(peer);
        assert!(head.contains(LINE), "{head}");
    }
}

fn open<W: World>(session: &mut Session<W>, path: &str, line: &str) -> Peer {
    let peer = session.connect();
    session.send(peer, &wire::request(path, &[line]));
    let head = session.head(peer);
    assert!(head.contains(LINE), "{head}");
    peer
}

/// What a client compresses; refers to the messages before.
struct Packer(Compress);

impl Packer {
    fn new() -> Self {
        Self(Compress::new(Compression::best(), false))
    }

    /// Without the four bytes at its end (section 7.2.1).
    fn pack(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(payload.len() + 1_000);
        self.0.compress_vec(payload, &mut packed, FlushCompress::Sync).expect("there is room");
        assert!(packed.ends_with(b"\0\0\xff\xff"));
        packed.truncate(packed.len() - 4);
        packed
    }
}

fn pack(payload: &[u8]) -> Vec<u8> {
    Packer::new().pack(payload)
}

/// What a client that keeps the server's window reads.
struct Unpacker(Decompress);

impl Unpacker {
    fn new() -> Self {
        Self(Decompress::new(false))
    }

    /// The payload of a message of the server.
    fn unpack(&mut self, frame: &wire::Frame) -> Vec<u8> {
        if frame.first & RSV1 == 0 {
            return frame.payload.clone();
        }
        let packed = [&*frame.payload, b"\0\0\xff\xff"].concat();
        let mut payload = Vec::with_capacity(300_000);
        self.0.decompress_vec(&packed, &mut payload, FlushDecompress::Sync).expect("it is DEFLATE");
        assert!(payload.len() < 300_000, "no case is as long");
        payload
    }
}

fn unpack(frame: &wire::Frame) -> Vec<u8> {
    Unpacker::new().unpack(frame)
}

/// A compressed message in one frame.
fn packed(first: u8, payload: &[u8]) -> Vec<u8> {
    wire::frame(RSV1 | first, &pack(payload))
}

/// Bytes that nothing compresses.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

const ALONE: &str = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Sections 5.1 and 7.1: what is asked for is granted or bettered, what was not offered is not
/// answered, and what the server does anyway is said.
fn offers_are_answered_with_what_holds(place: &impl Share) {
    let alone = Due::Opens(&[ALONE]);
    let requests = vec![
        offer("permessage-deflate", alone),
        offer("permessage-deflate; server_no_context_takeover", alone),
        offer("permessage-deflate; client_no_context_takeover; server_no_context_takeover", alone),
        offer("permessage-deflate; client_max_window_bits", alone),
        offer("permessage-deflate; client_max_window_bits=15", alone),
        offer(
            "permessage-deflate; client_max_window_bits=8",
            Due::Opens(&[
                "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits=8",
            ]),
        ),
        offer(
            "permessage-deflate; server_max_window_bits=10",
            Due::Opens(&[
                "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10",
            ]),
        ),
        offer(
            "permessage-deflate;server_max_window_bits=\"12\" ; client_max_window_bits = 11",
            Due::Opens(&[
                "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12; client_max_window_bits=11",
            ]),
        ),
    ];
    check_with(place, shared(), requests);
}

/// Section 7: declined and never clamped. A window of 256 bytes is one that zlib does not have.
fn offers_with_a_wrong_parameter_are_declined(place: &impl Share) {
    let parameters = [
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=8",
        "server_max_window_bits=16",
        "server_max_window_bits=08",
        "server_max_window_bits=010",
        "server_max_window_bits=\"\"",
        "server_max_window_bits=x",
        "server_max_window_bits=10.0",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=08",
        "client_max_window_bits=\"\"",
        "client_max_window_bits=256",
        "client_no_context_takeover=1",
        "server_no_context_takeover=true",
        "server_no_context_takeover=\"\"",
        "unknown",
        "unknown=1",
        "client_max_window_bits; client_max_window_bits",
        "client_max_window_bits=10; client_max_window_bits=10",
        "server_max_window_bits=10; server_max_window_bits=10",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "Server_No_Context_Takeover",
    ];
    let declined = parameters.map(|it| offer(&format!("permessage-deflate; {it}"), OPENS));
    check_with(place, shared(), declined.into());
    let others = ["x-permessage-deflate", "permessage-deflate2", "Permessage-Deflate"];
    check_with(place, shared(), others.map(|it| offer(it, OPENS)).into());
}

/// Sections 5 and 7: in the order of the client, over several lines too.
fn first_offer_that_can_be_accepted_is_taken(place: &impl Share) {
    let ten = Due::Opens(&[
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10",
    ]);
    let requests = vec![
        offer("permessage-deflate; server_max_window_bits=10, permessage-deflate", ten),
        offer(
            "permessage-deflate; server_max_window_bits=7, permessage-deflate; server_max_window_bits=10",
            ten,
        ),
        offer(
            "unknown; a=b, permessage-deflate; unknown, permessage-deflate; server_max_window_bits=10",
            ten,
        ),
        offer(
            "permessage-deflate; unknown\r\nSec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10",
            ten,
        ),
        offer(
            "permessage-deflate, permessage-deflate; server_max_window_bits=10",
            Due::Opens(&[ALONE]),
        ),
        offer("permessage-deflate; unknown, permessage-deflate; server_max_window_bits=8", OPENS),
    ];
    check_with(place, shared(), requests);
}

/// Section 5: declining is no error; RSV1 is one then.
fn engine_without_compression_declines_every_offer(place: &impl Share) {
    let offers = ["permessage-deflate", "permessage-deflate; client_max_window_bits"];
    check_with(place, Setup::default(), offers.map(|it| offer(it, OPENS)).into());
    check_after(place, Setup::default(), decline, fails("RSV1", &[vec![RSV1 | TEXT]], 1002));
}

/// Offers compression to an engine that declines.
fn decline<W: World>(session: &mut Session<W>, peers: &[Peer]) {
    for &peer in peers {
        session.send(peer, &wire::request("/echo", &[LINE]));
    }
    for &peer in peers {
        assert!(!session.head(peer).contains("Sec-WebSocket-Extensions"));
    }
}

/// Sections 7.1.1.1 and 7.1.1.2.
fn engine_that_keeps_context_says_no_more_than_it_was_asked(place: &impl Share) {
    let requests = vec![
        offer("permessage-deflate", Due::Opens(&[LINE])),
        offer("permessage-deflate; client_max_window_bits", Due::Opens(&[LINE])),
        offer(
            "permessage-deflate; server_no_context_takeover",
            Due::Opens(&[
                "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover",
            ]),
        ),
        offer(
            "permessage-deflate; client_no_context_takeover",
            Due::Opens(&[
                "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover",
            ]),
        ),
    ];
    check_with(place, dedicated(), requests);
}

/// The compressed "Hello" of section 7.2.3.1.
const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
/// The same a second time, as a reference to the first (section 7.2.3.2).
const HELLO_AGAIN: &[u8] = b"\xf2\x00\x11\x00\x00";

fn compressed(name: &str, payload: &[u8], due: &[u8]) -> Case<super::frames::Due> {
    goes_on(name, &[wire::frame(RSV1 | TEXT, payload)], &[(TEXT, due)])
}

/// Sections 7.2.3.1 and 7.2.3.3 to 7.2.3.6.
fn examples_of_section_7_2_3_are_read(place: &impl Share) {
    let (begins, ends) = HELLO.split_at(3);
    let fragments = [wire::frame(RSV1 | TEXT_BEGINS, begins), wire::frame(ENDS, ends)];
    let cases = vec![
        compressed("one block", HELLO, b"Hello"),
        goes_on("one block in two fragments", &fragments, &[(TEXT, b"Hello")]),
        compressed("a stored block", b"\x00\x05\x00\xfa\xffHello\x00", b"Hello"),
        compressed("a final block", b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"Hello"),
        compressed("two blocks", b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", b"Hello"),
        compressed("an empty message", b"\x00", b""),
        compressed("an empty message, as a fixed block", b"\x02\x00", b""),
    ];
    check_after(place, shared(), upgrade, cases);
}

/// A case whose echo is compared after inflating, with one inflater for all that comes.
fn check_echoes(place: &impl Share, setup: Setup, cases: &[Case<Vec<Vec<u8>>>]) {
    let mut session = Session::start(place, setup);
    super::play(place, &mut session, cases, upgrade, |session, peer, case| {
        let mut unpacker = Unpacker::new();
        for due in &case.due {
            let frame = session.deflated_frame(peer);
            assert!(unpacker.unpack(&frame) == *due, "{frame:?} comes back as another");
        }
        session.part(peer);
    });
}

/// Section 7.2.3.2.
fn example_that_shares_a_window_is_read_where_context_is_kept(place: &impl Share) {
    let twice = [wire::frame(RSV1 | TEXT, HELLO), wire::frame(RSV1 | TEXT, HELLO_AGAIN)].concat();
    let due = vec![b"Hello".to_vec(), b"Hello".to_vec()];
    let mut packer = Packer::new();
    let text = |index| wire_text(index);
    let many: Vec<_> =
        (0..10).flat_map(|index| wire::frame(RSV1 | TEXT, &packer.pack(&text(index)))).collect();
    let cases = [
        Case::new("Hello, twice", twice, due),
        Case::new("ten that are alike", many, (0..10).map(text).collect()),
    ];
    check_echoes(place, dedicated(), &cases);
}

/// Texts that are alike.
fn wire_text(index: usize) -> Vec<u8> {
    format!("{{\"symbol\":\"GOLD\",\"price\":\"{}.25\",\"sequence\":{index}}}", 2_000 + index)
        .into_bytes()
}

/// Section 7.1.1.2: neither the client's own messages before, nor those of others that the same
/// inflater has read.
fn reference_to_a_forgotten_message_fails_with_1007(place: &impl Share) {
    let again = fails("a reference", &[wire::frame(RSV1 | TEXT, HELLO_AGAIN)], 1007);
    check_after(place, dedicated(), upgrade, again.clone());
    check_after(place, shared(), upgrade, again);
    let mut session = Session::start(place, shared());
    let (one, two) = (open(&mut session, "/echo", LINE), open(&mut session, "/echo", LINE));
    session.send(one, &wire::frame(RSV1 | TEXT, HELLO));
    assert_eq!(session.heard(one), "Hello");
    for peer in [two, one] {
        session.send(peer, &wire::frame(RSV1 | TEXT, HELLO_AGAIN));
        assert_eq!(session.closed(peer).0, 1007);
        session.ended(peer);
    }
}

/// Section 6: each message is compressed or not as its sender likes.
fn messages_without_compression_are_accepted_after_negotiation(place: &impl Share) {
    let sent = [
        wire::text("plain"),
        wire::frame(RSV1 | TEXT, HELLO),
        wire::frame(PING, b"plain"),
        wire::frame(TEXT_BEGINS, b"pl"),
        wire::frame(ENDS, b"ain"),
        wire::frame(BINARY, b"\xff"),
    ];
    let due: [(u8, &[u8]); 4] =
        [(TEXT, b"plain"), (TEXT, b"Hello"), (TEXT, b"plain"), (BINARY, b"\xff")];
    check_after(place, shared(), upgrade, [goes_on("by turns", &sent, &due).answers(&[b"plain"])]);
}

/// Section 6, and the two bits that nobody has agreed on.
fn rsv1_anywhere_but_on_a_messages_first_frame_fails_with_1002(place: &impl Share) {
    let begins = wire::frame(RSV1 | TEXT_BEGINS, &HELLO[..3]);
    let first = [
        RSV1 | PING,
        RSV1 | PONG,
        RSV1 | CLOSE,
        RSV1 | ENDS,
        RSV1 | GOES_ON,
        0x20 | TEXT,
        0x10 | TEXT,
        0x20 | RSV1 | TEXT,
    ];
    for first in first {
        let name = format!("{first:#04x}");
        check_after(place, shared(), upgrade, fails(&name, &[vec![first]], 1002));
        let amid = fails(&format!("{name} within a message"), &[begins.clone(), vec![first]], 1002);
        check_after(place, shared(), upgrade, amid);
    }
}

/// A frame between fragments, or the message before, is not taken for what a message says of itself.
fn rsv1_is_of_one_message_only(place: &impl Share) {
    let sent = [
        wire::frame(RSV1 | TEXT_BEGINS, &HELLO[..3]),
        wire::frame(PING, b"plain"),
        wire::frame(GOES_ON, b""),
        wire::frame(PONG, b"plain"),
        wire::frame(ENDS, &HELLO[3..]),
        wire::frame(TEXT_BEGINS, b"pl"),
        wire::frame(PING, b"again"),
        wire::frame(ENDS, b"ain"),
        wire::frame(RSV1 | BINARY, HELLO),
    ];
    let due: [(u8, &[u8]); 3] = [(TEXT, b"Hello"), (TEXT, b"plain"), (BINARY, b"Hello")];
    let case = goes_on("frames between fragments", &sent, &due).answers(&[b"plain", b"again"]);
    check_after(place, shared(), upgrade, [case]);
}

/// Section 7.2.2.
fn data_that_is_no_deflate_fails_with_1007(place: &impl Share) {
    let bad: [(&str, &[u8]); 5] = [
        ("a reserved kind of block", b"\x07"),
        ("a stored block whose lengths differ", b"\x00\x05\x00\xfa\xfeHello\x00"),
        ("a block without its end", &HELLO[..3]),
        ("a stored block without its end", b"\x00\x05\x00\xfa\xffHel"),
        ("text that was not compressed", b"Hello, who are you?"),
    ];
    for (name, data) in bad {
        for setup in [shared(), dedicated()] {
            check_after(
                place,
                setup,
                upgrade,
                fails(name, &[wire::frame(RSV1 | TEXT, data)], 1007),
            );
        }
        let fragments = [wire::frame(RSV1 | BINARY_BEGINS, data), wire::frame(ENDS, b"")];
        check_after(place, shared(), upgrade, fails(name, &fragments, 1007));
    }
}

/// RFC 6455 section 8.1: what comes out is checked, in whatever fragments it came in.
fn text_is_checked_after_inflating(place: &impl Share) {
    let text = "\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}".as_bytes();
    let data = pack(text);
    let passes = (0..=data.len()).map(|offset| {
        let (begin, end) = data.split_at(offset);
        let fragments = [wire::frame(RSV1 | TEXT_BEGINS, begin), wire::frame(ENDS, end)];
        goes_on(&format!("fragments of {offset} bytes and the rest"), &fragments, &[(TEXT, text)])
    });
    check_after(place, shared(), upgrade, passes);
    for bad in [&b"\xff"[..], b"ok\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
        let name = bad.escape_ascii().to_string();
        check_after(place, shared(), upgrade, fails(&name, &[packed(TEXT, bad)], 1007));
    }
    let binary = goes_on("binary", &[packed(BINARY, b"\xff")], &[(BINARY, b"\xff")]);
    check_after(place, shared(), upgrade, [binary]);
}

fn limited(mut setup: Setup, message_bytes_max: u64) -> Setup {
    setup.limits.protocol.message_bytes_max = message_bytes_max;
    setup
}

/// Section 8.2 and RFC 6455 section 10.4: what comes out counts, and what goes in is no excuse.
fn messages_are_limited_after_inflating(place: &impl Share) {
    for make in [|length| vec![0; length], noise] {
        let echo = |length: usize| {
            Case::new(format!("{length}"), packed(BINARY, &make(length)), vec![make(length)])
        };
        check_echoes(place, limited(shared(), 1_000), &[echo(999), echo(1_000)]);
        let one_more = fails("1,001", &[packed(BINARY, &make(1_001))], 1009);
        check_after(place, limited(shared(), 1_000), upgrade, one_more);
    }
}

/// A thousand bytes for each that was sent, whole and in ten fragments.
fn bombs_fail_with_1009(place: &impl Share) {
    let bomb = pack(&vec![0; 10_000_000]);
    assert!(bomb.len() < 11_000, "{} bytes", bomb.len());
    let mut fragments: Vec<_> =
        bomb.chunks(bomb.len() / 9).map(|it| wire::frame(GOES_ON, it)).collect();
    assert_eq!(fragments.len(), 10);
    fragments[0][0] = RSV1 | TEXT_BEGINS;
    fragments[9][0] = ENDS;
    for setup in [shared(), dedicated()] {
        let setup = limited(setup, 64 * 1024);
        check_after(
            place,
            setup,
            upgrade,
            fails("whole", &[wire::frame(RSV1 | BINARY, &bomb)], 1009),
        );
        check_after(place, setup, upgrade, fails("in ten fragments", &fragments, 1009));
    }
}

/// Section 6: where compression makes nothing shorter.
fn short_messages_go_out_as_they_are(place: &impl Share) {
    let cases = [b"".to_vec(), b"a".to_vec(), b"Hello".to_vec(), noise(1_000)];
    let cases = cases.map(|it| goes_on("short", &[wire::frame(BINARY, &it)], &[(BINARY, &it)]));
    check_after(place, shared(), upgrade, cases);
}

/// Sections 6 and 7.1.1.1: the same message is the same bytes, and inflates alone.
fn long_messages_go_out_compressed_and_stand_alone_without_context(place: &impl Share) {
    let mut session = Session::start(place, shared());
    let text = wire_text(1).repeat(20);
    let twice = wire::frame(TEXT, &text).repeat(2);
    let cases = [Case::new("twice the same", twice, ())];
    super::play(place, &mut session, &cases, upgrade, |session, peer, _| {
        let [one, two] = [session.deflated_frame(peer), session.deflated_frame(peer)];
        assert_eq!((one.first, unpack(&one) == text), (RSV1 | TEXT, true));
        assert!(one.payload.len() < text.len() / 5 && one == two, "{one:?} {two:?}");
        session.part(peer);
    });
}

/// Section 7.1.1.1: a client that asks for it needs no window; one that does not sees that it helps.
fn client_may_have_the_server_forget_where_context_is_kept(place: &impl Share) {
    let mut session = Session::start(place, dedicated());
    let bytes = noise(1_000);
    for (parameter, forgets) in [("", false), ("; server_no_context_takeover", true)] {
        let peer = open(&mut session, "/echo", &format!("{LINE}{parameter}"));
        session.send(peer, &wire::frame(BINARY, &bytes).repeat(2));
        let mut unpacker = Unpacker::new();
        for is_second in [false, true] {
            let frame = session.deflated_frame(peer);
            assert_eq!(frame.payload.len() < 50, is_second && !forgets, "{frame:?}");
            let payload = if forgets { unpack(&frame) } else { unpacker.unpack(&frame) };
            assert!(payload == bytes, "it comes back as another");
        }
        session.part(peer);
    }
}

/// Section 7.1.2.1: noise that comes back after 600 bytes is found again in a window of 1,024, not in
/// one of 512.
fn window_of_the_server_is_as_small_as_asked(place: &impl Share) {
    let bytes = noise(600).repeat(2);
    for setup in [shared(), dedicated()] {
        let mut session = Session::start(place, setup);
        for (bits, is_found) in [(9, false), (10, true), (15, true)] {
            let line = format!("{LINE}; server_max_window_bits={bits}");
            let peer = open(&mut session, "/echo", &line);
            session.send(peer, &wire::frame(BINARY, &bytes));
            let frame = session.deflated_frame(peer);
            assert!(unpack(&frame) == bytes);
            assert_eq!(frame.payload.len() < 700, is_found, "{bits} bits: {}", frame.payload.len());
            session.part(peer);
        }
    }
}
