//! What single turns do, case by case: the rules that the random model does not name.

use tickwire_fanout::{Due, Fanout, FanoutLimits, Overrun, Owed, Settled, TopicKey, Value};

const GOLD: TopicKey = TopicKey(0);
const SILVER: TopicKey = TopicKey(1);
const COPPER: TopicKey = TopicKey(2);

fn fanout(held: &[(u32, TopicKey)]) -> Fanout {
    let mut fanout = Fanout::new(FanoutLimits::default());
    for &(slot, topic) in held {
        fanout.subscribe(slot, topic, 0);
    }
    fanout
}

/// Publishes one frame per topic and seals; each frame is the topic's letter and its number, which
/// is a digit.
fn publish(fanout: &mut Fanout, first_seq: u8, topics: &[TopicKey]) {
    for (seq, &topic) in (first_seq..).zip(topics) {
        let letter = if topic == GOLD {
            b'G'
        } else if topic == SILVER {
            b'S'
        } else {
            b'C'
        };
        fanout.publish(topic, u64::from(seq), &[letter, b'0' + seq], None);
    }
    fanout.seal();
}

fn due_of(fanout: &Fanout, slot: u32) -> Due {
    fanout.due()[fanout.due_index(slot).expect("due")]
}

fn owed(fanout: &mut Fanout, slot: u32) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let Owed { bytes, more } = fanout.owed(slot, &mut out, &mut no_values);
    assert_eq!(bytes, out.len());
    (out, more)
}

#[test]
fn topics_of_a_connection_keep_the_order_of_publication() {
    let held = [(0, GOLD), (0, SILVER), (1, GOLD), (2, SILVER), (2, COPPER), (3, COPPER)];
    let mut fanout = fanout(&held);
    publish(&mut fanout, 1, &[SILVER, GOLD, SILVER, COPPER, GOLD]);
    assert_eq!(fanout.compose(0, usize::MAX, &mut no_values), 4);
    let expected: [&[u8]; 4] = [b"S1G2S3G5", b"G2G5", b"S1S3C4", b"C4"];
    for (slot, bytes) in (0..).zip(expected) {
        assert_eq!(fanout.run(due_of(&fanout, slot).run), bytes, "slot {slot}");
    }
}

#[test]
fn connections_that_are_owed_the_same_share_one_run() {
    let held =
        (0..300).flat_map(|slot| [(slot, [GOLD, SILVER][slot as usize % 2]), (slot, COPPER)]);
    let mut fanout = fanout(&Vec::from_iter(held));
    publish(&mut fanout, 1, &[GOLD, COPPER, SILVER]);
    assert_eq!(fanout.compose(0, 256, &mut no_values), 256);
    let address = |index: usize| fanout.run(fanout.due()[index].run).as_ptr();
    assert!((2..256).all(|index| address(index) == address(index % 2)));
    assert_ne!(address(0), address(1));
    assert_eq!(
        (fanout.run(fanout.due()[4].run), fanout.run(fanout.due()[5].run)),
        (&b"G1C2"[..], &b"C2S3"[..])
    );
}

#[test]
fn a_batch_ends_early_when_its_mixtures_are_large() {
    let mut fanout = Fanout::new(FanoutLimits::default());
    let topics: Vec<TopicKey> = (0..8).map(TopicKey).collect();
    for slot in 0..28 {
        // Each pair of eight topics, so that no two connections share.
        let pairs = (0..8).flat_map(|one| (0..one).map(move |other| [one, other]));
        for topic in pairs.clone().nth(slot as usize).expect("28 pairs") {
            fanout.subscribe(slot, topics[topic], 0);
        }
    }
    for &topic in &topics {
        fanout.publish(topic, 1, &vec![b'0'; 100_000], None);
    }
    fanout.seal();
    let mut from = 0;
    let mut batches = Vec::new();
    while from < 28 {
        let end = fanout.compose(from, 256, &mut no_values);
        for index in from..end {
            let due = fanout.due()[index];
            assert_eq!(fanout.run(due.run).len(), 200_000);
            assert_eq!(fanout.settle(due, 200_000), Settled::CaughtUp);
        }
        batches.push(end - from);
        from = end;
    }
    assert_eq!(batches, [6, 6, 6, 6, 4]);
}

#[test]
fn settling_tells_the_rest_of_the_frame_that_was_cut() {
    let held = [(0, GOLD), (1, GOLD), (1, SILVER), (2, SILVER), (3, SILVER), (3, COPPER)];
    // Slot 0 is owed one topic, 1 and 3 mixtures, 2 a topic in one piece.
    for (slot, sent, rest, then) in [
        (0, 0, "", "G1G4"),
        (0, 1, "1", "G4"),
        (0, 2, "", "G4"),
        (0, 3, "4", ""),
        (1, 3, "2", "S3G4"),
        (1, 6, "", "G4"),
        (2, 1, "2", "S3"),
        (2, 3, "3", ""),
        (3, 5, "5", ""),
        (3, 4, "", "C5"),
    ] {
        let mut fanout = fanout(&held);
        publish(&mut fanout, 1, &[GOLD, SILVER, SILVER, GOLD, COPPER]);
        fanout.compose(0, 4, &mut no_values);
        let settled = fanout.settle(due_of(&fanout, slot), sent);
        assert_eq!(
            settled,
            Settled::Lagging { rest: rest.as_bytes() },
            "slot {slot}, {sent} bytes"
        );
        assert_eq!(
            owed(&mut fanout, slot),
            (then.as_bytes().to_vec(), false),
            "slot {slot}, {sent} bytes"
        );
        fanout.end_turn();
        assert_eq!(owed(&mut fanout, slot).0, then.as_bytes());
        assert_eq!(fanout.settle_owed(slot, then.len()), Settled::CaughtUp);
        fanout.end_turn();
        assert_eq!(fanout.log_size(), (0, 0));
    }
}

#[test]
fn a_laggard_without_backlog_holds_nothing_and_is_woken_by_its_own_topics_only() {
    let mut fanout = fanout(&[(0, GOLD), (1, SILVER)]);
    publish(&mut fanout, 1, &[GOLD]);
    assert_eq!(fanout.settle(due_of(&fanout, 0), 1), Settled::Lagging { rest: b"1" });
    fanout.end_turn();
    for seq in 2..5 {
        publish(&mut fanout, seq, &[SILVER]);
        fanout.end_turn();
        assert_eq!(
            (fanout.log_size(), fanout.lag_of(0), fanout.delivered()),
            ((0, 0), 0, u64::from(seq))
        );
    }
    publish(&mut fanout, 5, &[SILVER, GOLD]);
    assert_eq!(Vec::from_iter(fanout.due().iter().map(|due| due.slot)), [1]);
    fanout.end_turn();
    assert_eq!((fanout.log_size(), fanout.lag_of(0), fanout.delivered()), ((1, 2), 1, 5));
    assert_eq!(owed(&mut fanout, 0), (b"G6".to_vec(), false));
}

#[test]
fn a_laggard_that_drained_before_the_seal_is_due_like_any_other() {
    let mut fanout = fanout(&[(0, GOLD)]);
    publish(&mut fanout, 1, &[GOLD]);
    fanout.hold(due_of(&fanout, 0));
    fanout.end_turn();
    fanout.publish(GOLD, 2, b"G2", None);
    assert_eq!(owed(&mut fanout, 0), (b"G1".to_vec(), false));
    assert_eq!(fanout.settle_owed(0, 2), Settled::CaughtUp);
    fanout.seal();
    assert_eq!(fanout.run(due_of(&fanout, 0).run), b"G2");
}

#[test]
fn the_publisher_is_excluded_from_its_own_message_only() {
    let mut fanout = fanout(&[(0, GOLD), (1, GOLD), (2, GOLD)]);
    fanout.publish(GOLD, 1, b"a", Some(1));
    fanout.seal();
    assert_eq!(Vec::from_iter(fanout.due().iter().map(|due| due.slot)), [0, 2]);
    fanout.end_turn();
    fanout.publish(GOLD, 2, b"b", Some(0));
    fanout.publish(GOLD, 3, b"c", Some(1));
    fanout.seal();
    fanout.compose(0, 3, &mut no_values);
    let runs = [0, 1, 2].map(|slot| fanout.run(due_of(&fanout, slot).run));
    assert_eq!(runs, [&b"c"[..], b"b", b"bc"]);
}

#[test]
fn publications_on_their_way_are_not_given_to_who_knows_them_from_a_snapshot() {
    let mut fanout = fanout(&[(0, GOLD)]);
    fanout.publish(GOLD, 1, b"1", None);
    fanout.subscribe(1, GOLD, 3);
    fanout.publish(GOLD, 2, b"2", None);
    fanout.publish(GOLD, 3, b"3", None);
    fanout.seal();
    assert_eq!(Vec::from_iter(fanout.due().iter().map(|due| due.slot)), [0]);
    fanout.end_turn();
    fanout.publish(GOLD, 4, b"4", None);
    fanout.seal();
    assert_eq!(fanout.due().len(), 2);
    assert_eq!(fanout.due()[0].run, fanout.due()[1].run);
}

#[test]
fn falling_out_of_the_log_is_reported_once_with_what_was_skipped() {
    let limits = FanoutLimits { log_entries_max: 3, ..FanoutLimits::default() };
    let mut fanout = Fanout::new(limits);
    fanout.subscribe(0, GOLD, 0);
    fanout.subscribe(1, SILVER, 0);
    publish(&mut fanout, 1, &[GOLD]);
    fanout.hold(due_of(&fanout, 0));
    for seq in 2..4 {
        fanout.end_turn();
        publish(&mut fanout, seq, &[SILVER]);
    }
    fanout.end_turn();
    assert_eq!((fanout.next_overrun(), fanout.log_size()), (None, (3, 6)));
    publish(&mut fanout, 4, &[GOLD]);
    fanout.end_turn();
    assert_eq!(fanout.next_overrun(), Some(Overrun { slot: 0, skipped: 4, from: 0 }));
    assert_eq!(fanout.published_since(0, 0).collect::<Vec<_>>(), [GOLD]);
    assert_eq!(fanout.published_since(0, 4).count(), 0);
    assert_eq!(fanout.published_since(1, 2).collect::<Vec<_>>(), [SILVER]);
    assert_eq!(fanout.published_since(1, 3).count(), 0);
    assert_eq!(fanout.next_overrun(), None);
    assert_eq!((fanout.log_size(), fanout.delivered()), ((0, 0), 4));
    publish(&mut fanout, 5, &[GOLD]);
    assert_eq!(owed(&mut fanout, 0), (b"G5".to_vec(), false), "it goes on from the head");
}

#[test]
fn an_overrun_dies_with_its_connection() {
    let limits = FanoutLimits { log_entries_max: 0, ..FanoutLimits::default() };
    let mut fanout = Fanout::new(limits);
    for slot in [0, 1] {
        fanout.subscribe(slot, GOLD, 0);
    }
    publish(&mut fanout, 1, &[GOLD]);
    for slot in [0, 1] {
        fanout.hold(due_of(&fanout, slot));
    }
    fanout.end_turn();
    fanout.remove(0, |_| {});
    assert_eq!(fanout.next_overrun().map(|overrun| overrun.slot), Some(1));
    assert_eq!(fanout.next_overrun(), None);
}

#[test]
#[should_panic(expected = "publish comes before seal")]
fn publishing_into_a_sealed_turn_is_refused() {
    let mut fanout = fanout(&[(0, GOLD)]);
    publish(&mut fanout, 1, &[GOLD]);
    fanout.publish(GOLD, 2, b"late", None);
}

#[test]
#[should_panic(expected = "seal comes before end_turn")]
fn a_turn_with_publications_must_be_sealed() {
    let mut fanout = fanout(&[(0, GOLD)]);
    fanout.publish(GOLD, 1, b"lost", None);
    fanout.end_turn();
}

#[test]
#[should_panic(expected = "within the batch that composed it")]
fn a_mixture_of_an_earlier_batch_cannot_be_read() {
    let held = [(0, GOLD), (0, SILVER), (1, SILVER), (1, COPPER)];
    let mut fanout = fanout(&held);
    publish(&mut fanout, 1, &[GOLD, SILVER, COPPER]);
    fanout.compose(0, 1, &mut no_values);
    fanout.compose(1, 1, &mut no_values);
    fanout.run(due_of(&fanout, 0).run);
}

#[test]
fn those_who_lag_share_what_they_hold_back() {
    // What a publication costs beside its frame of two bytes.
    const ENTRY: usize = 32 + 2;
    let mut fanout = fanout(&[(1, GOLD), (2, GOLD), (3, GOLD), (4, SILVER)]);
    let parts = |fanout: &Fanout| {
        let mut parts = Vec::new();
        fanout.retained_by(|slot, bytes| parts.push((slot, bytes)));
        parts.sort_unstable();
        parts
    };
    // In each turn one more falls behind: 1 with the first publication, 2 with the second, 3 with the
    // third, of which the socket has the first byte, so that it is owed what comes then.
    for (seq, behind) in [(1, 1..=1), (2, 2..=2), (3, 3..=3)] {
        publish(&mut fanout, seq, &[GOLD]);
        let due: Vec<Due> = fanout.due().to_vec();
        fanout.compose(0, usize::MAX, &mut no_values);
        for due in due {
            let taken = if behind.contains(&due.slot) { usize::from(due.slot == 3) } else { 2 };
            fanout.settle(due, taken);
        }
        fanout.end_turn();
    }
    assert_eq!(fanout.retained_bytes(), 3 * ENTRY);
    assert_eq!(
        parts(&fanout),
        [(1, 2 * ENTRY), (2, ENTRY)],
        "the rest of a frame is not kept here"
    );
    publish(&mut fanout, 4, &[GOLD]);
    fanout.end_turn();
    assert_eq!(fanout.retained_bytes(), 4 * ENTRY);
    let third = ENTRY / 3;
    assert_eq!(parts(&fanout), [(1, 2 * ENTRY + third), (2, ENTRY + third), (3, third)]);
    fanout.remove(1, |_| {});
    fanout.end_turn();
    assert_eq!(fanout.retained_bytes(), 3 * ENTRY);
    for slot in [2, 3] {
        fanout.remove(slot, |_| {});
    }
    fanout.end_turn();
    assert_eq!((fanout.retained_bytes(), parts(&fanout)), (0, vec![]));
}

/// Where nobody follows the newest value nothing is rendered.
fn no_values(value: Value, _out: &mut Vec<u8>) {
    panic!("{value:?} is followed by nobody");
}
