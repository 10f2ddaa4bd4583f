//! Ciphertexts that are cut, changed, foreign, too large; counted keys; any key.

use keyclave_types::ciphertext::HEADER_BYTES;
use keyclave_types::key::{Algorithm, KeyRules};
use keyclave_types::limits::{
    BATCH_ITEMS_MAX, PLAINTEXT_BYTES_MAX, RANDOM_NONCE_MESSAGES_MAX, USES_PER_BLOCK,
};
use keyclave_types::request::WriteKind;
use proptest::prelude::*;

use super::*;

#[test]
fn every_algorithm_opens_what_it_sealed_and_the_header_may_choose() {
    let mut ledger = Ledger::founded();
    ledger.uses.0.set(10);
    for (key, algorithm) in [("x", Algorithm::Xaes256Gcm), ("g", Algorithm::Aes256Gcm)] {
        ledger.create(key, algorithm, KeyRules::default());
        let ciphertext = ledger.encrypt(key, b"plain").unwrap();
        assert_eq!(ledger.decrypt(Some(key), &ciphertext).unwrap(), b"plain");
        assert_eq!(ledger.decrypt(None, &ciphertext).unwrap(), b"plain");
    }
}

#[test]
fn a_ciphertext_cut_anywhere_is_undecryptable() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    let ciphertext = ledger.encrypt("a", b"plaintext").unwrap();
    for length in 0..ciphertext.len() {
        let cut = &ciphertext[..length];
        assert_eq!(ledger.decrypt(Some("a"), cut).unwrap_err(), Refusal::Undecryptable, "{length}");
    }
}

#[test]
fn every_flipped_bit_is_refused_and_tells_only_what_the_header_shows() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    let ciphertext = ledger.encrypt("a", b"plaintext").unwrap();
    for bit in 0..ciphertext.len() * 8 {
        let mut changed = ciphertext.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let expected = match bit / 8 {
            1..17 => Refusal::WrongKey,
            _ => Refusal::Undecryptable,
        };
        assert_eq!(ledger.decrypt(Some("a"), &changed).unwrap_err(), expected, "bit {bit}");
        assert_eq!(ledger.decrypt(None, &changed).unwrap_err(), Refusal::Undecryptable, "bit {bit}");
    }
}

#[test]
fn another_key_and_other_associated_data_open_nothing() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    ledger.create_plain("b");
    let ciphertext = ledger.encrypt("a", b"plain").unwrap();
    assert_eq!(ledger.decrypt(Some("b"), &ciphertext).unwrap_err(), Refusal::WrongKey);
    let mut decrypt = decryption(Some("a"), &ciphertext);
    decrypt.items[0].associated_data = b"other".to_vec();
    match ledger.read(&Read::Decrypt(decrypt)).unwrap() {
        ReadAnswer::Decrypted(items) => {
            assert_eq!(items.into_iter().next().unwrap().err(), Some(Refusal::Undecryptable));
        }
        _ => panic!("another answer"),
    }
    // The body of one key under the header of another.
    let foreign = ledger.encrypt("b", b"plain").unwrap();
    let grafted = [&foreign[..HEADER_BYTES], &ciphertext[HEADER_BYTES..]].concat();
    assert_eq!(ledger.decrypt(Some("b"), &grafted).unwrap_err(), Refusal::Undecryptable);
}

#[test]
fn a_bad_item_spoils_no_other_and_too_many_spoil_all() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    let mut encrypt = encryption("a", None, b"good");
    encrypt.items.push(EncryptItem {
        plaintext: Zeroizing::new(vec![0; PLAINTEXT_BYTES_MAX + 1]),
        associated_data: Vec::new(),
    });
    match ledger.read(&Read::Encrypt(encrypt)).unwrap() {
        ReadAnswer::Encrypted(items) => {
            assert!(items[0].is_ok());
            assert!(matches!(items[1], Err(Refusal::PlaintextMax { .. })));
        }
        _ => panic!("another answer"),
    }
    let item = || DecryptItem { ciphertext: Vec::new(), associated_data: Vec::new() };
    let items = (0..=BATCH_ITEMS_MAX).map(|_| item()).collect();
    let many = Read::Decrypt(Decrypt { name: Some(name("a")), items });
    assert!(matches!(ledger.read(&many), Err(Refusal::ItemsMax { .. })));
    let large = (0..5).map(|_| DecryptItem { ciphertext: vec![0; 1 << 20], associated_data: Vec::new() });
    let large = Read::Decrypt(Decrypt { name: Some(name("a")), items: large.collect() });
    assert!(matches!(ledger.read(&large), Err(Refusal::RequestMax { .. })));
}

#[test]
fn a_version_may_be_named_and_an_unknown_one_is_refused() {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    ledger.rotate("a");
    for (asked, expected) in [(None, 2), (Some(version(1)), 1), (Some(version(2)), 2)] {
        match ledger.read(&Read::Encrypt(encryption("a", asked, b"x"))).unwrap() {
            ReadAnswer::Encrypted(items) => assert_eq!(items[0].as_ref().unwrap().version, version(expected)),
            _ => panic!("another answer"),
        }
    }
    let unknown = ledger.read(&Read::Encrypt(encryption("a", Some(version(3)), b"x")));
    assert_eq!(unknown.err(), Some(Refusal::VersionUnknown { version: version(3) }));
}

#[test]
fn a_counted_version_asks_for_a_block_and_ends_at_its_limit() {
    let mut ledger = Ledger::founded();
    let root = ledger.root.clone();
    ledger.create("g", Algorithm::Aes256Gcm, KeyRules::default());
    let read = Read::Encrypt(encryption("g", None, b"x"));
    assert!(matches!(ledger.read_as(&root, &read).outcome, Outcome::NeedBlock(_)));
    let reserve = Upkeep::ReserveUses { name: name("g"), version: Version::FIRST };
    let blocks = RANDOM_NONCE_MESSAGES_MAX / USES_PER_BLOCK;
    for block in 1..=blocks {
        assert_eq!(ledger.upkeep(&reserve), Ok(UpkeepAnswer::Reserved { uses: USES_PER_BLOCK }));
        if block == 1 {
            ledger.uses.0.set(1);
            assert!(ledger.encrypt("g", b"x").is_ok());
            assert!(matches!(ledger.read_as(&root, &read).outcome, Outcome::NeedBlock(_)));
        }
    }
    let exhausted = Refusal::UsesExhausted { version: Version::FIRST };
    assert_eq!(ledger.upkeep(&reserve), Err(exhausted));
    assert_eq!(ledger.describe("g").unwrap().versions[0].uses_reserved, RANDOM_NONCE_MESSAGES_MAX);
    ledger.rotate("g");
    let second = Upkeep::ReserveUses { name: name("g"), version: version(2) };
    assert!(ledger.upkeep(&second).is_ok());
    ledger.create_plain("x");
    let uncounted = Upkeep::ReserveUses { name: name("x"), version: Version::FIRST };
    assert_eq!(ledger.upkeep(&uncounted), Err(Refusal::NotCounted));
}

#[test]
fn a_key_created_elsewhere_breaks_the_refusal_of_a_lagging_view() {
    let mut ledger = Ledger::founded();
    let root = ledger.root.clone();
    let old = ledger.view.clone();
    ledger.create_plain("a");
    let ciphertext = ledger.encrypt("a", b"x").unwrap();
    let read = Read::Decrypt(decryption(None, &ciphertext));
    let permit = ledger.permit(&root, Action::Decrypt, Target::Chosen).unwrap();
    let stale = compute(&old, &permit, &SO, &read, ledger.now, &ledger.uses, &mut ledger.entropy);
    assert!(matches!(stale.outcome, Outcome::Answer(ReadAnswer::Decrypted(items)) if items[0].is_err()));
    assert!(old.holds(&stale.reads));
    assert!(!ledger.view.holds(&stale.reads));
    assert_eq!(stale.staleness_max_ms, 0);
}

#[test]
fn a_permit_for_another_act_opens_nothing() {
    let mut ledger = Ledger::founded();
    let root = ledger.root.clone();
    ledger.create_plain("a");
    ledger.create_plain("b");
    let read = Read::Encrypt(encryption("a", None, b"x"));
    for wrong in [
        ledger.permit(&root, Action::Encrypt, Target::Key(&name("b"))).unwrap(),
        ledger.permit(&root, Action::ClusterStatus, Target::Cluster).unwrap(),
        ledger.permit(&root, Action::Decrypt, Target::Key(&name("a"))).unwrap(),
    ] {
        let computed =
            compute(&ledger.view, &wrong, &SO, &read, ledger.now, &ledger.uses, &mut ledger.entropy);
        assert!(matches!(computed.outcome, Outcome::Refused(Refusal::PermitForeign)));
    }
    let write = ledger.request(WriteKind::RotateKey { name: name("a") });
    let wrong = ledger.permit(&root, Action::RotateKey, Target::Key(&name("b"))).unwrap();
    let refused = decide(&ledger.view, &wrong, &write, &ledger.occasion(), &mut ledger.entropy);
    assert_eq!(refused.unwrap_err().refusal, Refusal::PermitForeign);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn made_up_ciphertexts_are_refused_and_never_panic(bytes: Vec<u8>, graft: bool) {
        let mut ledger = Ledger::founded();
        ledger.create_plain("a");
        let mut made_up = bytes;
        if graft {
            let header = ledger.encrypt("a", b"x").unwrap()[..HEADER_BYTES].to_vec();
            made_up.splice(0..0, header);
        }
        prop_assert!(ledger.decrypt(Some("a"), &made_up).is_err());
        prop_assert!(ledger.decrypt(None, &made_up).is_err());
    }
}
