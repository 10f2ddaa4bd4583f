//! Starting one node's Raft: pins, stores, openraft, and the tasks beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyclave_ledger::disk::{Disk, DiskError};
use keyclave_ledger::ledger::Ledger;
use keyclave_ledger::log_store::LogStore;
use keyclave_types::envelope::{self, EnvelopeError, Stored};
use keyclave_types::ids::{ClusterId, NodeId};
use keyclave_types::member::Member;
use keyclave_types::position::Generation;
use openraft::{Config, ErrorSubject, ErrorVerb, SnapshotPolicy};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

use crate::cluster::{Cluster, Fatal, Inner, StorageFailure};
use crate::confirm::Confirmer;
use crate::entry::Line;
use crate::ground::Ground;
use crate::guard::{Guard, Pins};
use crate::keys::{EntryKeys, PublicKey};
use crate::leadership::{Driver, Leadership};
use crate::log_store::{Log, LogParts, Signer};
use crate::machine::Machine;
use crate::network::Network;
use crate::peer::RaftTransport;
use crate::presence::Presence;
use crate::propose::Proposer;
use crate::raft::{Raft, storage_error};
use crate::rollback::Rollback;
use crate::runtime::{Dice, seeded};
use crate::timing::{ELECTION_MS_MAX, ELECTION_MS_MIN, HEARTBEAT_MS};
use crate::upkeep::{Upkeep, declare};
use keyclave_types::threads::Threads;

/// Entries that a snapshot covers and the log keeps all the same, so that a follower that was away for a moment
/// needs no snapshot.
const ENTRIES_KEPT: u64 = 1_024;
/// Entries in one append; their bytes are limited where they are read.
const ENTRIES_PER_APPEND_MAX: u64 = 256;

const PINS_SLOT: &str = "pins";
const MARKS_SLOT: &str = "peer-marks";

/// Everything that one node's Raft is made of.
pub struct StartCluster<D: Disk> {
    /// This node's number.
    pub me: NodeId,
    /// The cluster.
    pub cluster: ClusterId,
    /// The ledger's line.
    pub generation: Generation,
    /// How the cluster began: made at `operator init`, received at a join, and the same ever after.
    pub pins: Pins,
    /// The records.
    pub ledger: Ledger<D>,
    /// The log, on the same disk.
    pub log: LogStore<D>,
    /// Signatures.
    pub keys: Arc<dyn EntryKeys>,
    /// The way to the peers.
    pub transport: Arc<dyn RaftTransport>,
    /// Where waiting for the disk runs.
    pub threads: Arc<dyn Threads>,
    /// Of this node's random numbers: election timers, nothing secret.
    pub seed: u64,
    /// Whether this node starts without the keyring.
    pub sealed: bool,
}

/// Why this node's Raft does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory belongs to a cluster that began otherwise.
    #[error("this data directory was pinned to another beginning of the log")]
    Pins,
    /// Something stored is not readable.
    #[error("what is stored beside the log is not readable")]
    Stored(#[from] EnvelopeError),
    /// The disk failed.
    #[error("the disk failed")]
    Disk(#[from] DiskError),
    /// The log or the records cannot be taken up.
    #[error("the log cannot be taken up")]
    Log(#[source] StorageFailure),
    /// openraft stopped at once.
    #[error("the log stopped at once")]
    Stopped,
}

impl<D: Disk> StartCluster<D> {
    pub(crate) async fn start(self) -> Result<Cluster<D>, StartError> {
        pin(&self.log, &self.pins)?;
        let fatal = watch::Sender::new(None);
        let rollback = rollback(&self.log, fatal.clone())?;
        let (ground, dice) = (Ground::default(), Dice::new(self.seed));
        let presence = Presence::new(self.sealed);
        let line = Line { cluster: self.cluster, generation: self.generation };
        let machine = Machine::open(self.ledger.clone(), ground.clone(), Arc::clone(&self.threads), false);
        let machine = machine.map_err(|error| StartError::Log(failure(&error)))?;
        let log = Log::open(LogParts {
            me: self.me,
            line,
            signer: Signer::new(Arc::clone(&self.keys)),
            store: self.log,
            ledger: self.ledger.clone(),
            ground: ground.clone(),
            threads: self.threads,
        });
        let log = log.map_err(|error| StartError::Log(failure(&error)))?;
        let guard = Guard { me: self.me, line, pins: self.pins, keys: self.keys };
        let network = Network {
            guard: guard.clone(),
            ground: ground.clone(),
            presence: presence.clone(),
            transport: Arc::clone(&self.transport),
            rollback,
            signed_commit: Arc::default(),
        };
        let starting = Raft::new(self.me.get(), config(), network.clone(), log.clone(), machine.clone());
        let raft = seeded(dice.clone(), starting).await.map_err(|_| StartError::Stopped)?;
        let (published, leadership) = watch::channel(Leadership::default());
        let (proposer, batching) =
            Proposer::new(raft.clone(), ground.clone(), self.generation, leadership.clone());
        let (confirmer, rounds) =
            Confirmer::new(raft.clone(), self.ledger.clone(), self.generation, leadership.clone());
        let driver = Driver {
            me: self.me,
            raft: raft.clone(),
            ground: ground.clone(),
            presence: presence.clone(),
            transport: Arc::clone(&self.transport),
            dice,
            published,
        };
        let upkeep = Upkeep {
            raft: raft.clone(),
            machine: machine.clone(),
            ground: ground.clone(),
            half_way: None,
            proposer: proposer.clone(),
            leadership: leadership.clone(),
            fatal: fatal.clone(),
        };
        let tasks = vec![
            tokio::spawn(batching).abort_handle(),
            tokio::spawn(rounds).abort_handle(),
            tokio::spawn(driver.run()).abort_handle(),
            tokio::spawn(upkeep.run()).abort_handle(),
        ];
        let inner = Inner {
            applied: machine.watch_applied(),
            alarm: machine.watch_alarm(),
            guard,
            raft,
            ledger: self.ledger,
            log,
            ground,
            presence,
            transport: self.transport,
            network,
            proposer,
            confirmer,
            leadership,
            fatal: fatal.subscribe(),
            gate: Mutex::default(),
            incoming: Mutex::default(),
            tasks,
        };
        Ok(Cluster { inner: Arc::new(inner) })
    }
}

fn config() -> Arc<Config> {
    Arc::new(Config {
        cluster_name: "keyclave".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS_MIN,
        election_timeout_max: ELECTION_MS_MAX,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: ENTRIES_KEPT,
        max_payload_entries: ENTRIES_PER_APPEND_MAX,
        // This room's own timer stands for election; openraft's knows no sealed nodes.
        enable_elect: false,
        ..Config::default()
    })
}

fn failure(error: &(impl std::error::Error + 'static)) -> StorageFailure {
    storage_error(ErrorSubject::Store, ErrorVerb::Read, error).into()
}

/// The stored form of [`Pins`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PinsForm {
    writer: PublicKey,
    first: BTreeMap<u64, Member>,
}

impl Stored for PinsForm {
    const FORMAT: u8 = 1;
}

impl From<&Pins> for PinsForm {
    fn from(pins: &Pins) -> Self {
        Self { writer: pins.writer, first: BTreeMap::from([(pins.first.get(), pins.member)]) }
    }
}

/// Pins a fresh data directory, or checks that it was pinned so.
fn pin<D: Disk>(log: &LogStore<D>, pins: &Pins) -> Result<(), StartError> {
    let given = PinsForm::from(pins);
    match log.slot(PINS_SLOT)? {
        Some(stored) if envelope::decode::<PinsForm>(&stored)? == given => Ok(()),
        Some(_) => Err(StartError::Pins),
        None => Ok(log.save_slot(PINS_SLOT, envelope::encode(&given))?),
    }
}

/// The marks of peers, kept on the same disk as the log. One that cannot be written stops the node at once: what it
/// stands for was not believed, and what else the disk holds is not known any more.
fn rollback<D: Disk>(log: &LogStore<D>, fatal: watch::Sender<Option<Fatal>>) -> Result<Rollback, StartError> {
    let saved = log.slot(MARKS_SLOT)?;
    let store = log.clone();
    let save = Arc::new(move |marks: Vec<u8>| {
        // Never tried again.
        if let Some(Fatal::Storage(failure)) = fatal.borrow().clone() {
            return Err(failure);
        }
        store.save_slot(MARKS_SLOT, marks).map_err(|error| {
            tracing::error!(%error, "what a peer acknowledged was not saved");
            let failure = StorageFailure::from(storage_error(ErrorSubject::Store, ErrorVerb::Write, &error));
            declare(&fatal, Fatal::Storage(failure.clone()));
            failure
        })
    });
    Ok(Rollback::new(saved.as_deref(), save)?)
}
