//! The cluster as one node sees it.

use keyclave_proto::answer::{MemberDescription, MemberRole as Role};
use keyclave_proto::request::Invalid;
use keyclave_proto::v1;
use keyclave_types::ids::{ClusterId, NodeId};
use keyclave_types::member::{Addresses, Member as Identity};
use keyclave_types::time::UnixMillis;

use super::AdmissionPolicy;
use crate::wire;

/// How nodes, leader and time stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterStatus {
    /// The cluster.
    pub cluster: ClusterId,
    /// The asked node.
    pub node: NodeId,
    /// The leader, if one is known.
    pub leader: Option<NodeId>,
    /// The Raft term.
    pub term: u64,
    /// The members, by number.
    pub members: Vec<Member>,
    /// How they stand, by number.
    pub health: Vec<MemberHealth>,
    /// Whether the cluster's time may decide.
    pub clock: ClockState,
    /// The cluster's time.
    pub time: UnixMillis,
    /// The server's version.
    pub server_version: String,
    /// What lets restarted nodes in.
    pub admission: AdmissionPolicy,
    /// Whose clocks are not where the time should be, as far as the asked node knows.
    pub clock_doubts: Vec<ClockDoubt>,
    /// Why the asked node has not yet rewritten its store to be rid of what was destroyed.
    pub rewriting_trouble: Option<String>,
    /// Approvals by others that an act which cannot be taken back needs.
    pub approvals_min: u32,
}

/// A clock that has jumped, and on which no quorum of clocks agrees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockDoubt {
    /// At which node.
    pub node: NodeId,
    /// Since when, by the time that it was then.
    pub since: UnixMillis,
    /// By how many milliseconds it is ahead; negative if it is behind.
    pub ahead_ms: i64,
}

/// One member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its number.
    pub node: NodeId,
    /// Its part in elections.
    pub role: MemberRole,
    /// Its data directory and public key.
    pub identity: Identity,
    /// Where it is reached; none while that is not on record yet.
    pub addresses: Option<Addresses>,
}

/// A member's part in elections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberRole {
    /// It counts.
    Voter,
    /// It follows, and becomes a voter when it has caught up.
    Learner,
}

/// How one member stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberHealth {
    /// Which one.
    pub node: NodeId,
    /// Whether it answers.
    pub reachable: bool,
    /// Whether it is proven to hold the keyring.
    pub keyed: bool,
    /// How far it is known to have the log.
    pub matched_index: Option<u64>,
}

/// Whether the cluster's time may decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockState {
    /// Not known.
    Unknown,
    /// It may.
    Steady,
    /// It jumped; rotation and expiry wait.
    Jumped,
}

impl TryFrom<v1::GetClusterStatusResponse> for ClusterStatus {
    type Error = Invalid;

    fn try_from(response: v1::GetClusterStatusResponse) -> Result<Self, Invalid> {
        let (clock, policy) = (response.clock(), response.admission_policy());
        let members = response.members.into_iter().map(Member::try_from).collect::<Result<_, _>>()?;
        let health = response.health.into_iter().map(MemberHealth::try_from).collect::<Result<_, _>>()?;
        let doubts = response.clock_doubts.into_iter().map(ClockDoubt::try_from).collect::<Result<_, _>>()?;
        Ok(Self {
            cluster: ClusterId::from_bytes(wire::bytes(&response.cluster_id, "cluster_id")?),
            node: wire::node(response.node, "node")?,
            leader: response.leader.map(|number| wire::node(number, "leader")).transpose()?,
            term: response.term,
            members,
            health,
            clock: ClockState::of(clock),
            time: UnixMillis(response.time_unix_ms),
            server_version: response.server_version,
            admission: AdmissionPolicy::of(policy),
            clock_doubts: doubts,
            rewriting_trouble: Some(response.rewriting_trouble).filter(|trouble| !trouble.is_empty()),
            approvals_min: response.approvals_min,
        })
    }
}

impl TryFrom<v1::Member> for Member {
    type Error = Invalid;

    fn try_from(member: v1::Member) -> Result<Self, Invalid> {
        let described = MemberDescription::try_from(member)?;
        let role = match described.role {
            Role::Voter => MemberRole::Voter,
            Role::Learner => MemberRole::Learner,
        };
        Ok(Self { node: described.node, role, identity: described.member, addresses: described.addresses })
    }
}

impl TryFrom<v1::MemberHealth> for MemberHealth {
    type Error = Invalid;

    fn try_from(health: v1::MemberHealth) -> Result<Self, Invalid> {
        Ok(Self {
            node: wire::node(health.node, "health.node")?,
            reachable: health.reachable,
            keyed: health.keyed,
            matched_index: health.matched_index,
        })
    }
}

impl TryFrom<v1::ClockDoubt> for ClockDoubt {
    type Error = Invalid;

    fn try_from(doubt: v1::ClockDoubt) -> Result<Self, Invalid> {
        let v1::ClockDoubt { node, since_unix_ms, ahead_ms } = doubt;
        Ok(Self { node: wire::node(node, "clock_doubts.node")?, since: UnixMillis(since_unix_ms), ahead_ms })
    }
}

impl ClockState {
    fn of(state: v1::ClockState) -> Self {
        match state {
            v1::ClockState::Unspecified => Self::Unknown,
            v1::ClockState::Steady => Self::Steady,
            v1::ClockState::Jumped => Self::Jumped,
        }
    }
}

impl AdmissionPolicy {
    fn of(policy: v1::AdmissionPolicy) -> Self {
        match policy {
            v1::AdmissionPolicy::Unspecified | v1::AdmissionPolicy::Strict => Self::Strict,
            v1::AdmissionPolicy::Members => Self::Members,
            v1::AdmissionPolicy::Off => Self::Off,
        }
    }
}
