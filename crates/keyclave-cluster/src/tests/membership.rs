//! Members come and go one at a time.

use std::sync::Arc;

use keyclave_types::ids::Incarnation;
use keyclave_types::member::Member;

use super::keys::member;
use super::lab::{Lab, in_ms, node, promote, sleep_ms};
use crate::members::{MembershipError, Role};

#[tokio::test(start_paused = true)]
async fn a_cluster_begins_only_once_and_only_on_its_first_node() {
    let mut lab = Lab::of(1).await;
    assert_eq!(lab.node(1).initialize().await, Err(MembershipError::Initialised));
    lab.start(2, Arc::default(), false).await;
    assert_eq!(lab.node(2).initialize().await, Err(MembershipError::NotFirst { first: node(1) }));
}

#[tokio::test(start_paused = true)]
async fn three_become_five_and_three_again_under_writes() {
    let mut lab = Lab::of(3).await;
    for number in [4, 5] {
        lab.start(number, Arc::default(), false).await;
        lab.admit(number).await;
        lab.write(&format!("with {number}")).await;
    }
    assert_eq!(lab.voters(5), [1, 2, 3, 4, 5]);
    lab.agree().await;
    for _ in 0..2 {
        let gone = lab.follower().await;
        lab.leader().await.remove_member(node(gone), in_ms(5_000)).await.unwrap();
        lab.crash(gone, false).await;
        lab.write(&format!("without {gone}")).await;
    }
    assert_eq!(lab.voters(lab.leading().await).len(), 3);
    lab.agree().await;
}

#[tokio::test(start_paused = true)]
async fn changes_that_make_no_sense_are_refused_with_a_reason() {
    let lab = Lab::of(3).await;
    let leading = lab.leading().await;
    let leader = lab.node(leading);
    let other = Member { incarnation: Incarnation::from_bytes([99; 16]), ..member(node(2)) };
    assert_eq!(
        leader.add_member(node(2), other, in_ms(1_000)).await,
        Err(MembershipError::Exists { node: node(2) })
    );
    assert_eq!(leader.add_member(node(2), member(node(2)), in_ms(1_000)).await, Ok(()));
    assert_eq!(leader.promote(node(9), in_ms(1_000)).await, Err(MembershipError::Unknown { node: node(9) }));
    assert_eq!(leader.remove_member(node(9), in_ms(1_000)).await, Ok(()));
    assert_eq!(leader.remove_member(node(leading), in_ms(1_000)).await, Err(MembershipError::Itself));
    let follower = lab.node(lab.follower().await);
    let refused = follower.remove_member(node(leading), in_ms(1_000)).await;
    assert_eq!(refused, Err(MembershipError::NotLeader { leader: Some(node(leading)) }));
}

#[tokio::test(start_paused = true)]
async fn a_learner_that_does_not_answer_is_not_promoted_however_short_the_log_is() {
    let lab = Lab::of(1).await;
    let leader = lab.leader().await;
    leader.add_member(node(2), member(node(2)), in_ms(1_000)).await.unwrap();
    let refused = leader.promote(node(2), in_ms(1_000)).await;
    assert_eq!(refused, Err(MembershipError::Silent { node: node(2) }));
    assert_eq!(leader.members()[&node(2)].1, Role::Learner);
    lab.write("goes on").await;
}

#[tokio::test(start_paused = true)]
async fn a_member_becomes_a_voter_only_when_every_other_one_knows_it() {
    let mut lab = Lab::of(3).await;
    let (leading, away) = (lab.leading().await, lab.follower().await);
    lab.start(4, Arc::default(), false).await;
    lab.cut(away);
    let leader = lab.node(leading).clone();
    leader.add_member(node(4), member(node(4)), in_ms(3_000)).await.unwrap();
    while leader.lag(node(4)) != Some(0) {
        sleep_ms(10).await;
    }
    let refused = leader.promote(node(4), in_ms(3_000)).await;
    assert_eq!(refused, Err(MembershipError::Unknowing { node: node(4), by: node(away) }));
    lab.heal(away);
    promote(&leader, 4).await;
    // Had it become one before, it could lead, and the node that was away would hear nothing any more: neither the
    // new leader, which it does not know, nor the others, which only follow.
    assert_eq!(leader.hand_over(Some(node(4)), in_ms(5_000)).await, Ok(node(4)));
    lab.write("under the new leader").await;
    lab.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_gone_for_good_holds_up_a_new_voter_until_it_is_removed() {
    let mut lab = Lab::of(3).await;
    let gone = lab.follower().await;
    lab.crash(gone, false).await;
    lab.start(4, Arc::default(), false).await;
    let leader = lab.leader().await.clone();
    leader.add_member(node(4), member(node(4)), in_ms(3_000)).await.unwrap();
    while leader.lag(node(4)) != Some(0) {
        sleep_ms(10).await;
    }
    assert!(leader.promote(node(4), in_ms(3_000)).await.is_err());
    leader.remove_member(node(gone), in_ms(3_000)).await.unwrap();
    promote(&leader, 4).await;
    assert_eq!(lab.voters(lab.leading().await).len(), 3);
    lab.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_that_its_leader_did_not_live_to_finish_is_finished_or_undone() {
    let lab = Lab::of(5).await;
    for round in 0..3 {
        let old = lab.leading().await;
        let leader = lab.node(old).clone();
        let gone = lab.follower().await;
        let change = tokio::spawn(async move { leader.remove_member(node(gone), in_ms(3_000)).await });
        sleep_ms(round).await;
        lab.cut(old);
        let others: Vec<u64> = lab.numbers().into_iter().filter(|number| *number != old).collect();
        while !others.iter().any(|number| lab.node(*number).leadership().mine.is_some()) {
            sleep_ms(20).await;
        }
        lab.write(&format!("round {round}")).await;
        lab.heal(old);
        let _ = change.await.unwrap();
        sleep_ms(3_000).await;
        let leader = lab.leader().await;
        if !leader.members().contains_key(&node(gone)) {
            leader.add_member(node(gone), member(node(gone)), in_ms(3_000)).await.unwrap();
        }
        promote(leader, gone).await;
        assert_eq!(lab.voters(lab.leading().await), [1, 2, 3, 4, 5]);
        lab.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_left_half_way_is_finished_by_the_next_leader() {
    let lab = Lab::of(5).await;
    let old = lab.leading().await;
    let (leader, gone) = (lab.node(old).clone(), node(lab.follower().await));
    let change = tokio::spawn(async move { leader.remove_member(gone, in_ms(2_000)).await });
    let half_way =
        |number: u64| lab.node(number).inner.ground.membership().membership().get_joint_config().len() == 2;
    let others: Vec<u64> = (1..=5).filter(|number| *number != old).collect();
    while others.iter().filter(|number| half_way(**number)).count() < 3 {
        sleep_ms(1).await;
    }
    lab.cut(old);
    assert!(change.await.unwrap().is_err());
    while !others.iter().any(|number| lab.node(*number).leadership().mine.is_some()) {
        sleep_ms(20).await;
    }
    lab.heal(old);
    sleep_ms(8_000).await;
    for number in (1..=5).filter(|number| node(*number) != gone) {
        assert!(!half_way(number), "node {number}");
        assert_eq!(lab.voters(number).len(), 4);
    }
    lab.write("afterwards").await;
}
