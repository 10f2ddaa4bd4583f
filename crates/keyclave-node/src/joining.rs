//! Joining a cluster: what the joining node sends, what the leader does with it, and what the joining node does with
//! the answer.
//!
//! The call itself travels over the client API with the join token as its credential, made by the binary.

use std::sync::Arc;

use keyclave_cluster::guard::Pins;
use keyclave_cluster::members::MembershipError;
use keyclave_crypto::hpke;
use keyclave_policy::{Action, Permit, Principal};
use keyclave_types::ids::{ClusterId, Incarnation, NodeId};
use keyclave_types::member::{Addresses, Member as MemberRecord, NodePublicKey};
use keyclave_types::position::Position;
use keyclave_types::transaction::LeaderId;
use keyclave_vault::join::{Join, decide_join};
use keyclave_vault::occasion::Occasion;
use keyclave_vault::refusal::{Refusal, Refused};
use keyclave_vault::view::View;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::home::{HomeError, Membership};
use crate::host::Host;
use crate::member::{Member, StartMemberError};
use crate::node::Node;
use crate::serving::Serving;

/// What a joining node says of itself.
#[derive(Clone, Debug)]
pub struct JoinAsk {
    /// Its data directory and key.
    pub member: MemberRecord,
    /// Where it is reached.
    pub addresses: Addresses,
    /// The public half of its process's boot key.
    pub boot_public: [u8; 32],
}

impl JoinAsk {
    fn join<'a>(&self, token: &'a str) -> Join<'a> {
        Join {
            token,
            incarnation: self.member.incarnation,
            key: self.member.key,
            addresses: self.addresses.clone(),
            code: hpke::code(&self.boot_public),
        }
    }
}

/// What it is told.
pub struct JoinAnswer {
    /// Where the ledger stands with it.
    pub position: Position,
    /// The cluster.
    pub cluster: ClusterId,
    /// Its number.
    pub node: NodeId,
    /// How the cluster began.
    pub pins: Pins,
    /// Everyone, itself included.
    pub members: Vec<(NodeId, MemberRecord, Addresses)>,
}

/// The pins of a cluster as a joining node is told them: first node (8 bytes, big-endian) ‖ its incarnation (16) ‖ its
/// key (32). The writer's key travels beside them.
pub fn first_entry_bytes(pins: &Pins) -> Vec<u8> {
    let first = pins.first.get().to_be_bytes();
    [first.as_slice(), pins.member.incarnation.as_bytes(), &pins.member.key.0].concat()
}

/// Reads what [`first_entry_bytes`] made.
pub fn pins_from(writer: [u8; 32], first_entry: &[u8]) -> Option<Pins> {
    let (first, rest) = first_entry.split_first_chunk::<8>()?;
    let (incarnation, key) = rest.split_first_chunk::<16>()?;
    let member = MemberRecord {
        incarnation: Incarnation::from_bytes(*incarnation),
        key: NodePublicKey(key.try_into().ok()?),
    };
    Some(Pins { writer, first: NodeId::new(u64::from_be_bytes(*first))?, member })
}

/// Why a node did not become a member.
#[derive(Debug, thiserror::Error)]
pub enum BecomeError {
    /// It is one already, or is becoming one.
    #[error("this node belongs to a cluster already")]
    Already,
    /// The disk failed.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Log, peers or trail did not start.
    #[error(transparent)]
    Start(#[from] StartMemberError),
}

impl<H: Host> Node<H> {
    /// What this node says of itself when it joins.
    pub fn join_ask(&self) -> Result<JoinAsk, HomeError> {
        Ok(JoinAsk {
            member: self.identity_member()?,
            addresses: self.addresses().clone(),
            boot_public: self.boot_public(),
        })
    }

    /// Becomes the member that a leader has made of it.
    pub async fn join(&self, answer: JoinAnswer) -> Result<(), BecomeError> {
        let _only_one = self.becoming().lock().await;
        if self.member().is_some() {
            return Err(BecomeError::Already);
        }
        let membership = Membership {
            cluster: answer.cluster,
            generation: answer.position.generation,
            node: answer.node,
            pins: answer.pins,
            known: answer.members,
        };
        self.home().save_membership(&membership)?;
        let member = self.start_member(membership, true).await?;
        self.become_member(member);
        Ok(())
    }
}

impl<H: Host> Serving<H> {
    /// Whether a join would be refused over `view`; nothing comes of it.
    pub fn judge_join(&self, view: &View, token: &str, ask: &JoinAsk) -> Result<(), Refused> {
        let node = self.member().node();
        let leader = LeaderId { term: 0, node: node.get() };
        let occasion = Occasion { now: self.now(view), leader, arrived_at: node };
        let permit = open_to_anyone()?;
        decide_join(view, &permit, &ask.join(token), &occasion, &mut self.entropy()).map(|_| ())
    }
}

fn open_to_anyone() -> Result<Permit, Refused> {
    keyclave_policy::built_in(&Principal::Unauthenticated, Action::Join, None)
        .map_err(|denied| Refused { refusal: denied.into(), reads: Default::default() })
}

impl<H: Host> Member<H> {
    /// As leader: checks the token, gives out a number, and takes the node in as a learner; a voter it becomes once it
    /// has caught up.
    pub async fn admit_joining(
        self: &Arc<Self>,
        token: &str,
        ask: &JoinAsk,
        deadline: Instant,
    ) -> Result<JoinAnswer, Failure> {
        let join = ask.join(token);
        let settled = self.carry_through(self.local.node, deadline, |view, occasion, entropy| {
            let permit = open_to_anyone()?;
            decide_join(view, &permit, &join, occasion, entropy)
        });
        let settled = settled.await?;
        let node = settled.answer;
        self.cluster.add_member(node, ask.member, deadline).await.map_err(Failure::from)?;
        Ok(JoinAnswer {
            position: settled.position,
            cluster: self.local.cluster,
            node,
            pins: self.pins,
            members: self.everyone(),
        })
    }

    fn everyone(&self) -> Vec<(NodeId, MemberRecord, Addresses)> {
        let members = self.cluster.members().into_iter();
        members
            .filter_map(|(node, (member, _))| Some((node, member, self.directory.addresses(node)?)))
            .collect()
    }
}

impl From<MembershipError> for Failure {
    fn from(error: MembershipError) -> Self {
        match error {
            MembershipError::NotLeader { .. } => Self::NoLeader,
            MembershipError::Full => {
                Refusal::MembersMax { limit: keyclave_types::limits::MEMBERS_MAX }.into()
            }
            MembershipError::Unknown { node } => Refusal::NodeUnknown { node }.into(),
            MembershipError::Exists { node } => Refusal::Incarnation { node }.into(),
            MembershipError::LastVoter => Refusal::LastMember.into(),
            MembershipError::InProgress
            | MembershipError::Behind { .. }
            | MembershipError::Silent { .. }
            | MembershipError::Unknowing { .. }
            | MembershipError::Itself
            | MembershipError::Initialised
            | MembershipError::NotFirst { .. }
            | MembershipError::Unanswered => Self::Contended,
            MembershipError::Stopped => Self::NoLeader,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_read_back_and_cut_ones_do_not() {
        let member =
            MemberRecord { incarnation: Incarnation::from_bytes([2; 16]), key: NodePublicKey([3; 32]) };
        let pins = Pins { writer: [1; 32], first: NodeId::new(7).unwrap(), member };
        let bytes = first_entry_bytes(&pins);
        assert_eq!(bytes.len(), 56);
        assert_eq!(pins_from([1; 32], &bytes), Some(pins));
        for length in 0..56 {
            assert_eq!(pins_from([1; 32], &bytes[..length]), None);
        }
    }
}
