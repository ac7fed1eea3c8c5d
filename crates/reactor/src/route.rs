//! Which path leads where: to a handler, to a function that answers, to a fixed answer.
//!
//! A request comes here once, after its head was checked and its origin let in, and leaves with a
//! handler or with an answer. Messages never do: an open connection knows its handler by the type of
//! its state ([`Both`]).
//!
//! Invariant: every request is answered. A path that nothing has is 404, a method that nobody answers
//! there 405, and what is only a WebSocket tells so with 426 (RFC 9110 section 15.5.22).
//!
//! Applications make routes with [`Builder`](crate::Builder); the types here are what it puts together.

mod both;
mod file;
mod pattern;

use std::fmt;
use std::sync::Arc;

use tickwire_protocol::{Accepted, Kind, Message};

pub use self::both::{Both, Either, Nobody, OnMessage};
pub(crate) use self::file::File;
pub(crate) use self::pattern::{Pattern, decode};

use crate::connector::{Connector, Unconnected};
use crate::delivery::Merged;
use crate::error::StartError;
use crate::handler::{Answer, Connection, Ended, Handler, Request, Response};
use crate::lag::{Lag, Lagged};

/// The handlers of a server behind its routes: what a shard runs.
#[derive(Debug)]
pub struct Router<H> {
    table: Arc<Table>,
    handlers: H,
}

impl<H: Handler> Router<H> {
    pub(crate) const fn new(table: Arc<Table>, handlers: H) -> Self {
        Self { table, handlers }
    }
}

impl<H: Handler> Handler for Router<H> {
    type State = H::State;

    fn request(&mut self, request: &Request<'_>) -> Answer<H::State> {
        match self.table.find(request) {
            Found::Handler(pattern, handler) => {
                self.handlers.request(&request.routed(pattern, handler))
            }
            Found::Answer(response) => Answer::Http(response),
        }
    }

    fn start(&mut self, connector: &mut Connector<'_, H::State>) {
        self.handlers.start(connector);
    }

    fn open(&mut self, connection: &mut Connection<'_, H::State>) {
        self.handlers.open(connection);
    }

    fn connected(&mut self, connection: &mut Connection<'_, H::State>, accepted: &Accepted) {
        self.handlers.connected(connection, accepted);
    }

    fn connect_failed(
        &mut self,
        connector: &mut Connector<'_, H::State>,
        unconnected: Unconnected<H::State>,
    ) {
        self.handlers.connect_failed(connector, unconnected);
    }

    fn message(&mut self, connection: &mut Connection<'_, H::State>, message: Message<'_>) {
        self.handlers.message(connection, message);
    }

    fn timer(&mut self, connection: &mut Connection<'_, H::State>) {
        self.handlers.timer(connection);
    }

    fn merged(&mut self, merged: &Merged<'_>, out: &mut Vec<u8>) -> Option<Kind> {
        self.handlers.merged(merged, out)
    }

    fn lagged(
        &mut self,
        connection: &mut Connection<'_, H::State>,
        lag: &Lag<'_>,
    ) -> Option<Lagged> {
        self.handlers.lagged(connection, lag)
    }

    fn shutdown(&mut self, connection: &mut Connection<'_, H::State>) {
        self.handlers.shutdown(connection);
    }

    fn close(&mut self, connection: &mut Connection<'_, H::State>, ended: Ended) {
        self.handlers.close(connection, ended);
    }
}

/// All routes of a server, in the order in which they were made.
#[derive(Debug, Default)]
pub(crate) struct Table {
    routes: Vec<Route>,
    /// The handler of whatever has no route.
    fallback: Option<usize>,
    /// How many handlers there are.
    handlers: usize,
}

#[derive(Debug)]
struct Route {
    pattern: Pattern,
    target: Target,
}

/// Where a route leads.
pub(crate) enum Target {
    /// To a WebSocket, by the number of its handler.
    Handler(usize),
    /// To an answer made for each request.
    Get(Box<Get>),
    /// To an answer that is always the same.
    File(File),
}

/// Answers plain requests, on the thread of whichever shard they came to.
pub(crate) type Get = dyn Fn(&Request<'_>) -> Response + Send + Sync;

impl fmt::Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Handler(_) => "Handler",
            Self::Get(_) => "Get",
            Self::File(_) => "File",
        })
    }
}

/// What a request has found.
enum Found<'a> {
    /// A handler, by its number, and the pattern that led there.
    Handler(Option<&'a Pattern>, usize),
    /// An answer.
    Answer(Response),
}

impl Table {
    /// Adds a route; the first of several that fit is taken.
    pub(crate) fn add(&mut self, path: &str, target: Target) -> Result<(), StartError> {
        let fault = |reason| StartError::Route { path: path.to_owned(), reason };
        let pattern = Pattern::parse(path).map_err(fault)?;
        let is_socket = |target: &Target| matches!(target, Target::Handler(_));
        let is_taken = self.routes.iter().any(|route| {
            route.pattern.is_like(&pattern) && is_socket(&route.target) == is_socket(&target)
        });
        if is_taken {
            return Err(fault("another route has the same path: it would never be asked"));
        }
        self.routes.push(Route { pattern, target });
        Ok(())
    }

    /// The number of a further handler.
    pub(crate) const fn next_handler(&mut self) -> usize {
        self.handlers += 1;
        self.handlers
    }

    pub(crate) const fn set_fallback(&mut self, handler: usize) {
        self.fallback = Some(handler);
    }

    fn find(&self, request: &Request<'_>) -> Found<'_> {
        let is_read = matches!(request.method(), "GET" | "HEAD");
        let (mut is_socket, mut page) = (false, None);
        for Route { pattern, target } in &self.routes {
            if !pattern.matches(request.path()) {
                continue;
            }
            match target {
                Target::Handler(handler) if request.wants_upgrade() => {
                    return Found::Handler(Some(pattern), *handler);
                }
                Target::Handler(_) => is_socket = true,
                Target::Get(_) | Target::File(_) => page = page.or(Some((pattern, target))),
            }
        }
        Found::Answer(match (page, self.fallback) {
            // A handshake that has lost its Upgrade, as behind a proxy that was not told to pass it on,
            // is refused (RFC 6455 section 4.2.1): its client could make nothing of a page.
            (Some(_), _) if is_socket && is_read && is_handshake(request) => {
                Response::upgrade_required()
            }
            // Who wants a WebSocket where there is only a page gets the page (RFC 9110 section 7.8).
            (Some((pattern, target)), _) if is_read => {
                target.answer(&request.routed(Some(pattern), 0))
            }
            (Some(_), _) => Response::text(405, "only GET and HEAD are answered here")
                .with_header("Allow", "GET, HEAD"),
            (None, Some(handler)) if !is_socket => return Found::Handler(None, handler),
            (None, _) if is_socket && is_read => Response::upgrade_required(),
            (None, _) if is_socket => Response::text(405, "this is a WebSocket: connect with GET")
                .with_header("Allow", "GET"),
            (None, _) => Response::not_found(),
        })
    }
}

/// Whether it has what only an opening handshake has (RFC 6455 section 11.3.1).
fn is_handshake(request: &Request<'_>) -> bool {
    request.values("Sec-WebSocket-Key").next().is_some()
}

impl Target {
    fn answer(&self, request: &Request<'_>) -> Response {
        match self {
            Self::Get(answer) => answer(request),
            Self::File(file) => file.answer(request),
            Self::Handler(_) => Response::upgrade_required(),
        }
    }
}
