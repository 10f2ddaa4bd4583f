//! One server process from start to end: directory, listeners, node, services; then whatever ends it.
//!
//! Called by the binary. What fails here fails before anything is served, with what to do about it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keyclave_audit::directory::Directory;
use keyclave_audit::files::TrailFiles;
use keyclave_ledger::disk::Disk;
use keyclave_ledger::sled_disk::{OpenDiskError, SledDisk};
use keyclave_node::authority::{Authority, AuthorityError, X509};
use keyclave_node::host::Host;
use keyclave_node::joining::{BecomeError, JoinAnswer, pins_from};
use keyclave_node::node::{Ending, Node, Setup, StartError};
use keyclave_node::world::{RuntimeMemory, World};
use keyclave_types::member::{Addresses, HostPort};
use keyclave_types::time::UnixMillis;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::admission::Budgets;
use crate::client_tls::{Certificate, CertificateError, monitoring_config, server_config};
use crate::config::{Config, Join};
use crate::connections::Connections;
use crate::door::{self, client_connections};
use crate::hardening::{HardeningError, lock_directory};
use crate::health::Healths;
use crate::joiner::{JoinFailure, JoinReply, Joiner};
use crate::machine::{Machine, SystemClock, SystemEntropy};
use crate::metrics::Metrics;
use crate::monitoring::{self, Monitored};
use crate::pipeline::Pipeline;
use crate::routes::serve;
use crate::runtime_directory::RuntimeDirectory;
use crate::socket::{self, SocketError, bind, local_connections};

/// Rest between two attempts to join, and between two looks at a missing token file.
const JOIN_REST_MS: u64 = 1_000;
/// How long stopping may take before the process ends all the same.
const STOP_MS_MAX: u64 = 8_000;
/// How long clients have to take their answers and go.
const CLOSE_MS_MAX: u64 = 1_000;
/// How long whatever still holds the ledger's store may take to let go of it, and how often that is looked at.
const CLOSED_MS_MAX: u64 = 5_000;
const CLOSED_LOOK_MS: u64 = 5;
/// Bytes of a join token's file that are read.
const TOKEN_BYTES_MAX: u64 = 4_096;

/// How a server ended well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// It was told to.
    Shutdown,
    /// It was sealed: the binary must be executed anew, with the same arguments.
    Sealed,
}

/// Why a server did not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] HardeningError),
    /// The ledger's store cannot be opened.
    #[error(transparent)]
    Disk(#[from] OpenDiskError),
    /// A port is taken, or is not this machine's.
    #[error("{what} cannot listen on {address}: is the port taken?")]
    Listen {
        /// Which listener.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The operator's socket cannot be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A certificate cannot be served.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A certificate cannot be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A certificate of the operator's own cannot be read.
    #[error("{path} cannot be read")]
    CertificateFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The system gives no entropy.
    #[error(transparent)]
    Entropy(#[from] keyclave_crypto::entropy::SystemEntropyError),
    /// The node does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The cluster refused this node.
    #[error("the cluster at {address} refused this node: {source}")]
    JoinRefused {
        /// Whom it asked.
        address: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What the cluster answered cannot be used.
    #[error("the cluster's answer to the join cannot be used")]
    JoinAnswer,
    /// The joined node did not start.
    #[error(transparent)]
    Become(#[from] BecomeError),
    /// A listener has ended by itself.
    #[error("{what} is not served any more")]
    NotServing {
        /// Which listener.
        what: &'static str,
    },
    /// Something broke that must not be worked around.
    #[error(transparent)]
    Ended(Ending),
}

/// Runs one server until it is told to stop, is sealed, or must end.
pub async fn run(
    config: Config,
    joiner: Arc<dyn Joiner>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Stopped, RunError> {
    let trail = config.data_dir.join("audit");
    run_on(config, joiner, shutdown, SledDisk::open, move || Directory::make(&trail)).await
}

/// As [`run`], with the ledger on the disk that `ledger` opens in a directory, and the trail in the files that `trail`
/// opens.
pub async fn run_on<D: Disk, F: TrailFiles>(
    config: Config,
    joiner: Arc<dyn Joiner>,
    shutdown: impl Future<Output = ()> + Send,
    ledger: impl FnOnce(&Path) -> Result<D, OpenDiskError> + Send,
    trail: impl Fn() -> std::io::Result<F> + Send + Sync + 'static,
) -> Result<Stopped, RunError> {
    let _lock = lock_directory(&config.data_dir)?;
    let listeners = Listeners::bind(&config).await?;
    let certificate = Certificate::default();
    let own_certificate = load_own_certificate(&config, &certificate)?;
    let disk = Arc::new(ledger(&config.data_dir.join("ledger"))?);
    let world = World {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy::new()?),
        runtime: Arc::new(RuntimeDirectory::new(config.runtime_dir.clone())),
        authority: Arc::new(X509),
    };
    say_what_restarts(&*world.runtime);
    let node = Node::start(Setup {
        host: Arc::new(Machine::new(disk.clone(), Arc::new(trail), listeners.peers)),
        world: world.clone(),
        addresses: Addresses { peer: config.advertise.clone(), client: config.client_advertise.clone() },
        overrides: config.peers.iter().map(|peer| (peer.node, peer.address.clone())).collect(),
        joining: config.join.is_some(),
        purge_after_ms: config.purge_after_ms,
    })
    .await?;
    tracing::info!(code = %node.code(), version = env!("CARGO_PKG_VERSION"), clients = %config.listen, "started");
    let meanwhile = self_made(&*world.authority, &config.client_advertise, world.clock.now())?;
    let pipeline = Pipeline::new(node.clone(), world.clock, world.entropy);
    let certificates = Certificates { certificate, own: own_certificate, meanwhile };
    let mut open = Open::begin(&node, pipeline, certificates, listeners.facing)?;
    let ended = tokio::select! {
        () = shutdown => Ok(Stopped::Shutdown),
        ending = node.ending() => match ending {
            Ending::Sealed => Ok(Stopped::Sealed),
            ending => Err(RunError::Ended(ending)),
        },
        what = open.has_ended() => Err(RunError::NotServing { what }),
        error = join_if_told(&node, config.join.as_ref(), &*joiner) => Err(error),
    };
    open.close().await;
    if tokio::time::timeout(Duration::from_millis(STOP_MS_MAX), node.stop()).await.is_err() {
        tracing::warn!(limit_ms = STOP_MS_MAX, "stopping took too long");
    }
    drop(node);
    close(disk).await;
    let _ = std::fs::remove_file(&config.socket);
    tracing::info!(?ended, "stopped");
    ended
}

/// Closes the ledger's store once nothing else holds it, so that whoever comes next finds it closed.
async fn close<D: Disk>(disk: Arc<D>) {
    let others_let_go = async {
        while Arc::strong_count(&disk) > 1 {
            tokio::time::sleep(Duration::from_millis(CLOSED_LOOK_MS)).await;
        }
    };
    if tokio::time::timeout(Duration::from_millis(CLOSED_MS_MAX), others_let_go).await.is_err() {
        tracing::warn!(holders = Arc::strong_count(&disk) - 1, "the ledger's store is still in use");
    }
}

/// Everything that is listened on, bound before anything is begun.
struct Listeners {
    peers: TcpListener,
    facing: Facing,
}

/// The listeners that callers see.
struct Facing {
    clients: TcpListener,
    healths: TcpListener,
    socket: UnixListener,
}

impl Listeners {
    async fn bind(config: &Config) -> Result<Self, RunError> {
        let clients = listen("the client port", config.listen).await?;
        let peers = listen("the peer port", config.peer_listen).await?;
        let healths = listen("the health port", config.health_listen).await?;
        let socket = bind(&config.socket)?;
        Ok(Self { peers, facing: Facing { clients, healths, socket } })
    }
}

/// What is served.
struct Open {
    stop: watch::Sender<bool>,
    over_tls: JoinHandle<()>,
    over_socket: JoinHandle<()>,
    others: [JoinHandle<()>; 2],
    connections: [Connections; 3],
}

/// What is shown to whoever connects.
struct Certificates {
    certificate: Certificate,
    /// It is the operator's own, and stays.
    own: bool,
    /// Shown to who monitors while there is no other.
    meanwhile: Certificate,
}

impl Open {
    fn begin<H: Host>(
        node: &Node<H>,
        pipeline: Pipeline<H>,
        certificates: Certificates,
        listeners: Facing,
    ) -> Result<Self, RunError> {
        let Certificates { certificate, own, meanwhile } = certificates;
        let acceptor = TlsAcceptor::from(Arc::new(server_config(certificate.clone())?));
        let monitoring = TlsAcceptor::from(Arc::new(monitoring_config(certificate.clone(), meanwhile)?));
        let stop = watch::Sender::new(false);
        let stopping = || {
            let mut stop = stop.subscribe();
            async move {
                // Its sender going away stops too.
                let _ = stop.wait_for(|stop| *stop).await;
            }
        };
        let connections = [door::LIMITS, socket::LIMITS, monitoring::LIMITS].map(Connections::new);
        let monitored = Monitored {
            metrics: Arc::new(Metrics::new(pipeline.records_missing())),
            pipeline: pipeline.clone(),
            budgets: Budgets::new(),
            connections: connections.clone(),
            healths: Healths::of(node),
        };
        let [clients, locals, _] = connections.clone();
        let clients = client_connections(listeners.clients, acceptor, clients);
        let over_tls = tokio::spawn(serve(&monitored, clients, stopping()));
        let locals = local_connections(listeners.socket, locals);
        let over_socket = tokio::spawn(serve(&monitored, locals, stopping()));
        let monitoring = tokio::spawn(monitoring::serve(listeners.healths, monitoring, monitored));
        let as_member = tokio::spawn(serve_as_member(node.clone(), pipeline, certificate, own));
        Ok(Self { stop, over_tls, over_socket, others: [monitoring, as_member], connections })
    }

    /// Resolves when a listener has ended by itself, with which.
    async fn has_ended(&mut self) -> &'static str {
        tokio::select! {
            _ = &mut self.over_tls => "the client port",
            _ = &mut self.over_socket => "the operator's socket",
        }
    }

    /// Answers what is under way, begins nothing new, and ends every connection.
    async fn close(self) {
        self.stop.send_replace(true);
        let served = [self.over_tls, self.over_socket];
        let aborts: Vec<_> = served.iter().chain(&self.others).map(JoinHandle::abort_handle).collect();
        let open: Vec<_> = served.into_iter().filter(|task| !task.is_finished()).collect();
        let limit = Duration::from_millis(CLOSE_MS_MAX);
        if tokio::time::timeout(limit, futures::future::join_all(open)).await.is_err() {
            tracing::debug!(limit_ms = CLOSE_MS_MAX, "clients stayed connected; they are cut off");
        }
        for connections in &self.connections {
            connections.end_all();
        }
        for task in aborts {
            task.abort();
        }
    }
}

async fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(address).await.map_err(|source| RunError::Listen { what, address, source })
}

fn load_own_certificate(config: &Config, certificate: &Certificate) -> Result<bool, RunError> {
    let Some(own) = &config.own_certificate else { return Ok(false) };
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| RunError::CertificateFile { path: path.clone(), source })
    };
    certificate.replace_pem(&read(&own.certificate)?, &Zeroizing::new(read(&own.key)?))?;
    Ok(true)
}

fn say_what_restarts(runtime: &dyn RuntimeMemory) {
    match runtime.usable() {
        Ok(()) => tracing::info!("a restarted process of this node can come back by itself"),
        Err(reason) => {
            tracing::warn!(%reason, "a restarted process of this node will need `operator admit` or a share");
        }
    }
}

/// A certificate of this process's own making, for the monitoring port of a node that has none from a cluster yet.
fn self_made(
    authority: &dyn Authority,
    address: &HostPort,
    now: UnixMillis,
) -> Result<Certificate, RunError> {
    let keys = authority.found(now)?;
    let issued = authority.issue(&keys, std::slice::from_ref(address), now)?;
    let certificate = Certificate::default();
    certificate.replace(vec![issued.certificate, keys.certificate], &issued.key_pkcs8)?;
    Ok(certificate)
}

/// Once the node is a member: serves its peers, and shows clients its certificate, each new one too.
async fn serve_as_member<H: Host>(
    node: Node<H>,
    pipeline: Pipeline<H>,
    certificate: Certificate,
    own_certificate: bool,
) {
    node.joined().await;
    let Some(member) = node.member() else { return };
    tracing::info!(node = %member.node(), cluster = %member.cluster_id(), "this node is a member");
    node.serve_peers(&member, Arc::new(pipeline));
    let mut certificates = member.watch_certificate();
    drop(member);
    if own_certificate {
        return;
    }
    loop {
        let current = certificates.borrow_and_update().clone();
        if let Some(current) = current
            && let Err(error) = certificate.replace(current.chain.clone(), &current.key)
        {
            tracing::error!(%error, "the certificate for clients cannot be served");
        }
        if certificates.changed().await.is_err() {
            return;
        }
    }
}

/// Joins if told to and not yet a member. Ends only with an error.
async fn join_if_told<H: Host>(node: &Node<H>, join: Option<&Join>, joiner: &dyn Joiner) -> RunError {
    let Some(join) = join.filter(|_| node.member().is_none()) else { return std::future::pending().await };
    loop {
        match join_once(node, join, joiner).await {
            Ok(true) => return std::future::pending().await,
            Ok(false) => tokio::time::sleep(Duration::from_millis(JOIN_REST_MS)).await,
            Err(error) => return error,
        }
    }
}

async fn join_once<H: Host>(node: &Node<H>, join: &Join, joiner: &dyn Joiner) -> Result<bool, RunError> {
    let Some(token) = read_token(join) else {
        tracing::info!(file = %join.token_file.display(), "waiting for a join token");
        return Ok(false);
    };
    let ask = node.join_ask().map_err(StartError::from)?;
    match joiner.join(join.address.clone(), token, ask).await {
        Ok(reply) => {
            node.join(answer(reply)?).await?;
            Ok(true)
        }
        Err(JoinFailure::Later(reason)) => {
            tracing::info!(%reason, address = %join.address, "not joined yet");
            Ok(false)
        }
        Err(JoinFailure::Refused(source)) => {
            Err(RunError::JoinRefused { address: join.address.to_string(), source })
        }
    }
}

fn read_token(join: &Join) -> Option<Zeroizing<String>> {
    use std::io::Read;
    let mut text = Zeroizing::new(String::new());
    std::fs::File::open(&join.token_file).ok()?.take(TOKEN_BYTES_MAX).read_to_string(&mut text).ok()?;
    let token = Zeroizing::new(text.trim().to_owned());
    (!token.is_empty()).then_some(token)
}

fn answer(reply: JoinReply) -> Result<JoinAnswer, RunError> {
    let pins = pins_from(reply.writer, &reply.first_entry).ok_or(RunError::JoinAnswer)?;
    let JoinReply { position, cluster, node, members, .. } = reply;
    Ok(JoinAnswer { position, cluster, node, pins, members })
}
