//! What a node does once it is unsealed, through the ledger: it lets its trail seal bodies, and records what lets a
//! restarted process of it come back by itself.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keyclave_audit::record::Target;
use keyclave_audit::segment_key::{SegmentKey, SegmentKeyId};
use keyclave_crypto::secret::Secret;
use keyclave_crypto::sign::SigningKey;
use keyclave_policy::{Action, Principal};
use keyclave_proto::reason::Reason;
use keyclave_proto::share_terms::Vouched;
use keyclave_vault::refusal::Refusal;
use keyclave_vault::upkeep::Upkeep;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::host::Host;
use crate::member::Member;
use crate::members::Marked;
use crate::noting::Act;
use crate::unsealing::By;

/// How long one attempt may take before it is begun again.
const ATTEMPT_MS_MAX: u64 = 10_000;
/// Rest between two looks at what the leader has written and this node has not applied yet.
const CATCH_UP_REST_MS: u64 = 10;
/// Rest after a failed attempt.
const REST_MS: u64 = 500;
/// How long being a member is enough after an unseal that said so.
const MEMBERS_MS: u64 = 10 * 60 * 1_000;

/// Repeats each step until it is done, or the node is sealed again.
pub(crate) async fn settle_in<H: Host>(member: Weak<Member<H>>, by: By) {
    for step in
        [Step::Marks, Step::Vouched, Step::SegmentKey, Step::Record, Step::Certificate, Step::RestartKey]
    {
        loop {
            let Some(member) = member.upgrade() else { return };
            if member.unsealed().is_err() || member.is_withdrawn() {
                return;
            }
            let deadline = Instant::now() + Duration::from_millis(ATTEMPT_MS_MAX);
            let done = match step {
                Step::Marks => member.lift_marks(&by, deadline).await,
                Step::Vouched => member.vouch_for_agreed(&by, deadline).await,
                Step::Record => {
                    let operation = match by {
                        By::Ceremony(_) => "UnsealByShares",
                        By::Peer => "UnsealByPeer",
                    };
                    member.note(Act::new(operation).on(Target::Node(member.local.node))).await;
                    Ok(())
                }
                Step::SegmentKey => member.seal_trail(deadline).await,
                Step::Certificate => member.keep_certificate(deadline).await,
                Step::RestartKey => member.record_restart_key(deadline).await,
            };
            match done {
                Ok(()) => break,
                Err(error) => tracing::info!(%error, ?step, "not done yet"),
            }
            drop(member);
            tokio::time::sleep(Duration::from_millis(REST_MS)).await;
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Marks,
    Vouched,
    SegmentKey,
    Record,
    Certificate,
    RestartKey,
}

impl<H: Host> Member<H> {
    /// Lifts what an operator's seal has marked, if a ceremony has unsealed this node: its own mark, those of the nodes
    /// that the ceremony vouches for, and the cluster's. It serves only afterwards.
    async fn lift_marks(&self, by: &By, deadline: Instant) -> Result<(), Failure> {
        let unsealed = self.unsealed()?;
        let mut nodes = vec![self.local.node];
        match by {
            By::Ceremony(agreed) => nodes.extend(agreed.vouched.iter().map(|vouched| vouched.node)),
            By::Peer => {}
        }
        let others_marked = nodes.iter().any(|node| self.seal_mark(*node) == Some(Marked::Node));
        if !unsealed.marked.load(Ordering::Acquire) && !others_marked {
            return Ok(());
        }
        let upkeep = Upkeep::LiftMarks { nodes, cluster: true };
        self.maintain(upkeep, deadline).await?;
        // Another node may have decided it. What was lifted is folded here first; a mark that shows afterwards is
        // another seal, and holds.
        let confirmed = unsealed.confirmer.begin().confirmed().await?;
        let reached = self.cluster.wait_applied(confirmed.index, deadline).await;
        reached.map_err(|_| Failure::Behind)?;
        unsealed.keeper.latest()?;
        unsealed.marked.store(false, Ordering::Release);
        tracing::info!("the operator's seal is lifted");
        Ok(())
    }

    /// Lets in whom the shares of a ceremony vouch for. What the cluster's policy does not allow, or a seal that came
    /// meanwhile, is said and left.
    async fn vouch_for_agreed(&self, by: &By, deadline: Instant) -> Result<(), Failure> {
        let By::Ceremony(agreed) = by else { return Ok(()) };
        let others = agreed.vouched.iter().filter(|vouched| vouched.node != self.local.node);
        let mut wanted: Vec<_> = others
            .map(|Vouched { node, code }| {
                let act = Act::new("VouchByShare").on(Target::Node(*node));
                (act, Upkeep::Vouch { node: *node, code: code.clone() })
            })
            .collect();
        if agreed.admit_all_members {
            let until = self.clock().after(MEMBERS_MS);
            wanted.push((Act::new("AdmitAllMembers").on(Target::Cluster), Upkeep::OpenToMembers { until }));
        }
        for (act, upkeep) in wanted {
            match self.maintain(upkeep, deadline).await {
                Ok(_) => self.note(act).await,
                Err(failure @ (Failure::Refused(_) | Failure::Elsewhere(_))) if !failure.may_pass() => {
                    tracing::warn!(%failure, "what the shares vouch for is not let in");
                    self.note(act.ended(failure.reason().map_or("OTHER", Reason::as_str))).await;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Gives the trail the key of its open segment, or a fresh one made through the ledger.
    pub(crate) async fn seal_trail(&self, deadline: Instant) -> Result<(), Failure> {
        let status = self.trail.status();
        if status.sealing && status.spare {
            return Ok(());
        }
        let id = match status.segment_key {
            Some(id) if !status.sealing && self.segment_key(id)?.is_some() => id,
            Some(_) | None => {
                let id = SegmentKeyId(self.entropy().array());
                self.maintain(Upkeep::CreateSegmentKey { segment: id.0 }, deadline).await?;
                id
            }
        };
        // The leader has applied it; this node may be a moment behind.
        while Instant::now() < deadline {
            if let Some(secret) = self.segment_key(id)? {
                self.trail.give_key(SegmentKey { id, secret }).await?;
                return self.until_sealing(status.sealing, deadline).await;
            }
            tokio::time::sleep(Duration::from_millis(CATCH_UP_REST_MS)).await;
        }
        Err(Failure::Behind)
    }

    /// Waits until the trail has taken a key, so that a blocked disk is not given one key after another.
    async fn until_sealing(&self, spare: bool, deadline: Instant) -> Result<(), Failure> {
        let mut status = self.trail.watch();
        let taken =
            status.wait_for(|status| status.stopped.is_some() || status.sealing && (status.spare || !spare));
        tokio::time::timeout_at(deadline, taken).await.map(|_| ()).map_err(|_| Failure::Deadline)
    }

    /// The key of one segment, if the ledger has it.
    pub(crate) fn segment_key(&self, id: SegmentKeyId) -> Result<Option<Secret<32>>, Failure> {
        let view = self.unsealed()?.keeper.latest()?;
        let permit = keyclave_policy::built_in(&Principal::Member(self.local.node), Action::Housekeep, None)
            .map_err(Refusal::from)?;
        Ok(view.segment_key(&permit, id.0))
    }

    /// Records a fresh restart key and keeps its private half where a restarted process finds it.
    async fn record_restart_key(&self, deadline: Instant) -> Result<(), Failure> {
        let runtime = &self.world.runtime;
        if let Err(reason) = runtime.usable() {
            tracing::warn!(%reason, "a restarted process of this node will need `operator admit` or a share");
            return Ok(());
        }
        let seed = Secret::<32>::from_slice("restart key", &self.world.entropy.seed());
        let Some(seed) = seed else { return Ok(()) };
        if !runtime.store(seed.expose()) {
            tracing::warn!("the restart key could not be stored in the runtime directory");
            return Ok(());
        }
        let public = SigningKey::from_seed(seed).public();
        let upkeep =
            Upkeep::PutRestartKey { node: self.local.node, incarnation: self.local.incarnation, public };
        match self.maintain(upkeep, deadline).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.reason() == Some(Reason::NotAdmitted) => {
                runtime.wipe();
                tracing::info!("no process of this cluster comes back by itself: each is given shares");
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }
}
