//! Three nodes of one cluster: their processes, what was shown once, and clients of them.

use std::path::PathBuf;
use std::time::Duration;

use keyclave_client::Client;
use keyclave_client::cluster::{AdmissionPolicy, ClusterStatus, MemberRole, NewCluster};
use keyclave_client::endpoint::Endpoint;
use keyclave_client::seal::{GivenShare, SealState, ShareTerms};
use keyclave_types::ids::NodeId;
use keyclave_types::seal::Threshold;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::local::place::Place;
use crate::local::ports;
use crate::local::process::{Node, Process};
use crate::local::told::Told;
use crate::local::wait::until;
use crate::secret_output::write_secret;

/// How many nodes there are.
pub(crate) const NODES: usize = 3;
const SHARES: u8 = 5;
const SHARES_NEEDED: u8 = 3;
/// How long one call may take, failover included.
const CALL: Duration = Duration::from_secs(20);
/// How long nodes may take to join, catch up and be unsealed.
const SETTLE: Duration = Duration::from_secs(30);

/// What `init` showed.
pub(crate) struct Secrets {
    pub(crate) token: Zeroizing<String>,
    pub(crate) shares: Vec<Zeroizing<String>>,
    pub(crate) ca_pem: String,
}

/// The nodes.
pub(crate) struct Cluster {
    // Before the place: processes end before their directories go.
    members: Vec<Member>,
    pub(crate) secrets: Option<Secrets>,
    pub(crate) place: Place,
}

/// One node of the demo.
pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) process: Option<Process>,
}

impl Cluster {
    /// Three nodes that do not run yet; the second and third are to join the first.
    pub(crate) fn new(place: Place) -> Result<Self, Failure> {
        let free = ports::free(3 * NODES)?;
        let first = free.first().copied();
        let nodes = free.chunks_exact(3).zip(1..).filter_map(|(ports, number)| {
            let [clients, peers, health] = *ports else { return None };
            let join = first.filter(|_| number > 1).map(|first| (first, token_file(&place, number)));
            Some(Node { number, place: place.node(number), clients, peers, health, join })
        });
        let members = nodes.map(|node| Member { node, process: None }).collect();
        Ok(Self { members, secrets: None, place })
    }

    /// All nodes, by number.
    pub(crate) fn members(&mut self) -> &mut [Member] {
        &mut self.members
    }

    /// One node, from 1.
    pub(crate) fn node(&self, number: usize) -> &Node {
        let member = self.members.get(number - 1);
        &member.expect("the demo asks for nodes 1 to 3 only").node
    }

    /// Starts those that do not run and waits until their sockets answer.
    pub(crate) async fn start(&mut self) -> Result<Told<()>, Failure> {
        for member in self.members.iter_mut().filter(|member| member.process.is_none()) {
            member.process = Some(member.node.start()?);
        }
        for member in &mut self.members {
            if let Some(process) = &mut member.process {
                member.node.answers(process).await?;
            }
        }
        let pids = self.members.iter().filter_map(|member| member.process.as_ref());
        let pids: Vec<_> = pids.map(|process| process.pid().to_string()).collect();
        Ok(Told { value: (), detail: format!("processes {}", pids.join(", ")) })
    }

    /// Kills one as a crash would.
    pub(crate) fn kill(&mut self, number: usize) {
        if let Some(mut process) = self.members.get_mut(number - 1).and_then(|member| member.process.take()) {
            process.kill();
        }
    }

    /// Makes a cluster out of the first node.
    pub(crate) async fn init(&mut self) -> Result<Told<()>, Failure> {
        let threshold = Threshold::new(SHARES_NEEDED, SHARES).expect("3 of 5 is a threshold");
        let client = self.node(1).over_socket()?.with_deadline(CALL);
        let made: NewCluster = client.init(threshold, AdmissionPolicy::Strict).await?.value;
        let detail = format!("{} shares, any {} unseal", made.shares.len(), threshold.needed());
        write_secret(&self.token_file(), &made.root_token)?;
        std::fs::write(self.cacert(), &made.ca_pem)
            .map_err(|error| Failure::failed("FILE", format!("{}: {error}", self.cacert().display())))?;
        self.secrets = Some(Secrets { token: made.root_token, shares: made.shares, ca_pem: made.ca_pem });
        Ok(Told { value: (), detail })
    }

    /// Where the CA certificate lies.
    pub(crate) fn cacert(&self) -> PathBuf {
        self.place.root().join("ca.pem")
    }

    /// Where the root token lies.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.place.root().join("token")
    }

    /// A threshold of the shares.
    pub(crate) fn shares(&self) -> Result<Vec<GivenShare>, Failure> {
        let shares = self.secrets()?.shares.iter().take(usize::from(SHARES_NEEDED));
        Ok(shares.map(|text| GivenShare::parse(text)).collect::<Result<_, _>>()?)
    }

    pub(crate) fn secrets(&self) -> Result<&Secrets, Failure> {
        self.secrets.as_ref().ok_or_else(|| Failure::failed("DEMO", "there is no cluster yet"))
    }

    /// Gives a threshold of shares over the first node's own socket.
    pub(crate) async fn unseal_first(&self) -> Result<Told<()>, Failure> {
        let client = self.node(1).over_socket()?.with_deadline(CALL);
        let (code, key) = client.local_code().await?;
        for share in self.shares()? {
            client.submit_share(&share, &key, ShareTerms::default()).await?;
        }
        until("unsealing node 1", SETTLE, || async {
            let status = self.status(1).await?;
            status.leader.map(|_| ()).ok_or_else(|| "no leader yet".to_owned())
        })
        .await?;
        Ok(Told { value: (), detail: format!("code {code}") })
    }

    /// Lets a waiting node join by putting a token into its file.
    pub(crate) async fn join(&self, number: usize) -> Result<Told<()>, Failure> {
        let token = self.client(1)?.create_join_token().await?.value;
        write_secret(&token_file(&self.place, number), &token.text)?;
        until(&format!("joining node {number}"), SETTLE, || async {
            let status = self.status(1).await?;
            let voters = status.members.iter().filter(|member| member.role == MemberRole::Voter).count();
            if voters == number { Ok(()) } else { Err(format!("{voters} of {number} are voters")) }
        })
        .await?;
        self.unsealed(&[number]).await?;
        Ok(Told { value: (), detail: format!("unsealed by a peer, {number} voters") })
    }

    /// Waits until these nodes are unsealed.
    pub(crate) async fn unsealed(&self, numbers: &[usize]) -> Result<(), Failure> {
        for number in numbers {
            let client = self.node(*number).over_socket()?;
            until(&format!("unsealing node {number}"), SETTLE, || async {
                let status = client.seal_status().await.map_err(|error| error.to_string())?;
                match status.this_node.state {
                    SealState::Unsealed => Ok(()),
                    state => Err(format!("it is {state:?}")),
                }
            })
            .await?;
        }
        Ok(())
    }

    /// A client of one node only.
    pub(crate) fn client(&self, number: usize) -> Result<Client, Failure> {
        self.connected([self.node(number)])
    }

    /// A client of all nodes: it goes on to the next when one does not answer.
    pub(crate) fn client_of_all(&self) -> Result<Client, Failure> {
        self.connected(self.members.iter().map(|member| &member.node))
    }

    fn connected<'a>(&self, nodes: impl IntoIterator<Item = &'a Node>) -> Result<Client, Failure> {
        let secrets = self.secrets()?;
        let endpoints = nodes.into_iter().map(|node| Endpoint::from(node.client_address()));
        let builder = Client::builder().endpoints(endpoints).ca_pem(secrets.ca_pem.as_bytes());
        let built = builder.token(&secrets.token).deadline(CALL).build();
        built.map_err(|error| Failure::from_error("CLIENT", &error))
    }

    async fn status(&self, number: usize) -> Result<ClusterStatus, String> {
        let client = self.client(number).map_err(|_| "there is no client".to_owned())?;
        client.cluster_status().await.map(|answer| answer.value).map_err(|error| error.to_string())
    }

    /// Which of the demo's nodes a cluster's node is: they are told apart by where clients reach them.
    pub(crate) async fn leader(&self) -> Result<usize, Failure> {
        let client = self.client_of_all()?;
        until("finding the leader", SETTLE, || async {
            let status = client.cluster_status().await.map_err(|error| error.to_string())?.value;
            let leader = status.leader.ok_or_else(|| "no leader is known".to_owned())?;
            self.number_of(&status, leader).ok_or_else(|| format!("node {leader} has no address yet"))
        })
        .await
    }

    fn number_of(&self, status: &ClusterStatus, id: NodeId) -> Option<usize> {
        let member = status.members.iter().find(|member| member.node == id)?;
        let address = &member.addresses.as_ref()?.client;
        let found = self.members.iter().find(|member| member.node.client_address() == *address)?;
        Some(found.node.number)
    }
}

fn token_file(place: &Place, number: usize) -> PathBuf {
    place.root().join(format!("join-{number}.token"))
}
