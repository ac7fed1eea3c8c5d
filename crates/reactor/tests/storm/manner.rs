//! What a handler does with a session beside what its peer asks for: chosen when the session begins,
//! so that both know it.
//!
//! Most sessions are left in peace; the others are closed, panicked on, or neglected in one of the
//! calls that a handler gets.

use crate::random::Random;

/// What a handler does with a session beside what its peer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) request: AtRequest,
    pub(crate) open: AtOpen,
    pub(crate) lag: AtLag,
    pub(crate) shutdown: AtShutdown,
    pub(crate) close: AtClose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtRequest {
    Upgrade,
    Page,
    Panic,
    BadHeader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtOpen {
    Nothing,
    Greet,
    Subscribe,
    Close,
    Panic,
    Timer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtLag {
    Skip,
    Close,
    Merge,
    /// As the policies say.
    AsSaid,
    AskForClose,
    Panic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtShutdown {
    Nothing,
    Goodbye,
    OtherCode,
    Panic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtClose {
    Nothing,
    /// It tries everything that it must not.
    Undead,
    Panic,
    PanicLater,
}

impl Manner {
    /// One for a session; with `ours`, for one that the engine opens.
    pub(crate) fn of(random: &mut Random, ours: bool) -> Self {
        let calm = |random: &mut Random| !random.one_in(6);
        let request = match random.below(30) {
            0 if !ours => AtRequest::Page,
            1 if !ours => AtRequest::Panic,
            2 if !ours => AtRequest::BadHeader,
            _ => AtRequest::Upgrade,
        };
        let open = match random.below(30) {
            0 => AtOpen::Close,
            1 => AtOpen::Panic,
            2..=4 => AtOpen::Timer,
            5..=9 => AtOpen::Greet,
            10..=15 => AtOpen::Subscribe,
            _ => AtOpen::Nothing,
        };
        let lag =
            random.pick(&[AtLag::Skip, AtLag::Close, AtLag::Merge, AtLag::AsSaid, AtLag::AsSaid]);
        let rare_lag = random.pick(&[AtLag::AskForClose, AtLag::Panic]);
        let shutdown = random.pick(&[AtShutdown::Goodbye, AtShutdown::Nothing]);
        let rare_shutdown = random.pick(&[AtShutdown::OtherCode, AtShutdown::Panic]);
        let rare_close = random.pick(&[AtClose::Undead, AtClose::Panic, AtClose::PanicLater]);
        Self {
            request,
            open,
            lag: if calm(random) { lag } else { rare_lag },
            shutdown: if calm(random) { shutdown } else { rare_shutdown },
            close: if calm(random) { AtClose::Nothing } else { rare_close },
        }
    }
}
