//! The binary `tickwire`: command line, log, signals.

#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{ExitCode, exit};
use std::thread;

use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tickwire_ticker::config::CommandLine;
use tickwire_ticker::{Settings, Stop, Ticker};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let settings = Settings::from(CommandLine::parse().serve());
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours);
    log.with_writer(io::stderr).init();
    raise_descriptor_limit();
    let ticker = match Ticker::start(&settings) {
        Ok(ticker) => ticker,
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::from(CANNOT_START);
        }
    };
    if let Err(error) = stop_on_signal(ticker.stop()) {
        tracing::warn!("signals are not handled, only killing ends this process: {error}");
    }
    // Nobody may be reading; the server runs all the same.
    let _ = writeln!(io::stdout(), "Tickwire serves: open {}", page_address(ticker.local_addr()));
    match ticker.join() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The first SIGINT or SIGTERM begins a graceful shutdown, the second ends the process.
fn stop_on_signal(stop: Stop) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let wait = move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            tracing::info!("shutting down; a second signal ends at once");
            stop.stop();
        }
        if let Some(signal) = signals.next() {
            exit(128 + signal);
        }
    };
    thread::Builder::new().name("tickwire-signals".to_owned()).spawn(wait)?;
    Ok(())
}

/// Where a browser on this machine finds the page.
fn page_address(listening: SocketAddr) -> String {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}/", SocketAddr::new(ip, listening.port()))
}

/// Each connection takes a descriptor, and the usual soft limit of 1,024 is there for programs that
/// use `select`: this one may have as many as the system allows it.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
}

/// Exit status when the ticker cannot start: the command line, the feed or the address is wrong.
/// The same as clap's.
const CANNOT_START: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_on_this_machine_when_all_addresses_are_listened_on() {
        for (listening, page) in [
            ("127.0.0.1:9001", "http://127.0.0.1:9001/"),
            ("0.0.0.0:80", "http://127.0.0.1:80/"),
            ("[::]:9001", "http://[::1]:9001/"),
            ("192.0.2.7:1", "http://192.0.2.7:1/"),
        ] {
            assert_eq!(page_address(listening.parse().unwrap()), page);
        }
    }
}
