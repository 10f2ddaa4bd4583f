//! A client at a node: asks for transactions on a few contested records and on ones of its own, and for confirmed
//! reads, one after the other, and records what it asked and was told.

use std::collections::BTreeMap;
use std::time::Duration;

use keyclave_cluster::cluster::Cluster;
use keyclave_cluster::propose::{ProposeError, Proposed};
use keyclave_ledger::ledger::Ledger;
use keyclave_types::position::Revision;
use keyclave_types::transaction::{Change, Conflict, Expect, LeaderId, Transaction, TransactionOutcome};
use tokio::time::Instant;

use super::dice::Dice;
use super::disk::MemoryDisk;
use super::planted::Planted;
use super::records;
use super::world::{Phase, World};
use crate::history::{Act, Answer, Event, Held, Key};

/// Records that all clients fight over.
const CONTESTED: u32 = 5;
/// From here on numbers are of records that one act makes and nobody touches again.
const OWN_FROM: u32 = 1_000;
/// How long a client waits for an answer.
const DEADLINE_MS: u64 = 3_000;
/// Longest rest between two acts.
const REST_MS_MAX: u64 = 80;

/// One client.
pub struct Client {
    /// The run.
    pub world: World,
    /// At which node.
    pub node: u64,
    /// The node's cluster half.
    pub cluster: Cluster<MemoryDisk>,
    /// The node's records.
    pub ledger: Ledger<MemoryDisk>,
    /// Its random numbers.
    pub dice: Dice,
}

impl Client {
    /// Acts until the node's process ends.
    pub async fn run(mut self) {
        loop {
            let rest = self.dice.between(1, REST_MS_MAX);
            tokio::time::sleep(Duration::from_millis(rest)).await;
            if !matches!(self.world.phase(), Phase::Faults | Phase::Healing) {
                continue;
            }
            let reads = self.dice.one_in(3);
            match self.cluster.leadership().mine {
                Some(_) if reads => self.read(true).await,
                Some(leader) => self.transact(leader).await,
                None if reads && self.world.setup.planted == Some(Planted::ReadWithoutConfirmation) => {
                    self.read(false).await;
                }
                None => {}
            }
        }
    }

    async fn transact(&mut self, leader: LeaderId) {
        let operation = self.world.next_operation();
        let Some((expects, changes)) = self.draw(operation) else { return };
        let transaction = transaction(leader, &expects, &changes);
        let act = Act::Transact { expects, changes };
        self.world.record(Event::Invoked { operation, node: self.node, act });
        let deadline = Instant::now() + Duration::from_millis(DEADLINE_MS);
        let proposed = self.cluster.propose(transaction, deadline).await;
        if let Some(answer) = answer(proposed) {
            if let (Phase::Healing, Answer::Committed { index }) = (self.world.phase(), &answer) {
                self.world.set_healed_index(*index);
            }
            self.world.record(Event::Answered { operation, answer });
        }
    }

    async fn read(&mut self, leads: bool) {
        let operation = self.world.next_operation();
        let key = self.contested();
        self.world.record(Event::Invoked { operation, node: self.node, act: Act::Read { key } });
        let skips = self.world.setup.planted == Some(Planted::ReadWithoutConfirmation);
        let confirmed = if skips { true } else { leads && self.cluster.confirm_as_leader().await.is_ok() };
        let found = if confirmed { self.ledger.read(&records::id_of(key)).ok() } else { None };
        let answer = match found {
            Some(record) => Answer::Found(record.as_ref().map(records::held)),
            None => Answer::Refused,
        };
        self.world.record(Event::Answered { operation, answer });
    }

    /// What a transaction expects and changes, from the node's own records; none if they cannot be read.
    #[allow(clippy::type_complexity, reason = "the two halves of one act, used here only")]
    fn draw(&mut self, operation: u64) -> Option<(BTreeMap<Key, Option<u64>>, BTreeMap<Key, Option<Held>>)> {
        let applied = self.ledger.applied().index;
        let (mut expects, mut changes) = (BTreeMap::new(), BTreeMap::new());
        for place in 0..1 + u64::from(self.dice.one_in(3)) {
            let own = self.dice.one_in(3);
            let key = if own { own_key(operation, place) } else { self.contested() };
            let found = self.ledger.read(&records::id_of(key)).ok()?.map(|record| record.revision);
            // Sometimes a client acts on what it saw long ago.
            let stale = !own && self.dice.one_in(10);
            let expected = if stale { Some(Revision(1)) } else { found };
            expects.insert(key, expected.map(|revision| revision.0));
            let change = if found.is_some() && !stale && self.dice.one_in(8) {
                None
            } else {
                let revision = Revision::next(expected, applied).0;
                Some(Held { revision, value: operation * 4 + place })
            };
            changes.insert(key, change);
        }
        Some((expects, changes))
    }

    fn contested(&mut self) -> Key {
        Key::try_from(self.dice.between(0, u64::from(CONTESTED))).unwrap_or(0)
    }
}

fn own_key(operation: u64, place: u64) -> Key {
    Key::try_from(operation * 2 + place).unwrap_or(Key::MAX - OWN_FROM).saturating_add(OWN_FROM)
}

fn transaction(
    decided_under: LeaderId,
    expects: &BTreeMap<Key, Option<u64>>,
    changes: &BTreeMap<Key, Option<Held>>,
) -> Transaction {
    let expects = expects
        .iter()
        .map(|(key, revision)| (records::id_of(*key), Expect::of(revision.map(Revision))))
        .collect();
    let changes = changes
        .iter()
        .map(|(key, change)| {
            let change = match change {
                Some(held) => {
                    Change::Put { revision: Revision(held.revision), blob: records::blob(held.value) }
                }
                None => Change::Delete,
            };
            (records::id_of(*key), change)
        })
        .collect();
    Transaction { decided_under, expects, changes }
}

/// What the client was told; nothing if nobody knows whether the act happened.
fn answer(proposed: Result<Proposed, ProposeError>) -> Option<Answer> {
    match proposed {
        Ok(Proposed { position, outcome: TransactionOutcome::Committed }) => {
            Some(Answer::Committed { index: position.index })
        }
        Ok(Proposed { outcome: TransactionOutcome::Conflict(conflict), .. }) => match conflict {
            Conflict::Record(id) | Conflict::Revision(id) => {
                records::key_of(&id).map(|key| Answer::Conflict { key })
            }
            Conflict::Leader => Some(Answer::Refused),
        },
        Err(ProposeError::Unknown) => None,
        Err(
            ProposeError::NotLeader { .. }
            | ProposeError::Overloaded
            | ProposeError::Deadline
            | ProposeError::TooLarge { .. }
            | ProposeError::Stopped,
        ) => Some(Answer::Refused),
    }
}
