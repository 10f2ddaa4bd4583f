//! Checkpoints, what is purged after them, and nodes that join from a snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use keyclave_types::envelope;

use super::lab::{Lab, in_ms, node, sleep_ms};
use crate::cluster::Fatal;
use crate::entry::Entry;
use crate::guard::Refused;
use crate::message::{SnapshotHead, StoredMembershipForm};
use crate::raft::{LogId, LogIdForm, MemberNode, Membership, StoredMembership};

/// A lab whose log begins after its first writes.
async fn purged() -> Lab {
    let lab = Lab::of(3).await;
    for number in 0..30 {
        lab.write(&format!("key {number}")).await;
    }
    let checkpoint = lab.leader().await.checkpoint().await.unwrap();
    lab.agree().await;
    sleep_ms(500).await;
    for number in 1..=3 {
        lab.node(number).purge().await;
    }
    sleep_ms(500).await;
    for number in 1..=3 {
        assert_eq!(lab.node(number).log_begins(), checkpoint + 1, "node {number}");
    }
    lab
}

#[tokio::test(start_paused = true)]
async fn checkpoints_are_valid_while_others_write() {
    let lab = Lab::of(3).await;
    let writing = async {
        for number in 0..100 {
            lab.write(&format!("key {number}")).await;
        }
    };
    let checking = async {
        for _ in 0..10 {
            lab.leader().await.checkpoint().await.unwrap();
            sleep_ms(5).await;
        }
    };
    tokio::join!(writing, checking);
    lab.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joins_after_a_purge_gets_one_snapshot_and_the_rest_from_the_log() {
    let mut lab = purged().await;
    lab.write("later").await;
    lab.start(4, Arc::default(), true).await;
    lab.admit(4).await;
    assert_eq!(lab.web.snapshots(), 1);
    lab.seal(4, false);
    lab.write("with four").await;
    lab.agree().await;
    assert!(lab.has(4, "key 0") && lab.has(4, "later") && lab.has(4, "with four"));
    assert!(lab.node(4).log_begins() > 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_follower_that_needs_a_snapshot_waits_for_the_next_checkpoint() {
    let mut lab = purged().await;
    for number in 1..=3 {
        lab.restart(number).await;
    }
    lab.write("after the restart").await;
    lab.start(4, Arc::default(), false).await;
    lab.admit(4).await;
    lab.write("with four").await;
    lab.agree().await;
    assert!(lab.has(4, "key 0") && lab.has(4, "with four"));
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_disk_fails_stops_although_it_waits_for_a_checkpoint() {
    let mut lab = purged().await;
    for number in 1..=3 {
        lab.restart(number).await;
    }
    lab.write("after the restart").await;
    let leading = lab.leading().await;
    let leader = lab.node(leading).clone();
    lab.cut(leading);
    let before = leader.last_index();
    // As a follower that lacks what was purged makes the leader ask: from then on a checkpoint is due.
    assert!(leader.inner.raft.get_snapshot().await.unwrap().is_some());
    for _ in 0..200 {
        sleep_ms(10).await;
    }
    assert!(leader.last_index() > before, "it has proposed a checkpoint, and waits");
    lab.disk(leading).break_syncs();
    lab.heal(leading);
    let mut fatal = leader.watch_fatal();
    let stopped = tokio::time::timeout_at(in_ms(20_000), fatal.wait_for(Option::is_some)).await;
    let reason = stopped.expect("the node says that it must stop").unwrap().clone();
    assert!(matches!(reason, Some(Fatal::Storage(_))), "{reason:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_restarts_from_its_records_after_a_purge() {
    let mut lab = purged().await;
    for number in 1..=3 {
        let disk = lab.crash(number, true).await;
        lab.start(number, disk, false).await;
    }
    lab.write("after").await;
    lab.agree().await;
    assert!((1..=3).all(|number| lab.has(number, "key 7")));
}

/// The true snapshot of a lab, to be forged.
struct Stolen {
    checkpoint: Vec<u8>,
    membership: StoredMembership,
    chunks: Vec<Vec<u8>>,
}

async fn steal(lab: &Lab, from: u64) -> Stolen {
    let snapshot = lab.node(from).inner.raft.get_snapshot().await.unwrap().unwrap();
    let membership = snapshot.meta.last_membership.clone();
    let (checkpoint, chunks) = snapshot.snapshot.into_parts().unwrap();
    Stolen { checkpoint, membership, chunks: chunks.collect().await }
}

async fn send(lab: &Lab, to: u64, from: u64, stolen: &Stolen) -> Result<Vec<u8>, Refused> {
    let vote = crate::raft::Vote::new_committed(lab.node(to).leadership().term + 50, from);
    let membership = StoredMembershipForm::from(&stolen.membership);
    let head = SnapshotHead { vote: vote.into(), checkpoint: stolen.checkpoint.clone(), membership };
    let chunks = futures::stream::iter(stolen.chunks.clone().into_iter().map(Ok::<_, ()>));
    lab.node(to).handle_snapshot(node(from), false, &envelope::encode(&head), chunks).await
}

#[tokio::test(start_paused = true)]
async fn forged_snapshots_are_refused_and_change_nothing() {
    let mut lab = purged().await;
    let rogue = lab.follower().await;
    let stolen = steal(&lab, rogue).await;
    lab.start(4, Arc::default(), true).await;
    lab.cut(4);

    let Stolen { checkpoint, membership, chunks } = &stolen;
    let empty = Stolen { checkpoint: checkpoint.clone(), membership: membership.clone(), chunks: vec![] };
    let refused = send(&lab, 4, rogue, &empty).await;
    assert!(matches!(refused, Err(Refused::Digest)), "{refused:?}");

    let mut entry = Entry::from_bytes(checkpoint).unwrap();
    entry.log_id.index += 1_000_000;
    let far = Stolen { checkpoint: entry.to_bytes(), membership: membership.clone(), chunks: chunks.clone() };
    let refused = send(&lab, 4, rogue, &far).await;
    assert!(matches!(refused, Err(Refused::Signature { .. })), "{refused:?}");

    let only = BTreeMap::from([(rogue, MemberNode(super::keys::member(node(rogue))))]);
    let coup = StoredMembership::new(*membership.log_id(), Membership::new(vec![[rogue].into()], only));
    let coup = Stolen { checkpoint: checkpoint.clone(), membership: coup, chunks: chunks.clone() };
    let refused = send(&lab, 4, rogue, &coup).await;
    assert!(matches!(refused, Err(Refused::Digest)), "{refused:?}");

    let mut damaged =
        Stolen { checkpoint: checkpoint.clone(), membership: membership.clone(), chunks: chunks.clone() };
    *damaged.chunks[0].last_mut().unwrap() ^= 1;
    let refused = send(&lab, 4, rogue, &damaged).await;
    assert!(refused.is_err(), "{refused:?}");

    let batch = lab.node(rogue).inner.log.entries(0, u64::MAX).unwrap().pop();
    if let Some(entry) = batch {
        let other =
            Stolen { checkpoint: entry.to_bytes(), membership: membership.clone(), chunks: chunks.clone() };
        assert!(matches!(send(&lab, 4, rogue, &other).await, Err(Refused::NoCheckpoint)));
    }

    assert!(lab.node(4).members().is_empty());
    assert_eq!(lab.node(4).inner.ground.applied(), None);
    assert!(!lab.has(4, "key 0"));
    lab.heal(4);
    lab.admit(4).await;
    lab.seal(4, false);
    lab.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_true_snapshot_that_is_old_takes_nothing_back() {
    let lab = purged().await;
    let rogue = lab.follower().await;
    let stolen = steal(&lab, rogue).await;
    lab.write("newer").await;
    lab.agree().await;
    let victim = (1..=3).find(|number| *number != rogue && *number != 0).unwrap();
    lab.cut(rogue);
    lab.seal(victim, true);
    let applied = lab.node(victim).inner.ground.applied();
    send(&lab, victim, rogue, &stolen).await.unwrap();
    assert_eq!(lab.node(victim).inner.ground.applied(), applied);
    assert!(lab.has(victim, "newer"));
}

#[tokio::test(start_paused = true)]
async fn what_was_destroyed_is_in_no_log_after_a_checkpoint_and_a_purge() {
    let lab = Lab::of(3).await;
    lab.write("a secret long since sealed").await;
    let leader = lab.leader().await;
    let mine = leader.leadership().mine.unwrap();
    let mut gone = super::lab::create(mine, "a secret long since sealed");
    let id = super::lab::record("a secret long since sealed");
    let revision = leader.inner.ledger.read(&id).unwrap().unwrap().revision;
    gone.expects.insert(id, keyclave_types::transaction::Expect::Exactly(revision));
    gone.changes.insert(id, keyclave_types::transaction::Change::Delete);
    leader.propose(gone, in_ms(2_000)).await.unwrap();
    leader.checkpoint().await.unwrap();
    lab.agree().await;
    sleep_ms(500).await;
    for number in 1..=3 {
        assert!(lab.disk(number).holds(b"a secret long since sealed"));
        lab.node(number).purge().await;
    }
    sleep_ms(500).await;
    for number in 1..=3 {
        assert!(!lab.disk(number).holds(b"a secret long since sealed"), "node {number}");
    }
}

#[test]
fn a_checkpoints_own_index_is_what_its_snapshot_ends_at() {
    let id = LogId::new(openraft::CommittedLeaderId::new(3, 1), 9);
    let meta = crate::snapshot::meta_of(id, StoredMembership::default());
    assert_eq!(meta.last_log_id.map(LogIdForm::from), Some(LogIdForm::from(id)));
}
