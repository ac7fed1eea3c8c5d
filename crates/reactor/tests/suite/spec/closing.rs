//! The closing handshake and its codes (RFC 6455 sections 5.5.1, 7.1 and 7.4), line by line.
//!
//! What a peer closes with is answered or refused; what an application closes with is sent or left
//! out. Which fault has which code is with the faults; what happens when time passes is in the cases
//! of deadlines.

use super::frames::{check, fails, upgrade_to};
use super::{Case, Share, play};
use crate::session::Session;
use crate::wire::{self, CLOSE, PING, TEXT_BEGINS};
use crate::world::{Setup, in_each_bare_world};

in_each_bare_world!(
    close_is_answered_once_with_its_code_and_the_server_ends_the_stream,
    close_without_a_code_is_answered_without_one,
    close_with_1010_is_taken_and_not_given_back,
    close_amid_a_message_is_answered_and_the_message_forgotten,
    close_body_of_one_byte_fails_with_1002,
    codes_that_are_not_for_the_wire_fail_with_1002,
    reasons_that_are_no_utf_8_fail_with_1007,
    reasons_of_up_to_123_bytes_are_taken,
    what_follows_a_close_in_the_same_segment_is_ignored,
    codes_of_the_application_are_sent_if_they_may_be,
    codes_that_no_server_may_send_are_left_out,
    reason_of_the_application_is_cut_to_123_bytes_at_a_character,
    close_of_the_server_is_its_last_frame_and_the_peers_answer_ends_it,
);

/// Every code that may be received (section 7.4 and the registry of IANA), at the edges of ranges.
const VALID: [u16; 18] = [
    1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3001, 3999, 4000,
    4001, 4999,
];

/// The body of a Close.
fn body(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

/// A client's Close, and the body of the server's.
fn closes(sent: &[u8], due: &[u8]) -> Case<Vec<u8>> {
    Case::new(sent.escape_ascii().to_string(), wire::frame(CLOSE, sent), due.to_vec())
}

/// Plays Closes of a client: the answer is the one frame that still comes.
fn check_answers(place: &impl Share, cases: &[Case<Vec<u8>>]) {
    let mut session = Session::start(place, Setup::default());
    let played = play(
        place,
        &mut session,
        cases,
        |session, peers| upgrade_to("/echo", session, peers),
        |session, peer, case| {
            let frame = session.frame(peer);
            assert_eq!((frame.first, frame.payload), (CLOSE, case.due.clone()));
            session.ended(peer);
        },
    );
    session.counted("closes", played.len() as u64, |counters| counters.closed);
    session.counted("failures", 0, |counters| counters.failed);
    session.counted("losses", 0, |counters| counters.lost);
}

/// Sections 5.5.1 and 7.1.1.
fn close_is_answered_once_with_its_code_and_the_server_ends_the_stream(place: &impl Share) {
    let codes = VALID.into_iter().filter(|&code| code != 1010);
    let cases = codes.map(|code| closes(&body(code, b"reason"), &body(code, b"")));
    check_answers(place, &cases.collect::<Vec<_>>());
}

/// Section 5.5.1.
fn close_without_a_code_is_answered_without_one(place: &impl Share) {
    check_answers(place, &[closes(b"", b"")]);
}

/// Section 7.4.1: 1010 is for clients only.
fn close_with_1010_is_taken_and_not_given_back(place: &impl Share) {
    check_answers(place, &[closes(&body(1010, b"deflate"), &body(1000, b""))]);
}

/// Section 5.4: control frames may come between fragments.
fn close_amid_a_message_is_answered_and_the_message_forgotten(place: &impl Share) {
    let mut case = closes(&body(1001, b""), &body(1001, b""));
    case.sent.splice(0..0, wire::frame(TEXT_BEGINS, b"never to be ended"));
    check_answers(place, &[case]);
}

/// Section 5.5.1.
fn close_body_of_one_byte_fails_with_1002(place: &impl Share) {
    let bodies = [b"\x03", b"\0", b"\xff"];
    check(place, bodies.iter().flat_map(|it| fails("one byte", &[wire::frame(CLOSE, *it)], 1002)));
}

/// Sections 7.4.1 and 7.4.2.
fn codes_that_are_not_for_the_wire_fail_with_1002(place: &impl Share) {
    let codes = [
        0, 1, 255, 256, 999, 1004, 1005, 1006, 1015, 1016, 1017, 1100, 1999, 2000, 2999, 5000,
        5001, 9999, 32_767, 32_768, 65_535,
    ];
    let close = |code, reason| fails(&format!("{code}"), &[wire::close(code, reason)], 1002);
    check(place, codes.into_iter().flat_map(|code| close(code, "")));
    check(place, [1005, 1006].into_iter().flat_map(|code| close(code, "reason")));
}

/// Section 5.5.1.
fn reasons_that_are_no_utf_8_fail_with_1007(place: &impl Share) {
    let reasons: [&[u8]; 6] =
        [b"\xff", b"ok\x80", b"\xce", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"];
    let close = |reason: &[u8]| {
        let name = reason.escape_ascii().to_string();
        fails(&name, &[wire::frame(CLOSE, &body(1000, reason))], 1007)
    };
    check(place, reasons.into_iter().flat_map(close));
}

/// Section 5.5.
fn reasons_of_up_to_123_bytes_are_taken(place: &impl Share) {
    let reasons = ["x".repeat(123), "\u{e9}".repeat(61), "\u{1f600}".repeat(30)];
    let cases = reasons.map(|reason| closes(&body(1000, reason.as_bytes()), &body(1000, b"")));
    check_answers(place, &cases);
}

/// Section 5.5.1: whatever it is. The server may be gone before a later segment, so all is in one.
fn what_follows_a_close_in_the_same_segment_is_ignored(place: &impl Share) {
    let mut session = Session::start(place, Setup::default());
    let close = wire::close(1000, "bye");
    let others = [
        wire::text("behind"),
        wire::frame(PING, b"behind"),
        b"\x81\0".to_vec(),
        wire::close(4000, ""),
    ];
    let plays = (0..close.len()).flat_map(|offset| others.iter().map(move |other| (offset, other)));
    let plays: Vec<_> = plays.map(|play| (session.open("/echo"), play)).collect();
    for &(peer, (offset, _)) in &plays {
        session.send(peer, &close[..offset]);
    }
    session.delivered();
    for &(peer, (offset, other)) in &plays {
        session.send(peer, &[&close[offset..], other].concat());
    }
    for (peer, _) in plays {
        assert_eq!(session.closed(peer), (1000, String::new()));
        session.ended(peer);
    }
    session.counted("messages", 0, |counters| counters.received_messages);
    session.counted("failures", 0, |counters| counters.failed);
}

/// Plays words that make the application close, and the peer's answer.
fn check_words(place: &impl Share, cases: &[Case<Vec<u8>>]) {
    let mut session = Session::start(place, Setup::default());
    let played = play(
        place,
        &mut session,
        cases,
        |session, peers| upgrade_to("/script", session, peers),
        |session, peer, case| {
            let frame = session.frame(peer);
            assert_eq!((frame.first, frame.payload), (CLOSE, case.due.clone()));
            session.send(peer, &wire::frame(CLOSE, &case.due));
            session.ended(peer);
        },
    );
    session.counted("closes", played.len() as u64, |counters| counters.closed);
}

/// The words that make the application close, and the body of the Close that is due.
fn asked(words: &str, due: &[u8]) -> Case<Vec<u8>> {
    Case::new(words, wire::text(words), due.to_vec())
}

/// Section 7.4.
fn codes_of_the_application_are_sent_if_they_may_be(place: &impl Share) {
    let codes = VALID.into_iter().filter(|&code| code != 1010);
    let cases = codes.map(|code| asked(&format!("close {code} enough"), &body(code, b"enough")));
    check_words(place, &cases.collect::<Vec<_>>());
}

/// Sections 7.4.1 and 7.4.2: those that stand for the lack of a code, and those of nobody. 1010 would
/// tell a server that it lacks an extension.
fn codes_that_no_server_may_send_are_left_out(place: &impl Share) {
    let codes = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535];
    let mut cases: Vec<_> =
        codes.map(|code| asked(&format!("close {code} enough"), b"")).into_iter().collect();
    cases.push(asked("close 1010 enough", &body(1000, b"enough")));
    check_words(place, &cases);
}

/// Section 5.5: a control frame has at most 125 bytes, and a reason is UTF-8.
fn reason_of_the_application_is_cut_to_123_bytes_at_a_character(place: &impl Share) {
    let cases =
        [("x", 123), ("\u{e9}", 61), ("\u{20ac}", 41), ("\u{1f600}", 30)].map(|(text, times)| {
            let due = body(4000, text.repeat(times).as_bytes());
            asked(&format!("close 4000 {}", text.repeat(130)), &due)
        });
    check_words(place, &cases);
    check_words(
        place,
        &[asked(&format!("close 4000 {}", "x".repeat(123)), &body(4000, &[b'x'; 123]))],
    );
}

/// Sections 5.5.1 and 7.1.2: Pings and messages that cross it are not answered.
fn close_of_the_server_is_its_last_frame_and_the_peers_answer_ends_it(place: &impl Share) {
    let crossing =
        [wire::frame(PING, b"cross"), wire::text("ing"), wire::frame(TEXT_BEGINS, b"over")];
    let sent = [wire::text("close 4001 enough"), crossing.concat()].concat();
    let case = Case::new("crossing frames", sent, body(4001, b"enough"));
    check_words(place, &[case]);
}
