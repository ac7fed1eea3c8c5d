//! What is allocated: nothing in the steady state, and little for an idle subscriber.

use allocation_counter::measure;
use tickwire_fanout::{Fanout, FanoutLimits, Follow, Pace, Settled, TopicKey, Value};

/// A turn in which every third connection that is due takes half of its run, everybody that lagged
/// before drains, and publishers are excluded.
fn turn(fanout: &mut Fanout, number: u64, out: &mut Vec<u8>, lagging: &mut Vec<u32>) {
    lagging.clear();
    lagging.extend(fanout.lagging());
    for &slot in &*lagging {
        out.clear();
        let owed = fanout.owed(slot, out, &mut no_values);
        assert!(!owed.more);
        assert_eq!(fanout.settle_owed(slot, owed.bytes), Settled::CaughtUp);
    }
    for entry in 0..100_u32 {
        let exclude = (entry % 10 == 0).then_some(entry);
        fanout.publish(
            TopicKey(u64::from(entry) * 7 % 40),
            number * 100 + u64::from(entry),
            &[7; 125],
            exclude,
        );
    }
    fanout.seal();
    let mut from = 0;
    while from < fanout.due().len() {
        let end = fanout.compose(from, 64, &mut no_values);
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
            fanout.subscribe(slot, TopicKey(u64::from(slot + each * each) % 40), 0);
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

/// A turn of 100 publications on 40 topics, followed at different paces; every third connection that is
/// due takes half of its bundle.
fn turn_of_values(fanout: &mut Fanout, number: u64, out: &mut Vec<u8>, lagging: &mut Vec<u32>) {
    fanout.set_tick(u32::try_from(number).expect("a few turns"));
    for entry in 0..100_u32 {
        let seq = number * 100 + u64::from(entry);
        fanout.publish(TopicKey(u64::from(entry) * 7 % 40), seq, &[7; 125], None);
    }
    fanout.seal();
    let mut from = 0;
    while from < fanout.due().len() {
        let end = fanout.compose(from, 64, &mut value_of_125_bytes);
        for index in from..end {
            let due = fanout.due()[index];
            let length = fanout.run(due.run).len();
            fanout.settle(due, if due.slot.is_multiple_of(3) { length / 2 } else { length });
        }
        from = end;
    }
    lagging.clear();
    lagging.extend(fanout.lagging());
    for &slot in &*lagging {
        out.clear();
        let owed = fanout.owed(slot, out, &mut value_of_125_bytes);
        assert!(!owed.more);
        assert_eq!(fanout.settle_owed(slot, owed.bytes), Settled::CaughtUp);
    }
    fanout.end_turn();
}

#[test]
fn values_allocate_nothing_in_the_steady_state() {
    let mut fanout = Fanout::new(FanoutLimits::default());
    for slot in 0..500 {
        for each in 0..1 + slot % 8 {
            let topic = TopicKey(u64::from(slot + each * each) % 40);
            let pace = [Pace::EVERY_TURN, Pace::every(5)][each as usize % 2];
            if each == 7 {
                fanout.subscribe(slot, topic, 0);
            } else {
                let view = slot % 2;
                fanout.follow(
                    slot,
                    topic,
                    Follow { sent_seq: 0, newest_seq: 0, view, renderer: 0, pace },
                );
            }
        }
    }
    let (mut out, mut lagging) = (Vec::new(), Vec::new());
    (0..300).for_each(|number| turn_of_values(&mut fanout, number, &mut out, &mut lagging));
    let before = fanout.value_counts();
    let allocations = measure(|| {
        (300..400).for_each(|number| turn_of_values(&mut fanout, number, &mut out, &mut lagging));
    });
    let after = fanout.value_counts();
    assert!(after.given - before.given > 100 * 500, "the turns were turns");
    assert!(after.merged - before.merged > after.given - before.given);
    assert!(lagging.len() > 100);
    assert_eq!(allocations.count_total, 0);
}

#[test]
fn a_thousand_followers_that_stopped_reading_hold_their_24_bytes() {
    const STALLED: u32 = 1_000;
    let mut fanout = Fanout::new(FanoutLimits::default());
    let follow =
        Follow { sent_seq: 0, newest_seq: 0, view: 0, renderer: 0, pace: Pace::EVERY_TURN };
    for slot in 0..STALLED {
        fanout.follow(slot, TopicKey(0), follow);
    }
    let publish = |seq: u64, fanout: &mut Fanout| {
        fanout.publish(TopicKey(0), seq, &[7; 125], None);
        fanout.seal();
        for index in 0..fanout.due().len() {
            fanout.hold(fanout.due()[index]);
        }
        fanout.end_turn();
    };
    publish(1, &mut fanout);
    assert_eq!(fanout.lagging().len(), 1_000);
    let stalled = measure(|| (2..10_000).for_each(|seq| publish(seq, &mut fanout)));
    assert_eq!((stalled.bytes_current, stalled.count_total), (0, 0));
    assert_eq!((fanout.retained_bytes(), fanout.log_size()), (0, (0, 0)));
    let bytes = fanout.value_bytes() / STALLED as usize;
    assert!((24..48).contains(&bytes), "{bytes} bytes each, with room for twice as many at most");
    // And every one of them gets the last one.
    let mut out = Vec::new();
    for slot in 0..STALLED {
        out.clear();
        let seqs = &mut Vec::new();
        fanout.owed(slot, &mut out, &mut |value, out| {
            seqs.push((value.prev, value.seq));
            value_of_125_bytes(value, out);
        });
        // They are alike, so the first one is rendered for all.
        assert_eq!(*seqs, if slot == 0 { vec![(0, 9_999)] } else { vec![] });
        assert_eq!(fanout.settle_owed(slot, out.len()), Settled::CaughtUp);
    }
}

fn value_of_125_bytes(_value: Value, out: &mut Vec<u8>) {
    out.extend_from_slice(&[1; 125]);
}

/// Where nobody follows the newest value nothing is rendered.
fn no_values(value: Value, _out: &mut Vec<u8>) {
    panic!("{value:?} is followed by nobody");
}
