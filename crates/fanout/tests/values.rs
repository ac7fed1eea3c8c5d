//! What subscriptions to the newest value get, case by case: the rules that the random model does not
//! name.

use tickwire_fanout::{Fanout, FanoutLimits, Follow, Pace, Settled, TopicKey, Value};

const GOLD: TopicKey = TopicKey(0);
const SILVER: TopicKey = TopicKey(1);
const CHAT: TopicKey = TopicKey(2);

fn following(held: &[(u32, TopicKey, Pace)]) -> Fanout {
    let mut fanout = Fanout::new(FanoutLimits::default());
    for &(slot, topic, pace) in held {
        fanout.follow(
            slot,
            topic,
            Follow { sent_seq: 0, newest_seq: 0, view: 0, renderer: 0, pace },
        );
    }
    fanout
}

/// A value's letter, what the connection had, and what it gets.
fn render(value: Value, out: &mut Vec<u8>) {
    let letter = match value.topic.0 {
        0 => b'G',
        1 => b'S',
        _ => b'C',
    };
    out.push(letter);
    out.extend(format!("{}>{} ", value.prev, value.seq).into_bytes());
}

/// Takes a turn in which every socket takes all, and gives what each was sent.
fn turn(fanout: &mut Fanout) -> Vec<(u32, String)> {
    turn_in_which(fanout, |_, whole| whole)
}

/// The same, where a socket takes what `takes` says of its bytes.
fn turn_in_which(fanout: &mut Fanout, takes: impl Fn(u32, usize) -> usize) -> Vec<(u32, String)> {
    fanout.seal();
    let mut sent = Vec::new();
    let end = fanout.compose(0, usize::MAX, &mut render);
    assert_eq!(end, fanout.due().len());
    for due in fanout.due().to_vec() {
        let bytes = fanout.run(due.run).to_vec();
        let taken = takes(due.slot, bytes.len());
        fanout.settle(due, taken);
        let text = String::from_utf8(bytes[..taken].to_vec()).expect("text");
        sent.push((due.slot, text));
    }
    fanout.end_turn();
    sent
}

fn owed(fanout: &mut Fanout, slot: u32) -> String {
    let mut out = Vec::new();
    let owed = fanout.owed(slot, &mut out, &mut render);
    assert!(!owed.more);
    assert_eq!(fanout.settle_owed(slot, out.len()), Settled::CaughtUp);
    String::from_utf8(out).expect("text")
}

fn sent(slot: u32, text: &str) -> (u32, String) {
    (slot, text.to_owned())
}

#[test]
fn a_turn_gives_the_newest_value_of_each_topic_once() {
    let every = Pace::EVERY_TURN;
    let mut fanout = following(&[(0, GOLD, every), (1, GOLD, every), (1, SILVER, every)]);
    for seq in 1..=5 {
        fanout.publish(GOLD, seq, b"-", None);
        fanout.publish(SILVER, seq, b"-", None);
    }
    assert_eq!(turn(&mut fanout), [sent(0, "G0>5 "), sent(1, "G0>5 S0>5 ")]);
    assert_eq!(turn(&mut fanout), []);
    fanout.publish(SILVER, 6, b"-", None);
    assert_eq!(turn(&mut fanout), [sent(1, "S5>6 ")]);
}

#[test]
fn values_stand_behind_the_publications_of_the_turn() {
    let mut fanout = following(&[(3, GOLD, Pace::EVERY_TURN)]);
    fanout.subscribe(3, CHAT, 0);
    fanout.subscribe(4, CHAT, 0);
    fanout.publish(CHAT, 1, b"one ", None);
    fanout.publish(GOLD, 1, b"-", None);
    fanout.publish(CHAT, 2, b"two ", None);
    assert_eq!(turn(&mut fanout), [sent(3, "one two G0>1 "), sent(4, "one two ")]);
}

#[test]
fn who_keeps_up_shares_one_rendering_and_one_piece_of_memory() {
    let held: Vec<_> = (0..100).map(|slot| (slot, GOLD, Pace::EVERY_TURN)).collect();
    let mut fanout = following(&held);
    fanout.publish(GOLD, 1, b"-", None);
    fanout.seal();
    let mut rendered = 0;
    fanout.compose(0, usize::MAX, &mut |value, out| {
        rendered += 1;
        render(value, out);
    });
    assert_eq!(rendered, 1);
    let address = |index: usize| fanout.run(fanout.due()[index].run).as_ptr();
    assert!((1..100).all(|index| address(index) == address(0)));
}

#[test]
fn views_do_not_share() {
    let mut fanout = Fanout::new(FanoutLimits::default());
    for (slot, view) in [(0, 7), (1, 8), (2, 7)] {
        let pace = Pace::EVERY_TURN;
        fanout.follow(slot, GOLD, Follow { sent_seq: 0, newest_seq: 0, view, renderer: 0, pace });
    }
    fanout.publish(GOLD, 1, b"-", None);
    fanout.seal();
    fanout.compose(0, 3, &mut |value, out| out.extend(format!("{}", value.view).into_bytes()));
    let runs: Vec<&[u8]> = fanout.due().iter().map(|due| fanout.run(due.run)).collect();
    assert_eq!(runs, [b"7", b"8", b"7"]);
}

#[test]
fn what_no_byte_left_of_is_owed_again_and_then_as_of_then() {
    let every = Pace::EVERY_TURN;
    // Of "G0>1 S0>1 " so many bytes are taken; then the newest of both is 2.
    for (taken, rest, later) in [
        (0, "", "G0>2 S0>2 "),
        (1, "0>1 ", "G1>2 S0>2 "),
        (5, "", "G1>2 S0>2 "),
        (6, "0>1 ", "G1>2 S1>2 "),
    ] {
        let mut fanout = following(&[(0, GOLD, every), (0, SILVER, every)]);
        fanout.publish(GOLD, 1, b"-", None);
        fanout.publish(SILVER, 1, b"-", None);
        fanout.seal();
        fanout.compose(0, 1, &mut render);
        let settled = fanout.settle(fanout.due()[0], taken);
        assert_eq!(settled, Settled::Lagging { rest: rest.as_bytes() }, "{taken} bytes");
        fanout.end_turn();
        fanout.publish(GOLD, 2, b"-", None);
        fanout.publish(SILVER, 2, b"-", None);
        assert_eq!(turn(&mut fanout), [], "it lags");
        assert_eq!(owed(&mut fanout, 0), later, "{taken} bytes");
        assert_eq!(turn(&mut fanout), []);
    }
}

#[test]
fn who_catches_up_gets_all_publications_and_then_the_newest_values() {
    let mut fanout = following(&[(0, GOLD, Pace::EVERY_TURN)]);
    fanout.subscribe(0, CHAT, 0);
    for seq in 1..=3 {
        fanout.publish(GOLD, seq, b"-", None);
        fanout.publish(CHAT, seq, format!("{seq} ").as_bytes(), None);
        turn_in_which(&mut fanout, |_, _| 0);
    }
    assert_eq!(owed(&mut fanout, 0), "1 2 3 G0>3 ");
    assert!(!fanout.is_lagging(0));
}

#[test]
fn a_publisher_does_not_get_its_own_value_and_then_the_next() {
    let every = Pace::EVERY_TURN;
    let mut fanout = following(&[(0, GOLD, every), (1, GOLD, every)]);
    fanout.publish(GOLD, 1, b"-", Some(1));
    assert_eq!(turn(&mut fanout), [sent(0, "G0>1 ")]);
    fanout.publish(GOLD, 2, b"-", Some(1));
    fanout.publish(GOLD, 3, b"-", None);
    assert_eq!(turn(&mut fanout), [sent(0, "G1>3 "), sent(1, "G2>3 ")]);
}

#[test]
fn a_value_that_says_nothing_is_not_sent_and_counts_as_known() {
    let every = Pace::EVERY_TURN;
    let mut fanout = following(&[(0, GOLD, every)]);
    for seq in [1, 2] {
        fanout.publish(GOLD, seq, b"-", None);
        fanout.seal();
        fanout.compose(0, 1, &mut |value, out| {
            if value.seq == 2 {
                render(value, out);
            }
        });
        let due = fanout.due()[0];
        assert_eq!(fanout.run(due.run), [&b""[..], b"G1>2 "][usize::from(seq == 2)]);
        assert_eq!(fanout.settle(due, fanout.run(due.run).len()), Settled::CaughtUp);
        fanout.end_turn();
    }
}

#[test]
fn a_known_value_that_is_old_is_followed_by_the_newest_at_once() {
    let mut fanout = following(&[(0, GOLD, Pace::EVERY_TURN)]);
    fanout.publish(GOLD, 7, b"-", None);
    turn(&mut fanout);
    let pace = Pace::EVERY_TURN;
    // Known here, known elsewhere, and known to the connection.
    for (slot, sent_seq, newest_seq, due) in [(1, 5, 0, true), (2, 7, 0, false)] {
        fanout.follow(slot, GOLD, Follow { sent_seq, newest_seq, view: 0, renderer: 0, pace });
        let expected = if due { vec![sent(slot, &format!("G{sent_seq}>7 "))] } else { vec![] };
        assert_eq!(turn(&mut fanout), expected);
    }
    fanout.follow(3, GOLD, Follow { sent_seq: 8, newest_seq: 9, view: 0, renderer: 0, pace });
    let all = ["G7>9 ", "G7>9 ", "G7>9 ", "G8>9 "];
    assert_eq!(turn(&mut fanout), Vec::from_iter((0..).zip(all.map(str::to_owned))));
}

#[test]
fn nothing_comes_more_often_than_its_pace_and_the_last_comes_in_time() {
    for ticks in [1, 2, 5, 13, 64] {
        let mut fanout =
            following(&[(9, GOLD, Pace::every(ticks)), (9, SILVER, Pace::every(ticks))]);
        let (mut sent_at, mut sends, mut last) = (Vec::new(), Vec::new(), String::new());
        // Three publications a tick, and the last one long before the end.
        let published = 10 * u32::from(ticks);
        for tick in 1..published + 2 * u32::from(ticks) {
            fanout.set_tick(tick);
            for part in 0..3 {
                if tick < published {
                    let seq = u64::from(tick * 3 + part);
                    fanout.publish([GOLD, SILVER][part as usize % 2], seq, b"-", None);
                }
                for (_, text) in turn(&mut fanout) {
                    sends.push(tick);
                    sent_at.extend(text.starts_with('G').then_some(tick));
                    last = format!("{last}{text}");
                }
            }
            assert!(fanout.next_due().is_none_or(|due| due > tick), "it would be due already");
        }
        let spaced = sent_at.windows(2).all(|pair| pair[1] - pair[0] >= u32::from(ticks));
        assert!(spaced, "{ticks}: {sent_at:?}");
        assert!(sent_at.len() >= 9, "{ticks}: {sent_at:?}");
        assert!(last.contains(&format!(">{} ", (published - 1) * 3 + 2)), "{ticks}: {last}");
        assert!(last.contains(&format!(">{} ", (published - 1) * 3 + 1)), "{ticks}: {last}");
        // From the second on both come in one send; where every tick is a beat the first that comes
        // in it goes alone.
        assert!(ticks == 1 || sends.len() <= sent_at.len() + 3, "{ticks}: {sends:?}");
        assert_eq!(fanout.next_due(), None);
    }
}

#[test]
fn a_faster_pace_is_heard_at_once() {
    let mut fanout = following(&[(0, GOLD, Pace::every(64))]);
    for seq in [1, 2] {
        fanout.publish(GOLD, seq, b"-", None);
        assert_eq!(turn(&mut fanout).len(), usize::from(seq == 1));
    }
    assert!(fanout.next_due().is_some());
    assert!(fanout.set_pace(0, GOLD, Pace::EVERY_TURN));
    assert_eq!(turn(&mut fanout), [sent(0, "G1>2 ")]);
    assert!(!fanout.set_pace(0, SILVER, Pace::EVERY_TURN), "it is not held");
    fanout.subscribe(0, CHAT, 0);
    assert!(!fanout.set_pace(0, CHAT, Pace::EVERY_TURN), "it is held by publication");
}

#[test]
fn nothing_comes_after_the_end_of_a_subscription_even_if_it_waits() {
    let mut fanout = following(&[(0, GOLD, Pace::every(5)), (1, GOLD, Pace::every(5))]);
    for seq in [1, 2] {
        fanout.publish(GOLD, seq, b"-", None);
        turn(&mut fanout);
    }
    fanout.unsubscribe(0, GOLD);
    fanout.remove(1, |last| assert_eq!(last, GOLD));
    fanout.set_tick(100);
    assert_eq!(turn(&mut fanout), []);
    // The value is forgotten with its last follower: the next ones would not be heard of.
    let follow =
        Follow { sent_seq: 1, newest_seq: 0, view: 0, renderer: 0, pace: Pace::EVERY_TURN };
    fanout.follow(0, GOLD, follow);
    assert_eq!(turn(&mut fanout), []);
}
