//! Rotation that is due: exactly once, caught up once, pruned; never in doubt of the clock.

use std::num::NonZeroU32;

use keyclave_types::key::{Algorithm, KeyRules, VersionOrigin, VersionState};
use keyclave_types::request::WriteKind;
use keyclave_types::time::UnixMillis;

use super::*;
use crate::rotation::{Due, DueWork, Worked, decide_due, due, next_due};

const HOUR: u64 = 3_600_000;

fn hourly() -> KeyRules {
    KeyRules { rotate_every_ms: Some(HOUR), ..KeyRules::default() }
}

fn work(ledger: &mut Ledger, work: &DueWork) -> Result<Decision<Worked>, Refused> {
    let permit = permit(&Principal::Member(node(1)), Action::RotateDue, Some(&work.name));
    decide_due(&ledger.view, &permit, work, &ledger.occasion(), &mut ledger.entropy)
}

fn do_all(ledger: &mut Ledger) -> usize {
    let now = ledger.now.noted();
    let mut done = 0;
    loop {
        let items = due(&ledger.view, now, 16);
        if items.is_empty() {
            return done;
        }
        for item in items {
            let decision = work(ledger, &item).unwrap();
            ledger.commit(decision);
            done += 1;
        }
    }
}

#[test]
fn a_rotation_decided_twice_commits_once() {
    let mut ledger = Ledger::founded();
    ledger.create("a", Algorithm::Xaes256Gcm, hourly());
    ledger.at(HOUR);
    let items = due(&ledger.view, ledger.now.noted(), 16);
    assert_eq!(items, [DueWork { name: name("a"), what: Due::Rotation(START.after(HOUR)) }]);
    let (one, two) = (work(&mut ledger, &items[0]).unwrap(), work(&mut ledger, &items[0]).unwrap());
    let (Decision::Propose(one), Decision::Propose(two)) = (one, two) else { panic!("nothing to propose") };
    assert_eq!(ledger.apply(&one.transaction), TransactionOutcome::Committed);
    assert!(matches!(ledger.apply(&two.transaction), TransactionOutcome::Conflict(_)));
    assert_eq!(work(&mut ledger, &items[0]).unwrap_err().refusal, Refusal::NotDue);
    let described = ledger.describe("a").unwrap();
    assert_eq!(described.versions.len(), 2);
    assert_eq!(described.versions[1].origin, VersionOrigin::Scheduled { due: START.after(HOUR) });
    assert_eq!(described.rotates_at, Some(START.after(2 * HOUR)));
}

#[test]
fn a_cluster_that_was_down_catches_up_once_and_keeps_the_beat() {
    let mut ledger = Ledger::founded();
    ledger.create("a", Algorithm::Xaes256Gcm, hourly());
    ledger.at(100 * HOUR + 1);
    assert_eq!(do_all(&mut ledger), 1);
    let described = ledger.describe("a").unwrap();
    assert_eq!(described.primary, version(2));
    assert_eq!(described.rotates_at, Some(START.after(101 * HOUR)));
    assert_eq!(next_due(&ledger.view), Some(START.after(101 * HOUR)));
}

#[test]
fn nothing_is_due_early_or_of_a_disabled_expired_or_unruled_key() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("never");
    ledger.create("disabled", Algorithm::Xaes256Gcm, hourly());
    let disable = WriteKind::SetEnabled { name: name("disabled"), version: None, enabled: false };
    ledger.write(disable).unwrap();
    let ends = KeyRules { encrypt_until: Some(START.after(HOUR)), ..hourly() };
    ledger.create("ends", Algorithm::Xaes256Gcm, ends);
    ledger.create("a", Algorithm::Xaes256Gcm, hourly());
    assert!(due(&ledger.view, START.after(HOUR - 1), 16).is_empty());
    let names: Vec<_> = due(&ledger.view, START.after(HOUR), 16).into_iter().map(|item| item.name).collect();
    assert_eq!(names, [name("a")]);
    let enable = WriteKind::SetEnabled { name: name("disabled"), version: None, enabled: true };
    ledger.write(enable).unwrap();
    assert_eq!(due(&ledger.view, START.after(HOUR), 16).len(), 2);
}

#[test]
fn in_doubt_of_the_clock_nothing_rotates() {
    let mut ledger = Ledger::founded();
    ledger.create("a", Algorithm::Xaes256Gcm, hourly());
    ledger.at(HOUR);
    let items = due(&ledger.view, ledger.now.noted(), 16);
    ledger.now = Now::Doubtful(UnixMillis(u64::MAX));
    assert_eq!(work(&mut ledger, &items[0]).unwrap_err().refusal, Refusal::ClockDoubtful);
    ledger.at(HOUR - 1);
    assert_eq!(work(&mut ledger, &items[0]).unwrap_err().refusal, Refusal::NotDue);
}

#[test]
fn a_requested_rotation_begins_the_period_anew() {
    let mut ledger = Ledger::founded();
    ledger.create("a", Algorithm::Xaes256Gcm, hourly());
    ledger.at(HOUR - 1);
    assert_eq!(ledger.rotate("a").rotates_at, Some(START.after(2 * HOUR - 1)));
    assert!(due(&ledger.view, START.after(HOUR), 16).is_empty());
}

#[test]
fn only_the_kept_versions_remain_and_old_pages_go() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    let first = ledger.encrypt("a", b"x").unwrap();
    for _ in 0..1_300 {
        ledger.rotate("a");
    }
    let keep = |versions| KeyRules { keep_versions: NonZeroU32::new(versions), ..KeyRules::default() };
    ledger.write(WriteKind::UpdateKey { name: name("a"), rules: keep(2) }).unwrap();
    // 1,299 of 1,301 versions go, page by page: 21 transactions.
    assert_eq!(do_all(&mut ledger), 21);
    let described = ledger.describe("a").unwrap();
    let alive: Vec<_> = described
        .versions
        .iter()
        .filter(|version| version.state != VersionState::Destroyed)
        .map(|version| version.version.get())
        .collect();
    assert_eq!(alive, [1_300, 1_301]);
    assert_eq!(described.versions.len(), 1_301 - 4 * 64);
    let destroyed = Refusal::Destroyed { version: Version::FIRST };
    assert_eq!(ledger.decrypt(Some("a"), &first).unwrap_err(), destroyed);
    ledger.rotate("a");
    assert_eq!(do_all(&mut ledger), 1);
}

#[test]
fn a_shorter_period_counts_from_the_newest_version() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    ledger.at(3 * HOUR);
    ledger.write(WriteKind::UpdateKey { name: name("a"), rules: hourly() }).unwrap();
    assert_eq!(do_all(&mut ledger), 1);
    assert_eq!(ledger.describe("a").unwrap().rotates_at, Some(START.after(4 * HOUR)));
}
