//! `keyclave operator admit | code | seal`.

use keyclave_client::seal::SealTarget;
use keyclave_types::ids::NodeId;
use keyclave_types::request::NodeCode;
use serde_json::json;

use crate::arguments::Connection;
use crate::connection::{client, is_local, socket_client};
use crate::failure::Failure;
use crate::output::Shown;
use crate::progress::watched;

/// Vouches for one process.
pub(super) async fn admit(node: NodeId, code: &NodeCode, connection: &Connection) -> Result<Shown, Failure> {
    let client = client(connection)?;
    let answer = watched("admitting", client.admit(node, code)).await?;
    let object = json!({
        "node": node.get(), "code": code.as_str(), "admitted": true, "position": answer.position.to_string(),
    });
    Ok(Shown::new(format!("node {node} may fetch the root once, as the process with this code"), &object))
}

/// Shows this machine's code.
pub(super) async fn code(connection: &Connection) -> Result<Shown, Failure> {
    let client = socket_client(connection, "operator code")?;
    let (code, _) = watched("asking for the code", client.local_code()).await?;
    // Only the code: so that it can be caught in a variable.
    Ok(Shown::new(code.as_str(), &json!({ "code": code.as_str() })))
}

/// Seals one node or all.
pub(super) async fn seal(
    node: Option<NodeId>,
    cluster: bool,
    connection: &Connection,
) -> Result<Shown, Failure> {
    let client = client(connection)?;
    let target = match (cluster, node) {
        (true, _) => SealTarget::Cluster,
        (false, Some(node)) => SealTarget::Node(node),
        (false, None) if is_local(connection) => {
            watched("sealing this node", client.seal_this_node()).await?;
            return Ok(Shown::new(
                "this node wipes its keys and starts again, sealed",
                &json!({ "sealed": "this_node" }),
            ));
        }
        (false, None) => {
            return Err(Failure::usage("nothing is named to seal")
                .next("give --node NODE or --cluster, or the --socket of the node on this machine"));
        }
    };
    let answer = watched("sealing", client.seal(target)).await?;
    let position = answer.position.to_string();
    Ok(match target {
        SealTarget::Cluster => Shown::new(
            "the whole cluster is marked sealed; only a threshold of shares opens it again",
            &json!({ "sealed": "cluster", "position": position }),
        ),
        SealTarget::Node(node) => Shown::new(
            format!(
                "node {node} is marked sealed; `keyclave operator admit {node} CODE` or shares bring it back"
            ),
            &json!({ "sealed": node.get(), "position": position }),
        ),
    })
}
