//! A comparison as one HTML page that needs nothing else, in the look of the report of a run.

use std::fmt::Write as _;

use super::table::{failures, heading, interval, marks, notes, ratio, waited};
use super::{Compared, Measure, Row, Spread, Summary, WorkloadResult};
use crate::report::{escaped, microseconds, page, rounded, significant};

/// The page: a table with bars for each workload, what failed, and the commands.
#[must_use]
pub fn html(compared: &Compared) -> String {
    let mut body = "<h1>Servers compared</h1>\n".to_owned();
    for line in heading(compared).lines() {
        writeln!(body, "<p class=\"faint\">{}</p>", escaped(line)).expect(INFALLIBLE);
    }
    for (workload, row, run, failure) in failures(compared) {
        let (workload, server, round) = (&workload.name, &row.server, run.round);
        let words = format!("{server}, {workload}, round {round}: {}", failure.words);
        writeln!(body, "<p class=\"note\">Failed: {}</p>", escaped(&words)).expect(INFALLIBLE);
        if !failure.output.is_empty() {
            writeln!(body, "<pre>{}</pre>", escaped(&failure.output)).expect(INFALLIBLE);
        }
    }
    for workload in &compared.workloads {
        body.push_str(&section(workload));
    }
    for note in notes(compared) {
        writeln!(body, "<p class=\"faint\">{}</p>", escaped(&note)).expect(INFALLIBLE);
    }
    body.push_str("<h2>Commands</h2>\n");
    for workload in &compared.workloads {
        writeln!(body, "<h3>{}</h3>\n<table>", escaped(&workload.name)).expect(INFALLIBLE);
        for Row { server, command, .. } in &workload.rows {
            let (server, command) = (escaped(server), escaped(command));
            writeln!(
                body,
                "<tr><th>{server}</th><td class=\"text\"><code>{command}</code></td></tr>"
            )
            .expect(INFALLIBLE);
        }
        body.push_str("</table>\n");
    }
    page("Servers compared", STYLE, &body)
}

fn section(workload: &WorkloadResult) -> String {
    let WorkloadResult { name, measure, rows, seconds, connections, .. } = workload;
    let what = match measure {
        Measure::CpuUs => "server CPU a message, µs",
        Measure::MemoryBytes => "server memory a connection, bytes",
    };
    let mut text = format!(
        "<h2>{}</h2>\n<p class=\"faint\">{connections} connections, {seconds:.1} s a run</p>\n\
         <div class=\"wide\"><table><tr><th>server</th><th class=\"text\" colspan=\"2\">{what}</th>\
         <th>ratio</th>\
         <th>user</th><th>system</th><th>softirq</th><th>waited</th>\
         <th>switches</th><th>cores</th><th>messages/s</th><th>p50</th><th>ratio</th>\
         <th>p99</th><th>ratio</th>\
         </tr>\n",
        escaped(name)
    );
    let spreads = rows.iter().filter_map(|row| measure.spread(row.summary.as_ref()?));
    let most = spreads.map(|spread| spread.max).fold(f64::MIN_POSITIVE, f64::max);
    for row in rows {
        let cells = match &row.summary {
            Some(summary) => cells(summary, *measure, (most, row.runs.len())),
            None if row.runs.is_empty() => "<td class=\"text\">not measured</td>".to_owned(),
            None => "<td class=\"text\">failed</td>".to_owned(),
        };
        writeln!(text, "<tr><th>{}</th>{cells}</tr>", escaped(&row.server)).expect(INFALLIBLE);
    }
    text.push_str("</table></div>\n");
    text
}

fn cells(summary: &Summary, measure: Measure, (most, runs): (f64, usize)) -> String {
    let dash = || "–".to_owned();
    let spread = measure.spread(summary);
    let chart = spread.map_or_else(String::new, |spread| bar(spread, most));
    let with_interval = |spread: Option<Spread>, show: fn(f64) -> String| {
        let median = spread.map_or_else(dash, |spread| show(spread.median));
        format!("<td>{median}<small>{}</small></td>", interval(spread, show))
    };
    let one = |value: Option<f64>| format!("<td>{}</td>", value.map_or_else(dash, significant));
    let latency = |spread: Option<Spread>| {
        format!("<td>{}</td>", spread.map_or_else(dash, |it| microseconds(it.median)))
    };
    [
        format!("<td class=\"text\">{chart}</td>"),
        with_interval(spread, measure.show()),
        with_interval(summary.ratio, ratio),
        one(summary.user_us),
        one(summary.system_us),
        one(summary.softirq_us),
        format!("<td>{}</td>", waited(summary)),
        one(summary.switches),
        one(summary.server_cores),
        format!("<td>{}{}</td>", rounded(summary.messages_per_second.median), marks(summary, runs)),
        latency(summary.p50_us),
        with_interval(summary.p50_ratio, ratio),
        latency(summary.p99_us),
        with_interval(summary.p99_ratio, ratio),
    ]
    .concat()
}

/// A bar as long as the median, with a line from the least to the most.
fn bar(spread: Spread, most: f64) -> String {
    let at = |value: f64| value / most * BAR_WIDTH;
    let Spread { median, min, max } = spread;
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 {BAR_WIDTH} 14\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{}\"><rect width=\"{:.1}\" height=\"14\" fill=\"var(--line-1)\"/>\
         <rect x=\"{:.1}\" y=\"6\" width=\"{:.1}\" height=\"2\" fill=\"var(--line-2)\"/></svg>",
        significant(median),
        at(median),
        at(min),
        at(max - min).max(1.0)
    )
}

const BAR_WIDTH: f64 = 160.0;

const INFALLIBLE: &str = "writing to a String cannot fail";

const STYLE: &str = "
body { max-width: 1200px; }
.faint, small { color: var(--faint); } .faint { margin: .2rem 0; font-size: .85rem; }
small { display: block; font-size: .75rem; }
.text { text-align: left; white-space: normal; } svg.bar { width: 160px; min-width: 0; height: 14px; }
code { overflow-wrap: anywhere; white-space: normal; }
";

#[cfg(test)]
mod tests {
    use super::super::result::tests::compared;
    use super::*;

    #[test]
    fn the_page_is_complete_in_itself_and_has_each_server() {
        let page = html(&compared());
        for words in [
            "<th>one</th>",
            "1.75",
            "(1.50..2.00)",
            "(2.25..4.00)",
            "*2/2",
            "the server ended",
            "<svg",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
        assert!(page.contains("serve &lt;one&gt;") && page.contains("panicked &lt;here&gt;"));
        for foreign in ["<script", "http://", "https://", "<link", "@import"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
