//! How the trails stand, signed, and what a person says about them: held, released, kept so long, looked at.

use keyclave_audit::checkpoint::{Beginning, Checkpoint};
use keyclave_audit::files::SegmentNumber;
use keyclave_audit::note::{self, NoteKey};
use keyclave_audit::record::Head;
use keyclave_audit::tree::TreeHead;
use keyclave_node::failure::Failure;
use keyclave_node::host::Host;
use keyclave_policy::{Action, Permit};
use keyclave_proto::v1;
use keyclave_types::ids::ClusterId;
use keyclave_vault::records::cluster::{AuditAnchor, KeptTrail, TrailHold};
use keyclave_vault::view::View;
use tonic::Status;

use super::Api;
use crate::caller::Caller;
use crate::pipeline::internal;
use crate::writing::Rpc;

pub(super) const HOLD: Rpc =
    Rpc { path: "/keyclave.v1.AuditService/HoldTrail", operation: "HoldTrail", action: Action::KeepTrail };
pub(super) const RELEASE: Rpc = Rpc {
    path: "/keyclave.v1.AuditService/ReleaseTrail",
    operation: "ReleaseTrail",
    action: Action::KeepTrail,
};
pub(super) const RETAIN: Rpc = Rpc {
    path: "/keyclave.v1.AuditService/RetainTrail",
    operation: "RetainTrail",
    action: Action::KeepTrail,
};
const ACKNOWLEDGE: Rpc = Rpc {
    path: "/keyclave.v1.AuditService/AcknowledgeTrail",
    operation: "AcknowledgeTrail",
    action: Action::AcknowledgeTrail,
};

impl<H: Host> Api<H> {
    /// Every node's trail as it was last put on record, for who may read the trail.
    pub(super) async fn trails(&self, caller: &Caller) -> Result<v1::GetTrailsResponse, Status> {
        let (answer, position) = self.pipeline.ask(caller, Action::ReadAudit, "GetTrails", trails).await?;
        let member = self.pipeline.node().member().ok_or_else(|| Failure::Vacant.into_status())?;
        let status = member.trail().status();
        Ok(v1::GetTrailsResponse {
            position: Some(position.into()),
            node: member.node().get(),
            tampered: status.alarm,
            low: status.low,
            ..answer
        })
    }

    /// A person has looked at this node's trail: the ledger forgets what it was to hold, and the node serves again.
    pub(super) async fn acknowledge(
        &self,
        caller: Caller,
        message: v1::AcknowledgeTrailRequest,
    ) -> Result<v1::AcknowledgeTrailResponse, Status> {
        let node = self.pipeline.node().member().map(|member| member.node());
        if let Some(node) = node.filter(|node| message.node != 0 && message.node != node.get()) {
            // Only who may ask is told which node this is.
            let may = self.pipeline.ask(&caller, Action::AcknowledgeTrail, "AcknowledgeTrail", |_, _| ());
            may.await?;
            return Err(Failure::OtherNode(node).into_status());
        }
        let answer = self.pipeline.write(caller, ACKNOWLEDGE, message).await?;
        let member = self.pipeline.node().member().ok_or_else(|| Failure::Vacant.into_status())?;
        let acknowledged = member.trail().acknowledge().await;
        acknowledged.map_err(|error| internal(&error.to_string()))?;
        Ok(answer)
    }
}

fn trails(view: &View, permit: &Permit) -> v1::GetTrailsResponse {
    let cluster = view.formats().map(|formats| formats.cluster);
    let private = view.trail_key(permit);
    let signed = cluster.zip(private.as_ref()).map(|(cluster, private)| {
        let key = NoteKey::of_cluster(cluster, private.public());
        (cluster, key, private)
    });
    let heads = view.anchors().into_iter().map(|anchor| {
        let checkpoint = signed.as_ref().and_then(|(cluster, key, private)| {
            let checkpoint = checkpoint(*cluster, &anchor, view.kept_trail(anchor.node))?;
            Some(note::sign(&checkpoint.to_string(), key, private))
        });
        v1::TrailHead {
            node: anchor.node.get(),
            sequence: anchor.sequence,
            hash: anchor.hash.to_vec(),
            time_unix_ms: anchor.at.0,
            note: checkpoint.unwrap_or_default(),
        }
    });
    let rules = view.trail_rules();
    v1::GetTrailsResponse {
        heads: heads.collect(),
        note_key: signed.as_ref().map(|(_, key, _)| key.to_string()).unwrap_or_default(),
        keep_ms: rules.keep_ms,
        hold: rules.hold.map(|TrailHold { by, reason, since }| v1::TrailHold {
            by: by.to_string(),
            reason,
            since_unix_ms: since.0,
        }),
        ..Default::default()
    }
}

/// None for a trail whose records are in no tree yet.
fn checkpoint(cluster: ClusterId, anchor: &AuditAnchor, kept: Option<&KeptTrail>) -> Option<Checkpoint> {
    let tree = anchor.tree?;
    let kept = kept.filter(|kept| kept.incarnation == anchor.incarnation);
    Some(Checkpoint {
        cluster,
        node: anchor.node,
        tree: TreeHead { begins: SegmentNumber(tree.begins), leaves: tree.leaves, root: tree.root },
        head: Head { sequence: anchor.sequence, hash: anchor.hash },
        begins: kept.map(|kept| Beginning {
            segment: SegmentNumber(kept.segment),
            after: Head { sequence: kept.sequence, hash: kept.hash },
        }),
        at: anchor.at,
    })
}
