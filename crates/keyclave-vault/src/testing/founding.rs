//! Founding, and the way from shares back to an unsealed view.

use std::sync::Arc;

use keyclave_crypto::hpke::BootKey;
use keyclave_crypto::share::Share;
use proptest::prelude::*;

use super::*;
use crate::ceremony::{Accepted, Collector, ShareRefusal, open_keyring};
use crate::keyring::{Keyring, Root, UnwrapError};
use crate::records::plain::Formats;
use crate::view::OpenError;

fn share_again(share: &Share) -> Share {
    Share::from_text(&share.to_text()).unwrap()
}

fn root_of(shown: &Shown, which: &[usize]) -> Root {
    let mut collector = Collector::new(shown.founded.seal_record.current.clone());
    for at in which {
        match collector.give(share_again(&shown.founded.shares[*at])).unwrap() {
            Accepted::Progress(_) | Accepted::Repeated(_) => {}
            Accepted::Root(root) => return root,
        }
    }
    panic!("not enough shares");
}

#[test]
fn any_threshold_of_shares_opens_the_view_again() {
    let (mut ledger, shown) = Ledger::founded_showing();
    ledger.create_plain("a");
    let set = ledger.view.seal_record().unwrap().current;
    assert_eq!(set, shown.founded.seal_record.current);
    for which in [[0, 1, 2], [4, 2, 0], [1, 3, 4]] {
        let root = root_of(&shown, &which);
        let keyring = Arc::new(open_keyring(&root, CLUSTER, &set).unwrap());
        assert_eq!(Some(keyring.writer().public()), ledger.view.writer_key().map(|key| key.public));
        let records = ledger.records.clone();
        let view = View::open(keyring, CLUSTER, Generation(1), ledger.view.index(), records).unwrap();
        assert!(view.head_matches());
        assert_eq!(view.indexes().names(&"".parse().unwrap(), None).count(), 1);
    }
}

#[test]
fn a_repeated_share_counts_once_and_a_bad_one_is_named() {
    let (_, shown) = Ledger::founded_showing();
    let (_, mut other) = Ledger::founded_showing();
    let set = &shown.founded.seal_record.current;
    let mut collector = Collector::new(set.clone());
    let give = |collector: &mut Collector, at: usize| {
        collector.give(share_again(&shown.founded.shares[at])).unwrap()
    };
    assert!(matches!(give(&mut collector, 0), Accepted::Progress(progress) if progress.given == 1));
    assert!(matches!(give(&mut collector, 0), Accepted::Repeated(progress) if progress.given == 1));
    // The same set and number with another value: swap the commitments.
    let mut tampered = set.clone();
    tampered.commitments.swap(1, 2);
    let wrong = Collector::judge(&tampered, &shown.founded.shares[1]).unwrap_err();
    assert!(matches!(wrong, ShareRefusal::Wrong { x } if x.get() == 2));
    tampered.commitments.truncate(1);
    let number = Collector::judge(&tampered, &shown.founded.shares[1]).unwrap_err();
    assert!(matches!(number, ShareRefusal::Number { .. }));
    other.founded.seal_record.current.id = [7; 8];
    let foreign = Collector::judge(&other.founded.seal_record.current, &shown.founded.shares[1]).unwrap_err();
    assert!(matches!(foreign, ShareRefusal::Foreign { .. }));
    assert_eq!(collector.progress().given, 1);
    assert!(matches!(give(&mut collector, 3), Accepted::Progress(_)));
    assert!(matches!(give(&mut collector, 4), Accepted::Root(_)));
    assert_eq!(collector.numbers(), []);
}

#[test]
fn another_root_cluster_or_share_set_does_not_open_the_keyring() {
    let (_, shown) = Ledger::founded_showing();
    let set = &shown.founded.seal_record.current;
    let root = root_of(&shown, &[0, 1, 2]);
    let stranger = Root::create(&mut Entropy::from_seed([1; 32]));
    assert!(matches!(open_keyring(&stranger, CLUSTER, set), Err(UnwrapError::Root(_))));
    let other = ClusterId::from_bytes([2; 16]);
    assert!(matches!(open_keyring(&root, other, set), Err(UnwrapError::Root(_))));
    let wrapped = &set.wrapped_keyring;
    assert!(Keyring::unwrap(&root, CLUSTER, [0; 8], wrapped).is_err());
    assert!(Keyring::unwrap(&root, CLUSTER, set.id, &wrapped[..wrapped.len() - 1]).is_err());
}

#[test]
fn the_root_goes_to_one_boot_key_of_one_cluster() {
    let (_, shown) = Ledger::founded_showing();
    let set = &shown.founded.seal_record.current;
    let mut entropy = Entropy::from_seed([3; 32]);
    let (boot, other) = (BootKey::new(&mut entropy), BootKey::new(&mut entropy));
    let sealed = root_of(&shown, &[0, 1, 2]).seal_to(&boot.public(), CLUSTER, &mut entropy).unwrap();
    assert!(open_keyring(&Root::open(&boot, CLUSTER, &sealed).unwrap(), CLUSTER, set).is_ok());
    assert!(Root::open(&other, CLUSTER, &sealed).is_err());
    assert!(Root::open(&boot, ClusterId::from_bytes([9; 16]), &sealed).is_err());
}

#[test]
fn a_wrong_keyring_opens_nothing() {
    let (ledger, _) = Ledger::founded_showing();
    let wrong = Arc::new(Keyring::create(&mut Entropy::from_seed([8; 32])));
    for (id, record) in ledger.records.clone().into_iter().filter(|(id, _)| !id.is_plain()) {
        let opened = View::open(Arc::clone(&wrong), CLUSTER, Generation(1), 2, [(id, record)]);
        assert!(matches!(opened, Err(OpenError::Unopened { .. })));
    }
}

#[test]
fn a_ledger_is_founded_once_and_only_on_the_machine() {
    let (mut ledger, shown) = Ledger::founded_showing();
    let again = ledger.apply(&shown.founded.transaction);
    assert!(matches!(again, TransactionOutcome::Conflict(_)));
    let wrong = ledger.permit(&ledger.root, Action::CreateToken, Target::Cluster).unwrap();
    let threshold = Threshold::new(2, 3).unwrap();
    let refused = found(&wrong, &founding(threshold), &ledger.occasion(), &mut ledger.entropy);
    assert_eq!(refused.err(), Some(Refusal::PermitForeign));
}

#[test]
fn a_founded_ledger_says_everything_about_itself() {
    let ledger = Ledger::founded();
    let view = &ledger.view;
    let formats = Formats { cluster: CLUSTER, generation: Generation(1), version_min: 1 };
    assert_eq!(view.formats(), Some(formats));
    assert_eq!(view.addresses(node(1)), Some(addresses("one")));
    assert_eq!(view.nodes().len(), 1);
    assert_eq!(view.certificate(node(1)).unwrap().chain, [b"leaf".to_vec()]);
    assert_eq!(view.ca_certificate(), Some(b"certificate of the authority".as_slice()));
    assert_eq!(view.cluster_time(), Some(START));
    let house = permit(&Principal::Member(node(1)), Action::Housekeep, None);
    assert_eq!(view.ca_key(&house).unwrap().expose(), b"private key of the authority");
    assert!(view.ca_key(&ledger.permit(&ledger.root, Action::ReadAudit, Target::Cluster).unwrap()).is_none());
}

#[test]
fn the_largest_share_set_still_founds_a_cluster() {
    let mut entropy = Entropy::from_seed([4; 32]);
    let occasion =
        Occasion { now: Now::Trusted(START), leader: LeaderId { term: 1, node: 1 }, arrived_at: node(1) };
    let init = permit(&Principal::LocalSocket, Action::Init, None);
    let threshold = Threshold::new(128, 255).unwrap();
    let founded = found(&init, &founding(threshold), &occasion, &mut entropy).unwrap();
    assert_eq!(founded.shares.len(), 255);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn a_record_moved_changed_or_put_back_does_not_open(at: prop::sample::Index, byte: prop::sample::Index) {
        let (ledger, shown) = Ledger::founded_showing();
        let sealed: Vec<_> =
            ledger.records.iter().filter(|(id, _)| !id.is_plain()).map(|(id, record)| (*id, record)).collect();
        let (id, record) = sealed[at.index(sealed.len())];
        let (elsewhere, _) = sealed[(at.index(sealed.len()) + 1) % sealed.len()];
        let mut flipped = record.clone();
        let position = byte.index(flipped.blob.len());
        flipped.blob[position] ^= 1;
        let mut later = record.clone();
        later.revision.0 += 1;
        for (id, record) in [(elsewhere, record.clone()), (id, flipped), (id, later)] {
            let keyring = Arc::clone(&shown.founded.keyring);
            prop_assert!(View::open(keyring, CLUSTER, Generation(1), 2, [(id, record)]).is_err());
        }
    }
}
