//! What must hold of every history, one file each: pure functions from a history to a verdict, shared by the
//! simulator and the live tests. A run in which a thing could not be judged is unknown, never passed.

pub mod acknowledged_writes;
pub mod disabled_answers_nothing;
pub mod election_safety;
pub mod forgeries;
pub mod healed;
pub mod keys;
pub mod linearizable;
pub mod log_matching;
pub mod register;
pub mod revisions_grow;
pub mod rolled_back;
pub mod rotations;
pub mod sealed_holds_nothing;
pub mod state_digests;
pub mod unkeyed_silence;
pub mod versions_grow;

use crate::history::Recorded;

/// What an invariant says of a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It held, and there was something to judge.
    Held,
    /// It did not; each line names one breach.
    Violated(Vec<String>),
    /// It could not be judged, and why.
    Unknown(&'static str),
}

impl Verdict {
    /// From the breaches that were found in `judged` things.
    pub fn of(judged: usize, breaches: Vec<String>) -> Self {
        match (judged, breaches.is_empty()) {
            (_, false) => Self::Violated(breaches),
            (0, true) => Self::Unknown("nothing to judge"),
            (_, true) => Self::Held,
        }
    }
}

/// One invariant: a history in, a verdict out.
pub type Invariant = fn(&[Recorded]) -> Verdict;

/// The invariants of runs with whole nodes, whose records nobody outside can read.
pub const WHOLE: &[(&str, Invariant)] = &[
    ("election_safety", election_safety::check),
    ("log_matching", log_matching::check),
    ("state_digests", state_digests::check),
    ("keys_linearizable", keys::check),
    ("versions_grow", versions_grow::check),
    ("disabled_answers_nothing", disabled_answers_nothing::check),
    ("sealed_holds_nothing", sealed_holds_nothing::check),
    ("unkeyed_silence", unkeyed_silence::check),
    ("rotations", rotations::check),
    ("forgeries", forgeries::check),
    ("rolled_back", rolled_back::check),
    ("healed", healed::check),
];

/// The invariants of runs with the cluster half alone.
pub const ALL: &[(&str, Invariant)] = &[
    ("election_safety", election_safety::check),
    ("log_matching", log_matching::check),
    ("state_digests", state_digests::check),
    ("acknowledged_writes", acknowledged_writes::check),
    ("revisions_grow", revisions_grow::check),
    ("linearizable", register::check),
    ("forgeries", forgeries::check),
    ("rolled_back", rolled_back::check),
    ("healed", healed::check),
];

/// Whether an invariant finds a breach in these events, which must give it something to judge.
#[cfg(test)]
fn is_violated(invariant: Invariant, events: impl IntoIterator<Item = crate::history::Event>) -> bool {
    let history: Vec<_> = events.into_iter().map(|event| Recorded { at_ms: 0, event }).collect();
    match invariant(&history) {
        Verdict::Violated(_) => true,
        Verdict::Held => false,
        Verdict::Unknown(why) => panic!("{why}"),
    }
}
