//! A thousand turns of one publication each, for `scripts/check-instructions` to count what one costs:
//! instructions are the same on a busy machine and on a quiet one.
//!
//! `instructions SUBSCRIBERS`; what is to be counted is all within [`deliver_all`]. Everybody gets every
//! publication and takes all of it, as in a shard that keeps up.

use std::env;
use std::hint::black_box;
use std::process::ExitCode;

use tickwire_fanout::{Fanout, FanoutLimits, Settled, TopicKey};

const TURNS: usize = 1000;

const TOPIC: TopicKey = TopicKey(1);

/// A header and 125 bytes.
const FRAME: [u8; 127] = [b'.'; 127];

/// Sends that a shard hands to its back end at once.
const BATCH: usize = 256;

fn main() -> ExitCode {
    let Some(subscribers) = env::args().nth(1).and_then(|number| number.parse().ok()) else {
        eprintln!("usage: instructions SUBSCRIBERS");
        return ExitCode::FAILURE;
    };
    let mut fanout = Fanout::new(FanoutLimits::default());
    for slot in 0..subscribers {
        fanout.subscribe(slot, TOPIC, 0);
    }
    // What allocates for the first time is no publication's cost.
    let first = turn(&mut fanout, 1);
    assert_eq!(first, subscribers as usize * FRAME.len());
    assert_eq!(deliver_all(&mut fanout), first * TURNS);
    ExitCode::SUCCESS
}

/// Gives the number of bytes that were delivered.
#[inline(never)]
fn deliver_all(fanout: &mut Fanout) -> usize {
    (2..).take(TURNS).map(|seq| turn(fanout, seq)).sum()
}

/// The calls that a shard makes.
fn turn(fanout: &mut Fanout, seq: u64) -> usize {
    fanout.set_tick(1);
    fanout.publish(TOPIC, seq, black_box(&FRAME), None);
    fanout.seal();
    let (mut from, mut bytes) = (0, 0);
    while from < fanout.due().len() {
        let end = fanout.compose(from, BATCH, &mut |_, _| ());
        for index in from..end {
            bytes += black_box(fanout.run(fanout.due()[index].run)).len();
        }
        for index in from..end {
            let settled = fanout.settle(fanout.due()[index], black_box(FRAME.len()));
            assert_eq!(settled, Settled::CaughtUp);
        }
        from = end;
    }
    fanout.end_turn();
    bytes
}
