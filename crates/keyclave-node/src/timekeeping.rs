//! What an unsealed node knows of the time, and the leader's asking of other clocks; the judgement itself is
//! `keyclave_vault::time`. Asked on keyed connections only: a member without the keyring is believed about nothing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use keyclave_audit::record::Target;
use keyclave_cluster::members::Role;
use keyclave_types::ids::NodeId;
use keyclave_types::time::UnixMillis;
use keyclave_types::transaction::LeaderId;
use keyclave_vault::occasion::Now;
use keyclave_vault::time::{Doubt, Off, Reckoning};
use keyclave_vault::upkeep::Upkeep;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::host::Host;
use crate::member::Member;
use crate::noting::Act;

/// How long the other clocks may take to answer.
const CLOCKS_MS_MAX: u64 = 1_000;
/// Rest between two questions to them.
const ASK_EVERY_MS: u64 = 30_000;
/// The same while the time is in doubt.
const ASK_IN_DOUBT_EVERY_MS: u64 = 2_000;

/// A doubt about the time, since when, and by how much.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeDoubt {
    /// Where.
    pub node: NodeId,
    /// When the doubt began, by the time that it was then.
    pub since: UnixMillis,
    /// By how much that node's clock is ahead, in milliseconds; negative if it is behind.
    pub ahead_ms: i64,
}

/// See the module's page.
pub(crate) struct Timekeeper {
    node: NodeId,
    known: Mutex<Known>,
}

struct Known {
    recorded: UnixMillis,
    recorded_seen: Instant,
    leader: Option<(UnixMillis, Instant)>,
    own_doubt: Option<TimeDoubt>,
    leaders_doubt: Option<TimeDoubt>,
}

impl Timekeeper {
    /// Of `node`, which begins to measure at this moment.
    pub(crate) fn new(node: NodeId) -> Self {
        let known = Known {
            recorded: UnixMillis(0),
            recorded_seen: Instant::now(),
            leader: None,
            own_doubt: None,
            leaders_doubt: None,
        };
        Self { node, known: Mutex::new(known) }
    }

    /// The time that decides, given the ledger's last time as of some view and what this node's clock shows.
    pub(crate) fn now(&self, recorded: Option<UnixMillis>, clock: UnixMillis) -> Now {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.see(recorded);
        let leader = known.leader.map(|(at, heard)| at.after(ms(heard.elapsed())));
        let judged = known.reckoning().judge(clock, leader);
        self.remember(&mut known, judged.err());
        judged.into()
    }

    fn remember(&self, known: &mut Known, doubt: Option<Doubt>) {
        match (doubt, known.own_doubt) {
            (None, None) => {}
            (None, Some(_)) => {
                known.own_doubt = None;
                tracing::info!("the time is trusted again");
            }
            (Some(doubt), before) => {
                let found = TimeDoubt {
                    node: self.node,
                    since: before.map_or(doubt.expected, |before| before.since),
                    ahead_ms: ahead_ms(doubt.off),
                };
                known.own_doubt = Some(found);
                if before.is_none() {
                    tracing::warn!(
                        ahead_ms = found.ahead_ms,
                        "this machine's clock has leapt and no quorum of clocks agrees: rotation and expiry wait"
                    );
                }
            }
        }
    }

    /// What the leader said of the time: what it is, or its doubt.
    pub(crate) fn heard(&self, said: Result<UnixMillis, TimeDoubt>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match said {
            Ok(at) => (known.leader, known.leaders_doubt) = (Some((at, Instant::now())), None),
            Err(doubt) => (known.leader, known.leaders_doubt) = (None, Some(doubt)),
        }
    }

    /// The doubts that this node knows of: its own and, if another node leads, the leader's.
    pub(crate) fn doubts(&self, leader: Option<NodeId>) -> Vec<TimeDoubt> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let leaders =
            known.leaders_doubt.filter(|doubt| Some(doubt.node) == leader && doubt.node != self.node);
        known.own_doubt.into_iter().chain(leaders).collect()
    }

    fn reckoning(&self, recorded: Option<UnixMillis>) -> Reckoning {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.see(recorded);
        known.reckoning()
    }
}

impl Known {
    /// A view may be older than what was seen already.
    fn see(&mut self, recorded: Option<UnixMillis>) {
        if let Some(recorded) = recorded.filter(|recorded| *recorded > self.recorded) {
            (self.recorded, self.recorded_seen) = (recorded, Instant::now());
        }
    }

    fn reckoning(&self) -> Reckoning {
        Reckoning { recorded: self.recorded, passed_ms: ms(self.recorded_seen.elapsed()) }
    }
}

fn ahead_ms(off: Off) -> i64 {
    match off {
        Off::Ahead(ms) => i64::try_from(ms).unwrap_or(i64::MAX),
        Off::Behind(ms) => i64::try_from(ms).map_or(i64::MIN, |ms| -ms),
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// When a leader last asked the others for their clocks, and as which leader.
#[derive(Default)]
pub(crate) struct Asked(Option<(LeaderId, Instant)>);

impl Asked {
    /// Whether this leader has asked since it leads: nothing falls due before.
    pub(crate) fn has(&self, leader: LeaderId) -> bool {
        self.0.is_some_and(|(asked, _)| asked == leader)
    }

    fn is_recent(&self, leader: LeaderId, within_ms: u64) -> bool {
        self.has(leader) && self.0.is_some_and(|(_, at)| at.elapsed() < Duration::from_millis(within_ms))
    }
}

impl<H: Host> Member<H> {
    /// The time as this node judges it at this moment, over its latest view.
    pub fn judged_time(&self) -> Result<Now, Failure> {
        let unsealed = self.unsealed()?;
        Ok(unsealed.now(&*unsealed.keeper.latest()?, self.clock()))
    }

    /// What this node says of the time when it is asked as leader.
    pub(crate) fn said_time(&self) -> Result<Result<UnixMillis, TimeDoubt>, Failure> {
        let judged = self.judged_time()?;
        let own = self.time_doubts().into_iter().find(|doubt| doubt.node == self.local.node);
        Ok(match (judged, own) {
            (Now::Trusted(at), _) => Ok(at),
            (Now::Doubtful(_), Some(doubt)) => Err(doubt),
            (Now::Doubtful(since), None) => Err(TimeDoubt { node: self.local.node, since, ahead_ms: 0 }),
        })
    }

    /// The doubts about the time that this node knows of.
    pub fn time_doubts(&self) -> Vec<TimeDoubt> {
        let leader = self.cluster.leadership().leader;
        self.unsealed().map(|unsealed| unsealed.time.doubts(leader)).unwrap_or_default()
    }

    /// As leader: asks the other voters for their clocks when it is time to, and puts on record what time it is.
    pub(crate) async fn keep_time(&self, leader: LeaderId, asked: &mut Asked, deadline: Instant) {
        if let Err(error) = self.ask_clocks(leader, asked, deadline).await {
            tracing::info!(%error, "the time was not put on record");
        }
    }

    async fn ask_clocks(
        &self,
        leader: LeaderId,
        asked: &mut Asked,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let every_ms = match self.judged_time()? {
            Now::Trusted(_) => ASK_EVERY_MS,
            Now::Doubtful(_) => ASK_IN_DOUBT_EVERY_MS,
        };
        if asked.is_recent(leader, every_ms) {
            return Ok(());
        }
        let (others, voters) = self.other_clocks().await;
        asked.0 = Some((leader, Instant::now()));
        let unsealed = self.unsealed()?;
        let reckoning = unsealed.time.reckoning(unsealed.keeper.latest()?.cluster_time());
        let Some(at) = reckoning.to_record(self.clock(), &others, voters) else { return Ok(()) };
        let leap = reckoning.is_leap(at);
        self.maintain_as_leader(self.local.node, &Upkeep::RecordTime { at }, deadline).await?;
        if leap {
            tracing::warn!(%at, "the time has leapt, and a quorum of clocks agrees");
            self.note(Act::new("AcceptLeap").on(Target::Node(self.local.node))).await;
        }
        Ok(())
    }

    /// What the clocks of the other voters show that answer in time, and how many voters there are.
    async fn other_clocks(&self) -> (Vec<UnixMillis>, usize) {
        let members = self.cluster.members().into_iter();
        let voters: Vec<NodeId> =
            members.filter(|(_, (_, role))| *role == Role::Voter).map(|(node, _)| node).collect();
        let limit = Duration::from_millis(CLOCKS_MS_MAX);
        let others = voters.iter().filter(|node| **node != self.local.node);
        let clocks = join_all(others.map(|node| self.peers.read_clock(*node, limit))).await;
        (clocks.into_iter().flatten().collect(), voters.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: UnixMillis = UnixMillis(1_700_000_000_000);
    const HOUR_MS: u64 = 3_600_000;

    fn keeper() -> Timekeeper {
        Timekeeper::new(NodeId::new(1).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_leap_is_doubted_from_when_it_shows_until_the_clock_is_right_again() {
        let keeper = keeper();
        assert_eq!(keeper.now(Some(T), T), Now::Trusted(T));
        tokio::time::sleep(Duration::from_millis(HOUR_MS)).await;
        assert_eq!(keeper.now(Some(T), T.after(HOUR_MS)), Now::Trusted(T.after(HOUR_MS)));
        let leapt = T.after(3 * HOUR_MS);
        assert_eq!(keeper.now(Some(T), leapt), Now::Doubtful(T.after(HOUR_MS)));
        tokio::time::sleep(Duration::from_millis(5)).await;
        keeper.now(Some(T), leapt.after(5));
        let doubt = TimeDoubt { node: keeper.node, since: T.after(HOUR_MS), ahead_ms: 7_200_000 };
        assert_eq!(keeper.doubts(None), [doubt]);
        let right = T.after(HOUR_MS + 5);
        assert_eq!(keeper.now(Some(T), right), Now::Trusted(right));
        assert!(keeper.doubts(None).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_on_record_ends_the_doubt_and_an_older_view_does_not_bring_it_back() {
        let keeper = keeper();
        let week = T.after(168 * HOUR_MS);
        assert_eq!(keeper.now(Some(T), week), Now::Doubtful(T));
        assert_eq!(keeper.now(Some(week), week), Now::Trusted(week));
        assert_eq!(keeper.now(Some(T), week), Now::Trusted(week), "an older view");
        assert_eq!(keeper.now(None, week), Now::Trusted(week), "a view without");
    }

    #[tokio::test(start_paused = true)]
    async fn without_any_time_on_record_no_clock_decides() {
        assert_eq!(keeper().now(None, T), Now::Doubtful(UnixMillis(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_leaders_clock_goes_on_while_it_is_not_heard_and_its_doubt_is_told_while_it_leads() {
        let keeper = keeper();
        let two = NodeId::new(2).unwrap();
        keeper.heard(Ok(T.after(1_000)));
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(keeper.now(Some(T), T), Now::Trusted(T.after(1_500)));
        let doubt = TimeDoubt { node: two, since: T, ahead_ms: -1 };
        keeper.heard(Err(doubt));
        assert_eq!(keeper.now(Some(T), T), Now::Trusted(T));
        assert_eq!(keeper.doubts(Some(two)), [doubt]);
        assert!(keeper.doubts(NodeId::new(3)).is_empty());
    }
}
