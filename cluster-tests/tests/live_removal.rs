//! A node that was away while it was removed, among real processes: it is told, and keeps no key.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use cluster_tests::live::{Cluster, LiveError, until};
use keyclave_client::seal::SealState;

/// How long a removed node may keep its keys once it runs again and reaches its former peers.
const SEALED_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_stopped_while_it_was_removed_seals_when_it_goes_on() -> Result<(), LiveError> {
    let mut cluster = Cluster::founded(3).await?;
    let third = cluster.id_of(3).await?;
    let runtime = cluster.node(3)?.runtime.clone();
    let kept = || runtime.iter().filter_map(|place| std::fs::read_dir(place).ok()).flatten().count();
    let before = kept();

    cluster.server(3)?.stop()?;
    let operator = cluster.connected_to(&[1, 2])?;
    operator.remove_member(third).await.unwrap();
    until("the removal", SEALED_WITHIN, async || {
        let status = operator.cluster_status().await.map_err(|error| error.to_string())?.value;
        let gone = status.members.iter().all(|member| member.node != third);
        if gone { Ok(()) } else { Err(format!("{:?}", status.members)) }
    })
    .await?;
    // Nothing is replicated to it any more, and every connection that it had is gone.
    cluster.server(3)?.go_on()?;

    let socket = cluster.node(3)?.over_socket()?;
    until("the seal of a removed node", SEALED_WITHIN, async || {
        let status = socket.seal_status().await.map_err(|error| error.to_string())?;
        match status.this_node.state {
            SealState::Sealed => Ok(()),
            state => Err(format!("it is {state:?}")),
        }
    })
    .await?;
    assert!(kept() < before || before == 0, "the restart key is still there");

    // The others are what they were.
    cluster.unsealed(&[1, 2]).await
}
