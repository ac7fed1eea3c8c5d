//! How a run goes, on standard error: a bar on a terminal, one plain line a second elsewhere.
//!
//! Told by the fleet some five times a second, on the thread that also drives the connections, so
//! it must be quick: a bar costs about 50 µs. Nothing here goes to standard output, which belongs
//! to the report.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tickwire_load::report::{duration, grouped, rounded};
use tickwire_load::{Live, Load, Part};

/// Where progress is shown.
pub(crate) enum Progress {
    /// A terminal.
    Bar(ProgressBar),
    /// A file or a pipe, with the second that was shown last.
    Lines(Option<(Part, u64)>),
    /// Nowhere.
    Quiet,
}

impl Progress {
    /// Progress on standard error, unless it is to be `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        if quiet {
            return Self::Quiet;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines(None);
        }
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix:>10} [{bar:24}] {msg}");
        bar.set_style(style.expect("the template is well-formed").progress_chars("=> "));
        Self::Bar(bar)
    }

    /// Shows how the run goes now.
    pub(crate) fn show(&mut self, load: &Load, live: &Live) {
        match self {
            Self::Quiet => {}
            Self::Bar(bar) => {
                let (done, of) = extent(load, live);
                bar.set_prefix(name(live.part));
                bar.set_length(of);
                bar.set_position(done.min(of));
                bar.set_message(words(load, live));
            }
            Self::Lines(shown) => {
                let present = (live.part, live.elapsed.as_secs());
                let news = shown.replace(present) != Some(present);
                // At the very start of a part there is nothing to tell yet.
                if news && live.elapsed > Duration::from_millis(500) {
                    let line = format!("{:>10} {}", name(live.part), words(load, live));
                    // Nobody to read it is no reason to end a run.
                    let _ = writeln!(std::io::stderr(), "{line}");
                }
            }
        }
    }

    /// Leaves the terminal as it was.
    pub(crate) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// How much of the part is done, and of how much.
fn extent(load: &Load, live: &Live) -> (u64, u64) {
    let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let connections = load.connections as u64;
    match live.part {
        Part::Connecting => (live.open as u64, connections),
        Part::Running => (milliseconds(live.elapsed), milliseconds(load.duration())),
        _ => (connections.saturating_sub(live.open as u64), connections),
    }
}

fn words(load: &Load, live: &Live) -> String {
    let seconds = live.elapsed.as_secs_f64();
    let errors = match live.faults {
        0 => String::new(),
        faults => format!("  {} errors", grouped(faults)),
    };
    let open = live.open;
    match live.part {
        Part::Running => {
            let rate = rounded(live.messages_per_second);
            let of = load.duration().as_secs_f64();
            let p99 = match live.p99 {
                Duration::ZERO => "-".to_owned(),
                p99 => duration(p99),
            };
            format!("{seconds:.1}/{of:.1} s  {rate} messages/s  p99 {p99}{errors}")
        }
        _ => format!("{seconds:.1} s  {open} of {} open{errors}", load.connections),
    }
}

const fn name(part: Part) -> &'static str {
    match part {
        Part::Connecting => "connecting",
        Part::Running => "running",
        Part::Draining => "draining",
        _ => "closing",
    }
}
