//! The abuse scenario: clients that attack, and a polite client beside them.
//!
//! A server on the internet meets peers that send one byte a second, fragments of nothing, floods
//! of Pings, messages that inflate a thousandfold, and peers that never read. For each such attack
//! two things are told: what the server did to the attackers (closed with which code, after how
//! long, or held on), and what the attack did to a polite echo client beside them and to the
//! server's memory and CPU.
//!
//! The polite clients are an ordinary run of the open model on the calling thread, with a stage
//! alone and one for each attack; the attackers are a thread of their own that follows its stages.

mod attack;
mod attacker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load::{Live, Load, LoadError, Outcome, Part};
use crate::plan::{Ramp, Stage};
use crate::tls::Gateway;
pub use attack::Attack;
use attacker::Gang;

/// Which attacks, by how many, for how long.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Abuse {
    /// One after the other.
    pub attacks: Vec<Attack>,
    /// Attackers at a time.
    pub attackers: usize,
    /// How long each attack goes on, and how long the polite clients are alone before.
    pub lasting: Duration,
    /// Messages a second of all polite clients together.
    pub polite_rate: f64,
}

/// What an attack came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attacked {
    /// The attack.
    pub attack: Attack,
    /// How many attacked.
    pub attackers: usize,
    /// Bytes that the server took of them.
    pub bytes: u64,
    /// Handshakes that were made; more than attackers only in the storm.
    pub handshakes: u64,
    /// What the server did to them.
    pub endings: Vec<Ending>,
}

/// What the server did to some of the attackers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ending {
    /// `closed 1008`, `refused 408`, `reset`, `ended`, `held on`, ...
    pub what: String,
    /// To how many.
    pub count: usize,
    /// After how many seconds, the longest of them.
    pub seconds: f64,
}

impl Abuse {
    /// All attacks, by ten, for five seconds each, beside a thousand polite messages a second.
    #[must_use]
    pub fn all() -> Self {
        Self {
            attacks: Attack::ALL.to_vec(),
            attackers: 10,
            lasting: Duration::from_secs(5),
            polite_rate: 1_000.0,
        }
    }

    /// The stages of the polite clients: alone, then one for each attack.
    #[must_use]
    pub fn stages(&self) -> Vec<Stage> {
        let named = |name: &str| {
            let mut stage = Stage::new(self.lasting).with_rate(Ramp::constant(self.polite_rate));
            name.clone_into(&mut stage.name);
            stage
        };
        let attacks = self.attacks.iter().map(|attack| named(attack.name()));
        std::iter::once(named("alone")).chain(attacks).collect()
    }

    /// Makes the run, whose stages must be [`Abuse::stages`].
    ///
    /// # Errors
    ///
    /// When the polite run cannot begin.
    ///
    /// # Panics
    ///
    /// When the attackers' thread does.
    pub fn run(
        &self,
        load: &Load,
        stop: &AtomicBool,
        observe: &mut dyn FnMut(&Live),
    ) -> Result<(Outcome, Vec<Attacked>), LoadError> {
        let target = &load.targets[0];
        let mut address = target.resolve()?;
        if target.is_secure() {
            // Attackers speak plain bytes.
            address = Gateway::open(address, target.name(), &load.trust)?.address();
        }
        let stage = Arc::new(AtomicUsize::new(0));
        let followed = Arc::clone(&stage);
        let (abuse, target) = (self.clone(), load.targets[0].clone());
        let gang = move || abuse.attack(address, &target.host(), target.path(), &followed);
        let attackers = thread::spawn(gang);
        let outcome = load.run(stop, &mut |live: &Live| {
            let present = match live.part {
                Part::Connecting => 0,
                Part::Running => live.stage,
                _ => OVER,
            };
            if stage.swap(present, Ordering::Relaxed) != present {
                attackers.thread().unpark();
            }
            observe(live);
        });
        // A run that could not begin has no last stage.
        stage.store(OVER, Ordering::Relaxed);
        attackers.thread().unpark();
        let attacked = attackers.join().expect("the attackers' thread does not panic");
        Ok((outcome?, attacked))
    }

    /// The attackers' thread: each attack for as long as its stage goes on.
    fn attack(
        &self,
        address: SocketAddr,
        host: &str,
        path: &str,
        stage: &AtomicUsize,
    ) -> Vec<Attacked> {
        let mut attacked = Vec::new();
        for (number, attack) in self.attacks.iter().enumerate() {
            while stage.load(Ordering::Relaxed) <= number {
                thread::park_timeout(WAIT);
            }
            let mut gang = Gang::new(*attack, self.attackers, address, host, path);
            while stage.load(Ordering::Relaxed) == number + 1 {
                gang.turn();
                thread::park_timeout(TURN);
            }
            if stage.load(Ordering::Relaxed) > number + 1 || !gang.is_untried() {
                attacked.push(gang.finish());
            }
        }
        attacked
    }
}

/// The number of the stage after the last.
const OVER: usize = usize::MAX;

/// How long to wait for the next stage before looking again.
const WAIT: Duration = Duration::from_millis(50);

/// Between two turns of the attackers.
const TURN: Duration = Duration::from_millis(1);
