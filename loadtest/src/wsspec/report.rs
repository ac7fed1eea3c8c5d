//! What a run found, for people and for programs: lines, JSON, JUnit XML, TAP, Markdown.
//!
//! Behind `run`: nothing here decides anything. Lines are written as cases end; the other forms
//! once all have.
//!
//! Invariant: every form has every case, with the same verdict.

use std::fmt::Write as _;

use serde::Serialize;

use crate::case::{Case, Level, Report, Verdict};

/// Case and finding, in the form of the JSON report.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    id: String,
    group: String,
    section: &'static str,
    level: String,
    sentence: String,
    verdict: &'static str,
    /// Why it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What had to come, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    /// What came instead, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    got: Option<String>,
    /// What was sent, shortened.
    sent: String,
    /// All that came, shortened.
    received: String,
}

impl Line {
    pub(crate) fn new(case: &Case, report: Report) -> Self {
        let (verdict, reason, expected, got) = match report.verdict {
            Verdict::Pass => ("pass", None, None, None),
            Verdict::Skip(reason) => ("skip", Some(reason), None, None),
            Verdict::Fail { expected, got } => ("fail", None, Some(expected), Some(got)),
        };
        Self {
            id: case.id.clone(),
            group: case.group().to_owned(),
            section: case.section,
            level: case.level.to_string(),
            sentence: case.sentence.clone(),
            verdict,
            reason,
            expected,
            got,
            sent: report.sent,
            received: report.received,
        }
    }

    /// One line, and below it what was sent and came, if it failed or all is to be shown.
    pub(crate) fn words(&self, colour: bool, verbose: bool) -> String {
        let paint = match self.verdict {
            "pass" => GREEN,
            "fail" if self.level == "must" => RED,
            "fail" => YELLOW,
            _ => GREY,
        };
        let (on, off) = if colour { (paint, RESET) } else { ("", "") };
        let mut out = format!(
            "{on}{}{off} {:<6} {:<44} {:<15} {}\n",
            self.verdict, self.level, self.id, self.section, self.sentence
        );
        let mut below = |name: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "       {name:<9} {value}");
        };
        if let Some(reason) = &self.reason {
            below("because", reason);
        }
        if verbose || self.verdict == "fail" {
            below("sent", &self.sent);
        }
        if let (Some(expected), Some(got)) = (&self.expected, &self.got) {
            below("expected", expected);
            below("got", got);
        }
        if verbose || self.verdict == "fail" {
            below("received", &self.received);
        }
        out
    }
}

/// Findings counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Counts {
    fn of<'a>(lines: impl Iterator<Item = &'a Line>) -> Self {
        let mut counts = Self::default();
        for line in lines {
            match line.verdict {
                "pass" => counts.passed += 1,
                "fail" => counts.failed += 1,
                _ => counts.skipped += 1,
            }
        }
        counts
    }

    /// All of `lines`.
    pub(crate) fn all(lines: &[Line]) -> Self {
        Self::of(lines.iter())
    }
}

/// The summary by group, and of the failures by level.
pub(crate) fn summary(lines: &[Line]) -> String {
    let mut out = format!("\n{:<12} {:>6} {:>6} {:>7}\n", "group", "passed", "failed", "skipped");
    let mut row = |name: &str, counts: Counts| {
        let Counts { passed, failed, skipped } = counts;
        let _ = writeln!(out, "{name:<12} {passed:>6} {failed:>6} {skipped:>7}");
    };
    let mut groups: Vec<&str> = lines.iter().map(|line| line.group.as_str()).collect();
    groups.dedup();
    for group in groups {
        row(group, Counts::of(lines.iter().filter(|line| line.group == group)));
    }
    row("all", Counts::all(lines));
    for level in [Level::Must, Level::Should, Level::Advice] {
        let level = level.to_string();
        row(&level, Counts::of(lines.iter().filter(|line| line.level == level)));
    }
    out
}

/// The whole as JSON.
pub(crate) fn json(url: &str, lines: &[Line]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Whole<'a> {
        url: &'a str,
        counts: Counts,
        cases: &'a [Line],
    }
    let whole = Whole { url, counts: Counts::all(lines), cases: lines };
    serde_json::to_string_pretty(&whole).map(|json| json + "\n")
}

/// The whole as JUnit XML, which build servers read.
pub(crate) fn junit(url: &str, lines: &[Line]) -> String {
    let Counts { failed, skipped, .. } = Counts::all(lines);
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"wsspec {}\" tests=\"{}\" \
         failures=\"{failed}\" skipped=\"{skipped}\">\n",
        xml(url),
        lines.len(),
    );
    for line in lines {
        let (group, id) = (xml(&line.group), xml(&line.id));
        let _ = write!(out, "  <testcase classname=\"{group}\" name=\"{id}\">");
        if let Some(reason) = &line.reason {
            let _ = write!(out, "<skipped message=\"{}\"/>", xml(reason));
        }
        if let (Some(expected), Some(got)) = (&line.expected, &line.got) {
            let message = format!("expected {expected}, got {got}");
            let body = format!(
                "{} ({}, {})\nsent {}\nreceived {}",
                line.sentence, line.section, line.level, line.sent, line.received
            );
            let _ = write!(out, "<failure message=\"{}\">{}</failure>", xml(&message), xml(&body));
        }
        out.push_str("</testcase>\n");
    }
    out + "</testsuite>\n"
}

/// The whole in the Test Anything Protocol, version 13.
pub(crate) fn tap(lines: &[Line]) -> String {
    let mut out = format!("TAP version 13\n1..{}\n", lines.len());
    for (number, line) in (1..).zip(lines) {
        let not = if line.verdict == "fail" { "not " } else { "" };
        let _ = write!(out, "{not}ok {number} - {} ({}, {})", line.id, line.section, line.level);
        if let Some(reason) = &line.reason {
            let _ = write!(out, " # SKIP {reason}");
        }
        out.push('\n');
        if let (Some(expected), Some(got)) = (&line.expected, &line.got) {
            let _ = write!(
                out,
                "  ---\n  sentence: {:?}\n  sent: {:?}\n  expected: {expected:?}\n  got: {got:?}\n  \
                 ...\n",
                line.sentence, line.sent
            );
        }
    }
    out
}

/// The list of cases, one a line.
pub(crate) fn list(cases: &[Case]) -> String {
    let line = |case: &Case| {
        format!("{:<44} {:<6} {:<15} {}\n", case.id, case.level, case.section, case.sentence)
    };
    cases.iter().map(line).collect()
}

/// The list of cases as a table, a row for each sentence with the variants of it.
pub(crate) fn markdown(cases: &[Case]) -> String {
    let base = |case: &Case| {
        let (base, variant) = case.id.rsplit_once('.')?;
        let is_there = VARIANTS.contains(&variant) && cases.iter().any(|other| other.id == base);
        is_there.then(|| (base.to_owned(), format!("`.{variant}`")))
    };
    let variants: Vec<(String, String)> = cases.iter().filter_map(base).collect();
    let row = |case: &Case| {
        let of_it = variants.iter().filter(|(base, _)| *base == case.id);
        let of_it: Vec<&str> = of_it.map(|(_, variant)| variant.as_str()).collect();
        let sentence = case.sentence.replace('|', "\\|");
        let (id, level, section) = (&case.id, case.level, case.section);
        format!("| `{id}` | {} | {level} | {section} | {sentence} |\n", of_it.join(" "))
    };
    let rows: String = cases.iter().filter(|case| base(case).is_none()).map(row).collect();
    format!(
        "| case | variants | level | section | what is required |\n|---|---|---|---|---|\n{rows}"
    )
}

/// Endings of names that ask the same in another way, or for more.
const VARIANTS: [&str; 6] = ["bytewise", "code", "early", "echo", "other", "status"];

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const GREY: &str = "\x1b[90m";
const RESET: &str = "\x1b[0m";

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Line> {
        let verdicts = [
            ("a/pass", Level::Must, Verdict::Pass),
            (
                "a/fail",
                Level::Should,
                Verdict::Fail {
                    expected: "a <Close>".to_owned(),
                    got: "\"\\x00\" & end".to_owned(),
                },
            ),
            ("b/skip", Level::Advice, Verdict::Skip("no echo".to_owned())),
        ];
        let line = |(id, level, verdict)| {
            let case = Case::new(id, "RFC 6455 5.2", level, "A | b.", |_| Ok(()));
            let report = Report { verdict, sent: "s".to_owned(), received: "r".to_owned() };
            Line::new(&case, report)
        };
        verdicts.into_iter().map(line).collect()
    }

    #[test]
    fn each_form_has_every_case_with_its_verdict() {
        let lines = lines();
        let json: serde_json::Value =
            serde_json::from_str(&json("ws://a/", &lines).unwrap()).unwrap();
        assert_eq!(json["counts"]["passed"], 1);
        assert_eq!(json["cases"][1]["verdict"], "fail");
        assert_eq!(json["cases"][2]["reason"], "no echo");
        let junit = junit("ws://a/?b&c", &lines);
        assert!(junit.contains("tests=\"3\" failures=\"1\" skipped=\"1\""), "{junit}");
        assert!(junit.contains("expected a &lt;Close&gt;, got &quot;\\x00&quot; &amp; end"));
        assert!(junit.contains("ws://a/?b&amp;c"));
        let tap = tap(&lines);
        assert!(
            tap.contains("1..3\nok 1 - a/pass (RFC 6455 5.2, must)\nnot ok 2 - a/fail"),
            "{tap}"
        );
        assert!(tap.contains("ok 3 - b/skip (RFC 6455 5.2, advice) # SKIP no echo\n"));
        let summary = summary(&lines);
        let rows =
            ["a 1 1 0", "b 0 0 1", "all 1 1 1", "must 1 0 0", "should 0 1 0", "advice 0 0 1"];
        let words = summary.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.ends_with(&rows.join(" ")), "{summary}");
    }

    #[test]
    fn the_table_has_a_row_for_each_sentence_with_its_variants() {
        let case = |id| Case::new(id, "RFC 6455 5.2", Level::Must, "A | b.", |_| Ok(()));
        let cases = ["a/b", "a/b.code", "a/b.bytewise", "a/http-1.0", "a/c.early"].map(case);
        let rows = [
            "| `a/b` | `.code` `.bytewise` | must | RFC 6455 5.2 | A \\| b. |",
            "| `a/http-1.0` |  | must | RFC 6455 5.2 | A \\| b. |",
            "| `a/c.early` |  | must | RFC 6455 5.2 | A \\| b. |",
        ];
        assert_eq!(markdown(&cases).lines().skip(2).collect::<Vec<_>>(), rows);
    }

    #[test]
    fn failures_show_what_was_sent_and_came_and_the_rest_only_if_asked() {
        let lines = lines();
        assert_eq!(lines[0].words(false, false).lines().count(), 1);
        assert_eq!(lines[0].words(false, true).lines().count(), 3);
        let failure = lines[1].words(false, false);
        for part in ["sent      s", "expected  a <Close>", "got       \"\\x00\"", "received  r"] {
            assert!(failure.contains(part), "{failure}");
        }
        assert!(lines[1].words(true, false).starts_with("\x1b[33mfail\x1b[0m"));
        assert!(lines[2].words(false, false).contains("because   no echo"));
    }
}
