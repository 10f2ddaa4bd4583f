//! Clocks that leap, drift, freeze and go back under a key that rotates every hour: no rotation is early, done twice
//! or lost, and what was missed is caught up once. Three nodes, one of them leading, minute by minute.

use keyclave_types::key::{Algorithm, KeyRules};
use keyclave_types::time::UnixMillis;

use super::*;
use crate::rotation::{decide_due, due};
use crate::time::Reckoning;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60;
const DAY: u64 = 24 * HOUR;
const YEARS: i64 = 3_652 * 24 * 60;
/// When most faults begin, in minutes.
const FAULT: u64 = 2 * HOUR + 30;

/// Everything in minutes of the true time.
struct Scene {
    what: &'static str,
    /// How far a node's clock is off.
    off: fn(u64, usize) -> i64,
    leader: fn(u64) -> usize,
    up: fn(u64) -> bool,
    /// Whether the others can be asked.
    asked: bool,
    /// When versions are made.
    made: &'static [u64],
}

fn right(_: u64, _: usize) -> i64 {
    0
}

fn first(_: u64) -> usize {
    0
}

fn always(_: u64) -> bool {
    true
}

const ORDINARY: Scene = Scene {
    what: "clocks that are right",
    off: right,
    leader: first,
    up: always,
    asked: true,
    made: &[60, 120, 180, 240, 300, 360],
};

/// What the leader's clock is off while it is wrong, and 0 otherwise.
fn leaders(minute: u64, node: usize, off: i64) -> i64 {
    if node == 0 && (FAULT..FAULT + 2 * HOUR).contains(&minute) { off } else { 0 }
}

fn since_the_fault(minute: u64) -> i64 {
    minute.saturating_sub(FAULT).cast_signed()
}

const SCENES: [Scene; 13] = [
    ORDINARY,
    Scene { what: "nobody to ask", asked: false, ..ORDINARY },
    Scene {
        what: "the leader an hour ahead for two hours",
        off: |minute, node| leaders(minute, node, 60),
        made: &[60, 120, 270, 300, 360],
        ..ORDINARY
    },
    Scene {
        what: "the same, and nobody to ask",
        off: |minute, node| leaders(minute, node, 60),
        asked: false,
        made: &[60, 120, 270, 300, 360],
        ..ORDINARY
    },
    Scene {
        what: "the leader ten years ahead for two hours",
        off: |minute, node| leaders(minute, node, YEARS),
        made: &[60, 120, 270, 300, 360],
        ..ORDINARY
    },
    Scene { what: "the leader an hour behind", off: |minute, node| leaders(minute, node, -60), ..ORDINARY },
    Scene {
        what: "the leader ten years behind",
        off: |minute, node| leaders(minute, node, -YEARS),
        ..ORDINARY
    },
    Scene {
        what: "back an hour as a rotation is made",
        off: |minute, node| if node == 0 && minute > 180 { -60 } else { 0 },
        ..ORDINARY
    },
    Scene {
        what: "the leader's clock frozen",
        off: |minute, node| if node == 0 { -since_the_fault(minute) } else { 0 },
        ..ORDINARY
    },
    Scene {
        what: "the leader's clock at twice its speed, until another leads",
        off: |minute, node| if node == 0 { since_the_fault(minute) } else { 0 },
        leader: |minute| usize::from(minute >= 270),
        made: &[60, 120, 270, 300, 360],
        ..ORDINARY
    },
    Scene {
        what: "leaders in turn, one of them an hour ahead",
        off: |_, node| if node == 0 { 60 } else { 0 },
        leader: |minute| usize::try_from(minute / 30).unwrap() % 3,
        made: &[60, 120, 210, 240, 300, 390],
        ..ORDINARY
    },
    Scene {
        what: "two of three an hour ahead alike",
        off: |minute, node| if node < 2 && minute >= FAULT { 60 } else { 0 },
        made: &[60, 120, 150, 180, 240, 300, 360],
        ..ORDINARY
    },
    Scene {
        what: "down for a week",
        up: |minute| !(FAULT..FAULT + 7 * DAY).contains(&minute),
        made: &[60, 120, FAULT + 7 * DAY, 180 + 7 * DAY, 240 + 7 * DAY],
        ..ORDINARY
    },
];

#[test]
fn whatever_clocks_do_each_due_rotation_is_made_once_and_none_early() {
    for scene in &SCENES {
        let until = scene.made.last().unwrap() + 30;
        let made = play(scene, until);
        assert_eq!(made, scene.made, "{}", scene.what);
    }
}

/// The minutes at which versions are made.
fn play(scene: &Scene, until: u64) -> Vec<u64> {
    let mut ledger = Ledger::founded();
    let rules = KeyRules { rotate_every_ms: Some(HOUR * MINUTE), ..KeyRules::default() };
    ledger.create("a", Algorithm::Xaes256Gcm, rules);
    let mut made = Vec::new();
    // When the last time on record was first seen; a process that begins sees it as it begins.
    let mut seen = 0;
    for minute in 0..until {
        if !(scene.up)(minute) {
            seen = minute + 1;
            continue;
        }
        let clock = |node| {
            let off_ms = (scene.off)(minute, node) * 60_000;
            UnixMillis(START.after(minute * MINUTE).0.saturating_add_signed(off_ms))
        };
        let leader = (scene.leader)(minute);
        let recorded = ledger.view.cluster_time().unwrap();
        let reckoning = Reckoning { recorded, passed_ms: (minute - seen) * MINUTE };
        let others: Vec<_> = (0..3).filter(|node| *node != leader && scene.asked).map(clock).collect();
        if let Some(at) = reckoning.to_record(clock(leader), &others, 3) {
            ledger.upkeep(&Upkeep::RecordTime { at }).unwrap();
            seen = minute;
        }
        let recorded = ledger.view.cluster_time().unwrap();
        let reckoning = Reckoning { recorded, passed_ms: (minute - seen) * MINUTE };
        ledger.now = reckoning.judge(clock(leader), None).into();
        let Now::Trusted(now) = ledger.now else { continue };
        for work in due(&ledger.view, now, 16) {
            let permit = permit(&Principal::Member(node(1)), Action::RotateDue, Some(&work.name));
            let decision = decide_due(&ledger.view, &permit, &work, &ledger.occasion(), &mut ledger.entropy);
            ledger.commit(decision.unwrap());
            made.push(minute);
        }
    }
    made
}
