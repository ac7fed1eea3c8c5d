//! Listening sockets: one per shard on the same port, which the kernel spreads connections over.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// The queue of connections that were not accepted yet; the kernel lowers it to its own maximum.
const BACKLOG: i32 = 4_096;

/// What a socket takes beyond what its peer has room for; accepted sockets inherit it. A peer that
/// does not read is owed the rest by the shard, which holds it once for all, where the kernel would
/// keep up to 4 MB for each: a thousand of them reach the limit of its memory for TCP, and then
/// it drops what others send. Many times what a turn usually sends to one connection.
const UNSENT_IN_KERNEL_BYTES: u32 = 128 * 1024;

/// Listeners for `count` shards on one address. The first takes the port, which the system chooses
/// if it is 0, and the others share it (SO_REUSEPORT).
pub(crate) fn listen(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
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

fn listen_one(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    // Only where it is needed: with it, a second server on the port would take half of the
    // connections instead of being told that the port is in use.
    socket.set_reuse_port(shared)?;
    // Accepted sockets inherit it. A turn's bytes leave in one send, so there is nothing to wait for.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_IN_KERNEL_BYTES)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
