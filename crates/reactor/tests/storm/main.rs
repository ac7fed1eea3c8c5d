//! Storms: an engine of several shards under everything that peers, publishers and time can do to it,
//! at random, with its promises checked all the time.
//!
//! A run is a seed and a number of events. `storm` is the run, `life` one server in it, `peer` who
//! talks to that, `handler` the application that runs on it; both write in the `ledger`, which knows
//! what was promised, with its pages on `topics`. `fault` plants errors, to see that each promise is seen when it is broken. The
//! engine is the real one, on the simulated back end; `suite` has the cases that have a name.
//!
//! What is run is the list in `seeds` and some seeds that nobody has seen. A failure says which
//! command runs it again; by the environment:
//!
//! - `TICKWIRE_SEED`: this seed alone, or the first of several;
//! - `TICKWIRE_SEEDS`: how many seeds, one after the other (`scripts/storm` uses this);
//! - `TICKWIRE_EVENTS`: how many events of each;
//! - `TICKWIRE_THREADS`: on how many threads.

mod fault;
mod handler;
mod ledger;
mod life;
mod manner;
mod mode;
mod note;
mod peer;
mod random;
mod seeds;
mod storm;
mod stream;
mod topics;

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tickwire_reactor::{Counters, Timestamp};

use crate::fault::Fault;
use crate::storm::{Outcome, Storm};

/// Of each seed, unless it is said otherwise. A tenth of a full run, so that all of this takes some
/// ten seconds on a slow machine; it is the beginning of the full one.
const EVENTS: u64 = 100_000;

/// Seeds that nobody has seen.
const FRESH: u64 = 4;

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.replace('_', "").parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn events() -> u64 {
    number("TICKWIRE_EVENTS").unwrap_or(EVENTS)
}

/// The seeds to run.
fn seeds() -> Vec<u64> {
    let fresh = Timestamp::read().unix_ns();
    match (number("TICKWIRE_SEED"), number("TICKWIRE_SEEDS")) {
        (Some(first), count) => (first..first + count.unwrap_or(1)).collect(),
        (None, Some(count)) => (fresh..fresh + count).collect(),
        (None, None) => {
            seeds::FIXED.iter().map(|(seed, _)| *seed).chain(fresh..fresh + FRESH).collect()
        }
    }
}

/// Runs one storm; if it fails, says how to see that again.
fn run(storm: Storm) -> Result<Outcome, String> {
    let told = Told(storm);
    let result = storm.run();
    std::mem::forget(told);
    result.map_err(|violation| {
        format!("{violation}\nto run it again: {}", command(storm.seed, storm.events))
    })
}

fn command(seed: u64, events: u64) -> String {
    format!(
        "TICKWIRE_SEED={seed} TICKWIRE_EVENTS={events} \
         cargo test -p tickwire-reactor --test storm promises_are_kept"
    )
}

/// Says how to see a panic of the engine again.
struct Told(Storm);

impl Drop for Told {
    fn drop(&mut self) {
        eprintln!("to run it again: {}", command(self.0.seed, self.0.events));
    }
}

/// Whether a storm need not reach what a counter counts: what is not for it, or may be zero at the
/// end.
fn may_be_zero(name: &str) -> bool {
    // TLS, pages of foreign origins and the lack of descriptors have cases of their own; a simulated
    // shard is not woken, but turned.
    let apart = [
        "refused_origin",
        "refused_descriptors",
        "accept_failures",
        // Only sockets are sent to from a file.
        "mirrored_bytes",
        "wakes",
    ];
    name.ends_with("_now") || name.starts_with("tls_") || apart.contains(&name)
}

#[test]
fn promises_are_kept_in_every_storm() {
    let (seeds, events) = (seeds(), events());
    println!("{} seeds, the last is {:?}, {events} events of each", seeds.len(), seeds.last());
    let (next, total) = (AtomicU64::new(0), Mutex::new(Outcome::default()));
    let work = || {
        while let Some(seed) = usize::try_from(next.fetch_add(1, Ordering::Relaxed))
            .ok()
            .and_then(|index| seeds.get(index))
        {
            let outcome = run(Storm::new(*seed, events)).unwrap_or_else(|error| panic!("{error}"));
            let mut total = total.lock().expect("no other thread has failed");
            total.events += outcome.events;
            total.lives += outcome.lives;
            total.counters = total.counters.plus(outcome.counters);
        }
    };
    let threads = number("TICKWIRE_THREADS").unwrap_or(1);
    match threads {
        // On this thread, so that a failure is told as that of the test.
        1 => work(),
        _ => thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work)))),
    }
    let total = total.into_inner().expect("no thread has failed");
    println!("{} events in {} lives: {:?}", total.events, total.lives, total.counters);
    // Else the storms are too calm to show anything.
    let calm = |counters: &Counters| {
        let zero = counters.each().filter(|it| it.2 == 0 && !may_be_zero(it.0));
        zero.map(|it| it.0).collect::<Vec<_>>()
    };
    assert!(
        total.events < 1_000_000 || calm(&total.counters).is_empty(),
        "{:?} never happened",
        calm(&total.counters)
    );
}

#[test]
fn same_seed_gives_the_same_bytes() {
    let mut seen = HashSet::new();
    for seed in seeds().into_iter().take(4) {
        let storm = Storm::new(seed, events().min(50_000));
        let first = run(storm).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(Ok(first), run(storm), "seed {seed}");
        assert!(seen.insert(first.hash), "two seeds give the same");
    }
}

#[test]
fn each_promise_is_seen_when_it_is_broken() {
    for (fault, expected) in Fault::ALL {
        for seed in 1..=3 {
            let storm = Storm { seed, events: 60_000, fault: Some(fault) };
            let seen = storm.run().map_err(|violation| (violation.invariant, violation.detail));
            let invariant = seen.as_ref().err().map(|it| it.0);
            println!("{fault:?}: {seen:?}");
            assert!(invariant.is_some_and(|it| expected.contains(&it)), "{fault:?}: {seen:?}");
        }
    }
}
