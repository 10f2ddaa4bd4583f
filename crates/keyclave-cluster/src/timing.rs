//! Every time of this room's, in one place. None is configurable: what suits one network and breaks another would
//! be found out in an outage.

/// Between a leader's heartbeats; also how long one append may take.
pub(crate) const HEARTBEAT_MS: u64 = 250;
/// Least wait for a new leader after the lease has ended.
pub(crate) const ELECTION_MS_MIN: u64 = 600;
/// Most wait for a new leader after the lease has ended; openraft's lease too.
pub(crate) const ELECTION_MS_MAX: u64 = 1_000;
/// How long a follower gives its vote to nobody after it heard a leader.
pub(crate) const LEASE_MS: u64 = ELECTION_MS_MAX;
/// How much longer a node waits that knows of a longer log: whoever has that one must get its turn.
pub(crate) const OUTDATED_MS: u64 = 2 * ELECTION_MS_MAX;
/// How long there must be no leader before a sealed node stands, to ferry.
pub(crate) const FERRY_AFTER_MS: u64 = 3_000;
/// A leader without a quorum's answer for this long refuses work.
pub(crate) const QUORUM_SILENT_MS: u64 = 2 * ELECTION_MS_MAX;
/// How long a handover's target tries to win.
pub(crate) const HANDOVER_MS: u64 = 2 * ELECTION_MS_MAX;
/// Between a target's attempts.
pub(crate) const CAMPAIGN_EVERY_MS: u64 = 150;
/// Between an unsealed node's attempts to take over from a sealed leader.
pub(crate) const TAKE_OVER_EVERY_MS: u64 = 5_000;
/// Between two elections that peers without the keyring may cause.
pub(crate) const DISTURBANCE_MS: u64 = 60_000;
/// How often a node looks whether it should stand.
pub(crate) const TICK_MS: u64 = 50;
/// How long a peer may take to say what leader it sees.
pub(crate) const LEADER_SEEN_MS: u64 = 200;
/// How long replication waits after it found a peer unreachable.
pub(crate) const BACK_OFF_MS: u64 = 200;
/// How long one step of sending a snapshot may take.
pub(crate) const SNAPSHOT_STEP_MS: u64 = 10_000;
/// A sync that takes longer is an alarm: an append may take no longer than a heartbeat.
pub(crate) const SYNC_SLOW_MS: u64 = 200;
/// How long a change of membership may stand half-way before the leader finishes it.
pub(crate) const HALF_WAY_MS: u64 = 3_000;
