//! How this node asks the leader to vouch for an index: itself if it leads, else over a keyed connection.
//!
//! Deliberately absent: sharing one answer among many, which is [`crate::confirmer`].

use std::sync::Weak;
use std::time::Duration;

use keyclave_cluster::confirm::{ConfirmError as LeaderError, Confirmation};
use keyclave_ledger::digest::Digest;
use keyclave_proto::peer::v1 as wire;
use keyclave_proto::peer::v1::forward_service_client::ForwardServiceClient;
use keyclave_types::ids::NodeId;
use keyclave_types::position::Generation;
use keyclave_types::time::UnixMillis;
use tokio::time::Instant;

use crate::confirmer::{ConfirmError, Confirmed};
use crate::host::Host;
use crate::member::Member;
use crate::timekeeping::TimeDoubt;
use crate::world::Moment;

/// How long one question to the leader may take.
const QUESTION_MS_MAX: u64 = 1_000;
/// How long a request waits for somebody who can vouch, leader changes included.
const ASKING_MS_MAX: u64 = 5_000;
/// Rest between two attempts while nobody leads.
const REST_MS: u64 = 25;

/// Asks until somebody vouches, or it has taken too long.
pub(crate) async fn ask<H: Host>(member: Weak<Member<H>>) -> Result<Confirmed, ConfirmError> {
    let deadline = Instant::now() + Duration::from_millis(ASKING_MS_MAX);
    loop {
        let member = member.upgrade().ok_or(ConfirmError::Ending)?;
        let begun = Moment::now(&*member.world.clock);
        let asked = tokio::time::timeout_at(deadline, once(&member)).await;
        match asked.unwrap_or(Err(LeaderError::NoQuorum)) {
            Ok(confirmation) => return vouched(&member, confirmation, begun),
            Err(LeaderError::Stopped) => return Err(ConfirmError::Ending),
            Err(LeaderError::Overloaded) => return Err(ConfirmError::Overloaded),
            Err(LeaderError::NotLeader { .. } | LeaderError::NoQuorum) if Instant::now() >= deadline => {
                return Err(ConfirmError::NoLeader);
            }
            Err(LeaderError::NotLeader { .. } | LeaderError::NoQuorum) => {}
        }
        drop(member);
        tokio::time::sleep(Duration::from_millis(REST_MS)).await;
    }
}

async fn once<H: Host>(member: &Member<H>) -> Result<Confirmation, LeaderError> {
    let leadership = member.cluster.leadership();
    match leadership.leader {
        _ if leadership.mine.is_some() => member.cluster.confirm_as_leader().await,
        Some(leader) if leader != member.local.node => ask_leader(member, leader).await,
        leader => Err(LeaderError::NotLeader { leader }),
    }
}

async fn ask_leader<H: Host>(member: &Member<H>, leader: NodeId) -> Result<Confirmation, LeaderError> {
    let unreached = || LeaderError::NotLeader { leader: Some(leader) };
    let channel = member.peers.keyed(leader).map_err(|_| unreached())?;
    let applied = member.ledger.applied();
    let head = member.trail.status().head;
    let request = wire::ConfirmRequest {
        usage: Vec::new(),
        audit_head: Some(wire::AuditHead { sequence: head.sequence, hash: head.hash.to_vec() }),
        clock_unix_ms: member.clock().0,
        applied: Some(wire::Position { generation: member.local.generation.0, index: applied.index }),
        digest: applied.digest.0.to_vec(),
    };
    let limit = Duration::from_millis(QUESTION_MS_MAX);
    let answer = channel
        .call(limit, |channel| async move { ForwardServiceClient::new(channel).confirm(request).await })
        .await
        .map_err(|_| unreached())?;
    let said = match answer.doubt {
        None => Ok(UnixMillis(answer.clock_unix_ms)),
        Some(wire::ClockDoubt { since_unix_ms, ahead_ms }) => {
            Err(TimeDoubt { node: leader, since: UnixMillis(since_unix_ms), ahead_ms })
        }
    };
    if let Ok(unsealed) = member.unsealed() {
        unsealed.time.heard(said);
    }
    Ok(Confirmation {
        generation: Generation(answer.generation),
        index: answer.index,
        digest_index: answer.digest_index,
        digest: Digest(answer.digest.try_into().map_err(|_| unreached())?),
    })
}

/// A node whose records differ from the leader's at the same index answers nothing.
fn vouched<H: Host>(
    member: &Member<H>,
    confirmation: Confirmation,
    begun: Option<Moment>,
) -> Result<Confirmed, ConfirmError> {
    let Confirmation { generation, index, digest_index, digest } = confirmation;
    match member.ledger.digest_at(digest_index) {
        Some(own) if own != digest => Err(member.diverged(digest_index)),
        Some(_) | None => Ok(Confirmed { generation, index, digest: (digest_index, digest), begun }),
    }
}

impl<H: Host> Member<H> {
    /// This node's records are not the leader's: it answers nothing, ends, and does not come back by itself.
    pub(crate) fn diverged(&self, index: u64) -> ConfirmError {
        tracing::error!(index, "this node's records differ from the leader's");
        self.withdraw();
        self.end(crate::node::Ending::Diverged { index });
        ConfirmError::Diverged { index }
    }
}
