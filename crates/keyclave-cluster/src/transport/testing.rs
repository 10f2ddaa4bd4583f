//! What this room's tests stand on: members, keys, a directory that can change, and ([`memory`], [`station`]) whole
//! nodes on a wire in memory.

pub(crate) mod memory;
pub(crate) mod station;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use keyclave_types::ids::{ClusterId, Incarnation, NodeId};
use keyclave_types::member::{HostPort, Member, NodePublicKey};
use keyclave_types::position::Generation;
use ring::hmac;

use super::connection::PeerInfo;
use super::directory::{Directory, LocalNode};
use super::handshake::Kind;
use super::proof::{PeerKeys, Removal, Transcript};
use super::wire::Exporter;

/// Runs `work` to its end with paused time. What waits for something that never comes ends in an hour of that time.
pub(crate) fn block<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let hour = std::time::Duration::from_secs(3_600);
    let ended = runtime.unwrap().block_on(async { tokio::time::timeout(hour, work).await });
    ended.expect("the test waits for something that never comes")
}

pub(crate) fn node(number: u64) -> NodeId {
    NodeId::new(number).unwrap()
}

/// A made-up key for tests without TLS.
pub(crate) fn key(number: u64) -> NodePublicKey {
    NodePublicKey([u8::try_from(number).unwrap(); 32])
}

pub(crate) fn local(number: u64) -> LocalNode {
    LocalNode {
        cluster: ClusterId::from_bytes([0xcc; 16]),
        generation: Generation(1),
        node: node(number),
        incarnation: Incarnation::from_bytes([u8::try_from(number).unwrap(); 16]),
        key: key(number),
    }
}

pub(crate) fn info(number: u64, kind: Kind) -> PeerInfo {
    PeerInfo { node: node(number), key: key(number), kind, exporter: Exporter([9; 32]) }
}

/// A directory that tests change under the transport's feet.
#[derive(Default)]
pub(crate) struct TestDirectory {
    nodes: Mutex<BTreeMap<NodeId, (Member, Option<HostPort>)>>,
    removed: Mutex<BTreeMap<NodeId, NodePublicKey>>,
}

impl TestDirectory {
    pub(crate) fn of(numbers: &[u64]) -> Arc<Self> {
        let directory = Self::default();
        for number in numbers {
            directory.add(*number, key(*number));
        }
        Arc::new(directory)
    }

    pub(crate) fn add(&self, number: u64, key: NodePublicKey) {
        let member = Member { incarnation: local(number).incarnation, key };
        self.nodes.lock().unwrap().insert(node(number), (member, None));
    }

    pub(crate) fn locate(&self, number: u64, address: &str) {
        self.nodes.lock().unwrap().get_mut(&node(number)).unwrap().1 = Some(address.parse().unwrap());
    }

    pub(crate) fn remove(&self, number: u64) {
        self.nodes.lock().unwrap().remove(&node(number));
    }

    /// As [`Self::remove`], and it is known whom to tell.
    pub(crate) fn remember_removed(&self, number: u64) {
        let gone = self.nodes.lock().unwrap().remove(&node(number)).unwrap();
        self.removed.lock().unwrap().insert(node(number), gone.0.key);
    }

    /// Takes the removed `number` for another node.
    pub(crate) fn mistake(&self, number: u64, other: u64) {
        let mut removed = self.removed.lock().unwrap();
        let key = removed.remove(&node(number)).unwrap();
        removed.insert(node(other), key);
    }

    pub(crate) fn replace_key(&self, number: u64) {
        self.nodes.lock().unwrap().get_mut(&node(number)).unwrap().0.key = NodePublicKey([0xff; 32]);
    }
}

impl Directory for TestDirectory {
    fn node(&self, key: &NodePublicKey) -> Option<NodeId> {
        let nodes = self.nodes.lock().unwrap();
        nodes.iter().find(|(_, (member, _))| member.key == *key).map(|(node, _)| *node)
    }

    fn removed(&self, key: &NodePublicKey) -> Option<NodeId> {
        let removed = self.removed.lock().unwrap();
        removed.iter().find(|(_, removed)| *removed == key).map(|(node, _)| *node)
    }

    fn member(&self, node: NodeId) -> Option<Member> {
        self.nodes.lock().unwrap().get(&node).map(|(member, _)| *member)
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.nodes.lock().unwrap().keys().copied().collect()
    }

    fn address(&self, node: NodeId) -> Option<HostPort> {
        self.nodes.lock().unwrap().get(&node).and_then(|(_, address)| address.clone())
    }
}

/// Stands for the keyring's peer keys; ring's HMAC verifies in constant time.
pub(crate) struct TestKeys {
    keys: Mutex<Option<(hmac::Key, Vec<hmac::Key>)>>,
}

impl TestKeys {
    pub(crate) fn one(byte: u8) -> Self {
        Self::versions(byte, &[byte])
    }

    pub(crate) fn versions(active: u8, accepted: &[u8]) -> Self {
        let key = |byte: u8| hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32]);
        let accepted = accepted.iter().map(|byte| key(*byte)).collect();
        Self { keys: Mutex::new(Some((key(active), accepted))) }
    }

    pub(crate) fn sealed() -> Self {
        Self { keys: Mutex::new(None) }
    }

    /// As after a ceremony, or with `sealed()`, after a seal.
    pub(crate) fn become_like(&self, other: Self) {
        *self.keys.lock().unwrap() = other.keys.into_inner().unwrap();
    }
}

impl PeerKeys for TestKeys {
    fn unsealed(&self) -> bool {
        self.keys.lock().unwrap().is_some()
    }

    fn tag(&self, transcript: &Transcript) -> Option<[u8; 32]> {
        let keys = self.keys.lock().unwrap();
        keys.as_ref().map(|(active, _)| hmac::sign(active, transcript).as_ref().try_into().unwrap())
    }

    fn verify(&self, transcript: &Transcript, tag: &[u8; 32]) -> Option<bool> {
        let keys = self.keys.lock().unwrap();
        let right = |key: &hmac::Key| hmac::verify(key, transcript, tag).is_ok();
        keys.as_ref().map(|(_, accepted)| accepted.iter().any(right))
    }

    fn tell_removed(&self, node: NodeId, exporter: &Exporter) -> Option<Removal> {
        let keys = self.keys.lock().unwrap();
        let message = [node.get().to_be_bytes().as_slice(), &exporter.0].concat();
        let tag = |key| [hmac::sign(key, &message).as_ref(), &[0; 32]].concat().try_into().unwrap();
        keys.as_ref().map(|(active, _)| tag(active))
    }

    /// Stands for node 1's, sealed or not: whoever holds key 42 is believed.
    fn believes_removed(&self, exporter: &Exporter, removal: &Removal) -> bool {
        Self::one(42).tell_removed(node(1), exporter).as_ref() == Some(removal)
    }
}
