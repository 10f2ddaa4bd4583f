//! The leader's loop around a decision: decide over the latest view, propose, and on a conflict decide anew, a bounded
//! number of times. Refusals and already-so answers are confirmed before they leave, like any answer.

use keyclave_crypto::entropy::Entropy;
use keyclave_policy::Action;
use keyclave_types::ids::NodeId;
use keyclave_types::position::Position;
use keyclave_types::transaction::TransactionOutcome;
use keyclave_vault::decide::{Decision, Proposal, Settling};
use keyclave_vault::occasion::Occasion;
use keyclave_vault::reads::ReadSet;
use keyclave_vault::refusal::Refused;
use keyclave_vault::view::View;
use tokio::time::Instant;

use crate::confirmer::ConfirmError;
use crate::failure::Failure;
use crate::host::Host;
use crate::member::Member;

/// How often one request is decided before it is given up as contended.
const DECISIONS_MAX: usize = 16;

/// What was decided and stands.
#[derive(Debug)]
pub struct Settled<A> {
    /// The answer.
    pub answer: A,
    /// Where it stands.
    pub position: Position,
    /// The position of the view that it was decided over.
    pub view: Position,
}

impl<H: Host> Member<H> {
    /// Decides and carries through, as leader. `decide` may be called several times, each time over a later view.
    pub(crate) async fn carry_through<A>(
        &self,
        arrived_at: NodeId,
        deadline: Instant,
        mut decide: impl FnMut(&View, &Occasion, &mut Entropy) -> Result<Decision<A>, Refused>,
    ) -> Result<Settled<A>, Failure> {
        let mut entropy = self.entropy();
        for _ in 0..DECISIONS_MAX {
            if Instant::now() >= deadline {
                return Err(Failure::Deadline);
            }
            let unsealed = self.unsealed()?;
            if self.is_withdrawn() {
                return Err(Failure::Sealed);
            }
            let leader = self.cluster.leadership().mine.ok_or(Failure::NoLeader)?;
            let view = unsealed.keeper.latest()?;
            let now = unsealed.now(&view, self.clock());
            let occasion = Occasion { now, leader, arrived_at };
            let decided_over = view.position();
            match decide(&view, &occasion, &mut entropy) {
                Ok(Decision::Propose(proposal)) => {
                    if let Some(settled) = self.propose(proposal, decided_over, deadline).await? {
                        return Ok(settled);
                    }
                }
                Ok(Decision::Standing { answer, reads, settles }) => {
                    if let Some(position) = self.still_holds(&reads, deadline).await? {
                        self.settled(settles).await;
                        return Ok(Settled { answer, position, view: decided_over });
                    }
                }
                Err(Refused { refusal, reads }) => {
                    if self.still_holds(&reads, deadline).await?.is_some() {
                        return Err(refusal.into());
                    }
                }
            }
        }
        Err(Failure::Contended)
    }

    /// A decision as the host lets it pass.
    pub(crate) fn decided<A>(&self, action: Action, decision: Decision<A>) -> Decision<A> {
        match decision {
            Decision::Propose(proposal) => Decision::Propose(Proposal {
                transaction: self.host.danger_decided(action, proposal.transaction),
                ..proposal
            }),
            standing @ Decision::Standing { .. } => standing,
        }
    }

    async fn propose<A>(
        &self,
        proposal: Proposal<A>,
        view: Position,
        deadline: Instant,
    ) -> Result<Option<Settled<A>>, Failure> {
        let proposed = self.cluster.propose(proposal.transaction, deadline).await?;
        match proposed.outcome {
            TransactionOutcome::Conflict(_) => Ok(None),
            TransactionOutcome::Committed => {
                self.settled(proposal.settles).await;
                Ok(Some(Settled { answer: proposal.answer, position: proposed.position, view }))
            }
        }
    }

    /// Waits until nothing is answered any more from a confirmation older than this state. It takes longer than one
    /// attempt of another node at this one; that node tries again, and what has passed meanwhile counts.
    async fn settled(&self, settling: Option<Settling>) {
        if let Some(settling) = settling {
            let left = self.settlings.left(&settling, Instant::now());
            tokio::time::sleep(left).await;
        }
    }

    /// Whether everything read still stands at an index that is confirmed now; where, if so.
    async fn still_holds(&self, reads: &ReadSet, deadline: Instant) -> Result<Option<Position>, Failure> {
        let confirming = tokio::time::timeout_at(deadline, self.cluster.confirm_as_leader());
        let confirmed = confirming.await.map_err(|_| Failure::Deadline)?;
        let confirmation = confirmed.map_err(|error| match error {
            keyclave_cluster::confirm::ConfirmError::Overloaded => ConfirmError::Overloaded,
            keyclave_cluster::confirm::ConfirmError::NotLeader { .. }
            | keyclave_cluster::confirm::ConfirmError::NoQuorum => ConfirmError::NoLeader,
            keyclave_cluster::confirm::ConfirmError::Stopped => ConfirmError::Ending,
        })?;
        self.cluster.wait_applied(confirmation.index, deadline).await.map_err(|_| Failure::Deadline)?;
        let latest = self.unsealed()?.keeper.latest()?;
        Ok(latest.holds(reads).then(|| latest.position()))
    }
}
