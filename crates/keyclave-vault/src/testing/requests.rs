//! Retried writes: answered, not done again; the horizon below which outcomes are forgotten.

use keyclave_types::key::{Algorithm, KeyRules};
use keyclave_types::request::WriteKind;

use super::*;

fn create(key: &str) -> WriteKind {
    WriteKind::CreateKey { name: name(key), algorithm: Algorithm::Xaes256Gcm, rules: KeyRules::default() }
}

#[test]
fn a_retry_is_answered_as_before_and_changes_nothing() {
    let mut ledger = Ledger::founded();
    let root = ledger.root.clone();
    ledger.create_plain("a");
    let write = ledger.request(WriteKind::RotateKey { name: name("a") });
    let first = key_of(ledger.write_as(&root, &write).unwrap());
    ledger.rotate("a");
    let before = ledger.records.clone();
    assert_eq!(key_of(ledger.write_as(&root, &write).unwrap()), first);
    assert_eq!(ledger.records, before);
}

#[test]
fn a_retry_that_races_its_first_attempt_conflicts() {
    let mut ledger = Ledger::founded();
    let root = ledger.root.clone();
    let write = ledger.request(create("a"));
    let (one, two) = (ledger.decide_as(&root, &write).unwrap(), ledger.decide_as(&root, &write).unwrap());
    let (Decision::Propose(one), Decision::Propose(two)) = (one, two) else { panic!("nothing to propose") };
    assert_eq!(ledger.apply(&one.transaction), TransactionOutcome::Committed);
    assert!(matches!(ledger.apply(&two.transaction), TransactionOutcome::Conflict(_)));
    assert!(matches!(ledger.decide_as(&root, &write), Ok(Decision::Standing { .. })));
}

#[test]
fn a_request_id_belongs_to_one_caller_and_one_request() {
    let mut ledger = Ledger::founded();
    let root = ledger.root.clone();
    let (service, _) = ledger.service("billing");
    let (same, _) = ledger.service("billing");
    let write = ledger.request(create("a"));
    ledger.write_as(&service, &write).unwrap();
    assert!(ledger.write_as(&same, &write).is_ok());
    assert_eq!(ledger.write_as(&root, &write).unwrap_err(), Refusal::RequestReused);
    let other = Write { request_id: write.request_id, change: create("b") };
    assert_eq!(ledger.write_as(&service, &other).unwrap_err(), Refusal::RequestReused);
}

#[test]
fn a_tokens_secret_is_shown_once() {
    let mut ledger = Ledger::founded();
    let root = ledger.root.clone();
    let write =
        ledger.request(WriteKind::CreateToken { subject: user("root"), terms: TokenTerms::default() });
    let (id, _) = token_of(ledger.write_as(&root, &write).unwrap());
    assert_eq!(ledger.write_as(&root, &write).unwrap_err(), Refusal::ShownOnce { id });
}

#[test]
fn below_the_horizon_outcomes_are_forgotten_and_ids_refused() {
    let mut ledger = Ledger::founded();
    let root = ledger.root.clone();
    let old = ledger.request(create("a"));
    ledger.write_as(&root, &old).unwrap();
    let horizon = ledger.view.index();
    let kept = ledger.request(create("b"));
    ledger.write_as(&root, &kept).unwrap();
    // Decided before the horizon rose, proposed after.
    let late = ledger.request(create("c"));
    let Ok(Decision::Propose(decided)) = ledger.decide_as(&root, &late) else { panic!("refused") };
    ledger.upkeep(&Upkeep::RaiseHorizon { index: horizon }).unwrap();
    assert!(matches!(ledger.apply(&decided.transaction), TransactionOutcome::Conflict(_)));
    // Only what the trail of the node where it arrived is known to hold.
    let mut forget_after = |sequence, ms, requests| {
        let incarnation = Incarnation::from_bytes([1; 16]);
        ledger.at(ms);
        ledger
            .upkeep(&Upkeep::PutAnchor { node: node(1), incarnation, sequence, hash: [1; 32], tree: None })
            .unwrap();
        let forgotten = Ok(UpkeepAnswer::Forgotten { requests });
        assert_eq!(ledger.upkeep(&Upkeep::ForgetRequests), forgotten, "{ms}");
    };
    forget_after(1, 59_999, 0);
    forget_after(2, 60_000, 1);
    forget_after(3, 120_000, 0);
    let refused = Refusal::RequestOld { index: old.request_id.index(), horizon };
    assert_eq!(ledger.write_as(&root, &old).unwrap_err(), refused);
    assert!(ledger.write_as(&root, &kept).is_ok());
}

#[test]
fn the_horizon_only_rises_and_never_beyond_what_is_applied() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    let index = ledger.view.index();
    ledger.upkeep(&Upkeep::RaiseHorizon { index }).unwrap();
    let refused = |found| Err(Refusal::Horizon { recorded: index, found });
    assert_eq!(ledger.upkeep(&Upkeep::RaiseHorizon { index: index - 1 }), refused(index - 1));
    assert_eq!(ledger.upkeep(&Upkeep::RaiseHorizon { index: u64::MAX }), refused(u64::MAX));
    assert_eq!(ledger.view.horizon(), index);
}

#[test]
fn a_request_id_from_the_future_is_refused() {
    let mut ledger = Ledger::founded();
    let root = ledger.root.clone();
    let applied = ledger.view.index();
    let at = |index| Write { request_id: RequestId::at(index, [0; 8]), change: create("a") };
    for index in [applied + 10_001, u64::MAX] {
        let ahead = Refusal::RequestAhead { index, applied };
        assert_eq!(ledger.write_as(&root, &at(index)).unwrap_err(), ahead);
    }
    assert!(ledger.write_as(&root, &at(applied + 10_000)).is_ok());
}
