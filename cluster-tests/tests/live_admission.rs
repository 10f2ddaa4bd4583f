//! Who gets in and who stays out, among real processes: the policy `members`, a node that is sealed while it is cut off,
//! and clusters that are founded at the same time.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::time::Duration;

use cluster_tests::live::{Cluster, LiveError, Place, SHARES_NEEDED, until};
use keyclave_client::cluster::AdmissionPolicy;
use keyclave_client::error::ReadError;
use keyclave_client::seal::{GivenShare, SealState, ShareError, ShareOutcome, ShareTerms};
use keyclave_types::seal::Threshold;

const SETTLE: Duration = Duration::from_secs(30);
/// Several rounds in which a sealed node asks every peer for the root.
const ROUNDS: Duration = Duration::from_secs(3);

/// All processes are gone and nothing brings them back; then a threshold of shares at node 1, for all members.
async fn unsealed_for_all_members(policy: AdmissionPolicy) -> Result<Cluster, LiveError> {
    let mut cluster = Cluster::founded_under(3, policy).await?;
    cluster.kill_all();
    for number in 1..=3 {
        cluster.forget_restart_key(number)?;
    }
    cluster.start_all().await?;
    let operator = cluster.node(1)?.over_socket()?.with_deadline(SETTLE);
    let (_, key) = operator.local_code().await?;
    let terms = ShareTerms { vouch_for: None, admit_all_members: true };
    for number in 1..=SHARES_NEEDED {
        let share = GivenShare::parse(&cluster.shares()?[usize::from(number) - 1]).unwrap();
        let given = operator.submit_share(&share, &key, terms.clone()).await.unwrap();
        let last = number == SHARES_NEEDED;
        assert_eq!(given.outcome, if last { ShareOutcome::Completed } else { ShareOutcome::Taken });
    }
    cluster.unsealed(&[1]).await?;
    Ok(cluster)
}

async fn state(cluster: &Cluster, number: usize) -> Result<SealState, LiveError> {
    Ok(cluster.node(number)?.over_socket()?.seal_status().await?.this_node.state)
}

#[tokio::test(flavor = "multi_thread")]
async fn under_the_policy_members_an_unseal_for_all_members_lets_them_all_in() -> Result<(), LiveError> {
    let cluster = unsealed_for_all_members(AdmissionPolicy::Members).await?;
    cluster.unsealed(&[1, 2, 3]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn under_the_strict_policy_an_unseal_for_all_members_lets_nobody_in() -> Result<(), LiveError> {
    let cluster = unsealed_for_all_members(AdmissionPolicy::Strict).await?;
    tokio::time::sleep(ROUNDS).await;
    for number in [2, 3] {
        assert_eq!(state(&cluster, number).await?, SealState::Sealed);
    }
    // Each is let in by its code, as always.
    for number in [2, 3] {
        let (code, _) = cluster.node(number)?.over_socket()?.local_code().await?;
        cluster.client(1)?.admit(cluster.id_of(number).await?, &code).await.unwrap();
    }
    cluster.unsealed(&[2, 3]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_is_sealed_on_its_own_socket_and_stays_so() -> Result<(), LiveError> {
    let mut cluster = Cluster::founded(3).await?;
    let runtime = cluster.node(1)?.runtime.clone();
    let kept = || runtime.iter().filter_map(|place| std::fs::read_dir(place).ok()).flatten().count();
    let before = kept();
    cluster.kill(3)?;
    cluster.server(2)?.stop()?;
    // No quorum, and still: it holds nothing afterwards.
    let socket = cluster.node(1)?.over_socket()?.with_deadline(SETTLE);
    socket.seal_this_node().await.unwrap();
    until("the seal of a node that is cut off", SETTLE, async || match state(&cluster, 1).await {
        Ok(SealState::Sealed) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    assert!(kept() < before || before == 0, "its restart key is still there");
    // With the only unsealed node still, nobody has a root to give: neither it nor one that would come back.
    cluster.start(3).await?;
    tokio::time::sleep(ROUNDS).await;
    assert_eq!(state(&cluster, 1).await?, SealState::Sealed);
    assert_eq!(state(&cluster, 3).await?, SealState::Sealed);
    // Once the cluster is whole again, it still does not come back by itself; whoever was not sealed does.
    cluster.server(2)?.go_on()?;
    cluster.come_back(&[3]).await?;
    tokio::time::sleep(ROUNDS).await;
    assert_eq!(state(&cluster, 1).await?, SealState::Sealed);
    let (code, _) = socket.local_code().await?;
    cluster.client(2)?.admit(cluster.id_of(1).await?, &code).await.unwrap();
    cluster.unsealed(&[1]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_founded_at_once_are_two_clusters_and_one_node_founded_twice_is_one()
-> Result<(), LiveError> {
    let place = Place::fresh()?;
    let mut nodes = Cluster::plan(&place, 2)?;
    for node in &mut nodes {
        node.join = None;
    }
    let mut cluster = Cluster::of(place, nodes);
    cluster.start_all().await?;
    let threshold = Threshold::new(2, 3).unwrap();
    let at = |number| Ok::<_, LiveError>(cluster.node(number)?.over_socket()?.with_deadline(SETTLE));
    let (one, again, other) = (at(1)?, at(1)?, at(2)?);
    let found = |client: keyclave_client::Client| async move {
        client.init(threshold, AdmissionPolicy::Strict).await.map(|made| made.value)
    };
    let (one, again, other) = tokio::join!(found(one), found(again), found(other));
    // Of two at one node one is told no, and its shares were never made.
    let (made, refused) = match (one, again) {
        (Ok(made), Err(refused)) | (Err(refused), Ok(made)) => (made, refused),
        (one, again) => panic!("{:?} and {:?}", one.map(|_| ()), again.map(|_| ())),
    };
    assert!(format!("{refused:?}").contains("ALREADY"), "{refused:?}");
    let other = other.unwrap();
    assert_ne!(made.cluster, other.cluster);

    // The shares of one open the other no more than any others do.
    let second = at(2)?;
    let (_, key) = second.local_code().await?;
    let foreign = GivenShare::parse(&made.shares[0]).unwrap();
    let refused = second.submit_share(&foreign, &key, ShareTerms::default()).await.unwrap_err();
    let ShareError::Call(ReadError::Refused(refusal)) = refused else { panic!("{refused:?}") };
    assert_eq!(refusal.reason, "SHARE_OTHER_SET");
    for share in &other.shares[..2] {
        second.submit_share(&GivenShare::parse(share).unwrap(), &key, ShareTerms::default()).await.unwrap();
    }
    cluster.unsealed(&[2]).await?;
    assert_eq!(state(&cluster, 1).await?, SealState::Sealed);
    Ok(())
}
