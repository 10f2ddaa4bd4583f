//! Orders to rewrite the stores, what nodes report, and what a key's description says of it.

use std::num::NonZeroU32;

use keyclave_types::key::{Algorithm, KeyRules, Purge};
use keyclave_types::request::WriteKind;

use super::*;
use crate::rotation::{Due, DueWork, decide_due};

fn destroy(ledger: &mut Ledger, key: &str, number: u32) {
    ledger.write(WriteKind::DestroyVersion { name: name(key), version: version(number) }).unwrap();
}

fn purged(ledger: &mut Ledger, key: &str, number: u32) -> Vec<bool> {
    let described = ledger.describe(key).unwrap();
    let found = described.versions.iter().find(|found| found.version == version(number)).unwrap();
    found.purges.iter().map(|Purge { purged, .. }| *purged).collect()
}

fn report(ledger: &mut Ledger, number: u64, incarnation: u8) -> Result<UpkeepAnswer, Refusal> {
    let incarnation = Incarnation::from_bytes([incarnation; 16]);
    ledger.upkeep(&Upkeep::ReportRewritten { node: node(1), incarnation, number, index: 9 })
}

fn order(ledger: &mut Ledger) -> u64 {
    ledger.upkeep(&Upkeep::OrderRewriting).unwrap();
    ledger.view.rewriting_order().number
}

#[test]
fn nothing_is_ordered_while_nothing_was_destroyed() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    assert_eq!((ledger.view.destroyed_since(), order(&mut ledger)), (None, 0));
    assert!(purged(&mut ledger, "a", 1).is_empty(), "a version that lives has nothing to purge");
}

#[test]
fn a_destroyed_version_is_pending_until_its_node_has_done_a_later_order() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    ledger.rotate("a");
    ledger.rotate("a");
    destroy(&mut ledger, "a", 1);
    assert_eq!(purged(&mut ledger, "a", 1), [false]);
    assert!(ledger.view.destroyed_since().is_some());
    assert_eq!(report(&mut ledger, 1, 1), Ok(UpkeepAnswer::Done));
    assert_eq!(purged(&mut ledger, "a", 1), [false], "an order that was not given counts for nothing");
    assert_eq!(order(&mut ledger), 1);
    assert_eq!(ledger.view.destroyed_since(), None);
    destroy(&mut ledger, "a", 2);
    assert_eq!(report(&mut ledger, 1, 1), Ok(UpkeepAnswer::Done));
    assert_eq!((purged(&mut ledger, "a", 1), purged(&mut ledger, "a", 2)), (vec![true], vec![false]));
    assert_eq!((order(&mut ledger), order(&mut ledger)), (2, 2), "the same once more changes nothing");
    assert_eq!(purged(&mut ledger, "a", 2), [false]);
    assert_eq!(report(&mut ledger, 2, 1), Ok(UpkeepAnswer::Done));
    assert_eq!((purged(&mut ledger, "a", 1), purged(&mut ledger, "a", 2)), (vec![true], vec![true]));
    assert_eq!(ledger.view.rewritten(node(1)), 2);
}

#[test]
fn what_another_directory_has_rewritten_counts_for_nothing() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    ledger.rotate("a");
    destroy(&mut ledger, "a", 1);
    order(&mut ledger);
    assert!(matches!(report(&mut ledger, 1, 9), Err(Refusal::Incarnation { .. })));
    assert_eq!(purged(&mut ledger, "a", 1), [false]);
}

#[test]
fn a_destruction_decided_before_an_order_is_decided_anew_after_it() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    ledger.rotate("a");
    ledger.rotate("a");
    destroy(&mut ledger, "a", 1);
    let early = ledger.propose(WriteKind::DestroyVersion { name: name("a"), version: version(2) });
    assert_eq!(order(&mut ledger), 1);
    let outcome = ledger.apply(&early.transaction);
    assert!(matches!(outcome, TransactionOutcome::Conflict(Conflict::Record(_))), "{outcome:?}");
}

#[test]
fn versions_that_a_key_no_longer_keeps_are_covered_as_well() {
    let mut ledger = Ledger::founded();
    let rules = KeyRules { keep_versions: NonZeroU32::new(1), ..KeyRules::default() };
    ledger.create("a", Algorithm::Xaes256Gcm, rules);
    ledger.rotate("a");
    assert_eq!(ledger.view.destroyed_since(), None);
    let work = DueWork { name: name("a"), what: Due::Pruning };
    let permit = permit(&Principal::Member(node(1)), Action::RotateDue, Some(&work.name));
    let decision = decide_due(&ledger.view, &permit, &work, &ledger.occasion(), &mut ledger.entropy);
    ledger.commit(decision.unwrap());
    assert_eq!(purged(&mut ledger, "a", 1), [false]);
    assert!(ledger.view.destroyed_since().is_some());
    order(&mut ledger);
    report(&mut ledger, 1, 1).unwrap();
    assert_eq!(purged(&mut ledger, "a", 1), [true]);
}
