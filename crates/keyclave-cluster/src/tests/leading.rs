//! Who leads: after a death, at a handover, and after a restart.

use keyclave_types::transaction::LeaderId;
use tokio::time::Instant;

use super::lab::{Lab, create, in_ms, node, sleep_ms};
use crate::handover::HandoverError;

#[tokio::test(start_paused = true)]
async fn after_a_leaders_death_writes_go_on_within_three_seconds() {
    let lab = Lab::of(3).await;
    for round in 0..10 {
        let old = lab.leading().await;
        lab.write(&format!("before {round}")).await;
        lab.cut(old);
        let died = Instant::now();
        let others: Vec<u64> = (1..=3).filter(|number| *number != old).collect();
        while !others.iter().any(|number| lab.node(*number).leadership().mine.is_some()) {
            sleep_ms(10).await;
        }
        assert!(died.elapsed().as_millis() <= 3_000, "{:?}", died.elapsed());
        lab.write(&format!("after {round}")).await;
        lab.heal(old);
        lab.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_comes_back_disturbs_nobody() {
    let lab = Lab::of(3).await;
    let (leader, away) = (lab.leading().await, lab.follower().await);
    let term = lab.node(leader).leadership().term;
    for _ in 0..3 {
        lab.cut(away);
        sleep_ms(10_000).await;
        lab.heal(away);
        sleep_ms(3_000).await;
    }
    lab.write("key").await;
    assert_eq!((lab.leading().await, lab.node(leader).leadership().term), (leader, term));
    lab.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_hears_nobody_but_is_heard_deposes_nobody() {
    let lab = Lab::of(3).await;
    let (leader, deaf) = (lab.leading().await, lab.follower().await);
    let term = lab.node(leader).leadership().term;
    lab.cut_way(leader, deaf);
    sleep_ms(20_000).await;
    lab.write("undisturbed").await;
    assert_eq!((lab.leading().await, lab.node(leader).leadership().term), (leader, term));
    lab.heal_ways();
    lab.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_heard_but_hears_nobody_is_replaced_once_it_is_not_heard_either() {
    let lab = Lab::of(3).await;
    let mute = lab.leading().await;
    for number in (1..=3).filter(|number| *number != mute) {
        lab.cut_way(number, mute);
    }
    sleep_ms(5_000).await;
    assert_eq!(lab.node(mute).leadership().mine, None, "it knows that no quorum answers");
    for number in (1..=3).filter(|number| *number != mute) {
        lab.cut_way(mute, number);
    }
    lab.write("under another leader").await;
    assert_ne!(lab.leading().await, mute);
    lab.heal_ways();
    lab.agree().await;
}

#[tokio::test(start_paused = true)]
async fn leadership_is_handed_to_the_node_that_was_named_and_writes_only_wait() {
    let lab = Lab::of(3).await;
    for _ in 0..3 {
        let old = lab.leading().await;
        let target = lab.follower().await;
        let leader = lab.node(old).clone();
        let begun = Instant::now();
        let handed = leader.hand_over(Some(node(target)), in_ms(5_000)).await.unwrap();
        assert_eq!(handed, node(target));
        assert!(begun.elapsed().as_millis() <= 2_500, "{:?}", begun.elapsed());
        assert_eq!(lab.leading().await, target);
        lab.write(&format!("under {target} after {old} {:?}", begun)).await;
        lab.agree().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_handover_without_anyone_who_can_take_it_is_refused_and_changes_nothing() {
    let lab = Lab::of(3).await;
    let old = lab.leading().await;
    for number in (1..=3).filter(|number| *number != old) {
        lab.seal(number, true);
    }
    let refused = lab.node(old).hand_over(None, in_ms(5_000)).await;
    assert_eq!(refused, Err(HandoverError::NoTarget));
    lab.write("still").await;
    assert_eq!(lab.leading().await, old);
    let follower = (1..=3).find(|number| *number != old).unwrap();
    assert_eq!(lab.node(follower).hand_over(None, in_ms(100)).await, Err(HandoverError::NotLeader));
}

#[tokio::test(start_paused = true)]
async fn what_waited_through_a_handover_is_decided_anew() {
    let lab = Lab::of(3).await;
    let old = lab.leading().await;
    let leader = lab.node(old).clone();
    let mine = leader.leadership().mine.unwrap();
    let handing = {
        let leader = leader.clone();
        tokio::spawn(async move { leader.hand_over(None, in_ms(5_000)).await })
    };
    tokio::task::yield_now().await;
    let waited = leader.propose(create(mine, "waits"), in_ms(8_000)).await;
    let handed = handing.await.unwrap().unwrap();
    if let Ok(proposed) = waited {
        assert!(lab.has(old, "waits") && proposed.position.index > 0);
    } else {
        lab.agree().await;
        assert!(!lab.has(handed.get(), "waits"));
    }
    let now: LeaderId = lab.leader().await.leadership().mine.unwrap();
    assert!(now.term > mine.term);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_leader_does_not_lead_until_it_is_elected_again() {
    let mut lab = Lab::of(3).await;
    lab.write("key").await;
    let old = lab.leading().await;
    let term = lab.node(old).leadership().term;
    lab.restart(old).await;
    assert_eq!(lab.node(old).leadership().mine, None);
    lab.write("after").await;
    assert!(lab.leader().await.leadership().term > term);
    lab.agree().await;
}

#[tokio::test(start_paused = true)]
async fn a_single_node_leads_again_at_once_after_a_restart() {
    let mut lab = Lab::of(1).await;
    lab.write("key").await;
    lab.restart(1).await;
    let begun = Instant::now();
    lab.leading().await;
    assert!(begun.elapsed().as_millis() <= 500, "{:?}", begun.elapsed());
    lab.write("after").await;
}
