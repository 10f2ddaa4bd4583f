//! Random histories of deciding and applying: whatever is withdrawn or changed between a decision and its apply
//! makes a conflict, and whatever was computed no longer holds.

use std::num::NonZeroU32;

use keyclave_types::key::{Algorithm, KeyRules, VersionState};
use keyclave_types::request::WriteKind;
use proptest::prelude::*;

use super::*;

/// What happens between a decision and its apply.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    OtherKey,
    RotateKey,
    DisableKey,
    DisableVersion,
    DestroyVersion,
    ChangeRules,
    RevokeToken,
    LeaderChange,
    KeyringChange,
}

impl Between {
    /// Whether a write that was decided before may still commit.
    fn harmless(self) -> bool {
        matches!(self, Self::Nothing | Self::OtherKey)
    }
}

fn between() -> impl Strategy<Value = Between> {
    prop::sample::select(vec![
        Between::Nothing,
        Between::OtherKey,
        Between::RotateKey,
        Between::DisableKey,
        Between::DisableVersion,
        Between::DestroyVersion,
        Between::ChangeRules,
        Between::RevokeToken,
        Between::LeaderChange,
        Between::KeyringChange,
    ])
}

fn happen(ledger: &mut Ledger, what: Between, service: &Principal) {
    let key = name("a");
    let change = match what {
        Between::Nothing => return,
        Between::LeaderChange => {
            ledger.leader.term += 1;
            return;
        }
        Between::KeyringChange => {
            // A rekey wraps the keyring anew: the seal record's next revision.
            let id = RecordId::plain(keyclave_types::ids::PlainKind::Seal, 0);
            let record = ledger.records.get_mut(&id).unwrap();
            record.revision.0 = ledger.view.index() + 1;
            let record = record.clone();
            ledger.view = ledger.view.fold(ledger.view.index() + 1, [(id, Some(record))]).unwrap();
            return;
        }
        Between::OtherKey => WriteKind::RotateKey { name: name("b") },
        Between::RotateKey => WriteKind::RotateKey { name: key },
        Between::DisableKey => WriteKind::SetEnabled { name: key, version: None, enabled: false },
        Between::DisableVersion => {
            WriteKind::SetEnabled { name: key, version: Some(Version::FIRST), enabled: false }
        }
        Between::DestroyVersion => WriteKind::DestroyVersion { name: key, version: Version::FIRST },
        Between::ChangeRules => {
            let rules = KeyRules { keep_versions: NonZeroU32::new(7), ..KeyRules::default() };
            WriteKind::UpdateKey { name: key, rules }
        }
        Between::RevokeToken => WriteKind::RevokeToken { id: service.token().unwrap() },
    };
    ledger.write(change).unwrap();
}

fn ready() -> (Ledger, Principal) {
    let mut ledger = Ledger::founded();
    ledger.create_plain("a");
    ledger.create_plain("b");
    let (service, _) = ledger.service("billing");
    (ledger, service)
}

fn write_of(which: u8) -> WriteKind {
    let key = name("a");
    match which {
        0 => WriteKind::SetEnabled { name: key, version: Some(Version::FIRST), enabled: false },
        1 => WriteKind::DestroyVersion { name: key, version: Version::FIRST },
        _ => WriteKind::RotateKey { name: key },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_change_between_decision_and_apply_conflicts(what in between(), which in 0_u8..3) {
        let (mut ledger, service) = ready();
        let write = ledger.request(write_of(which));
        let decided = ledger.decide_as(&service, &write).unwrap();
        let Decision::Propose(decided) = decided else { panic!("nothing to propose") };
        happen(&mut ledger, what, &service);
        // Rules, state and versions stand in two records; a write that touched neither may commit beside it.
        let outcome = ledger.apply(&decided.transaction);
        prop_assert_eq!(outcome == TransactionOutcome::Committed, what.harmless(), "{:?}", outcome);
        if !what.harmless() {
            // Decided anew it commits, or is refused for what has happened.
            match ledger.write_as(&service, &write) {
                Ok(_) => {}
                Err(refusal) => prop_assert!(matches!(
                    refusal,
                    Refusal::Unauthenticated | Refusal::Destroyed { .. }
                ), "{refusal:?}"),
            }
        }
    }

    #[test]
    fn an_answer_or_refusal_holds_exactly_until_something_it_read_changes(
        what in between(), missing: bool,
    ) {
        let (mut ledger, service) = ready();
        let read = if missing {
            Read::GetKey { name: name("nothing") }
        } else {
            Read::Encrypt(encryption("a", None, b"x"))
        };
        let computed = ledger.read_as(&service, &read);
        happen(&mut ledger, what, &service);
        let unread = match what {
            Between::Nothing | Between::OtherKey | Between::LeaderChange => true,
            Between::RevokeToken | Between::KeyringChange => false,
            _ => missing,
        };
        prop_assert_eq!(ledger.view.holds(&computed.reads), unread);
    }

    #[test]
    fn whatever_happens_every_ciphertext_opens_until_its_version_is_destroyed(
        acts in prop::collection::vec((0_u8..5, 1_u32..6), 1..40),
    ) {
        let mut ledger = Ledger::founded();
        ledger.create("a", Algorithm::Xaes256Gcm, KeyRules::default());
        let mut ciphertexts = vec![(Version::FIRST, ledger.encrypt("a", b"x").unwrap())];
        let mut newest = 1;
        for (act, number) in acts {
            let version = Version::new(number);
            let change = match act {
                0 => WriteKind::RotateKey { name: name("a") },
                1 => WriteKind::DestroyVersion { name: name("a"), version: version.unwrap() },
                2 | 3 => WriteKind::SetEnabled { name: name("a"), version, enabled: act == 2 },
                _ => WriteKind::SetEnabled { name: name("a"), version: None, enabled: true },
            };
            if let Ok(WriteAnswer::Key(key)) = ledger.write(change) {
                prop_assert!(key.primary.get() >= newest, "versions never go back");
                newest = key.primary.get();
            }
            if let Ok(ciphertext) = ledger.encrypt("a", b"x") {
                ciphertexts.push((Version::new(newest).unwrap(), ciphertext));
            }
        }
        let described = ledger.describe("a").unwrap();
        for (version, ciphertext) in ciphertexts {
            let found = described.versions.iter().find(|found| found.version == version).unwrap();
            let expected = match found.state {
                VersionState::Enabled => Ok(b"x".to_vec()),
                VersionState::Disabled => Err(Refusal::Disabled),
                VersionState::Destroyed => Err(Refusal::Destroyed { version }),
            };
            prop_assert_eq!(ledger.decrypt(Some("a"), &ciphertext), expected);
        }
    }
}
