//! Several handlers as one: each connection belongs to one of them, which the type of its state says.
//!
//! [`Both`] puts one handler beside those before it, down to [`Nobody`]. A call goes to the handler
//! whose state the connection has: a comparison for each handler that came later, none where there is
//! one handler, and no call through a pointer.
//!
//! Invariant: a connection keeps the handler that upgraded it, and so do the connections to other
//! servers that it asks for.

use std::convert::Infallible;
use std::fmt;

use tickwire_protocol::{Accepted, Kind, Message};

use crate::connector::{Connector, Unconnected};
use crate::delivery::Merged;
use crate::handler::{Accept, Answer, Connection, Ended, Handler, Request};
use crate::lag::{Lag, Lagged};
use crate::shard::Wish;

/// No handler: what a server begins with.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Handler for Nobody {
    type State = Infallible;

    fn message(&mut self, connection: &mut Connection<'_, Infallible>, _message: Message<'_>) {
        match *connection.state {}
    }
}

/// A function as a handler that upgrades whoever comes and keeps nothing.
#[derive(Clone, Copy)]
pub struct OnMessage<F>(pub(crate) F);

impl<F> fmt::Debug for OnMessage<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OnMessage")
    }
}

impl<F: Fn(&mut Connection<'_>, Message<'_>) + 'static> Handler for OnMessage<F> {
    type State = ();

    fn request(&mut self, _request: &Request<'_>) -> Answer<()> {
        Answer::upgrade(())
    }

    fn message(&mut self, connection: &mut Connection<'_>, message: Message<'_>) {
        (self.0)(connection, message);
    }
}

/// Two handlers, of which each connection has one.
#[derive(Debug)]
pub struct Both<A, B> {
    first: A,
    second: B,
    /// By which requests are told from those for `first`.
    number: usize,
}

/// What is kept for a connection of [`Both`].
#[derive(Clone, Copy, Debug)]
pub enum Either<A, B> {
    /// It is the first handler's.
    First(A),
    /// It is the second handler's.
    Second(B),
}

impl<A, B> Both<A, B> {
    pub(crate) const fn new(first: A, second: B, number: usize) -> Self {
        Self { first, second, number }
    }

    /// By what the second handler is known where values are rendered.
    fn renderer(&self) -> u16 {
        u16::try_from(self.number).expect("fewer than 2^16 handlers")
    }
}

/// Calls the handler that a connection belongs to, with the connection as that handler knows it.
macro_rules! call {
    ($both:ident, $connection:ident, $method:ident $(, $argument:expr)?) => {{
        let Connection { state, local, wishes, key, handler } = $connection;
        match state {
            Either::First(state) => {
                let mut wanted = Wanted::new(wishes, Either::First);
                let wishes = &mut wanted.own;
                let (key, handler) = (*key, *handler);
                let mut connection = Connection { state, local, wishes, key, handler };
                $both.first.$method(&mut connection $(, $argument)?)
            }
            Either::Second(state) => {
                let mut wanted = Wanted::new(wishes, Either::Second);
                let wishes = &mut wanted.own;
                let (key, handler) = (*key, $both.renderer());
                let mut connection = Connection { state, local, wishes, key, handler };
                $both.second.$method(&mut connection $(, $argument)?)
            }
        }
    }};
}

/// Calls one of both handlers where there is no connection.
macro_rules! call_without {
    ($handler:expr, $side:expr, $connector:ident, $method:ident $(, $argument:expr)?) => {{
        let Connector { local, wishes } = $connector;
        let mut wanted = Wanted::new(wishes, $side);
        let wishes = &mut wanted.own;
        $handler.$method(&mut Connector { local, wishes } $(, $argument)?);
    }};
}

impl<A: Handler, B: Handler> Handler for Both<A, B> {
    type State = Either<A::State, B::State>;

    fn start(&mut self, connector: &mut Connector<'_, Self::State>) {
        call_without!(self.first, Either::First, connector, start);
        call_without!(self.second, Either::Second, connector, start);
    }

    fn request(&mut self, request: &Request<'_>) -> Answer<Self::State> {
        if request.handler() == self.number {
            self.second.request(request).map(Either::Second)
        } else {
            self.first.request(request).map(Either::First)
        }
    }

    fn open(&mut self, connection: &mut Connection<'_, Self::State>) {
        call!(self, connection, open);
    }

    fn connected(&mut self, connection: &mut Connection<'_, Self::State>, accepted: &Accepted) {
        call!(self, connection, connected, accepted);
    }

    fn connect_failed(
        &mut self,
        connector: &mut Connector<'_, Self::State>,
        unconnected: Unconnected<Self::State>,
    ) {
        let Unconnected { destination, state, error } = unconnected;
        match state {
            Either::First(state) => {
                let unconnected = Unconnected { destination, state, error };
                call_without!(self.first, Either::First, connector, connect_failed, unconnected);
            }
            Either::Second(state) => {
                let unconnected = Unconnected { destination, state, error };
                call_without!(self.second, Either::Second, connector, connect_failed, unconnected);
            }
        }
    }

    fn message(&mut self, connection: &mut Connection<'_, Self::State>, message: Message<'_>) {
        call!(self, connection, message, message);
    }

    fn timer(&mut self, connection: &mut Connection<'_, Self::State>) {
        call!(self, connection, timer);
    }

    fn merged(&mut self, merged: &Merged<'_>, out: &mut Vec<u8>) -> Option<Kind> {
        if merged.handler == self.renderer() {
            self.second.merged(merged, out)
        } else {
            self.first.merged(merged, out)
        }
    }

    fn lagged(
        &mut self,
        connection: &mut Connection<'_, Self::State>,
        lag: &Lag<'_>,
    ) -> Option<Lagged> {
        if let Either::Second(_) = connection.state {
            lag.handler.set(self.renderer());
        }
        call!(self, connection, lagged, lag)
    }

    fn shutdown(&mut self, connection: &mut Connection<'_, Self::State>) {
        call!(self, connection, shutdown);
    }

    fn close(&mut self, connection: &mut Connection<'_, Self::State>, ended: Ended) {
        call!(self, connection, close, ended);
    }
}

impl<S> Answer<S> {
    /// The same with the state made into another.
    fn map<T>(self, make: impl FnOnce(S) -> T) -> Answer<T> {
        match self {
            Self::Upgrade(Accept { state, protocol, headers }) => {
                Answer::Upgrade(Accept { state: make(state), protocol, headers })
            }
            Self::Http(response) => Answer::Http(response),
        }
    }
}

/// The connections to other servers that one of both handlers asks for. They become wishes of both
/// when the call is over, also when it ends with a panic.
struct Wanted<'a, S, T> {
    own: Vec<Wish<S>>,
    all: &'a mut Vec<Wish<T>>,
    /// Says whose they are.
    side: fn(S) -> T,
}

impl<'a, S, T> Wanted<'a, S, T> {
    const fn new(all: &'a mut Vec<Wish<T>>, side: fn(S) -> T) -> Self {
        Self { own: Vec::new(), all, side }
    }
}

impl<S, T> Drop for Wanted<'_, S, T> {
    fn drop(&mut self) {
        // Empty for nearly every call.
        for Wish { at, destination, state } in self.own.drain(..) {
            self.all.push(Wish { at, destination, state: (self.side)(state) });
        }
    }
}
