//! A game of tag for a few dozen players, at thirty pictures a second.
//!
//! The server decides everything: players only say where they want to go, in two bytes. A thread moves
//! the world and publishes one picture of it, which is encoded once for all of them. A picture has
//! everything in it, so a player whose line is slow just skips some. Whoever is *it* collects no sparks,
//! and passes that on by touching somebody.
//!
//! `cargo run --release --example game -p tickwire`, then open <http://127.0.0.1:9005/> twice.

#![expect(clippy::print_stdout, reason = "it prints its address")]

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tickwire::{
    Answer, CloseCode, Connection, Ended, Handler, Kind, Lagged, Message, Origins, Publisher,
    Request, Response, Server, Timestamp, Topic,
};

const TICK: Duration = Duration::from_nanos(1_000_000_000 / 30);
/// The arena, in units; players and sparks are discs in it.
const ARENA: [f32; 2] = [1600.0, 900.0];
const PLAYER_RADIUS: f32 = 26.0;
const SPARK_RADIUS: f32 = 12.0;
/// Units in a tick.
const SPEED: f32 = 13.0;
const SPEED_OF_IT: f32 = 15.0;
/// For as many ticks nobody becomes *it* again.
const TRUCE_TICKS: u32 = 30;
const SPARKS: usize = 14;
const PLAYERS_MAX: u8 = 40;
const NAME_CHARS_MAX: usize = 12;
/// A player's hands are not faster; a page sends thirty.
const STEERS_PER_S_MAX: u32 = 60;

struct Player {
    id: u8,
    name: String,
    at: [f32; 2],
    velocity: [f32; 2],
    /// Where the player wants to go: a vector no longer than 1.
    wish: [f32; 2],
    score: u16,
}

/// Everything that moves.
struct World {
    /// In the order of coming.
    players: Vec<Player>,
    sparks: [[f32; 2]; SPARKS],
    /// Who is *it*, while there are at least two.
    it: Option<u8>,
    truce: u32,
    /// Somebody has come or gone since the names were last told.
    is_changed: bool,
    random: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let (players, sparks) = (Vec::new(), [[0.0; 2]; SPARKS]);
        let mut world =
            Self { players, sparks, it: None, truce: 0, is_changed: false, random: seed | 1 };
        world.sparks = std::array::from_fn(|_| world.somewhere());
        world
    }

    /// Adds a player and gives the number; `None` if there are too many.
    fn join(&mut self, name: &str) -> Option<u8> {
        let is_free = |id: &u8| self.players.iter().all(|player| player.id != *id);
        let id = (0..PLAYERS_MAX).find(is_free)?;
        let (at, name) = (self.somewhere(), name.to_owned());
        self.players.push(Player { id, name, at, velocity: [0.0; 2], wish: [0.0; 2], score: 0 });
        self.is_changed = true;
        Some(id)
    }

    fn leave(&mut self, id: u8) {
        self.players.retain(|player| player.id != id);
        self.is_changed = true;
    }

    fn steer(&mut self, id: u8, wish: [i8; 2]) {
        let wish = wish.map(|part| f32::from(part) / 127.0);
        let length = wish[0].hypot(wish[1]).max(1.0);
        if let Some(player) = self.players.iter_mut().find(|player| player.id == id) {
            player.wish = wish.map(|part| part / length);
        }
    }

    /// One tick.
    fn step(&mut self) {
        self.choose_it();
        for player in &mut self.players {
            let speed = if Some(player.id) == self.it { SPEED_OF_IT } else { SPEED };
            for (axis, length) in ARENA.into_iter().enumerate() {
                // Nobody turns at once.
                player.velocity[axis] += (player.wish[axis] * speed - player.velocity[axis]) * 0.3;
                let most = length - PLAYER_RADIUS;
                player.at[axis] =
                    (player.at[axis] + player.velocity[axis]).clamp(PLAYER_RADIUS, most);
            }
        }
        self.collide();
        self.collect();
    }

    fn choose_it(&mut self) {
        self.truce = self.truce.saturating_sub(1);
        let is_there = |id| self.players.iter().any(|player| player.id == id);
        if self.players.len() < 2 {
            self.it = None;
        } else if !self.it.is_some_and(is_there) {
            let chosen = self.draw() % self.players.len() as u64;
            self.it = self.players.get(usize::try_from(chosen).unwrap_or(0)).map(|it| it.id);
            self.truce = TRUCE_TICKS;
        }
    }

    /// Players who touch push each other away, and pass on who is *it*.
    fn collide(&mut self) {
        for second in 1..self.players.len() {
            let (before, others) = self.players.split_at_mut(second);
            let other = &mut others[0];
            for player in before {
                let apart = distance(player.at, other.at);
                if apart >= 2.0 * PLAYER_RADIUS {
                    continue;
                }
                let push = (2.0 * PLAYER_RADIUS - apart) / 2.0 / apart.max(0.01);
                for axis in 0..2 {
                    let shift = (other.at[axis] - player.at[axis]) * push;
                    player.at[axis] -= shift;
                    other.at[axis] += shift;
                }
                if self.truce == 0 && (self.it == Some(player.id) || self.it == Some(other.id)) {
                    self.it = Some(if self.it == Some(player.id) { other.id } else { player.id });
                    self.truce = TRUCE_TICKS;
                }
            }
        }
    }

    /// A player who touches a spark takes it, but for the one who is *it*; another appears elsewhere.
    fn collect(&mut self) {
        for spark in 0..SPARKS {
            let at = self.sparks[spark];
            let takes = |player: &&mut Player| {
                Some(player.id) != self.it && distance(player.at, at) < PLAYER_RADIUS + SPARK_RADIUS
            };
            if let Some(player) = self.players.iter_mut().find(takes) {
                player.score = player.score.saturating_add(1);
                self.sparks[spark] = self.somewhere();
            }
        }
    }

    /// What a page draws: who is *it* (255: nobody), how many players, then number, place and score of
    /// each, then the places of the sparks; 16 bits little-endian but for the numbers.
    fn picture(&self, out: &mut Vec<u8>) {
        out.push(self.it.unwrap_or(u8::MAX));
        out.push(u8::try_from(self.players.len()).unwrap_or(u8::MAX));
        for player in &self.players {
            out.push(player.id);
            place(player.at, out);
            out.extend_from_slice(&player.score.to_le_bytes());
        }
        for spark in self.sparks {
            place(spark, out);
        }
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.players.iter().map(|player| (player.id, &player.name)).collect();
        json!({ "names": names }).to_string()
    }

    fn somewhere(&mut self) -> [f32; 2] {
        ARENA.map(|length| {
            let margin = 2.0 * PLAYER_RADIUS;
            margin + (length - 2.0 * margin) * f32::from((self.draw() % 1000) as u16) / 1000.0
        })
    }

    /// Xorshift: good enough for sparks.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

fn distance(one: [f32; 2], other: [f32; 2]) -> f32 {
    (one[0] - other[0]).hypot(one[1] - other[1])
}

fn place(at: [f32; 2], out: &mut Vec<u8>) {
    for part in at {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "in the arena"
        )]
        out.extend_from_slice(&(part as u16).to_le_bytes());
    }
}

/// The one world of all shards. It is locked for some microseconds at a time, and never while anybody
/// waits for something else.
struct Arena(Mutex<World>);

impl Arena {
    fn world(&self) -> MutexGuard<'_, World> {
        // A world in which something went wrong goes on.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Moves the world and shows it, for as long as the server lives.
fn run(arena: &Weak<Arena>, publisher: &Publisher, topic: &Topic) {
    let mut due = Timestamp::read();
    while let Some(arena) = arena.upgrade() {
        let mut picture = Vec::new();
        let names = {
            let mut world = arena.world();
            world.step();
            world.picture(&mut picture);
            std::mem::take(&mut world.is_changed).then(|| world.names())
        };
        drop(arena);
        if let Some(names) = names {
            // Retained, so that whoever comes later is told too.
            publisher.publish_with(topic, Kind::Text, |_, message, retained| {
                message.extend_from_slice(names.as_bytes());
                retained.extend_from_slice(names.as_bytes());
            });
        }
        publisher.publish(topic, Kind::Binary, &picture);
        // A machine that stood still does not run after the time it has lost.
        let now = Timestamp::read();
        due = if now.since(due) > TICK * 5 { now } else { due.after(TICK) };
        while Timestamp::read() < due {
            thread::park_timeout(due.since(Timestamp::read()));
        }
    }
}

/// The game on one shard.
struct Game {
    arena: Arc<Arena>,
    topic: Topic,
}

/// What is kept for a connection.
struct Seat {
    name: String,
    id: Option<u8>,
    /// When the present second began, and what came in it.
    second: Timestamp,
    steers: u32,
}

impl Handler for Game {
    type State = Seat;

    fn request(&mut self, request: &Request<'_>) -> Answer<Seat> {
        let name = request.query_value("name").unwrap_or_default();
        let name: String = name.trim().chars().filter(|char| !char.is_control()).collect();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
            return Answer::Http(Response::text(400, "connect to /play?name=NAME"));
        }
        Answer::upgrade(Seat { name, id: None, second: Timestamp::default(), steers: 0 })
    }

    fn open(&mut self, connection: &mut Connection<'_, Seat>) {
        let Some(id) = self.arena.world().join(&connection.state.name) else {
            return connection.close(CloseCode(4001), "the arena is full");
        };
        connection.state.id = Some(id);
        connection.send_text(&json!({ "you": id, "arena": ARENA }).to_string());
        if let Some(names) = connection.subscribe(&self.topic).frame {
            connection.send_frame(&names);
        }
    }

    fn message(&mut self, connection: &mut Connection<'_, Seat>, message: Message<'_>) {
        let now = connection.now();
        let seat = &mut *connection.state;
        if now.since(seat.second) >= Duration::from_secs(1) {
            (seat.second, seat.steers) = (now, 0);
        }
        seat.steers += 1;
        match (message.kind, &*message.payload, seat.id) {
            _ if seat.steers > STEERS_PER_S_MAX => {
                connection.close(CloseCode::POLICY_VIOLATION, "steer less often");
            }
            (Kind::Binary, [x, y], Some(id)) => {
                self.arena.world().steer(id, [x.cast_signed(), y.cast_signed()]);
            }
            _ => connection.close(CloseCode::UNSUPPORTED_DATA, "send a direction in two bytes"),
        }
    }

    fn close(&mut self, connection: &mut Connection<'_, Seat>, _ended: Ended) {
        if let Some(id) = connection.state.id {
            self.arena.world().leave(id);
        }
    }
}

/// The page's own script and style, and nothing from anywhere else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      img-src data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Starts the game and its page.
pub(crate) fn start(listen: &str) -> Result<Server, Box<dyn std::error::Error>> {
    let page = Response::html(include_str!("game.html"));
    let arena = Arc::new(Arena(Mutex::new(World::new(RandomState::new().hash_one("arena")))));
    let watched = Arc::downgrade(&arena);
    let server = Server::builder()
        .listen(listen)
        .origins(Origins::same_origin())
        .limits(|limits| limits.protocol.message_bytes_max = 125)
        .file("/", page.with_header("Content-Security-Policy", POLICY))
        .route("/play", move |shard| Game {
            arena: Arc::clone(&arena),
            topic: shard.publisher.topic("arena"),
        })
        .start()?;
    let (publisher, topic) = (server.publisher(), server.publisher().topic("arena"));
    // For a player who is too slow the next picture has everything in it.
    topic.set_lagged(Lagged::Skip);
    let world = thread::Builder::new().name("world".to_owned());
    world.spawn(move || run(&watched, &publisher, &topic))?;
    Ok(server)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = start("127.0.0.1:9005")?;
    println!("game at http://{}/", server.local_addr());
    server.join()?;
    Ok(())
}
