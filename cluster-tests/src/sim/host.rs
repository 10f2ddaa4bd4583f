//! One process of a simulated node: the product's ledger and cluster over the simulator's disk and network, a few
//! clients, and somebody who does what the driver says and records what the node sees of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use keyclave_cluster::cluster::Cluster;
use keyclave_cluster::members::Role;
use keyclave_ledger::disk::{Area, Disk};
use keyclave_ledger::ledger::Ledger;
use keyclave_ledger::log_store::LogStore;
use keyclave_types::ids::NodeId;
use tokio::time::Instant;

use super::client::Client;
use super::dice::Dice;
use super::disk::MemoryDisk;
use super::forger::{self, Known};
use super::identity::{self, PEER_PORT, SimKeys, address, local, member};
use super::members::Members;
use super::net::Net;
use super::records;
use super::start::{Start, start};
use super::world::{Command, NodeState, Phase, World};
use crate::history::{Event, LogLine};

/// Clients per node.
const CLIENTS: u64 = 2;
/// How often a node looks at itself and at what it was told.
const LOOK_MS: u64 = 5;
/// How long a leader tries to make a node a voter, and how often.
const JOIN_MS_MAX: u64 = 10_000;
const ADD_AGAIN_MS: u64 = 100;
/// How long one change of membership, hand-over or checkpoint may take.
const ACT_MS: u64 = 3_000;

/// Runs a process until it is ended from outside. One that cannot go on says so and waits to be ended.
pub async fn run(world: World, number: u64) -> turmoil::Result {
    let Some(node) = world.node(number) else { return Ok(()) };
    while !node.is_active() {
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
    if let Some(member) = NodeId::new(number).filter(|_| node.lies()) {
        let known = (1..=world.setup.machines()).filter_map(|other| {
            Some((NodeId::new(other)?, (identity::member(other), address(other, PEER_PORT)?)))
        });
        let why = forger::run(&world, node, local(member), Known(known.collect())).await;
        world.record(Event::Stopped { node: number, why });
        return std::future::pending().await;
    }
    let process = node.start();
    world.record(Event::Started { node: number });
    let why = match Process::start(&world, node, process).await {
        Ok(process) => process.live().await,
        Err(error) => error,
    };
    world.record(Event::Stopped { node: number, why });
    node.stop();
    std::future::pending().await
}

struct Process<'a> {
    world: World,
    node: &'a NodeState,
    cluster: Cluster<MemoryDisk>,
    ledger: Ledger<MemoryDisk>,
    keys: SimKeys,
    net: Net,
}

impl<'a> Process<'a> {
    async fn start(world: &World, node: &'a NodeState, process: u64) -> Result<Self, String> {
        let id = NodeId::new(node.number).ok_or("no node number")?;
        let disk = Arc::new(node.disk.clone());
        let ledger = Ledger::open(Arc::clone(&disk)).map_err(told)?;
        let log = LogStore::new(disk);
        let keys = SimKeys::new(node.number, node.is_sealed());
        let directory = Arc::new(Members::new(id, world.setup.machines()));
        let net = Net::new(local(id), directory.clone(), Arc::new(keys.clone()), process);
        let seed = Dice::new(world.setup.seed, &format!("process {process} of {}", node.number)).bits();
        let transport = Arc::new(net.peers.clone());
        let parts = Start {
            me: id,
            ledger: ledger.clone(),
            log,
            keys: keys.clone(),
            transport,
            seed,
            sealed: node.is_sealed(),
        };
        let cluster = start(parts).await.map_err(told)?;
        directory.follow(cluster.clone());
        net.serve(Arc::new(cluster.clone())).await.map_err(told)?;
        let process = Self { world: world.clone(), node, cluster, ledger, keys, net };
        process.start_clients(seed);
        Ok(process)
    }

    fn start_clients(&self, seed: u64) {
        for number in 0..CLIENTS {
            let client = Client {
                world: self.world.clone(),
                node: self.node.number,
                cluster: self.cluster.clone(),
                ledger: self.ledger.clone(),
                dice: Dice::new(seed, &format!("client {number}")),
            };
            tokio::spawn(client.run());
        }
        if self.node.number == 1 {
            tokio::spawn(make(self.world.clone(), self.cluster.clone()));
        }
    }

    /// Looks at itself and at what it is told until it cannot go on; says why.
    async fn live(self) -> String {
        let fatal = self.cluster.watch_fatal();
        let mut seen = Seen::default();
        loop {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            if let Some(fatal) = fatal.borrow().clone() {
                return chain(&fatal);
            }
            self.look(&mut seen);
            while let Some(command) = self.node.told() {
                self.obey(command);
            }
        }
    }

    fn look(&self, seen: &mut Seen) {
        let node = self.node.number;
        let leadership = self.cluster.leadership();
        let leads = leadership.leader.is_some_and(|leader| leader.get() == node);
        let leading = leads.then_some(leadership.term);
        self.node.set_leading(leading);
        if let Some(term) = leading.filter(|_| seen.leading != leading) {
            self.world.record(Event::Leading { node, term });
        }
        seen.leading = leading;
        let members: BTreeSet<u64> = self.cluster.applied_members().keys().map(|node| node.get()).collect();
        if members != seen.members {
            self.net.peers.membership_changed();
            self.node.set_members(members.clone());
            seen.members = members;
        }
        let applied_members = self.cluster.applied_members();
        let voters = applied_members.values().filter(|(_, role)| *role == Role::Voter).count();
        if leads && voters != seen.voters {
            seen.voters = voters;
            let count = u64::try_from(voters).unwrap_or(u64::MAX);
            self.world.record(Event::Voters { node, count });
        }
        let applied = self.ledger.applied();
        self.node.set_applied(applied.index);
        if applied.index != seen.applied {
            seen.applied = applied.index;
            let digest = format!("{:?}", applied.digest);
            self.world.record(Event::Applied { node, index: applied.index, digest });
        }
    }

    fn obey(&self, command: Command) {
        let cluster = self.cluster.clone();
        match command {
            Command::Seal(sealed) => {
                self.keys.set_sealed(sealed);
                self.cluster.set_sealed(sealed);
                self.net.close_keyed();
            }
            Command::HandOver => {
                tokio::spawn(async move { cluster.hand_over(None, within(ACT_MS)).await.is_ok() });
            }
            Command::Add(number) => {
                tokio::spawn(async move { add(&cluster, number).await });
            }
            Command::Remove(number) => {
                let Some(node) = NodeId::new(number) else { return };
                tokio::spawn(async move { cluster.remove_member(node, within(ACT_MS)).await.is_ok() });
            }
            Command::Checkpoint => {
                tokio::spawn(async move {
                    if cluster.checkpoint().await.is_ok() {
                        cluster.purge().await;
                    }
                });
            }
        }
    }
}

#[derive(Default)]
struct Seen {
    leading: Option<u64>,
    members: BTreeSet<u64>,
    voters: usize,
    applied: u64,
}

/// Makes the cluster from its first node: alone, then each other one as a learner and as a voter. Goes on where an
/// earlier process of this node left off.
async fn make(world: World, cluster: Cluster<MemoryDisk>) {
    // Refused if an earlier process has done it.
    let _ = cluster.initialize().await;
    while world.phase() == Phase::Making {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut complete = true;
        for number in 2..=world.setup.nodes {
            complete &= add(&cluster, number).await;
        }
        if complete {
            world.enter(Phase::Faults);
        }
    }
}

/// Makes a node a learner, and a voter when it follows closely; whether it is one then.
async fn add(cluster: &Cluster<MemoryDisk>, number: u64) -> bool {
    let Some(node) = NodeId::new(number) else { return false };
    let end = within(JOIN_MS_MAX);
    while Instant::now() < end && cluster.leadership().mine.is_some() {
        let added = cluster.add_member(node, member(number), within(ACT_MS)).await;
        if added.is_ok() && cluster.promote(node, within(ACT_MS)).await.is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(ADD_AGAIN_MS)).await;
    }
    false
}

fn within(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

/// What a node's disk holds when no process uses it any more: its records and its log.
pub fn last_words(node: &NodeState) -> Vec<Event> {
    let broken = |why: String| vec![Event::Broken { why: format!("node {}: {why}", node.number) }];
    let disk = Arc::new(node.disk.clone());
    let ledger = match Ledger::open(Arc::clone(&disk)) {
        Ok(ledger) => ledger,
        Err(error) => return broken(chain(&error)),
    };
    let (applied, records) = match ledger.read_everything() {
        Ok(everything) => everything,
        Err(error) => return broken(chain(&error)),
    };
    let records: BTreeMap<_, _> = records
        .iter()
        .filter_map(|(id, record)| Some((records::key_of(id)?, records::held(record))))
        .collect();
    let (index, digest) = (applied.index, format!("{:?}", applied.digest));
    vec![
        Event::Applied { node: node.number, index, digest },
        Event::Records { node: node.number, records },
        log_of(node),
    ]
}

/// The log that a node has on its disk.
pub fn log_of(node: &NodeState) -> Event {
    match node.disk.range(Area::Log, &[], usize::MAX) {
        Ok(pairs) => {
            let entries = pairs.iter().filter_map(|(_, bytes)| line(bytes)).collect();
            Event::Log { node: node.number, entries }
        }
        Err(error) => Event::Broken { why: format!("node {}: {}", node.number, chain(&error)) },
    }
}

/// An entry's place as its first bytes say: format, then term, node and index in eight bytes each.
fn line(stored: &[u8]) -> Option<LogLine> {
    let (_, rest) = stored.split_first()?;
    let (term, rest) = rest.split_first_chunk::<8>()?;
    let (leader, rest) = rest.split_first_chunk::<8>()?;
    let (index, _) = rest.split_first_chunk::<8>()?;
    let [term, leader, index] = [term, leader, index].map(|number| u64::from_be_bytes(*number));
    Some(LogLine { index, term, leader, hash: blake3::hash(stored).to_hex().to_string() })
}

fn told(error: impl std::error::Error) -> String {
    chain(&error)
}

/// An error with all its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
