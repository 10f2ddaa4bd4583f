//! How long trails are kept: retention, holds, what may be dropped, and what a person acknowledges.

use super::*;
use crate::records::cluster::{AnchoredTree, KeptTrail};

const DAY_MS: u64 = 24 * 3_600_000;

fn anchor(sequence: u64) -> Upkeep {
    let tree = Some(AnchoredTree { begins: 1, leaves: sequence, root: [sequence as u8; 32] });
    let incarnation = Incarnation::from_bytes([1; 16]);
    Upkeep::PutAnchor { node: node(1), incarnation, sequence, hash: [sequence as u8; 32], tree }
}

/// Everything before `segment`, whose last record is `sequence` and which ended at `START`.
fn drop_before(segment: u64, sequence: u64, keys: &[[u8; 16]]) -> Upkeep {
    Upkeep::DropSegments {
        node: node(1),
        incarnation: Incarnation::from_bytes([1; 16]),
        segment,
        sequence,
        hash: [9; 32],
        ended: START,
        keys: keys.to_vec(),
    }
}

/// A ledger with three segment keys, a trail that is anchored up to record 20, and so much time passed.
fn ledger(passed_ms: u64) -> Ledger {
    let mut ledger = Ledger::founded();
    for key in 1..=3 {
        ledger.upkeep(&Upkeep::CreateSegmentKey { segment: [key; 16] }).unwrap();
    }
    ledger.upkeep(&anchor(20)).unwrap();
    ledger.now = Now::Trusted(START.after(passed_ms));
    ledger
}

fn keys_left(ledger: &Ledger) -> Vec<u8> {
    let house = permit(&Principal::Member(node(1)), Action::Housekeep, None);
    (1..=3).filter(|key| ledger.view.segment_key(&house, [*key; 16]).is_some()).collect()
}

#[test]
fn segments_go_with_their_keys_once_their_time_is_over_and_not_before() {
    let mut ledger = ledger(DAY_MS - 1);
    let drop = drop_before(3, 10, &[[1; 16], [2; 16]]);
    assert_eq!(ledger.upkeep(&drop), Err(Refusal::NotDue), "kept without end");
    ledger.write(WriteKind::RetainTrail { keep_ms: Some(DAY_MS) }).unwrap();
    assert_eq!(ledger.upkeep(&drop), Err(Refusal::NotDue));
    ledger.now = Now::Doubtful(START.after(DAY_MS));
    assert_eq!(ledger.upkeep(&drop), Err(Refusal::ClockDoubtful));
    ledger.now = Now::Trusted(START.after(DAY_MS));
    assert_eq!(keys_left(&ledger), [1, 2, 3]);
    ledger.upkeep(&drop).unwrap();
    assert_eq!(keys_left(&ledger), [3]);
    let kept = *ledger.view.kept_trail(node(1)).unwrap();
    assert_eq!((kept.segment, kept.sequence, kept.hash), (3, 10, [9; 32]));
    // Where a trail begins never goes back.
    ledger.upkeep(&drop_before(2, 5, &[[3; 16]])).unwrap();
    assert_eq!((ledger.view.kept_trail(node(1)), keys_left(&ledger)), (Some(&kept), vec![3]));
}

#[test]
fn a_hold_keeps_everything_until_it_is_released() {
    let mut ledger = ledger(2 * DAY_MS);
    ledger.write(WriteKind::RetainTrail { keep_ms: Some(DAY_MS) }).unwrap();
    ledger.write(WriteKind::HoldTrail { reason: "a trial".to_owned() }).unwrap();
    let hold = ledger.view.trail_rules().hold.unwrap();
    assert_eq!((hold.reason.as_str(), hold.since), ("a trial", START.after(2 * DAY_MS)));
    let drop = drop_before(2, 5, &[[1; 16]]);
    assert_eq!(ledger.upkeep(&drop), Err(Refusal::TrailHeld));
    // A shorter retention changes nothing about that.
    ledger.write(WriteKind::RetainTrail { keep_ms: Some(1) }).unwrap();
    assert_eq!(ledger.upkeep(&drop), Err(Refusal::TrailHeld));
    ledger.write(WriteKind::ReleaseTrail).unwrap();
    ledger.upkeep(&drop).unwrap();
    assert_eq!(keys_left(&ledger), [2, 3]);
}

#[test]
fn a_hold_and_a_dropping_that_were_decided_at_once_conflict() {
    let mut ledger = ledger(2 * DAY_MS);
    ledger.write(WriteKind::RetainTrail { keep_ms: Some(DAY_MS) }).unwrap();
    let dropping = ledger.decide_upkeep(1, &drop_before(2, 5, &[[1; 16]])).unwrap();
    let Decision::Propose(dropping) = dropping else { panic!("nothing to propose") };
    let hold = ledger.propose(WriteKind::HoldTrail { reason: "a trial".to_owned() });
    let changed: Vec<_> = hold.transaction.changes.keys().collect();
    assert!(changed.into_iter().any(|id| dropping.transaction.expects.contains_key(id)));
}

#[test]
fn what_is_not_anchored_is_never_dropped() {
    let mut ledger = ledger(2 * DAY_MS);
    ledger.write(WriteKind::RetainTrail { keep_ms: Some(DAY_MS) }).unwrap();
    assert_eq!(ledger.upkeep(&drop_before(2, 21, &[[1; 16]])), Err(Refusal::NotDue));
    ledger.upkeep(&anchor(21)).unwrap();
    ledger.upkeep(&drop_before(2, 21, &[[1; 16]])).unwrap();
    assert_eq!(ledger.view.kept_trail(node(1)).map(|kept: &KeptTrail| kept.segment), Some(2));
}

#[test]
fn a_member_drops_nothing_of_another_ones_trail() {
    let mut ledger = ledger(2 * DAY_MS);
    ledger.write(WriteKind::RetainTrail { keep_ms: Some(DAY_MS) }).unwrap();
    assert_eq!(ledger.upkeep_of(2, &drop_before(2, 5, &[])), Err(Refusal::PermitForeign));
}

#[test]
fn after_an_acknowledgement_the_next_head_is_taken_as_it_comes() {
    let mut ledger = ledger(0);
    assert!(matches!(ledger.upkeep(&anchor(3)), Err(Refusal::AnchorBackwards { .. })));
    let unknown = ledger.write(WriteKind::AcknowledgeTrail { node: node(9) });
    assert_eq!(unknown.unwrap_err(), Refusal::NodeUnknown { node: node(9) });
    ledger.write(WriteKind::AcknowledgeTrail { node: node(1) }).unwrap();
    assert!(ledger.view.anchor(node(1)).is_none() && ledger.view.anchors().is_empty());
    ledger.upkeep(&anchor(3)).unwrap();
    assert_eq!(ledger.view.anchors().len(), 1);
}
