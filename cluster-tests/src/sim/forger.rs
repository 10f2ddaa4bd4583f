//! A member without the keyring that lies: in the place of a node's process it holds the node's peer key and its disk,
//! and sends the others votes, entries, snapshots, and what only a keyed connection may carry; asked by the others, it
//! grants every vote and answers appends with votes of its own making.
//!
//! The forms that it sends are built here and not taken from the product, as a thief would build them: from the
//! golden bytes. What it is told is recorded, and [`crate::invariants::forgeries`] judges it.
//! It does not claim to hold entries that it does not hold: what that can do stands in SECURITY.md.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use keyclave_cluster::peer::{Campaign, LeaderSeen};
use keyclave_cluster::transport::call::CallError;
use keyclave_cluster::transport::directory::{Directory, LocalNode};
use keyclave_cluster::transport::peers::PeerChannel;
use keyclave_cluster::transport::proof::{PeerKeys, Removal, Transcript};
use keyclave_cluster::transport::raft_service::{RaftHandler, RaftRefusal, Sender, SnapshotChunks};
use keyclave_cluster::transport::wire::Exporter;
use keyclave_ledger::disk::{Area, Disk};
use keyclave_proto::peer::v1 as wire;
use keyclave_proto::peer::v1::forward_service_client::ForwardServiceClient;
use keyclave_proto::peer::v1::raft_service_client::RaftServiceClient;
use keyclave_types::ids::NodeId;
use keyclave_types::member::{HostPort, Member, NodePublicKey};
use keyclave_types::position::Position;

use super::dice::Dice;
use super::forged::{Forms, Log};
use super::host::chain;
use super::net::Net;
use super::world::{NodeState, World};
use crate::history::Event;

/// How long one call may take.
const CALL: Duration = Duration::from_millis(400);
/// Longest rest between two lies.
const REST_MS_MAX: u64 = 150;
/// Terms that a lie goes ahead, so that a run's terms stay readable.
const TERMS_AHEAD_MAX: u64 = 50;

/// Who the others are, as the thief of a data directory knows them: by their keys and addresses.
pub struct Known(pub BTreeMap<NodeId, (Member, HostPort)>);

impl Directory for Known {
    fn node(&self, key: &NodePublicKey) -> Option<NodeId> {
        self.0.iter().find(|(_, (member, _))| member.key == *key).map(|(node, _)| *node)
    }

    fn removed(&self, _: &NodePublicKey) -> Option<NodeId> {
        None
    }

    fn member(&self, node: NodeId) -> Option<Member> {
        self.0.get(&node).map(|(member, _)| *member)
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.0.keys().copied().collect()
    }

    fn address(&self, node: NodeId) -> Option<HostPort> {
        self.0.get(&node).map(|(_, address)| address.clone())
    }
}

/// Proves nothing, claims to, and is content with any proof.
struct NoKeys;

impl PeerKeys for NoKeys {
    fn unsealed(&self) -> bool {
        true
    }

    fn tag(&self, transcript: &Transcript) -> Option<[u8; 32]> {
        Some(*blake3::hash(transcript).as_bytes())
    }

    fn verify(&self, _: &Transcript, _: &[u8; 32]) -> Option<bool> {
        Some(true)
    }

    fn tell_removed(&self, _: NodeId, _: &Exporter) -> Option<Removal> {
        None
    }

    fn believes_removed(&self, _: &Exporter, _: &Removal) -> bool {
        false
    }
}

/// Lies until the process is ended from outside.
pub async fn run(world: &World, node: &NodeState, local: LocalNode, known: Known) -> String {
    let others: Vec<NodeId> = known.nodes().into_iter().filter(|other| *other != local.node).collect();
    let net = Net::new(local, Arc::new(known), Arc::new(NoKeys), node.start());
    let answers = Arc::new(Answers(Forms { me: local.node.get() }));
    if let Err(error) = net.serve_only(answers).await {
        return chain(&error);
    }
    let dice = Dice::new(world.setup.seed, &format!("forger {}", node.number));
    let log = Log::read(&node.disk);
    Forger { world: world.clone(), number: node.number, local, others, net, log, dice }.lie().await
}

struct Forger {
    world: World,
    number: u64,
    local: LocalNode,
    others: Vec<NodeId>,
    net: Net,
    log: Log,
    dice: Dice,
}

impl Forger {
    async fn lie(mut self) -> String {
        loop {
            let rest = self.dice.between(1, REST_MS_MAX);
            tokio::time::sleep(Duration::from_millis(rest)).await;
            let Some(victim) = self.dice.pick(&self.others).copied() else { continue };
            let term = self.term_of(victim).await + self.dice.between(1, TERMS_AHEAD_MAX);
            match self.dice.between(0, 10) {
                0..2 => self.forge_vote(victim, term).await,
                2..7 => self.forge_append(victim, term).await,
                7 => self.forge_snapshot(victim, term).await,
                _ => self.ask_what_needs_proof(victim).await,
            }
        }
    }

    /// Everybody says in which term they are.
    async fn term_of(&self, victim: NodeId) -> u64 {
        let seen = self.net.peers.leader_seen(victim, CALL).await;
        seen.map_or_else(|_| self.log.term(), |heard| heard.answer.term.max(self.log.term()))
    }

    async fn forge_vote(&mut self, victim: NodeId, term: u64) {
        let me = self.local.node.get();
        let (what, term, node) = match self.dice.between(0, 4) {
            0 => ("a vote for another", term, victim.get()),
            1 => ("a vote of the last term there is", u64::MAX, me),
            // As anybody may ask; it is the log that it claims which is false.
            _ => ("a vote on a log that is not there", term, me),
        };
        let ask = Forms { me }.vote(term, node, self.log.last() + self.dice.between(0, 1_000));
        let said = self.net.peers.vote(victim, ask, CALL).await;
        let honest_node = node == me && term != u64::MAX;
        let believed = said.as_ref().is_ok_and(|said| !honest_node && Forms::grants(&said.answer));
        self.record(victim, what, believed, None);
    }

    async fn forge_append(&mut self, victim: NodeId, term: u64) {
        let forms = Forms { me: self.local.node.get() };
        let Some(prev) = self.dice.pick(&self.log.ids()).copied() else { return };
        let (what, entry) = match self.dice.between(0, 6) {
            0 => ("a commit index", None),
            1 => (
                "an old entry in its own name",
                self.log.moved(&mut self.dice, forms.id(term, prev.index + 1)),
            ),
            2 => {
                let place = super::forged::LogId { index: prev.index + 1, ..prev };
                ("an old entry in the leader's name", self.log.moved(&mut self.dice, place))
            }
            3 => ("an entry with a bit changed", self.log.changed(&mut self.dice, prev.index + 1)),
            4 => ("a leadership of its receiver", None),
            _ => ("an entry far beyond", self.log.moved(&mut self.dice, forms.id(term, prev.index + 1_000))),
        };
        let hash = entry.as_ref().map(|entry| blake3::hash(entry).to_hex().to_string());
        let leader =
            if what == "a leadership of its receiver" { victim.get() } else { self.local.node.get() };
        let append = forms.append((term, leader), prev, prev.index + 100, entry.as_deref());
        let said = self.net.peers.append(victim, append, CALL).await;
        // Without an entry it says no more than that a member would like to lead, which is the receiver's to judge;
        // and who has an entry of this place already agrees without taking the bytes, so the logs at the end tell.
        let own = matches!(what, "an old entry in its own name" | "an entry far beyond");
        let claims = (own && entry.is_some()) || leader != self.local.node.get();
        let believed = claims && said.is_ok_and(|said| Forms::agrees(&said.answer));
        self.record(victim, what, believed, hash);
    }

    async fn forge_snapshot(&mut self, victim: NodeId, term: u64) {
        let forms = Forms { me: self.local.node.get() };
        let Some(checkpoint) = self.log.moved(&mut self.dice, forms.id(term, self.log.last() + 10)) else {
            return;
        };
        let head = forms.snapshot(term, checkpoint);
        let chunk = vec![u8::try_from(self.dice.between(0, 256)).unwrap_or(0); 512];
        let chunks = futures::stream::iter([chunk]);
        let said = self.net.peers.install_snapshot(victim, head, chunks, CALL).await;
        self.record(victim, "a snapshot", said.is_ok(), None);
    }

    /// Over a plain connection, and over one for which it claims a proof.
    async fn ask_what_needs_proof(&mut self, victim: NodeId) {
        let claims_proof = self.dice.one_in(3);
        let channel = if claims_proof { self.net.peers.keyed(victim) } else { self.net.peers.plain(victim) };
        let Ok(channel) = channel else { return };
        let (what, done) = match self.dice.between(0, 4) {
            0 => ("a confirmation", confirm(&channel).await),
            1 => ("a call in another's name", forward(&channel).await),
            2 => ("a piece of upkeep", maintain(&channel).await),
            // Nothing that needs a proof: what is tried is the proof.
            _ if claims_proof => ("a proof", raft(&channel).await),
            _ => return,
        };
        self.record(victim, what, done, None);
    }

    fn record(&self, to: NodeId, what: &str, believed: bool, hash: Option<String>) {
        let (node, to) = (self.number, to.get());
        self.world.record(Event::Forged { node, to, what: what.to_owned(), believed, hash });
    }
}

/// Whether a service answered, other than that it knows no such thing.
fn served<T>(answered: Result<T, CallError>) -> bool {
    match answered {
        Ok(_) => true,
        Err(CallError::Answered(status)) => {
            // The peers of the cluster half serve Raft alone.
            status.code() != tonic::Code::Unimplemented
        }
        Err(_) => false,
    }
}

async fn confirm(channel: &PeerChannel) -> bool {
    let request = wire::ConfirmRequest::default();
    let call = |channel| async move { ForwardServiceClient::new(channel).confirm(request).await };
    served(channel.call(CALL, call).boxed().await)
}

async fn forward(channel: &PeerChannel) -> bool {
    let request = wire::ForwardRequest {
        method: "/keyclave.v1.KeyService/ListKeys".to_owned(),
        local_socket: true,
        remaining_ms: 1_000,
        ..Default::default()
    };
    let call = |channel| async move { ForwardServiceClient::new(channel).forward(request).await };
    served(channel.call(CALL, call).boxed().await)
}

async fn maintain(channel: &PeerChannel) -> bool {
    let request = wire::MaintainRequest::default();
    let call = |channel| async move { ForwardServiceClient::new(channel).maintain(request).await };
    served(channel.call(CALL, call).boxed().await)
}

async fn raft(channel: &PeerChannel) -> bool {
    let request = wire::LeaderSeenRequest {};
    let call = |channel| async move { RaftServiceClient::new(channel).leader_seen(request).await };
    served(channel.call(CALL, call).boxed().await)
}

/// What it answers with when the others ask.
struct Answers(Forms);

impl RaftHandler for Answers {
    async fn append(&self, _: Sender, payload: Vec<u8>) -> Result<Vec<u8>, RaftRefusal> {
        let (term, leader) = Forms::vote_of(&payload).ok_or(RaftRefusal::Malformed)?;
        // A leader that believes it steps down, or worse, takes a leadership of its own from it.
        let node = if payload.len().is_multiple_of(2) { leader } else { self.0.me };
        Ok(self.0.higher_vote(term + 1, node))
    }

    async fn vote(&self, _: Sender, payload: Vec<u8>) -> Result<Vec<u8>, RaftRefusal> {
        self.0.granted(&payload).ok_or(RaftRefusal::Malformed)
    }

    async fn install_snapshot(
        &self,
        _: Sender,
        _: Vec<u8>,
        _: SnapshotChunks,
    ) -> Result<Vec<u8>, RaftRefusal> {
        Err(RaftRefusal::Ending)
    }

    fn leader_seen(&self, _: Sender) -> LeaderSeen {
        LeaderSeen { live: false, leader: NodeId::new(self.0.me), term: 1 << 20 }
    }

    async fn seal_record_index(&self, _: Sender) -> Result<Position, RaftRefusal> {
        Err(RaftRefusal::NoQuorum)
    }

    async fn campaign(&self, _: Sender, _: Campaign) -> Result<(), RaftRefusal> {
        Err(RaftRefusal::State)
    }
}

/// The stored entries of a stolen disk.
pub(super) fn entries(disk: &impl Disk) -> Vec<Vec<u8>> {
    let pairs = disk.range(Area::Log, &[], usize::MAX).unwrap_or_default();
    pairs.into_iter().map(|(_, entry)| entry).collect()
}
