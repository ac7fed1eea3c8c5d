//! How a server is to run.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use crate::deflate::Deflate;
use crate::limits::Limits;
use crate::origin::Origins;
#[cfg(feature = "tls")]
use crate::transport::{Security, Tls, Trust};

/// How a server is to run. Start from [`Config::new`] and change what is needed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The address to listen on; port 0 lets the system choose one.
    pub listen: SocketAddr,
    /// Shards, each with a thread and a listener of its own; 0: one for each core that this process
    /// may use. At most [`Config::SHARDS_MAX`].
    pub shards: usize,
    /// What to wait for events with.
    pub backend: BackendChoice,
    /// Whether each shard's thread stays on one core.
    pub pin: bool,
    /// Whether a connection goes to the shard of the core that it arrives on.
    pub steering: Steering,
    /// Which shard a new connection becomes one of.
    pub balance: Balance,
    /// Whose web pages may open a WebSocket; others are answered `403` before the handler is asked.
    /// Those of every origin unless this is changed: choose [`Origins::list`] or
    /// [`Origins::same_origin`] where the application knows its users by cookies, since any page can
    /// send those along (RFC 6455 section 10.2).
    pub origins: Origins,
    /// The certificates of a server that speaks TLS, `wss://`; `None`, the default: it does not. A port
    /// speaks one or the other.
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
    /// Whose certificates are believed where a connection of ours goes to a `wss://` destination;
    /// `None`, the default: nobody's, and such connections fail. [`Trust::system`] is the usual choice.
    #[cfg(feature = "tls")]
    pub trust: Option<Trust>,
    /// What to offer of compression; `None`, the default: nothing. It pays for messages of some
    /// hundred bytes and more over slow or metered networks, and costs processor time always.
    pub deflate: Option<Deflate>,
    /// The maxima.
    pub limits: Limits,
}

impl Config {
    /// More shards than cores only cost; no machine of today has more.
    pub const SHARDS_MAX: usize = 1_024;

    /// The defaults, listening on `listen`.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            shards: 0,
            backend: BackendChoice::Auto,
            pin: false,
            steering: Steering::Auto,
            balance: Balance::Kernel,
            origins: Origins::any(),
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "tls")]
            trust: None,
            deflate: None,
            limits: Limits::default(),
        }
    }

    /// What it says of TLS.
    #[cfg(feature = "tls")]
    pub(crate) fn security(&self) -> Security {
        Security { tls: self.tls.clone(), trust: self.trust.clone() }
    }

    /// The number of shards that `shards` asks for on this machine.
    pub(crate) fn shard_count(&self) -> usize {
        let count = match self.shards {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            count => count,
        };
        count.min(Self::SHARDS_MAX)
    }
}

impl Default for Config {
    /// Listens on 127.0.0.1 at a port that the system chooses.
    fn default() -> Self {
        Self::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }
}

/// Which back end to run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendChoice {
    /// The best that can run here; the server says which.
    #[default]
    Auto,
    /// epoll.
    Epoll,
    /// io_uring, of Linux 6.0 and later. Where it cannot run, asking for it is an error when the server
    /// is bound, which says why and what helps; never a silent change to another.
    IoUring,
}

impl FromStr for BackendChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "auto" => Ok(Self::Auto),
            "epoll" => Ok(Self::Epoll),
            "io_uring" => Ok(Self::IoUring),
            other => Err(format!("unknown back end {other:?}: choose auto, epoll or io_uring")),
        }
    }
}

/// Whether the kernel gives a connection to the shard of the core that its packets arrive on
/// (`SO_ATTACH_REUSEPORT_CBPF`), so that they need no other core. Without it, it spreads connections by
/// their addresses.
///
/// That can only be where each shard has a core and a listener of its own: with [`Config::pin`], two
/// shards and more, and no more shards than cores. What arrives on other cores is spread over all. It
/// makes shards as uneven as what the network's card, or a proxy on this machine, does with cores; see
/// [`Balance::LeastLoaded`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Steering {
    /// Where it can be; the log says whether it is.
    #[default]
    Auto,
    /// It has to be: if it cannot, that is an error when the server starts.
    On,
    /// Connections are spread by their addresses.
    Off,
}

impl FromStr for Steering {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "auto" => Ok(Self::Auto),
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            other => Err(format!("unknown steering {other:?}: choose auto, on or off")),
        }
    }
}

/// Which shard a new connection becomes one of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Balance {
    /// The one that the kernel gives it to.
    #[default]
    Kernel,
    /// The one with least connections, if the one that has accepted it has clearly more: the socket is
    /// handed over before anything is read from it. For few connections that live long, a proxy in
    /// front, or [`Steering`]. It costs a wake of another core for each that is handed over.
    LeastLoaded,
}

impl FromStr for Balance {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "kernel" => Ok(Self::Kernel),
            "least-loaded" => Ok(Self::LeastLoaded),
            other => Err(format!("unknown balance {other:?}: choose kernel or least-loaded")),
        }
    }
}
