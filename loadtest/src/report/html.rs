//! The report as one HTML page that needs nothing else: no script, no font, no other host.

use std::fmt::Write as _;

use super::chart::{Chart, Line, Scale, escaped, nines};
use super::table::notes;
use super::words::{grouped, microseconds, rounded};
use super::{Latency, PointResult, Report, Results};

/// The page of one run, or of several beside each other.
#[must_use]
pub fn html(reports: &[(String, Report)]) -> String {
    let title = match reports {
        [(_, report)] => format!("{} · {}", report.scenario, report.config.urls.join(" ")),
        _ => format!("{} runs", reports.len()),
    };
    let mut body = format!("<h1>{}</h1>\n", escaped(&title));
    if reports.len() > 1 {
        let table = super::compare(reports);
        writeln!(body, "<pre>{}</pre>", escaped(&table)).expect("writing to a String cannot fail");
        body.push_str(&percentile_chart(reports));
    }
    for (name, report) in reports {
        if reports.len() > 1 {
            writeln!(body, "<h2>{}</h2>", escaped(name)).expect("writing to a String cannot fail");
        }
        body.push_str(&section(report));
    }
    page(&title, "", &body)
}

/// A page with the look of all reports and further `style`.
pub(crate) fn page(title: &str, style: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escaped(title)
    )
}

/// One run: notes, key figures, charts, tables.
fn section(report: &Report) -> String {
    let result = &report.result;
    let mut text = String::new();
    for note in notes(report) {
        text.push_str(&format!("<p class=\"note\">{}</p>\n", escaped(&note)));
    }
    if result.withheld {
        text.push_str(
            "<p class=\"note\">The generator itself was the limit: rate and latency are withheld.\
             </p>\n",
        );
    }
    text.push_str(&figures(report));
    text.push_str(&over_time(result));
    if let [_, ..] = latencies(report).as_slice() {
        text.push_str(&percentile_chart(&[(String::new(), report.clone())]));
        text.push_str(&percentile_table(report));
    }
    text.push_str(&stage_table(report));
    text.push_str("<h3>In full</h3>\n");
    text.push_str(&format!("<pre>{}</pre>\n", escaped(&super::table(report))));
    text
}

/// The figures that one looks for first.
fn figures(report: &Report) -> String {
    let result = &report.result;
    let mut figures = Vec::new();
    if let Some(rate) = result.messages_per_second {
        figures.push(("messages a second", rounded(rate)));
    }
    if let Some(latency) = &result.latency {
        figures.push(("median latency", microseconds(latency.p50_us)));
        figures.push(("p99", microseconds(latency.p99_us)));
    }
    figures.push(("connections", grouped(result.connections_opened as u64)));
    if let Some(server) = &result.server {
        if let Some(cost) = server.cpu_per_message_us {
            figures.push(("server CPU a message", microseconds(cost)));
        }
        if let Some(bytes) = server.rss_per_connection_bytes {
            figures.push(("server bytes a connection", rounded(bytes)));
        }
    }
    figures.push(("errors", grouped(result.errors_total)));
    let figure = |(name, value): &(&str, String)| {
        format!("<div><b>{}</b><span>{name}</span></div>", escaped(value))
    };
    let figures: String = figures.iter().map(figure).collect();
    format!("<div class=\"figures\">{figures}</div>\n")
}

fn over_time(result: &Results) -> String {
    let Results { points, stages, .. } = result;
    let mut begin = 0.0;
    let ends = stages.iter().map(|stage| {
        begin += stage.duration_seconds;
        begin
    });
    // Where the last one ends nothing begins.
    let marks: Vec<f64> = ends.take(stages.len().saturating_sub(1)).collect();
    let line = |name: &str, figure: fn(&PointResult) -> f64| Line {
        name: name.to_owned(),
        points: points.iter().map(|point| (point.at_seconds, figure(point))).collect(),
    };
    let latency = |name: &str, figure: fn(&PointResult) -> f64| {
        let mut line = line(name, figure);
        line.points.retain(|(_, us)| *us > 0.0);
        line
    };
    let throughput = Chart {
        title: "Throughput over time",
        across: "seconds",
        upwards: "messages a second",
        lines: vec![line("messages a second", |point| point.messages_per_second)],
        marks: marks.clone(),
        scale: Scale::Plain,
    };
    let latencies = Chart {
        title: "Latency over time",
        across: "seconds",
        upwards: "latency",
        lines: vec![
            latency("p50", |point| point.p50_us),
            latency("p99", |point| point.p99_us),
            latency("max", |point| point.max_us),
        ],
        marks: marks.clone(),
        scale: Scale::Latency,
    };
    let mut text = throughput.svg();
    text.push_str(&latencies.svg());
    let changes = points.windows(2).any(|pair| pair[0].open != pair[1].open);
    if changes {
        let connections = Chart {
            title: "Open connections over time",
            across: "seconds",
            upwards: "connections",
            lines: vec![line("connections", |point| point.open as f64)],
            marks,
            scale: Scale::Plain,
        };
        text.push_str(&connections.svg());
    }
    text
}

/// What latencies a report has, by name.
fn latencies(report: &Report) -> Vec<(&'static str, &Latency)> {
    let result = &report.result;
    let intended = if report.config.model == "open" { "from the intended time" } else { "latency" };
    let all = [(intended, &result.latency), ("from the sending", &result.latency_raw)];
    all.into_iter().filter_map(|(name, latency)| Some((name, latency.as_ref()?))).collect()
}

fn percentile_chart(reports: &[(String, Report)]) -> String {
    let line = |(name, report): &(String, Report)| -> Vec<Line> {
        let several = reports.len() > 1;
        let shown = if several { 1 } else { 2 };
        let line = |(kind, latency): (&str, &Latency)| Line {
            name: if several { name.clone() } else { kind.to_owned() },
            points: latency
                .curve
                .iter()
                .filter(|(quantile, _)| *quantile < 1.0)
                .map(|(quantile, us)| (nines(*quantile), *us))
                .collect(),
        };
        latencies(report).into_iter().take(shown).map(line).collect()
    };
    Chart {
        title: "Latency by percentile",
        across: "percentile",
        upwards: "latency",
        lines: reports.iter().flat_map(line).collect(),
        marks: Vec::new(),
        scale: Scale::Percentiles,
    }
    .svg()
}

fn percentile_table(report: &Report) -> String {
    let names = ["min", "p50", "p90", "p99", "p99.9", "p99.99", "max", "mean"];
    let head: String = names.iter().map(|name| format!("<th>{name}</th>")).collect();
    let mut rows = String::new();
    for (kind, latency) in latencies(report) {
        let cell = |name: &&str| {
            format!("<td>{}</td>", microseconds(latency.named(name).unwrap_or_default()))
        };
        let cells: String = names.iter().map(cell).collect();
        writeln!(rows, "<tr><th>{kind}</th>{cells}</tr>").expect("writing to a String cannot fail");
    }
    format!("<div class=\"wide\"><table><tr><th></th>{head}</tr>\n{rows}</table></div>\n")
}

fn stage_table(report: &Report) -> String {
    if report.result.stages.len() < 2 {
        return String::new();
    }
    let mut text = String::from(
        "<h3>Stages</h3>\n<div class=\"wide\"><table><tr><th>stage</th><th>seconds</th><th>messages</th>\
         <th>a second</th><th>p50</th><th>p99</th><th>p99.9</th><th>max</th></tr>\n",
    );
    for stage in &report.result.stages {
        let at = |name: &str| {
            let latency = stage.latency.as_ref().and_then(|latency| latency.named(name));
            latency.map_or_else(|| "–".to_owned(), microseconds)
        };
        let rate = stage.messages_per_second.map_or_else(|| "–".to_owned(), rounded);
        let warm_up = if stage.warm_up { " (left out)" } else { "" };
        writeln!(
            text,
            "<tr><th>{}{warm_up}</th><td>{:.1}</td><td>{}</td><td>{rate}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td></tr>",
            escaped(&stage.name),
            stage.duration_seconds,
            grouped(stage.messages),
            at("p50"),
            at("p99"),
            at("p99.9"),
            at("max")
        )
        .expect("writing to a String cannot fail");
    }
    text.push_str("</table></div>\n");
    text
}

const STYLE: &str = "
:root { --ink: #1d2430; --grid: #d5dae1; --paper: #ffffff; --faint: #5b6675; --card: #f4f6f8;
  --line-1: #0b6bcb; --line-2: #c2410c; --line-3: #6d3fc0; --line-4: #0f766e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --grid: #39414d; --paper: #14181e; --faint: #9aa5b4; --card: #1d232b;
    --line-1: #5aa9f5; --line-2: #f59e6c; --line-3: #b79af0; --line-4: #4fd1c0; } }
body { color: var(--ink); background: var(--paper); font: 15px/1.5 system-ui, sans-serif;
  max-width: 900px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin-top: 2.5rem; }
h3 { font-size: 1rem; margin-top: 2rem; }
.figures { display: flex; flex-wrap: wrap; gap: .6rem; }
.figures div { background: var(--card); border-radius: 8px; padding: .6rem 1rem; }
.figures b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.figures span { color: var(--faint); font-size: .85rem; }
figure { margin: 1.6rem 0 0; } figcaption { font-weight: 600; }
.key { font-weight: 400; font-size: .85rem; margin-left: 1rem; white-space: nowrap; }
.key i { display: inline-block; width: 1rem; height: 3px; margin-right: .35rem;
  vertical-align: middle; }
.wide { overflow-x: auto; }
svg { width: 100%; min-width: 600px; height: auto; display: block; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%;
  margin-top: 1rem; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--grid); }
th, td { white-space: nowrap; }
th:first-child { text-align: left; font-weight: 500; }
pre { background: var(--card); border-radius: 8px; padding: .8rem 1rem; overflow-x: auto;
  font-size: .8rem; }
.note { border-left: 4px solid var(--line-2); padding: .3rem .8rem; background: var(--card); }
";
