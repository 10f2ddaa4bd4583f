//! One connection from nothing to entered: wire, membership, kind and proof, all within one time limit.
//!
//! Called by [`super::peers`] for what this node dials and by [`super::incoming`] for what it accepts.

use std::sync::Arc;
use std::time::Duration;

use keyclave_types::ids::NodeId;
use keyclave_types::member::NodePublicKey;
use tokio::sync::watch;

use super::connection::{Connections, Origin, PeerInfo, PeerStream, still_member};
use super::directory::Directory;
use super::handshake::{self, HANDSHAKE_MS_MAX, Kind};
use super::proof::PeerKeys;
use super::refused::Refused;
use super::wire::{Bound, Wire};

/// What every connection of a node is made with. Clones share it.
pub struct Establish<W: Wire> {
    wire: W,
    keys: Arc<dyn PeerKeys>,
    directory: Arc<dyn Directory>,
    connections: Connections,
    told_removed: watch::Sender<bool>,
}

impl<W: Wire> Clone for Establish<W> {
    fn clone(&self) -> Self {
        Self {
            wire: self.wire.clone(),
            keys: Arc::clone(&self.keys),
            directory: Arc::clone(&self.directory),
            connections: self.connections.clone(),
            told_removed: self.told_removed.clone(),
        }
    }
}

impl<W: Wire> Establish<W> {
    /// Connections over `wire` between members of `directory`, proven with `keys`, entered in `connections`.
    pub fn new(
        wire: W,
        keys: Arc<dyn PeerKeys>,
        directory: Arc<dyn Directory>,
        connections: Connections,
    ) -> Self {
        Self { wire, keys, directory, connections, told_removed: watch::Sender::new(false) }
    }

    /// Changes each time that a member proves to this node that it was removed.
    pub fn watch_removed(&self) -> watch::Receiver<bool> {
        self.told_removed.subscribe()
    }

    pub(crate) fn unsealed(&self) -> bool {
        self.keys.unsealed()
    }

    pub(crate) fn directory(&self) -> &Arc<dyn Directory> {
        &self.directory
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// A connection to `node`, whose key is `expected`.
    pub(crate) async fn dial(
        &self,
        node: NodeId,
        expected: &NodePublicKey,
        kind: Kind,
    ) -> Result<PeerStream<W::Stream>, Refused> {
        if kind == Kind::Keyed && !self.keys.unsealed() {
            return Err(Refused::WeAreSealed);
        }
        within_limit(async {
            let address = self.directory.address(node).ok_or(Refused::NoAddress)?;
            let mut bound = self.wire.dial(&address, expected).await?;
            let dialled = handshake::dial(&mut bound.stream, kind, &bound.exporter, &*self.keys).await;
            if matches!(dialled, Err(Refused::Removed)) {
                self.told_removed.send_replace(true);
            }
            dialled?;
            self.enter(bound, kind, Origin::Ours)
        })
        .await
    }

    /// Whoever connected, once it is known who and what it has proven.
    pub(crate) async fn accept(&self, raw: W::Raw) -> Result<PeerStream<W::Stream>, Refused> {
        within_limit(async {
            let mut bound = self.wire.accept(raw).await?;
            // Asked again here, whatever the wire did, so that no cached session brings a removed member back.
            if self.directory.node(&bound.peer).is_none() {
                return self.turn_away(bound).await;
            }
            let kind = handshake::accept(&mut bound.stream, &bound.exporter, &*self.keys).await?;
            self.enter(bound, kind, Origin::Theirs)
        })
        .await
    }

    /// No member: it learns why if it was one, and is nobody otherwise.
    async fn turn_away(&self, mut bound: Bound<W::Stream>) -> Result<PeerStream<W::Stream>, Refused> {
        let removed = self.directory.removed(&bound.peer);
        if let Some(removal) = removed.and_then(|node| self.keys.tell_removed(node, &bound.exporter)) {
            handshake::turn_out(&mut bound.stream, removal).await?;
        }
        Err(Refused::NotMember)
    }

    fn enter(
        &self,
        bound: Bound<W::Stream>,
        kind: Kind,
        origin: Origin,
    ) -> Result<PeerStream<W::Stream>, Refused> {
        let node = self.directory.node(&bound.peer).ok_or(Refused::NotMember)?;
        let info = PeerInfo { node, key: bound.peer, kind, exporter: bound.exporter };
        let stream = self.connections.enter(bound.stream, info, origin);
        // Entered first and asked then: a removal in between is seen here or by whoever ends stale connections.
        if still_member(stream.info(), &*self.directory) { Ok(stream) } else { Err(Refused::NotMember) }
    }
}

async fn within_limit<T>(establish: impl Future<Output = Result<T, Refused>>) -> Result<T, Refused> {
    let limit = Duration::from_millis(HANDSHAKE_MS_MAX);
    tokio::time::timeout(limit, establish).await.unwrap_or(Err(Refused::Deadline))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use keyclave_types::member::{HostPort, Member};

    use super::*;
    use crate::transport::testing::memory::{MemoryWire, Network};
    use crate::transport::testing::station::address;
    use crate::transport::testing::{TestDirectory, TestKeys, block, key, node};

    /// A directory from which everyone is removed right after the first time that a key is looked up.
    struct Fading {
        members: Arc<TestDirectory>,
        asked: AtomicBool,
    }

    impl Directory for Fading {
        fn node(&self, key: &NodePublicKey) -> Option<NodeId> {
            if self.asked.swap(true, Ordering::Relaxed) { None } else { self.members.node(key) }
        }

        fn removed(&self, _: &NodePublicKey) -> Option<NodeId> {
            None
        }

        fn member(&self, node: NodeId) -> Option<Member> {
            self.members.member(node)
        }

        fn nodes(&self) -> Vec<NodeId> {
            self.members.nodes()
        }

        fn address(&self, node: NodeId) -> Option<HostPort> {
            self.members.address(node)
        }
    }

    #[test]
    fn a_member_removed_while_it_is_being_entered_leaves_no_connection() {
        block(async {
            let network = Network::default();
            let members = TestDirectory::of(&[1, 2]);
            members.locate(2, &address(2));
            let mut listener = network.listen(&address(2), key(2));
            let keys: Arc<dyn PeerKeys> = Arc::new(TestKeys::one(42));
            let wire = |number| MemoryWire { network: network.clone(), key: key(number) };
            let connections = Connections::new();
            let fading = Arc::new(Fading { members: members.clone(), asked: AtomicBool::new(false) });
            let dialler = Establish::new(wire(1), keys.clone(), fading, connections.clone());
            let acceptor = Establish::new(wire(2), keys, members, Connections::new());
            let accept = async {
                let raw = tokio_stream::StreamExt::next(&mut listener).await.unwrap().unwrap();
                acceptor.accept(raw).await
            };
            let expected = key(2);
            let (dialled, accepted) = tokio::join!(dialler.dial(node(2), &expected, Kind::Keyed), accept);
            assert!(accepted.is_ok());
            assert!(matches!(dialled, Err(Refused::NotMember)), "{:?}", dialled.map(drop));
            assert!(connections.keyed().is_empty());
        });
    }
}
