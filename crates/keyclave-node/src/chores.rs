//! What runs while a node is unsealed: it keeps its view at the ledger's heels and its trail in keys and on record, and
//! as leader it keeps the time, forgets old requests, rotates what is due and makes caught-up learners voters.

use std::collections::BTreeMap;
use std::mem::Discriminant;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keyclave_audit::record::Target;
use keyclave_cluster::members::{MembershipError, Role};
use keyclave_policy::{Action, Principal};
use keyclave_types::ids::NodeId;
use keyclave_types::time::UnixMillis;
use keyclave_vault::occasion::Now;
use keyclave_vault::refusal::{Refusal, Refused};
use keyclave_vault::rotation::{self, Due, DueWork, Worked};
use tokio::time::Instant;

use crate::anchoring::Anchoring;
use crate::failure::Failure;
use crate::forgetting::Forgetting;
use crate::host::Host;
use crate::member::Member;
use crate::noting::Act;
use crate::retaining::Retaining;
use crate::timekeeping::Asked;

/// How often there is work to look for; what is due is done within a second.
const ROUND_MS: u64 = 250;
/// Due rotations done in one round.
const DUE_PER_ROUND: usize = 64;
/// How long one piece of work may take.
const WORK_MS_MAX: u64 = 5_000;

/// Works until the node is sealed or gone.
pub(crate) async fn work<H: Host>(member: Weak<Member<H>>) {
    let mut failing = false;
    let mut asked = Asked::default();
    let mut forgetting = Forgetting::new();
    let mut anchoring = Anchoring::new();
    let mut retaining = Retaining::new();
    let mut held_up = BTreeMap::new();
    loop {
        tokio::time::sleep(Duration::from_millis(ROUND_MS)).await;
        let Some(member) = member.upgrade() else { return };
        let Ok(unsealed) = member.unsealed() else { return };
        if member.is_withdrawn() {
            return;
        }
        let deadline = Instant::now() + Duration::from_millis(WORK_MS_MAX);
        match member.keep_up(deadline).await {
            Ok(()) => failing = false,
            // Said once, not four times a second for as long as it lasts.
            Err(error) if failing => tracing::debug!(%error, "chores were cut short"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "chores were cut short");
                failing = true;
            }
        }
        // Nothing is decided before the ceremony that unsealed this node has lifted what it was sealed by.
        if unsealed.marked.load(Ordering::Acquire) {
            continue;
        }
        let leading = member.cluster.leadership().mine;
        // Before anything is anchored: outcomes are kept in the ledger until they are.
        member.resolve_intents(&retaining).await;
        member.anchor_trail(&mut anchoring, deadline).await;
        member.drop_old_segments(&mut retaining, deadline).await;
        member.forget_requests(&mut forgetting, leading.is_some(), deadline).await;
        if let Some(leader) = leading {
            // Whatever falls due falls due by a time that the others were asked for.
            member.keep_time(leader, &mut asked, deadline).await;
            if asked.has(leader) {
                member.rotate_what_is_due(deadline).await;
            }
            member.promote_learners(&mut held_up, deadline).await;
            member.finish_removals(deadline).await;
        }
    }
}

/// Seals this node once an operator has marked it or it is no member any more. By itself, so that no other work is
/// waited for.
pub(crate) async fn seal_when_told<H: Host>(member: Weak<Member<H>>) {
    let Some(mut applied) = member.upgrade().map(|member| member.cluster.watch_applied()) else { return };
    loop {
        {
            let Some(member) = member.upgrade() else { return };
            if member.unsealed().is_err() || member.is_withdrawn() {
                return;
            }
            if member.must_seal() {
                member.withdraw();
                member.note(Act::new("SealByMark").on(Target::Node(member.local.node))).await;
                return member.seal_here().await;
            }
        }
        let limit = Duration::from_millis(ROUND_MS);
        if let Ok(Err(_)) = tokio::time::timeout(limit, applied.changed()).await {
            return;
        }
    }
}

/// Seals this node once a member has proved to it that it was removed: one that was away meanwhile is told nothing
/// else any more. Without keys it loses only what would let it come back.
pub(crate) async fn seal_when_removed<H: Host>(member: Weak<Member<H>>) {
    let Some(mut told) = member.upgrade().map(|member| member.establish.watch_removed()) else { return };
    while told.changed().await.is_ok() {
        let Some(member) = member.upgrade() else { return };
        if !member.is_unsealed() {
            member.world.runtime.wipe();
        } else if member.withdraw() {
            tracing::warn!("this node was removed from the cluster while it was away: it seals itself");
            member.note(Act::new("SealByRemoval").on(Target::Node(member.local.node))).await;
            return member.seal_here().await;
        }
    }
}

impl<H: Host> Member<H> {
    /// Whether an operator has sealed this node, or it is no longer a member: it must hold no key then.
    fn must_seal(&self) -> bool {
        let Ok(unsealed) = self.unsealed() else { return false };
        let Ok(view) = unsealed.keeper.latest() else { return false };
        let marked = self.is_marked(&view) && !unsealed.marked.load(Ordering::Acquire);
        let members = self.cluster.applied_members();
        marked || !(members.is_empty() || members.contains_key(&self.local.node) || self.is_joining())
    }

    /// Whether the ledger knows this node and the log has not named it yet.
    fn is_joining(&self) -> bool {
        let view = self.unsealed().ok().and_then(|unsealed| unsealed.keeper.latest().ok());
        view.is_some_and(|view| view.node(self.local.node).is_some())
    }

    async fn keep_up(&self, deadline: Instant) -> Result<(), Failure> {
        self.unsealed()?.keeper.latest()?;
        let status = self.trail.status();
        if status.sealing && !status.spare {
            self.seal_trail(deadline).await?;
        }
        self.keep_certificate(deadline).await
    }

    async fn rotate_what_is_due(&self, deadline: Instant) {
        let due = match self.due() {
            Ok(due) => due,
            Err(error) => return tracing::warn!(%error, "what is due could not be looked up"),
        };
        for work in due {
            match self.do_due(&work, deadline).await {
                Ok(()) => tracing::info!(what = kind(&work.what), "a key's due work is done"),
                // Another leader, or an operator, was faster.
                Err(Failure::Refused(Refusal::NotDue)) => {}
                Err(error) => {
                    return tracing::warn!(%error, what = kind(&work.what), "due work was not done yet");
                }
            }
        }
    }

    fn due(&self) -> Result<Vec<DueWork>, Failure> {
        let unsealed = self.unsealed()?;
        let view = unsealed.keeper.latest()?;
        Ok(match unsealed.now(&view, self.clock()) {
            Now::Trusted(now) => rotation::due(&view, now, DUE_PER_ROUND),
            // Nothing falls due; what does not ask the time goes on.
            Now::Doubtful(_) => rotation::due(&view, UnixMillis::default(), DUE_PER_ROUND),
        })
    }

    async fn do_due(&self, work: &DueWork, deadline: Instant) -> Result<(), Failure> {
        let me = self.local.node;
        let act = Act::new(match work.what {
            Due::Rotation(_) => "RotateDue",
            Due::Pruning => "PruneDue",
        });
        let act = act.on_key(work.name.clone());
        self.record(act.clone().intended()).await?;
        let carried = self.carry_through(me, deadline, |view, occasion, entropy| {
            let permit =
                keyclave_policy::built_in(&Principal::Member(me), Action::RotateDue, Some(&work.name))
                    .map_err(|denied| Refused { refusal: denied.into(), reads: Default::default() })?;
            let decision = rotation::decide_due(view, &permit, work, occasion, entropy)?;
            Ok(self.decided(Action::RotateDue, decision))
        });
        match carried.await {
            Ok(settled) => {
                let (Worked::Rotated(version) | Worked::Pruned(version)) = settled.answer;
                self.note(act.of_version(version)).await;
                Ok(())
            }
            Err(failure) => {
                let reason = failure.reason().map_or("OTHER", keyclave_proto::reason::Reason::as_str);
                self.note(act.ended(reason)).await;
                Err(failure)
            }
        }
    }

    /// Takes out of the log's membership whom the ledger does not know any more: a removal that was cut short between
    /// its two steps. A node that joins is in the ledger before it is in the log.
    async fn finish_removals(&self, deadline: Instant) {
        // Read first, so that the view is at least as far.
        let members = self.cluster.applied_members();
        let Some(view) = self.unsealed().ok().and_then(|unsealed| unsealed.keeper.latest().ok()) else {
            return;
        };
        for node in members.into_keys().filter(|node| view.node(*node).is_none()) {
            match self.remove_from_log(node, deadline).await {
                Ok(()) => self.note(Act::new("FinishRemoval").on(Target::Node(node))).await,
                Err(error) => {
                    tracing::info!(%node, %error, "a removed node is still in the log's membership")
                }
            }
        }
    }

    /// Makes voters of those who follow closely. `held_up` is what kept each of the others back the last time, so that
    /// it is said once.
    async fn promote_learners(
        &self,
        held_up: &mut BTreeMap<NodeId, Discriminant<MembershipError>>,
        deadline: Instant,
    ) {
        let members = self.cluster.members().into_iter();
        for (node, _) in members.filter(|(_, (_, role))| *role == Role::Learner) {
            let Err(error) = self.cluster.promote(node, deadline).await else {
                tracing::info!(%node, "a node that joined is a voter");
                held_up.remove(&node);
                self.note(Act::new("Promote").on(Target::Node(node))).await;
                continue;
            };
            let why = std::mem::discriminant(&error);
            if held_up.insert(node, why) != Some(why) {
                tracing::info!(%node, %error, "a node that joined is not a voter yet");
            }
        }
    }
}

fn kind(due: &Due) -> &'static str {
    match due {
        Due::Rotation(_) => "rotation",
        Due::Pruning => "pruning",
    }
}
