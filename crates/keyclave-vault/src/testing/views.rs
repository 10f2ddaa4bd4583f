//! Views: old ones stay as they were, folding equals opening, opened keys are forgotten.

use std::sync::Arc;

use keyclave_types::request::WriteKind;

use super::*;

#[test]
fn an_old_view_stays_as_it_was() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    let old = ledger.view.clone();
    let (rotated, _) = (ledger.rotate("a"), ledger.create_plain("b"));
    assert_eq!(rotated.primary, version(2));
    ledger.view = old;
    assert_eq!(ledger.describe("a").unwrap().primary, Version::FIRST);
    assert_eq!(ledger.describe("b").unwrap_err(), Refusal::NotFound);
}

#[test]
fn a_folded_view_is_the_one_that_opening_gives() {
    let mut ledger = Ledger::founded();
    for key in ["a", "b/c", "d"] {
        ledger.create_plain(key);
        ledger.rotate(key);
    }
    ledger.write(WriteKind::DestroyVersion { name: name("d"), version: Version::FIRST }).unwrap();
    let (index, keyring) = (ledger.view.index(), Arc::clone(ledger.view.keyring()));
    let opened = View::open(keyring, CLUSTER, Generation(1), index, ledger.records.clone()).unwrap();
    for key in ["a", "b/c", "d"] {
        let folded = ledger.describe(key).unwrap();
        let before = std::mem::replace(&mut ledger.view, opened.clone());
        assert_eq!(ledger.describe(key).unwrap(), folded);
        ledger.view = before;
    }
    assert_eq!(opened.indexes().access_head(), ledger.view.indexes().access_head());
    assert_eq!(opened.position(), ledger.view.position());
}

#[test]
fn what_was_read_no_longer_holds_once_it_changes() {
    let mut ledger = Ledger::founded();
    let root = ledger.root.clone();
    ledger.create_plain("a");
    ledger.create_plain("b");
    let old = ledger.view.clone();
    let reads = ledger.read_as(&root, &Read::Encrypt(encryption("a", None, b"x"))).reads;
    let missing = ledger.read_as(&root, &Read::GetKey { name: name("c") }).reads;
    ledger.rotate("b");
    assert!(ledger.view.holds(&reads) && ledger.view.holds(&missing));
    ledger
        .write(WriteKind::SetEnabled { name: name("a"), version: Some(Version::FIRST), enabled: false })
        .unwrap();
    assert!(!ledger.view.holds(&reads));
    let changed =
        reads.records.keys().copied().filter(|id| old.found(*id) != ledger.view.found(*id)).collect();
    assert!(!old.unchanged(&reads, &changed));
    assert!(old.unchanged(&missing, &changed));
    ledger.create_plain("c");
    assert!(!ledger.view.holds(&missing));
}

#[test]
fn more_keys_than_the_cache_holds_still_open() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    let first = ledger.encrypt("a", b"x").unwrap();
    for _ in 0..2_100 {
        ledger.rotate("a");
        ledger.encrypt("a", b"y").unwrap();
    }
    assert_eq!(ledger.decrypt(Some("a"), &first).unwrap(), b"x");
}

#[test]
fn a_record_under_an_epoch_that_the_keyring_lacks_is_named() {
    let mut ledger = Ledger::founded();
    let (id, record) = ledger.records.iter_mut().find(|(id, _)| !id.is_plain()).unwrap();
    record.blob[4] = 9;
    let opened = ledger.view.fold(9, [(*id, Some(record.clone()))]);
    assert!(matches!(opened, Err(crate::view::OpenError::Epoch { epoch: 9, .. })));
    let cut = Record { revision: record.revision, blob: vec![1, 0] };
    let opened = ledger.view.fold(9, [(*id, Some(cut))]);
    assert!(matches!(opened, Err(crate::view::OpenError::Blob { .. })));
}
