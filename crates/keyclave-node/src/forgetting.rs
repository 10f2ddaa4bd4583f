//! What keeps the ledger from growing with every request: the leader forgets outcomes of old requests that stand in an
//! anchored trail, after it has raised the index below which their ids are refused.

use std::time::Duration;

use keyclave_vault::horizon::Marks;
use keyclave_vault::upkeep::{Upkeep, UpkeepAnswer};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::host::Host;
use crate::member::Member;

/// Between two looks for what may be forgotten.
const EVERY_MS: u64 = 60_000;
/// Transactions that forget, in one round of chores.
const FORGET_PER_ROUND: usize = 4;

/// What a node remembers of this work between two rounds.
pub(crate) struct Forgetting {
    began: Instant,
    marks: Marks,
    /// When the next look is to be.
    look: Instant,
}

impl Forgetting {
    /// From this moment on.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { began: now, marks: Marks::default(), look: now }
    }

    fn passed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl<H: Host> Member<H> {
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
