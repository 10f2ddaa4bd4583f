//! Promise 1 and the way of a write.

use futures::future::join_all;
use keyclave_types::limits::TRANSACTION_BYTES_MAX;
use keyclave_types::position::Revision;
use keyclave_types::transaction::{Change, Conflict, LeaderId, TransactionOutcome};

use super::lab::{Lab, create, in_ms, node, record, sleep_ms};
use crate::cluster::Fatal;
use crate::propose::ProposeError;

#[tokio::test(start_paused = true)]
async fn three_nodes_commit_and_their_digests_agree() {
    let lab = Lab::of(3).await;
    for number in 0..20 {
        lab.write(&format!("key {number}")).await;
    }
    lab.agree().await;
    for number in 1..=3 {
        assert!(lab.has(number, "key 0") && lab.has(number, "key 19"));
        assert_eq!(lab.voters(number), [1, 2, 3]);
    }
}

#[tokio::test(start_paused = true)]
async fn many_writers_share_entries_and_keep_their_order() {
    let lab = Lab::of(3).await;
    let leader = lab.leader().await;
    let mine = leader.leadership().mine.unwrap();
    let before = leader.last_index();
    let names: Vec<String> = (0..2_000).map(|number| format!("key {number}")).collect();
    let writes = names.iter().map(|name| leader.propose(create(mine, name), in_ms(10_000)));
    let outcomes = join_all(writes).await;
    let indices: Vec<u64> = outcomes.iter().map(|outcome| outcome.as_ref().unwrap().position.index).collect();
    assert!(indices.is_sorted(), "what was proposed first lies first");
    assert!(leader.last_index() - before <= 20, "{} entries", leader.last_index() - before);
    lab.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_transaction_decided_under_another_leader_is_not_proposed() {
    let lab = Lab::of(1).await;
    let leader = lab.leader().await;
    let before = leader.last_index();
    let other = LeaderId { term: 99, node: 1 };
    let refused = leader.propose(create(other, "key"), in_ms(1_000)).await;
    assert!(matches!(refused, Err(ProposeError::NotLeader { .. })), "{refused:?}");
    assert_eq!(leader.last_index(), before);
}

#[tokio::test(start_paused = true)]
async fn a_failed_precondition_is_an_outcome_and_not_an_error() {
    let lab = Lab::of(1).await;
    lab.write("key").await;
    let outcome = lab.try_write("key").await.unwrap().outcome;
    assert_eq!(outcome, TransactionOutcome::Conflict(Conflict::Record(record("key"))));
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_is_too_large_is_refused_before_it_is_proposed() {
    let lab = Lab::of(1).await;
    let leader = lab.leader().await;
    let mut transaction = create(leader.leadership().mine.unwrap(), "key");
    let huge = Change::Put { revision: Revision(1), blob: vec![0; TRANSACTION_BYTES_MAX] };
    transaction.changes.insert(record("key"), huge);
    let refused = leader.propose(transaction, in_ms(1_000)).await;
    assert!(matches!(refused, Err(ProposeError::TooLarge { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_cut_off_while_it_writes_loses_nothing_that_it_acknowledged() {
    let lab = Lab::of(3).await;
    for round in 0..4 {
        let old = lab.leading().await;
        let leader = lab.node(old).clone();
        let mine = leader.leadership().mine.unwrap();
        let pending: Vec<_> = (0..5)
            .map(|number| {
                let (leader, transaction) = (leader.clone(), create(mine, &format!("cut {round} {number}")));
                tokio::spawn(async move { leader.propose(transaction, in_ms(4_000)).await })
            })
            .collect();
        sleep_ms(round % 3).await;
        lab.cut(old);
        let others: Vec<u64> = lab.numbers().into_iter().filter(|number| *number != old).collect();
        while !others.iter().any(|number| lab.node(*number).leadership().mine.is_some()) {
            sleep_ms(20).await;
        }
        for number in 0..5 {
            lab.write(&format!("meanwhile {round} {number}")).await;
        }
        let acknowledged: Vec<bool> =
            join_all(pending).await.into_iter().map(|outcome| outcome.unwrap().is_ok()).collect();
        lab.heal(old);
        lab.agree().await;
        for (number, _) in acknowledged.iter().enumerate().filter(|(_, acknowledged)| **acknowledged) {
            for at in 1..=3 {
                assert!(lab.has(at, &format!("cut {round} {number}")), "lost at node {at}");
            }
        }
        for at in 1..=3 {
            assert!(lab.has(at, &format!("meanwhile {round} 4")));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_off_leader_soon_refuses_work_and_confirms_nothing() {
    let lab = Lab::of(3).await;
    let old = lab.leading().await;
    let mine = lab.node(old).leadership().mine.unwrap();
    lab.cut(old);
    assert!(lab.node(old).confirm_as_leader().await.is_err(), "no quorum, no confirmation");
    sleep_ms(2_600).await;
    assert_eq!(lab.node(old).leadership().mine, None);
    let refused = lab.node(old).propose(create(mine, "stale"), in_ms(1_000)).await;
    assert!(matches!(refused, Err(ProposeError::NotLeader { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn what_another_leader_committed_is_not_acknowledged_by_the_one_that_proposed_it() {
    let lab = Lab::of(3).await;
    let old = lab.leading().await;
    let (leader, mine) = (lab.node(old).clone(), lab.node(old).leadership().mine.unwrap());
    for number in (1..=3).filter(|number| *number != old) {
        lab.cut_way(number, old);
    }
    // The others get the entry, and their answers are lost.
    let transaction = create(mine, "inherited");
    let pending = tokio::spawn(async move { leader.propose(transaction, in_ms(20_000)).await });
    sleep_ms(600).await;
    lab.cut(old);
    let others: Vec<u64> = (1..=3).filter(|number| *number != old).collect();
    while !others.iter().any(|number| lab.node(*number).leadership().mine.is_some()) {
        sleep_ms(20).await;
    }
    lab.heal(old);
    lab.heal_ways();
    assert_eq!(pending.await.unwrap(), Err(ProposeError::Unknown));
    lab.agree().await;
    assert!((1..=3).all(|number| lab.has(number, "inherited")));
}

#[tokio::test(start_paused = true)]
async fn a_write_without_an_answer_is_unknown_and_one_that_only_waited_is_not_proposed() {
    let lab = Lab::of(3).await;
    let old = lab.leading().await;
    let leader = lab.node(old).clone();
    let mine = leader.leadership().mine.unwrap();
    lab.cut(old);
    // Four batches are under way without an answer; what comes after them only waits.
    let mut outcomes = Vec::new();
    for number in 0..6 {
        let (leader, transaction) = (leader.clone(), create(mine, &format!("key {number}")));
        outcomes.push(tokio::spawn(async move { leader.propose(transaction, in_ms(700)).await }));
        sleep_ms(5).await;
    }
    let outcomes = join_all(outcomes).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(outcomes[..4], [Err(ProposeError::Unknown); 4]);
    assert_eq!(outcomes[5], Err(ProposeError::Deadline));
}

#[tokio::test(start_paused = true)]
async fn acknowledged_writes_survive_power_lost_everywhere_at_once() {
    let mut lab = Lab::of(3).await;
    let mut disks = Vec::new();
    for number in 0..30 {
        lab.write(&format!("key {number}")).await;
    }
    for number in 1..=3 {
        disks.push(lab.crash(number, true).await);
    }
    for (number, disk) in (1..).zip(disks) {
        lab.start(number, disk, false).await;
    }
    lab.write("after").await;
    lab.agree().await;
    for at in 1..=3 {
        for number in 0..30 {
            assert!(lab.has(at, &format!("key {number}")));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_cannot_sync_stops_the_node_and_acknowledges_nothing() {
    let lab = Lab::of(1).await;
    lab.write("before").await;
    lab.disk(1).break_syncs();
    assert!(lab.try_write("after").await.is_err());
    let mut fatal = lab.node(1).watch_fatal();
    let reason = fatal.wait_for(Option::is_some).await.unwrap().clone();
    assert!(matches!(reason, Some(Fatal::Storage(_))), "{reason:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_acknowledged_is_saved_or_the_node_stops() {
    let lab = Lab::of(3).await;
    let (old, broken) = (lab.leading().await, lab.follower().await);
    lab.disk(broken).break_key(b"slot/peer-marks");
    // The next vote of anyone is one to remember.
    let target = (1..=3).map(node).find(|other| *other != node(old) && *other != node(broken));
    let _ = lab.node(old).hand_over(target, in_ms(3_000)).await;
    let mut fatal = lab.node(broken).watch_fatal();
    let stopped = tokio::time::timeout_at(in_ms(10_000), fatal.wait_for(Option::is_some)).await;
    let reason = stopped.expect("the node says that it must stop").unwrap().clone();
    assert!(matches!(reason, Some(Fatal::Storage(_))), "{reason:?}");
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_covers_what_was_acknowledged_before_it() {
    let lab = Lab::of(3).await;
    for number in 0..10 {
        let written = lab.write(&format!("key {number}")).await;
        let confirmed = lab.leader().await.confirm_as_leader().await.unwrap();
        assert!(confirmed.index >= written && confirmed.digest_index >= confirmed.index);
        let follower = lab.node(lab.follower().await);
        follower.wait_applied(confirmed.digest_index, in_ms(5_000)).await.unwrap();
        assert_eq!(follower.inner.ledger.digest_at(confirmed.digest_index), Some(confirmed.digest));
    }
    assert!(lab.node(lab.follower().await).confirm_as_leader().await.is_err());
}
