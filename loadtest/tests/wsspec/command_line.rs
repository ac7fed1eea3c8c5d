//! The command line: exit codes, the forms of the report, what is left out and why.

use std::net::TcpListener;

use crate::fault::Fault;
use crate::run::{all_cases, run, wsspec};
use crate::server::{PATH, Settings, start};

fn url(settings: Settings) -> String {
    format!("ws://{}{PATH}", start(settings))
}

#[test]
fn exit_codes_tell_of_success_failure_and_no_run() {
    let right = url(Settings::RIGHT);
    let masked = url(Settings { fault: Some(Fault::MasksPongs), ..Settings::RIGHT });
    let refuses = url(Settings { refuses: true, ..Settings::RIGHT });
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("ws://{free}/");
    let case = ["--case", "server/pongs-well-formed", "--origin", crate::server::ORIGIN];
    for (code, words, arguments) in [
        (0, "pass", vec![right.as_str()]),
        (1, "a masked frame from the server", vec![masked.as_str()]),
        (2, "HTTP 503", vec![refuses.as_str()]),
        (2, "cannot be tested", vec![nobody.as_str()]),
        (2, "URL", vec![]),
        (2, "wss", vec!["wss://127.0.0.1/"]),
        (2, "no case is named nothing/*", vec![right.as_str(), "--case", "nothing/*"]),
        (2, "--timeout", vec![right.as_str(), "--timeout", "soon"]),
        (2, "cannot write", vec![right.as_str(), "--json", "/nowhere/report.json"]),
    ] {
        let output = wsspec(&[&arguments[..], &case].concat());
        let shown = [output.stdout, output.stderr].concat();
        let shown = String::from_utf8(shown).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {shown}");
        assert!(shown.contains(words), "{arguments:?}: {shown}");
    }
}

#[test]
fn a_failure_shows_what_was_sent_expected_and_received() {
    let address = start(Settings { fault: Some(Fault::TakesReservedBits), ..Settings::RIGHT });
    let run = run(address, &["--case", "frames/rsv2"]);
    for words in [
        "fail must   frames/rsv2",
        "RFC 6455 5.2",
        "sent      \"\\xa1\\x82",
        "expected",
        "got",
        "received",
    ] {
        assert!(run.lines.contains(words), "{words} in {}", run.lines);
    }
}

#[test]
fn a_server_that_does_not_echo_is_tested_for_the_rest() {
    let run = run(start(Settings { echoes: false, ..Settings::RIGHT }), &[]);
    assert_eq!(run.with("fail"), [""; 0], "{}", run.lines);
    assert!(run.with("skip").contains(&"frames/size-0"));
    assert!(run.with("pass").contains(&"frames/rsv2"));
    assert!(run.reasons().contains(&"the server does not echo"));
}

#[test]
fn a_server_without_compression_is_tested_for_the_rest() {
    let run = run(start(Settings { deflates: false, ..Settings::RIGHT }), &[]);
    assert_eq!(run.with("fail"), [""; 0], "{}", run.lines);
    assert_eq!(run.reasons(), ["the server does not do permessage-deflate"]);
    let is_about = |id: &&str| id.starts_with("deflate/") || id.starts_with("negotiation/");
    assert!(run.with("skip").iter().all(is_about) && !run.with("pass").iter().any(is_about));
}

#[test]
fn a_server_that_greets_is_tested_like_others() {
    let run = run(start(Settings { greets: true, ..Settings::RIGHT }), &["--case", "fr*"]);
    assert_eq!(run.with("fail"), [""; 0], "{}", run.lines);
    assert_eq!(run.with("skip"), [""; 0], "{}", run.lines);
}

#[test]
fn what_the_user_does_not_say_leaves_cases_out_with_the_option_named() {
    let url = url(Settings { fault: Some(Fault::TakesAnyOrigin), ..Settings::RIGHT });
    let output =
        wsspec(&[&url, "--case", "handshake/*", "--case", "limits/*-limit", "--json", "-"]);
    let lines = String::from_utf8(output.stderr).unwrap();
    for option in
        ["--subprotocol NAME", "--origin ORIGIN", "--missing-path PATH", "--max-message BYTES"]
    {
        assert!(lines.contains(&format!("say {option}")), "{option} in {lines}");
    }
}

#[test]
fn levels_and_patterns_choose_cases() {
    let count = |arguments: &[&str]| {
        let output = wsspec(&[&["--list"], arguments].concat());
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    let (must, should, all) =
        (count(&["--level", "must"]), count(&["--level", "should"]), count(&[]));
    assert!(must > 200 && must < should && should < all, "{must} {should} {all}");
    assert_eq!(all, all_cases().len());
    assert_eq!(count(&["--case", "frames/rsv2"]), 1);
    assert_eq!(count(&["--case", "frames/rsv2*", "--level", "must"]), 4);
}

/// `wsspec --list --markdown` is what belongs there.
#[test]
fn the_documentation_lists_every_case() {
    let documentation = include_str!("../../../docs/wsspec.md");
    let output = wsspec(&["--list", "--markdown"]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(documentation.ends_with(&table), "put the output of --list --markdown at the end");
}

#[test]
fn names_are_unique_and_written_the_same_way() {
    let mut names = all_cases();
    for name in &names {
        let (group, rest) = name.split_once('/').unwrap();
        let is_kebab = |text: &str| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c))
        };
        assert!(is_kebab(group) && is_kebab(rest), "{name}");
    }
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn every_form_of_the_report_tells_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (junit, tap) = (path("junit.xml"), path("report.tap"));
    let address = start(Settings { fault: Some(Fault::MasksPongs), ..Settings::RIGHT });
    let run = run(address, &["--case", "server/*", "--junit", &junit, "--tap", &tap]);
    let (junit, tap) =
        (std::fs::read_to_string(junit).unwrap(), std::fs::read_to_string(tap).unwrap());
    let failed = run.with("fail");
    assert!(failed.contains(&"server/pongs-well-formed"), "{}", run.lines);
    assert_eq!(junit.matches("<failure").count(), failed.len());
    assert_eq!(tap.matches("\nnot ok ").count(), failed.len());
    assert_eq!(run.report["counts"]["failed"], failed.len());
    assert_eq!(
        run.lines.matches("\nfail ").count() + usize::from(run.lines.starts_with("fail ")),
        failed.len()
    );
    assert_eq!(junit.matches("<testcase").count(), tap.matches("ok ").count());
}
