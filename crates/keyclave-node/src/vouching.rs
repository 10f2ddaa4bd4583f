//! A share that was given on this machine vouches for this process at an unsealed peer: the peer first proves that it
//! holds the keyring, gets the share encrypted to its boot key, and gives the root for it. No ceremony is opened.
//!
//! Called by [`crate::giving`]. Who answers is [`crate::services::rejoin`]. Without the proof a thief with a member's TLS
//! key could pose as an unsealed peer and collect one share after the other.

use std::sync::Arc;
use std::time::Duration;

use keyclave_cluster::transport::directory::Directory;
use keyclave_cluster::transport::peers::Dedicated;
use keyclave_cluster::transport::wire::Exporter;
use keyclave_crypto::share::Share;
use keyclave_crypto::{hpke, labels, sign};
use keyclave_proto::peer::v1 as wire;
use keyclave_proto::peer::v1::rejoin_service_client::RejoinServiceClient;
use keyclave_proto::share_terms::rejoin_terms;
use keyclave_types::ids::{ClusterId, NodeId};

use crate::host::Host;
use crate::member::Member;
use crate::rejoining::Asked;

/// How long a peer may take to be reached and to prove that it is unsealed.
const PROOF_MS_MAX: u64 = 2_500;

/// What the writer key signs to show who may have a share; the exporter belongs to one connection, so a proof is good
/// for this one question.
pub(crate) fn receiver_message(
    cluster: ClusterId,
    receiver: NodeId,
    receiver_boot: &[u8; 32],
    asking_boot: &[u8; 32],
    exporter: &Exporter,
) -> Vec<u8> {
    [
        labels::SHARE_RECEIVER.bytes(),
        cluster.as_bytes(),
        &receiver.get().to_be_bytes(),
        receiver_boot,
        asking_boot,
        &exporter.0,
    ]
    .concat()
}

/// A peer that has proved that it holds the keyring.
struct Receiver {
    node: NodeId,
    dedicated: Dedicated,
    boot: [u8; 32],
}

impl<H: Host> Member<H> {
    /// Whether an unsealed peer gave the root because this process has a valid share. A seal mark, the cluster's policy or
    /// a peer that cannot confirm leave the share to the ceremony.
    pub(crate) async fn vouched_by(self: &Arc<Self>, share: &Share) -> bool {
        let others = self.directory.nodes().into_iter().filter(|node| *node != self.local.node);
        let asked = futures::future::join_all(others.map(|node| self.receiver_at(node))).await;
        for receiver in asked.into_iter().flatten() {
            let Some(request) = self.shown_to(&receiver, share) else { continue };
            if self.ask_for_root(receiver.node, receiver.dedicated, request).await == Asked::Believed {
                return true;
            }
        }
        false
    }

    async fn receiver_at(&self, node: NodeId) -> Option<Receiver> {
        let limit = Duration::from_millis(PROOF_MS_MAX);
        let dedicated = tokio::time::timeout(limit, self.peers.dedicated(node)).await.ok()?.ok()?;
        let asking = self.boot.public();
        let request = wire::ProveUnsealedRequest { boot_public_key: asking.to_vec() };
        let asked = dedicated.channel.call(limit, |channel| async move {
            RejoinServiceClient::new(channel).prove_unsealed(request).await
        });
        let answer = asked.await.ok()?;
        let boot: [u8; 32] = answer.boot_public_key.as_slice().try_into().ok()?;
        let signature = answer.signature.as_slice().try_into().ok()?;
        let message = receiver_message(self.local.cluster, node, &boot, &asking, &dedicated.exporter);
        if !sign::verify(&self.pins.writer, &message, signature) {
            tracing::warn!(%node, "a peer says that it is unsealed and cannot prove it: it gets no share");
            return None;
        }
        Some(Receiver { node, dedicated, boot })
    }

    fn shown_to(&self, receiver: &Receiver, share: &Share) -> Option<wire::RejoinRequest> {
        let terms = rejoin_terms(&receiver.dedicated.exporter.0, &self.boot.public());
        let (text, mut entropy) = (share.to_text(), self.entropy());
        let sealed =
            hpke::seal_to(&receiver.boot, labels::SHARE_TO_NODE, &terms, text.as_bytes(), &mut entropy)
                .ok()?;
        Some(self.vouch(wire::VouchKind::Share, Vec::new(), sealed))
    }
}
