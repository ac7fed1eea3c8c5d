//! Several generator processes that make one load.
//!
//! One process has descriptors for so many connections, and one loop has one core. Beyond either the
//! load is divided: the coordinator starts this same program as workers, gives each its share as
//! JSON, lets all start at one moment, and puts their results together as if one had made the load.
//! Histograms are added, so percentiles are those of all messages.
//!
//! A worker reads its order and then `go` from standard input, and ends early when that ends: so
//! none outlives the coordinator. It writes one line of JSON for each thing that it has to say.

mod share;

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::descriptors;
use crate::load::{Live, Load, LoadError, Outcome};

/// What a worker says, a line each.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Live(Live),
    /// All connections are open.
    Ready,
    Done(Box<Outcome>),
    Failed(String),
}

/// How many processes a load needs for its descriptors, at least 1.
#[must_use]
pub fn processes_needed(connections: usize) -> usize {
    connections.div_ceil(descriptors::connections_max().max(1))
}

/// Makes `load` with so many workers, which are started as `program worker`.
pub(crate) fn run(
    load: &Load,
    processes: usize,
    stop: &AtomicBool,
    observe: &mut dyn FnMut(&Live),
) -> Result<Outcome, LoadError> {
    let mut swarm = Swarm::start(load, processes).map_err(LoadError::System)?;
    swarm.follow(stop, observe)
}

/// The coordinator's side.
struct Swarm {
    workers: Vec<Worker>,
    said: Receiver<(usize, Said)>,
}

struct Worker {
    child: Child,
    /// Dropped to make the worker stop.
    orders: Option<ChildStdin>,
    live: Option<Live>,
    ready: bool,
    outcome: Option<Outcome>,
}

impl Swarm {
    fn start(load: &Load, processes: usize) -> io::Result<Self> {
        let (sender, said) = mpsc::channel();
        let program = std::env::current_exe()?;
        let mut workers = Vec::new();
        for (number, share) in share::shares(load, processes).into_iter().enumerate() {
            let mut child = Command::new(&program)
                .arg(WORKER)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .process_group(0)
                .spawn()?;
            let output = child.stdout.take().expect("the output is a pipe");
            let mut orders = child.stdin.take().expect("the input is a pipe");
            writeln!(orders, "{}", serde_json::to_string(&share)?)?;
            let sender = sender.clone();
            thread::spawn(move || listen(number, output, &sender));
            let (live, ready, outcome) = (None, false, None);
            workers.push(Worker { child, orders: Some(orders), live, ready, outcome });
        }
        Ok(Self { workers, said })
    }

    /// Waits for all outcomes, and puts them together.
    fn follow(
        &mut self,
        stop: &AtomicBool,
        observe: &mut dyn FnMut(&Live),
    ) -> Result<Outcome, LoadError> {
        let mut started = false;
        while self.workers.iter().any(|worker| worker.outcome.is_none()) {
            if stop.load(Ordering::Relaxed) {
                self.workers.iter_mut().for_each(|worker| worker.orders = None);
            }
            match self.said.recv_timeout(TICK) {
                Ok((number, said)) => self.hear(number, said, observe)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(LoadError::Plan("a worker ended without its result".to_owned()));
                }
            }
            if !started && self.workers.iter().all(|worker| worker.ready) {
                started = true;
                // The first one last: it may have to tell the server to begin.
                for worker in self.workers.iter_mut().rev() {
                    worker.go().map_err(LoadError::System)?;
                }
            }
        }
        let mut outcomes = self.workers.iter_mut().filter_map(|worker| worker.outcome.take());
        let first = outcomes.next().ok_or_else(|| LoadError::Plan("no worker".to_owned()))?;
        Ok(outcomes.fold(first, Outcome::beside))
    }

    fn hear(
        &mut self,
        number: usize,
        said: Said,
        observe: &mut dyn FnMut(&Live),
    ) -> Result<(), LoadError> {
        let worker = &mut self.workers[number];
        match said {
            Said::Ready => worker.ready = true,
            Said::Done(outcome) => {
                worker.ready = true;
                worker.outcome = Some(*outcome);
            }
            Said::Failed(words) => return Err(LoadError::Plan(words)),
            Said::Live(live) => {
                worker.live = Some(live);
                if let Some(live) = self.together() {
                    observe(&live);
                }
            }
        }
        Ok(())
    }

    /// How the run goes in all, as far back as the worker that is furthest behind.
    fn together(&self) -> Option<Live> {
        let mut all = self.workers.iter().map(|worker| worker.live);
        let mut together = all.next()??;
        for live in all {
            let live = live?;
            if (live.part, live.stage) < (together.part, together.stage) {
                (together.part, together.stage) = (live.part, live.stage);
                together.elapsed = live.elapsed;
            }
            together.open += live.open;
            together.messages_per_second += live.messages_per_second;
            together.p99 = together.p99.max(live.p99);
            together.faults += live.faults;
        }
        Some(together)
    }
}

impl Worker {
    fn go(&mut self) -> io::Result<()> {
        match &mut self.orders {
            Some(orders) => writeln!(orders, "{GO}"),
            None => Ok(()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.orders = None;
        if self.outcome.is_none() {
            // It may be amid a run that failed elsewhere; it has nothing to lose.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Passes on what a worker says; its end without a word is a failure.
fn listen(number: usize, output: impl io::Read, sender: &Sender<(usize, Said)>) {
    let mut done = false;
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let said = serde_json::from_str(&line)
            .unwrap_or_else(|error| Said::Failed(format!("worker {number}: {error}")));
        done = matches!(said, Said::Done(_) | Said::Failed(_));
        if sender.send((number, said)).is_err() {
            return;
        }
    }
    if !done {
        let words = format!("worker {number} ended without its result");
        let _ = sender.send((number, Said::Failed(words)));
    }
}

/// A worker's whole life: reads its share from standard input, makes it, and says what came out.
///
/// # Errors
///
/// When standard input or output fails, or the order is not readable.
pub fn work() -> io::Result<()> {
    let mut order = String::new();
    io::stdin().lock().read_line(&mut order)?;
    let load: Load = serde_json::from_str(&order)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, go) = mpsc::channel();
    let stopper = Arc::clone(&stop);
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if line == GO && sender.send(()).is_err() {
                break;
            }
        }
        stopper.store(true, Ordering::Relaxed);
        drop(sender);
    });
    let mut gate = || {
        say(&Said::Ready)?;
        // Without the coordinator there is nothing to wait for: the run sees that it is stopped.
        let _ = go.recv();
        Ok(())
    };
    let mut observe = |live: &Live| {
        // A coordinator that is gone is noticed by the other thread.
        let _ = say(&Said::Live(*live));
    };
    match load.run_gated(&stop, &mut observe, &mut gate) {
        Ok(outcome) => say(&Said::Done(Box::new(outcome))),
        Err(error) => say(&Said::Failed(error.to_string())),
    }
}

fn say(said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_string(said)?;
    line.push('\n');
    io::stdout().lock().write_all(line.as_bytes())
}

/// The command that makes the program a worker.
pub const WORKER: &str = "worker";

const GO: &str = "go";

/// How long the coordinator waits for news before it looks whether it is to stop.
const TICK: Duration = Duration::from_millis(100);
