//! The smallest server: it sends every message back.

use tickwire::Server;

fn main() -> Result<(), tickwire::Error> {
    Server::builder()
        .listen("127.0.0.1:9002")
        .on_message("/", |connection, message| connection.send(message.kind, message.payload))
        .run()
}
