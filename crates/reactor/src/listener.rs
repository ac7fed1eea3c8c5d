//! Listening sockets: one per shard on the same port, which the kernel spreads connections over.
//!
//! They are made here, or were made by somebody before this process began (systemd, or the server whose
//! successor it is): then what waits in their queues is served by whoever holds them, and nobody is
//! refused while one process follows another. The kernel spreads connections by a hash of their
//! addresses, or by a program that knows which core each listener belongs to.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::sys;

/// The queue of connections that were not accepted yet; the kernel lowers it to its own maximum.
const BACKLOG: i32 = 4_096;

/// What a socket takes beyond what its peer has room for; accepted sockets inherit it. A peer that
/// does not read is owed the rest by the shard, which holds it once for all, where the kernel would
/// keep up to 4 MB for each: a thousand of them reach the limit of its memory for TCP, and then
/// it drops what others send. Many times what a turn usually sends to one connection.
pub(crate) const UNSENT_IN_KERNEL_BYTES: u32 = 128 * 1024;

/// Listeners for `count` shards on one address. The first takes the port, which the system chooses
/// if it is 0, and the others share it (SO_REUSEPORT).
pub(crate) fn listen(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    if count > 1 && address.port() != 0 {
        bind_alone(address)?;
    }
    let mut listeners: Vec<TcpListener> = Vec::with_capacity(count);
    for _ in 0..count {
        let address = match listeners.first() {
            Some(first) => first.local_addr()?,
            None => address,
        };
        listeners.push(listen_one(address, count > 1)?);
    }
    Ok(listeners)
}

/// Fails if another program listens on the address. Sockets that share a port would not notice: a
/// second server, started by mistake, would silently take half of the connections.
fn bind_alone(address: SocketAddr) -> io::Result<()> {
    bind(address, false).map(drop)
}

/// One listener for each of `count` shards from those that somebody else made. Shards share them in
/// turn if they are fewer; then each connection wakes all who share.
///
/// # Errors
/// If they are none, or more than shards, so that one would be nobody's; if one is no TCP socket that
/// listens.
pub(crate) fn inherit(listeners: &[TcpListener], count: usize) -> io::Result<Vec<TcpListener>> {
    if listeners.is_empty() || listeners.len() > count {
        let given = listeners.len();
        let reason = format!("{given} listening sockets are given to {count} shards");
        return Err(io::Error::new(ErrorKind::InvalidInput, reason));
    }
    for listener in listeners {
        let socket = SockRef::from(listener);
        let is_tcp = matches!(socket.protocol()?, Some(Protocol::TCP));
        if !is_tcp || !socket.is_listener()? {
            let reason = "a socket that is given does not listen for TCP";
            return Err(io::Error::new(ErrorKind::InvalidInput, reason));
        }
        prepare(&socket)?;
    }
    (0..count).map(|shard| listeners[shard % listeners.len()].try_clone()).collect()
}

/// Gives each connection to the listener of the core that it arrives on: `cores` has one for each, in
/// the order in which they began to listen. What arrives on other cores is spread over all.
pub(crate) fn steer(listeners: &[TcpListener], cores: &[usize]) -> io::Result<()> {
    let Some(first) = listeners.first() else { return Ok(()) };
    let mut program = vec![sys::load_core()];
    for (listener, core) in (0..).zip(cores) {
        let core = u32::try_from(*core).map_err(|_| ErrorKind::InvalidInput)?;
        program.extend([sys::skip_unless(core), sys::give(listener)]);
    }
    program.push(sys::give(u32::MAX));
    sys::steer(first, &program)
}

/// Leaves the choice to the kernel's hash, whatever was chosen before.
pub(crate) fn steer_no_more(listeners: &[TcpListener]) -> io::Result<()> {
    listeners.first().map_or(Ok(()), sys::steer_no_more)
}

fn listen_one(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = bind(address, shared)?;
    prepare(&socket)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit it. A turn's bytes leave in one send, so there is nothing to wait for.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_IN_KERNEL_BYTES)
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use super::*;
    use crate::clock::Timestamp;

    /// The cores that this thread may use.
    fn cores() -> Vec<usize> {
        let allowed = sched_getaffinity(None).expect("a thread of its own");
        (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect()
    }

    /// Connects from `core`, and gives the listener that the connection came to.
    fn comes_to(listeners: &[TcpListener], core: usize) -> usize {
        let mut only = CpuSet::new();
        only.set(core);
        sched_setaffinity(None, &only).expect("a core that was allowed");
        let address = listeners[0].local_addr().expect("it is bound");
        let _stream = TcpStream::connect(address).expect("it listens");
        let start = Timestamp::read();
        loop {
            for (index, listener) in listeners.iter().enumerate() {
                match listener.accept() {
                    Ok(_) => return index,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            assert!(Timestamp::read().since(start).as_secs() < 30, "it never comes");
        }
    }

    #[test]
    fn connections_come_to_the_listener_of_the_core_that_they_come_from() {
        let cores = cores();
        let [first, second, ..] = *cores else {
            eprintln!("skipped: this machine lets the test use one core only");
            return;
        };
        let listeners = listen(([127, 0, 0, 1], 0).into(), 2).expect("a free port");
        if let Err(error) = steer(&listeners, &[first, second]) {
            eprintln!("skipped: this kernel takes no program: {error}");
            return;
        }
        for order in [[first, second], [second, first]] {
            steer(&listeners, &order).expect("the kernel takes the program");
            for core in [first, second, first, first, second, second] {
                assert_eq!(order[comes_to(&listeners, core)], core, "of {order:?}");
            }
        }
        // The second core is nobody's: what comes from it is spread.
        steer(&listeners, &[first, usize::from(u16::MAX)]).expect("the kernel takes the program");
        let spread: Vec<usize> = (0..64).map(|_| comes_to(&listeners, second)).collect();
        assert!(spread.contains(&0) && spread.contains(&1), "{spread:?}");
        assert_eq!(comes_to(&listeners, first), 0);
        for _ in 0..2 {
            steer_no_more(&listeners).expect("also if there is none");
            let spread: Vec<usize> = (0..64).map(|_| comes_to(&listeners, first)).collect();
            assert!(spread.contains(&0) && spread.contains(&1), "{spread:?}");
        }
    }

    #[test]
    fn listeners_of_somebody_else_are_served_by_one_shard_each_or_shared() {
        let given = listen(([127, 0, 0, 1], 0).into(), 2).expect("a free port");
        for shards in [2, 5] {
            assert_eq!(inherit(&given, shards).expect("they listen").len(), shards);
        }
        let refused = |listeners: &[TcpListener], shards| {
            inherit(listeners, shards).expect_err("cannot be").to_string()
        };
        assert_eq!(refused(&given, 1), "2 listening sockets are given to 1 shards");
        assert_eq!(refused(&[], 1), "0 listening sockets are given to 1 shards");
        let quiet = bind(([127, 0, 0, 1], 0).into(), false).expect("a free port");
        let said = refused(&[quiet.into()], 1);
        assert_eq!(said, "a socket that is given does not listen for TCP");
    }

    #[test]
    fn shards_share_a_port_and_a_second_server_is_refused() {
        for count in [1, 3] {
            let listeners = listen(([127, 0, 0, 1], 0).into(), count).expect("a free port");
            let address = listeners[0].local_addr().unwrap();
            for listener in &listeners {
                assert_eq!(listener.local_addr().unwrap(), address);
            }
            for second in [1, 3] {
                let refused = listen(address, second).expect_err("the port is in use");
                assert_eq!(refused.kind(), ErrorKind::AddrInUse, "{count} then {second}");
            }
        }
    }
}
