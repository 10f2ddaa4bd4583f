//! A node from its first hour on: vacant until it founds or joins a cluster, a member from then on.
//!
//! Made by the server once per process. Cheap clones share it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use keyclave_audit::trail::StopCause;
use keyclave_cluster::cluster::{Alarm, Fatal};
use keyclave_cluster::transport::gate::Gate;
use keyclave_cluster::transport::incoming::incoming;
use keyclave_cluster::transport::raft_service::add_raft_services;
use keyclave_cluster::transport::serve::serve_peers;
use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::hpke::{self, BootKey};
use keyclave_ledger::ledger::{Ledger, OpenLedgerError};
use keyclave_ledger::log_store::LogStore;
use keyclave_proto::peer::v1::ceremony_service_server::CeremonyServiceServer;
use keyclave_proto::peer::v1::forward_service_server::ForwardServiceServer;
use keyclave_proto::peer::v1::rejoin_service_server::RejoinServiceServer;
use keyclave_types::ids::NodeId;
use keyclave_types::member::{Addresses, HostPort, Member as MemberRecord};
use keyclave_types::request::NodeCode;
use tokio::sync::{Mutex, watch};
use tonic::service::RoutesBuilder;

use crate::home::{Home, HomeError, Identity, Membership};
use crate::host::Host;
use crate::member::{Member, MemberParts, StartMemberError};
use crate::services::ceremony::CeremonyDoor;
use crate::services::forward::{ForwardDoor, ForwardedCalls};
use crate::services::rejoin::RejoinDoor;
use crate::world::World;

/// Bytes of one message between peers, a forwarded request included.
const PEER_MESSAGE_BYTES_MAX: usize = keyclave_types::limits::MESSAGE_BYTES_MAX + 64 * 1024;

/// Why a process must end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Ending {
    /// It was sealed: the keys are wiped, and a fresh process takes over, because wiping alone leaves copies.
    #[error("this node was sealed")]
    Sealed,
    /// The log's disk failed or the log stopped.
    #[error("the log has stopped: {0}")]
    Log(#[source] Fatal),
    /// Its records differ from what a leader signed.
    #[error("{0}; it must be joined anew")]
    Alarm(Alarm),
    /// Its records differ from the leader's.
    #[error("this node's records differ from the leader's at index {index}; it must be joined anew")]
    Diverged {
        /// Where.
        index: u64,
    },
    /// Peers are not served any more.
    #[error("the peer port is not served any more")]
    Peers,
    /// The trail cannot be written any more.
    #[error("the audit trail has stopped: {0}")]
    Trail(StopCause),
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its ledger does not open.
    #[error(transparent)]
    Ledger(#[from] OpenLedgerError),
    /// What it keeps of itself cannot be read.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Log, peers or trail do not start.
    #[error(transparent)]
    Member(#[from] StartMemberError),
}

/// What a node is told at its start.
pub struct Setup<H> {
    /// What it runs on.
    pub host: Arc<H>,
    /// What comes in from outside.
    pub world: World,
    /// Where it is reached.
    pub addresses: Addresses,
    /// Peers' addresses that win over recorded ones.
    pub overrides: BTreeMap<NodeId, HostPort>,
    /// Whether it is to join a cluster.
    pub joining: bool,
    /// How long a destruction waits until the stores are rewritten: at most, and by default,
    /// [`crate::rewriting::PURGE_AFTER_MS_MAX`].
    pub purge_after_ms: u64,
}

struct Shared<H: Host> {
    setup: Setup<H>,
    home: Home<H::Disk>,
    ledger: Ledger<H::Disk>,
    log: LogStore<H::Disk>,
    boot: Arc<BootKey>,
    member: OnceLock<Arc<Member<H>>>,
    joined: watch::Sender<bool>,
    ending: watch::Sender<Option<Ending>>,
    becoming: Mutex<()>,
    /// A founding failed after its log had begun: this process has that log in memory, another must try again.
    spent: AtomicBool,
}

/// See the module's page.
pub struct Node<H: Host> {
    shared: Arc<Shared<H>>,
}

impl<H: Host> Clone for Node<H> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<H: Host> Node<H> {
    /// Opens what the disk holds; a member's log, peers and trail start at once, sealed.
    pub async fn start(setup: Setup<H>) -> Result<Self, StartError> {
        let disk = setup.host.disk();
        let log = LogStore::new(disk.clone());
        let home = Home::new(log.clone());
        let membership = home.membership()?;
        if membership.is_none() {
            // Whatever is there belongs to an init or a join that was cut short.
            home.clear_attempt()?;
        }
        let ledger = Ledger::open(disk)?;
        let mut entropy = Entropy::from_seed(setup.world.entropy.seed());
        let node = Self {
            shared: Arc::new(Shared {
                home,
                ledger,
                log,
                boot: Arc::new(BootKey::new(&mut entropy)),
                member: OnceLock::new(),
                joined: watch::Sender::new(false),
                ending: watch::Sender::new(None),
                becoming: Mutex::default(),
                spent: AtomicBool::new(false),
                setup,
            }),
        };
        // Made now, so that the directory has an identity from its first start on.
        node.shared.home.identity(&mut node.entropy())?;
        if let Some(membership) = membership {
            let member = node.start_member(membership, false).await?;
            node.say_if_misplaced(&member);
            node.become_member(member);
        }
        Ok(node)
    }

    /// The member that this node is, once it is one.
    pub fn member(&self) -> Option<Arc<Member<H>>> {
        self.shared.member.get().cloned()
    }

    /// Resolves once this node is a member.
    pub async fn joined(&self) {
        // The sender lives as long as this node.
        let _ = self.shared.joined.subscribe().wait_for(|joined| *joined).await;
    }

    /// Resolves when the process must end, with why.
    pub async fn ending(&self) -> Ending {
        let mut ending = self.shared.ending.subscribe();
        match ending.wait_for(Option::is_some).await.map(|ending| ending.clone()) {
            Ok(Some(ending)) => ending,
            // The sender lives as long as this node, and `wait_for` saw a value.
            Ok(None) | Err(_) => Ending::Sealed,
        }
    }

    /// The code of this process, as people compare it. Shown on the machine only.
    pub fn code(&self) -> NodeCode {
        hpke::code(&self.shared.boot.public())
    }

    /// The public half of this process's boot key.
    pub fn boot_public(&self) -> [u8; 32] {
        self.shared.boot.public()
    }

    /// Where this node is reached.
    pub fn addresses(&self) -> &Addresses {
        &self.shared.setup.addresses
    }

    /// What this node keeps of itself.
    pub fn home(&self) -> &Home<H::Disk> {
        &self.shared.home
    }

    /// The trail's files, to be read.
    pub fn trail_files(&self) -> std::io::Result<H::Files> {
        self.shared.setup.host.trail_files()
    }

    /// Runs work that waits for the disk where that harms nobody.
    pub fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.shared.setup.host.run_blocking(work);
    }

    /// Serves the peer port for as long as the member lives; `calls` answers what is forwarded to this node.
    pub fn serve_peers(&self, member: &Arc<Member<H>>, calls: Arc<dyn ForwardedCalls>) {
        let weak = Arc::downgrade(member);
        let mut routes = RoutesBuilder::default();
        let clock = self.shared.setup.world.clock.clone();
        add_raft_services(&mut routes, Arc::new(member.cluster.clone()), Arc::new(move || clock.now()));
        routes
            .add_service(
                ForwardServiceServer::new(ForwardDoor { member: weak.clone(), calls })
                    .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX),
            )
            .add_service(RejoinServiceServer::new(RejoinDoor { member: weak.clone() }))
            .add_service(CeremonyServiceServer::new(CeremonyDoor { member: weak }));
        let refused = |reason: &keyclave_cluster::transport::refused::Refused| {
            tracing::debug!(%reason, "a peer connection came to nothing");
        };
        let arriving = incoming(member.establish.clone(), self.shared.setup.host.peer_listener(), refused);
        let gate = Gate::new(member.local, member.directory.clone());
        let serving =
            serve_peers(arriving, gate, routes.routes(), member.connections.clone(), std::future::pending());
        let weak = Arc::downgrade(member);
        member.spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the peer port is not served any more");
            }
            if let Some(member) = weak.upgrade() {
                member.end(Ending::Peers);
            }
        });
    }

    /// Hands leadership over if this node leads, and stops; nothing of it holds the disk afterwards but this value's
    /// clones.
    pub async fn stop(&self) {
        if let Some(member) = self.member() {
            member.stop().await;
            member.end_tasks();
        }
    }

    pub(crate) async fn start_member(
        &self,
        membership: Membership,
        begins: bool,
    ) -> Result<Arc<Member<H>>, StartMemberError> {
        let setup = &self.shared.setup;
        Member::start(MemberParts {
            host: setup.host.clone(),
            world: setup.world.clone(),
            identity: self.identity()?,
            membership,
            begins,
            boot: self.shared.boot.clone(),
            ledger: self.shared.ledger.clone(),
            log: self.shared.log.clone(),
            overrides: setup.overrides.clone(),
            purge_after_ms: setup.purge_after_ms,
            ending: self.shared.ending.clone(),
        })
        .await
    }

    pub(crate) fn become_member(&self, member: Arc<Member<H>>) {
        // Set once: founding and joining hold `becoming`, and a start comes before both.
        let _ = self.shared.member.set(member);
        self.shared.joined.send_replace(true);
    }

    /// It harms nobody, because an identity is a key and not an address, but nothing works, and nobody sees why.
    fn say_if_misplaced(&self, member: &Member<H>) {
        let own = self.addresses();
        if let Some(place) = member.directory.taken_place(member.local.node, own) {
            tracing::error!(
                node = %member.local.node,
                address = %own.peer,
                "this data directory is node {}'s, started at the address of node {place}: were data directories swapped?",
                member.local.node,
            );
        }
    }

    pub(crate) fn becoming(&self) -> &Mutex<()> {
        &self.shared.becoming
    }

    pub(crate) fn is_joining(&self) -> bool {
        self.shared.setup.joining
    }

    pub(crate) fn world(&self) -> &World {
        &self.shared.setup.world
    }

    pub(crate) fn entropy(&self) -> Entropy {
        Entropy::from_seed(self.shared.setup.world.entropy.seed())
    }

    fn identity(&self) -> Result<Identity, HomeError> {
        self.shared.home.identity(&mut self.entropy())
    }

    pub(crate) fn identity_member(&self) -> Result<MemberRecord, HomeError> {
        self.identity().map(|identity| identity.member())
    }

    /// Whether a founding failed in this process.
    pub(crate) fn is_spent(&self) -> bool {
        self.shared.spent.load(Ordering::Acquire)
    }

    /// Ends a founding that failed. What it has written goes at the next start, when no log is open on it.
    pub(crate) async fn give_up(&self, member: Arc<Member<H>>) {
        self.shared.spent.store(true, Ordering::Release);
        member.keys.drop_keyring();
        member.stop().await;
        member.end_tasks();
    }
}
