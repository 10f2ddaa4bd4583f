//! Keys and versions: create, update, rotate, disable, enable, destroy, describe, list.

use std::num::NonZeroU32;

use keyclave_types::key::{Algorithm, KeyRules, KeyState, VersionOrigin, VersionState};
use keyclave_types::request::{Decrypt, DecryptItem, Encrypt, Read, WriteKind};
use keyclave_types::time::UnixMillis;

use super::*;

#[test]
fn a_created_key_is_described_with_its_first_version() {
    let mut ledger = Ledger::founded();
    let created = ledger.create("app/db", Algorithm::Xaes256Gcm, KeyRules::default());
    assert_eq!(ledger.describe("app/db").unwrap(), created);
    assert_eq!(created.primary, Version::FIRST);
    assert_eq!(created.versions.len(), 1);
    assert_eq!(created.versions[0].origin, VersionOrigin::Created);
    let again = WriteKind::CreateKey {
        name: name("app/db"),
        algorithm: Algorithm::Xaes256Gcm,
        rules: KeyRules::default(),
    };
    assert_eq!(ledger.write(again).unwrap_err(), Refusal::Exists);
    assert_eq!(ledger.describe("app").unwrap_err(), Refusal::NotFound);
}

#[test]
fn rules_outside_their_limits_create_and_update_nothing() {
    let mut ledger = Ledger::founded();
    let rules = KeyRules { rotate_every_ms: Some(1), ..KeyRules::default() };
    let create = WriteKind::CreateKey { name: name("a"), algorithm: Algorithm::Xaes256Gcm, rules };
    assert!(matches!(ledger.write(create), Err(Refusal::RotateEvery { .. })));
    ledger.create_plain("a");
    let stale = KeyRules { staleness_max_ms: 60_001, ..KeyRules::default() };
    let update = WriteKind::UpdateKey { name: name("a"), rules: stale };
    assert!(matches!(ledger.write(update), Err(Refusal::Staleness { .. })));
}

#[test]
fn lowering_the_staleness_is_acknowledged_after_the_old_bound() {
    let mut ledger = Ledger::founded();
    let stale = |staleness_max_ms| KeyRules { staleness_max_ms, ..KeyRules::default() };
    ledger.create("a", Algorithm::Xaes256Gcm, stale(30_000));
    let update = |rules| WriteKind::UpdateKey { name: name("a"), rules };
    let raised = ledger.propose(update(stale(60_000)));
    assert_eq!(raised.settles, None);
    ledger.apply(&raised.transaction);
    assert_eq!(ledger.propose(update(stale(0))).settles.unwrap().ms, 60_000);
    let read = Read::GetKey { name: name("a") };
    assert_eq!(ledger.read_as(&ledger.root.clone(), &read).staleness_max_ms, 60_000);
}

#[test]
fn lowering_the_staleness_again_or_repeating_it_waits_for_the_largest_bound_that_may_be_in_use() {
    let mut ledger = Ledger::founded();
    let root = ledger.root.clone();
    let rules = |staleness_max_ms| KeyRules { staleness_max_ms, ..KeyRules::default() };
    let update = |ms| WriteKind::UpdateKey { name: name("a"), rules: rules(ms) };
    ledger.create("a", Algorithm::Xaes256Gcm, rules(60_000));
    let lowering = ledger.request(update(30_000));
    let Ok(Decision::Propose(lowered)) = ledger.decide_as(&root, &lowering) else { panic!("no proposal") };
    let settling = lowered.settles.unwrap();
    assert_eq!(settling.ms, 60_000);
    ledger.apply(&lowered.transaction);
    // The same request again, and another one for the same rules: of the same state, as long.
    let again = ledger.request(update(30_000));
    for write in [lowering, again] {
        let Ok(Decision::Standing { settles, .. }) = ledger.decide_as(&root, &write) else {
            panic!("no answer")
        };
        assert_eq!(settles, Some(settling));
    }
    // Lowered further at once: a node may still use the first bound.
    assert_eq!(ledger.propose(update(10_000)).settles.unwrap().ms, 60_000);
    // Nothing waits where nothing was lowered.
    let raised = ledger.propose(update(60_000));
    assert_eq!(raised.settles, None);
    let other = ledger.propose(WriteKind::RotateKey { name: name("a") });
    assert_eq!(other.settles, None);
}

#[test]
fn an_answer_may_be_as_old_as_the_strictest_key_in_it_allows_and_without_a_key_not_at_all() {
    let mut ledger = Ledger::founded();
    let root = ledger.root.clone();
    for (key, staleness_max_ms) in [("long", 60_000), ("short", 10_000), ("never", 0)] {
        let rules = KeyRules { staleness_max_ms, ..KeyRules::default() };
        ledger.create(key, Algorithm::Xaes256Gcm, rules);
    }
    let made = |ledger: &mut Ledger, key: &str| ledger.encrypt(key, b"x").unwrap();
    let [long, short, never] = ["long", "short", "never"].map(|key| made(&mut ledger, key));
    // Its header names a key that there is not.
    let mut unknown = long.clone();
    unknown[1] ^= 1;
    let mut allowed = |ciphertexts: &[&Vec<u8>]| {
        let item = |ciphertext: &&Vec<u8>| DecryptItem {
            ciphertext: (*ciphertext).clone(),
            associated_data: vec![],
        };
        let items = ciphertexts.iter().map(item).collect();
        ledger.read_as(&root, &Read::Decrypt(Decrypt { name: None, items })).staleness_max_ms
    };
    assert_eq!(allowed(&[&long]), 60_000);
    assert_eq!(allowed(&[&long, &short]), 10_000);
    assert_eq!(allowed(&[&short, &long]), 10_000);
    assert_eq!(allowed(&[&long, &never, &short]), 0);
    assert_eq!(allowed(&[&long, &unknown]), 0);
    for read in [Read::ListTokens, Read::GetKey { name: name("unknown") }] {
        assert_eq!(ledger.read_as(&root, &read).staleness_max_ms, 0);
    }
    // A refusal about a key may be as old as its answers.
    ledger.write(WriteKind::SetEnabled { name: name("short"), version: None, enabled: false }).unwrap();
    let encrypt = Encrypt { name: name("short"), version: None, items: vec![] };
    assert_eq!(ledger.read_as(&root, &Read::Encrypt(encrypt)).staleness_max_ms, 10_000);
}

#[test]
fn versions_grow_across_pages_and_are_all_described() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    for expected in 2..=150 {
        assert_eq!(ledger.rotate("a").primary, version(expected));
    }
    let described = ledger.describe("a").unwrap();
    let numbers: Vec<u32> = described.versions.iter().map(|version| version.version.get()).collect();
    assert_eq!(numbers, (1..=150).collect::<Vec<_>>());
}

#[test]
fn a_disabled_key_or_version_does_nothing_until_it_is_enabled() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    let ciphertext = ledger.encrypt("a", b"x").unwrap();
    let set = |version, enabled| WriteKind::SetEnabled { name: name("a"), version, enabled };
    for which in [None, Some(Version::FIRST)] {
        ledger.write(set(which, false)).unwrap();
        assert_eq!(ledger.encrypt("a", b"x").unwrap_err(), Refusal::Disabled);
        assert_eq!(ledger.decrypt(Some("a"), &ciphertext).unwrap_err(), Refusal::Disabled);
        assert_eq!(ledger.decrypt(None, &ciphertext).unwrap_err(), Refusal::Disabled);
        ledger.write(set(which, true)).unwrap();
        assert_eq!(ledger.decrypt(Some("a"), &ciphertext).unwrap(), b"x");
    }
    assert_eq!(ledger.describe("a").unwrap().state, KeyState::Enabled);
    let unknown = ledger.write(set(Some(version(2)), false)).unwrap_err();
    assert_eq!(unknown, Refusal::VersionUnknown { version: version(2) });
}

#[test]
fn what_is_so_already_changes_nothing() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    let (root, before) = (ledger.root.clone(), ledger.records.clone());
    let same = [
        WriteKind::SetEnabled { name: name("a"), version: None, enabled: true },
        WriteKind::SetEnabled { name: name("a"), version: Some(Version::FIRST), enabled: true },
        WriteKind::UpdateKey { name: name("a"), rules: KeyRules::default() },
    ];
    for change in same {
        let write = ledger.request(change);
        assert!(matches!(ledger.decide_as(&root, &write), Ok(Decision::Standing { .. })));
    }
    assert_eq!(ledger.records, before);
}

#[test]
fn a_destroyed_version_opens_nothing_and_stays_destroyed() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    let ciphertext = ledger.encrypt("a", b"x").unwrap();
    ledger.rotate("a");
    let newer = ledger.encrypt("a", b"y").unwrap();
    ledger.at(5);
    let destroy = || WriteKind::DestroyVersion { name: name("a"), version: Version::FIRST };
    let records = ledger.records.len();
    ledger.write(destroy()).unwrap();
    // The material is gone; the outcome of the request has come.
    assert_eq!(ledger.records.len(), records);
    let destroyed = Refusal::Destroyed { version: Version::FIRST };
    assert_eq!(ledger.decrypt(Some("a"), &ciphertext).unwrap_err(), destroyed);
    assert_eq!(ledger.decrypt(Some("a"), &newer).unwrap(), b"y");
    let enable = WriteKind::SetEnabled { name: name("a"), version: Some(Version::FIRST), enabled: true };
    assert_eq!(ledger.write(enable).unwrap_err(), destroyed);
    let described = &ledger.describe("a").unwrap().versions[0];
    assert_eq!(described.state, VersionState::Destroyed);
    assert_eq!(described.destroyed_at, Some(UnixMillis(START.0 + 5)));
    // Once more is so already.
    let again = &key_of(ledger.write(destroy()).unwrap()).versions[0];
    assert_eq!((again.state, again.destroyed_at), (described.state, described.destroyed_at));
}

#[test]
fn after_encrypt_until_a_key_decrypts_only() {
    let mut ledger = Ledger::founded();
    let rules = KeyRules { encrypt_until: Some(START.after(1_000)), ..KeyRules::default() };
    ledger.create("a", Algorithm::Xaes256Gcm, rules);
    let ciphertext = ledger.encrypt("a", b"x").unwrap();
    ledger.at(1_000);
    assert_eq!(ledger.encrypt("a", b"x").unwrap_err(), Refusal::Expired);
    assert_eq!(ledger.decrypt(Some("a"), &ciphertext).unwrap(), b"x");
    ledger.now = Now::Doubtful(START);
    assert_eq!(ledger.encrypt("a", b"x").unwrap_err(), Refusal::ClockDoubtful);
}

fn list(
    ledger: &mut Ledger,
    prefix: &str,
    after: Option<&str>,
    items: u32,
) -> (Vec<String>, Option<KeyName>) {
    let read = Read::ListKeys {
        prefix: prefix.parse().unwrap(),
        after: after.map(name),
        page_items: NonZeroU32::new(items).unwrap(),
    };
    match ledger.read(&read).unwrap() {
        ReadAnswer::Keys { keys, next } => {
            (keys.into_iter().map(|key| key.name.as_str().to_owned()).collect(), next)
        }
        _ => panic!("another answer"),
    }
}

#[test]
fn a_list_ends_at_whole_segments_and_pages_join_without_gap() {
    let mut ledger = Ledger::founded();
    for key in ["app", "app-x", "app.y", "app/0", "app/b", "app2", "app2/a", "b"] {
        ledger.create_plain(key);
    }
    assert_eq!(list(&mut ledger, "app", None, 9).0, ["app", "app/0", "app/b"]);
    assert_eq!(list(&mut ledger, "app/", None, 9).0, ["app/0", "app/b"]);
    assert_eq!(list(&mut ledger, "", None, 9).0.len(), 8);
    assert_eq!(list(&mut ledger, "app", Some("app"), 9).0, ["app/0", "app/b"]);
    assert_eq!(list(&mut ledger, "app", Some("b"), 9).0, Vec::<String>::new());
    assert_eq!(list(&mut ledger, "app", Some("a"), 9).0, ["app", "app/0", "app/b"]);
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = list(&mut ledger, "", after.as_ref().map(KeyName::as_str), 3);
        seen.extend(page);
        let Some(next) = next else { break };
        after = Some(next);
    }
    assert_eq!(seen.len(), 8);
    assert!(seen.is_sorted());
}

#[test]
fn a_key_that_joins_a_listed_range_breaks_the_list() {
    let mut ledger = Ledger::founded();
    for key in ["app/a", "app/c", "app/d"] {
        ledger.create_plain(key);
    }
    let read = Read::ListKeys {
        prefix: "app/".parse().unwrap(),
        after: None,
        page_items: NonZeroU32::new(2).unwrap(),
    };
    let root = ledger.root.clone();
    let reads = ledger.read_as(&root, &read).reads;
    let before = ledger.view.clone();
    ledger.create_plain("app/e");
    ledger.create_plain("b");
    assert!(ledger.view.holds(&reads));
    ledger.create_plain("app/b");
    assert!(!ledger.view.holds(&reads));
    let joined = ledger.records.keys().filter(|id| before.revision(**id).is_none()).copied().collect();
    assert!(!before.unchanged(&reads, &joined));
}

#[test]
fn a_write_that_does_not_fit_a_transaction_is_refused() {
    let mut ledger = Ledger::founded();
    let chain = vec![vec![0; 41 * 1024]];
    let refused = ledger.upkeep(&Upkeep::PutCertificate { node: node(1), chain }).unwrap_err();
    assert!(matches!(refused, Refusal::TransactionMax { .. }));
}
