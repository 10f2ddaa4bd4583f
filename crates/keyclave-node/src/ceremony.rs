//! The ceremony at this node: shares, each encrypted to this process's boot key and naming this ceremony, are collected
//! until a threshold of them gives the root.
//!
//! A ceremony has its id before its first share, and another one as soon as it has ended: whatever was captured on its
//! way to an earlier one counts no more. Deliberately absent: relaying to other nodes, judging what is wrong
//! ([`crate::giving`]), and what happens once there is a root ([`crate::unsealing`]).

use std::num::NonZeroU8;

use keyclave_crypto::hpke::BootKey;
use keyclave_crypto::labels;
use keyclave_crypto::share::{Share, ShareError};
use keyclave_proto::share_terms::{SubmitTerms, Vouched};
use keyclave_types::ids::CeremonyId;
use keyclave_types::seal::{ShareSet, Threshold};
use keyclave_types::time::UnixMillis;
use keyclave_vault::ceremony::{Accepted, Collector, ShareRefusal};
use keyclave_vault::keyring::Root;

/// Processes that one ceremony vouches for.
const VOUCHED_MAX: usize = 64;

/// A ceremony as every operator may see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CeremonyProgress {
    /// Which one.
    pub id: CeremonyId,
    /// The shares that count, by number, in the order given.
    pub given: Vec<NonZeroU8>,
    /// How many are needed.
    pub threshold: Threshold,
    /// When the first came.
    pub opened_at: UnixMillis,
}

/// What the people of a ceremony have agreed on besides unsealing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Agreed {
    /// The processes that their shares vouch for.
    pub(crate) vouched: Vec<Vouched>,
    /// Whether one of them lets all members in for a while.
    pub(crate) admit_all_members: bool,
}

/// What a share did.
pub(crate) enum Given {
    /// It counts.
    Taken,
    /// It was there already.
    Repeated,
    /// It was the last one needed.
    Completed(Root, Agreed),
}

/// Why a share does not count.
#[derive(Debug, thiserror::Error)]
pub enum ShareFailure {
    /// It was encrypted to another process, or changed on its way.
    #[error("the share was not encrypted to this process, or for something else: compare its code again")]
    BootKey,
    /// What was encrypted is no share.
    #[error(transparent)]
    Malformed(#[from] ShareError),
    /// It is not one of this cluster's shares.
    #[error(transparent)]
    Refused(#[from] ShareRefusal),
    /// Its ceremony is over, or was never here.
    #[error("the ceremony that the share names has ended, or none is open: give it again")]
    Ended,
}

/// The ceremony of this process, whether a share was given or not.
pub(crate) struct Ceremony {
    id: CeremonyId,
    open: Option<Open>,
}

struct Open {
    collector: Collector,
    opened_at: UnixMillis,
    agreed: Agreed,
}

impl Ceremony {
    /// The ceremony `id`, to which nothing was given yet.
    pub(crate) fn new(id: CeremonyId) -> Self {
        Self { id, open: None }
    }

    /// What a share must name.
    pub(crate) fn id(&self) -> CeremonyId {
        self.id
    }

    /// Takes a share; the first valid one opens the ceremony. `fresh` is the ceremony that follows if it completes this
    /// one.
    pub(crate) fn give(
        &mut self,
        share: Share,
        terms: &SubmitTerms,
        set: &ShareSet,
        fresh: CeremonyId,
        now: UnixMillis,
    ) -> Result<Given, ShareFailure> {
        if terms.ceremony != self.id {
            return Err(ShareFailure::Ended);
        }
        // Before anything is opened by a share that does not count.
        Collector::judge(set, &share)?;
        // A rekey while shares were being given makes them shares of the past.
        if self.open.as_ref().is_some_and(|open| open.collector.set().id != set.id) {
            self.open = None;
        }
        let open = self.open.get_or_insert_with(|| Open {
            collector: Collector::new(set.clone()),
            opened_at: now,
            agreed: Agreed::default(),
        });
        let accepted = open.collector.give(share)?;
        open.agreed.add(terms);
        match accepted {
            Accepted::Progress(_) => Ok(Given::Taken),
            Accepted::Repeated(_) => Ok(Given::Repeated),
            Accepted::Root(root) => {
                let agreed = std::mem::take(&mut open.agreed);
                self.end(fresh);
                Ok(Given::Completed(root, agreed))
            }
        }
    }

    /// Forgets the shares of ceremony `id`, for whoever has shown a valid share; `fresh` is the one that follows.
    pub(crate) fn reset(&mut self, id: CeremonyId, fresh: CeremonyId) -> Result<(), ShareFailure> {
        if id != self.id || self.open.is_none() {
            return Err(ShareFailure::Ended);
        }
        self.end(fresh);
        Ok(())
    }

    /// Wipes what was given; `fresh` is the ceremony that follows.
    pub(crate) fn end(&mut self, fresh: CeremonyId) {
        *self = Self::new(fresh);
    }

    /// How far it has come, if a share was given.
    pub(crate) fn progress(&self) -> Option<CeremonyProgress> {
        let open = self.open.as_ref()?;
        Some(CeremonyProgress {
            id: self.id,
            given: open.collector.numbers(),
            threshold: open.collector.progress().threshold,
            opened_at: open.opened_at,
        })
    }
}

impl Agreed {
    fn add(&mut self, terms: &SubmitTerms) {
        self.admit_all_members |= terms.admit_all_members;
        if let Some(vouched) = &terms.vouch_for
            && self.vouched.len() < VOUCHED_MAX
            && !self.vouched.contains(vouched)
        {
            self.vouched.push(vouched.clone());
        }
    }
}

/// Opens a share that was encrypted to `boot` with `terms` as associated data.
pub(crate) fn open_share(boot: &BootKey, terms: &[u8], sealed: &[u8]) -> Result<Share, ShareFailure> {
    let text = boot.open(labels::SHARE_TO_NODE, terms, sealed).map_err(|_| ShareFailure::BootKey)?;
    // What is not text has no letters, and so is named as a share of the wrong length.
    Ok(Share::from_text(std::str::from_utf8(&text).unwrap_or_default())?)
}

#[cfg(test)]
mod tests {
    use keyclave_crypto::entropy::Entropy;
    use keyclave_crypto::hpke;
    use keyclave_types::ids::NodeId;

    use super::*;

    const NOW: UnixMillis = UnixMillis(5);

    struct Table {
        shares: Vec<Share>,
        set: ShareSet,
        ceremony: Ceremony,
        next: u8,
    }

    fn shares(seed: u8, threshold: Threshold) -> Vec<Share> {
        let mut entropy = Entropy::from_seed([seed; 32]);
        Root::create(&mut entropy).split(threshold, &mut entropy)
    }

    fn table() -> Table {
        let threshold = Threshold::new(2, 3).unwrap();
        let shares = shares(7, threshold);
        let set = ShareSet {
            id: shares[0].set(),
            threshold,
            commitments: shares.iter().map(Share::commitment).collect(),
            wrapped_keyring: vec![],
        };
        Table { shares, set, ceremony: Ceremony::new(CeremonyId::from_bytes([0; 16])), next: 1 }
    }

    impl Table {
        fn terms(&self) -> SubmitTerms {
            SubmitTerms { ceremony: self.ceremony.id(), vouch_for: None, admit_all_members: false }
        }

        fn fresh(&mut self) -> CeremonyId {
            self.next += 1;
            CeremonyId::from_bytes([self.next; 16])
        }

        fn give_for(&mut self, share: &Share, terms: &SubmitTerms) -> Result<Given, ShareFailure> {
            let fresh = self.fresh();
            let share = Share::from_bytes(share.to_bytes().as_slice()).unwrap();
            self.ceremony.give(share, terms, &self.set, fresh, NOW)
        }

        fn give(&mut self, at: usize) -> Result<Given, ShareFailure> {
            let share = Share::from_bytes(self.shares[at].to_bytes().as_slice()).unwrap();
            let terms = self.terms();
            self.give_for(&share, &terms)
        }
    }

    #[test]
    fn a_threshold_of_shares_gives_the_root_and_nothing_of_them_is_kept() {
        let mut table = table();
        assert!(matches!(table.give(2), Ok(Given::Taken)));
        assert!(matches!(table.give(2), Ok(Given::Repeated)));
        assert_eq!(table.ceremony.progress().unwrap().given.len(), 1);
        assert!(matches!(table.give(0), Ok(Given::Completed(..))));
        assert_eq!(table.ceremony.progress(), None);
    }

    #[test]
    fn a_share_of_another_cluster_is_named_and_spoils_nothing() {
        let mut table = table();
        let foreign = shares(9, table.set.threshold).remove(1);
        let terms = table.terms();
        let refused = table.give_for(&foreign, &terms);
        assert!(matches!(refused, Err(ShareFailure::Refused(ShareRefusal::Foreign { .. }))));
        assert_eq!(table.ceremony.progress(), None, "a share that does not count opened a ceremony");
        table.give(0).ok().unwrap();
        assert!(table.give_for(&foreign, &terms).is_err());
        assert!(matches!(table.give(1), Ok(Given::Completed(..))));
    }

    #[test]
    fn the_same_number_with_another_value_is_wrong_and_the_right_one_still_counts() {
        let mut table = table();
        table.give(0).ok().unwrap();
        let mut bytes = *table.shares[1].to_bytes();
        // The value of share 1 under the number of share 2, with a check sum that fits.
        bytes[10..42].copy_from_slice(&table.shares[0].to_bytes()[10..42]);
        let check = keyclave_crypto::hash::sha256(&[labels::SHARE_CHECK.bytes(), &bytes[..42]]);
        bytes[42..].copy_from_slice(&check[..4]);
        let twisted = Share::from_bytes(&bytes).unwrap();
        let terms = table.terms();
        let refused = table.give_for(&twisted, &terms);
        assert!(matches!(refused, Err(ShareFailure::Refused(ShareRefusal::Wrong { x })) if x.get() == 2));
        assert_eq!(table.ceremony.progress().unwrap().given.len(), 1);
        assert!(matches!(table.give(1), Ok(Given::Completed(..))));
    }

    #[test]
    fn what_was_given_to_a_ceremony_that_has_ended_counts_no_more() {
        let mut table = table();
        let captured = table.terms();
        table.give(0).ok().unwrap();
        let (id, fresh) = (table.ceremony.id(), table.fresh());
        table.ceremony.reset(id, fresh).unwrap();
        let share = shares(7, table.set.threshold).remove(0);
        assert!(matches!(table.give_for(&share, &captured), Err(ShareFailure::Ended)));
        assert_eq!(table.ceremony.progress(), None, "a captured share opened a ceremony");
        // Nor does a captured reset end the ceremony that follows.
        table.give(1).ok().unwrap();
        let fresh = table.fresh();
        assert!(matches!(table.ceremony.reset(id, fresh), Err(ShareFailure::Ended)));
        assert_eq!(table.ceremony.progress().unwrap().given.len(), 1);
        table.give(2).ok().unwrap();
        assert!(matches!(table.give_for(&share, &captured), Err(ShareFailure::Ended)));
    }

    #[test]
    fn only_an_open_ceremony_is_reset() {
        let mut table = table();
        let (id, fresh) = (table.ceremony.id(), table.fresh());
        assert!(table.ceremony.reset(id, fresh).is_err());
        table.give(0).ok().unwrap();
        assert!(table.ceremony.reset(CeremonyId::from_bytes([99; 16]), fresh).is_err());
        assert!(table.ceremony.reset(id, fresh).is_ok());
        assert_eq!((table.ceremony.progress(), table.ceremony.id()), (None, fresh));
    }

    #[test]
    fn whom_shares_vouch_for_is_known_once_the_ceremony_is_complete() {
        let mut table = table();
        let vouched = |node: u64, public: u8| Vouched {
            node: NodeId::new(node).unwrap(),
            code: hpke::code(&[public; 32]),
        };
        let share = shares(7, table.set.threshold);
        let terms = SubmitTerms { vouch_for: Some(vouched(2, 2)), ..table.terms() };
        table.give_for(&share[0], &terms).ok().unwrap();
        let terms = SubmitTerms { vouch_for: Some(vouched(3, 3)), ..table.terms() };
        match table.give_for(&share[1], &terms) {
            Ok(Given::Completed(_, agreed)) => {
                assert_eq!(agreed.vouched, [vouched(2, 2), vouched(3, 3)]);
                assert!(!agreed.admit_all_members);
            }
            _ => panic!("the second share completes it"),
        }
    }

    #[test]
    fn what_was_encrypted_for_another_process_or_other_terms_does_not_open() {
        let mut entropy = Entropy::from_seed([3; 32]);
        let (boot, other) = (BootKey::new(&mut entropy), BootKey::new(&mut entropy));
        let text = table().shares[0].to_text();
        let sealed =
            hpke::seal_to(&boot.public(), labels::SHARE_TO_NODE, b"terms", text.as_bytes(), &mut entropy)
                .unwrap();
        assert!(open_share(&boot, b"terms", &sealed).is_ok());
        assert!(matches!(open_share(&boot, b"other terms", &sealed), Err(ShareFailure::BootKey)));
        assert!(matches!(open_share(&other, b"terms", &sealed), Err(ShareFailure::BootKey)));
    }
}
