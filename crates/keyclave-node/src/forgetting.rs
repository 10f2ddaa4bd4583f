//! What keeps the ledger from growing with every request, and what shows that a trail was cut: each node puts the
//! durable head of its audit chain on record, and the leader forgets outcomes of old requests that stand in such a
//! trail, after it has raised the index below which their ids are refused.

use std::time::Duration;

use keyclave_audit::record::Target;
use keyclave_proto::reason::Reason;
use keyclave_vault::horizon::Marks;
use keyclave_vault::upkeep::{Upkeep, UpkeepAnswer};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::host::Host;
use crate::member::Member;
use crate::noting::Act;

/// Between two anchors of one node, and between two looks for what may be forgotten.
const EVERY_MS: u64 = 60_000;
/// Transactions that forget, in one round of chores.
const FORGET_PER_ROUND: usize = 4;

/// What a node remembers of this work between two rounds.
pub(crate) struct Forgetting {
    began: Instant,
    marks: Marks,
    /// When the next anchor, and the next look, are to be.
    anchor: Instant,
    look: Instant,
    /// The anchor on record is of a longer trail than this node has; said once.
    cut: bool,
}

impl Forgetting {
    /// From this moment on.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { began: now, marks: Marks::default(), anchor: now, look: now, cut: false }
    }

    fn passed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl<H: Host> Member<H> {
    /// Puts the head of this node's trail on record once a minute, if it has grown.
    pub(crate) async fn anchor_trail(&self, work: &mut Forgetting, deadline: Instant) {
        if Instant::now() < work.anchor {
            return;
        }
        work.anchor = Instant::now() + Duration::from_millis(EVERY_MS);
        match self.put_anchor(deadline).await {
            Ok(()) => {}
            Err(failure) if failure.reason() == Some(Reason::AnchorBackwards) => {
                if !work.cut {
                    work.cut = true;
                    tracing::error!(%failure, "this node's audit trail was cut: its end is missing");
                    let act = Act::new("AnchorTrail").on(Target::Node(self.local.node));
                    self.note(act.ended(Reason::AnchorBackwards.as_str())).await;
                }
            }
            Err(failure) => tracing::info!(%failure, "the trail's head is not on record yet"),
        }
    }

    async fn put_anchor(&self, deadline: Instant) -> Result<(), Failure> {
        let head = self.trail.status().head;
        let (node, incarnation) = (self.local.node, self.local.incarnation);
        let view = self.unsealed()?.keeper.latest()?;
        let known = view.anchor(node).filter(|anchor| anchor.incarnation == incarnation);
        // At the same record the hash may be of a segment's header that came after it.
        if known.map_or(0, |anchor| anchor.sequence) == head.sequence {
            return Ok(());
        }
        let upkeep = Upkeep::PutAnchor { node, incarnation, sequence: head.sequence, hash: head.hash };
        self.maintain(upkeep, deadline).await.map(|_| ())
    }

    /// Marks how far the ledger is; as leader also forgets what is old enough.
    pub(crate) async fn forget_requests(&self, work: &mut Forgetting, leads: bool, deadline: Instant) {
        let passed_ms = work.passed_ms();
        work.marks.pass(passed_ms, self.ledger.applied_index());
        if !leads || Instant::now() < work.look {
            return;
        }
        match self.forget_some(work.marks.horizon(passed_ms), deadline).await {
            // More are left for the next round.
            Ok(true) => {}
            Ok(false) => work.look = Instant::now() + Duration::from_millis(EVERY_MS),
            Err(error) => {
                work.look = Instant::now() + Duration::from_millis(EVERY_MS);
                tracing::info!(%error, "old requests were not forgotten yet");
            }
        }
    }

    /// Whether more may be left.
    async fn forget_some(&self, horizon: Option<u64>, deadline: Instant) -> Result<bool, Failure> {
        let me = self.local.node;
        let recorded = self.unsealed()?.keeper.latest()?.horizon();
        if let Some(index) = horizon.filter(|index| *index > recorded) {
            self.maintain_as_leader(me, &Upkeep::RaiseHorizon { index }, deadline).await?;
        }
        for _ in 0..FORGET_PER_ROUND {
            let forgotten = self.maintain_as_leader(me, &Upkeep::ForgetRequests, deadline).await?;
            if matches!(forgotten, UpkeepAnswer::Forgotten { requests: 0 }) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
