//! Takes cases through, several at a time, and hands on what they found in the order of the list.
//!
//! A case blocks on its own socket, so each worker is a thread. Cases that measure time or weigh
//! on the server come after all others and one by one.
//!
//! Invariant: every case is reported exactly once, in order, as soon as all before it are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use crate::case::{Case, Report};
use crate::subject::Subject;

/// Runs `cases` with up to `jobs` at a time and tells `each` of every one, in order.
pub(crate) fn run(
    cases: &[Case],
    subject: &Subject,
    jobs: usize,
    each: &mut dyn FnMut(&Case, Report),
) {
    let (alone, beside): (Vec<usize>, Vec<usize>) =
        (0..cases.len()).partition(|index| cases[*index].is_alone);
    let next = AtomicUsize::new(0);
    let (sender, reports) = channel();
    let mut waiting = BTreeMap::new();
    let mut told = 0;
    let mut tell = |index: usize, report: Report| {
        waiting.insert(index, report);
        while let Some(report) = waiting.remove(&told) {
            each(&cases[told], report);
            told += 1;
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs.min(beside.len()) {
            let (sender, next, beside) = (sender.clone(), &next, &beside);
            scope.spawn(move || {
                while let Some(index) = beside.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // The receiver outlives the scope.
                    let _ = sender.send((*index, cases[*index].run(subject)));
                }
            });
        }
        drop(sender);
        for (index, report) in reports {
            tell(index, report);
        }
    });
    for index in alone {
        tell(index, cases[index].run(subject));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::case::{Level, Verdict};
    use crate::subject::Facts;

    #[test]
    fn cases_are_told_once_and_in_order_whatever_runs_beside_them() {
        let make = |number: usize| {
            let case = Case::new(format!("a/{number}"), "", Level::Must, "", |_| Ok(()));
            if number.is_multiple_of(7) { case.alone() } else { case }
        };
        let cases: Vec<Case> = (0..100).map(make).collect();
        let subject = Subject {
            address: ([127, 0, 0, 1], 9).into(),
            host: String::new(),
            path: String::new(),
            headers: Vec::new(),
            subprotocol: None,
            origin: None,
            missing_path: None,
            message_max: None,
            timeout: Duration::ZERO,
            patience: Duration::ZERO,
            facts: Facts { echo: true, greeting: 0, deflate: true },
        };
        for jobs in [1, 3, 16] {
            let mut told = Vec::new();
            run(&cases, &subject, jobs, &mut |case, report| {
                assert_eq!(report.verdict, Verdict::Pass);
                told.push(case.id.clone());
            });
            assert_eq!(told, cases.iter().map(|case| case.id.clone()).collect::<Vec<_>>());
        }
    }
}
