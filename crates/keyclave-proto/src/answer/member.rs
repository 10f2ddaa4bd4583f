//! Members of the cluster.

use keyclave_types::ids::{Incarnation, NodeId};
use keyclave_types::member::{Addresses, Member, NodePublicKey};

use crate::request::cluster::addresses;
use crate::request::field::{self, At};
use crate::request::{Cause, Invalid};
use crate::v1;

/// A member's part in elections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MemberRole {
    /// It counts.
    Voter,
    /// It follows.
    Learner,
}

/// One member, as lists and a join's answer show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberDescription {
    /// Its number.
    pub node: NodeId,
    /// Its part in elections.
    pub role: MemberRole,
    /// Its identity.
    pub member: Member,
    /// Where it is reached; none while its address record is not there yet.
    pub addresses: Option<Addresses>,
}

impl From<&MemberDescription> for v1::Member {
    fn from(described: &MemberDescription) -> Self {
        let role = match described.role {
            MemberRole::Voter => v1::MemberRole::Voter,
            MemberRole::Learner => v1::MemberRole::Learner,
        };
        let text =
            |of: fn(&Addresses) -> &str| described.addresses.as_ref().map(of).unwrap_or_default().to_owned();
        Self {
            node: described.node.get(),
            role: role.into(),
            incarnation: described.member.incarnation.as_bytes().to_vec(),
            public_key: described.member.key.0.to_vec(),
            peer_address: text(|addresses| addresses.peer.as_str()),
            client_address: text(|addresses| addresses.client.as_str()),
        }
    }
}

impl TryFrom<v1::Member> for MemberDescription {
    type Error = Invalid;

    fn try_from(member: v1::Member) -> Result<Self, Invalid> {
        let role = match v1::MemberRole::try_from(member.role) {
            Ok(v1::MemberRole::Voter) => MemberRole::Voter,
            Ok(v1::MemberRole::Learner) => MemberRole::Learner,
            Ok(v1::MemberRole::Unspecified) | Err(_) => {
                return Err(Cause::Value { found: member.role }).at("role");
            }
        };
        let addresses = match (member.peer_address.as_str(), member.client_address.as_str()) {
            ("", "") => None,
            (peer, client) => Some(addresses(peer, client)?),
        };
        Ok(Self {
            node: field::node(member.node).at("node")?,
            role,
            member: Member {
                incarnation: Incarnation::from_bytes(field::fixed(&member.incarnation).at("incarnation")?),
                key: NodePublicKey(field::fixed(&member.public_key).at("public_key")?),
            },
            addresses,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_reads_back_from_the_wire() {
        let mut described = MemberDescription {
            node: NodeId::new(3).unwrap(),
            role: MemberRole::Learner,
            member: Member { incarnation: Incarnation::from_bytes([1; 16]), key: NodePublicKey([2; 32]) },
            addresses: Some(Addresses { peer: "a:1".parse().unwrap(), client: "a:2".parse().unwrap() }),
        };
        assert_eq!(MemberDescription::try_from(v1::Member::from(&described)), Ok(described.clone()));
        described.addresses = None;
        described.role = MemberRole::Voter;
        assert_eq!(MemberDescription::try_from(v1::Member::from(&described)), Ok(described));
        assert!(MemberDescription::try_from(v1::Member::default()).is_err());
    }
}
