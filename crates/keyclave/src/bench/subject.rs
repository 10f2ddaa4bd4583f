//! What is measured: three servers of our own, or somebody's cluster; and clients of it.

use std::time::{Duration, SystemTime};

use keyclave_client::Client;
use keyclave_client::cluster::ClusterStatus;
use keyclave_types::member::HostPort;

use crate::arguments::Connection;
use crate::arguments::bench::{At, BenchArguments, Measure};
use crate::connection;
use crate::failure::Failure;
use crate::local::cluster::{Cluster, NODES};
use crate::local::place::Place;
use crate::local::wait::until;
use crate::output;
use crate::progress::watched;

/// How long a leader may take to be found.
const LEADER: Duration = Duration::from_secs(30);

/// The cluster under measurement.
pub(super) struct Subject {
    own: Option<Cluster>,
    connection: Connection,
    nodes: usize,
    /// When this run began, in milliseconds: no two runs share a key's name.
    run: u128,
    rows: u64,
}

impl Subject {
    /// Starts a cluster unless one is named.
    pub(super) async fn of(connection: &Connection, arguments: &BenchArguments) -> Result<Self, Failure> {
        let run = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
        if connection.socket.is_some() {
            return Err(Failure::usage("a socket is no network to measure").next("name --endpoints"));
        }
        if connection.endpoints.is_empty() {
            let cluster = watched("starting three servers", start()).await?;
            let connection = of_cluster(&cluster, connection);
            return Ok(Self { own: Some(cluster), connection, nodes: NODES, run, rows: 0 });
        }
        if arguments.measure == [Measure::Failover] {
            return Err(Failure::usage("only a cluster of its own may have its leader killed")
                .next("leave --endpoints out"));
        }
        if arguments.measure.contains(&Measure::Failover) {
            output::note("failover is left out: only a cluster of its own may have its leader killed");
        }
        let nodes = connection::client(connection)?.list_members().await?.value.len();
        Ok(Self { own: None, connection: connection.clone(), nodes, run, rows: 0 })
    }

    /// How many members there are.
    pub(super) fn node_count(&self) -> usize {
        self.nodes
    }

    /// The cluster, if its processes are ours to kill.
    pub(super) fn own_cluster(&mut self) -> Option<&mut Cluster> {
        self.own.as_mut()
    }

    /// A prefix under which no key is yet.
    pub(super) fn fresh_prefix(&mut self) -> String {
        self.rows += 1;
        format!("bench/{}/{}", self.run, self.rows)
    }

    /// So many clients, no two of which share a connection.
    pub(super) async fn clients(&self, at: At, count: u64) -> Result<Vec<Client>, Failure> {
        let endpoints = self.endpoints(at).await?;
        let client = |endpoint: &String| {
            let endpoints = vec![endpoint.clone()];
            connection::client(&Connection { endpoints, ..self.connection.clone() })
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        endpoints.iter().cycle().take(count).map(client).collect()
    }

    /// Which endpoints these are at this moment.
    async fn endpoints(&self, at: At) -> Result<Vec<String>, Failure> {
        let client = connection::client(&self.connection)?;
        let status: ClusterStatus = until("finding the leader", LEADER, || async {
            let status = client.cluster_status().await.map_err(|error| error.to_string())?.value;
            if status.leader.is_some() { Ok(status) } else { Err("no leader is known".to_owned()) }
        })
        .await?;
        let address = |wanted: &dyn Fn(bool) -> bool| -> Vec<HostPort> {
            let members = status.members.iter().filter(|member| wanted(Some(member.node) == status.leader));
            members.filter_map(|member| member.addresses.as_ref().map(|known| known.client.clone())).collect()
        };
        let addresses = match at {
            At::Leader => address(&|leads| leads),
            At::Follower => address(&|leads| !leads).into_iter().take(1).collect(),
            At::All => address(&|_| true),
        };
        if addresses.is_empty() {
            return Err(Failure::failed("BENCH", format!("no address of a {} is known", at.name())));
        }
        Ok(addresses.into_iter().map(|address| format!("https://{address}")).collect())
    }

    /// Logs are of no use if they are removed with the servers: they stay, and the failure says where.
    pub(super) fn failed(&mut self, failure: Failure) -> Failure {
        let Some(cluster) = &mut self.own else { return failure };
        cluster.place.keep();
        let root = cluster.place.root().display();
        failure.next(format!("read the servers' logs, {root}/*.log; remove {root} afterwards"))
    }
}

/// Three voters, unsealed.
async fn start() -> Result<Cluster, Failure> {
    let mut cluster = Cluster::new(Place::fresh()?)?;
    cluster.start().await?;
    cluster.init().await?;
    cluster.unseal_first().await?;
    for number in 2..=NODES {
        cluster.join(number).await?;
    }
    Ok(cluster)
}

/// The flags with which anybody would connect to it.
fn of_cluster(cluster: &Cluster, asked: &Connection) -> Connection {
    Connection {
        endpoints: (1..=NODES).map(|number| cluster.node(number).endpoint()).collect(),
        cacert: Some(cluster.cacert()),
        token_file: Some(cluster.token_file()),
        ..asked.clone()
    }
}
