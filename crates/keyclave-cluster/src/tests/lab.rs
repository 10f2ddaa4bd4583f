//! A cluster under test: started, written to, cut, sealed, restarted, and compared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keyclave_ledger::ledger::Ledger;
use keyclave_ledger::log_store::LogStore;
use keyclave_types::ids::{ClusterId, NodeId, RecordId};
use keyclave_types::position::{Generation, Revision};
use keyclave_types::transaction::{Change, Expect, LeaderId, Transaction, TransactionOutcome};
use tokio::time::Instant;

use super::disk::TestDisk;
use super::keys::{TestKeys, member, writer_public};
use super::web::{Strand, Web};
use crate::cluster::Cluster;
use crate::guard::Pins;
use crate::members::Role;
use crate::propose::{ProposeError, Proposed};
use crate::start::StartCluster;
use keyclave_types::threads::Inline;

pub(crate) type TestCluster = Cluster<TestDisk>;

#[derive(Default)]
pub(crate) struct Lab {
    pub(crate) web: Arc<Web>,
    nodes: BTreeMap<u64, Station>,
}

struct Station {
    cluster: TestCluster,
    disk: Arc<TestDisk>,
    keys: Arc<TestKeys>,
}

pub(crate) fn node(number: u64) -> NodeId {
    NodeId::new(number).unwrap()
}

pub(crate) fn in_ms(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

pub(crate) async fn sleep_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

pub(crate) fn record(name: &str) -> RecordId {
    let mut bytes = [1; 16];
    bytes[1..].copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..15]);
    RecordId::from_bytes(bytes)
}

/// Makes the record `name`, which must not be there.
pub(crate) fn create(decided_under: LeaderId, name: &str) -> Transaction {
    let put = Change::Put { revision: Revision(1), blob: name.as_bytes().to_vec() };
    Transaction {
        decided_under,
        expects: BTreeMap::from([(record(name), Expect::Absent)]),
        changes: BTreeMap::from([(record(name), put)]),
    }
}

/// Makes a member a voter as soon as it can be one.
pub(crate) async fn promote(leader: &TestCluster, number: u64) {
    let begun = Instant::now();
    while let Err(error) = leader.promote(node(number), in_ms(5_000)).await {
        assert!(begun.elapsed() < Duration::from_secs(10), "{error}");
        sleep_ms(10).await;
    }
}

impl Lab {
    /// `count` voters, unsealed, the first of which began the cluster.
    pub(crate) async fn of(count: u64) -> Self {
        let mut lab = Self::default();
        for number in 1..=count {
            lab.start(number, Arc::default(), false).await;
        }
        lab.node(1).initialize().await.unwrap();
        for number in 2..=count {
            lab.admit(number).await;
        }
        lab
    }

    /// Starts a node on `disk`, whatever it holds.
    pub(crate) async fn start(&mut self, number: u64, disk: Arc<TestDisk>, sealed: bool) {
        let (me, keys) = (node(number), Arc::new(TestKeys::new(node(number), sealed)));
        let strand = Strand { web: self.web.clone(), me, keys: keys.clone() };
        let start = StartCluster {
            me,
            cluster: ClusterId::from_bytes([7; 16]),
            generation: Generation(1),
            pins: pins(),
            ledger: Ledger::open(disk.clone()).unwrap(),
            log: LogStore::new(disk.clone()),
            keys: keys.clone(),
            transport: Arc::new(strand),
            threads: Arc::new(Inline),
            seed: number,
            sealed,
        };
        let cluster = Cluster::start(start).await.unwrap();
        self.web.join(me, cluster.clone(), keys.clone());
        self.nodes.insert(number, Station { cluster, disk, keys });
    }

    /// Adds a started node and makes it a voter.
    pub(crate) async fn admit(&self, number: u64) {
        let leader = self.leader().await;
        leader.add_member(node(number), member(node(number)), in_ms(5_000)).await.unwrap();
        promote(leader, number).await;
    }

    /// The process of a node ends, and power with it if `power` says so.
    pub(crate) async fn crash(&mut self, number: u64, power: bool) -> Arc<TestDisk> {
        let station = self.nodes.remove(&number).unwrap();
        self.web.leave(node(number));
        station.cluster.stop(Duration::from_secs(1)).await;
        // Whatever of the old process still runs writes to a disk that nobody reads again.
        Arc::new(if power { station.disk.durable() } else { station.disk.written() })
    }

    pub(crate) async fn restart(&mut self, number: u64) {
        let sealed = self.nodes[&number].keys.sealed();
        let disk = self.crash(number, false).await;
        self.start(number, disk, sealed).await;
    }

    pub(crate) fn node(&self, number: u64) -> &TestCluster {
        &self.nodes[&number].cluster
    }

    pub(crate) fn disk(&self, number: u64) -> &Arc<TestDisk> {
        &self.nodes[&number].disk
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    pub(crate) fn seal(&self, number: u64, sealed: bool) {
        let station = &self.nodes[&number];
        station.keys.set_sealed(sealed);
        station.cluster.set_sealed(sealed);
    }

    pub(crate) fn cut(&self, number: u64) {
        self.web.cut(node(number));
    }

    pub(crate) fn heal(&self, number: u64) {
        self.web.heal(node(number));
    }

    /// Nothing that `from` sends reaches `to`, nor the answers to what `to` asked.
    pub(crate) fn cut_way(&self, from: u64, to: u64) {
        self.web.cut_way(node(from), node(to));
    }

    pub(crate) fn heal_ways(&self) {
        self.web.heal_ways();
    }

    pub(crate) fn sealed(&self, number: u64) -> bool {
        self.nodes[&number].keys.sealed()
    }

    /// Waits for a node that may decide.
    pub(crate) async fn leader(&self) -> &TestCluster {
        self.node(self.leading().await)
    }

    /// Waits for a node that may decide; the newest, if two believe it.
    pub(crate) async fn leading(&self) -> u64 {
        let begun = Instant::now();
        loop {
            let leads = |number: &u64| self.node(*number).leadership().mine.map(|mine| (mine.term, *number));
            if let Some((_, number)) = self.numbers().iter().filter_map(leads).max() {
                return number;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "nobody leads: {}", self.describe());
            sleep_ms(10).await;
        }
    }

    /// A node that does not lead.
    pub(crate) async fn follower(&self) -> u64 {
        let leader = self.leading().await;
        self.numbers().into_iter().find(|number| *number != leader).unwrap()
    }

    pub(crate) async fn try_write(&self, name: &str) -> Result<Proposed, ProposeError> {
        let leader = self.leader().await;
        let mine = leader.leadership().mine.unwrap();
        leader.propose(create(mine, name), in_ms(2_000)).await
    }

    /// Writes until it is acknowledged; what an unknown attempt wrote counts.
    pub(crate) async fn write(&self, name: &str) -> u64 {
        for _ in 0..100 {
            if let Ok(Proposed { position, outcome }) = self.try_write(name).await {
                match outcome {
                    TransactionOutcome::Committed => return position.index,
                    TransactionOutcome::Conflict(_) if self.has(self.leading().await, name) => {
                        return position.index;
                    }
                    TransactionOutcome::Conflict(_) => {}
                }
            }
            sleep_ms(20).await;
        }
        panic!("{name} was never acknowledged");
    }

    pub(crate) fn has(&self, number: u64, name: &str) -> bool {
        self.node(number).inner.ledger.read(&record(name)).unwrap().is_some()
    }

    /// Waits until every node has applied what the leader has, and compares digests.
    pub(crate) async fn agree(&self) {
        let index = loop {
            // Leadership may change between the two.
            match self.leader().await.confirm_as_leader().await {
                Ok(confirmed) => break confirmed.index,
                Err(_) => sleep_ms(20).await,
            }
        };
        for number in self.numbers() {
            let applied = self.node(number).wait_applied(index, in_ms(20_000)).await;
            assert!(applied.is_ok(), "node {number} has not applied {index}: {}", self.describe());
        }
        let begun = Instant::now();
        loop {
            let numbers = self.numbers().into_iter();
            let applied: Vec<_> = numbers.map(|number| self.node(number).inner.ledger.applied()).collect();
            if applied.iter().all(|one| one.index == applied[0].index) {
                assert!(applied.iter().all(|one| one == &applied[0]), "records differ: {applied:?}");
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", self.describe());
            sleep_ms(10).await;
        }
        for number in self.numbers() {
            assert_eq!(*self.node(number).watch_alarm().borrow(), None);
            assert_eq!(*self.node(number).watch_fatal().borrow(), None);
        }
    }

    /// Where every node stands, for a test that fails.
    fn describe(&self) -> String {
        let line = |number: u64| {
            let cluster = self.node(number);
            let (ground, fatal) = (&cluster.inner.ground, cluster.inner.fatal.borrow().clone());
            format!(
                "\n  {number}: {:?} vote {:?} last {:?} applied {:?} refused {:?} fatal {fatal:?} sealed {}",
                cluster.leadership(),
                ground.vote(),
                ground.last(),
                ground.applied(),
                cluster.refusals(),
                self.sealed(number),
            )
        };
        self.numbers().into_iter().map(line).collect()
    }

    pub(crate) fn voters(&self, number: u64) -> Vec<u64> {
        let members = self.node(number).members().into_iter();
        members.filter(|(_, (_, role))| *role == Role::Voter).map(|(node, _)| node.get()).collect()
    }
}

pub(crate) fn pins() -> Pins {
    Pins { writer: writer_public(), first: node(1), member: member(node(1)) }
}
