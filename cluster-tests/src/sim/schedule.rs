//! Which faults a run has, drawn from its seed before it begins. What depends on the run (who leads) is left open
//! and decided when the moment comes.

use super::dice::Dice;
use super::world::Setup;

/// A node that a fault is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whom {
    /// The member at this place, counted round, in the order of their numbers.
    Node(u64),
    /// Whoever leads at that moment.
    Leader,
}

/// One fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// One node and all others hear nothing of each other.
    CutOff {
        /// Which.
        whom: Whom,
    },
    /// Two nodes hear nothing of each other.
    CutPair {
        /// One.
        one: u64,
        /// Other.
        other: u64,
    },
    /// One node is not heard by the others but hears them, or the other way round.
    CutOneWay {
        /// Which.
        whom: Whom,
        /// Whether it is the one not heard.
        mute: bool,
    },
    /// What two nodes send each other arrives late.
    Hold {
        /// One.
        one: u64,
        /// Other.
        other: u64,
    },
    /// The nodes are cut into halves that overlap in one node.
    Overlap {
        /// The node that hears everybody.
        bridge: u64,
    },
    /// A node's process ends and comes back; what was not synced is lost, but for a part of it.
    Crash {
        /// Which.
        whom: Whom,
    },
    /// Every node loses power at the same moment.
    PowerLoss,
    /// A node is away for so long that its log is gone elsewhere when it returns.
    LongOutage {
        /// Which.
        whom: Whom,
    },
    /// A node's disk fails its next sync: the node must stop.
    SyncError {
        /// Which.
        whom: Whom,
    },
    /// A node's disk takes no writes: the node must stop.
    DiskFull {
        /// Which.
        whom: Whom,
    },
    /// A node is sealed and unsealed later.
    Seal {
        /// Which.
        whom: Whom,
    },
    /// A fresh node joins and becomes a voter.
    Grow,
    /// A member is removed, possibly the leader; its process goes on.
    Shrink {
        /// Which.
        whom: Whom,
    },
    /// A thief who has a member's disk and peer key, but not the keyring, lies in its place.
    Forge {
        /// Which.
        whom: Whom,
    },
    /// A node's disk is put back to what it held some seconds ago.
    RollBack {
        /// Which.
        whom: Whom,
    },
    /// Two machines get each other's disks, and later their own. Whole nodes only.
    Swap {
        /// One.
        one: u64,
        /// Other.
        other: u64,
    },
    /// The operator seals a node, or all of them. Whole nodes only.
    OperatorSeal {
        /// Which, or all.
        whom: Option<Whom>,
    },
    /// A node's wall clock jumps by less than what is believed. Whole nodes only.
    ClockJump {
        /// Which.
        whom: Whom,
        /// How far.
        by_ms: i64,
    },
    /// A node's wall clock leaps further than it is believed by itself. Whole nodes only.
    ClockLeap {
        /// Which.
        whom: Whom,
        /// How far.
        by_ms: i64,
    },
    /// The leader is asked to hand over.
    HandOver,
    /// The leader is asked for a checkpoint, a snapshot and a purge.
    Checkpoint,
}

impl Fault {
    /// Its class in the report.
    pub fn class(&self) -> &'static str {
        match self {
            Self::CutOff { whom: Whom::Leader } => "cut-off-leader",
            Self::CutOff { whom: Whom::Node(_) } => "cut-off",
            Self::CutPair { .. } => "cut-pair",
            Self::CutOneWay { mute: true, .. } => "cut-mute",
            Self::CutOneWay { mute: false, .. } => "cut-deaf",
            Self::Hold { .. } => "hold",
            Self::Overlap { .. } => "overlapping-halves",
            Self::Crash { whom: Whom::Leader } => "crash-leader",
            Self::Crash { whom: Whom::Node(_) } => "crash",
            Self::PowerLoss => "power-loss",
            Self::LongOutage { .. } => "long-outage",
            Self::SyncError { .. } => "sync-error",
            Self::DiskFull { .. } => "disk-full",
            Self::Seal { .. } => "seal",
            Self::Grow => "grow",
            Self::Shrink { whom: Whom::Leader } => "shrink-leader",
            Self::Shrink { whom: Whom::Node(_) } => "shrink",
            Self::Forge { .. } => "forge",
            Self::RollBack { .. } => "roll-back",
            Self::Swap { .. } => "swap",
            Self::OperatorSeal { whom: Some(_) } => "operator-seal",
            Self::OperatorSeal { whom: None } => "operator-seal-all",
            Self::ClockJump { .. } => "clock-jump",
            Self::ClockLeap { .. } => "clock-leap",
            Self::HandOver => "hand-over",
            Self::Checkpoint => "checkpoint",
        }
    }

    /// Whether a member must not stay after it.
    pub fn casts_out(&self) -> bool {
        matches!(self, Self::Forge { .. } | Self::RollBack { .. })
    }

    /// Whether no member is lost by it, for however short a time.
    pub fn spares_quorum(&self) -> bool {
        matches!(
            self,
            Self::Grow | Self::HandOver | Self::Checkpoint | Self::ClockJump { .. } | Self::ClockLeap { .. }
        )
    }

    /// Every class there is, so that a report also names what did not happen.
    pub const CLASSES: &'static [&'static str] = &[
        "cut-off-leader",
        "cut-off",
        "cut-pair",
        "cut-mute",
        "cut-deaf",
        "hold",
        "overlapping-halves",
        "crash-leader",
        "crash",
        "power-loss",
        "long-outage",
        "sync-error",
        "disk-full",
        "seal",
        "grow",
        "shrink",
        "hand-over",
        "checkpoint",
    ];

    /// The classes that only runs with whole nodes have.
    pub const WHOLE_CLASSES: &'static [&'static str] = &["clock-jump", "clock-leap"];
    /// The classes that only rough runs have, and those that only rough runs with whole nodes have.
    pub const ROUGH_CLASSES: &'static [&'static str] = &["shrink-leader", "forge", "roll-back"];
    /// See there.
    pub const ROUGH_WHOLE_CLASSES: &'static [&'static str] = &["swap", "operator-seal", "operator-seal-all"];

    /// Every class that such a run can have.
    pub fn classes(whole: bool, rough: bool) -> Vec<&'static str> {
        let sets = [
            (true, Self::CLASSES),
            (whole, Self::WHOLE_CLASSES),
            (rough, Self::ROUGH_CLASSES),
            (whole && rough, Self::ROUGH_WHOLE_CLASSES),
        ];
        sets.into_iter().filter(|(has, _)| *has).flat_map(|(_, classes)| classes).copied().collect()
    }
}

/// A fault, its moment, and how long it lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Planned {
    /// Simulated milliseconds since the faults began.
    pub at_ms: u64,
    /// How long until it is undone.
    pub for_ms: u64,
    /// What.
    pub fault: Fault,
}

/// How long faults are made.
pub const FAULTS_MS: u64 = 40_000;
/// The same with whole nodes: long enough for a rotation to fall due.
pub const WHOLE_FAULTS_MS: u64 = 70_000;
/// How long before the end of the faults the last rare one begins.
const RARE_MS_MAX: u64 = 15_000;
/// Longest rest between two faults.
const REST_MS_MAX: u64 = 2_500;

/// The farthest jump of a clock: less than ten minutes, which are believed.
pub const JUMP_MS_MAX: u64 = 590_000;
/// Leaps of a clock are this long, or up to an hour longer.
const HOUR_MS: u64 = 3_600_000;
const TEN_YEARS_MS: u64 = 87_600 * HOUR_MS;

/// The faults of a seed, in the order of their moments. Several may be under way at a time.
pub fn draw(Setup { seed, nodes, whole, rough, .. }: Setup) -> Vec<Planned> {
    let mut dice = Dice::new(seed, "faults");
    let mut planned = Vec::new();
    // Some runs are calm and some are rough: a cluster that is never left alone shows less than one that recovers.
    let rest_ms = dice.between(300, REST_MS_MAX);
    let mut at_ms = dice.between(0, 1_000);
    let end_ms = if whole { WHOLE_FAULTS_MS } else { FAULTS_MS };
    while at_ms < end_ms {
        let fault = if whole && dice.one_in(12) { clock(&mut dice, nodes) } else { fault(&mut dice, nodes) };
        planned.push(Planned { at_ms, for_ms: duration(&mut dice, &fault), fault });
        at_ms += dice.between(50, 2 * rest_ms);
    }
    if rough {
        planned.extend(rare(seed, nodes, whole));
    }
    planned.sort_by_key(|planned| planned.at_ms);
    planned
}

/// What some runs have and others do not: it changes too much to happen again and again.
fn rare(seed: u64, nodes: u64, whole: bool) -> Vec<Planned> {
    let mut dice = Dice::new(seed, "rare faults");
    let last_ms = if whole { WHOLE_FAULTS_MS } else { FAULTS_MS } - RARE_MS_MAX;
    let mut planned = Vec::new();
    let mut once_in = |times: u64, faults: fn(Whom, u64, u64) -> Vec<(u64, Fault)>| {
        let whom = if dice.one_in(2) { Whom::Leader } else { Whom::Node(dice.between(1, nodes + 1)) };
        let (one, at_ms) = (dice.between(1, nodes + 1), dice.between(2_000, last_ms));
        let other = 1 + (one - 1 + dice.between(1, nodes)) % nodes;
        if !dice.one_in(times) {
            return;
        }
        for (after_ms, fault) in faults(whom, one, other) {
            planned.push(Planned { at_ms: at_ms + after_ms, for_ms: duration(&mut dice, &fault), fault });
        }
    };
    once_in(3, |whom, _, _| vec![(0, Fault::Forge { whom })]);
    once_in(3, |whom, _, _| vec![(0, Fault::RollBack { whom })]);
    // From three to five and back, and whoever leads goes first.
    once_in(2, |_, one, _| {
        let (leader, member) =
            (Fault::Shrink { whom: Whom::Leader }, Fault::Shrink { whom: Whom::Node(one) });
        vec![(0, Fault::Grow), (1_500, Fault::Grow), (9_000, leader), (13_000, member)]
    });
    if whole {
        once_in(3, |_, one, other| vec![(0, Fault::Swap { one, other })]);
        once_in(2, |whom, _, _| vec![(0, Fault::OperatorSeal { whom: Some(whom) })]);
        once_in(3, |_, _, _| vec![(0, Fault::OperatorSeal { whom: None })]);
    }
    planned
}

fn clock(dice: &mut Dice, nodes: u64) -> Fault {
    let whom = if dice.one_in(2) { Whom::Leader } else { Whom::Node(dice.between(1, nodes + 1)) };
    let leaps = dice.one_in(2);
    let by_ms = if leaps {
        let least_ms = dice.pick(&[HOUR_MS, TEN_YEARS_MS]).copied().unwrap_or(HOUR_MS);
        dice.between(least_ms, least_ms + HOUR_MS)
    } else {
        // Within a minute, and beyond a rotation's period.
        let reach_ms = dice.pick(&[30_000, 300_000, JUMP_MS_MAX]).copied().unwrap_or(1);
        dice.between(1, reach_ms)
    };
    let by_ms = i64::try_from(by_ms).unwrap_or(1) * if dice.one_in(2) { 1 } else { -1 };
    if leaps { Fault::ClockLeap { whom, by_ms } } else { Fault::ClockJump { whom, by_ms } }
}

fn fault(dice: &mut Dice, nodes: u64) -> Fault {
    let whom = if dice.one_in(2) { Whom::Leader } else { Whom::Node(dice.between(1, nodes + 1)) };
    let one = dice.between(1, nodes + 1);
    let other = 1 + (one - 1 + dice.between(1, nodes)) % nodes;
    match dice.between(0, 30) {
        0..3 => Fault::CutOff { whom },
        3..5 => Fault::CutPair { one, other },
        5..7 => Fault::CutOneWay { whom, mute: dice.one_in(2) },
        7..9 => Fault::Hold { one, other },
        9 => Fault::Overlap { bridge: one },
        10..14 => Fault::Crash { whom },
        14..16 => Fault::PowerLoss,
        16..18 => Fault::LongOutage { whom },
        18 => Fault::SyncError { whom },
        19 => Fault::DiskFull { whom },
        20..22 => Fault::Seal { whom },
        22..24 => Fault::HandOver,
        24..26 => Fault::Grow,
        26..28 => Fault::Shrink { whom: Whom::Node(one) },
        _ => Fault::Checkpoint,
    }
}

fn duration(dice: &mut Dice, fault: &Fault) -> u64 {
    match fault {
        // Also flapping faster than an election, and cuts that outlast several.
        Fault::CutOff { .. } | Fault::CutPair { .. } | Fault::CutOneWay { .. } | Fault::Overlap { .. } => {
            if dice.one_in(3) {
                dice.between(100, 800)
            } else {
                dice.between(1_000, 8_000)
            }
        }
        Fault::Hold { .. } => dice.between(200, 2_500),
        Fault::Crash { .. } | Fault::SyncError { .. } | Fault::DiskFull { .. } => dice.between(100, 4_000),
        Fault::PowerLoss => dice.between(100, 1_000),
        Fault::LongOutage { .. } | Fault::Forge { .. } => dice.between(6_000, 12_000),
        Fault::RollBack { .. } => dice.between(4_000, 10_000),
        Fault::Swap { .. } => dice.between(2_000, 8_000),
        Fault::OperatorSeal { .. } => dice.between(2_000, 10_000),
        Fault::Seal { .. } | Fault::ClockJump { .. } => dice.between(1_000, 6_000),
        // Also longer than the leader rests between two looks at the others' clocks.
        Fault::ClockLeap { .. } => dice.between(1_000, 40_000),
        Fault::HandOver | Fault::Checkpoint | Fault::Grow | Fault::Shrink { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn setup(seed: u64, nodes: u64, whole: bool, rough: bool) -> Setup {
        Setup { seed, nodes, planted: None, whole, rough }
    }

    #[test]
    fn one_seed_gives_one_schedule() {
        assert_eq!(draw(setup(7, 3, false, false)), draw(setup(7, 3, false, false)));
        assert_ne!(draw(setup(7, 3, false, false)), draw(setup(8, 3, false, false)));
    }

    #[test]
    fn every_class_is_drawn_within_two_hundred_seeds_and_is_listed() {
        for (whole, rough) in [(false, false), (false, true), (true, false), (true, true)] {
            let planned = (0..200).flat_map(|seed| draw(setup(seed, 3, whole, rough)));
            let drawn: BTreeSet<&str> = planned.map(|planned| planned.fault.class()).collect();
            assert_eq!(drawn, Fault::classes(whole, rough).into_iter().collect());
        }
    }

    #[test]
    fn faults_are_about_nodes_that_exist_and_pairs_are_two() {
        for planned in (0..200).flat_map(|seed| draw(setup(seed, 5, true, true))) {
            match planned.fault {
                Fault::CutPair { one, other } | Fault::Hold { one, other } => {
                    assert!(one != other && (1..=5).contains(&one) && (1..=5).contains(&other));
                }
                Fault::CutOff { whom: Whom::Node(node) } => assert!((1..=5).contains(&node)),
                _ => {}
            }
        }
    }
}
