//! What a peer of a running engine sees, bytes against bytes.
//!
//! Every case is written once and runs in three worlds: over sockets of this machine on epoll and on
//! io_uring, and in the simulation, there for several seeds, each of which cuts what is sent and received elsewhere.
//! Cases that need time to pass, or a network as unkind as only a simulated one is, run there alone.
//!
//! `world` is those worlds and what they have in common, `session` a conversation with several
//! peers in one of them, `wire` the bytes of a client (written here, not by the crates under test),
//! `application` the handler that all cases talk to. `spec` has the specification of the wire line by
//! line, each with its bytes whole and cut at every offset; the other modules are cases by topic.

mod accepting;
mod admission;
mod application;
mod budget;
mod client;
mod closing;
mod deadlines;
mod deflate;
mod handshake;
mod lagging;
mod large;
mod latency;
mod lifecycle;
mod limits;
mod messages;
mod order;
mod outgoing;
mod panics;
mod patterns;
mod pressure;
mod publishing;
mod resuming;
mod session;
mod shutdown;
mod slow_peers;
mod spec;
mod starting;
mod storms;
mod tls;
mod values;
mod wire;
mod world;
