//! The binary `tickwire`: command line, log, exit status.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};
use tickwire_ticker::config::CommandLine;
use tickwire_ticker::service::Service;
use tickwire_ticker::successor::Program;
use tickwire_ticker::{Inherited, Settings, Ticker};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // First of all, while descriptors and files are what they were said to be.
    let (inherited, program) = (Inherited::from_environment(), Program::present());
    let settings = Settings::from(CommandLine::parse().serve());
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours);
    log.with_writer(io::stderr).init();
    raise_descriptor_limit();
    match inherited.map_err(Into::into).and_then(|inherited| serve(&settings, inherited, program)) {
        Ok(ticker) => end(ticker),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(CANNOT_START)
        }
    }
}

/// A ticker that serves, on what was inherited or where the settings say.
fn serve(
    settings: &Settings,
    mut inherited: Inherited,
    program: io::Result<Program>,
) -> Result<Ticker, Box<dyn Error>> {
    // The ticker has descriptors of its own, and gives them back when it ends.
    let listeners = std::mem::take(&mut inherited.listeners);
    if !listeners.is_empty() {
        tracing::info!(sockets = listeners.len(), "inherited; --listen is not looked at");
    }
    let ticker = Ticker::start_with(settings, listeners)?;
    let certificates = ticker.certificates().cloned();
    let is_secure = certificates.is_some();
    let service = Service { stop: ticker.stop(), program, drain: settings.drain, certificates };
    if let Err(error) = service.begin(&inherited) {
        tracing::warn!("signals are not handled, only killing ends this process: {error}");
    }
    // Nobody may be reading; the server runs all the same.
    let _ = writeln!(
        io::stdout(),
        "Tickwire serves: open {}",
        page_address(ticker.local_addr(), is_secure)
    );
    Ok(ticker)
}

/// Waits for the end. Clients that were too slow for it are no failure: it was asked for.
fn end(ticker: Ticker) -> ExitCode {
    let engine = ticker.engine();
    let ended = ticker.join();
    let cut = engine.metrics().total().cut;
    if cut > 0 {
        tracing::warn!(cut, "connections were dropped: they did not take their Close in time");
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Where a browser on this machine finds the page.
fn page_address(listening: SocketAddr, is_secure: bool) -> String {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if is_secure { "https" } else { "http" };
    format!("{scheme}://{}/", SocketAddr::new(ip, listening.port()))
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
            assert_eq!(page_address(listening.parse().unwrap(), false), page);
        }
    }
}
