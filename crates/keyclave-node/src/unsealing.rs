//! From a root to a node that serves: the keyring opens, peers and log get their keys, the view opens, and then the
//! node puts its own things in order through the ledger.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use keyclave_types::ids::{CeremonyId, PlainKind, RecordId};
use keyclave_types::seal::ShareSet;
use keyclave_vault::ceremony::open_keyring;
use keyclave_vault::keyring::{Root, UnwrapError};
use keyclave_vault::view::View;
use tokio::time::Instant;

use crate::asking;
use crate::ceremony::{CeremonyProgress, Given, ShareFailure, fits};
use crate::confirmer;
use crate::failure::Failure;
use crate::host::Host;
use crate::keeper::{Keeper, KeeperError};
use crate::member::Member;
use crate::timekeeping::Timekeeper;
use crate::unsealed::{ReservedUses, Unsealed};

/// How long a ceremony waits until the seal record is confirmed as the current one.
const CONFIRM_MS_MAX: u64 = 15_000;
/// Shares that fit nothing known here and are being looked at all the same.
pub(crate) const DOUBTFUL_SHARES_MAX: usize = 4;
/// How long one question about the seal record may take.
const QUESTION_MS_MAX: u64 = 1_000;
/// Rest between two of them.
const REST_MS: u64 = 100;

/// Why a node was not unsealed by a root.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// It is not this cluster's root.
    #[error(transparent)]
    Root(#[from] UnwrapError),
    /// The ledger does not open.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// There is no seal record to open.
    #[error("the ledger has no seal record yet")]
    NoSealRecord,
}

/// Why a share changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum GiveError {
    /// It does not count.
    #[error(transparent)]
    Share(#[from] ShareFailure),
    /// It completed the ceremony, and the node could not be unsealed.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    /// Others that do not fit either are being looked at.
    #[error("too many wrong shares are being given: wait a moment")]
    BackOff,
    /// No leader could say whether the seal record is current.
    #[error("no leader could be reached that says whether the seal record is current")]
    NotConfirmed,
    /// This node is unsealed.
    #[error("this node is unsealed; no share is needed here")]
    NotNeeded,
}

/// What unsealed a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum By {
    /// A threshold of shares, given here. Only this lifts an operator's seal.
    Ceremony,
    /// A peer that gave the root.
    Peer,
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
}

impl<H: Host> Member<H> {
    /// Takes one share, encrypted to this process's boot key under `terms`.
    pub async fn give_share(self: &Arc<Self>, terms: &[u8], sealed: &[u8]) -> Result<ShareTaken, GiveError> {
        if self.unsealed().is_ok() {
            return Err(GiveError::NotNeeded);
        }
        let known = self.seal_record().ok_or(UnsealError::NoSealRecord)?.current;
        // A share that fits is never kept waiting by guesses. One that does not may be of a set that this node has not
        // heard of yet, which takes a confirmation to know.
        let fits = fits(&self.boot, terms, sealed, &known)?;
        let _place = match (!fits).then(|| self.doubtful.try_acquire()) {
            Some(Err(_)) => return Err(GiveError::BackOff),
            Some(Ok(place)) => Some(place),
            None => None,
        };
        self.confirm_seal_record().await?;
        let set = self.seal_record().ok_or(UnsealError::NoSealRecord)?.current;
        let fresh = CeremonyId::from_bytes(self.entropy().array());
        let (given, progress) = {
            let mut ceremony = self.ceremony.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let given = ceremony.give(&self.boot, terms, sealed, &set, fresh, self.clock())?;
            (given, ceremony.progress())
        };
        match given {
            Given::Taken(x) => Ok(ShareTaken::Progress { x: x.get(), repeated: false, progress }),
            Given::Repeated(x) => Ok(ShareTaken::Progress { x: x.get(), repeated: true, progress }),
            Given::Completed(x, root) => {
                self.unseal(root, &set, By::Ceremony)?;
                tracing::info!(share = x.get(), "the ceremony is complete: this node is unsealed");
                Ok(ShareTaken::Unsealed { x: x.get() })
            }
        }
    }

    /// Forgets the shares given so far, for whoever shows a valid one.
    pub fn reset_ceremony(&self, terms: &[u8], sealed: &[u8], id: CeremonyId) -> Result<(), GiveError> {
        let set = self.seal_record().ok_or(UnsealError::NoSealRecord)?.current;
        let mut ceremony = self.ceremony.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(ceremony.reset(&self.boot, terms, sealed, &set, id)?)
    }

    /// The ceremony at this node.
    pub fn ceremony(&self) -> Option<CeremonyProgress> {
        self.ceremony.lock().unwrap_or_else(std::sync::PoisonError::into_inner).progress()
    }

    /// Holds a root that opens the keyring of `set`; from then on this node serves. A node that is unsealed already,
    /// by a peer while people were giving shares, stays as it is.
    pub(crate) fn unseal(self: &Arc<Self>, root: Root, set: &ShareSet, by: By) -> Result<(), UnsealError> {
        let _one_at_a_time = self.unsealing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.is_unsealed() || self.is_withdrawn() {
            return Ok(());
        }
        let keyring = Arc::new(open_keyring(&root, self.local.cluster, set)?);
        let keeper =
            Keeper::open(self.ledger.clone(), keyring.clone(), self.local.cluster, self.local.generation)?;
        let marked = by == By::Ceremony && (self.is_marked(&*keeper.latest()?) || self.may_be_marked());
        // Only what has a view holds the keyring: peers take a keyed connection for a node that is unsealed.
        self.keys.hold(keyring);
        let weak = Arc::downgrade(self);
        let confirmer = confirmer::spawn(move || asking::ask(weak.clone()));
        self.set_unsealed(Some(Arc::new(Unsealed {
            root,
            keeper,
            confirmer,
            uses: ReservedUses::default(),
            time: Timekeeper::new(self.local.node),
            marked: AtomicBool::new(marked),
            agreed: AtomicBool::new(false),
        })));
        self.cluster.set_sealed(false);
        self.spawn(crate::settling_in::settle_in(Arc::downgrade(self), by));
        self.spawn(crate::chores::seal_when_told(Arc::downgrade(self)));
        self.spawn(crate::chores::work(Arc::downgrade(self)));
        Ok(())
    }

    /// Whether an entry that is here and not applied yet may mark this node: while all are sealed nothing more is
    /// applied, so a ceremony that lifts only what is applied would be undone by the mark that comes after it.
    fn may_be_marked(&self) -> bool {
        [0, self.local.node.get()].into_iter().any(|number| {
            let mark = RecordId::plain(PlainKind::SealMark, number);
            !matches!(self.cluster.changes_unapplied(mark), Ok(false))
        })
    }

    /// Whether an operator has sealed this node or the whole cluster.
    pub(crate) fn is_marked(&self, view: &View) -> bool {
        view.cluster_mark().is_some() || view.node_mark(self.local.node).is_some()
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

    /// Whether this node serves.
    pub fn is_unsealed(&self) -> bool {
        self.unsealed().is_ok()
    }
}

impl From<UnsealError> for Failure {
    fn from(error: UnsealError) -> Self {
        match error {
            UnsealError::Keeper(error) => Self::Keeper(error),
            UnsealError::Root(_) | UnsealError::NoSealRecord => Self::Sealed,
        }
    }
}
