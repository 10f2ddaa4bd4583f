//! What an unsealed node offers to the request pipeline: a frozen view, a confirmation begun now, and whether an
//! answer computed over that view stands.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keyclave_audit::trail::Trail;
use keyclave_crypto::entropy::Entropy;
use keyclave_policy::{Action, Circumstances, Class, Principal, built_in};
use keyclave_types::access::Subject;
use keyclave_types::ids::NodeId;
use keyclave_types::position::Position;
use keyclave_types::request::{Write, WriteAnswer};
use keyclave_types::time::UnixMillis;
use keyclave_vault::authenticate::{Shown, authenticate};
use keyclave_vault::compute::{NeedBlock, Uses};
use keyclave_vault::decide;
use keyclave_vault::login::{LoggedIn, decide_login, judge_login};
use keyclave_vault::occasion::Now;
use keyclave_vault::permission;
use keyclave_vault::reads::ReadSet;
use keyclave_vault::refusal::{Refusal, Refused};
use keyclave_vault::upkeep::{Upkeep, UpkeepAnswer};
use keyclave_vault::view::View;
use tokio::time::Instant;

use crate::confirmer::{Confirmed, Confirming};
use crate::deciding::Settled;
use crate::failure::Failure;
use crate::host::{Host, Leaving};
use crate::member::Member;
use crate::unsealed::Unsealed;
use crate::world::Moment;

/// How long a node waits to catch up with a confirmed index, or with a caller's floor.
const CATCH_UP_MS_MAX: u64 = 5_000;

/// One unsealed node, for one request.
pub struct Serving<H: Host> {
    member: Arc<Member<H>>,
    unsealed: Arc<Unsealed<H::Disk>>,
}

impl<H: Host> Member<H> {
    /// This node as it serves; [`Failure::Sealed`] while it does not.
    pub fn serving(self: &Arc<Self>) -> Result<Serving<H>, Failure> {
        let unsealed = self.unsealed()?;
        if self.is_withdrawn() || unsealed.marked.load(Ordering::Acquire) {
            return Err(Failure::Sealed);
        }
        Ok(Serving { unsealed, member: self.clone() })
    }

    /// The trail.
    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    /// This node's number.
    pub fn node(&self) -> NodeId {
        self.local.node
    }

    /// Where this node's ledger stands.
    pub fn position(&self) -> Position {
        Position { generation: self.local.generation, index: self.ledger.applied_index() }
    }

    /// This node's wall clock, for notes.
    pub fn noted_time(&self) -> UnixMillis {
        self.clock()
    }
}

impl<H: Host> Serving<H> {
    /// Everything that is applied at this moment, frozen. An operator's seal holds for whatever is asked over a view
    /// that has it, not only when the process has ended.
    pub fn view(&self) -> Result<Arc<View>, Failure> {
        let view = self.unsealed.keeper.latest()?;
        if self.member.is_withdrawn() || self.member.is_marked(&view) {
            return Err(Failure::Sealed);
        }
        Ok(view)
    }

    /// Whether this node may do that while its trail stands as it does. Tampered with, only what looks at it and what
    /// takes the node out of service; with little room, only what operators do.
    pub fn trail_allows(&self, action: Action) -> Result<(), Failure> {
        let status = self.member.trail.status();
        if status.alarm && !serves_tampered(action) {
            return Err(Failure::TrailTampered);
        }
        if status.low && !serves_low(action) {
            return Err(Failure::TrailLow);
        }
        Ok(())
    }

    /// The time that decides over `view`.
    pub fn now(&self, view: &View) -> Now {
        self.unsealed.now(view, self.member.clock())
    }

    /// Begins a confirmation: it covers everything acknowledged before this call.
    pub fn begin_confirmation(&self) -> Confirming {
        self.unsealed.confirmer.begin()
    }

    /// Fresh entropy for one request.
    pub fn entropy(&self) -> Entropy {
        self.member.entropy()
    }

    /// The uses of counted versions that this node may spend.
    pub fn uses(&self) -> &dyn Uses {
        &self.unsealed.uses
    }

    /// Reserves what [`Self::uses`] lacks.
    pub async fn reserve(&self, need: NeedBlock, deadline: Instant) -> Result<(), Failure> {
        let NeedBlock { name, key, version } = need;
        let uses = &self.unsealed.uses;
        let before = uses.left(key, version);
        let reserving = tokio::time::timeout_at(deadline, uses.reserving.lock());
        let _one_at_a_time = reserving.await.map_err(|_| Failure::Deadline)?;
        if uses.left(key, version) > before {
            // Somebody else has reserved meanwhile.
            return Ok(());
        }
        let upkeep = Upkeep::ReserveUses { name, version };
        if let UpkeepAnswer::Reserved { uses } = self.member.maintain(upkeep, deadline).await? {
            self.unsealed.uses.add(key, version, uses);
        }
        Ok(())
    }

    /// Waits until this node has reached a caller's floor.
    pub async fn reach(&self, floor: Option<Position>) -> Result<(), Failure> {
        let Some(floor) = floor else { return Ok(()) };
        if floor.generation != self.member.local.generation {
            return Err(Failure::OtherGeneration);
        }
        self.catch_up(floor.index).await
    }

    /// Whether what was computed over a view still stands at the confirmed index; the position to answer with, if so.
    pub async fn stands(
        &self,
        reads: &ReadSet,
        confirming: Confirming,
        leaving: Leaving,
    ) -> Result<Option<Position>, Failure> {
        if self.member.host.danger_unconfirmed(leaving) {
            return self.view().map(|view| Some(view.position()));
        }
        let confirmed = confirming.confirmed().await?;
        if confirmed.generation != self.member.local.generation {
            return Err(Failure::OtherGeneration);
        }
        self.catch_up(confirmed.index).await?;
        if !self.agrees(&confirmed).await? {
            return Ok(None);
        }
        let latest = self.view()?;
        Ok(latest.holds(reads).then(|| latest.position()))
    }

    /// Whether what was computed stands by the last confirmation, if that began at most so long ago; the position to
    /// answer with, if so. Whatever was acknowledged before it began is in this node's view. Needs nobody, so it also
    /// serves where nobody can be asked.
    pub fn stands_still(&self, reads: &ReadSet, staleness_max_ms: u64) -> Result<Option<Position>, Failure> {
        if staleness_max_ms == 0 {
            return Ok(None);
        }
        let last = self.unsealed.confirmer.last();
        let Some((confirmed, now)) = last.zip(Moment::now(&*self.member.world.clock)) else {
            return Ok(None);
        };
        let age = confirmed.begun.and_then(|begun| begun.age_ms(now));
        let young = age.is_some_and(|age| age <= staleness_max_ms);
        let ours = confirmed.generation == self.member.local.generation;
        if !young || !ours || !self.unsealed.agreed.load(Ordering::Acquire) {
            return Ok(None);
        }
        let latest = self.view()?;
        let stands = latest.position().index >= confirmed.index && latest.holds(reads);
        Ok(stands.then(|| latest.position()))
    }

    /// Whether this node's records were found equal to the leader's since its view was opened. Records that somebody
    /// has put back on the disk by hand open well; only the digest tells. Later confirmations are compared where both
    /// nodes are at the same index, without waiting for it.
    async fn agrees(&self, confirmed: &Confirmed) -> Result<bool, Failure> {
        if self.unsealed.agreed.load(Ordering::Acquire) {
            return Ok(true);
        }
        let (index, digest) = confirmed.digest;
        self.catch_up(index).await?;
        match self.member.ledger.digest_at(index) {
            Some(own) if own == digest => {
                self.unsealed.agreed.store(true, Ordering::Release);
                Ok(true)
            }
            Some(_) => Err(self.member.diverged(index).into()),
            // So much was applied meanwhile that it is forgotten; the next confirmation is compared.
            None => Ok(false),
        }
    }

    async fn catch_up(&self, index: u64) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_millis(CATCH_UP_MS_MAX);
        self.member.cluster.wait_applied(index, deadline).await.map_err(|_| Failure::Behind)
    }

    /// As leader: checks the credential, asks the policy, decides and carries through one write of a caller.
    pub async fn write_as_leader(
        &self,
        shown: &Shown<'_>,
        circumstances: &Circumstances,
        write: &Write,
        arrived_at: NodeId,
        deadline: Instant,
    ) -> Result<Settled<WriteAnswer>, Failure> {
        let carried = self.member.carry_through(arrived_at, deadline, |view, occasion, entropy| {
            let authenticated = authenticate(view, shown, occasion.now)?;
            let principal = &authenticated.principal;
            let (action, target) = Action::of_write(&write.change);
            let asked = permission::permit(view, principal, action, target, circumstances, occasion.now);
            let permitted = asked.map_err(|no| {
                let Refused { refusal, mut reads } = no.refused;
                reads.extend(authenticated.reads.clone());
                Refused { refusal, reads }
            })?;
            let decision = decide::decide(view, &permitted.permit, write, occasion, entropy)?;
            Ok(self.member.decided(action, decision))
        });
        carried.await
    }

    /// Refuses what cannot be a login; whom it is of otherwise.
    pub fn judge_login(&self, view: &View, jwt: &str) -> Result<Subject, Refused> {
        judge_login(view, jwt, self.now(view))
    }

    /// As leader: decides and carries through one login.
    pub async fn login_as_leader(
        &self,
        jwt: &str,
        arrived_at: NodeId,
        deadline: Instant,
    ) -> Result<Settled<LoggedIn>, Failure> {
        let permit = built_in(&Principal::Unauthenticated, Action::Login, None).map_err(Refusal::from)?;
        let carried = self.member.carry_through(arrived_at, deadline, |view, occasion, entropy| {
            let decision = decide_login(view, &permit, jwt, occasion, entropy)?;
            Ok(self.member.decided(Action::Login, decision))
        });
        carried.await
    }

    /// Who leads, if it is another node.
    pub fn leader_elsewhere(&self) -> Option<NodeId> {
        let leadership = self.member.cluster.leadership();
        match leadership.mine {
            Some(_) => None,
            None => leadership.leader.filter(|leader| *leader != self.member.local.node),
        }
    }

    /// Whether this node leads.
    pub fn leads(&self) -> bool {
        self.member.cluster.leadership().mine.is_some()
    }

    /// The member that this is.
    pub fn member(&self) -> &Arc<Member<H>> {
        &self.member
    }
}

fn serves_tampered(action: Action) -> bool {
    match action.class() {
        Class::Open | Class::Machine | Class::Known | Class::Cluster => true,
        Class::Use | Class::Manage | Class::Danger => false,
        Class::Read => {
            matches!(
                action,
                Action::ReadAudit | Action::ClusterStatus | Action::ListMembers | Action::Diagnose
            )
        }
        Class::Operate => matches!(
            action,
            Action::AcknowledgeTrail
                | Action::KeepTrail
                | Action::SealNode
                | Action::SealCluster
                | Action::RemoveMember
                | Action::StepDown
        ),
    }
}

fn serves_low(action: Action) -> bool {
    match action.class() {
        Class::Open | Class::Machine | Class::Known | Class::Cluster | Class::Operate => true,
        Class::Use | Class::Manage | Class::Danger => false,
        Class::Read => !matches!(action, Action::GetKey | Action::ListKeys),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tampered_trail_leaves_what_looks_at_it_and_a_full_one_leaves_operators() {
        let allowed = |may: fn(Action) -> bool| -> Vec<_> {
            let asked = Action::ALL.into_iter();
            asked
                .filter(|action| {
                    matches!(action.class(), Class::Use | Class::Manage | Class::Danger) && may(*action)
                })
                .collect()
        };
        assert_eq!((allowed(serves_tampered), allowed(serves_low)), (Vec::new(), Vec::new()));
        assert!(serves_tampered(Action::AcknowledgeTrail) && serves_tampered(Action::ReadAudit));
        assert!(!serves_tampered(Action::ChangePolicies) && !serves_tampered(Action::GetKey));
        assert!(serves_low(Action::KeepTrail) && serves_low(Action::Admit) && !serves_low(Action::ListKeys));
    }
}
