//! permessage-deflate in the handshakes of both sides: RFC 7692 sections 5 and 7.

use proptest::collection::vec;
use proptest::prelude::*;
use tickwire_protocol::{
    AnswerError, ClientError, ClientHandshake, DeflateParams, DeflatePolicy, Limits, RequestReader,
    Role, upgrade,
};

use crate::reference::offers::{self, answered};

/// A policy that says yes to all that is allowed.
fn generous() -> DeflatePolicy {
    let mut policy = DeflatePolicy::default();
    (policy.server_context, policy.client_context) = (true, true);
    policy
}

/// What a generous server answers to `line`.
fn said(line: &str) -> Option<String> {
    let agreed = answered(line.as_bytes(), &generous()).expect("well-formed");
    agreed.map(|(_, answer)| answer)
}

#[test]
fn the_first_acceptable_offer_is_taken() {
    let cases = [
        ("permessage-deflate", Some("permessage-deflate")),
        ("x-webkit-deflate-frame, permessage-deflate", Some("permessage-deflate")),
        ("permessage-bzip2; level=3", None),
        ("", None),
        (
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
            Some("permessage-deflate; server_max_window_bits=10"),
        ),
        (
            "permessage-deflate; server_max_window_bits=8, \
             permessage-deflate; unknown, \
             permessage-deflate; server_no_context_takeover, \
             permessage-deflate",
            Some("permessage-deflate; server_no_context_takeover"),
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(said(line).as_deref(), expected, "{line}");
    }
}

/// RFC 7692 section 7: declined, never clamped, and not an error of the handshake (CVE-2026-2229
/// was a client that clamped).
#[test]
fn an_offer_with_an_unknown_repeated_or_invalid_parameter_is_declined() {
    let parameters = [
        "unknown",
        "unknown=1",
        "Server_No_Context_Takeover",
        "server_no_context_takeover=1",
        "server_no_context_takeover=\"\"",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover=1",
        "client_no_context_takeover=true",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits",
        "server_max_window_bits=\"\"",
        "server_max_window_bits=0",
        "server_max_window_bits=7",
        "server_max_window_bits=8",
        "server_max_window_bits=08",
        "server_max_window_bits=010",
        "server_max_window_bits=16",
        "server_max_window_bits=100",
        "server_max_window_bits=1",
        "server_max_window_bits=-9",
        "server_max_window_bits=+9",
        "server_max_window_bits=1e1",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits=\"\"",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=08",
        "client_max_window_bits=256",
        "client_max_window_bits=4294967304",
        "client_max_window_bits; client_max_window_bits=10",
    ];
    for parameter in parameters {
        let line = format!("permessage-deflate; {parameter}");
        assert_eq!(said(&line), None, "{line}");
        let next = format!("{line}, permessage-deflate; client_max_window_bits=9");
        let expected = "permessage-deflate; client_max_window_bits=9";
        assert_eq!(said(&next).as_deref(), Some(expected), "{next}");
    }
}

#[test]
fn quoted_values_mean_what_they_say() {
    let cases = ["\"10\"", "\"\\1\\0\"", "\"1\\0\"", "10", " 10 ", " \"10\" "];
    for value in cases {
        let line = format!("permessage-deflate; server_max_window_bits={value}");
        let expected = "permessage-deflate; server_max_window_bits=10";
        assert_eq!(said(&line).as_deref(), Some(expected), "{line}");
    }
}

/// Sections 7.1.1.1 to 7.1.2.2, parameter by parameter.
#[test]
fn each_parameter_is_answered_as_its_section_says() {
    let mut frugal = DeflatePolicy::default();
    (frugal.server_window_bits, frugal.client_window_bits) = (12, 11);
    let mut wide = DeflatePolicy::default();
    (wide.server_window_bits, wide.client_window_bits) = (200, 0);
    let none = "; server_no_context_takeover; client_no_context_takeover";
    let cases = [
        (generous(), "", "".to_owned()),
        (generous(), "; server_no_context_takeover", "; server_no_context_takeover".to_owned()),
        (generous(), "; client_no_context_takeover", "; client_no_context_takeover".to_owned()),
        (generous(), "; server_max_window_bits=15", "; server_max_window_bits=15".to_owned()),
        (generous(), "; server_max_window_bits=9", "; server_max_window_bits=9".to_owned()),
        (generous(), "; client_max_window_bits", "".to_owned()),
        (generous(), "; client_max_window_bits=15", "".to_owned()),
        (generous(), "; client_max_window_bits=8", "; client_max_window_bits=8".to_owned()),
        // A server that keeps no context says so unasked, of both sides.
        (DeflatePolicy::default(), "", none.to_owned()),
        (DeflatePolicy::default(), "; client_max_window_bits", none.to_owned()),
        // A smaller window of our own may be answered unasked, one of the client must not.
        (frugal, "", format!("{none}; server_max_window_bits=12")),
        (
            frugal,
            "; client_max_window_bits; server_max_window_bits=10",
            format!("{none}; server_max_window_bits=10; client_max_window_bits=11"),
        ),
        (
            frugal,
            "; client_max_window_bits=9; server_max_window_bits=14",
            format!("{none}; server_max_window_bits=12; client_max_window_bits=9"),
        ),
        // What a policy cannot have is the nearest that there is.
        (wide, "; client_max_window_bits", format!("{none}; client_max_window_bits=9")),
    ];
    for (policy, offer, expected) in cases {
        let line = format!("permessage-deflate{offer}");
        let (_, answer) = answered(line.as_bytes(), &policy).expect("legal").expect("acceptable");
        assert_eq!(answer, format!("permessage-deflate{expected}"), "{line} with {policy:?}");
    }
}

/// RFC 6455 section 4.2.2: an answer names only what was offered, as it was offered.
#[test]
fn parameters_that_answer_no_offer_are_refused() {
    let params = DeflateParams {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: 15,
        client_max_window_bits: 15,
    };
    let cases = [
        ("", params, false),
        ("permessage-deflate; unknown", params, false),
        ("permessage-deflate", params, true),
        ("permessage-deflate; server_no_context_takeover", params, false),
        ("permessage-deflate; server_max_window_bits=14", params, false),
        ("permessage-deflate", DeflateParams { client_max_window_bits: 14, ..params }, false),
        (
            "permessage-deflate; client_max_window_bits=12",
            DeflateParams { client_max_window_bits: 13, ..params },
            false,
        ),
        ("permessage-deflate", DeflateParams { server_max_window_bits: 8, ..params }, false),
        ("permessage-deflate", DeflateParams { server_max_window_bits: 16, ..params }, false),
        (
            "permessage-deflate; client_max_window_bits",
            DeflateParams { client_max_window_bits: 7, ..params },
            false,
        ),
        (
            "permessage-deflate; client_max_window_bits",
            DeflateParams { client_max_window_bits: 8, ..params },
            true,
        ),
    ];
    for (line, params, expected) in cases {
        let mut head = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Extensions: {line}\r\n\r\n"
        )
        .into_bytes();
        let (mut input, mut reader) = (&mut head[..], RequestReader::new());
        let request = reader.push(&mut input, &Limits::DEFAULT).expect("valid").expect("whole");
        let upgrade = upgrade(&request).expect("a valid handshake");
        let mut out = Vec::new();
        let written = upgrade.accept_with(None, Some(&params), &[], &mut out);
        if expected {
            assert_eq!(written, Ok(()), "{line} and {params:?}");
        } else {
            assert_eq!(written, Err(AnswerError::ExtensionNotOffered), "{line} and {params:?}");
            assert_eq!(out, b"", "nothing is written");
        }
    }
}

/// What a client that offers `policy` makes of a 101 with `lines` of extensions.
fn client(
    policy: Option<DeflatePolicy>,
    lines: &str,
) -> Result<Option<DeflateParams>, ClientError> {
    let mut handshake = ClientHandshake::new(*b"the sample nonce");
    if let Some(policy) = policy {
        handshake.offer_deflate(&policy);
    }
    handshake.request("a", "/", &[], &[], &mut Vec::new()).expect("writable");
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n{lines}\r\n"
    )
    .into_bytes();
    let accepted = handshake.receive(&mut &mut answer[..])?;
    Ok(accepted.expect("the answer is whole").deflate)
}

fn extensions(value: &str) -> String {
    format!("Sec-WebSocket-Extensions: {value}\r\n")
}

#[test]
fn a_client_offers_what_its_policy_says() {
    let mut frugal = generous();
    (frugal.server_window_bits, frugal.client_window_bits) = (9, 10);
    let cases = [
        (
            generous(),
            "permessage-deflate; client_max_window_bits, \
             permessage-deflate; client_no_context_takeover; client_max_window_bits",
        ),
        (
            DeflatePolicy::default(),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             client_max_window_bits",
        ),
        (
            frugal,
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10, \
             permessage-deflate; client_no_context_takeover; server_max_window_bits=9; \
             client_max_window_bits=10",
        ),
    ];
    for (policy, expected) in cases {
        let mut handshake = ClientHandshake::new(*b"the sample nonce");
        handshake.offer_deflate(&policy);
        let mut out = Vec::new();
        handshake.request("a", "/", &[], &[], &mut out).expect("writable");
        let request = String::from_utf8(out).expect("ASCII");
        assert!(request.contains(&format!("\r\n{}", extensions(expected))), "{request}");
    }
}

/// Sections 5.1 and 7.1: an answer that does not fit the offer fails the connection. CVE-2026-2229
/// was a client that let a window of 2^64 bytes pass.
#[test]
fn a_client_accepts_only_an_answer_that_fits_its_offer() {
    let mut limited = DeflatePolicy::default();
    (limited.server_window_bits, limited.client_window_bits) = (12, 11);
    let both = "; server_no_context_takeover; client_no_context_takeover";
    let cases = [
        (Some(generous()), "".to_owned(), true),
        (Some(generous()), "; server_no_context_takeover".to_owned(), true),
        (Some(generous()), "; client_no_context_takeover".to_owned(), true),
        (Some(generous()), "; server_max_window_bits=8".to_owned(), true),
        (Some(generous()), "; client_max_window_bits=8".to_owned(), true),
        (Some(generous()), "; client_max_window_bits=\"9\"".to_owned(), true),
        (Some(generous()), "; client_max_window_bits".to_owned(), false),
        (Some(generous()), "; server_max_window_bits".to_owned(), false),
        (Some(generous()), "; server_max_window_bits=7".to_owned(), false),
        (Some(generous()), "; server_max_window_bits=16".to_owned(), false),
        (Some(generous()), "; server_max_window_bits=64".to_owned(), false),
        (Some(generous()), "; client_max_window_bits=16".to_owned(), false),
        (Some(generous()), "; client_max_window_bits=010".to_owned(), false),
        (Some(generous()), "; unknown".to_owned(), false),
        (Some(generous()), "; server_no_context_takeover=1".to_owned(), false),
        (Some(generous()), both.repeat(2), false),
        (Some(DeflatePolicy::default()), both.to_owned(), true),
        (Some(DeflatePolicy::default()), "; server_no_context_takeover".to_owned(), true),
        // What was asked of the server it must say it does (section 7.1.1.1).
        (Some(DeflatePolicy::default()), "".to_owned(), false),
        (Some(limited), format!("{both}; server_max_window_bits=12"), true),
        (Some(limited), format!("{both}; server_max_window_bits=11"), true),
        (Some(limited), format!("{both}; server_max_window_bits=13"), false),
        (Some(limited), both.to_owned(), false),
        (
            Some(limited),
            format!("{both}; server_max_window_bits=9; client_max_window_bits=11"),
            true,
        ),
        (
            Some(limited),
            format!("{both}; server_max_window_bits=9; client_max_window_bits=12"),
            false,
        ),
        (None, "".to_owned(), false),
    ];
    for (policy, parameters, expected) in cases {
        let lines = extensions(&format!("permessage-deflate{parameters}"));
        let agreed = client(policy, &lines);
        if expected {
            assert!(matches!(agreed, Ok(Some(_))), "{parameters} to {policy:?}: {agreed:?}");
        } else {
            assert_eq!(agreed, Err(ClientError::Extension), "{parameters} to {policy:?}");
        }
    }
}

#[test]
fn a_client_accepts_no_other_extension_and_none_twice() {
    let one = extensions("permessage-deflate");
    let cases = [
        (String::new(), Ok(false)),
        (one.clone(), Ok(true)),
        (one.repeat(2), Err(ClientError::Extension)),
        (extensions("permessage-deflate, permessage-deflate"), Err(ClientError::Extension)),
        (extensions("permessage-deflate, x"), Err(ClientError::Extension)),
        (extensions("x"), Err(ClientError::Extension)),
        (extensions("Permessage-Deflate"), Err(ClientError::Extension)),
        (extensions("permessage-deflate;"), Err(ClientError::Extension)),
        (extensions("permessage-deflate, ;"), Err(ClientError::Extension)),
    ];
    for (lines, expected) in cases {
        let agreed = client(Some(generous()), &lines).map(|params| params.is_some());
        assert_eq!(agreed, expected, "{lines}");
    }
}

fn policy() -> impl Strategy<Value = DeflatePolicy> {
    (any::<(bool, bool)>(), 9..=15_u8, 9..=15_u8).prop_map(|(contexts, server, client)| {
        let mut policy = DeflatePolicy::default();
        (policy.server_context, policy.client_context) = contexts;
        (policy.server_window_bits, policy.client_window_bits) = (server, client);
        policy
    })
}

/// Lines that are nearly offers.
fn line() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => Just("permessage-deflate"),
        4 => Just("; "),
        2 => Just(", "),
        2 => Just("server_no_context_takeover"),
        2 => Just("client_no_context_takeover"),
        2 => Just("; server_max_window_bits="),
        2 => Just("; client_max_window_bits"),
        1 => Just("="),
        1 => Just("8"),
        2 => Just("10"),
        2 => Just("15"),
        1 => Just("\"9\""),
        1 => Just("\""),
        1 => Just("\\"),
        1 => Just("x"),
    ];
    vec(word, 0..12).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_line_is_read_as_the_reference_reads_it(
        contexts in 0..4_u8,
        window_bits in 0..49_u8,
        line in line(),
    ) {
        let bytes = [&[contexts, window_bits], line.as_bytes()].concat();
        offers::check(&bytes);
    }

    #[test]
    fn both_sides_come_to_the_same_agreement(ours in policy(), theirs in policy()) {
        let mut handshake = ClientHandshake::new([9; 16]);
        handshake.offer_deflate(&theirs);
        let mut bytes = Vec::new();
        handshake.request("a", "/", &[], &[], &mut bytes).expect("writable");
        let (mut input, mut reader) = (&mut bytes[..], RequestReader::new());
        let request = reader.push(&mut input, &Limits::DEFAULT).expect("valid").expect("whole");
        let upgrade = upgrade(&request).expect("a valid handshake");
        let server = upgrade.deflate(&ours).expect("acceptable");
        let mut answer = Vec::new();
        upgrade.accept_with(None, Some(&server), &[], &mut answer).expect("it was offered");
        let accepted = handshake.receive(&mut &mut answer[..]).expect("valid").expect("whole");
        prop_assert_eq!(accepted.deflate, Some(server));
        let server_bits = ours.server_window_bits.min(theirs.server_window_bits);
        let client_bits = ours.client_window_bits.min(theirs.client_window_bits);
        prop_assert_eq!(
            (server.server_max_window_bits, server.client_max_window_bits),
            (server_bits, client_bits)
        );
        // What one side compresses, the other inflates.
        for (sender, receiver) in [(Role::Server, Role::Client), (Role::Client, Role::Server)] {
            let deflater = format!("{:?}", server.deflater(sender, 6, 8));
            let inflater = format!("{:?}", server.inflater(receiver));
            let keeps = "context: true";
            prop_assert_eq!(deflater.contains(keeps), inflater.contains(keeps));
        }
    }
}
