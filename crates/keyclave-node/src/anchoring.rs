//! What shows that a trail was cut or rewritten: each node puts the durable head of its audit chain, and of the tree
//! over it, on record in the ledger, and compares its own trail with what stands there.
//!
//! A trail that does not hold what was anchored raises an alarm, and its node serves nobody until a person has
//! acknowledged it. Called by the chores of an unsealed node.

use std::time::Duration;

use keyclave_audit::record::{Head, Target};
use keyclave_audit::search::{Filter, SearchError, search};
use keyclave_audit::segment_key::NoKeys;
use keyclave_proto::reason::Reason;
use keyclave_vault::records::cluster::{AnchoredTree, AuditAnchor};
use keyclave_vault::upkeep::Upkeep;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::host::Host;
use crate::member::Member;
use crate::noting::Act;

/// Between two anchors of one node that records little.
const EVERY_MS: u64 = 10_000;
/// Records after which the next anchor does not wait so long.
const RECORDS_MAX: u64 = 1_000;
/// Between two anchors of one node, whatever it records: each is a write that a quorum keeps.
const REST_MS: u64 = 1_000;

/// What a node remembers of this work between two rounds.
pub(crate) struct Anchoring {
    /// When the next anchor is to be, and not before when.
    due: Instant,
    rest: Instant,
    /// The head that was anchored last.
    anchored: u64,
    /// Whether the trail that this process has found was compared with what is on record.
    compared: bool,
}

impl Anchoring {
    /// From this moment on.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { due: now, rest: now, anchored: 0, compared: false }
    }
}

impl<H: Host> Member<H> {
    /// Puts the head of this node's trail on record every ten seconds or thousand records, if it has grown.
    pub(crate) async fn anchor_trail(&self, work: &mut Anchoring, deadline: Instant) {
        let (now, status) = (Instant::now(), self.trail.status());
        let many = status.head.sequence.saturating_sub(work.anchored) >= RECORDS_MAX;
        if now < work.rest || (now < work.due && !many) || status.alarm {
            return;
        }
        work.rest = now + Duration::from_millis(REST_MS);
        work.due = now + Duration::from_millis(EVERY_MS);
        match self.put_anchor(work, deadline).await {
            Ok(()) => {}
            Err(failure) if failure.reason() == Some(Reason::AnchorBackwards) => {
                self.alarm("its end, which was anchored, is missing or was rewritten").await;
            }
            Err(failure) => tracing::info!(%failure, "the trail's head is not on record yet"),
        }
    }

    async fn put_anchor(&self, work: &mut Anchoring, deadline: Instant) -> Result<(), Failure> {
        let (node, incarnation) = (self.local.node, self.local.incarnation);
        let view = self.unsealed()?.keeper.latest()?;
        if !view.has_trail_key() {
            self.maintain(Upkeep::CreateTrailKey, deadline).await?;
        }
        let known = view.anchor(node).filter(|anchor| anchor.incarnation == incarnation).copied();
        if !work.compared {
            let holds = match known {
                Some(known) => self.trail_holds(known).await?,
                None => true,
            };
            if !holds {
                self.alarm("it does not hold the record that was anchored").await;
                return Ok(());
            }
            work.compared = true;
        }
        let status = self.trail.status();
        let Head { sequence, hash } = status.head;
        work.anchored = known.map_or(0, |anchor| anchor.sequence);
        // At the same record the hash may be of a segment's header that came after it.
        if work.anchored == sequence {
            return Ok(());
        }
        let tree = status.tree.map(|tree| AnchoredTree {
            begins: tree.begins.0,
            leaves: tree.leaves,
            root: tree.root,
        });
        self.maintain(Upkeep::PutAnchor { node, incarnation, sequence, hash, tree }, deadline).await?;
        work.anchored = sequence;
        Ok(())
    }

    /// Whether this node's trail has the anchored record, with its hash. A trail that was cut below it may have grown
    /// beyond it since, while the node was sealed.
    async fn trail_holds(&self, anchor: AuditAnchor) -> Result<bool, Failure> {
        let (done, is_done) = oneshot::channel();
        let files = self.host.trail_files();
        self.host.run_blocking(Box::new(move || {
            let before = Filter { after: anchor.sequence.saturating_sub(1), ..Filter::default() };
            let found =
                files.map_err(SearchError::List).and_then(|files| search(&files, &NoKeys, &before, 1));
            // Whoever asked may be gone with the member.
            let _ =
                done.send(found.map(|page| page.records.first().map(|first| (first.sequence, first.hash))));
        }));
        match is_done.await {
            Ok(Ok(found)) => Ok(found == Some((anchor.sequence, anchor.hash))),
            Ok(Err(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the trail cannot be read");
                Err(Failure::Behind)
            }
            Err(_) => Err(Failure::Behind),
        }
    }

    /// Says, here, in the trail, and to whoever asks from now on, that this node's trail was tampered with.
    async fn alarm(&self, how: &'static str) {
        tracing::error!(
            how,
            "this node's audit trail was tampered with: it serves nobody until that is acknowledged"
        );
        if let Err(error) = self.trail.raise_alarm(format!("{how}\n")).await {
            tracing::error!(%error, "the alarm cannot be kept");
        }
        let act = Act::new("AnchorTrail").on(Target::Node(self.local.node));
        self.note(act.ended(Reason::AnchorBackwards.as_str())).await;
    }
}
