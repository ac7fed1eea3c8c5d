//! The client that the Autobahn test suite puts to the test: it asks how many cases there are, runs
//! each by echoing whatever comes, has the report written, and ends.
//!
//! `cargo run --release --example autobahn_client -p tickwire -- --url ws://127.0.0.1:9001`

#![expect(clippy::print_stdout, reason = "it says how far it is")]

use std::error::Error;
use std::sync::mpsc::{Sender, channel};

use clap::Parser;
use tickwire::{
    Client, Config, Connection, Connector, Deflate, Destination, Ended, Handler, Message,
    Unconnected,
};

/// A name of its own, because an `Option` among the options would be one that may be left out.
type Compression = Option<Deflate>;

/// Runs the cases of an Autobahn fuzzing server.
#[derive(Parser)]
struct Arguments {
    /// Where the fuzzing server listens.
    #[arg(long, default_value = "ws://127.0.0.1:9001")]
    url: String,
    /// The name that the report is filed under.
    #[arg(long, default_value = "tickwire")]
    agent: String,
    /// Compression to offer: off, shared, dedicated or dedicated:N.
    #[arg(long, default_value = "off", value_parser = Deflate::parse)]
    deflate: Compression,
    /// The longest message to accept, in bytes; the largest of the suite has 16 MiB.
    #[arg(long, default_value_t = 17_000_000)]
    max_message: u64,
}

/// What a connection is for.
#[derive(Clone, Copy)]
enum Step {
    Count,
    Case(u32),
    Report,
}

struct Runner {
    server: Destination,
    agent: String,
    /// How many there are; 0 until it is known.
    cases: u32,
    done: Sender<Result<u32, String>>,
}

impl Runner {
    fn destination(&self, step: Step) -> Destination {
        let agent = &self.agent;
        let mut destination = self.server.clone();
        destination.target = match step {
            Step::Count => "/getCaseCount".to_owned(),
            Step::Case(number) => format!("/runCase?case={number}&agent={agent}"),
            Step::Report => format!("/updateReports?agent={agent}"),
        };
        destination
    }

    fn end(&self, result: Result<u32, String>) {
        // Nobody listens any more if this is not the first end.
        let _ = self.done.send(result);
    }
}

impl Handler for Runner {
    type State = Step;

    fn start(&mut self, connector: &mut Connector<'_, Step>) {
        if let Err(refused) = connector.connect(self.destination(Step::Count), Step::Count) {
            self.end(Err(refused.error.to_string()));
        }
    }

    fn message(&mut self, connection: &mut Connection<'_, Step>, message: Message<'_>) {
        match *connection.state {
            Step::Count => {
                let count = std::str::from_utf8(message.payload).ok();
                self.cases = count.and_then(|count| count.parse().ok()).unwrap_or(0);
            }
            Step::Case(_) => connection.send(message.kind, message.payload),
            Step::Report => {}
        }
    }

    fn close(&mut self, connection: &mut Connection<'_, Step>, _ended: Ended) {
        let number = match *connection.state {
            Step::Count if self.cases == 0 => {
                return self.end(Err("the server did not say how many cases it has".to_owned()));
            }
            Step::Count => 1,
            Step::Case(number) => number + 1,
            Step::Report => return self.end(Ok(self.cases)),
        };
        let next = if number > self.cases { Step::Report } else { Step::Case(number) };
        if let Err(refused) = connection.connect(self.destination(next), next) {
            self.end(Err(refused.error.to_string()));
        }
    }

    fn connect_failed(&mut self, _: &mut Connector<'_, Step>, unconnected: Unconnected<Step>) {
        let Unconnected { destination, error, .. } = unconnected;
        self.end(Err(format!("ws://{}{}: {error}", destination.host, destination.target)));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let server = Destination::resolve(&arguments.url)?;
    let mut config = Config::default();
    config.limits.protocol.message_bytes_max = arguments.max_message;
    config.deflate = arguments.deflate;
    let (done, result) = channel();
    let client = Client::start(&config, move |_shard| Runner {
        server: server.clone(),
        agent: arguments.agent.clone(),
        cases: 0,
        done: done.clone(),
    })?;
    let cases = result.recv()??;
    println!("{cases} cases are run");
    client.handle().shutdown();
    client.join()?;
    Ok(())
}
