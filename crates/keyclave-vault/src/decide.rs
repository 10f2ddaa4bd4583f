//! The leader's decisions over a view: one request in, one transaction out, or a refusal with what it rests on.
//!
//! Called by the node that leads, after the policy has permitted the act. One file per operation. Deliberately
//! absent: proposing, retrying on a conflict, and anything that waits.

mod access;
mod address;
mod admit;
mod create_key;
mod create_token;
mod destroy_version;
mod earlier;
mod foreign;
mod join_token;
mod member;
mod renew_token;
mod revoke_token;
mod rotate_key;
mod seal;
mod set_enabled;
mod time;
mod trail;
mod update_key;

use keyclave_crypto::entropy::Entropy;
use keyclave_policy::{Action, Permit, Principal};
use keyclave_types::ids::RecordId;
use keyclave_types::position::Revision;
use keyclave_types::request::{Write, WriteAnswer, WriteKind};
use keyclave_types::transaction::Transaction;

use crate::draft::Draft;
use crate::occasion::Occasion;
use crate::reads::ReadSet;
use crate::refusal::{Refusal, Refused};
use crate::view::View;

/// What became of a request.
#[derive(Debug)]
pub enum Decision<A> {
    /// It takes this transaction.
    Propose(Proposal<A>),
    /// It is so already, or was answered before: nothing is to change, and the answer is confirmed like a read.
    Standing {
        /// What to answer.
        answer: A,
        /// What it rests on.
        reads: ReadSet,
        /// What must have been known for a while before that.
        settles: Option<Settling>,
    },
}

/// A state that may be acknowledged only once it has been known for so long: what may still rest on an older
/// confirmation ends meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settling {
    /// Which record.
    pub record: RecordId,
    /// Which state of it.
    pub revision: Revision,
    /// For how long.
    pub ms: u64,
}

/// A transaction, and what to answer once it has committed.
#[derive(Debug)]
pub struct Proposal<A> {
    /// What to propose.
    pub transaction: Transaction,
    /// What to answer.
    pub answer: A,
    /// What must have been known for a while before that.
    pub settles: Option<Settling>,
}

/// Decides one write: what was answered before is answered again; anything else takes a transaction that also
/// keeps the outcome under the request's id.
pub fn decide(
    view: &View,
    permit: &Permit,
    write: &Write,
    occasion: &Occasion,
    entropy: &mut Entropy,
) -> Result<Decision<WriteAnswer>, Refused> {
    Draft::decide(view, occasion, entropy, |draft| {
        let (action, target) = Action::of_write(&write.change);
        if !permit.covers(action, target.key()) {
            return Err(Refusal::PermitForeign);
        }
        draft.reader.standing(permit.principal(), occasion.now)?;
        let digest = earlier::digest(permit.principal(), &write.change);
        if let Some(answer) = earlier::answer(draft, write.request_id, &digest)? {
            if let WriteKind::UpdateKey { name, .. } = &write.change {
                update_key::settle(draft, name);
            }
            return Ok(answer);
        }
        let answer = change(draft, permit.principal(), &write.change)?;
        if draft.changes_anything() {
            earlier::remember(draft, write.request_id, digest, &answer);
        }
        Ok(answer)
    })
}

fn change(draft: &mut Draft<'_>, principal: &Principal, change: &WriteKind) -> Result<WriteAnswer, Refusal> {
    match change {
        WriteKind::CreateKey { name, algorithm, rules } => {
            create_key::create_key(draft, name, *algorithm, *rules)
        }
        WriteKind::UpdateKey { name, rules } => update_key::update_key(draft, name, *rules),
        WriteKind::RotateKey { name } => rotate_key::rotate_key(draft, name),
        WriteKind::SetEnabled { name, version: None, enabled } => {
            set_enabled::set_key_enabled(draft, name, *enabled)
        }
        WriteKind::SetEnabled { name, version: Some(version), enabled } => {
            set_enabled::set_version_enabled(draft, name, *version, *enabled)
        }
        WriteKind::DestroyVersion { name, version } => {
            destroy_version::destroy_version(draft, name, *version)
        }
        WriteKind::CreateToken { subject, terms } => create_token::create_token(draft, subject, terms),
        WriteKind::RenewToken => renew_token::renew_token(draft, principal),
        WriteKind::PutClientRoot(root) => foreign::put_root(draft, root),
        WriteKind::RemoveClientRoot { name } => foreign::remove_root(draft, name),
        WriteKind::PutIssuer(issuer) => foreign::put_issuer(draft, issuer),
        WriteKind::RemoveIssuer { name } => foreign::remove_issuer(draft, name),
        WriteKind::PutIdentity { identity, subject } => foreign::put_identity(draft, identity, subject),
        WriteKind::RemoveIdentity { identity } => foreign::remove_identity(draft, identity),
        WriteKind::RevokeToken { id } => revoke_token::revoke_token(draft, *id),
        WriteKind::CreateJoinToken => join_token::create_join_token(draft),
        WriteKind::Admit { node, code } => admit::admit(draft, *node, code),
        WriteKind::SealNode { node } => seal::seal_node(draft, *node),
        WriteKind::SealCluster => seal::seal_cluster(draft),
        WriteKind::RemoveMember { node } => member::remove_member(draft, *node),
        WriteKind::ChangeAddress { node, addresses } => address::change_address(draft, *node, addresses),
        WriteKind::AcceptTime { time } => time::accept_time(draft, *time),
        WriteKind::PutSubject { subject, groups, roles } => {
            access::put_subject(draft, subject, groups, roles)
        }
        WriteKind::RemoveSubject { subject } => access::remove_subject(draft, subject),
        WriteKind::RevokeCredentials { subject } => access::revoke_credentials(draft, subject),
        WriteKind::PutGroup { name, roles } => access::put_group(draft, name, roles),
        WriteKind::RemoveGroup { name } => access::remove_group(draft, name),
        WriteKind::PutPolicy { name, text } => access::put_policy(draft, name, text),
        WriteKind::RemovePolicy { name } => access::remove_policy(draft, name),
        WriteKind::HoldTrail { reason } => trail::hold(draft, principal, reason),
        WriteKind::ReleaseTrail => trail::release(draft, principal),
        WriteKind::RetainTrail { keep_ms } => trail::retain(draft, principal, *keep_ms),
        WriteKind::AcknowledgeTrail { node } => trail::acknowledge(draft, principal, *node),
    }
}
