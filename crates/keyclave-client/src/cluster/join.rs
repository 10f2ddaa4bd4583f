//! A fresh node asking to belong. Nothing it is told is believed unless it comes from a server whose certificate the
//! CA issued that the join token names.

use keyclave_crypto::token;
use keyclave_proto::request::Invalid;
use keyclave_proto::v1;
use keyclave_types::ids::{ClusterId, NodeId};
use keyclave_types::member::{Addresses, Member as Identity};

use super::Member;
use crate::client::{Answer, Client, answer};
use crate::error::ReadError;
use crate::wire;

/// A join token as its file holds it: the token, a dot, the CA's fingerprint.
pub struct JoinTicket(token::JoinTicket);

/// Why a text is no join token; says what is wrong without quoting it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct JoinTicketError(#[from] token::JoinTicketError);

impl JoinTicket {
    /// Reads a join token.
    pub fn parse(text: &str) -> Result<Self, JoinTicketError> {
        Ok(Self(token::JoinTicket::parse(text)?))
    }

    /// The CA to believe, for [`crate::Builder::ca_fingerprint`].
    pub fn fingerprint(&self) -> [u8; 32] {
        self.0.anchor
    }
}

/// Who wants to belong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinNode {
    /// Its data directory and public key.
    pub identity: Identity,
    /// Where it will be reached.
    pub addresses: Addresses,
    /// The public half of its process's boot key, to which the root comes encrypted.
    pub boot_public_key: [u8; 32],
}

/// What a node pins when it has joined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Joined {
    /// The cluster.
    pub cluster: ClusterId,
    /// The number that the node got.
    pub node: NodeId,
    /// The members, the new one included.
    pub members: Vec<Member>,
    /// The public half of the key that signs every entry.
    pub writer_public_key: [u8; 32],
    /// The ledger's first entry, as the log stores it.
    pub first_entry: Vec<u8>,
}

impl Client {
    /// Makes a node a member. Repeating it for the same directory and key spends the token once.
    pub async fn join(&self, ticket: &JoinTicket, node: &JoinNode) -> Result<Answer<Joined>, ReadError> {
        let request = v1::JoinRequest {
            join_token: ticket.0.token.to_text().to_string(),
            public_key: node.identity.key.0.to_vec(),
            incarnation: node.identity.incarnation.as_bytes().to_vec(),
            peer_address: node.addresses.peer.to_string(),
            client_address: node.addresses.client.to_string(),
            boot_public_key: node.boot_public_key.to_vec(),
        };
        let send = |channel, request| async move { wire::cluster(channel).join(request).await };
        Ok(answer(self.read(request, send).await?, joined)?)
    }
}

fn joined(response: v1::JoinResponse) -> Result<Joined, Invalid> {
    let members = response.members.into_iter().map(Member::try_from).collect::<Result<_, _>>()?;
    Ok(Joined {
        cluster: ClusterId::from_bytes(wire::bytes(&response.cluster_id, "cluster_id")?),
        node: wire::node(response.node, "node")?,
        members,
        writer_public_key: wire::bytes(&response.writer_public_key, "writer_public_key")?,
        first_entry: response.first_entry,
    })
}
