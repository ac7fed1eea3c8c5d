//! A program that only connects to others, against a server of ours. Real sockets only.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use tickwire_protocol::{CloseCode, Kind, Message, Role};
use tickwire_reactor::{
    Client, Config, Connection, Connector, Destination, Ended, Handler, Server, Timestamp,
    Unconnected,
};

use crate::application::{Application, Journal};
use crate::world::PATIENCE;

/// Tells the test everything that happens. The state of a connection is its number.
struct Teller(Sender<Told>);

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Opened(u32),
    Heard(u32, String),
    Closed(u32, Ended),
    Failed(u32, String),
}

impl Teller {
    fn tell(&self, told: Told) {
        // At the end nobody listens any more.
        let _ = self.0.send(told);
    }
}

impl Handler for Teller {
    type State = u32;

    fn open(&mut self, connection: &mut Connection<'_, u32>) {
        assert_eq!(connection.role(), Role::Client);
        self.tell(Told::Opened(*connection.state));
        connection.send_text("hello");
    }

    fn message(&mut self, connection: &mut Connection<'_, u32>, message: Message<'_>) {
        let text = String::from_utf8_lossy(message.payload).into_owned();
        self.tell(Told::Heard(*connection.state, text));
    }

    fn connect_failed(&mut self, _: &mut Connector<'_, u32>, unconnected: Unconnected<u32>) {
        self.tell(Told::Failed(unconnected.state, unconnected.error.to_string()));
    }

    fn close(&mut self, connection: &mut Connection<'_, u32>, ended: Ended) {
        self.tell(Told::Closed(*connection.state, ended));
    }
}

fn next(told: &Receiver<Told>) -> Told {
    told.recv_timeout(PATIENCE).expect("something happens")
}

fn server() -> Server {
    Server::builder()
        .fallback(|shard| Application::new(&shard, Journal::default()))
        .start()
        .expect("a port of this machine, and threads")
}

fn client(shards: usize) -> (Client<u32>, Receiver<Told>) {
    let (sender, told) = channel();
    let mut config = Config::default();
    config.shards = shards;
    let client = Client::start(&config, move |_| Teller(sender.clone()));
    (client.expect("threads can be started"), told)
}

fn destination(server: &Server, path: &str) -> Destination {
    let port = server.local_addr().port();
    // A name that often has an IPv6 address too, where this server does not listen; if it is known.
    let named = Destination::resolve(&format!("ws://localhost:{port}{path}"));
    named.unwrap_or_else(|_| Destination::new(server.local_addr(), path))
}

#[test]
fn client_talks_to_a_server_of_ours() {
    let server = server();
    let (client, told) = client(0);
    client.connect(destination(&server, "/echo"), 1);
    assert_eq!(next(&told), Told::Opened(1));
    assert_eq!(next(&told), Told::Heard(1, "hello".to_owned()));
    client.handle().shutdown();
    assert_eq!(next(&told), Told::Closed(1, Ended::ByUs(CloseCode::GOING_AWAY)));
    client.join().expect("no shard fails");
    assert_eq!(server.metrics().total().lost, 0);
    assert_eq!(server.metrics().total().failed, 0);
}

#[test]
fn connections_of_a_client_are_spread_over_its_shards() {
    let server = server();
    let (client, told) = client(3);
    for number in 0..30 {
        client.connect(destination(&server, "/echo"), number);
    }
    let mut heard = 0;
    while heard < 30 {
        heard += u32::from(matches!(next(&told), Told::Heard(..)));
    }
    let counters = client.handle().metrics().shards;
    assert_eq!(counters.iter().map(|it| it.outgoing_now).collect::<Vec<_>>(), [10, 10, 10]);
    drop(client);
    let closed = told.try_iter().filter(|it| matches!(it, Told::Closed(..))).count();
    assert_eq!(closed, 30, "dropping it closes all");
}

#[test]
fn threads_reach_a_clients_connections_by_name() {
    let (sender, told) = channel();
    let ids = sender.clone();
    struct Named(Sender<tickwire_reactor::ConnectionId>, Teller);
    impl Handler for Named {
        type State = u32;

        fn open(&mut self, connection: &mut Connection<'_, u32>) {
            self.0.send(connection.id()).expect("the test listens");
        }

        fn message(&mut self, connection: &mut Connection<'_, u32>, message: Message<'_>) {
            self.1.message(connection, message);
        }
    }
    let (id_sender, id) = channel();
    let start = move |_| Named(id_sender.clone(), Teller(ids.clone()));
    let client = Client::start(&Config::default(), start).expect("threads can be started");
    drop(sender);
    let server = server();
    client.connect(destination(&server, "/echo"), 7);
    let id = id.recv_timeout(PATIENCE).expect("it opens");
    client.publisher().send(id, Kind::Text, "from outside ".repeat(30).as_bytes());
    assert_eq!(next(&told), Told::Heard(7, "from outside ".repeat(30)));
    client.publisher().close(id, CloseCode(4000), "enough");
    client.handle().shutdown();
    client.join().expect("no shard fails");
    assert_eq!(server.metrics().total().failed, 0);
}

/// Stops its shard when it is told of a connection that could not be opened, until the test goes on.
struct Gated {
    far: SocketAddr,
    gate: Receiver<()>,
    teller: Teller,
}

impl Handler for Gated {
    type State = u32;

    fn start(&mut self, connector: &mut Connector<'_, u32>) {
        connector.connect(Destination::new(self.far, "/"), 1).expect("nothing waits");
        // This one fails at once, when the first is on its way.
        let mut nowhere = Destination::new(self.far, "/");
        nowhere.addresses.clear();
        connector.connect(nowhere, 2).expect("one waits");
    }

    fn message(&mut self, _: &mut Connection<'_, u32>, _: Message<'_>) {}

    fn connect_failed(&mut self, connector: &mut Connector<'_, u32>, failed: Unconnected<u32>) {
        if failed.state == 2 {
            self.gate.recv_timeout(PATIENCE).expect("the test goes on");
        }
        self.teller.connect_failed(connector, failed);
    }
}

#[test]
fn end_that_comes_together_with_the_connection_is_seen() {
    for answer in ["", "HTTP/1.1 101 Switching"] {
        let far = TcpListener::bind(("127.0.0.1", 0)).expect("a port of this machine");
        let address = far.local_addr().expect("it is bound");
        let (open_gate, gate) = channel();
        let (sender, told) = channel();
        let gate = Mutex::new(Some(gate));
        let start = move |_| {
            let gate = gate.lock().expect("no panic").take().expect("one shard");
            Gated { far: address, gate, teller: Teller(sender.clone()) }
        };
        let client = Client::start(&Config::default(), start).expect("threads can be started");
        let (mut stream, _) = far.accept().expect("the client connects");
        stream.write_all(answer.as_bytes()).expect("it is connected");
        // It is not closed, or the request would be answered with a reset.
        stream.shutdown(Shutdown::Write).expect("it is connected");
        open_gate.send(()).expect("the shard waits");
        assert!(matches!(next(&told), Told::Failed(2, _)));
        let Told::Failed(1, error) = next(&told) else { panic!("it cannot open") };
        assert!(error.contains("without a whole answer"), "{error}");
        drop((client, stream));
    }
}

/// A listener whose queue is full, so that it takes no more connections, and those that fill it.
fn full() -> (TcpListener, Vec<Socket>) {
    let far = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    far.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port of this machine");
    far.listen(0).expect("it is bound");
    let far = TcpListener::from(far);
    let address = far.local_addr().expect("it is bound");
    let waiting = (0..4).map(|_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        // The first fill the queue, the others are never answered.
        let _ = socket.connect(&address.into());
        socket
    });
    let waiting = waiting.collect();
    (far, waiting)
}

#[test]
fn address_that_does_not_answer_is_given_up_for_the_next() {
    let (full, _waiting) = full();
    let server = server();
    let (sender, told) = channel();
    let mut config = Config::default();
    config.limits.connect_timeout = Duration::from_millis(50);
    let client = Client::start(&config, move |_| Teller(sender.clone())).expect("threads");
    let deaf = full.local_addr().expect("it is bound");
    client.connect(Destination::new(deaf, "/echo"), 1);
    let Told::Failed(1, error) = next(&told) else { panic!("it cannot open") };
    assert!(error.contains("in time"), "{error}");
    let mut destination = Destination::new(deaf, "/echo");
    destination.addresses.push(server.local_addr());
    // The same time is given to the server, which on a busy machine may not have it: then once more.
    let begun = Timestamp::read();
    loop {
        client.connect(destination.clone(), 2);
        match next(&told) {
            Told::Failed(2, error) if error.contains("in time") => {
                assert!(Timestamp::read().since(begun) < PATIENCE, "{error}");
            }
            told => break assert_eq!(told, Told::Opened(2)),
        }
    }
    assert_eq!(next(&told), Told::Heard(2, "hello".to_owned()));
}

#[test]
fn address_that_fails_at_once_is_one_of_several() {
    let server = server();
    let (client, told) = client(1);
    // No connection goes to many, and the system says so without trying.
    let many = SocketAddr::from(([224, 0, 0, 1], 9));
    let mut destination = Destination::new(many, "/echo");
    destination.addresses.extend([many, server.local_addr()]);
    client.connect(destination, 1);
    assert_eq!(next(&told), Told::Opened(1));
    assert_eq!(next(&told), Told::Heard(1, "hello".to_owned()));
    let nobody = server.local_addr();
    drop(server);
    assert_eq!(next(&told), Told::Heard(1, "goodbye".to_owned()));
    assert!(matches!(next(&told), Told::Closed(1, _)));
    for (addresses, expected) in [
        ([many, nobody], "refused"),
        ([nobody, many], "unreachable"),
        ([many, many], "unreachable"),
    ] {
        let mut destination = Destination::new(nobody, "/echo");
        destination.addresses = addresses.to_vec();
        client.connect(destination, 2);
        let Told::Failed(2, error) = next(&told) else { panic!("it cannot open") };
        assert!(error.contains(expected), "what the last one said: {error}");
    }
}

#[test]
fn client_learns_why_there_is_no_connection() {
    let server = server();
    let (client, told) = client(1);
    client.connect(destination(&server, "/nowhere"), 1);
    let Told::Failed(1, error) = next(&told) else { panic!("it cannot open") };
    assert!(error.contains("404"), "{error}");
    let address = server.local_addr();
    drop(server);
    client.connect(Destination::new(address, "/echo"), 2);
    let Told::Failed(2, error) = next(&told) else { panic!("it cannot open") };
    assert!(error.contains("refused"), "{error}");
}
