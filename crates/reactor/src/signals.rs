//! The end of a server, or of a client, by a signal of the operating system.
//!
//! Beside the way of a byte: a thread waits for SIGINT and SIGTERM and hands them on to a [`Handle`], as
//! any other thread could. A program that wants more of signals, such as the ticker, has a thread of
//! its own and does not use this.
//!
//! Invariant: a process can always be ended: once there is nothing left to shut down, a signal does what
//! it would have done without us.

use std::io;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::server::Handle;

impl Handle {
    /// Ends on SIGINT and SIGTERM from now on, and for as long as the process lives: the first of them
    /// is [`Handle::shutdown`], the second [`Handle::shutdown_now`], and a third has its usual effect, the
    /// end of the process. One thread waits for them.
    ///
    /// # Errors
    /// When signals cannot be caught or the system gives no more threads.
    pub fn end_on_signals(&self) -> io::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let server = self.clone();
        let wait = move || {
            let steps = [Self::shutdown, Self::shutdown_now];
            for (index, signal) in signals.forever().enumerate() {
                match steps.get(index) {
                    Some(step) => step(&server),
                    // It does not return unless it fails, and then there is nobody to tell.
                    None => drop(emulate_default_handler(signal)),
                }
            }
        };
        thread::Builder::new().name("tickwire-signals".to_owned()).spawn(wait).map(drop)
    }
}
