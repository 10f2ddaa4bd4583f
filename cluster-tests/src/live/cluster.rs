//! A cluster of server processes: founded, grown, faulted, brought back.

use std::path::PathBuf;
use std::time::Duration;

use keyclave_client::Client;
use keyclave_client::cluster::{AdmissionPolicy, ClusterStatus, MemberRole};
use keyclave_client::endpoint::Endpoint;
use keyclave_client::seal::{GivenShare, SealState, ShareAnswer, ShareTerms};
use keyclave_types::ids::{ClusterId, NodeId};
use keyclave_types::seal::Threshold;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::LiveError;
use super::place::{Place, write_private};
use super::ports::free;
use super::process::{Node, Server, until};

const SHARES: u8 = 5;
/// Shares that unseal.
pub const SHARES_NEEDED: u8 = 3;
/// How long one call may take, failover included.
const CALL: Duration = Duration::from_secs(15);
/// How long nodes may take to join, catch up, be unsealed, or find a leader.
const SETTLE: Duration = Duration::from_secs(30);
/// How long a restarted node may try its restart key before it is admitted.
const PATIENCE: Duration = Duration::from_secs(4);

/// What `init` showed.
struct Shown {
    token: Zeroizing<String>,
    shares: Vec<Zeroizing<String>>,
    ca_pem: String,
    cluster: ClusterId,
}

/// The nodes, and what a founder of the cluster knows.
pub struct Cluster {
    // Before the place: processes end before their directories go.
    members: Vec<Member>,
    shown: Option<Shown>,
    place: Place,
}

struct Member {
    node: Node,
    server: Option<Server>,
}

impl Cluster {
    /// `count` nodes on loopback, founded and unsealed.
    pub async fn founded(count: usize) -> Result<Self, LiveError> {
        Self::founded_under(count, AdmissionPolicy::Strict).await
    }

    /// The same under another admission policy.
    pub async fn founded_under(count: usize, policy: AdmissionPolicy) -> Result<Self, LiveError> {
        let place = Place::fresh()?;
        let nodes = Self::plan(&place, count)?;
        let mut cluster = Self::of(place, nodes);
        cluster.found_under(policy).await?;
        Ok(cluster)
    }

    /// `count` nodes on loopback that do not run yet; all but the first are to join it.
    pub fn plan(place: &Place, count: usize) -> Result<Vec<Node>, LiveError> {
        let free = free(3 * count)?;
        let first = free.first().copied();
        let nodes = free.chunks_exact(3).zip(1..).filter_map(|(ports, number)| {
            let [clients, peers, health] = *ports else { return None };
            Some(Node {
                number,
                data: place.root().join(format!("n{number}")),
                runtime: place.memory(number),
                log: place.root().join(format!("n{number}.log")),
                clients,
                peers,
                health,
                join: first.filter(|_| number > 1).map(|first| (first, token_file(place, number))),
                within: Vec::new(),
            })
        });
        Ok(nodes.collect())
    }

    /// These nodes, which do not run yet.
    pub fn of(place: Place, nodes: Vec<Node>) -> Self {
        let members = nodes.into_iter().map(|node| Member { node, server: None }).collect();
        Self { members, shown: None, place }
    }

    /// Starts all, makes a cluster of the first, unseals it and lets the others join.
    pub async fn found(&mut self) -> Result<(), LiveError> {
        self.found_under(AdmissionPolicy::Strict).await
    }

    async fn found_under(&mut self, policy: AdmissionPolicy) -> Result<(), LiveError> {
        self.start_all().await?;
        let threshold = Threshold::new(SHARES_NEEDED, SHARES).expect("3 of 5 is a threshold");
        let first = self.node(1)?.over_socket()?.with_deadline(CALL);
        let made = first.init(threshold, policy).await?.value;
        self.shown = Some(Shown {
            token: made.root_token,
            shares: made.shares,
            ca_pem: made.ca_pem,
            cluster: made.cluster,
        });
        self.give_shares(1, SHARES_NEEDED).await?;
        self.unsealed(&[1]).await?;
        for number in 2..=self.members.len() {
            self.let_join(number).await?;
        }
        Ok(())
    }

    /// Where everything lies.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// How many nodes there are.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// One node, from 1.
    pub fn node(&self, number: usize) -> Result<&Node, LiveError> {
        let member = number.checked_sub(1).and_then(|at| self.members.get(at));
        member.map(|member| &member.node).ok_or(LiveError::Node(number))
    }

    /// Its process.
    pub fn server(&mut self, number: usize) -> Result<&mut Server, LiveError> {
        let member = number.checked_sub(1).and_then(|at| self.members.get_mut(at));
        member.and_then(|member| member.server.as_mut()).ok_or(LiveError::Node(number))
    }

    /// Starts one and waits until its socket answers.
    pub async fn start(&mut self, number: usize) -> Result<(), LiveError> {
        let at = number.checked_sub(1).ok_or(LiveError::Node(number))?;
        let member = self.members.get_mut(at).ok_or(LiveError::Node(number))?;
        let server = member.server.insert(member.node.start()?);
        member.node.answers(server).await
    }

    /// Starts those that do not run.
    pub async fn start_all(&mut self) -> Result<(), LiveError> {
        for member in self.members.iter_mut().filter(|member| member.server.is_none()) {
            member.server = Some(member.node.start()?);
        }
        for member in &mut self.members {
            if let Some(server) = &mut member.server {
                member.node.answers(server).await?;
            }
        }
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self, number: usize) -> Result<(), LiveError> {
        let at = number.checked_sub(1).ok_or(LiveError::Node(number))?;
        let server = self.members.get_mut(at).and_then(|member| member.server.take());
        server.ok_or(LiveError::Node(number))?.kill();
        Ok(())
    }

    /// SIGKILL of all, as close together as one process can.
    pub fn kill_all(&mut self) {
        for mut server in self.members.iter_mut().filter_map(|member| member.server.take()) {
            server.kill();
        }
    }

    /// SIGKILL, and a fresh process that nothing on its machine brings back, as after a reboot.
    pub async fn restart_bare(&mut self, number: usize) -> Result<(), LiveError> {
        self.kill(number)?;
        self.forget_restart_key(number)?;
        self.start(number).await
    }

    /// Takes what lets a node's next process come back by itself.
    pub fn forget_restart_key(&self, number: usize) -> Result<(), LiveError> {
        match self.node(number)?.runtime.as_ref().map(std::fs::remove_dir_all) {
            Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(LiveError::system("removing a restart key")(error))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The process of a node has ended by itself; another takes its place.
    pub async fn ended_and_restarted(&mut self, number: usize) -> Result<(), LiveError> {
        self.server(number)?.end().await?;
        self.start(number).await
    }

    /// The shares that init has shown.
    pub fn shares(&self) -> Result<&[Zeroizing<String>], LiveError> {
        Ok(&self.shown()?.shares)
    }

    /// The root token that init has shown.
    pub fn root_token(&self) -> Result<&str, LiveError> {
        Ok(self.shown()?.token.as_str())
    }

    /// The cluster that init has made.
    pub fn cluster_id(&self) -> Result<ClusterId, LiveError> {
        Ok(self.shown()?.cluster)
    }

    /// The certificate of the cluster's authority.
    pub fn ca_pem(&self) -> Result<&str, LiveError> {
        Ok(&self.shown()?.ca_pem)
    }

    /// Gives shares over a node's own socket; what became of the last.
    pub async fn give_shares(&self, number: usize, count: u8) -> Result<Option<ShareAnswer>, LiveError> {
        let client = self.node(number)?.over_socket()?.with_deadline(CALL);
        let (code, key) = client.local_code().await?;
        let node = self.id_of(number).await?;
        let mut last = None;
        for text in self.shown()?.shares.iter().take(usize::from(count)) {
            let share = GivenShare::parse(text)?;
            let terms = ShareTerms { vouch_for: Some((node, code.clone())), ..ShareTerms::default() };
            last = Some(client.submit_share(&share, &key, terms).await?);
        }
        Ok(last)
    }

    /// Waits until these nodes hold keys.
    pub async fn unsealed(&self, numbers: &[usize]) -> Result<(), LiveError> {
        for number in numbers {
            let socket = self.node(*number)?.over_socket()?;
            until("unsealing a node", SETTLE, async || {
                let status = socket.seal_status().await.map_err(|error| error.to_string())?;
                match status.this_node.state {
                    SealState::Unsealed => Ok(()),
                    state => Err(format!("node {number} is {state:?}")),
                }
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until these restarted nodes are unsealed by their peers: by restart key or, where that is off, admitted
    /// by their code.
    pub async fn come_back(&self, numbers: &[usize]) -> Result<(), LiveError> {
        for number in numbers {
            let socket = self.node(*number)?.over_socket()?;
            let patience = Instant::now() + PATIENCE;
            let waits = until("the return of a node", SETTLE, async || {
                let status = socket.seal_status().await.map_err(|error| error.to_string())?.this_node;
                match status.state {
                    SealState::Unsealed => Ok(None),
                    _ if Instant::now() > patience => Ok(status.node),
                    state => Err(format!("node {number} is {state:?}")),
                }
            });
            if let Some(node) = waits.await? {
                let (code, _) = socket.local_code().await?;
                self.client_of_all()?.admit(node, &code).await?;
            }
        }
        self.unsealed(numbers).await
    }

    /// A client of one node only.
    pub fn client(&self, number: usize) -> Result<Client, LiveError> {
        self.connected([self.node(number)?])
    }

    /// A client of all nodes.
    pub fn client_of_all(&self) -> Result<Client, LiveError> {
        self.connected(self.members.iter().map(|member| &member.node))
    }

    /// A client of these nodes only.
    pub fn connected_to(&self, numbers: &[usize]) -> Result<Client, LiveError> {
        let nodes: Result<Vec<_>, _> = numbers.iter().map(|number| self.node(*number)).collect();
        self.connected(nodes?)
    }

    /// A client of all nodes that asks this one first.
    pub fn client_preferring(&self, number: usize) -> Result<Client, LiveError> {
        let turned = (0..self.members.len()).map(|step| (number - 1 + step) % self.members.len());
        self.connected(turned.filter_map(|at| self.members.get(at)).map(|member| &member.node))
    }

    fn connected<'a>(&self, nodes: impl IntoIterator<Item = &'a Node>) -> Result<Client, LiveError> {
        let shown = self.shown()?;
        let endpoints = nodes.into_iter().map(|node| Endpoint::from(node.client_address()));
        let builder = Client::builder().endpoints(endpoints).ca_pem(shown.ca_pem.as_bytes());
        Ok(builder.token(&shown.token).deadline(CALL).build()?)
    }

    /// Which node leads.
    pub async fn leader(&self) -> Result<usize, LiveError> {
        let client = self.client_of_all()?;
        until("finding the leader", SETTLE, async || {
            let status = client.cluster_status().await.map_err(|error| error.to_string())?.value;
            let leader = status.leader.ok_or_else(|| "no leader is known".to_owned())?;
            self.number_of(&status, leader).ok_or_else(|| format!("node {leader} has no address yet"))
        })
        .await
    }

    /// How the cluster calls a node of this test.
    pub async fn id_of(&self, number: usize) -> Result<NodeId, LiveError> {
        let status = self.node(number)?.over_socket()?.seal_status().await?;
        status.this_node.node.ok_or(LiveError::Node(number))
    }

    /// The cluster as one node sees it.
    pub async fn status(&self, number: usize) -> Result<ClusterStatus, LiveError> {
        Ok(self.client(number)?.cluster_status().await?.value)
    }

    fn number_of(&self, status: &ClusterStatus, id: NodeId) -> Option<usize> {
        let member = status.members.iter().find(|member| member.node == id)?;
        let address = &member.addresses.as_ref()?.client;
        self.members
            .iter()
            .map(|member| &member.node)
            .find(|node| node.client_address() == *address)
            .map(|node| node.number)
    }

    /// Puts a join token into the file that a node waits for, and waits until it votes and is unsealed.
    pub async fn let_join(&self, number: usize) -> Result<(), LiveError> {
        let token = self.client(1)?.create_join_token().await?.value;
        write_private(&token_file(&self.place, number), &token.text)
            .map_err(LiveError::system("writing a join token"))?;
        let address = self.node(number)?.client_address();
        let client = self.client(1)?;
        until("the join of a node", SETTLE, async || {
            let status = client.cluster_status().await.map_err(|error| error.to_string())?.value;
            let joined = status.members.iter().any(|member| {
                let here = member.addresses.as_ref().is_some_and(|addresses| addresses.client == address);
                here && member.role == MemberRole::Voter
            });
            if joined { Ok(()) } else { Err(format!("node {number} does not vote yet")) }
        })
        .await?;
        self.unsealed(&[number]).await
    }

    fn shown(&self) -> Result<&Shown, LiveError> {
        self.shown.as_ref().ok_or(LiveError::Unfounded)
    }
}

fn token_file(place: &Place, number: usize) -> PathBuf {
    place.root().join(format!("join-{number}.token"))
}
