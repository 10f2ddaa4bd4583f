//! Sealed nodes: full voters that can ferry and cannot write.

use openraft::entry::RaftPayload;
use tokio::time::Instant;

use super::lab::{Lab, create, in_ms, record, sleep_ms};
use crate::cluster::Fatal;
use crate::entry::{Entry, Proposal};
use crate::propose::ProposeError;

async fn all_sealed(lab: &Lab) {
    for number in lab.numbers() {
        lab.seal(number, true);
    }
}

/// Waits for a leader, sealed or not.
async fn any_leader(lab: &Lab, among: &[u64]) -> u64 {
    loop {
        let leads = |number: &&u64| {
            let leadership = lab.node(**number).leadership();
            leadership.leader.is_some_and(|leader| leader.get() == **number) && among.contains(number)
        };
        if let Some(leader) = among.iter().find(leads) {
            return *leader;
        }
        sleep_ms(20).await;
    }
}

#[tokio::test(start_paused = true)]
async fn sealed_nodes_elect_a_ferry_that_replicates_and_decides_nothing() {
    let lab = Lab::of(3).await;
    for number in 0..5 {
        lab.write(&format!("key {number}")).await;
    }
    lab.agree().await;
    let old = lab.leading().await;
    all_sealed(&lab).await;
    lab.cut(old);
    let others: Vec<u64> = (1..=3).filter(|number| *number != old).collect();
    let ferry = any_leader(&lab, &others).await;
    assert_eq!(lab.node(ferry).leadership().mine, None);
    let confirmed = lab.node(ferry).confirm_as_leader().await.unwrap();
    assert_eq!(lab.node(ferry).inner.ledger.applied().index, confirmed.index, "it committed its own blank");
    let stale = create(keyclave_types::transaction::LeaderId { term: 1, node: ferry }, "no");
    let refused = lab.node(ferry).propose(stale, in_ms(1_000)).await;
    assert!(matches!(refused, Err(ProposeError::NotLeader { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_follower_of_a_ferry_knows_whether_a_record_could_have_changed() {
    let lab = Lab::of(3).await;
    lab.write("seal").await;
    lab.agree().await;
    let old = lab.leading().await;
    all_sealed(&lab).await;
    lab.cut(old);
    let others: Vec<u64> = (1..=3).filter(|number| *number != old).collect();
    let ferry = any_leader(&lab, &others).await;
    let confirmed = lab.node(ferry).confirm_as_leader().await.unwrap();
    let follower = others.into_iter().find(|number| *number != ferry).unwrap();
    sleep_ms(500).await;
    assert!(lab.node(follower).last_index() >= confirmed.index);
    assert!(!lab.node(follower).changes_unapplied(record("seal")).unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_unsealed_node_takes_over_from_a_ferry_by_itself() {
    let lab = Lab::of(3).await;
    lab.write("before").await;
    let old = lab.leading().await;
    all_sealed(&lab).await;
    lab.cut(old);
    let others: Vec<u64> = (1..=3).filter(|number| *number != old).collect();
    let ferry = any_leader(&lab, &others).await;
    lab.heal(old);
    sleep_ms(1_000).await;
    let unsealed = (1..=3).find(|number| *number != ferry).unwrap();
    lab.seal(unsealed, false);
    assert_eq!(lab.leading().await, unsealed);
    lab.write("after").await;
    lab.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_deposed_ferry_leaves_its_turn_to_the_node_that_deposed_it() {
    let lab = Lab::of(3).await;
    for round in 0..10 {
        lab.write(&format!("before {round}")).await;
        lab.agree().await;
        let old = lab.leading().await;
        all_sealed(&lab).await;
        lab.cut(old);
        let others: Vec<u64> = (1..=3).filter(|number| *number != old).collect();
        let ferry = any_leader(&lab, &others).await;
        let unsealed = others.into_iter().find(|number| *number != ferry).unwrap();
        // Within the ferry's lease: the first campaign ends the ferry and does not win.
        lab.node(ferry).confirm_as_leader().await.unwrap();
        lab.seal(unsealed, false);
        let begun = Instant::now();
        assert_eq!(lab.leading().await, unsealed);
        assert!(begun.elapsed().as_millis() <= 3_000, "{:?}", begun.elapsed());
        lab.heal(old);
        lab.numbers().into_iter().for_each(|number| lab.seal(number, false));
    }
}

#[tokio::test(start_paused = true)]
async fn unsealed_nodes_stand_before_sealed_ones() {
    let lab = Lab::of(3).await;
    for round in 0..3 {
        let old = lab.leading().await;
        let sealed = (1..=3).find(|number| *number != old).unwrap();
        lab.seal(sealed, true);
        lab.cut(old);
        let third = (1..=3).find(|number| *number != old && *number != sealed).unwrap();
        loop {
            assert_ne!(
                lab.node(sealed).leadership().leader.map(keyclave_types::ids::NodeId::get),
                Some(sealed)
            );
            if lab.node(third).leadership().mine.is_some() {
                break;
            }
            sleep_ms(20).await;
        }
        lab.seal(sealed, false);
        lab.heal(old);
        lab.write(&format!("round {round}")).await;
        lab.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_sealed_leader_asked_to_write_all_the_same_stops_and_writes_nothing() {
    let lab = Lab::of(1).await;
    let last = lab.node(1).last_index();
    lab.seal(1, true);
    let asked = lab.node(1).inner.raft.client_write(Proposal::batch(vec![])).await;
    assert!(asked.is_err());
    let mut fatal = lab.node(1).watch_fatal();
    let reason = fatal.wait_for(Option::is_some).await.unwrap().clone();
    assert!(matches!(reason, Some(Fatal::Storage(_))), "{reason:?}");
    let entries: Vec<Entry> = lab.node(1).inner.log.entries(0, u64::MAX).unwrap();
    assert!(entries.last().unwrap().log_id.index == last);
}

#[tokio::test(start_paused = true)]
async fn a_ferrys_blank_is_signed_by_its_node_and_everything_else_by_the_writer() {
    let lab = Lab::of(3).await;
    lab.write("key").await;
    let old = lab.leading().await;
    all_sealed(&lab).await;
    lab.cut(old);
    let others: Vec<u64> = (1..=3).filter(|number| *number != old).collect();
    let ferry = any_leader(&lab, &others).await;
    lab.node(ferry).confirm_as_leader().await.unwrap();
    let guard = &lab.node(ferry).inner.guard;
    for entry in lab.node(ferry).inner.log.entries(1, u64::MAX).unwrap() {
        let (message, signature) = (guard.line.entry_message(&entry), entry.signature.unwrap());
        let by_writer = guard.keys.verify(&guard.pins.writer, &message, &signature);
        let own = entry.log_id.leader_id.node_id == ferry && entry.is_blank();
        assert!(by_writer || own, "{entry}");
        assert!(entry.log_id.leader_id.node_id != ferry || !by_writer);
    }
}
