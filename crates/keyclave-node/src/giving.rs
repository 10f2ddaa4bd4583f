//! Shares given to this sealed node: each is opened, judged at once, and vouches for this process at an unsealed peer or
//! counts in the ceremony.
//!
//! Called by the server for what comes over its own socket or the network, and by [`crate::services::ceremony`] for what
//! others relay. Deliberately absent: the collecting itself ([`crate::ceremony`]) and the root's use
//! ([`crate::unsealing`]).

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use keyclave_crypto::hpke;
use keyclave_crypto::share::Share;
use keyclave_proto::share_terms::{ShareTerms, SubmitTerms};
use keyclave_types::ids::{CeremonyId, PlainKind, RecordId};
use keyclave_types::seal::ShareSet;
use keyclave_vault::ceremony::{Collector, ShareRefusal};
use tokio::time::Instant;

use crate::ceremony::{Ceremony, CeremonyProgress, Given, ShareFailure, open_share};
use crate::guesses::Guesses;
use crate::host::Host;
use crate::member::Member;
use crate::unsealing::{By, UnsealError};

/// How long a ceremony waits until the seal record is confirmed as the current one.
const CONFIRM_MS_MAX: u64 = 15_000;
/// Shares of sets that are not known here and are being looked at all the same.
pub(crate) const DOUBTFUL_SHARES_MAX: usize = 4;
/// How long one question about the seal record may take.
const QUESTION_MS_MAX: u64 = 1_000;
/// Rest between two of them.
const REST_MS: u64 = 100;

/// Why a share changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum GiveError {
    /// It does not count.
    #[error(transparent)]
    Share(#[from] ShareFailure),
    /// It completed the ceremony, and the node could not be unsealed.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    /// It is wrong, and too many wrong ones were given lately.
    #[error("too many wrong shares were given: wait a minute")]
    BackOff,
    /// No leader could say whether the seal record is current.
    #[error("no leader could be reached that says whether the seal record is current")]
    NotConfirmed,
    /// This node is unsealed.
    #[error("this node is unsealed already; no share is needed here")]
    NotNeeded,
    /// It vouches for a process of this node that is not this one.
    #[error("the share vouches for another process of this node: read the code again")]
    OtherCode,
}

/// What a share did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ShareTaken {
    /// It counts, or was there already.
    Progress {
        /// Its number.
        x: u8,
        /// Whether it was there already.
        repeated: bool,
        /// How far the ceremony has come.
        progress: Option<CeremonyProgress>,
    },
    /// It completed the ceremony: the node is unsealed.
    Unsealed {
        /// Its number.
        x: u8,
    },
    /// It vouched for this process, which has the root from a peer.
    Vouched {
        /// Its number.
        x: u8,
    },
}

impl<H: Host> Member<H> {
    /// Takes one share, encrypted to this process's boot key under `terms`.
    pub async fn give_share(
        self: &Arc<Self>,
        terms: &SubmitTerms,
        sealed: &[u8],
    ) -> Result<ShareTaken, GiveError> {
        let vouches = self.vouches_here(terms)?;
        let share = self.opened(&ShareTerms::Submit(terms.clone()), sealed)?;
        self.judge(&share).await?;
        let x = share.x().get();
        if vouches && self.vouched_by(&share).await {
            return Ok(ShareTaken::Vouched { x });
        }
        self.confirm_seal_record().await?;
        let set = self.current_set()?;
        let fresh = self.fresh_ceremony();
        let (given, progress) = {
            let mut ceremony = self.ceremony_held();
            let given = ceremony.give(share, terms, &set, fresh, self.clock())?;
            (given, ceremony.progress())
        };
        match given {
            Given::Taken => Ok(ShareTaken::Progress { x, repeated: false, progress }),
            Given::Repeated => Ok(ShareTaken::Progress { x, repeated: true, progress }),
            Given::Completed(root, agreed) => {
                self.unseal(root, &set, By::Ceremony(agreed))?;
                self.forget_guesses();
                tracing::info!(share = x, "the ceremony is complete: this node is unsealed");
                Ok(ShareTaken::Unsealed { x })
            }
        }
    }

    /// Forgets the shares given so far to ceremony `id`, for whoever shows a valid one.
    pub async fn reset_ceremony(&self, id: CeremonyId, sealed: &[u8]) -> Result<(), GiveError> {
        let share = self.opened(&ShareTerms::Reset(id), sealed)?;
        self.judge(&share).await?;
        let fresh = self.fresh_ceremony();
        Ok(self.ceremony_held().reset(id, fresh)?)
    }

    /// The ceremony at this node, if a share was given.
    pub fn ceremony(&self) -> Option<CeremonyProgress> {
        self.ceremony_held().progress()
    }

    /// What a share for this process must name; none while it needs no share.
    pub fn ceremony_id(&self) -> Option<CeremonyId> {
        (!self.is_unsealed()).then(|| self.ceremony_held().id())
    }

    /// Wrong shares given here since a ceremony was last completed.
    pub fn guesses(&self) -> Guesses {
        *self.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the ceremony at this node and wipes what was given to it.
    pub(crate) fn end_ceremony(&self) {
        let fresh = self.fresh_ceremony();
        self.ceremony_held().end(fresh);
    }

    /// A share that was encrypted to this process, for a ceremony that has not ended.
    fn opened(&self, terms: &ShareTerms, sealed: &[u8]) -> Result<Share, GiveError> {
        if self.is_unsealed() {
            return Err(GiveError::NotNeeded);
        }
        if terms.ceremony() != self.ceremony_held().id() {
            return Err(ShareFailure::Ended.into());
        }
        Ok(open_share(&self.boot, &terms.to_bytes(), sealed)?)
    }

    /// Whether a share vouches for this very process. One for another process of this node is refused, so that nobody
    /// believes to have vouched for what runs.
    fn vouches_here(&self, terms: &SubmitTerms) -> Result<bool, GiveError> {
        match &terms.vouch_for {
            Some(vouched) if vouched.node == self.local.node => {
                let ours = vouched.code == hpke::code(&self.boot.public());
                ours.then_some(true).ok_or(GiveError::OtherCode)
            }
            Some(_) | None => Ok(false),
        }
    }

    /// Whether a share is one of the current set. One that fits is never kept waiting by guesses; one of a set that this
    /// node has not heard of may be of a newer one, which takes a confirmation to know.
    async fn judge(&self, share: &Share) -> Result<(), GiveError> {
        let known = self.current_set()?;
        if Collector::judge(&known, share).is_ok() {
            return Ok(());
        }
        if share.set() != known.id {
            let _place = self.doubtful.try_acquire().map_err(|_| GiveError::BackOff)?;
            self.confirm_seal_record().await?;
        }
        let set = self.current_set()?;
        Collector::judge(&set, share).map_err(|refusal| self.wrong_share(refusal))
    }

    /// Counts a wrong share on the disk before it is named.
    pub(crate) fn wrong_share(&self, refusal: ShareRefusal) -> GiveError {
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(counted) = guesses.with_another(self.clock()) else { return GiveError::BackOff };
        if let Err(error) = self.home.save_guesses(counted) {
            tracing::error!(%error, "a wrong share could not be counted, so it is not named either");
            return GiveError::BackOff;
        }
        *guesses = counted;
        tracing::warn!(wrong = counted.wrong, "a wrong share was given");
        ShareFailure::from(refusal).into()
    }

    fn forget_guesses(&self) {
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        if *guesses == Guesses::default() {
            return;
        }
        match self.home.save_guesses(Guesses::default()) {
            Ok(()) => *guesses = Guesses::default(),
            Err(error) => tracing::error!(%error, "the count of wrong shares could not be reset"),
        }
    }

    fn ceremony_held(&self) -> MutexGuard<'_, Ceremony> {
        // Every change is whole before anything can panic.
        self.ceremony.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh_ceremony(&self) -> CeremonyId {
        CeremonyId::from_bytes(self.entropy().array())
    }

    fn current_set(&self) -> Result<ShareSet, UnsealError> {
        self.seal_record().map(|seal| seal.current).ok_or(UnsealError::NoSealRecord)
    }

    /// Waits until this node's seal record is confirmed as the current one; a sealed leader can confirm this.
    async fn confirm_seal_record(&self) -> Result<(), GiveError> {
        let deadline = Instant::now() + Duration::from_millis(CONFIRM_MS_MAX);
        while Instant::now() < deadline {
            if let Some(index) = self.ask_seal_record_index().await
                && self.seal_record_is_current(index)
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(REST_MS)).await;
        }
        Err(GiveError::NotConfirmed)
    }

    /// Whether everything up to `index` is here and nothing in it that is not applied changes the seal record. While
    /// all are sealed nobody can vouch for what is committed, so waiting until it is applied would wait for ever.
    fn seal_record_is_current(&self, index: u64) -> bool {
        let seal = RecordId::plain(PlainKind::Seal, 0);
        self.cluster.last_index() >= index && matches!(self.cluster.changes_unapplied(seal), Ok(false))
    }

    async fn ask_seal_record_index(&self) -> Option<u64> {
        let leadership = self.cluster.leadership();
        if leadership.leader == Some(self.local.node) {
            return self.cluster.confirm_as_leader().await.ok().map(|confirmation| confirmation.index);
        }
        let leader = leadership.leader.filter(|leader| *leader != self.local.node)?;
        let heard =
            self.peers.seal_record_index(leader, Duration::from_millis(QUESTION_MS_MAX)).await.ok()?;
        (heard.answer.generation == self.local.generation).then_some(heard.answer.index)
    }
}
