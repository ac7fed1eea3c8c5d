//! One peer of a storm: what it has said, what it may expect for that, and whether it gets it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tickwire_reactor::Topic;
use tickwire_reactor::io::sim::{Peer, Simulation};

use super::Random;
use crate::application::{Application, numbered};
use crate::wire::{self, CLOSE, Frame, PING, PONG, TEXT};

/// The topics of a storm. The messages of all but the last begin with the topic's name and their
/// number; those of the last come from handlers.
pub(super) const TOPICS: [&str; 4] = ["gold", "iron", "zinc", "chat"];

/// The place of the last.
pub(super) const CHAT: usize = 3;

/// The place of the one that a pattern takes in, and the pattern.
const ZINC: usize = 2;
const PATTERN: &str = "zi*";

/// What the client opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Echo,
    Script,
    /// As `Script`, but publications that were missed are skipped.
    Skip,
}

/// A peer.
#[derive(Debug)]
pub(super) struct Client {
    number: usize,
    pub(super) peer: Peer,
    path: Path,
    /// It always reads at once what it gets and answers what it is asked.
    pub(super) is_steady: bool,
    /// The rest of a frame, or of the request, that was begun.
    rest: Vec<u8>,
    /// Sent, as far as whole: what is to come back for it, in order.
    asked: VecDeque<Asked>,
    pings: u64,
    pongs: u64,
    /// By place in `TOPICS`: what was received last.
    held: HashMap<usize, Held>,
    /// Those of them that it has by their names; the rest it has for the pattern.
    named: HashSet<usize>,
    /// It has the pattern.
    watches: bool,
    direct: u64,
    inbox: Vec<u8>,
    is_upgraded: bool,
    /// The answer was another than 101.
    is_refused: bool,
    /// The code of the server's Close.
    pub(super) closed: Option<u16>,
    /// It has ended or reset the connection, closed it, broken a rule, or asked to be closed.
    has_gone: bool,
    said: u64,
    last_said: Duration,
    pub(super) panics: u64,
}

/// What an answer is awaited for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Echo(String),
    Subscribe(usize),
    Unsubscribe(usize),
    /// The topic, and the number behind which it is taken up.
    Resume(usize, u64),
    Watch,
    Unwatch,
    Publish,
}

/// A subscription.
#[derive(Clone, Copy, Debug)]
struct Held {
    last: u64,
    /// Publications may be missing before the next one.
    may_skip: bool,
}

impl Client {
    pub(super) fn new(
        number: usize,
        peer: Peer,
        path: Path,
        is_steady: bool,
        now: Duration,
    ) -> Self {
        let name = match path {
            Path::Echo => "/echo",
            Path::Script => "/script",
            Path::Skip => "/skip",
        };
        Self {
            number,
            peer,
            path,
            is_steady,
            rest: wire::request(name, &[]),
            asked: VecDeque::new(),
            pings: 0,
            pongs: 0,
            held: HashMap::new(),
            named: HashSet::new(),
            watches: false,
            direct: 0,
            inbox: Vec::new(),
            is_upgraded: false,
            is_refused: false,
            closed: None,
            has_gone: false,
            said: 0,
            last_said: now,
            panics: 0,
        }
    }

    /// Whether it may still do something.
    pub(super) fn is_alive(&self) -> bool {
        !self.has_gone && !self.is_refused && self.closed.is_none()
    }

    /// Whether it has a WebSocket that neither side has closed.
    pub(super) fn is_open(&self) -> bool {
        self.is_upgraded && self.is_alive()
    }

    /// Sends something: more of what was begun, or something new, perhaps in part only.
    pub(super) fn act(
        &mut self,
        simulation: &mut Simulation<Application>,
        random: &mut Random,
        now: Duration,
    ) {
        match random.below(40) {
            0 => {
                self.has_gone = true;
                return simulation.end(self.peer);
            }
            1 => {
                self.has_gone = true;
                return simulation.reset(self.peer);
            }
            _ => {}
        }
        if self.rest.is_empty() {
            self.rest = self.something(random);
        }
        let mut count = self.rest.len();
        // Its last word is said whole.
        if !self.has_gone && random.below(3) == 0 {
            count = 1 + random.below(count);
        }
        self.say(simulation, count, now);
    }

    fn say(&mut self, simulation: &mut Simulation<Application>, count: usize, now: Duration) {
        let bytes: Vec<u8> = self.rest.drain(..count).collect();
        simulation.send(self.peer, &bytes);
        self.last_said = now;
    }

    /// Says the rest of what was begun.
    pub(super) fn say_the_rest(&mut self, simulation: &mut Simulation<Application>, now: Duration) {
        if self.is_alive() {
            self.say(simulation, self.rest.len(), now);
        }
    }

    /// A new frame, and what it lets expect.
    fn something(&mut self, random: &mut Random) -> Vec<u8> {
        self.said += 1;
        match random.below(60) {
            0 => {
                self.has_gone = true;
                return wire::close(3000, "");
            }
            1 => {
                self.has_gone = true;
                return b"\x81\x01?".to_vec();
            }
            2..=6 => {
                self.pings += 1;
                return wire::frame(PING, format!("{}", self.pings).as_bytes());
            }
            _ => {}
        }
        if self.path == Path::Echo {
            let text = numbered(self.said, random.below(6_000) as u64);
            self.asked.push_back(Asked::Echo(text.clone()));
            return in_fragments(&text, random);
        }
        wire::text(&self.words(random))
    }

    /// Words for a script, and what they let expect.
    fn words(&mut self, random: &mut Random) -> String {
        let topics = if self.path == Path::Skip { CHAT } else { TOPICS.len() };
        let topic = random.below(topics);
        match random.below(30) {
            0 => {
                self.has_gone = true;
                "close 4001 as asked".to_owned()
            }
            1 => {
                self.has_gone = true;
                self.panics += 1;
                "panic".to_owned()
            }
            2..=8 => {
                self.asked.push_back(Asked::Subscribe(topic));
                format!("subscribe {}", TOPICS[topic])
            }
            9 | 10 if topic != CHAT => {
                // What it had last, or a little less, or nonsense.
                let last = self.held.get(&topic).map_or(0, |held| held.last);
                let last = (last + random.below(2) as u64 * 3).saturating_sub(3);
                self.asked.push_back(Asked::Resume(topic, last));
                format!("resume {} -:{last}", TOPICS[topic])
            }
            11 => {
                self.asked.push_back(Asked::Watch);
                format!("watch {PATTERN}")
            }
            12 => {
                self.asked.push_back(Asked::Unwatch);
                format!("unwatch {PATTERN}")
            }
            13..=16 => {
                self.asked.push_back(Asked::Unsubscribe(topic));
                format!("unsubscribe {}", TOPICS[topic])
            }
            17..=22 => {
                self.asked.push_back(Asked::Publish);
                format!("publish chat chat {} {}", self.number, numbered(self.said, 200))
            }
            _ => {
                let word = numbered(self.said, 50).replace(' ', "-");
                self.asked.push_back(Asked::Echo(word.clone()));
                word
            }
        }
    }

    /// Takes what it received, checks it and answers Pings.
    pub(super) fn take(
        &mut self,
        bytes: Vec<u8>,
        simulation: &mut Simulation<Application>,
        now: Duration,
    ) {
        self.inbox.extend(bytes);
        if !self.is_upgraded && !self.is_refused {
            let Some(head) = wire::take_head(&mut self.inbox) else { return };
            self.is_upgraded = head.starts_with("HTTP/1.1 101 ");
            self.is_refused = !self.is_upgraded;
            assert!(self.is_upgraded || head.starts_with("HTTP/1.1 4"), "{head}");
        }
        if self.is_refused {
            return;
        }
        while let Some(frame) = wire::take_frame(&mut self.inbox) {
            assert_eq!(self.closed, None, "{frame:?} comes behind the Close");
            match frame.first {
                TEXT => self.hear(&String::from_utf8(frame.payload).expect("text")),
                PONG => self.check_pong(&frame),
                // A frame that was begun must end before the Pong.
                PING if self.is_alive() && self.rest.is_empty() => {
                    simulation.send(self.peer, &wire::frame(PONG, &frame.payload));
                    self.last_said = now;
                }
                PING => {}
                CLOSE => self.check_close(&frame),
                _ => panic!("{frame:?}"),
            }
        }
    }

    /// Pongs come in the order of their Pings; those that were not read may be left out.
    fn check_pong(&mut self, pong: &Frame) {
        let text = std::str::from_utf8(&pong.payload).expect("digits");
        let number = text.parse().expect("the number of a Ping");
        assert!(self.pongs < number && number <= self.pings, "{pong:?} after {}", self.pongs);
        assert!(!self.is_steady || number == self.pongs + 1, "{pong:?} after {}", self.pongs);
        self.pongs = number;
    }

    fn check_close(&mut self, close: &Frame) {
        let code = u16::from_be_bytes(close.payload[..2].try_into().expect("two bytes"));
        assert!([1001, 1002, 1008, 1011, 3000, 4001, 4004].contains(&code), "{close:?}");
        if [1002, 1011, 3000, 4001].contains(&code) {
            assert!(self.has_gone, "{close:?} for nothing");
        }
        self.closed = Some(code);
    }

    fn hear(&mut self, text: &str) {
        let words: Vec<&str> = text.splitn(3, ' ').collect();
        match words[..] {
            ["goodbye"] | ["timer"] => {}
            ["skipped"] => {
                assert_eq!(self.path, Path::Skip);
                self.held.values_mut().for_each(|held| held.may_skip = true);
            }
            ["direct", number, _] => {
                let number = number.parse().expect("a number");
                assert!(number > self.direct, "{text} after {}", self.direct);
                self.direct = number;
            }
            [topic @ ("gold" | "iron" | "zinc"), number, _] => self.hear_topic(topic, number),
            ["chat", ..] => {
                let held = self.held.get_mut(&CHAT).expect("subscribed to chat");
                held.last += 1;
            }
            _ => self.hear_answer(text),
        }
    }

    fn hear_topic(&mut self, topic: &str, number: &str) {
        let place = TOPICS.iter().position(|it| *it == topic).expect("a topic");
        let seq: u64 = number.parse().expect("a number");
        let held = self.held.get_mut(&place);
        let held = held.unwrap_or_else(|| panic!("{topic} {seq}, which it does not hold"));
        if std::mem::take(&mut held.may_skip) {
            assert!(seq > held.last, "{topic} {seq} comes again");
        } else {
            assert_eq!(seq, held.last + 1, "{topic}");
        }
        held.last = seq;
    }

    fn hear_answer(&mut self, text: &str) {
        let asked = self.asked.pop_front().unwrap_or_else(|| panic!("{text:.80} for nothing"));
        match asked {
            Asked::Echo(expected) => assert!(text == expected, "{text:.80} for {expected:.80}"),
            Asked::Publish => assert!(text.starts_with("published Ok("), "{text:.80}"),
            Asked::Subscribe(topic) => self.begin_anew(topic, text, "subscribed after "),
            Asked::Resume(topic, from) => {
                let Some(recovered) = text.strip_prefix("recovered ") else {
                    return self.begin_anew(topic, text, "lost to ");
                };
                let (count, last) = recovered.split_once(" to ").expect("two numbers");
                let [count, last] = [count, last].map(|it| it.parse::<u64>().expect("a number"));
                assert_eq!(from + count, last, "all of it, or nothing");
                self.named.insert(topic);
                self.held.insert(topic, Held { last: from, may_skip: false });
            }
            Asked::Unsubscribe(topic) => {
                let held = self.named.remove(&topic);
                if !(self.watches && topic == ZINC) {
                    self.held.remove(&topic);
                }
                assert_eq!(text, format!("unsubscribed {held}"));
            }
            Asked::Watch => match text.strip_prefix("watching zinc@") {
                Some(last) => {
                    let last = last.parse().expect("a number");
                    let before = self.held.insert(ZINC, Held { last, may_skip: false });
                    assert!(before.is_none() && !self.watches, "it holds that already");
                    self.watches = true;
                }
                None => {
                    assert_eq!(text, "watching");
                    assert!(self.held.contains_key(&ZINC), "it does not hold that yet");
                    self.watches = true;
                }
            },
            Asked::Unwatch => {
                assert_eq!(text, format!("unwatched {}", self.watches));
                self.watches = false;
                if !self.named.contains(&ZINC) {
                    self.held.remove(&ZINC);
                }
            }
        }
    }

    /// The subscription to a topic by its name begins behind the number that it is told.
    fn begin_anew(&mut self, topic: usize, text: &str, told: &str) {
        let last = text.strip_prefix(told).unwrap_or_else(|| panic!("{text}"));
        let last: u64 = last.parse().expect("a number");
        self.named.insert(topic);
        let before = self.held.insert(topic, Held { last, may_skip: false });
        assert!(before.is_none_or(|held| held.last <= last), "{text} after {before:?}");
    }

    /// At the end, when it has read everything: nothing is missing that nobody has dropped.
    pub(super) fn check_all_was_kept(&self, topics: &[Topic], is_ended: bool, now: Duration) {
        assert!(self.inbox.is_empty() || self.is_refused || is_ended, "a cut frame: {self:?}");
        if !self.is_alive() {
            return;
        }
        if is_ended {
            // Without a word only those end whom the server took for dead, or who did not read.
            let silent = now - self.last_said;
            assert!(!self.is_steady || silent > Duration::from_secs(9), "{self:?}");
            return;
        }
        assert!(self.is_upgraded, "{self:?}");
        assert_eq!(self.asked, [], "{self:?}");
        assert_eq!(self.pongs, self.pings, "the last Ping is always answered");
        for (place, held) in &self.held {
            // An overrun that nothing followed yet has its gap at the end.
            let seq = topics[*place].seq();
            assert!(held.last == seq || (held.may_skip && held.last < seq), "{seq}: {self:?}");
        }
    }
}

/// One text message in one frame or in two or three.
fn in_fragments(text: &str, random: &mut Random) -> Vec<u8> {
    let bytes = text.as_bytes();
    match random.below(4) {
        0 => {
            let (first, rest) = bytes.split_at(random.below(bytes.len()));
            let (second, third) = rest.split_at(random.below(rest.len()));
            [
                wire::frame(wire::TEXT_BEGINS, first),
                wire::frame(wire::GOES_ON, second),
                wire::frame(wire::ENDS, third),
            ]
            .concat()
        }
        _ => wire::text(text),
    }
}
