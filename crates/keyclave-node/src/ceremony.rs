//! The ceremony at this node: shares, each encrypted to this process's boot key, are judged one by one until a
//! threshold of them gives the root.
//!
//! Deliberately absent: relaying to other nodes, and what happens once there is a root ([`crate::unsealing`]).

use std::num::NonZeroU8;

use keyclave_crypto::hpke::BootKey;
use keyclave_crypto::labels;
use keyclave_crypto::share::{Share, ShareError};
use keyclave_types::ids::CeremonyId;
use keyclave_types::seal::{ShareSet, Threshold};
use keyclave_types::time::UnixMillis;
use keyclave_vault::ceremony::{Accepted, Collector, ShareRefusal};
use keyclave_vault::keyring::Root;

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
    /// How many were wrong.
    pub refused: u32,
}

/// What a share did.
pub(crate) enum Given {
    /// It counts.
    Taken(NonZeroU8),
    /// It was there already.
    Repeated(NonZeroU8),
    /// It was the last one needed.
    Completed(NonZeroU8, Root),
}

/// Why a share does not count.
#[derive(Debug, thiserror::Error)]
pub enum ShareFailure {
    /// It was encrypted to another process, or changed on its way.
    #[error("the share was not encrypted to this process: compare its code again")]
    BootKey,
    /// What was encrypted is no share.
    #[error(transparent)]
    Malformed(#[from] ShareError),
    /// It is not one of this cluster's shares.
    #[error(transparent)]
    Refused(#[from] ShareRefusal),
    /// Another ceremony is open.
    #[error("no such ceremony is open")]
    Unknown,
}

/// The ceremony, if one is open.
#[derive(Default)]
pub(crate) struct Ceremony {
    open: Option<Open>,
    refused: u32,
}

struct Open {
    id: CeremonyId,
    collector: Collector,
    opened_at: UnixMillis,
}

impl Ceremony {
    /// Opens an encrypted share and judges it against `set`; the first valid one opens a ceremony.
    pub(crate) fn give(
        &mut self,
        boot: &BootKey,
        terms: &[u8],
        sealed: &[u8],
        set: &ShareSet,
        fresh: CeremonyId,
        now: UnixMillis,
    ) -> Result<Given, ShareFailure> {
        let share = open_share(boot, terms, sealed)?;
        let x = share.x();
        if let Err(refusal) = Collector::judge(set, &share) {
            self.refused = self.refused.saturating_add(1);
            return Err(refusal.into());
        }
        // A rekey while shares were being given makes them shares of the past.
        if self.open.as_ref().is_some_and(|open| open.collector.set().id != set.id) {
            self.open = None;
        }
        let open = self.open.get_or_insert_with(|| Open {
            id: fresh,
            collector: Collector::new(set.clone()),
            opened_at: now,
        });
        match open.collector.give(share)? {
            Accepted::Progress(_) => Ok(Given::Taken(x)),
            Accepted::Repeated(_) => Ok(Given::Repeated(x)),
            Accepted::Root(root) => {
                *self = Self::default();
                Ok(Given::Completed(x, root))
            }
        }
    }

    /// Forgets the shares of ceremony `id`, for whoever shows a valid share.
    pub(crate) fn reset(
        &mut self,
        boot: &BootKey,
        terms: &[u8],
        sealed: &[u8],
        set: &ShareSet,
        id: CeremonyId,
    ) -> Result<(), ShareFailure> {
        Collector::judge(set, &open_share(boot, terms, sealed)?)?;
        match &self.open {
            Some(open) if open.id == id => {
                self.open = None;
                Ok(())
            }
            Some(_) | None => Err(ShareFailure::Unknown),
        }
    }

    /// How far it has come.
    pub(crate) fn progress(&self) -> Option<CeremonyProgress> {
        let open = self.open.as_ref()?;
        Some(CeremonyProgress {
            id: open.id,
            given: open.collector.numbers(),
            threshold: open.collector.progress().threshold,
            opened_at: open.opened_at,
            refused: self.refused,
        })
    }
}

/// Whether an encrypted share is one of `set`. What is no share at all is refused as such.
pub(crate) fn fits(
    boot: &BootKey,
    terms: &[u8],
    sealed: &[u8],
    set: &ShareSet,
) -> Result<bool, ShareFailure> {
    Ok(Collector::judge(set, &open_share(boot, terms, sealed)?).is_ok())
}

fn open_share(boot: &BootKey, terms: &[u8], sealed: &[u8]) -> Result<Share, ShareFailure> {
    let text = boot.open(labels::SHARE_TO_NODE, terms, sealed).map_err(|_| ShareFailure::BootKey)?;
    // What is not text has no letters, and so is named as a share of the wrong length.
    Ok(Share::from_text(std::str::from_utf8(&text).unwrap_or_default())?)
}

#[cfg(test)]
mod tests {
    use keyclave_crypto::entropy::Entropy;
    use keyclave_crypto::hpke;

    use super::*;

    const TERMS: &[u8] = b"terms";
    const NOW: UnixMillis = UnixMillis(5);

    struct Table {
        entropy: Entropy,
        boot: BootKey,
        shares: Vec<Share>,
        set: ShareSet,
        ceremony: Ceremony,
    }

    fn table() -> Table {
        let mut entropy = Entropy::from_seed([7; 32]);
        let threshold = Threshold::new(2, 3).unwrap();
        let shares = Root::create(&mut entropy).split(threshold, &mut entropy);
        let set = ShareSet {
            id: shares[0].set(),
            threshold,
            commitments: shares.iter().map(Share::commitment).collect(),
            wrapped_keyring: vec![],
        };
        let boot = BootKey::new(&mut entropy);
        Table { entropy, boot, shares, set, ceremony: Ceremony::default() }
    }

    impl Table {
        fn sealed(&mut self, share: usize, terms: &[u8]) -> Vec<u8> {
            let text = self.shares[share].to_text();
            let public = self.boot.public();
            hpke::seal_to(&public, labels::SHARE_TO_NODE, terms, text.as_bytes(), &mut self.entropy).unwrap()
        }

        fn give(&mut self, share: usize) -> Result<Given, ShareFailure> {
            let sealed = self.sealed(share, TERMS);
            self.ceremony.give(&self.boot, TERMS, &sealed, &self.set, CeremonyId::from_bytes([1; 16]), NOW)
        }
    }

    #[test]
    fn a_threshold_of_shares_gives_the_root_and_nothing_of_them_is_kept() {
        let mut table = table();
        assert!(matches!(table.give(2), Ok(Given::Taken(_))));
        assert!(matches!(table.give(2), Ok(Given::Repeated(_))));
        assert_eq!(table.ceremony.progress().unwrap().given.len(), 1);
        assert!(matches!(table.give(0), Ok(Given::Completed(..))));
        assert_eq!(table.ceremony.progress(), None);
    }

    #[test]
    fn a_share_of_another_cluster_is_named_and_spoils_nothing() {
        let mut table = table();
        table.give(0).ok().unwrap();
        let mut other = Entropy::from_seed([9; 32]);
        table.shares[1] = Root::create(&mut other).split(table.set.threshold, &mut other).remove(1);
        assert!(matches!(table.give(1), Err(ShareFailure::Refused(_))));
        let progress = table.ceremony.progress().unwrap();
        assert_eq!((progress.given.len(), progress.refused), (1, 1));
    }

    #[test]
    fn what_was_encrypted_for_another_process_or_other_terms_does_not_count() {
        let mut table = table();
        let sealed = table.sealed(0, b"other terms");
        let id = CeremonyId::from_bytes([1; 16]);
        let given = table.ceremony.give(&table.boot, TERMS, &sealed, &table.set, id, NOW);
        assert!(matches!(given, Err(ShareFailure::BootKey)));
        table.boot = BootKey::new(&mut table.entropy);
        let given = table.ceremony.give(&table.boot, b"other terms", &sealed, &table.set, id, NOW);
        assert!(matches!(given, Err(ShareFailure::BootKey)));
    }

    #[test]
    fn only_a_valid_share_resets() {
        let mut table = table();
        table.give(0).ok().unwrap();
        let id = CeremonyId::from_bytes([1; 16]);
        let sealed = table.sealed(1, TERMS);
        assert!(table.ceremony.reset(&table.boot, b"x", &sealed, &table.set, id).is_err());
        let other = CeremonyId::from_bytes([2; 16]);
        assert!(table.ceremony.reset(&table.boot, TERMS, &sealed, &table.set, other).is_err());
        assert!(table.ceremony.reset(&table.boot, TERMS, &sealed, &table.set, id).is_ok());
        assert_eq!(table.ceremony.progress(), None);
    }
}
