//! The Tickwire stock ticker: feeds in, browsers out, on one port.

pub mod allowance;
pub mod event;
pub mod feed;
pub mod instrument;
pub mod market;
pub mod reply;
pub mod request;
pub mod session;

/// The folder of recorded events that tests replay: `TICKWIRE_DATA`, or `../shared/data` beside
/// the workspace; `None` where there is none.
#[cfg(test)]
fn recorded_data() -> Option<std::path::PathBuf> {
    let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data").into();
    let folder = std::env::var_os("TICKWIRE_DATA").unwrap_or_else(beside);
    Some(std::path::PathBuf::from(folder)).filter(|folder| folder.is_dir())
}
