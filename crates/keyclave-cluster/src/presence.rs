//! What this node sees of leaders, and what it may be itself: who was heard last and when, whether it is sealed,
//! whether it is handing over, and how often contradicted or disturbed it was.
//!
//! Written by [`crate::receive`] as messages arrive and by the node through [`crate::cluster`]; read by
//! [`crate::leadership`]. Clones share it. Time is tokio's, so a simulator can stop it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyclave_types::ids::NodeId;
use tokio::time::Instant;

use crate::timing::{DISTURBANCE_MS, LEASE_MS};

/// See the module's page.
#[derive(Clone)]
pub(crate) struct Presence(Arc<Mutex<State>>);

struct State {
    sealed: bool,
    may_lead: bool,
    handing_over: bool,
    leader: Option<NodeId>,
    leader_ferries: bool,
    leads_heard: bool,
    outdated: bool,
    heard: Option<Instant>,
    quiet_since: Instant,
    disturbed: Option<Instant>,
    contradictions: u64,
    refused: u64,
}

impl Presence {
    pub(crate) fn new(sealed: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            sealed,
            may_lead: true,
            handing_over: false,
            leader: None,
            leader_ferries: false,
            leads_heard: false,
            outdated: false,
            heard: None,
            quiet_since: Instant::now(),
            disturbed: None,
            contradictions: 0,
            refused: 0,
        })))
    }

    pub(crate) fn sealed(&self) -> bool {
        self.state().sealed
    }

    pub(crate) fn set_sealed(&self, sealed: bool) {
        self.state().sealed = sealed;
    }

    pub(crate) fn may_lead(&self) -> bool {
        self.state().may_lead
    }

    pub(crate) fn set_may_lead(&self, may_lead: bool) {
        self.state().may_lead = may_lead;
    }

    pub(crate) fn handing_over(&self) -> bool {
        self.state().handing_over
    }

    /// False if one is under way already.
    pub(crate) fn begin_handover(&self) -> bool {
        !std::mem::replace(&mut self.state().handing_over, true)
    }

    pub(crate) fn end_handover(&self) {
        self.state().handing_over = false;
    }

    /// A leader's append or snapshot was accepted. It only ferries if it said that it is sealed; that counts once
    /// this node has all that it sent.
    pub(crate) fn heard(&self, leader: NodeId, ferries: bool) {
        let mut state = self.state();
        let now = Instant::now();
        state.leader = Some(leader);
        state.leader_ferries = ferries;
        state.heard = Some(now);
        state.outdated = false;
        state.quiet_since = now;
    }

    /// A vote was given away: its receiver gets time to win.
    pub(crate) fn granted(&self) {
        self.state().quiet_since = Instant::now();
    }

    /// This node leads itself. Deposed, it waits from then on like every other, or a ferry, which has heard nobody for
    /// long, would stand again before the unsealed node that deposed it may.
    pub(crate) fn leads(&self) {
        self.state().quiet_since = Instant::now();
    }

    /// A voter refused because its log reaches further: this node cannot win against it, and should not keep trying.
    pub(crate) fn set_outdated(&self) {
        self.state().outdated = true;
    }

    pub(crate) fn outdated(&self) -> bool {
        self.state().outdated
    }

    /// How long nobody has led or may be about to.
    pub(crate) fn quiet(&self) -> Duration {
        self.state().quiet_since.elapsed()
    }

    /// The leader last heard, and whether it counts as living.
    pub(crate) fn leader(&self) -> (Option<NodeId>, bool) {
        let state = self.state();
        let live = state.heard.is_some_and(|heard| heard.elapsed() < Duration::from_millis(LEASE_MS));
        (state.leader, live)
    }

    /// Whether the leader last heard is sealed, and this node has what it has.
    pub(crate) fn leader_ferries(&self) -> bool {
        self.state().leader_ferries
    }

    /// Whether this node leads and a quorum has answered it lately.
    pub(crate) fn leads_heard(&self) -> bool {
        self.state().leads_heard
    }

    pub(crate) fn set_leads_heard(&self, leads_heard: bool) {
        self.state().leads_heard = leads_heard;
    }

    /// Whether one more higher vote from a peer without the keyring may cost an election: once a minute.
    pub(crate) fn may_disturb(&self) -> bool {
        let mut state = self.state();
        let recent = state.disturbed.is_some_and(|at| at.elapsed() < Duration::from_millis(DISTURBANCE_MS));
        if !recent {
            state.disturbed = Some(Instant::now());
        }
        !recent
    }

    pub(crate) fn contradicted(&self) {
        self.state().contradictions += 1;
    }

    pub(crate) fn contradictions(&self) -> u64 {
        self.state().contradictions
    }

    pub(crate) fn refused(&self) {
        self.state().refused += 1;
    }

    pub(crate) fn refusals(&self) -> u64 {
        self.state().refused
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole when the lock is released, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
