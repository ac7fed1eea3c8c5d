//! The TLS of a peer, from bytes to bytes: rustls behind the interface that programs with sockets use.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

/// A client's end of a connection.
pub(crate) struct TlsClient {
    pub(crate) connection: ClientConnection,
    /// What the server has said and nobody has taken.
    pub(crate) plain: Vec<u8>,
    /// The server has announced its end.
    pub(crate) is_over: bool,
    /// What is wrong with what came.
    pub(crate) error: Option<rustls::Error>,
}

impl TlsClient {
    pub(crate) fn new(config: &Arc<ClientConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut connection = ClientConnection::new(Arc::clone(config), name).expect("a client");
        connection.set_buffer_limit(None);
        Self { connection, plain: Vec::new(), is_over: false, error: None }
    }

    /// What is to be sent to the server.
    pub(crate) fn output(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut output).expect("memory");
        }
        output
    }

    /// Takes what the server has sent.
    pub(crate) fn input(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && self.error.is_none() {
            if self.connection.read_tls(&mut rest).expect("memory") == 0 {
                // Nothing comes behind the announced end.
                return;
            }
            match self.connection.process_new_packets() {
                Err(error) => self.error = Some(error),
                Ok(state) => {
                    self.is_over |= state.peer_has_closed();
                    let start = self.plain.len();
                    self.plain.resize(start + state.plaintext_bytes_to_read(), 0);
                    let mut reader = self.connection.reader();
                    reader.read_exact(&mut self.plain[start..]).expect("as many as it said");
                }
            }
        }
    }

    /// What says `bytes` to the server.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.connection.writer().write_all(bytes).expect("memory");
        self.output()
    }

    /// What announces our end.
    pub(crate) fn part(&mut self) -> Vec<u8> {
        self.connection.send_close_notify();
        self.output()
    }
}
