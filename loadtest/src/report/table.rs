//! The report as a table of plain text, for a terminal.

use std::fmt::Write as _;

use super::words::{grouped, microseconds, rounded, significant};
use super::{Client, Config, Latency, Report, Results, SendCounts, Treated};
use crate::abuse::Ending;
use crate::health::WAIT_SHARE_MAX;
use crate::load::Deflate;
use crate::server::ServerUse;

/// The report as a table of plain text: some ten lines, one for each stage if there are several, and
/// two for each kind of error.
#[must_use]
pub fn table(report: &Report) -> String {
    let Report { config, result, .. } = report;
    let mut rows = Rows::default();
    rows.row(&report.scenario, &format!("{}, {}", config.urls.join(" "), clients(config)));
    rows.row("connections", &connections(result));
    if config.deflate != Deflate::Off {
        rows.row("deflate", &deflated(config, result));
    }
    if config.resume {
        rows.row("resumed", &resumed(result));
    }
    let early = if result.interrupted { " (interrupted)" } else { "" };
    rows.row("duration", &format!("{:.2} s{early}", result.duration_seconds));
    rows.row("messages", &grouped(result.messages));
    if result.merged > 0 {
        rows.row("merged", &merged(result));
    }
    rows.figures(result);
    if let Some(sends) = &result.sends {
        rows.row("sends", &departures(sends));
    }
    rows.row("client", &client(&result.client));
    if let Some(server) = &result.server {
        rows.server(server);
    }
    if report.attacks.is_empty() {
        rows.stages(result);
    } else {
        rows.attacks(report);
    }
    for Treated { clients, end, count } in &result.treatment {
        rows.row("treatment", &format!("{} × a {clients} client: {end}", grouped(*count)));
    }
    rows.errors(result);
    for check in &report.checks {
        let value = check.shown().unwrap_or_else(|| "not measured".to_owned());
        let verdict = if check.failed { "FAILED" } else { "held" };
        rows.row("check", &format!("{verdict}: {} ({value})", check.condition));
    }
    for note in notes(report) {
        rows.row("note", &note);
    }
    rows.0
}

/// What a reader must know before the figures are believed.
pub(super) fn notes(report: &Report) -> Vec<String> {
    let result = &report.result;
    let mut notes = Vec::new();
    for saturation in result.saturated.iter().filter(|_| !result.withheld) {
        notes.push(format!("the generator itself was the limit: {saturation}"));
    }
    if let Some(sends) = result.sends.filter(|sends| sends.unsent > 0) {
        notes.push(format!(
            "{} messages were due and never left: the server did not keep up, and latencies count \
             them up to the end of the run",
            grouped(sends.unsent)
        ));
    }
    let offered = report.config.deflate != Deflate::Off && result.connections_opened > 0;
    if offered && result.connections_deflated == 0 {
        notes.push("the server declined permessage-deflate: everything went plain".to_owned());
    }
    let wait_share = result.server.as_ref().and_then(|server| server.wait_share);
    if let Some(share) = wait_share.filter(|share| *share > WAIT_SHARE_MAX) {
        notes.push(format!(
            "the server waited for a core {:.0} % of the time because other work had it: its latency \
             is not its own",
            share * 100.0
        ));
    }
    let silent = result.messages == 0 && result.errors_total == 0 && !result.ok;
    if silent && !result.interrupted {
        notes.push(silence(&report.scenario).to_owned());
    }
    notes
}

/// Lines with a name in front.
#[derive(Default)]
struct Rows(String);

impl Rows {
    fn row(&mut self, name: &str, text: &str) {
        writeln!(self.0, "{name:<12} {text}").expect("writing to a String cannot fail");
    }

    /// Rate and latency, or why they are not told.
    fn figures(&mut self, result: &Results) {
        if result.withheld {
            self.row(
                "withheld",
                "the generator itself was the limit, so rate and latency would be",
            );
            self.row("", "its own and not the server's; --allow-saturated shows them");
            for saturation in &result.saturated {
                self.row("", &format!("    {saturation}"));
            }
            return;
        }
        if result.messages == 0 && result.latency.is_none() {
            return;
        }
        let rates = result.messages_per_second.zip(result.megabytes_per_second);
        let (messages, megabytes) = rates.unwrap_or_default();
        self.row("throughput", &format!("{} messages/s, {megabytes:.2} MB/s", rounded(messages)));
        self.row("latency", &percentiles(result.latency.as_ref()));
        if let Some(raw) = &result.latency_raw {
            self.row("  from send", &percentiles(Some(raw)));
        }
    }

    fn server(&mut self, server: &ServerUse) {
        let ServerUse { name, pid, cpus, .. } = server;
        let cost = match server.cpu_per_message_us {
            Some(cost) => format!("{} µs a message, ", significant(cost)),
            None => String::new(),
        };
        self.row(
            "server CPU",
            &format!(
                "{cost}{:.0} % of one core ({:.2} s user, {:.2} s system) by {name} ({pid})",
                server.cores * 100.0,
                server.cpu_user_seconds,
                server.cpu_system_seconds
            ),
        );
        // Older reports do not have it.
        let waited = server.wait_share.map_or_else(String::new, |share| {
            format!("waited for a core {} % of the time; ", significant(share * 100.0))
        });
        self.row(
            "",
            &format!(
                "{waited}context switches: {} voluntary, {} involuntary",
                grouped(server.voluntary_switches),
                grouped(server.involuntary_switches)
            ),
        );
        self.row(
            "",
            &format!(
                "software interrupts on CPU {cpus}: {:.2} s, ksoftirqd {:.3} s",
                server.softirq_seconds, server.ksoftirqd_seconds
            ),
        );
        let each = match server.rss_per_connection_bytes {
            Some(bytes) => format!(", {} bytes a connection", rounded(bytes)),
            None => String::new(),
        };
        let peak = server
            .rss_peak_bytes
            .map_or_else(String::new, |bytes| format!(", {:.1} MB at most", bytes as f64 / 1e6));
        self.row(
            "server RAM",
            &format!(
                "{:.1} MB before, {:.1} MB with all open{each}, {:.1} MB at the end{peak}",
                server.rss_before_bytes as f64 / 1e6,
                server.rss_open_bytes as f64 / 1e6,
                server.rss_end_bytes as f64 / 1e6
            ),
        );
    }

    /// What each attack came to: for its attackers, for the polite clients, for the server.
    fn attacks(&mut self, report: &Report) {
        let result = &report.result;
        for (number, stage) in result.stages.iter().enumerate() {
            let attacked = number.checked_sub(1).and_then(|number| report.attacks.get(number));
            let name = &stage.name;
            let polite = match &stage.latency {
                Some(latency) => format!(
                    "polite p50 {}, p99 {}, max {}",
                    microseconds(latency.p50_us),
                    microseconds(latency.p99_us),
                    microseconds(latency.max_us)
                ),
                None => "polite clients had no answer".to_owned(),
            };
            let server = result.server.as_ref().and_then(|server| server.stages.get(number));
            let server = server.map_or(String::new(), |server| {
                let (megabytes, cores) = (server.rss_end_bytes as f64 / 1e6, server.cores * 100.0);
                let peak = server.rss_peak_bytes.map_or_else(String::new, |bytes| {
                    format!(", {:.0} at most so far", bytes as f64 / 1e6)
                });
                format!("; server {cores:.0} % of a core, {megabytes:.0} MB{peak}")
            });
            self.row("attack", &format!("{name}: {polite}{server}"));
            let Some(attacked) = attacked else { continue };
            for Ending { what, count, seconds, .. } in &attacked.endings {
                let count = grouped(*count as u64);
                let longest = microseconds(seconds * 1e6);
                self.row("", &format!("    {count} × {what}, after at most {longest}"));
            }
            let sent = attacked.bytes as f64 / 1e6;
            let handshakes = grouped(attacked.handshakes);
            self.row("", &format!("    {sent:.1} MB taken, {handshakes} handshakes"));
        }
    }

    fn stages(&mut self, result: &Results) {
        if result.stages.len() < 2 {
            return;
        }
        for stage in &result.stages {
            let rate = stage.messages_per_second.map_or_else(|| "-".to_owned(), rounded);
            let warm_up = if stage.warm_up { " (left out)" } else { "" };
            let latency = match &stage.latency {
                Some(latency) => percentiles(Some(latency)),
                None => "-".to_owned(),
            };
            let seconds = stage.duration_seconds;
            let name = &stage.name;
            self.row("stage", &format!("{name}{warm_up}: {seconds:.1} s, {rate}/s, {latency}"));
        }
    }

    fn errors(&mut self, result: &Results) {
        let total = match result.errors_total {
            0 => "none".to_owned(),
            total => grouped(total),
        };
        self.row("errors", &total);
        for error in &result.errors {
            let code = error.code.map_or(String::new(), |code| format!(" {code}"));
            let (count, kind) = (grouped(error.count), &error.kind);
            self.row("", &format!("{count} × {kind}{code}, e.g. {}", error.example));
            self.row("", &format!("    {}", error.advice));
        }
    }
}

fn connections(result: &Results) -> String {
    format!(
        "{} opened in {}, {} failed, {} lost",
        grouped(result.connections_opened as u64),
        microseconds(result.connecting_seconds * 1e6),
        grouped(result.connections_failed as u64),
        grouped(result.connections_lost as u64)
    )
}

fn deflated(config: &Config, result: &Results) -> String {
    let sent = if config.deflate == Deflate::Both { "compressed" } else { "plain" };
    let mut text = format!(
        "agreed on by {} of {} connections, sent {sent}",
        grouped(result.connections_deflated as u64),
        grouped(result.connections_opened as u64)
    );
    if result.payload_bytes > 0 {
        let share = result.wire_bytes as f64 / result.payload_bytes as f64 * 100.0;
        write!(text, "; {share:.0} bytes came for 100 of payload")
            .expect("writing to a String cannot fail");
    }
    text
}

fn merged(result: &Results) -> String {
    let Results { merged, messages, duration_seconds, .. } = result;
    let owed = (merged + messages) as f64;
    format!(
        "{} more were not sent, as a newer value had come: {:.1} % of {} a second",
        grouped(*merged),
        *merged as f64 / owed * 100.0,
        rounded(owed / duration_seconds.max(f64::MIN_POSITIVE))
    )
}

fn resumed(result: &Results) -> String {
    let [resumed, opened] =
        [result.connections_resumed, result.connections_opened].map(|it| grouped(it as u64));
    format!("sessions of TLS were taken up in {resumed} of {opened} handshakes")
}

fn clients(config: &Config) -> String {
    let mut text = format!("{} clients", grouped(config.connections as u64));
    if let Some(size) = &config.size {
        write!(text, ", messages of {size} bytes").expect("writing to a String cannot fail");
    }
    if let Some((topics, of_each)) = config.topics.zip(config.topics_of_each) {
        let [topics, of_each] = [topics, of_each].map(|number| grouped(number as u64));
        write!(text, ", {of_each} of {topics} topics each")
            .expect("writing to a String cannot fail");
    }
    if let Some(depth) = config.depth {
        let most = if config.model == "open" { "at most " } else { "" };
        write!(text, ", {most}{depth} on their way each").expect("writing to a String cannot fail");
    }
    if config.model == "open" {
        text.push_str(", open model");
    }
    text
}

fn percentiles(latency: Option<&Latency>) -> String {
    let Some(latency) = latency else { return "none measured".to_owned() };
    let named = ["p50", "p90", "p99", "p99.9", "max"];
    named
        .map(|name| format!("{name} {}", microseconds(latency.named(name).unwrap_or_default())))
        .join("  ")
}

fn departures(sends: &SendCounts) -> String {
    let SendCounts { sent, late, held, unsent } = sends;
    let [sent, late, held, unsent] = [sent, late, held, unsent].map(|count| grouped(*count));
    format!(
        "{sent} sent, {late} late by the generator, {held} held back by answers, {unsent} never"
    )
}

fn client(client: &Client) -> String {
    let mut text = match client.cpu_per_message_us {
        Some(cost) => format!("{} µs a message, ", significant(cost)),
        None => String::new(),
    };
    let share = client.core_share * 100.0;
    match client.generators {
        1 => write!(text, "{share:.0} % of one core"),
        many => write!(text, "{share:.0} % of each core of {many} generators"),
    }
    .expect("writing to a String cannot fail");
    if let Some(lag) = &client.loop_lag {
        write!(text, ", loop lag p99 {}", microseconds(lag.p99_us))
            .expect("writing to a String cannot fail");
    }
    write!(text, ", {:.1} MB", client.rss_bytes as f64 / 1e6)
        .expect("writing to a String cannot fail");
    text
}

/// What to look for when all went well but nothing came.
fn silence(scenario: &str) -> &'static str {
    match scenario {
        "fanout" => "nothing was published: does the server begin on the text message `start`?",
        _ => "nothing came in time: try a longer --duration",
    }
}
