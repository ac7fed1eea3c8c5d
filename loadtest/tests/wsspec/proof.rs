//! Each case can fail, and does where it should; on a right server none does.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::fault::Fault;
use crate::run::{all_cases, run};
use crate::server::{Settings, start};

#[test]
fn a_right_server_passes_every_case() {
    let run = run(start(Settings::RIGHT), &[]);
    assert_eq!(run.with("fail"), [""; 0], "{}", run.lines);
    // Only this may be declined, and by a server on zlib must be.
    let declined = ["negotiation/server-bits-8", "deflate/server-window-8"];
    assert_eq!(run.with("skip"), declined, "{:?}", run.reasons());
    assert_eq!(run.code, Some(0));
}

/// The heart of the matter: a case that fails nowhere says nothing.
#[test]
fn every_case_fails_on_a_server_with_the_fault_that_it_is_about() {
    let (failed, wrong) = (Mutex::new(BTreeSet::new()), Mutex::new(Vec::new()));
    let prove = |(fault, globs): &(Fault, &[&str])| {
        let (found, others) = found_by(*fault, globs);
        if !others.is_empty() {
            wrong.lock().unwrap().push(format!("{fault:?} is not found by {others:?}"));
        }
        failed.lock().unwrap().extend(found);
    };
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..RUNS_AT_A_TIME {
            scope.spawn(|| {
                while let Some(proof) = PROOFS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    prove(proof);
                }
            });
        }
    });
    TIMED_PROOFS.iter().for_each(prove);
    assert_eq!(wrong.into_inner().unwrap(), [""; 0]);
    let failed = failed.into_inner().unwrap();
    let unproven: Vec<String> = all_cases().into_iter().filter(|id| !failed.contains(id)).collect();
    assert_eq!(unproven, [""; 0], "no fault fails these");
}

/// Of the cases that `globs` name, those that fail on a server with `fault`, and the others.
fn found_by(fault: Fault, globs: &[&str]) -> (Vec<String>, Vec<String>) {
    let address = start(Settings { fault: Some(fault), ..Settings::RIGHT });
    let arguments: Vec<&str> = globs.iter().flat_map(|glob| ["--case", glob]).collect();
    let run = run(address, &arguments);
    let names = |verdict| run.with(verdict).into_iter().map(ToOwned::to_owned).collect::<Vec<_>>();
    let others = [names("pass"), names("skip")].concat();
    if others.is_empty() {
        assert_eq!(run.code, Some(1), "{fault:?}");
    }
    (names("fail"), others)
}

/// Each run waits more than it works.
const RUNS_AT_A_TIME: usize = 6;

/// Faults, and the cases that must all find them.
#[rustfmt::skip]
const PROOFS: &[(Fault, &[&str])] = &[
    (Fault::FixedAccept, &["handshake/accept-of-other-keys"]),
    (Fault::RequestInOneRead, &["handshake/sample.bytewise", "handshake/cut-at-line-ends"]),
    (Fault::TokensHaveCase, &["handshake/upgrade-any-case", "handshake/connection-any-case"]),
    (Fault::ConnectionIsOneToken, &["handshake/connection-list", "handshake/connection-two-lines"]),
    (Fault::ConnectionOfFirstLine, &["handshake/connection-two-lines"]),
    (Fault::UpgradeIsOneToken, &["handshake/upgrade-list"]),
    (Fault::NamesHaveCase, &["handshake/names-any-case"]),
    (Fault::NeedsOrigin, &["handshake/no-origin"]),
    (Fault::RefusesUnknownHeaders, &["handshake/unknown-headers"]),
    (Fault::KeepsSpaces, &["handshake/spaces-around-values"]),
    (Fault::RefusesContentLength0, &["handshake/content-length-0"]),
    (Fault::TakesAnyMethod, &["handshake/method-post*", "handshake/method-head*", "handshake/method-lower-case*"]),
    (Fault::TakesAnyHttpVersion, &["handshake/http-1.0*", "handshake/http-version-garbled*"]),
    (Fault::TakesAnyHost, &["handshake/host-*"]),
    (Fault::TakesAnyUpgrade, &["handshake/upgrade-missing*", "handshake/upgrade-token-substring*", "handshake/upgrade-other*"]),
    (Fault::UpgradeSubstring, &["handshake/upgrade-token-substring*"]),
    (Fault::TakesAnyConnection, &["handshake/connection-missing*", "handshake/connection-token-substring*", "handshake/connection-other*"]),
    (Fault::ConnectionSubstring, &["handshake/connection-token-substring*"]),
    (Fault::TakesAnyKey, &["handshake/key-*"]),
    (Fault::TakesAnyVersion, &["handshake/version-*"]),
    (Fault::TakesAnyExtensionGrammar, &["handshake/extension-*"]),
    (Fault::TakesAnySubprotocolGrammar, &["handshake/subprotocol-non-ascii*", "handshake/subprotocol-space*", "handshake/subprotocol-separator*", "handshake/subprotocol-empty*"]),
    (Fault::TakesAnyLine, &["handshake/line-*"]),
    (Fault::TakesAnyFirstLine, &["handshake/first-line-*"]),
    (Fault::TakesBodies, &["handshake/body-*"]),
    (Fault::TakesAnyOrigin, &["handshake/origin-*"]),
    (Fault::OriginPrefix, &["handshake/origin-longer"]),
    (Fault::TakesAnyPath, &["handshake/path-missing"]),
    (Fault::Status500, &["handshake/*.status", "handshake/path-missing", "limits/head-*"]),
    (Fault::VersionNotNamed, &["handshake/version-named"]),
    (Fault::AllowNotNamed, &["handshake/method-allowed"]),
    (Fault::UpgradeNotNamed, &["handshake/upgrade-named"]),
    (Fault::EchoesExtensions, &["handshake/unknown-extension"]),
    (Fault::NamesSubprotocolUnasked, &["handshake/sample", "handshake/subprotocol-unknown", "handshake/subprotocol-only-offered", "handshake/subprotocol-not-offered", "handshake/subprotocol-other-case"]),
    (Fault::NamesFirstSubprotocol, &["handshake/subprotocol-unknown", "handshake/subprotocol-among-unknown", "handshake/subprotocol-two-lines"]),
    (Fault::NamesNoSubprotocol, &["handshake/subprotocol-known", "handshake/subprotocol-among-unknown", "handshake/subprotocol-two-lines"]),
    (Fault::SubprotocolsOfFirstLine, &["handshake/subprotocol-two-lines"]),
    (Fault::SubprotocolAnyCase, &["handshake/subprotocol-other-case"]),
    (Fault::DropsEarlyFrames, &["handshake/early-*"]),
    (Fault::HangsAtHttp2, &["handshake/http2-preface"]),
    (Fault::FramesAfterRefusal, &["handshake/no-frames-after-refusal"]),
    (Fault::StaysAfterRefusal, &["handshake/garbled-request-ends"]),

    (Fault::TakesUnmasked, &["frames/unmasked-*"]),
    (Fault::TakesReservedBits, &["frames/rsv1", "frames/rsv1.*", "frames/rsv2*", "frames/rsv3*", "frames/rsv-all*", "deflate/rsv2*", "deflate/rsv1-rsv3*"]),
    (Fault::TakesReservedOpcodes, &["frames/opcode-*"]),
    (Fault::TakesLongForms, &["frames/length-*-in-*", "control/ping-125-in-16*"]),
    (Fault::CutsLengths, &["frames/length-msb", "frames/length-msb.bytewise", "frames/length-all-bits", "frames/length-all-bits.bytewise", "limits/declared-2-*"]),
    (Fault::ChecksLate, &["*.early", "limits/declared-*"]),
    (Fault::TailStaysMasked, &["frames/example-text*", "frames/example-fragments*", "frames/example-ping*", "frames/size-1", "frames/size-126", "text/nul*", "frames/every-length-to-300", "control/ping-bytes*"]),
    (Fault::ZeroKeyIsNoKey, &["frames/masking-keys"]),
    (Fault::LosesLastByteOfLong, &["frames/example-256*", "frames/size-4096", "frames/size-16384", "frames/size-6553*", "server/shortest-lengths", "server/no-interleaving"]),
    (Fault::DropsEmpty, &["frames/size-0", "fragments/all-empty*", "deflate/empty", "deflate/empty.*", "deflate/empty-fixed*"]),
    (Fault::OneFramePerRead, &["frames/thousand-at-once", "control/pings-in-order", "control/fifty-pings-at-once", "control/ping-with-message"]),
    (Fault::FrameInOneRead, &["frames/example-*.bytewise", "control/ping-empty.bytewise", "control/ping-bytes.bytewise", "control/pings-in-order.bytewise", "close/code-1000.bytewise", "text/all-lengths.bytewise", "text/edges.bytewise"]),
    (Fault::LosesLastByteOfLong, &["frames/size-4096"]),
    (Fault::NoFragments, &["fragments/three*", "fragments/empty-among-others*", "fragments/all-empty*", "fragments/*ping*between*", "fragments/pong-between*", "fragments/two-messages*", "fragments/4096-of-16-bytes", "fragments/65536-of-1-byte", "text/every-*", "frames/example-fragments*", "limits/fragments-at-limit"]),
    (Fault::TakesLooseContinuations, &["fragments/continuation-of-nothing*"]),
    (Fault::TakesNestedBeginnings, &["fragments/text-within-text*", "fragments/binary-within-text*", "fragments/text-begins-within-binary*"]),
    (Fault::NoLimitOfEmptyFragments, &["fragments/empty-flood*"]),

    (Fault::TakesLongControls, &["control/ping-126*", "control/pong-126*", "control/ping-65536*", "control/close-126*"]),
    (Fault::TakesFragmentedControls, &["control/ping-fin-0*", "control/pong-fin-0*", "control/close-fin-0*"]),
    (Fault::IgnoresBadCloses, &["control/close-126*", "control/close-fin-0*", "close/body-of-1-byte*", "close/reason-not-utf8*", "close/reason-surrogate*", "close/reason-cut-character*", "frames/rsv1-close*", "deflate/rsv1-close*"]),
    (Fault::AnswersBadCloses, &["close/body-of-1-byte*", "close/reason-not-utf8*", "close/reason-surrogate*", "close/reason-cut-character*"]),
    (Fault::NoPong, &["control/ping-empty*", "control/ping-bytes*", "control/ping-125", "control/ping-125.bytewise", "control/pings-in-order*", "control/pong-unsolicited*", "control/ping-every-length", "control/ping-with-message", "control/fifty-pings-at-once", "server/pongs-well-formed", "frames/example-ping*", "fragments/ping-between*"]),
    (Fault::ClosesAtPong, &["control/pong-unsolicited*", "fragments/pong-between*"]),
    (Fault::EchoesAnyCode, &["close/code-*-refused*", "close/code-1010.other", "server/close-well-formed"]),
    (Fault::RefusesEveryCode, &["close/code-????", "close/code-????.echo", "close/code-1000.bytewise", "close/empty", "close/reason-utf8", "close/reason-of-123-bytes", "close/within-message", "close/after-message"]),
    (Fault::GoesOnAfterClose, &["close/nothing-after"]),
    (Fault::GoesOnAfterViolation, &["frames/nothing-after-violation"]),
    (Fault::KeepsTcp, &["close/server-ends-tcp", "timing/close-unanswered", "timing/violation-ends-tcp", "timing/close-talked-over"]),
    (Fault::IgnoresFin, &["close/fin-without-close"]),
    (Fault::BareDrop, &["frames/*.code", "fragments/*.code", "control/*.code", "close/*.code", "text/*.code", "deflate/*.code", "limits/*.code"]),

    (Fault::TakesAnyText, &["text/lone-continuation*", "text/byte-f*", "text/overlong-*", "text/surrogate-*", "text/beyond-10ffff*", "text/five-bytes*", "text/cut-*", "text/character-broken-off*", "text/bad-*", "deflate/bad-utf8*"]),
    (Fault::RefusesNonAscii, &["text/all-lengths*", "text/edges*", "text/around-surrogates*", "text/noncharacters*", "text/bom*", "text/every-*", "deflate/character-over-blocks*"]),

    (Fault::MasksShortMessages, &["server/messages-well-formed"]),
    (Fault::MasksPongs, &["server/pongs-well-formed"]),
    (Fault::WritesLongForms, &["server/shortest-lengths", "frames/size-125", "frames/size-126", "frames/size-127"]),
    (Fault::LosesKind, &["server/kinds-kept"]),
    (Fault::Interleaves, &["server/no-interleaving"]),
    (Fault::StaleBytes, &["server/no-stale-bytes"]),

    (Fault::ClampsParameters, &["negotiation/unknown-parameter*", "negotiation/*-twice*", "negotiation/server-bits-7*", "negotiation/server-bits-16*", "negotiation/server-bits-0*", "negotiation/server-bits-words*", "negotiation/server-bits-empty", "negotiation/server-bits-without-value*", "negotiation/client-bits-7*", "negotiation/client-bits-16*", "negotiation/client-bits-huge*", "negotiation/*-takeover-value*", "negotiation/declined-and-open"]),
    (Fault::AnswersNonsense, &["negotiation/plain", "negotiation/browser", "negotiation/*-no-takeover", "negotiation/client-bits-10", "negotiation/all-parameters", "negotiation/quoted-bits", "negotiation/spaces", "negotiation/server-bits-8", "negotiation/server-bits-9", "negotiation/server-bits-10", "negotiation/server-bits-11", "negotiation/server-bits-12", "negotiation/server-bits-13", "negotiation/server-bits-14", "negotiation/server-bits-15"]),
    (Fault::AnswersClientBitsBare, &["negotiation/browser"]),
    (Fault::ForgetsServerTakeover, &["negotiation/server-no-takeover", "negotiation/all-parameters"]),
    (Fault::LeansInSpiteOfAnswer, &["deflate/server-no-takeover"]),
    (Fault::AnswersTooManyBits, &["negotiation/client-bits-10", "negotiation/all-parameters", "negotiation/quoted-bits", "negotiation/spaces", "negotiation/server-bits-8", "negotiation/server-bits-9", "negotiation/server-bits-10"]),
    (Fault::OnlyFirstOffer, &["negotiation/behind-unknown", "negotiation/fallback"]),
    (Fault::OnlyFirstExtensionLine, &["negotiation/two-lines"]),
    (Fault::RefusesCompressed, &["deflate/example*", "deflate/empty*", "deflate/dynamic*", "deflate/control-between*", "deflate/character-over-blocks*", "deflate/every-byte-a-fragment*", "deflate/mixed", "deflate/many", "deflate/client-*takeover", "deflate/client-takeover-far", "deflate/client-window", "deflate/inflated-at-limit"]),
    (Fault::InflatesEverything, &["deflate/uncompressed*"]),
    (Fault::TakesRsv1Anywhere, &["deflate/rsv1-continuation*", "deflate/rsv1-ping*", "deflate/rsv1-pong*"]),
    (Fault::IgnoresBadData, &["deflate/reserved-block*", "deflate/stored-length*", "deflate/distance-too-far*", "deflate/noise*"]),
    (Fault::TakesCutData, &["deflate/cut-short*"]),
    (Fault::ForgetsContext, &["deflate/client-takeover", "deflate/client-takeover-far"]),
    (Fault::KeepsClientContext, &["deflate/client-no-takeover"]),
    (Fault::LeavesTail, &["deflate/server-takeover", "deflate/many"]),
    (Fault::Rsv1OnContinuations, &["deflate/server-rsv1-first-only"]),
    (Fault::EmptyOfNoByte, &["deflate/server-empty"]),
    (Fault::IgnoresServerWindow, &["deflate/server-window-*"]),
    (Fault::InflatesWithoutLimit, &["deflate/inflated-over-limit*", "deflate/bomb*"]),

    (Fault::LimitOneTooLow, &["limits/message-at-limit", "limits/fragments-at-limit", "deflate/inflated-at-limit"]),
    (Fault::NoLimit, &["limits/message-over-limit*", "limits/fragments-over-limit*", "limits/endless-fragments*"]),
    (Fault::LimitPerFrame, &["limits/fragments-over-limit*", "limits/endless-fragments*"]),
    (Fault::NoHeadLimit, &["limits/head-*"]),
    (Fault::HangsAtNoise, &["limits/list-of-noise"]),
    (Fault::GivesUpOnPings, &["limits/ping-flood"]),
    (Fault::NoPingLimit, &["limits/ping-flood-ended"]),
    (Fault::NoHandshakeDeadline, &["timing/handshake-*"]),
];

/// Faults that are found by a clock, so nothing may run beside them.
#[rustfmt::skip]
const TIMED_PROOFS: &[(Fault, &[&str])] = &[
    (Fault::QueuesPongs, &["limits/unread-pongs"]),
    (Fault::QuadraticHead, &["timing/head-bytewise-linear"]),
    (Fault::QuadraticMessage, &["timing/message-bytewise-linear"]),
    (Fault::QuadraticFragments, &["timing/fragments-linear"]),
];
