//! Who leads, and whether this node should stand.
//!
//! openraft's own election timer is off: it knows neither sealed nodes nor the question that comes before a
//! campaign. This room's timer keeps the same times, and a node stands only after a quorum of voters, itself
//! counted, sees no live leader. A sealed node waits longer, so that it leads only when nobody else does; an
//! unsealed one takes over from a sealed leader.
//!
//! Run by [`crate::cluster`]. Deliberately absent: handing over ([`crate::handover`]).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use keyclave_types::ids::NodeId;
use keyclave_types::transaction::LeaderId;
use openraft::ServerState;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::ground::Ground;
use crate::peer::{LeaderSeen, RaftTransport};
use crate::presence::Presence;
use crate::raft::{Raft, is_quorum, leader_of};
use crate::runtime::Dice;
use crate::timing::{
    ELECTION_MS_MAX, ELECTION_MS_MIN, FERRY_AFTER_MS, LEADER_SEEN_MS, LEASE_MS, OUTDATED_MS,
    QUORUM_SILENT_MS, TAKE_OVER_EVERY_MS, TICK_MS,
};

/// Who leads, as far as this node knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Leadership {
    /// The leader of the current term.
    pub leader: Option<NodeId>,
    /// The term of this node's vote.
    pub term: u64,
    /// As whom this node may decide: it leads, is unsealed, has applied an entry of its own term, and a quorum has
    /// answered it lately.
    pub mine: Option<LeaderId>,
    /// This node leads and is handing over: who waits a second will find another leader.
    pub handing_over: bool,
}

/// Watches openraft and stands for election.
pub(crate) struct Driver {
    pub(crate) me: NodeId,
    pub(crate) raft: Raft,
    pub(crate) ground: Ground,
    pub(crate) presence: Presence,
    pub(crate) transport: Arc<dyn RaftTransport>,
    pub(crate) dice: Dice,
    pub(crate) published: watch::Sender<Leadership>,
}

/// What was last seen of openraft, and what was last tried.
struct Watched {
    metrics_at: Instant,
    jitter: Duration,
    tried: Option<Instant>,
    took_over: Option<Instant>,
}

impl Driver {
    /// Runs until openraft stops.
    pub(crate) async fn run(self) {
        let mut metrics = self.raft.metrics();
        let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let now = Instant::now();
        let mut watched =
            Watched { metrics_at: now, jitter: self.draw_jitter(), tried: None, took_over: None };
        loop {
            tokio::select! {
                biased;
                changed = metrics.changed() => {
                    metrics.borrow_and_update();
                    watched.metrics_at = Instant::now();
                    if changed.is_err() {
                        return;
                    }
                }
                _ = tick.tick() => self.stand_if_due(&mut watched).await,
            }
            if metrics.borrow().running_state.is_err() {
                self.publish(Leadership::default());
                return;
            }
            self.publish(self.observe(&watched));
        }
    }

    fn publish(&self, leadership: Leadership) {
        self.published.send_if_modified(|published| {
            let changed = *published != leadership;
            *published = leadership;
            changed
        });
    }

    fn observe(&self, watched: &Watched) -> Leadership {
        let receiver = self.raft.metrics();
        let metrics = receiver.borrow();
        let leads = metrics.state == ServerState::Leader && metrics.vote.committed;
        let own = leads.then_some(LeaderId { term: metrics.current_term, node: self.me.get() });
        let begun = metrics.last_applied.is_some_and(|applied| Some(leader_of(&applied)) == own);
        let silent_ms = metrics.millis_since_quorum_ack.map(|ms| {
            let since = u64::try_from(watched.metrics_at.elapsed().as_millis()).unwrap_or(u64::MAX);
            ms.saturating_add(since)
        });
        // A single voter is its own quorum and its metrics rest while nothing happens.
        let alone = is_quorum(self.ground.membership().membership(), &BTreeSet::from([self.me.get()]));
        let heard = alone || silent_ms.is_some_and(|ms| ms < QUORUM_SILENT_MS);
        self.presence.set_leads_heard(leads && heard);
        let handing_over = leads && self.presence.handing_over();
        let may_decide = begun && heard && !handing_over && !self.presence.sealed();
        Leadership {
            leader: metrics.current_leader.and_then(NodeId::new),
            term: metrics.current_term,
            mine: own.filter(|_| may_decide),
            handing_over,
        }
    }

    async fn stand_if_due(&self, watched: &mut Watched) {
        let state = self.raft.metrics().borrow().state;
        let membership = self.ground.membership();
        let voter = membership.voter_ids().any(|voter| voter == self.me.get());
        if state == ServerState::Leader {
            self.presence.leads();
            return;
        }
        if !voter || !self.presence.may_lead() {
            return;
        }
        if self.may_take_over(watched) {
            watched.took_over = Some(Instant::now());
            self.stand().await;
            return;
        }
        let alone = is_quorum(membership.membership(), &BTreeSet::from([self.me.get()]));
        let wait = if alone { Duration::ZERO } else { self.patience(watched) };
        let tried = watched.tried.map(|at| at.elapsed());
        if self.presence.quiet() < wait || tried.is_some_and(|since| since < self.between(watched)) {
            return;
        }
        watched.tried = Some(Instant::now());
        watched.jitter = self.draw_jitter();
        if alone || self.nobody_leads().await {
            self.stand().await;
        }
    }

    /// Between two attempts.
    fn between(&self, watched: &Watched) -> Duration {
        let longer = if self.presence.outdated() { OUTDATED_MS } else { 0 };
        watched.jitter + Duration::from_millis(longer)
    }

    /// Without a leader, before the first attempt.
    fn patience(&self, watched: &Watched) -> Duration {
        let lease = Duration::from_millis(LEASE_MS) + self.between(watched);
        if self.presence.sealed() {
            lease.max(Duration::from_millis(FERRY_AFTER_MS) + watched.jitter)
        } else {
            lease
        }
    }

    fn draw_jitter(&self) -> Duration {
        self.dice.between_ms(ELECTION_MS_MIN, ELECTION_MS_MAX)
    }

    /// An unsealed node does not wait for a sealed leader to fail: the campaign raises the term, which ends the
    /// ferry, and the next one wins.
    fn may_take_over(&self, watched: &Watched) -> bool {
        let (leader, live) = self.presence.leader();
        let every = Duration::from_millis(TAKE_OVER_EVERY_MS);
        let recently = watched.took_over.is_some_and(|at| at.elapsed() < every);
        let ferried = leader.is_some() && live && self.presence.leader_ferries();
        ferried && !self.presence.sealed() && !recently
    }

    async fn stand(&self) {
        if let Err(error) = self.raft.trigger().elect().await {
            tracing::debug!(%error, "the log has stopped; no campaign");
        }
    }

    /// Whether a quorum of voters, this node counted, sees no live leader.
    async fn nobody_leads(&self) -> bool {
        let membership = self.ground.membership();
        let limit = Duration::from_millis(LEADER_SEEN_MS);
        let mut quiet = BTreeSet::from([self.me.get()]);
        let others: BTreeSet<NodeId> = membership.voter_ids().filter_map(NodeId::new).collect();
        let mut asked: FuturesUnordered<_> = others
            .into_iter()
            .filter(|voter| *voter != self.me)
            .map(|voter| {
                let call = self.transport.leader_seen(voter, limit);
                async move { (voter, call.await) }
            })
            .collect();
        while let Some((voter, seen)) = asked.next().await {
            if let Ok(LeaderSeen { live: false, .. }) = seen {
                quiet.insert(voter.get());
                if is_quorum(membership.membership(), &quiet) {
                    return true;
                }
            }
        }
        false
    }
}

/// What this node answers to who asks for its leader. One that hands over, or that no quorum hears, is none.
pub(crate) fn leader_seen(
    me: NodeId,
    presence: &Presence,
    ground: &Ground,
    leadership: &Leadership,
) -> LeaderSeen {
    let term = ground.vote().map_or(0, |vote| vote.leader_id.term);
    if leadership.leader == Some(me) {
        let live = presence.leads_heard() && !presence.handing_over();
        return LeaderSeen { live, leader: Some(me), term };
    }
    let (leader, live) = presence.leader();
    LeaderSeen { live, leader, term }
}
