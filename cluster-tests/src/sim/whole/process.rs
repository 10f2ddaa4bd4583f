//! One process of a whole node: founds or joins the cluster, is unsealed by its peers or by people with shares, serves
//! callers, and does what the driver says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::{hpke, labels};
use keyclave_node::member::Member;
use keyclave_node::node::{Node, Setup};
use keyclave_node::world::{EntropySource, World as Outside};
use keyclave_policy::{Action, Principal};
use keyclave_proto::share_terms::{ShareTerms, SubmitTerms};
use keyclave_server::pipeline::Pipeline;
use keyclave_types::ids::RequestId;
use keyclave_types::member::{Addresses, HostPort};
use keyclave_types::request::{Write, WriteAnswer, WriteKind};
use keyclave_types::seal::Threshold;
use keyclave_vault::records::cluster::RejoinPolicy;
use tokio::sync::oneshot;
use tokio::time::Instant;
use turmoil::net::TcpListener;

use super::caller::Caller;
use super::machine::{NoAuthority, SimEntropy, SimMachine};
use super::secrets::Join;
use crate::history::Event;
use crate::sim::dice::Dice;
use crate::sim::host::chain;
use crate::sim::identity::{PEER_PORT, name};
use crate::sim::world::{Command, NodeState, Phase, World};

/// How long a destruction waits until the stores are rewritten.
const PURGE_AFTER_MS: u64 = 10_000;
/// Callers per node.
const CALLERS: u64 = 2;
/// How often a node looks at itself and at what it was told.
const LOOK_MS: u64 = 5;
/// How long people wait before they bring shares to a sealed node: its peers may unseal it first.
const PATIENCE_MS: u64 = 3_000;
/// How often people look after a node.
const ROUND_MS: u64 = 250;
/// How long one act of an operator may take.
const ACT_MS: u64 = 3_000;
/// Shares that open the cluster, of so many.
const SHARES: (u8, u8) = (2, 3);

/// Runs a process until it is ended from outside. One that cannot go on says so and waits to be ended.
pub async fn run(world: World, number: u64) -> turmoil::Result {
    let Some(node) = world.node(number) else { return Ok(()) };
    while !node.is_active() {
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
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

/// The process's whole life; how it ended.
async fn live(world: &World, state: &NodeState, process: u64) -> Result<String, Failed> {
    let number = state.number;
    let seed = Dice::new(world.setup.seed, &format!("process {process} of {number}")).bits();
    let entropy: Arc<dyn EntropySource> = Arc::new(SimEntropy::new(seed));
    let listener = TcpListener::bind(("0.0.0.0", PEER_PORT)).await?;
    let machine = SimMachine::new(state.disk.clone(), state.shelf.trail.clone(), process, listener);
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
    for caller in 0..CALLERS {
        let dice = Dice::new(seed, &format!("caller {caller}"));
        tokio::spawn(
            Caller {
                world: world.clone(),
                node: number,
                member: member.clone(),
                pipeline: pipeline.clone(),
                dice,
            }
            .run(),
        );
    }
    let process = Process { world, state, member, entropy };
    tokio::select! {
        ending = node.ending() => Ok(ending.to_string()),
        never = process.look_after() => never,
    }
}

fn addresses(number: u64) -> Result<Addresses, Failed> {
    let at = |port: u16| format!("{}:{port}", name(number)).parse::<HostPort>();
    Ok(Addresses { peer: at(PEER_PORT)?, client: at(7420)? })
}

/// A vacant node founds the cluster if it is the first one, and joins it otherwise.
async fn become_member(world: &World, node: &SimNode, number: u64) -> Result<SimMember, Failed> {
    while node.member().is_none() {
        if number == 1 {
            let threshold = Threshold::new(SHARES.0, SHARES.1)?;
            let permit = keyclave_policy::decide(&Principal::LocalSocket, Action::Init, None)?;
            let founded = node.init(threshold, RejoinPolicy::Strict, &permit).await?;
            let shares = founded.shares.iter().map(|share| share.to_string()).collect();
            world.secrets.founded(shares, founded.root_token.to_string());
            continue;
        }
        let (reply, answer) = oneshot::channel();
        world.secrets.ask_to_join(Join { host: number, ask: node.join_ask()?, reply });
        // Whoever took the request may have lost its leadership, or its process: then it is asked again.
        if let Ok(Ok(answer)) = tokio::time::timeout(Duration::from_millis(2 * ACT_MS), answer).await {
            node.join(answer).await?;
        }
    }
    node.member().ok_or_else(|| "a member was made and is not there".into())
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
            self.take_in();
            let alone = self.world.phase() == Phase::Making;
            let waited = sealed_since.elapsed() > Duration::from_millis(PATIENCE_MS);
            if !self.member.is_unsealed() && !self.state.is_sealed() && (alone || waited) {
                self.bring_shares().await;
            }
        }
    }

    fn look(&self, seen: &mut Seen) {
        let node = self.member.node().get();
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
        let made = u64::try_from(voters).unwrap_or(0) >= self.world.setup.nodes;
        if self.world.phase() == Phase::Making && made && leading.is_some() && self.member.is_unsealed() {
            self.world.enter(Phase::Faults);
        }
    }

    /// Lets in whoever asks to join, if this node leads.
    fn take_in(&self) {
        if !self.member.serving().is_ok_and(|serving| serving.leads()) {
            return;
        }
        let Some(Join { host, ask, reply }) = self.world.secrets.next_join() else { return };
        let (member, secrets, unique) =
            (self.member.clone(), self.world.secrets.clone(), self.entropy.seed());
        tokio::spawn(async move {
            // One token per node that joins: asking again does not spend another one.
            let token = match secrets.join_token(host) {
                Some(token) => token,
                None => make_join_token(&member, &secrets.root_token()?, unique).await?,
            };
            secrets.keep_join_token(host, token.clone());
            let answer = member.admit_joining(&token, &ask, within(ACT_MS)).await.ok()?;
            // A node that no longer waits asks again.
            reply.send(answer).ok()
        });
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
            Command::HandOver => {
                tokio::spawn(async move { member.step_down(None, within(ACT_MS)).await.is_ok() });
            }
            // A node that joins asks by itself.
            Command::Add(_) => {}
            Command::Remove(number) => {
                let Some(root) = self.world.secrets.root_token() else { return };
                let unique = self.entropy.seed();
                tokio::spawn(async move {
                    let node = keyclave_types::ids::NodeId::new(number)?;
                    let (unique, _) = unique.split_first_chunk::<8>()?;
                    let request_id = RequestId::at(member.position().index, *unique);
                    let write = Write { request_id, change: WriteKind::RemoveMember { node } };
                    let serving = member.serving().ok()?;
                    serving.write_as_leader(&root, &write, member.node(), within(ACT_MS)).await.ok()?;
                    member.remove_from_log(node, within(ACT_MS)).await.ok()
                });
            }
        }
    }
}

async fn make_join_token(member: &SimMember, root: &str, unique: [u8; 32]) -> Option<String> {
    let (unique, _) = unique.split_first_chunk::<8>()?;
    let request_id = RequestId::at(member.position().index, *unique);
    let write = Write { request_id, change: WriteKind::CreateJoinToken };
    let serving = member.serving().ok()?;
    let (settled, _) = serving.write_as_leader(root, &write, member.node(), within(ACT_MS)).await.ok()?;
    match settled.answer {
        WriteAnswer::Token { text, .. } => Some(text.to_string()),
        WriteAnswer::Key(_) | WriteAnswer::Revoked | WriteAnswer::Done => None,
    }
}

#[derive(Default)]
struct Seen {
    leading: Option<u64>,
}

fn within(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}
