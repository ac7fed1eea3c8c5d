//! What is allocated: nothing in the steady state, and little for an idle subscriber.

use allocation_counter::measure;
use tickwire_fanout::{Fanout, FanoutLimits, Settled, TopicKey};

/// A turn in which every third connection that is due takes half of its run, everybody that lagged
/// before drains, and publishers are excluded.
fn turn(fanout: &mut Fanout, number: u64, out: &mut Vec<u8>, lagging: &mut Vec<u32>) {
    lagging.clear();
    lagging.extend(fanout.lagging());
    for &slot in &*lagging {
        out.clear();
        let owed = fanout.owed(slot, out);
        assert!(!owed.more);
        assert_eq!(fanout.settle_owed(slot, owed.bytes), Settled::CaughtUp);
    }
    for entry in 0..100_u32 {
        let exclude = (entry % 10 == 0).then_some(entry);
        fanout.publish(
            TopicKey(entry * 7 % 40),
            number * 100 + u64::from(entry),
            &[7; 125],
            exclude,
        );
    }
    fanout.seal();
    let mut from = 0;
    while from < fanout.due().len() {
        let end = fanout.compose(from, 64);
        for index in from..end {
            let due = fanout.due()[index];
            let length = fanout.run(due.run).len();
            fanout.settle(due, if due.slot.is_multiple_of(3) { length / 2 } else { length });
        }
        from = end;
    }
    fanout.end_turn();
    assert_eq!(fanout.next_overrun(), None);
}

#[test]
fn the_steady_state_allocates_nothing() {
    let mut fanout = Fanout::new(FanoutLimits::default());
    for slot in 0..500 {
        for each in 0..1 + slot % 8 {
            fanout.subscribe(slot, TopicKey((slot + each * each) % 40), 0);
        }
    }
    let (mut out, mut lagging) = (Vec::new(), Vec::new());
    (0..50).for_each(|number| turn(&mut fanout, number, &mut out, &mut lagging));
    let head = fanout.head();
    let allocations = measure(|| {
        (50..150).for_each(|number| turn(&mut fanout, number, &mut out, &mut lagging));
    });
    assert_eq!(fanout.head() - head, 100 * 100, "the turns were turns");
    assert!(!lagging.is_empty());
    assert_eq!(allocations.count_total, 0);
}

#[test]
fn an_idle_subscriber_of_one_topic_costs_less_than_50_bytes() {
    const SUBSCRIBERS: u32 = 1 << 14;
    let mut fanout = Fanout::new(FanoutLimits::default());
    let memory = measure(|| {
        for slot in 0..SUBSCRIBERS {
            fanout.subscribe(slot, TopicKey(0), 0);
        }
        // What the first turns reserve stays with an idle connection, so it counts.
        for seq in 1..4 {
            fanout.publish(TopicKey(0), seq, &[0; 125], None);
            fanout.seal();
            fanout.end_turn();
        }
    });
    let bytes = memory.bytes_current / i64::from(SUBSCRIBERS);
    assert!((28..50).contains(&bytes), "{bytes} bytes");
}
