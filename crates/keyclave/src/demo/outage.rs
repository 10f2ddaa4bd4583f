//! Everything down at once, and the shares that bring it back.

use keyclave_client::seal::{ShareOutcome, ShareTerms};

use super::failover::come_back;
use super::steps::Steps;
use crate::failure::Failure;
use crate::local::cluster::{Cluster, NODES};
use crate::local::told::Told;

/// The three steps.
pub(super) async fn tell(cluster: &mut Cluster, steps: &mut Steps) -> Result<(), Failure> {
    steps.step("kill-all", "kill all three at once and start them again", kill_all(cluster)).await?;
    let title = "three shares, given at three nodes, unseal one of them";
    steps.step("unseal-cluster", title, give_shares(cluster)).await?;
    let title = "its peers are unsealed by it";
    steps.step("unseal-peers", title, come_back(cluster, &[2, 3])).await
}

async fn kill_all(cluster: &mut Cluster) -> Result<Told<()>, Failure> {
    for number in 1..=NODES {
        cluster.kill(number);
    }
    cluster.start().await
}

/// Each share is handed to another node over the network; all go encrypted to the one whose code was read from its
/// own socket.
async fn give_shares(cluster: &Cluster) -> Result<Told<()>, Failure> {
    let (code, key) = cluster.node(1).over_socket()?.local_code().await?;
    let mut last = None;
    for (share, number) in cluster.shares()?.iter().zip(1..) {
        let client = cluster.client(number)?;
        let answer = client.submit_share(share, &key, ShareTerms::default()).await?;
        last = Some(answer.outcome);
    }
    if last != Some(ShareOutcome::Completed) {
        return Err(Failure::failed("DEMO", format!("three shares ended with {last:?}")));
    }
    cluster.unsealed(&[1]).await?;
    Ok(Told { value: (), detail: format!("all to code {code}") })
}

/// Ends all servers as an operator would.
pub(super) async fn stop(cluster: &mut Cluster) -> Result<Told<()>, Failure> {
    for process in cluster.members().iter().filter_map(|member| member.process.as_ref()) {
        process.ask_to_end();
    }
    for member in cluster.members() {
        if let Some(mut process) = member.process.take() {
            process.end().await?;
        }
    }
    Ok(Told::quietly(()))
}
