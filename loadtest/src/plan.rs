//! The plan of a run: stages one after the other, each with its own length, rate and number of
//! connections.
//!
//! A run without stages of its own is one stage. A value that changes within a stage is a [`Ramp`],
//! a straight line from one number to another; a constant is a ramp that ends where it begins.
//!
//! Plain data that other modules act on: [`crate::Load`] checks it, the fleet follows it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A part of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stage {
    /// What reports call it.
    pub name: String,
    /// How long it lasts.
    pub duration: Duration,
    /// Messages a second over all clients (open model), or handshakes a second in the scenario
    /// `connect`; `None` is the closed model.
    pub rate: Option<Ramp>,
    /// How many connections are to be open; `None` is as many as before.
    pub connections: Option<Ramp>,
    /// Whether its figures are left out of the run's summary.
    pub warm_up: bool,
}

/// A number that changes evenly over a stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ramp {
    /// At the stage's beginning.
    pub from: f64,
    /// At its end.
    pub to: f64,
}

impl Stage {
    /// A stage of the closed model.
    #[must_use]
    pub const fn new(duration: Duration) -> Self {
        Self { name: String::new(), duration, rate: None, connections: None, warm_up: false }
    }

    /// The same stage with a rate.
    #[must_use]
    pub const fn with_rate(mut self, rate: Ramp) -> Self {
        self.rate = Some(rate);
        self
    }
}

impl Ramp {
    /// A number that stays.
    #[must_use]
    pub const fn constant(value: f64) -> Self {
        Self { from: value, to: value }
    }

    /// The value when `share` of the stage, 0 to 1, is over.
    #[must_use]
    pub fn at(self, share: f64) -> f64 {
        self.from + (self.to - self.from) * share.clamp(0.0, 1.0)
    }

    /// The same share of both ends.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self { from: self.from * factor, to: self.to * factor }
    }

    /// Whether both ends are numbers that are not negative.
    #[must_use]
    pub fn is_valid(self) -> bool {
        let valid = |value: f64| value.is_finite() && value >= 0.0;
        valid(self.from) && valid(self.to)
    }
}
