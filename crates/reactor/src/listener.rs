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

fn listen_one(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = bind(address, shared)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit it. A turn's bytes leave in one send, so there is nothing to wait for.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_IN_KERNEL_BYTES)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
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
    use super::*;

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
                assert_eq!(refused.kind(), io::ErrorKind::AddrInUse, "{count} then {second}");
            }
        }
    }
}
