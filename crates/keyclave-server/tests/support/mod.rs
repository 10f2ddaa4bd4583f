//! Servers of one test in one process: real sockets, real disks, the real client. Each test uses some of this.

#![allow(dead_code, reason = "each test binary uses some of it")]

pub(crate) mod disks;
pub(crate) mod raw;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use keyclave_client::Client;
use keyclave_client::cluster::{AdmissionPolicy, JoinNode, JoinTicket, MemberRole, NewCluster};
use keyclave_client::endpoint::Endpoint;
use keyclave_client::seal::{GivenShare, SealState, ShareTerms};
use keyclave_node::joining::JoinAsk;
use keyclave_server::config::{Config, File};
use keyclave_server::joiner::{JoinFailure, JoinReply, Joiner};
use keyclave_server::run::{RunError, Stopped, run, run_on};
use keyclave_types::access::Subject;
use keyclave_types::member::HostPort;
use keyclave_types::request::SubjectDescription;
use keyclave_types::seal::Threshold;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use self::disks::Disks;

pub(crate) struct Server {
    pub(crate) directory: PathBuf,
    pub(crate) clients: SocketAddr,
    pub(crate) monitoring: SocketAddr,
    file: File,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<Result<Stopped, RunError>>>,
}

/// A directory on a tmpfs that may hold a restart key, if this machine has one.
fn runtime_directory(directory: &std::path::Path) -> Option<PathBuf> {
    let name = directory.to_string_lossy().replace('/', "-");
    let path = PathBuf::from("/dev/shm").join(format!("keyclave-test{name}"));
    std::path::Path::new("/dev/shm").is_dir().then_some(path)
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Server {
    /// A server in a directory of its own, told to join `join` if given.
    pub(crate) fn start(directory: PathBuf, join: Option<(HostPort, PathBuf)>) -> Self {
        let file = File {
            join: join.as_ref().map(|(address, _)| address.clone()),
            join_token_file: join.map(|(_, file)| file),
            ..Self::file(&directory)
        };
        Self::with(file)
    }

    fn file(directory: &std::path::Path) -> File {
        File {
            data_dir: Some(directory.to_owned()),
            listen: Some(free_port()),
            peer_listen: Some(free_port()),
            health_listen: Some(free_port()),
            runtime_dir: runtime_directory(directory),
            ..File::default()
        }
    }

    /// A server that is told what `file` says.
    pub(crate) fn with(file: File) -> Self {
        let mut server = Self::told(file);
        server.begin();
        server
    }

    fn told(file: File) -> Self {
        let directory = file.data_dir.clone().unwrap();
        let (clients, monitoring) = (file.listen.unwrap(), file.health_listen.unwrap());
        Self { directory, clients, monitoring, file, stop: None, running: None }
    }

    /// A server whose ledger and trail lie on disks that do what the test says.
    pub(crate) fn on(directory: PathBuf, disks: &Disks) -> Self {
        let mut server = Self::told(Self::file(&directory));
        server.begin_on(disks);
        server
    }

    /// A server that has no memory beside its process: once ended, it comes back sealed.
    pub(crate) fn without_return(directory: PathBuf) -> Self {
        let mut file = Self::file(&directory);
        file.runtime_dir = Some(directory.join("on-a-disk"));
        Self::with(file)
    }

    pub(crate) fn begin(&mut self) {
        let (config, shutdown) = self.circumstances();
        self.running = Some(tokio::spawn(run(config, Arc::new(ClientJoiner), shutdown)));
    }

    pub(crate) fn begin_on(&mut self, disks: &Disks) {
        let (config, shutdown) = self.circumstances();
        let (ledger, trail) = (disks.ledger(), disks.trail.clone());
        let running = run_on(config, Arc::new(ClientJoiner), shutdown, ledger, move || Ok(trail.clone()));
        self.running = Some(tokio::spawn(running));
    }

    fn circumstances(&mut self) -> (Config, impl Future<Output = ()> + use<>) {
        let (stop, stopped) = oneshot::channel::<()>();
        self.stop = Some(stop);
        (self.file.clone().complete().unwrap(), async move { drop(stopped.await) })
    }

    /// Waits until it ends by itself.
    pub(crate) async fn wait(&mut self) -> Result<Stopped, RunError> {
        self.running.take().unwrap().await.unwrap()
    }

    pub(crate) async fn end(&mut self) -> Result<Stopped, RunError> {
        drop(self.stop.take());
        self.running.take().unwrap().await.unwrap()
    }

    /// A client over the operator's socket, once there is one.
    pub(crate) async fn operator(&self) -> Client {
        let socket = self.directory.join("keyclave.sock");
        within(Duration::from_secs(20), async {
            while !socket.exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        Client::local(&socket).build().unwrap()
    }

    pub(crate) fn address(&self) -> HostPort {
        self.clients.to_string().parse().unwrap()
    }

    /// A client of this node alone.
    pub(crate) fn client(&self, cluster: &NewCluster, token: Option<&str>) -> Client {
        let endpoint: Endpoint = format!("https://{}", self.clients).parse().unwrap();
        let builder = Client::builder().endpoints([endpoint]).ca_pem(cluster.ca_pem.as_bytes());
        match token {
            Some(token) => builder.token(token).build().unwrap(),
            None => builder.build().unwrap(),
        }
    }

    pub(crate) async fn until_unsealed(&self) {
        let operator = self.operator().await;
        within(Duration::from_secs(30), async {
            loop {
                if let Ok(status) = operator.seal_status().await
                    && status.this_node.state == SealState::Unsealed
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(path) = runtime_directory(&self.directory) {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, work).await.expect("it took too long")
}

/// Makes a cluster of the first server and unseals it with a threshold of its shares.
pub(crate) async fn found(server: &Server) -> NewCluster {
    let operator = server.operator().await;
    let cluster = operator.init(Threshold::new(2, 3).unwrap(), AdmissionPolicy::Strict).await.unwrap().value;
    give_shares(server, &cluster, 2).await;
    cluster
}

pub(crate) async fn give_shares(server: &Server, cluster: &NewCluster, count: usize) {
    let operator = server.operator().await;
    let (_, boot_key) = operator.local_code().await.unwrap();
    for share in cluster.shares.iter().take(count) {
        let share = GivenShare::parse(share).unwrap();
        operator.submit_share(&share, &boot_key, ShareTerms::default()).await.unwrap();
    }
    server.until_unsealed().await;
}

/// A first server and `more` that joined it by token, all unsealed.
pub(crate) async fn cluster(root: &std::path::Path, more: usize) -> (Vec<Server>, NewCluster) {
    let mut servers = vec![Server::start(root.join("1"), None)];
    let founded = found(&servers[0]).await;
    let admin = servers[0].client(&founded, Some(&founded.root_token));
    for number in 2..2 + more {
        let file = root.join(format!("token-{number}"));
        let token = admin.create_join_token().await.unwrap().value;
        std::fs::write(&file, token.text.as_bytes()).unwrap();
        servers.push(Server::start(root.join(number.to_string()), Some((servers[0].address(), file))));
    }
    for server in &servers {
        server.until_unsealed().await;
    }
    until_voters(&admin, servers.len()).await;
    (servers, founded)
}

/// Puts a subject with these roles.
pub(crate) async fn subject(admin: &Client, name: &str, roles: &[&str]) -> Subject {
    let subject: Subject = name.parse().unwrap();
    let roles = roles.iter().map(|role| role.parse().unwrap()).collect();
    let put = SubjectDescription { subject: subject.clone(), roles, groups: BTreeSet::new() };
    admin.put_subject(&put).await.unwrap();
    subject
}

/// A joined node counts once it has caught up.
async fn until_voters(admin: &Client, count: usize) {
    within(Duration::from_secs(30), async {
        loop {
            let members = admin.list_members().await.unwrap().value;
            if members.iter().filter(|member| member.role == MemberRole::Voter).count() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// The real client's join.
struct ClientJoiner;

impl Joiner for ClientJoiner {
    fn join(
        &self,
        address: HostPort,
        token: Zeroizing<String>,
        ask: JoinAsk,
    ) -> BoxFuture<'static, Result<JoinReply, JoinFailure>> {
        async move {
            let ticket = JoinTicket::parse(&token).map_err(|error| JoinFailure::Refused(error.into()))?;
            let endpoint: Endpoint = format!("https://{address}").parse().unwrap();
            let client =
                Client::builder().endpoints([endpoint]).ca_fingerprint(ticket.fingerprint()).build().unwrap();
            let node =
                JoinNode { identity: ask.member, addresses: ask.addresses, boot_public_key: ask.boot_public };
            let answer =
                client.join(&ticket, &node).await.map_err(|error| JoinFailure::Later(error.into()))?;
            let joined = answer.value;
            Ok(JoinReply {
                position: answer.position,
                cluster: joined.cluster,
                node: joined.node,
                members: joined
                    .members
                    .into_iter()
                    .filter_map(|member| Some((member.node, member.identity, member.addresses?)))
                    .collect(),
                writer: joined.writer_public_key,
                first_entry: joined.first_entry,
            })
        }
        .boxed()
    }
}
