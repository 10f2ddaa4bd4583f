//! One process of a whole node: founds or joins the cluster, is unsealed by its peers or by people with shares, serves
//! callers, and does what the driver says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use keyclave_client::Answer;
use keyclave_client::cluster::{JoinNode, JoinTicket};
use keyclave_client::error::ReadError;
use keyclave_cluster::transport::directory::LocalNode;
use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::{hpke, labels};
use keyclave_ledger::log_store::LogStore;
use keyclave_node::home::{Home, Identity, Membership};
use keyclave_node::joining::{JoinAnswer, JoinAsk, pins_from};
use keyclave_node::member::Member;
use keyclave_node::node::{Node, Setup};
use keyclave_node::world::{EntropySource, World as Outside};
use keyclave_policy::{Action, Principal};
use keyclave_proto::share_terms::{ShareTerms, SubmitTerms};
use keyclave_server::danger::danger_serve_plain;
use keyclave_server::pipeline::Pipeline;
use keyclave_types::member::{Addresses, NodePublicKey};
use keyclave_types::seal::Threshold;
use keyclave_vault::records::cluster::RejoinPolicy;
use tokio::time::Instant;
use turmoil::net::TcpListener;

use super::dial::{CLIENT_PORT, client_of};
use super::machine::{NoAuthority, SimEntropy, SimMachine};
use super::operator::Errand;
use crate::history::Event;
use crate::sim::dice::Dice;
use crate::sim::forger::{self, Known};
use crate::sim::host::chain;
use crate::sim::identity::{PEER_PORT, address};
use crate::sim::net::accepted;
use crate::sim::world::{Command, NodeState, Phase, World};

/// How long a destruction waits until the stores are rewritten.
const PURGE_AFTER_MS: u64 = 10_000;
/// How often a node looks at itself and at what it was told.
const LOOK_MS: u64 = 5;
/// How long people wait before they bring shares to a sealed node: its peers may unseal it first.
const PATIENCE_MS: u64 = 3_000;
/// How often people look after a node.
const ROUND_MS: u64 = 250;
/// How long a node waits for a join token, and how long one attempt to join may take.
const TICKET_MS: u64 = 1_000;
const JOIN_MS_MAX: u64 = 10_000;
/// Shares that open the cluster, of so many.
const SHARES: (u8, u8) = (2, 3);

/// Runs a process until it is ended from outside. One that cannot go on says so and waits to be ended.
pub async fn run(world: World, number: u64) -> turmoil::Result {
    let Some(node) = world.node(number) else { return Ok(()) };
    while !node.is_active() {
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
    if let Some((local, known)) = stolen(&world, node).filter(|_| node.lies()) {
        let why = forger::run(&world, node, local, known).await;
        world.record(Event::Stopped { node: number, why });
        return std::future::pending().await;
    }
    let process = node.start();
    world.record(Event::Started { node: number });
    let why = match live(&world, node, process).await {
        Ok(ending) => ending,
        Err(error) => chain(&*error),
    };
    world.record(Event::Stopped { node: number, why });
    node.stop();
    std::future::pending().await
}

type Failed = Box<dyn std::error::Error>;
type SimNode = Node<SimMachine>;
type SimMember = Arc<Member<SimMachine>>;

/// What a thief of a node's disk knows: who the node is, and who the others are and where.
fn stolen(world: &World, node: &NodeState) -> Option<(LocalNode, Known)> {
    let home = |node: &NodeState| -> Option<(Membership, Identity)> {
        let home = Home::new(LogStore::new(Arc::new(node.disk.clone())));
        // The entropy is for a disk without an identity, which no member has.
        let membership = home.membership().ok()??;
        Some((membership, home.identity(&mut Entropy::from_seed([0; 32])).ok()?))
    };
    let known = world.nodes().iter().filter_map(|node| {
        let (membership, identity) = home(node)?;
        Some((membership.node, (identity.member(), address(node.number, PEER_PORT)?)))
    });
    let (Membership { cluster, generation, node: me, .. }, identity) = home(node)?;
    let Identity { incarnation, key } = identity;
    let key = NodePublicKey(key.public());
    Some((LocalNode { cluster, generation, node: me, incarnation, key }, Known(known.collect())))
}

/// The process's whole life; how it ended.
async fn live(world: &World, state: &NodeState, process: u64) -> Result<String, Failed> {
    let number = state.number;
    let seed = Dice::new(world.setup.seed, &format!("process {process} of {number}")).bits();
    let entropy: Arc<dyn EntropySource> = Arc::new(SimEntropy::new(seed));
    let listener = TcpListener::bind(("0.0.0.0", PEER_PORT)).await?;
    let machine = SimMachine::new(world, state, process, listener);
    let outside = Outside {
        clock: Arc::new(state.shelf.clock.clone()),
        entropy: entropy.clone(),
        runtime: Arc::new(state.shelf.runtime.clone()),
        authority: Arc::new(NoAuthority),
    };
    let node = Node::start(Setup {
        host: Arc::new(machine),
        world: outside.clone(),
        addresses: addresses(number)?,
        overrides: BTreeMap::new(),
        joining: number != 1,
        purge_after_ms: PURGE_AFTER_MS,
    })
    .await?;
    let member = become_member(world, &node, number).await?;
    state.set_id(member.node().get());
    let pipeline = Pipeline::new(node.clone(), outside.clock, entropy.clone());
    node.serve_peers(&member, Arc::new(pipeline.clone()));
    let clients = TcpListener::bind(("0.0.0.0", CLIENT_PORT)).await?;
    tokio::spawn(danger_serve_plain(pipeline, accepted(clients)));
    let process = Process { world, state, member, entropy };
    tokio::select! {
        ending = node.ending() => Ok(ending.to_string()),
        never = process.look_after() => never,
    }
}

fn addresses(number: u64) -> Result<Addresses, Failed> {
    let at = |port| address(number, port).ok_or("a node's name is no address");
    Ok(Addresses { peer: at(PEER_PORT)?, client: at(CLIENT_PORT)? })
}

/// A vacant node founds the cluster if it is the first one, and joins it otherwise.
async fn become_member(world: &World, node: &SimNode, number: u64) -> Result<SimMember, Failed> {
    while node.member().is_none() {
        if number == 1 {
            let threshold = Threshold::new(SHARES.0, SHARES.1)?;
            let permit = keyclave_policy::built_in(&Principal::LocalSocket, Action::Init, None)?;
            let founded = node.init(threshold, RejoinPolicy::Strict, &permit).await?;
            let shares = founded.shares.iter().map(|share| share.to_string()).collect();
            world.secrets.founded(shares, founded.root_token.to_string());
        } else {
            join(world, node, number).await?;
        }
    }
    node.member().ok_or_else(|| "a member was made and is not there".into())
}

/// One attempt to join, as a server makes it: with a token from the operator, at whichever node answers.
async fn join(world: &World, node: &SimNode, number: u64) -> Result<(), Failed> {
    let Some(ticket) = world.secrets.ticket(number) else {
        world.secrets.send(Errand::Ticket(number));
        tokio::time::sleep(Duration::from_millis(TICKET_MS)).await;
        return Ok(());
    };
    let ticket = JoinTicket::parse(&ticket)?;
    let JoinAsk { member: identity, addresses, boot_public } = node.join_ask()?;
    let others = world.active().into_iter().filter(|other| *other != number);
    let client = client_of(others, None, JOIN_MS_MAX, number)?;
    let ask = JoinNode { identity, addresses, boot_public_key: boot_public };
    match client.join(&ticket, &ask).await {
        Ok(Answer { value: joined, position }) => {
            let pins = pins_from(joined.writer_public_key, &joined.first_entry).ok_or("no pins")?;
            let known = joined.members.into_iter();
            let members = known.filter_map(|m| Some((m.node, m.identity, m.addresses?))).collect();
            let answer = JoinAnswer { position, cluster: joined.cluster, node: joined.node, pins, members };
            Ok(node.join(answer).await?)
        }
        // Too old, or spent by a directory that is no more: another one is needed.
        Err(ReadError::Refused(_)) => {
            world.secrets.drop_ticket(number);
            Ok(())
        }
        Err(_) => Ok(()),
    }
}

struct Process<'a> {
    world: &'a World,
    state: &'a NodeState,
    member: SimMember,
    entropy: Arc<dyn EntropySource>,
}

impl Process<'_> {
    async fn look_after(&self) -> Result<String, Failed> {
        let (mut seen, mut sealed_since, mut next_round) = (Seen::default(), Instant::now(), Instant::now());
        loop {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            self.look(&mut seen);
            while let Some(command) = self.state.told() {
                self.obey(command);
            }
            if self.member.is_unsealed() {
                sealed_since = Instant::now();
            }
            if Instant::now() < next_round {
                continue;
            }
            next_round = Instant::now() + Duration::from_millis(ROUND_MS);
            let alone = self.world.phase() == Phase::Making;
            let waited = sealed_since.elapsed() > Duration::from_millis(PATIENCE_MS);
            if !self.member.is_unsealed() && !self.state.is_sealed() && (alone || waited) {
                self.bring_shares().await;
            }
        }
    }

    fn look(&self, seen: &mut Seen) {
        let node = self.member.node().get();
        let unsealed = self.member.is_unsealed();
        if unsealed != seen.unsealed {
            seen.unsealed = unsealed;
            let node = self.state.number;
            self.world.record(if unsealed { Event::Unsealed { node } } else { Event::Sealed { node } });
        }
        let (leader, term) = self.member.leader();
        let leading = leader.filter(|leader| *leader == self.member.node()).map(|_| term);
        self.state.set_leading(leading);
        if let Some(term) = leading.filter(|_| seen.leading != leading) {
            self.world.record(Event::Leading { node, term });
        }
        seen.leading = leading;
        let known = self.member.known_members();
        let members: BTreeSet<u64> = known.iter().map(|member| member.node.get()).collect();
        self.state.set_members(members);
        self.state.set_applied(self.member.position().index);
        let voters = known.iter().filter(|member| member.votes).count();
        if leading.is_some() && voters != seen.voters {
            seen.voters = voters;
            let count = u64::try_from(voters).unwrap_or(u64::MAX);
            self.world.record(Event::Voters { node, count });
        }
        let made = u64::try_from(voters).unwrap_or(0) >= self.world.setup.nodes;
        if self.world.phase() == Phase::Making && made && leading.is_some() && self.member.is_unsealed() {
            self.world.enter(Phase::Faults);
        }
    }

    /// People give as many shares as it takes, on the machine itself.
    async fn bring_shares(&self) {
        let mut entropy = Entropy::from_seed(self.entropy.seed());
        let Some(ceremony) = self.member.ceremony_id() else { return };
        let terms = SubmitTerms { ceremony, vouch_for: None, admit_all_members: false };
        let bound = ShareTerms::Submit(terms.clone()).to_bytes();
        for share in self.world.secrets.shares().iter().take(usize::from(SHARES.0)) {
            let public = self.member.boot_public();
            let sealed =
                hpke::seal_to(&public, labels::SHARE_TO_NODE, &bound, share.as_bytes(), &mut entropy);
            let Ok(sealed) = sealed else { return };
            // A share that cannot be judged now is brought again in the next round.
            if self.member.give_share(&terms, &sealed).await.is_err() {
                return;
            }
        }
    }

    fn obey(&self, command: Command) {
        let member = self.member.clone();
        match command {
            Command::Seal(true) => {
                tokio::spawn(async move { member.seal_here().await });
            }
            // Whoever may be unsealed again is looked after in the next round.
            Command::Seal(false) | Command::Checkpoint => {}
            // The operator's errands, and a node that joins asks by itself.
            Command::HandOver | Command::Add(_) | Command::Remove(_) => {}
        }
    }
}

#[derive(Default)]
struct Seen {
    unsealed: bool,
    leading: Option<u64>,
    voters: usize,
}
