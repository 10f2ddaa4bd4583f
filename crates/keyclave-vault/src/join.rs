//! A node that joins: the token is checked, a number is given out that was never given before, and its first
//! process is vouched for.
//!
//! Called by the leader for `ClusterService.Join`, whose body is the credential. The node adds the member to Raft
//! once this has committed.

use keyclave_crypto::entropy::Entropy;
use keyclave_crypto::mac;
use keyclave_crypto::token::{self, Token, TokenKind};
use keyclave_policy::{Action, Permit};
use keyclave_types::ids::{Incarnation, NodeId, PlainKind};
use keyclave_types::limits::MEMBERS_MAX;
use keyclave_types::member::{Addresses, NodePublicKey};
use keyclave_types::request::NodeCode;

use crate::decide::Decision;
use crate::draft::Draft;
use crate::keyring::Keyring;
use crate::occasion::Occasion;
use crate::records::RecordName;
use crate::records::access::{JoinToken, Joined};
use crate::records::cluster::{Admission, NodeCounter, NodeRecord};
use crate::refusal::{Refusal, Refused};
use crate::view::View;

/// What a joining node says of itself.
pub struct Join<'a> {
    /// The `kclj_` token as it was sent.
    pub token: &'a str,
    /// Its data directory.
    pub incarnation: Incarnation,
    /// Its key.
    pub key: NodePublicKey,
    /// Where it is reached.
    pub addresses: Addresses,
    /// The code of its process.
    pub code: NodeCode,
}

/// Decides a join; the answer is the node's number. A repeated join of the same data directory is given the same
/// number and spends nothing; its process is vouched for again as long as the first was not let in.
pub fn decide_join(
    view: &View,
    permit: &Permit,
    join: &Join<'_>,
    occasion: &Occasion,
    entropy: &mut Entropy,
) -> Result<Decision<NodeId>, Refused> {
    Draft::decide(view, occasion, entropy, |draft| {
        if !permit.covers(Action::Join, None) {
            return Err(Refusal::PermitForeign);
        }
        draft.reader.standing(permit.principal(), occasion.now)?;
        let found = check(draft, join.token)?;
        let now = occasion.now.relied().ok_or(Refusal::ClockDoubtful)?;
        match found.joined {
            Some(joined) => again(draft, join, &joined),
            None if found.expires_at <= now => Err(Refusal::Unauthenticated),
            None => first(draft, join, found),
        }
    })
}

/// The record of a valid join token. Absent, malformed and wrong ones take the same way through a comparison.
fn check<'a>(draft: &mut Draft<'a>, text: &str) -> Result<&'a JoinToken, Refusal> {
    let token = Token::parse(text).map_err(|_| Refusal::Unauthenticated)?;
    let found = draft.reader.get::<JoinToken>(&RecordName::JoinToken(token.id));
    let keyring = draft.reader.view().keyring();
    let proven = proves(keyring, &token, found.map(|found| (found.mac_key, found.mac)));
    match found {
        Some(found) if proven && token.kind == TokenKind::Join => Ok(found),
        Some(_) | None => Err(Refusal::Unauthenticated),
    }
}

/// Whether the token's MAC is the one on record. Without a record, compares with one that no token has, so that
/// it takes as long.
pub(crate) fn proves(keyring: &Keyring, token: &Token, record: Option<(u32, [u8; 32])>) -> bool {
    let keys = keyring.token_keys();
    let (active, active_key) = keys.active();
    let (number, expected) = record.unwrap_or((active, [0; 32]));
    let known = keys.key(number);
    let equal = mac::equal(&token::mac(known.unwrap_or(active_key), token), &expected);
    equal & record.is_some() & known.is_some()
}

fn first(draft: &mut Draft<'_>, join: &Join<'_>, found: &JoinToken) -> Result<NodeId, Refusal> {
    let counter = draft.reader.get::<NodeCounter>(&RecordName::NodeCounter).ok_or(Refusal::RecordLost)?;
    if draft.reader.view().indexes().nodes_count() >= MEMBERS_MAX {
        return Err(Refusal::MembersMax { limit: MEMBERS_MAX });
    }
    let node = NodeId::new(counter.last.get() + 1).ok_or(Refusal::NodesExhausted)?;
    let joined = Joined { incarnation: join.incarnation, key: join.key, node };
    draft.put(&NodeCounter { last: node });
    draft.put(&JoinToken { joined: Some(joined), ..found.clone() });
    draft.put(&NodeRecord { node, incarnation: join.incarnation, key: join.key, joined_at: draft.now() });
    draft.put(&Admission { node, code: join.code.clone(), since: draft.now() });
    draft.put_plain(PlainKind::Address, node.get(), &join.addresses);
    Ok(node)
}

fn again(draft: &mut Draft<'_>, join: &Join<'_>, joined: &Joined) -> Result<NodeId, Refusal> {
    let node = joined.node;
    let same = joined.incarnation == join.incarnation && joined.key == join.key;
    if !same || draft.reader.get::<NodeRecord>(&RecordName::Node(node)).is_none() {
        return Err(Refusal::Unauthenticated);
    }
    let waiting = draft.reader.get::<Admission>(&RecordName::Admission(node));
    if waiting.is_some_and(|admission| admission.code != join.code) {
        draft.put(&Admission { node, code: join.code.clone(), since: draft.now() });
    }
    Ok(node)
}
