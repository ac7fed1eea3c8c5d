//! The ticker as a service: what it does when it is sent a signal, and what it tells the service manager.
//!
//! SIGTERM and SIGINT end it gracefully, a second one at once; SIGUSR2 has a successor take over; SIGHUP
//! reads the certificates again. A
//! service manager that asked for it (`NOTIFY_SOCKET`, sd_notify(3)) is told when the ticker serves, when
//! it ends, and which process to watch once a successor serves.

use std::io;
use std::process::exit;
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::inherited::Inherited;
use crate::successor::Program;
use crate::ticker::Stop;
use crate::tls::Certificates;

/// What the signals of this process act on.
#[derive(Debug)]
pub struct Service {
    /// Ends the ticker.
    pub stop: Stop,
    /// What a successor is.
    pub program: io::Result<Program>,
    /// The time over which clients are sent to the successor.
    pub drain: Duration,
    /// What SIGHUP reads again.
    pub certificates: Option<Certificates>,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Serves,
    /// A successor serves; clients are being sent there.
    HandsOver,
    Ends,
}

impl Service {
    /// Acts on signals from now on, on a thread of its own, and tells whoever waits for it that this
    /// ticker serves.
    ///
    /// # Errors
    ///
    /// When signals cannot be caught: then only killing ends this process.
    pub fn begin(self, inherited: &Inherited) -> io::Result<()> {
        let signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR2])?;
        let run = move || self.run(signals);
        thread::Builder::new().name("tickwire-signals".to_owned()).spawn(run)?;
        if let Err(error) = inherited.serves() {
            tracing::warn!("the ticker before this one has gone: {error}");
        }
        if !inherited.has_predecessor() {
            // Of a successor the one before it tells.
            tell(&[NotifyState::Ready]);
        }
        Ok(())
    }

    fn run(self, mut signals: Signals) {
        let mut state = State::Serves;
        loop {
            let arrived: Vec<i32> = signals.wait().collect();
            for signal in arrived {
                state = match (signal, state) {
                    (SIGUSR2, State::Serves) => self.hand_over(&mut signals),
                    (SIGUSR2, state) => state,
                    (SIGHUP, state) => {
                        self.reload();
                        state
                    }
                    (signal, State::Ends) => exit(128 + signal),
                    (_, state) => self.end(state),
                };
            }
        }
    }

    fn reload(&self) {
        match self.certificates.as_ref().map(Certificates::reload) {
            None => tracing::info!("SIGHUP: there are no certificates to read again"),
            Some(Ok(())) => tracing::info!("the certificates have been read again"),
            Some(Err(error)) => {
                tracing::error!("the certificates stay as they are: {error}");
            }
        }
    }

    fn end(&self, state: State) -> State {
        tracing::info!("shutting down; a second signal ends at once");
        if state == State::Serves {
            tell(&[NotifyState::Stopping]);
        }
        self.stop.stop();
        State::Ends
    }

    fn hand_over(&self, signals: &mut Signals) -> State {
        let program = match &self.program {
            Ok(program) => program,
            Err(error) => {
                tracing::error!("no successor: where this program lies is not known: {error}");
                return State::Serves;
            }
        };
        tracing::info!("starting a successor");
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, now]);
        }
        let mut is_to_end = false;
        let succeeded = self.stop.hand_over(self.drain, |listeners| {
            program.succeed(listeners, || {
                for signal in signals.pending() {
                    match signal {
                        SIGUSR2 => {}
                        SIGHUP => self.reload(),
                        _ => is_to_end = true,
                    }
                }
                is_to_end
            })
        });
        match succeeded {
            Ok(pid) => {
                tracing::info!(pid, "the successor serves; clients are sent there");
                // It is no child of the service manager's, which is to watch it from now on.
                tell(&[NotifyState::MainPid(pid), NotifyState::Ready]);
                State::HandsOver
            }
            Err(error) => {
                tracing::error!("no successor, this ticker goes on: {error}");
                tell(&[NotifyState::Ready]);
                if is_to_end { self.end(State::Serves) } else { State::Serves }
            }
        }
    }
}

/// Tells the service manager, if there is one that wants to know.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the service manager cannot be told: {error}");
    }
}
