//! From a root to a node that serves: the keyring opens, peers and log get their keys, the view opens, and then the
//! node puts its own things in order through the ledger.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use keyclave_types::ids::{PlainKind, RecordId};
use keyclave_types::seal::ShareSet;
use keyclave_vault::ceremony::open_keyring;
use keyclave_vault::keyring::{Root, UnwrapError};
use keyclave_vault::view::View;

use crate::asking;
use crate::ceremony::Agreed;
use crate::confirmer;
use crate::failure::Failure;
use crate::host::Host;
use crate::keeper::{Keeper, KeeperError};
use crate::member::Member;
use crate::timekeeping::Timekeeper;
use crate::unsealed::{ReservedUses, Unsealed};

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

/// What unsealed a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum By {
    /// A threshold of shares, given here, and what else they were given for. Only this lifts an operator's seal.
    Ceremony(Agreed),
    /// A peer that gave the root.
    Peer,
}

impl<H: Host> Member<H> {
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
        let marked =
            matches!(by, By::Ceremony(_)) && (self.is_marked(&*keeper.latest()?) || self.may_be_marked());
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
        // What a peer was faster than, or what is over, is kept no longer than it is needed.
        self.end_ceremony();
        self.cluster.set_sealed(false);
        self.spawn(crate::settling_in::settle_in(Arc::downgrade(self), by));
        self.spawn(crate::chores::seal_when_told(Arc::downgrade(self)));
        self.spawn(crate::chores::work(Arc::downgrade(self)));
        self.spawn(crate::rewriting::rewrite_when_told(Arc::downgrade(self)));
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
