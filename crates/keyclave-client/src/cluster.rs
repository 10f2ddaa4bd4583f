//! The cluster: its beginning, its members, how it stands.

mod join;
mod status;

pub use join::{JoinNode, JoinTicket, JoinTicketError, Joined};
pub use status::{ClockDoubt, ClockState, ClusterStatus, Member, MemberHealth, MemberRole};

use keyclave_proto::request::Invalid;
use keyclave_proto::v1;
use keyclave_types::ids::{ClusterId, NodeId};
use keyclave_types::member::Addresses;
use keyclave_types::seal::Threshold;
use keyclave_types::time::UnixMillis;
use zeroize::Zeroizing;

use crate::client::{Answer, Client, answer};
use crate::error::{OnceError, ReadError, WriteError};
use crate::wire;

/// What lets a restarted node fetch the root from its peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AdmissionPolicy {
    /// A restart key, a share given on the machine, or an operator's admission.
    #[default]
    Strict,
    /// Also any current member, for ten minutes after an unseal that says so.
    Members,
    /// Nothing: shares for each node.
    Off,
}

/// Everything that `init` shows exactly once.
pub struct NewCluster {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node's number.
    pub node: NodeId,
    /// The shares as text, one per holder.
    pub shares: Vec<Zeroizing<String>>,
    /// The first token: it may do everything.
    pub root_token: Zeroizing<String>,
    /// The cluster's CA, PEM.
    pub ca_pem: String,
}

/// A join token, shown once, with its CA's fingerprint.
pub struct NewJoinToken {
    /// The text for the joining node.
    pub text: Zeroizing<String>,
    /// When it ends.
    pub expires_at: UnixMillis,
}

impl Client {
    /// Makes a cluster out of the node on this machine. Only over the operator's socket.
    pub async fn init(
        &self,
        threshold: Threshold,
        admission: AdmissionPolicy,
    ) -> Result<Answer<NewCluster>, OnceError> {
        let request = v1::InitRequest {
            threshold: threshold.needed().into(),
            shares: threshold.shares().into(),
            admission_policy: v1::AdmissionPolicy::from(admission).into(),
        };
        let send = |channel, request| async move { wire::cluster(channel).init(request).await };
        Ok(answer(self.once(request, send).await?, NewCluster::try_from)?)
    }

    /// How nodes, leader and positions stand.
    pub async fn cluster_status(&self) -> Result<Answer<ClusterStatus>, ReadError> {
        let request = v1::GetClusterStatusRequest { floor: self.floor() };
        let send = |channel, request| async move { wire::cluster(channel).get_cluster_status(request).await };
        Ok(answer(self.read(request, send).await?, ClusterStatus::try_from)?)
    }

    /// Makes a token that admits one node, for an hour.
    pub async fn create_join_token(&self) -> Result<Answer<NewJoinToken>, WriteError> {
        let make = |request_id, _| v1::CreateJoinTokenRequest { request_id };
        let send = |channel, request| async move { wire::cluster(channel).create_join_token(request).await };
        let parse = |response: v1::CreateJoinTokenResponse| {
            let text = Zeroizing::new(response.join_token);
            Ok(NewJoinToken { text, expires_at: UnixMillis(response.expires_at_unix_ms) })
        };
        Ok(answer(self.write(make, send).await?, parse)?)
    }

    /// The members, by number.
    pub async fn list_members(&self) -> Result<Answer<Vec<Member>>, ReadError> {
        let request = v1::ListMembersRequest { floor: self.floor() };
        let send = |channel, request| async move { wire::cluster(channel).list_members(request).await };
        let parse = |response: v1::ListMembersResponse| {
            response.members.into_iter().map(Member::try_from).collect::<Result<_, Invalid>>()
        };
        Ok(answer(self.read(request, send).await?, parse)?)
    }

    /// Removes a node for good. It has held the root: rotate the epoch and rekey afterwards.
    pub async fn remove_member(&self, node: NodeId) -> Result<Answer<()>, WriteError> {
        let make = |request_id, _| v1::RemoveMemberRequest { node: node.get(), request_id };
        let send = |channel, request| async move { wire::cluster(channel).remove_member(request).await };
        Ok(answer(self.write(make, send).await?, |_| Ok(()))?)
    }

    /// Says where a member is reached, both addresses as a whole.
    pub async fn set_member_address(
        &self,
        node: NodeId,
        addresses: &Addresses,
    ) -> Result<Answer<()>, WriteError> {
        let make = |request_id, _| v1::SetMemberAddressRequest {
            node: node.get(),
            peer_address: addresses.peer.to_string(),
            client_address: addresses.client.to_string(),
            request_id,
        };
        let send = |channel, request| async move { wire::cluster(channel).set_member_address(request).await };
        Ok(answer(self.write(make, send).await?, |_| Ok(()))?)
    }

    /// Makes the leader hand over, to `to_node` or to whom it chooses; the number of the one that leads.
    pub async fn step_down(&self, to_node: Option<NodeId>) -> Result<Answer<NodeId>, OnceError> {
        let request = v1::StepDownRequest { to_node: to_node.map(NodeId::get) };
        let send = |channel, request| async move { wire::cluster(channel).step_down(request).await };
        Ok(answer(self.once(request, send).await?, |response| wire::node(response.leader, "leader"))?)
    }

    /// Lets the cluster's time go on after a jump.
    pub async fn accept_time(&self, time: UnixMillis) -> Result<Answer<()>, WriteError> {
        let make = |request_id, _| v1::AcceptTimeRequest { time_unix_ms: time.0, request_id };
        let send = |channel, request| async move { wire::cluster(channel).accept_time(request).await };
        Ok(answer(self.write(make, send).await?, |_| Ok(()))?)
    }
}

impl TryFrom<v1::InitResponse> for NewCluster {
    type Error = Invalid;

    fn try_from(response: v1::InitResponse) -> Result<Self, Invalid> {
        // Wrapped first, so that they are wiped whatever else is wrong.
        let shares = response.shares.into_iter().map(Zeroizing::new).collect();
        let root_token = Zeroizing::new(response.root_token);
        Ok(Self {
            cluster: ClusterId::from_bytes(wire::bytes(&response.cluster_id, "cluster_id")?),
            node: wire::node(response.node, "node")?,
            shares,
            root_token,
            ca_pem: response.ca_pem,
        })
    }
}

impl From<AdmissionPolicy> for v1::AdmissionPolicy {
    fn from(policy: AdmissionPolicy) -> Self {
        match policy {
            AdmissionPolicy::Strict => Self::Strict,
            AdmissionPolicy::Members => Self::Members,
            AdmissionPolicy::Off => Self::Off,
        }
    }
}
