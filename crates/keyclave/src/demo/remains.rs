//! What `--keep` leaves: three running servers, and what is needed to use them.

use serde::Serialize;

use super::steps::{Step, Steps};
use crate::failure::Failure;
use crate::local::cluster::Cluster;
use crate::output::Shown;

/// The whole demo, and the cluster that it left, for programs.
#[derive(Serialize)]
struct Remains<'a> {
    ok: bool,
    steps: &'a [Step],
    nodes: Vec<NodeObject>,
    cacert: String,
    token: &'a str,
    shares: Vec<&'a str>,
}

/// One node that was left.
#[derive(Serialize)]
struct NodeObject {
    id: u64,
    endpoint: String,
    dir: String,
    pid: u32,
    leader: bool,
}

/// Leaves the servers and says how to use and how to end them.
pub(super) async fn left_running(cluster: &mut Cluster, steps: &Steps) -> Result<Shown, Failure> {
    let leader = cluster.leader().await?;
    let mut nodes = Vec::new();
    for number in 1..=cluster.members().len() {
        let status = cluster.node(number).over_socket()?.seal_status().await?;
        let id = status.this_node.node.map(|node| node.get()).unwrap_or_default();
        let node = cluster.node(number).clone();
        let Some(process) = cluster.members().get_mut(number - 1).and_then(|member| member.process.as_mut())
        else {
            continue;
        };
        let dir = node.place.data.display().to_string();
        let (endpoint, pid) = (node.endpoint(), process.pid());
        nodes.push(NodeObject { id, endpoint, dir, pid, leader: number == leader });
    }
    for process in cluster.members().iter_mut().filter_map(|member| member.process.as_mut()) {
        process.leave();
    }
    cluster.place.keep();
    let secrets = cluster.secrets()?;
    let cacert = cluster.cacert().display().to_string();
    let text = text(cluster, steps, &nodes, &cacert);
    let remains = Remains {
        ok: true,
        steps: steps.ended(),
        nodes,
        cacert,
        token: &secrets.token,
        shares: secrets.shares.iter().map(|share| share.as_str()).collect(),
    };
    Ok(Shown::new(text, &remains))
}

fn text(cluster: &Cluster, steps: &Steps, nodes: &[NodeObject], cacert: &str) -> String {
    let root = cluster.place.root().display();
    let endpoints: Vec<_> = nodes.iter().map(|node| node.endpoint.as_str()).collect();
    let pids: Vec<_> = nodes.iter().map(|node| node.pid.to_string()).collect();
    let mut text = format!(
        "\nAll {} steps went well. The servers run on:\n\n\
         \u{20} export KEYCLAVE_ENDPOINTS={}\n\
         \u{20} export KEYCLAVE_CACERT={cacert}\n\
         \u{20} export KEYCLAVE_TOKEN=$(cat {root}/token)\n\n\
         Try:\n\n\
         \u{20} keyclave operator status\n\
         \u{20} keyclave key get demo/kestrel-orders\n\
         \u{20} keyclave decrypt {root}/orders.v1.kc --aad demo | head -2\n\
         \u{20} keyclave audit search --key demo/kestrel-orders\n\n",
        steps.ended().len(),
        endpoints.join(","),
    );
    for node in nodes {
        let leads = if node.leader { ", leads" } else { "" };
        text.push_str(&format!("  node {}: {}, process {}{leads}\n", node.id, node.dir, node.pid));
    }
    let all: Vec<_> = cluster.place.directories().map(|path| path.display().to_string()).collect();
    text.push_str(&format!("\nEnd it with\n\n  kill {}; rm -r {}\n", pids.join(" "), all.join(" ")));
    text
}
