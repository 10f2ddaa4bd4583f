//! Peers unseal peers: a sealed node asks each member for the root, shows what vouches for its process, and believes
//! the answer because it opens the keyring.
//!
//! The asking side; who answers is [`crate::services::rejoin`].

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use keyclave_cluster::transport::directory::{Directory, LocalNode};
use keyclave_cluster::transport::peers::Dedicated;
use keyclave_cluster::transport::wire::Exporter;
use keyclave_crypto::labels;
use keyclave_crypto::secret::Secret;
use keyclave_crypto::sign::SigningKey;
use keyclave_proto::peer::v1 as wire;
use keyclave_proto::peer::v1::rejoin_service_client::RejoinServiceClient;
use keyclave_proto::reason::Reason;
use keyclave_types::ids::{ClusterId, Incarnation, NodeId};
use keyclave_vault::keyring::Root;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::host::Host;
use crate::member::Member;
use crate::unsealing::By;

/// Rest between two rounds over all members.
const ROUND_MS: u64 = 500;
/// How long one member may take to answer.
const ANSWER_MS_MAX: u64 = 6_000;
/// How long this node takes to catch up with the seal record that the root belongs to.
const CATCH_UP_MS_MAX: u64 = 5_000;

/// Asks until this node is unsealed, by whomever.
pub(crate) async fn rejoin_until_unsealed<H: Host>(member: Weak<Member<H>>) {
    loop {
        {
            let Some(member) = member.upgrade() else { return };
            if member.is_unsealed() {
                return;
            }
            for node in member.directory.nodes() {
                if node != member.local.node && member.rejoin_at(node).await {
                    return;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(ROUND_MS)).await;
    }
}

/// What a restart key signs: label ‖ cluster ‖ node ‖ incarnation ‖ boot key ‖ exporter. The exporter belongs to one
/// connection, so the signature is good for this one question.
pub(crate) fn restart_message(
    cluster: ClusterId,
    node: NodeId,
    incarnation: Incarnation,
    boot: &[u8; 32],
    exporter: &Exporter,
) -> Vec<u8> {
    [
        labels::RESTART.bytes(),
        cluster.as_bytes(),
        &node.get().to_be_bytes(),
        incarnation.as_bytes(),
        boot,
        &exporter.0,
    ]
    .concat()
}

/// What became of asking a peer for the root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// It gave one, and that opened the keyring.
    Believed,
    /// An unsealed peer said that nothing vouches for this process.
    NotAdmitted,
    /// It gave none, or none that is believed.
    Nothing,
}

impl<H: Host> Member<H> {
    /// Tries what may vouch for this process, one after the other; each on a connection of its own.
    async fn rejoin_at(self: &Arc<Self>, node: NodeId) -> bool {
        let restart = self.world.runtime.load().and_then(|seed| Secret::from_slice("restart key", &seed));
        if let Some(seed) = restart {
            let key = SigningKey::from_seed(seed);
            let asked = self.ask_by(node, |exporter| self.restart_vouch(&key, exporter)).await;
            if asked == Asked::Believed {
                return true;
            }
            if asked == Asked::NotAdmitted {
                self.restart_refused.store(true, Ordering::Release);
            }
        }
        for kind in [wire::VouchKind::Admission, wire::VouchKind::Members] {
            if self.ask_by(node, |_| self.vouch(kind, Vec::new(), Vec::new())).await == Asked::Believed {
                return true;
            }
        }
        false
    }

    async fn ask_by(
        self: &Arc<Self>,
        node: NodeId,
        vouch: impl FnOnce(&Exporter) -> wire::RejoinRequest,
    ) -> Asked {
        let Ok(dedicated) = self.peers.dedicated(node).await else { return Asked::Nothing };
        let request = vouch(&dedicated.exporter);
        self.ask_for_root(node, dedicated, request).await
    }

    pub(crate) async fn ask_for_root(
        self: &Arc<Self>,
        node: NodeId,
        dedicated: Dedicated,
        request: wire::RejoinRequest,
    ) -> Asked {
        let limit = Duration::from_millis(ANSWER_MS_MAX);
        let asked = dedicated
            .channel
            .call(limit, |channel| async move { RejoinServiceClient::new(channel).rejoin(request).await });
        match asked.await {
            Ok(answer) => {
                let believed = self.believe(answer).await;
                tracing::info!(%node, believed, "a peer gave a root");
                if believed { Asked::Believed } else { Asked::Nothing }
            }
            Err(error) => {
                tracing::debug!(%node, %error, "a peer did not give the root");
                let reason = Failure::from(error).reason();
                if reason == Some(Reason::NotAdmitted) { Asked::NotAdmitted } else { Asked::Nothing }
            }
        }
    }

    fn restart_vouch(&self, key: &SigningKey, exporter: &Exporter) -> wire::RejoinRequest {
        let LocalNode { cluster, node, incarnation, .. } = self.local;
        let message = restart_message(cluster, node, incarnation, &self.boot.public(), exporter);
        self.vouch(wire::VouchKind::RestartKey, key.sign(&message).to_vec(), Vec::new())
    }

    pub(crate) fn vouch(
        &self,
        kind: wire::VouchKind,
        signature: Vec<u8>,
        sealed_share: Vec<u8>,
    ) -> wire::RejoinRequest {
        let boot_public_key = self.boot.public().to_vec();
        wire::RejoinRequest { boot_public_key, vouch: kind.into(), signature, sealed_share }
    }

    /// A root is believed because it opens the keyring.
    async fn believe(self: &Arc<Self>, answer: wire::RejoinResponse) -> bool {
        self.open_root(answer).await.is_some()
    }

    async fn open_root(self: &Arc<Self>, answer: wire::RejoinResponse) -> Option<()> {
        let deadline = Instant::now() + Duration::from_millis(CATCH_UP_MS_MAX);
        if answer.generation != self.local.generation.0 {
            return None;
        }
        self.cluster.wait_applied(answer.index, deadline).await.ok()?;
        let set = self.seal_record()?.current;
        if set.id.as_slice() != answer.share_set_id {
            return None;
        }
        let root = Root::open(&self.boot, self.local.cluster, &answer.sealed_root).ok()?;
        self.unseal(root, &set, By::Peer).ok()
    }
}
