//! Calls between nodes of one process: each takes a millisecond; a node can be cut off, and answers replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use keyclave_types::ids::NodeId;

use super::disk::TestDisk;
use super::keys::TestKeys;
use crate::cluster::Cluster;
use crate::peer::{Answer, Campaign, LeaderSeen, RaftTransport, Unreached};

const CALL_MS: u64 = 1;

#[derive(Default)]
pub(crate) struct Web {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<NodeId, (Cluster<TestDisk>, Arc<TestKeys>)>,
    cut: BTreeSet<NodeId>,
    cut_ways: BTreeSet<(NodeId, NodeId)>,
    forged: BTreeMap<NodeId, Vec<u8>>,
    snapshots: usize,
}

impl Web {
    pub(crate) fn join(&self, node: NodeId, cluster: Cluster<TestDisk>, keys: Arc<TestKeys>) {
        self.state.lock().unwrap().nodes.insert(node, (cluster, keys));
    }

    pub(crate) fn leave(&self, node: NodeId) {
        self.state.lock().unwrap().nodes.remove(&node);
    }

    pub(crate) fn cut(&self, node: NodeId) {
        self.state.lock().unwrap().cut.insert(node);
    }

    pub(crate) fn heal(&self, node: NodeId) {
        self.state.lock().unwrap().cut.remove(&node);
    }

    pub(crate) fn cut_way(&self, from: NodeId, to: NodeId) {
        self.state.lock().unwrap().cut_ways.insert((from, to));
    }

    pub(crate) fn heal_ways(&self) {
        self.state.lock().unwrap().cut_ways.clear();
    }

    /// `node` answers every append with this.
    pub(crate) fn forge(&self, node: NodeId, answer: Option<Vec<u8>>) {
        let mut state = self.state.lock().unwrap();
        match answer {
            Some(answer) => state.forged.insert(node, answer),
            None => state.forged.remove(&node),
        };
    }

    /// How many snapshots were sent.
    pub(crate) fn snapshots(&self) -> usize {
        self.state.lock().unwrap().snapshots
    }
}

pub(crate) struct Strand {
    pub(crate) web: Arc<Web>,
    pub(crate) me: NodeId,
    pub(crate) keys: Arc<TestKeys>,
}

impl Strand {
    /// The target and whether the way there is keyed, if there is one.
    fn reach(&self, target: NodeId) -> Result<(Cluster<TestDisk>, bool), Unreached> {
        let state = self.web.state.lock().unwrap();
        let (cluster, keys) = state.nodes.get(&target).ok_or(Unreached::Silent)?;
        if state.cut.contains(&target) || state.cut.contains(&self.me) {
            return Err(Unreached::Silent);
        }
        Ok((cluster.clone(), !keys.sealed() && !self.keys.sealed()))
    }

    fn open_way(&self, from: NodeId, to: NodeId) -> Result<(), Unreached> {
        let cut = self.web.state.lock().unwrap().cut_ways.contains(&(from, to));
        if cut { Err(Unreached::Silent) } else { Ok(()) }
    }

    fn forged(&self, target: NodeId) -> Option<Vec<u8>> {
        self.web.state.lock().unwrap().forged.get(&target).cloned()
    }
}

/// One call: a moment to travel, and an answer only if the way back is still there.
async fn call<T>(
    strand: Strand,
    target: NodeId,
    limit: Duration,
    work: impl AsyncFnOnce(Cluster<TestDisk>, bool) -> Result<T, Unreached>,
) -> Result<T, Unreached> {
    let calling = async {
        tokio::time::sleep(Duration::from_millis(CALL_MS)).await;
        strand.open_way(strand.me, target)?;
        let (cluster, keyed) = strand.reach(target)?;
        // The transport's rule: whom the log does not name is not heard, once it names the node itself.
        let heard = cluster.heard_members();
        if heard.contains_key(&target) && !heard.contains_key(&strand.me) {
            return Err(Unreached::Refused);
        }
        let answer = work(cluster, keyed).await?;
        strand.reach(target)?;
        strand.open_way(target, strand.me)?;
        Ok(answer)
    };
    tokio::time::timeout(limit, calling).await.map_err(|_| Unreached::Silent)?
}

impl Clone for Strand {
    fn clone(&self) -> Self {
        Self { web: self.web.clone(), me: self.me, keys: self.keys.clone() }
    }
}

impl RaftTransport for Strand {
    fn append(
        &self,
        target: NodeId,
        payload: Vec<u8>,
        limit: Duration,
    ) -> BoxFuture<'static, Result<Answer, Unreached>> {
        let (me, forged) = (self.me, self.forged(target));
        call(self.clone(), target, limit, async move |cluster, keyed| {
            if let Some(payload) = forged {
                return Ok(Answer { payload, keyed: false });
            }
            let payload = cluster.handle_append(me, keyed, &payload).await.map_err(|_| Unreached::Refused)?;
            Ok(Answer { payload, keyed })
        })
        .boxed()
    }

    fn vote(
        &self,
        target: NodeId,
        payload: Vec<u8>,
        limit: Duration,
    ) -> BoxFuture<'static, Result<Answer, Unreached>> {
        let me = self.me;
        call(self.clone(), target, limit, async move |cluster, keyed| {
            let payload = cluster.handle_vote(me, keyed, &payload).await.map_err(|_| Unreached::Refused)?;
            Ok(Answer { payload, keyed })
        })
        .boxed()
    }

    fn snapshot(
        &self,
        target: NodeId,
        head: Vec<u8>,
        chunks: BoxStream<'static, Vec<u8>>,
        limit: Duration,
    ) -> BoxFuture<'static, Result<Answer, Unreached>> {
        let (me, web) = (self.me, self.web.clone());
        call(self.clone(), target, limit, async move |cluster, keyed| {
            let chunks = chunks.map(Ok::<_, ()>);
            let payload = cluster.handle_snapshot(me, keyed, &head, chunks).await;
            let payload = payload.map_err(|_| Unreached::Refused)?;
            web.state.lock().unwrap().snapshots += 1;
            Ok(Answer { payload, keyed })
        })
        .boxed()
    }

    fn leader_seen(
        &self,
        target: NodeId,
        limit: Duration,
    ) -> BoxFuture<'static, Result<LeaderSeen, Unreached>> {
        call(self.clone(), target, limit, async |cluster, _| Ok(cluster.leader_seen())).boxed()
    }

    fn campaign(
        &self,
        target: NodeId,
        campaign: Campaign,
        limit: Duration,
    ) -> BoxFuture<'static, Result<(), Unreached>> {
        let me = self.me;
        call(self.clone(), target, limit, async move |cluster, keyed| {
            cluster.handle_campaign(me, keyed, campaign).map_err(|_| Unreached::Refused)
        })
        .boxed()
    }

    fn keyed(&self) -> BTreeSet<NodeId> {
        let state = self.web.state.lock().unwrap();
        if self.keys.sealed() || state.cut.contains(&self.me) {
            return BTreeSet::new();
        }
        let others = state
            .nodes
            .iter()
            .filter(|(node, (_, keys))| **node != self.me && !state.cut.contains(node) && !keys.sealed());
        others.map(|(node, _)| *node).collect()
    }
}
