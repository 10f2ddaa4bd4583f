//! What runs while a node is unsealed: it keeps its view at the ledger's heels and its trail in keys, and as leader it
//! rotates what is due and makes caught-up learners voters.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keyclave_audit::record::Target;
use keyclave_cluster::members::Role;
use keyclave_policy::{Action, Principal};
use keyclave_vault::refusal::{Refusal, Refused};
use keyclave_vault::rotation::{self, Due, DueWork, Worked};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::host::Host;
use crate::member::Member;
use crate::noting::Act;
use crate::unsealed::Unsealed;

/// How often there is work to look for; what is due is done within a second.
const ROUND_MS: u64 = 250;
/// Due rotations done in one round.
const DUE_PER_ROUND: usize = 64;
/// How long one piece of work may take.
const WORK_MS_MAX: u64 = 5_000;
/// Entries that a learner may lack to become a voter.
const LAG_ENTRIES_MAX: u64 = 64;

/// Works until the node is sealed or gone.
pub(crate) async fn work<H: Host>(member: Weak<Member<H>>) {
    loop {
        tokio::time::sleep(Duration::from_millis(ROUND_MS)).await;
        let Some(member) = member.upgrade() else { return };
        if member.unsealed().is_err() {
            return;
        }
        if member.must_seal() {
            member.note(Act::new("SealByMark").on(Target::Node(member.local.node))).await;
            return member.seal_here().await;
        }
        let deadline = Instant::now() + Duration::from_millis(WORK_MS_MAX);
        if let Err(error) = member.keep_up(deadline).await {
            tracing::debug!(%error, "chores were cut short");
        }
        if member.cluster.leadership().mine.is_some() {
            member.rotate_what_is_due(deadline).await;
            member.promote_learners(deadline).await;
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
        self.keep_certificate(deadline).await?;
        let status = self.trail.status();
        if status.sealing && !status.spare { self.seal_trail(deadline).await } else { Ok(()) }
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
        let view = self.unsealed()?.keeper.latest()?;
        let now = Unsealed::<H::Disk>::now(&view, self.clock());
        Ok(match now {
            keyclave_vault::occasion::Now::Trusted(now) => rotation::due(&view, now, DUE_PER_ROUND),
            keyclave_vault::occasion::Now::Doubtful(_) => Vec::new(),
        })
    }

    async fn do_due(&self, work: &DueWork, deadline: Instant) -> Result<(), Failure> {
        let me = self.local.node;
        let carried = self.carry_through(me, deadline, |view, occasion, entropy| {
            let permit = keyclave_policy::decide(&Principal::Member(me), Action::RotateDue, Some(&work.name))
                .map_err(|denied| Refused { refusal: denied.into(), reads: Default::default() })?;
            rotation::decide_due(view, &permit, work, occasion, entropy)
        });
        let (operation, version) = match carried.await?.answer {
            Worked::Rotated(version) => ("RotateDue", version),
            Worked::Pruned(version) => ("PruneDue", version),
        };
        self.note(Act::new(operation).on_key(work.name.clone(), version)).await;
        Ok(())
    }

    async fn promote_learners(&self, deadline: Instant) {
        for (node, (_, role)) in self.cluster.members() {
            if role == Role::Learner && self.cluster.lag(node) <= LAG_ENTRIES_MAX {
                match self.cluster.promote(node, deadline).await {
                    Ok(()) => {
                        tracing::info!(%node, "a node that joined is a voter");
                        self.note(Act::new("Promote").on(Target::Node(node))).await;
                    }
                    Err(error) => tracing::info!(%node, %error, "a node that joined is not a voter yet"),
                }
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
