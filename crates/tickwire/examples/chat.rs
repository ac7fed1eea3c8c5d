//! A chat with rooms: who is there, what was said before, who comes and goes.
//!
//! A room is a topic. Who is in it and what was said is kept under one lock, and whatever changes that
//! is published under the same lock: so a newcomer's picture of the room and the messages behind it fit
//! together, on whichever shard anybody is. Everything that strangers send has a bound: lengths, rates,
//! rooms, people, history.
//!
//! `cargo run --release --example chat -p tickwire`, then open <http://127.0.0.1:9004/> twice.

#![expect(clippy::print_stdout, reason = "it prints its address")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tickwire::{
    Answer, CloseCode, Connection, Ended, Handler, Kind, Message, Origins, Publisher, Request,
    Response, Server, StartError, Timestamp, Topic,
};

/// Rooms at once. Each has the topic of its place, whose name is not of its guests' making.
const ROOMS_MAX: usize = 100;
const PEOPLE_MAX: usize = 100;
/// Messages that a newcomer is shown.
const HISTORY_MAX: usize = 50;
const NAME_CHARS_MAX: usize = 24;
const TEXT_CHARS_MAX: usize = 500;
/// Messages that one may send in a row, and the time after which it may be one more.
const BURST: u64 = 5;
const PAUSE_NS: u64 = 1_000_000_000;

struct Room {
    name: String,
    topic: Topic,
    people: Vec<String>,
    history: VecDeque<Value>,
}

impl Room {
    /// Lets somebody in, with a number behind the name if others have it.
    fn welcome(&mut self, name: &str) -> Option<String> {
        if self.people.len() == PEOPLE_MAX {
            return None;
        }
        let numbered = (2..).map(|number| format!("{name} {number}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        let name = names.find(|name| !self.people.contains(name))?;
        self.people.push(name.clone());
        Some(name)
    }

    /// Tells everybody in the room; `false`: nobody, the server is too busy.
    fn tell(&self, connection: &Connection<'_, Member>, what: &Value) -> bool {
        connection.publish(&self.topic, Kind::Text, what.to_string().as_bytes()).is_ok()
    }

    fn remember(&mut self, said: Value) {
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(said);
    }
}

/// The place of the room of this name. A new one takes that of an empty one when there are too many.
fn find_room(rooms: &mut Vec<Room>, name: &str, publisher: &Publisher) -> Option<usize> {
    if let Some(place) = rooms.iter().position(|room| room.name == name) {
        return Some(place);
    }
    let place = match rooms.len() {
        ROOMS_MAX => rooms.iter().position(|room| room.people.is_empty())?,
        next => next,
    };
    let topic = publisher.topic(&format!("room {place}"));
    let room = Room { name: name.to_owned(), topic, people: vec![], history: VecDeque::new() };
    rooms.splice(place..rooms.len().min(place + 1), [room]);
    Some(place)
}

/// What is kept for a connection.
struct Member {
    name: String,
    /// The name of the room that was asked for.
    wanted: String,
    /// The place of the room, once inside.
    room: Option<usize>,
    /// When all that was said is paid for.
    paid_ns: u64,
}

impl Member {
    /// Whether something may be said now.
    fn may_speak(&mut self, now: Timestamp) -> bool {
        let now_ns = now.monotonic_ns();
        let paid_ns = self.paid_ns.max(now_ns) + PAUSE_NS;
        let may = paid_ns <= now_ns + BURST * PAUSE_NS;
        if may {
            self.paid_ns = paid_ns;
        }
        may
    }
}

/// The chat on one shard.
struct Chat {
    /// Those of all shards.
    rooms: Arc<Mutex<Vec<Room>>>,
    publisher: Publisher,
}

impl Chat {
    fn rooms(&self) -> MutexGuard<'_, Vec<Room>> {
        // What a panic has left behind is still a list of rooms.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says why `unsent` was not sent.
    fn complain(connection: &mut Connection<'_, Member>, text: &str, unsent: &str) {
        let error = json!({ "type": "error", "text": text, "unsent": unsent });
        connection.send_text(&error.to_string());
    }
}

impl Handler for Chat {
    type State = Member;

    fn request(&mut self, request: &Request<'_>) -> Answer<Member> {
        let room = request.parameter("room").and_then(|room| tidy(&room, NAME_CHARS_MAX));
        let name = request.query_value("name").and_then(|name| tidy(&name, NAME_CHARS_MAX));
        match (room, name) {
            (Some(wanted), Some(name)) => {
                Answer::upgrade(Member { name, wanted, room: None, paid_ns: 0 })
            }
            _ => Answer::Http(Response::text(400, "connect to /rooms/ROOM?name=NAME")),
        }
    }

    fn open(&mut self, connection: &mut Connection<'_, Member>) {
        let mut rooms = self.rooms();
        let Some(place) = find_room(&mut rooms, &connection.state.wanted, &self.publisher) else {
            return connection.close(CloseCode(4000), "there are too many rooms");
        };
        let room = &mut rooms[place];
        let Some(name) = room.welcome(&connection.state.name) else {
            return connection.close(CloseCode(4001), "the room is full");
        };
        room.tell(connection, &json!({ "type": "joined", "name": name }));
        // From here on: whoever comes has the picture first, and then all that changes it.
        connection.subscribe(&room.topic);
        let (people, history) = (&room.people, &room.history);
        let welcome =
            json!({ "type": "welcome", "name": name, "people": people, "history": history });
        connection.send_text(&welcome.to_string());
        connection.state.name = name;
        connection.state.room = Some(place);
    }

    fn message(&mut self, connection: &mut Connection<'_, Member>, message: Message<'_>) {
        let request = serde_json::from_slice::<Value>(message.payload).unwrap_or_default();
        let text = request["say"].as_str().and_then(|text| tidy(text, TEXT_CHARS_MAX));
        let (Some(text), Some(place)) = (text, connection.state.room) else {
            return Self::complain(connection, "say something, in up to 500 characters", "");
        };
        let now = connection.now();
        if !connection.state.may_speak(now) {
            return Self::complain(connection, "not so fast: that was not sent", &text);
        }
        let (name, at_ms) = (&connection.state.name, now.unix_ns() / 1_000_000);
        let said = json!({ "type": "said", "name": name, "text": text, "at": at_ms });
        let mut rooms = self.rooms();
        if rooms[place].tell(connection, &said) {
            rooms[place].remember(said);
        } else {
            Self::complain(connection, "the server is busy: that was not sent", &text);
        }
    }

    fn close(&mut self, connection: &mut Connection<'_, Member>, _ended: Ended) {
        let Some(place) = connection.state.room else { return };
        let room = &mut self.rooms()[place];
        let name = &connection.state.name;
        room.people.retain(|other| other != name);
        room.tell(connection, &json!({ "type": "left", "name": name }));
    }
}

/// What strangers have written, without blanks around it; `None` if that is nothing, too long, or has
/// control characters other than line ends.
fn tidy(text: &str, chars_max: usize) -> Option<String> {
    let text = text.trim();
    let is_tidy = !text.is_empty()
        && text.chars().count() <= chars_max
        && text.chars().all(|char| !char.is_control() || char == '\n');
    is_tidy.then(|| text.to_owned())
}

/// The page's own script and style, and nothing from anywhere else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      img-src data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Starts the chat and its page.
pub(crate) fn start(listen: &str) -> Result<Server, StartError> {
    let page = Response::html(include_str!("chat.html"));
    let rooms = Arc::default();
    Server::builder()
        .listen(listen)
        .origins(Origins::same_origin())
        .limits(|limits| limits.protocol.message_bytes_max = 4 * 1024)
        .file("/", page.with_header("Content-Security-Policy", POLICY))
        .route("/rooms/{room}", move |shard| Chat {
            rooms: Arc::clone(&rooms),
            publisher: shard.publisher,
        })
        .start()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = start("127.0.0.1:9004")?;
    println!("chat at http://{}/", server.local_addr());
    server.join()?;
    Ok(())
}
