//! Upkeep: what this node writes on the cluster's own account, decided by itself if it leads and otherwise sent to the
//! leader over a keyed connection.

use std::time::Duration;

use keyclave_policy::Principal;
use keyclave_proto::peer::v1::MaintainRequest;
use keyclave_proto::peer::v1::forward_service_client::ForwardServiceClient;
use keyclave_types::envelope;
use keyclave_types::ids::NodeId;
use keyclave_vault::refusal::Refused;
use keyclave_vault::upkeep::{Upkeep, UpkeepAnswer, decide_upkeep};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::host::Host;
use crate::member::Member;

/// How long one attempt at another node may take.
const ATTEMPT_MS_MAX: u64 = 3_000;
/// Rest between two attempts.
const REST_MS: u64 = 50;

impl<H: Host> Member<H> {
    /// Has a piece of upkeep written, by whoever leads, before `deadline`. It is harmless when repeated.
    pub(crate) async fn maintain(&self, upkeep: Upkeep, deadline: Instant) -> Result<UpkeepAnswer, Failure> {
        loop {
            let leadership = self.cluster.leadership();
            let attempt = match leadership.leader {
                _ if leadership.mine.is_some() => {
                    self.maintain_as_leader(self.local.node, &upkeep, deadline).await
                }
                Some(leader) if leader != self.local.node => self.maintain_at(leader, &upkeep).await,
                Some(_) | None => Err(Failure::NoLeader),
            };
            match attempt {
                Err(failure) if failure.may_pass() && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(REST_MS)).await;
                }
                decided => return decided,
            }
        }
    }

    /// As leader: writes upkeep that `asking` wants.
    pub(crate) async fn maintain_as_leader(
        &self,
        asking: NodeId,
        upkeep: &Upkeep,
        deadline: Instant,
    ) -> Result<UpkeepAnswer, Failure> {
        let settled = self.carry_through(asking, deadline, |view, occasion, entropy| {
            let (action, key) = upkeep.action();
            let permit = keyclave_policy::built_in(&Principal::Member(asking), action, key)
                .map_err(|denied| Refused { refusal: denied.into(), reads: Default::default() })?;
            decide_upkeep(view, &permit, upkeep, occasion, entropy)
        });
        Ok(settled.await?.answer)
    }

    async fn maintain_at(&self, leader: NodeId, upkeep: &Upkeep) -> Result<UpkeepAnswer, Failure> {
        let channel = self.peers.keyed(leader).map_err(|_| Failure::NoLeader)?;
        let request = MaintainRequest { upkeep: envelope::encode(upkeep) };
        let limit = Duration::from_millis(ATTEMPT_MS_MAX);
        let asked = channel
            .call(limit, |channel| async move { ForwardServiceClient::new(channel).maintain(request).await });
        let answer = asked.await.map_err(Failure::from)?;
        Ok(match upkeep {
            Upkeep::ReserveUses { .. } => UpkeepAnswer::Reserved { uses: answer.count },
            Upkeep::ForgetRequests => {
                UpkeepAnswer::Forgotten { requests: usize::try_from(answer.count).unwrap_or(usize::MAX) }
            }
            _ => UpkeepAnswer::Done,
        })
    }
}
