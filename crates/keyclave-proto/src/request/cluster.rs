//! Requests of `ClusterService`.

use keyclave_types::ids::{Incarnation, NodeId};
use keyclave_types::member::{Addresses, Member, NodePublicKey};
use keyclave_types::request::{Write, WriteKind};
use keyclave_types::seal::Threshold;
use keyclave_types::time::UnixMillis;
use zeroize::Zeroizing;

use super::field::{self, At};
use super::{Asked, Cause, Invalid};
use crate::v1;

/// Bytes of a join token, with or without its pin.
const JOIN_TOKEN_BYTES_MAX: usize = 256;

/// What lets a restarted node fetch the root from its peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdmissionPolicy {
    /// A restart key, a share given on the machine, or an operator's admission.
    Strict,
    /// Also any current member, for ten minutes after `unseal --all-members`.
    Members,
    /// Nothing: shares for each node.
    Off,
}

/// A cluster out of a fresh node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Init {
    /// How the root is shared.
    pub threshold: Threshold,
    /// What lets restarted nodes in.
    pub admission_policy: AdmissionPolicy,
}

/// A fresh node asking to belong. No `Debug`: it holds a credential.
#[derive(Clone)]
pub struct Join {
    /// The join token as text, without its pin.
    pub join_token: Zeroizing<String>,
    /// The node's identity.
    pub member: Member,
    /// Where it will be reached.
    pub addresses: Addresses,
    /// The boot key that the root comes encrypted to.
    pub boot_public_key: [u8; 32],
}

/// The leader handing over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StepDown {
    /// To whom; the leader chooses if none.
    pub to_node: Option<NodeId>,
}

impl TryFrom<v1::InitRequest> for Init {
    type Error = Invalid;

    fn try_from(request: v1::InitRequest) -> Result<Self, Invalid> {
        let threshold =
            Threshold::new(small(request.threshold).at("threshold")?, small(request.shares).at("shares")?)
                .at("threshold")?;
        Ok(Self { threshold, admission_policy: admission_policy(request.admission_policy)? })
    }
}

impl TryFrom<v1::JoinRequest> for Join {
    type Error = Invalid;

    fn try_from(request: v1::JoinRequest) -> Result<Self, Invalid> {
        let join_token = Zeroizing::new(request.join_token);
        if join_token.is_empty() {
            return Err(Cause::Missing).at("join_token");
        }
        field::short(join_token.len(), JOIN_TOKEN_BYTES_MAX).at("join_token")?;
        let key = NodePublicKey(field::fixed(&request.public_key).at("public_key")?);
        let incarnation = Incarnation::from_bytes(field::fixed(&request.incarnation).at("incarnation")?);
        let addresses = addresses(&request.peer_address, &request.client_address)?;
        let boot_public_key = field::fixed(&request.boot_public_key).at("boot_public_key")?;
        Ok(Self { join_token, member: Member { incarnation, key }, addresses, boot_public_key })
    }
}

impl TryFrom<v1::CreateJoinTokenRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::CreateJoinTokenRequest) -> Result<Self, Invalid> {
        field::write(WriteKind::CreateJoinToken, &request.request_id, None)
    }
}

impl TryFrom<v1::RemoveMemberRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::RemoveMemberRequest) -> Result<Self, Invalid> {
        let node = field::node(request.node).at("node")?;
        field::write(WriteKind::RemoveMember { node }, &request.request_id, None)
    }
}

impl TryFrom<v1::SetMemberAddressRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::SetMemberAddressRequest) -> Result<Self, Invalid> {
        let node = field::node(request.node).at("node")?;
        let addresses = addresses(&request.peer_address, &request.client_address)?;
        field::write(WriteKind::ChangeAddress { node, addresses }, &request.request_id, None)
    }
}

impl TryFrom<v1::AcceptTimeRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::AcceptTimeRequest) -> Result<Self, Invalid> {
        let time = UnixMillis(field::range(request.time_unix_ms, 1, u64::MAX).at("time_unix_ms")?);
        field::write(WriteKind::AcceptTime { time }, &request.request_id, None)
    }
}

impl TryFrom<v1::StepDownRequest> for StepDown {
    type Error = Invalid;

    fn try_from(request: v1::StepDownRequest) -> Result<Self, Invalid> {
        Ok(Self { to_node: request.to_node.map(field::node).transpose().at("to_node")? })
    }
}

/// The policy of the wire's number; strict if not said.
pub(crate) fn admission_policy(number: i32) -> Result<AdmissionPolicy, Invalid> {
    match v1::AdmissionPolicy::try_from(number) {
        Ok(v1::AdmissionPolicy::Unspecified | v1::AdmissionPolicy::Strict) => Ok(AdmissionPolicy::Strict),
        Ok(v1::AdmissionPolicy::Members) => Ok(AdmissionPolicy::Members),
        Ok(v1::AdmissionPolicy::Off) => Ok(AdmissionPolicy::Off),
        Err(_) => Err(Cause::Value { found: number }).at("admission_policy"),
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

/// Both addresses of a member.
pub(crate) fn addresses(peer: &str, client: &str) -> Result<Addresses, Invalid> {
    Ok(Addresses {
        peer: field::address(peer).at("peer_address")?,
        client: field::address(client).at("client_address")?,
    })
}

fn small(number: u32) -> Result<u8, Cause> {
    u8::try_from(number).map_err(|_| Cause::Range { least: 2, most: u8::MAX.into(), found: number.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join() -> v1::JoinRequest {
        v1::JoinRequest {
            join_token: "kclj_x".to_owned(),
            public_key: vec![1; 32],
            incarnation: vec![2; 16],
            peer_address: "a:7421".to_owned(),
            client_address: "a:7420".to_owned(),
            boot_public_key: vec![3; 32],
        }
    }

    #[test]
    fn a_threshold_is_two_or_more_of_at_most_255() {
        let init = |threshold, shares| {
            Init::try_from(v1::InitRequest { threshold, shares, admission_policy: 0 }).map_err(|i| i.field)
        };
        assert_eq!(init(3, 5).unwrap().admission_policy, AdmissionPolicy::Strict);
        assert!(init(255, 255).is_ok());
        for (threshold, shares, field) in [
            (1, 5, "threshold"),
            (0, 0, "threshold"),
            (6, 5, "threshold"),
            (2, 256, "shares"),
            (258, 5, "threshold"),
        ] {
            assert_eq!(init(threshold, shares), Err(field.to_owned()));
        }
    }

    #[test]
    fn a_join_names_identity_and_addresses() {
        let joined = Join::try_from(join()).unwrap_or_else(|invalid| panic!("{invalid}"));
        assert_eq!(joined.member.key.0, [1; 32]);
        assert_eq!(joined.addresses.peer.port(), 7421);
        let wrong = |change: fn(&mut v1::JoinRequest)| {
            let mut request = join();
            change(&mut request);
            Join::try_from(request).err().map(|invalid| invalid.field).unwrap_or_default()
        };
        assert_eq!(wrong(|r| r.join_token.clear()), "join_token");
        assert_eq!(wrong(|r| r.join_token = "x".repeat(257)), "join_token");
        assert_eq!(wrong(|r| r.public_key.truncate(31)), "public_key");
        assert_eq!(wrong(|r| r.incarnation.push(0)), "incarnation");
        assert_eq!(wrong(|r| r.peer_address = "a".to_owned()), "peer_address");
        assert_eq!(wrong(|r| r.client_address.clear()), "client_address");
        assert_eq!(wrong(|r| r.boot_public_key.clear()), "boot_public_key");
    }
}
