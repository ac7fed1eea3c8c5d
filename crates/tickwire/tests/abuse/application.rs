//! What the server under attack does: a peer chooses it by the path.

use std::time::Duration;

use tickwire::{
    Answer, CloseCode, Connection, Handler, Kind, Lag, Lagged, Message, Publisher, Request,
    Response, Topic,
};

/// One shard's share of it.
pub(crate) struct Application {
    news: Topic,
}

/// What one connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `/`: each message goes back as it came.
    Echo,
    /// `/news`: gets what is published; each message of its own is published.
    News,
    /// `/close-in/CALLBACK`: the handler closes it there, with 4000.
    CloseIn(&'static str),
    /// `/expiring`: it is closed with 4401 after half a second, whatever it does.
    Expiring,
}

impl Mode {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Echo,
            "/news" => Self::News,
            "/expiring" => Self::Expiring,
            _ => {
                let callback = path.strip_prefix("/close-in/")?;
                Self::CloseIn(CALLBACKS.iter().find(|name| **name == callback)?)
            }
        })
    }
}

/// Those that a connection can be closed in. `publication` is the callback of a message that
/// publishes to its own connection first.
pub(crate) const CALLBACKS: [&str; 6] =
    ["open", "message", "timer", "lagged", "shutdown", "publication"];

/// The reason of every Close of [`Mode::CloseIn`].
pub(crate) const REASON: &str = "as was asked";

impl Application {
    pub(crate) fn new(publisher: &Publisher) -> Self {
        Self { news: publisher.topic("news") }
    }

    fn close_in(connection: &mut Connection<'_, Mode>, callback: &'static str) {
        if *connection.state == Mode::CloseIn(callback) {
            connection.close(CloseCode(4000), REASON);
        }
    }
}

impl Handler for Application {
    type State = Mode;

    fn request(&mut self, request: &Request<'_>) -> Answer<Mode> {
        if request.path() == "/greeting" {
            let name = decoded(request.query().unwrap_or_default());
            return Answer::upgrade(Mode::Echo).with_header("X-Greeting", format!("hello {name}"));
        }
        match Mode::of(request.path()) {
            Some(mode) => Answer::upgrade(mode),
            None => Answer::Http(Response::not_found()),
        }
    }

    fn open(&mut self, connection: &mut Connection<'_, Mode>) {
        match *connection.state {
            Mode::Expiring => connection.set_timer(Duration::from_millis(500)),
            Mode::CloseIn("timer") => connection.set_timer(Duration::ZERO),
            Mode::News | Mode::CloseIn("lagged" | "publication") => {
                connection.subscribe(&self.news);
            }
            _ => Self::close_in(connection, "open"),
        }
    }

    fn message(&mut self, connection: &mut Connection<'_, Mode>, message: Message<'_>) {
        match *connection.state {
            Mode::Echo => connection.send(message.kind, message.payload),
            Mode::News | Mode::CloseIn("publication") => {
                // A full mailbox is told to the peer.
                if connection.publish(&self.news, Kind::Binary, message.payload).is_err() {
                    connection.send_text("not published");
                }
                Self::close_in(connection, "publication");
            }
            _ => Self::close_in(connection, "message"),
        }
    }

    fn timer(&mut self, connection: &mut Connection<'_, Mode>) {
        match *connection.state {
            Mode::Expiring => connection.close(CloseCode(4401), "the session has expired"),
            _ => Self::close_in(connection, "timer"),
        }
    }

    fn lagged(&mut self, connection: &mut Connection<'_, Mode>, _lag: &Lag<'_>) -> Option<Lagged> {
        Self::close_in(connection, "lagged");
        Some(Lagged::Skip)
    }

    fn shutdown(&mut self, connection: &mut Connection<'_, Mode>) {
        Self::close_in(connection, "shutdown");
    }
}

/// The value of the one field of a query, its escapes replaced.
fn decoded(query: &str) -> String {
    let value = query.split_once('=').map_or("", |(_, value)| value);
    let mut pieces = value.split('%');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (digits, rest) = piece.split_at(2);
        text.push(char::from(u8::from_str_radix(digits, 16).expect("two digits")));
        text.push_str(rest);
    }
    text
}
