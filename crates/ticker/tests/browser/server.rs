//! The binary `tickwire` in a process of its own, ended with the value.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tickwire::Timestamp;

/// A ticker with the synthetic feed.
pub(crate) struct Server {
    process: Child,
    address: String,
}

impl Server {
    /// Starts it on a free port.
    pub(crate) fn start() -> Self {
        Self::listen("127.0.0.1:0")
    }

    /// Ends it, and starts another one on the same port.
    pub(crate) fn restart(self) -> Self {
        let address = self.address.clone();
        drop(self);
        Self::listen(&address)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The address of its page.
    pub(crate) fn page(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// A gauge or counter without labels, as `/metrics` shows it.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let agent = ureq::Agent::config_builder().proxy(None).build().new_agent();
        let mut reply = agent.get(format!("{}metrics", self.page())).call().unwrap();
        let text = reply.body_mut().read_to_string().unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
    }

    /// Waits until that shows `value`: what a page has left may be told a moment later.
    pub(crate) fn wait_for_metric(&self, name: &str, value: u64) {
        let begun = Timestamp::read();
        while self.metric(name) != value {
            let found = self.metric(name);
            assert!(Timestamp::read().since(begun) < PATIENCE, "{name} is {found}, not {value}");
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    fn listen(address: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tickwire"));
        command.args(["serve", "--listen", address]).env("RUST_LOG", "warn").stdin(Stdio::null());
        let process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut server = Self { process, address: String::new() };
        let mut line = String::new();
        BufReader::new(server.process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let page = line.split("http://").nth(1).unwrap_or_else(|| panic!("printed {line:?}"));
        server.address = page.trim_end().trim_end_matches('/').to_owned();
        server
    }
}

/// Only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(30);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
