//! A node that belongs to a cluster: its log, its peers, its trail, and, while it is unsealed, the keyring and the
//! view. What it does stands in the modules beside it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use keyclave_audit::open::{OpenIntent, OpenTrail, OpenTrailError, Tampering};
use keyclave_audit::trail::Trail;
use keyclave_cluster::cluster::Cluster;
use keyclave_cluster::guard::Pins;
use keyclave_cluster::start::StartCluster;
use keyclave_cluster::transport::connection::Connections;
use keyclave_cluster::transport::directory::{Directory, LocalNode};
use keyclave_cluster::transport::establish::Establish;
use keyclave_cluster::transport::peers::Peers;
use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::hpke::BootKey;
use keyclave_ledger::ledger::Ledger;
use keyclave_ledger::log_store::LogStore;
use keyclave_types::ids::{CeremonyId, NodeId, PlainKind, RecordId};
use keyclave_types::member::{Addresses, HostPort};
use keyclave_types::seal::SealRecord;
use keyclave_types::time::UnixMillis;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use crate::ceremony::Ceremony;
use crate::directory::NodeDirectory;
use crate::failure::Failure;
use crate::guesses::Guesses;
use crate::home::{Home, Identity, Membership, ServingCertificate};
use crate::host::{Host, HostThreads, WireError};
use crate::keys::NodeKeys;
use crate::settling::Settlings;
use crate::unsealed::Unsealed;
use crate::world::World;

/// How long stopping may take.
pub(crate) const STOP_MS_MAX: u64 = 3_000;

/// Why a member does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartMemberError {
    /// What the node keeps of itself cannot be read.
    #[error(transparent)]
    Home(#[from] crate::home::HomeError),
    /// The wire cannot be made.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The log does not start.
    #[error("the log does not start")]
    Cluster(#[from] keyclave_cluster::start::StartError),
    /// The trail's files cannot be reached.
    #[error("the audit directory cannot be used")]
    Files(#[source] std::io::Error),
    /// The trail does not open.
    #[error(transparent)]
    Trail(#[from] OpenTrailError),
}

/// What a member is made of.
pub(crate) struct MemberParts<H: Host> {
    pub(crate) host: Arc<H>,
    pub(crate) world: World,
    pub(crate) identity: Identity,
    pub(crate) membership: Membership,
    /// Whether its trail begins with this start: what lies there is then left by an attempt that was cut short.
    pub(crate) begins: bool,
    pub(crate) boot: Arc<BootKey>,
    pub(crate) ledger: Ledger<H::Disk>,
    pub(crate) log: LogStore<H::Disk>,
    pub(crate) overrides: BTreeMap<NodeId, HostPort>,
    pub(crate) purge_after_ms: u64,
    pub(crate) ending: watch::Sender<Option<crate::node::Ending>>,
}

/// See the module's page.
pub struct Member<H: Host> {
    pub(crate) host: Arc<H>,
    pub(crate) local: LocalNode,
    pub(crate) pins: Pins,
    pub(crate) world: World,
    pub(crate) boot: Arc<BootKey>,
    pub(crate) keys: Arc<NodeKeys>,
    pub(crate) directory: Arc<NodeDirectory<H::Disk>>,
    pub(crate) ledger: Ledger<H::Disk>,
    pub(crate) cluster: Cluster<H::Disk>,
    pub(crate) peers: Peers<H::Wire>,
    pub(crate) connections: Connections,
    pub(crate) establish: Establish<H::Wire>,
    pub(crate) trail: Trail,
    /// Writes of callers that the process before this one left without an outcome on record.
    pub(crate) open_intents: Mutex<Vec<OpenIntent>>,
    pub(crate) ceremony: Mutex<Ceremony>,
    pub(crate) guesses: Mutex<Guesses>,
    /// An unsealed peer did not accept this machine's restart key.
    pub(crate) restart_refused: AtomicBool,
    pub(crate) doubtful: Semaphore,
    /// Since when this process has known what may be acknowledged only after a while.
    pub(crate) settlings: Settlings,
    /// Held while a root is taken in, so that a ceremony and a peer that both bring one do it once.
    pub(crate) unsealing: Mutex<()>,
    pub(crate) ending: watch::Sender<Option<crate::node::Ending>>,
    pub(crate) home: Home<H::Disk>,
    /// How long a destruction waits until the stores are rewritten.
    pub(crate) purge_after_ms: u64,
    /// Why this node's store could not be rewritten.
    pub(crate) rewriting_trouble: watch::Sender<Option<String>>,
    pub(crate) certificate: watch::Sender<Option<Arc<ServingCertificate>>>,
    /// Set when this node begins to seal itself: it serves nobody from then on, however long the handover takes.
    withdrawn: AtomicBool,
    unsealed: watch::Sender<Option<Arc<Unsealed<H::Disk>>>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl<H: Host> Drop for Member<H> {
    fn drop(&mut self) {
        self.end_tasks();
    }
}

impl<H: Host> Member<H> {
    /// Starts log, peers and trail of a member, sealed.
    pub(crate) async fn start(parts: MemberParts<H>) -> Result<Arc<Self>, StartMemberError> {
        let MemberParts { host, world, identity, membership, begins, boot, ledger, log, overrides, .. } =
            parts;
        let (purge_after_ms, ending) = (parts.purge_after_ms, parts.ending);
        let me = membership.node;
        let home = Home::new(log.clone());
        let certificate = watch::Sender::new(home.certificate()?.map(Arc::new));
        let local = LocalNode {
            cluster: membership.cluster,
            generation: membership.generation,
            node: me,
            incarnation: identity.incarnation,
            key: identity.member().key,
        };
        let directory = Arc::new(NodeDirectory::new(me, membership.known, overrides, ledger.clone()));
        let wire = host.wire(membership.cluster, &identity.key, directory.clone())?;
        let keys = Arc::new(NodeKeys::new(identity.key, local.cluster, me, membership.pins.writer));
        let connections = Connections::new();
        let establish = Establish::new(wire, keys.clone(), directory.clone(), connections.clone());
        let peers = Peers::new(local, establish.clone());
        let mut entropy = Entropy::from_seed(world.entropy.seed());
        let (seed, ceremony) = (u64::from_be_bytes(entropy.array()), entropy.array());
        let guesses = home.guesses()?;
        let (trail, trail_task, open_intents) = open_trail(&host, &world, local, begins, entropy)?;
        let cluster = Cluster::start(StartCluster {
            me,
            cluster: membership.cluster,
            generation: membership.generation,
            pins: membership.pins,
            ledger: ledger.clone(),
            log,
            keys: keys.clone(),
            transport: Arc::new(peers.clone()),
            threads: Arc::new(HostThreads(host.clone())),
            seed,
            sealed: true,
        })
        .await?;
        directory.follow(cluster.clone());
        let member = Arc::new(Self {
            host,
            local,
            pins: membership.pins,
            world,
            boot,
            keys,
            directory,
            ledger,
            cluster,
            peers,
            connections,
            establish,
            trail,
            open_intents: Mutex::new(open_intents),
            ceremony: Mutex::new(Ceremony::new(CeremonyId::from_bytes(ceremony))),
            guesses: Mutex::new(guesses),
            restart_refused: AtomicBool::new(false),
            doubtful: Semaphore::new(crate::giving::DOUBTFUL_SHARES_MAX),
            settlings: Settlings::default(),
            unsealing: Mutex::default(),
            ending,
            home,
            purge_after_ms: purge_after_ms.min(crate::rewriting::PURGE_AFTER_MS_MAX),
            rewriting_trouble: watch::Sender::new(None),
            certificate,
            withdrawn: AtomicBool::new(false),
            unsealed: watch::Sender::new(None),
            tasks: Mutex::default(),
        });
        // It ends by itself, with everything on record, when the last handle to the trail is gone.
        tokio::spawn(trail_task);
        member.spawn_tasks();
        Ok(member)
    }

    fn spawn_tasks(self: &Arc<Self>) {
        self.spawn(crate::health::watch(Arc::downgrade(self)));
        self.spawn(follow_membership(Arc::downgrade(self)));
        self.spawn(crate::chores::seal_when_removed(Arc::downgrade(self)));
        let peers = self.peers.clone();
        self.spawn(async move { peers.keep_keyed().await });
        self.spawn(crate::rejoining::rejoin_until_unsealed(Arc::downgrade(self)));
    }

    /// Runs a task for as long as this member lives.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(tokio::spawn(task).abort_handle());
    }

    /// What this node holds while it is unsealed.
    pub(crate) fn unsealed(&self) -> Result<Arc<Unsealed<H::Disk>>, Failure> {
        self.unsealed.borrow().clone().ok_or(Failure::Sealed)
    }

    pub(crate) fn set_unsealed(&self, unsealed: Option<Arc<Unsealed<H::Disk>>>) {
        self.unsealed.send_replace(unsealed);
    }

    /// Whether this node has begun to seal itself.
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire)
    }

    /// From now on this node serves nobody and comes back only if it is vouched for anew. Answers whether this call
    /// was the first to say so.
    pub fn withdraw(&self) -> bool {
        let first = !self.withdrawn.swap(true, Ordering::AcqRel);
        self.world.runtime.wipe();
        first
    }

    /// The seal record, as far as this node's ledger goes.
    pub(crate) fn seal_record(&self) -> Option<SealRecord> {
        let record = self.ledger.read(&RecordId::plain(PlainKind::Seal, 0)).ok().flatten()?;
        keyclave_types::envelope::decode(&record.blob).ok()
    }

    /// Where a node is reached, as recorded.
    pub fn addresses(&self, node: NodeId) -> Option<Addresses> {
        self.directory.addresses(node)
    }

    /// A fresh source of entropy.
    pub(crate) fn entropy(&self) -> Entropy {
        Entropy::from_seed(self.world.entropy.seed())
    }

    /// This node's wall clock.
    pub(crate) fn clock(&self) -> UnixMillis {
        self.world.clock.now()
    }

    /// The process must end.
    pub(crate) fn end(&self, ending: crate::node::Ending) {
        self.ending.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(ending);
            }
            first
        });
    }

    /// Hands leadership over if this node leads and another can, and stops its log.
    pub(crate) async fn stop(&self) {
        let limit = Duration::from_millis(STOP_MS_MAX);
        if self.cluster.leadership().mine.is_some()
            && let Some(to) = self.successor()
        {
            let deadline = tokio::time::Instant::now() + limit;
            if let Err(error) = self.cluster.hand_over(to, deadline).await {
                tracing::info!(%error, "leadership was not handed over");
            }
        }
        self.cluster.stop(limit).await;
        self.connections.close_all();
    }

    /// Ends whatever this member still does: some of its tasks hold what holds this member. Not for one of them to
    /// call.
    pub(crate) fn end_tasks(&self) {
        self.directory.stop();
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

fn open_trail<H: Host>(
    host: &Arc<H>,
    world: &World,
    local: LocalNode,
    begins: bool,
    mut entropy: Entropy,
) -> Result<(Trail, impl Future<Output = ()> + Send + use<H>, Vec<OpenIntent>), StartMemberError> {
    let opening = OpenTrail {
        files: host.trail_files().map_err(StartMemberError::Files)?,
        threads: Arc::new(HostThreads(host.clone())),
        entropy: entropy.split(),
        cluster: local.cluster,
        node: local.node,
        now: world.clock.now(),
        // A trail of another cluster is no reason to stay out of this one; it stays where it is, and the new one says so.
        tampering: if begins { Tampering::Expected } else { Tampering::Alarm },
    };
    let (trail, task, opened) = opening.open()?;
    if opened.torn_bytes > 0 {
        tracing::warn!(
            bytes = opened.torn_bytes,
            "a torn write at the end of the audit trail was cut and kept aside"
        );
    }
    if opened.places > 0 {
        tracing::error!(places = opened.places, "the audit trail was tampered with while no process ran");
    }
    let run = async move {
        if let Err(cause) = task.run().await {
            tracing::error!(%cause, "the audit trail has stopped");
        }
    };
    Ok((trail, run, opened.intents))
}

/// Ends connections of whoever is no longer a member whenever something was applied that may have changed it.
async fn follow_membership<H: Host>(member: std::sync::Weak<Member<H>>) {
    let Some(mut applied) = member.upgrade().map(|member| member.cluster.watch_applied()) else { return };
    let mut known = Vec::new();
    while applied.changed().await.is_ok() {
        let Some(member) = member.upgrade() else { return };
        let nodes: Vec<_> =
            member.directory.nodes().iter().map(|node| (*node, member.directory.member(*node))).collect();
        if nodes != known {
            known = nodes;
            member.peers.membership_changed();
        }
    }
}
