//! The operator of a simulated cluster: runs errands at whichever node answers, with the product's own client.

use std::time::Duration;

use keyclave_client::Client;
use keyclave_client::seal::SealTarget;
use keyclave_types::ids::NodeId;

use super::dial::client_of;
use crate::history::Event;
use crate::sim::dice::Dice;
use crate::sim::world::World;

/// Something to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Errand {
    /// Make a join token for the node with this number in the network.
    Ticket(u64),
    /// Remove the node with this number in the cluster.
    Remove(u64),
    /// Make the leader hand over.
    StepDown,
    /// Seal the node with this number in the cluster, or all of them.
    Seal(Option<u64>),
}

/// The operator's name in the simulated network.
pub const NAME: &str = "operator";
/// How often the operator looks for errands.
const LOOK_MS: u64 = 20;
/// How long one errand may take.
const ERRAND_MS_MAX: u64 = 10_000;

/// Runs errands for as long as the simulation lasts.
pub async fn run(world: World) -> turmoil::Result {
    let token = loop {
        match world.secrets.root_token() {
            Some(token) => break token,
            None => tokio::time::sleep(Duration::from_millis(LOOK_MS)).await,
        }
    };
    let nodes = world.nodes().iter().map(|node| node.number);
    let seed = Dice::new(world.setup.seed, "operator").bits();
    let client = client_of(nodes, Some(&token), ERRAND_MS_MAX, seed)?;
    loop {
        while let Some(errand) = world.secrets.next_errand() {
            tokio::spawn(run_errand(world.clone(), client.clone(), errand));
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
}

/// Errands are repeated by who sent the operator, if they must succeed.
async fn run_errand(world: World, client: Client, errand: Errand) {
    let done = match errand {
        Errand::Ticket(host) => match client.create_join_token().await {
            Ok(token) => {
                world.secrets.keep_ticket(host, token.value.text.to_string());
                true
            }
            Err(_) => false,
        },
        Errand::Remove(node) => match NodeId::new(node) {
            Some(node) => client.remove_member(node).await.is_ok(),
            None => false,
        },
        Errand::StepDown => client.step_down(None).await.is_ok(),
        Errand::Seal(node) => {
            let target = node.and_then(NodeId::new).map_or(SealTarget::Cluster, SealTarget::Node);
            client.seal(target).await.is_ok()
        }
    };
    world.record(Event::Errand { what: format!("{errand:?}"), done });
}
