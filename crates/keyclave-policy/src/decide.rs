//! The decision: a principal, an action and a key in; a [`Permit`] or what is missing out.
//!
//! All-or-nothing roles: a root token may do everything but what belongs to the machine or to the cluster itself;
//! a service token may use, manage and read keys.

use keyclave_types::name::KeyName;

use crate::action::{Action, Class};
use crate::principal::Principal;

/// A decided yes, for one act: this principal, this action, this key.
#[derive(Debug)]
pub struct Permit {
    principal: Principal,
    action: Action,
    key: Option<KeyName>,
}

/// A decided no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{action:?} is not permitted: {missing}")]
pub struct Denied {
    /// What was asked.
    pub action: Action,
    /// What would have been needed.
    pub missing: Missing,
}

/// What was missing for a yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Any valid credential.
    #[error("it needs a credential")]
    Credential,
    /// A root token.
    #[error("it needs a root token")]
    RootToken,
    /// The local socket of the machine.
    #[error("it is done on the machine itself, through its socket")]
    LocalSocket,
    /// A proven member: callers never do this.
    #[error("only the cluster itself does it")]
    Member,
}

/// Says yes or no. `key` is the key that the action is about; `None` for actions about no single key, which
/// includes a decryption whose ciphertexts choose their keys.
pub fn decide(principal: &Principal, action: Action, key: Option<&KeyName>) -> Result<Permit, Denied> {
    match missing(principal, action) {
        None => Ok(Permit { principal: principal.clone(), action, key: key.cloned() }),
        Some(missing) => Err(Denied { action, missing }),
    }
}

fn missing(principal: &Principal, action: Action) -> Option<Missing> {
    let class = action.class();
    let allowed = match principal {
        Principal::Root { .. } => match class {
            Class::Open
            | Class::Known
            | Class::Use
            | Class::Manage
            | Class::Read
            | Class::Operate
            | Class::Access => true,
            Class::Machine | Class::Cluster => false,
        },
        Principal::Service { .. } => match class {
            Class::Open | Class::Known | Class::Use | Class::Manage | Class::Read => true,
            Class::Machine | Class::Operate | Class::Access | Class::Cluster => false,
        },
        Principal::LocalSocket => on_the_machine(action),
        Principal::Member(_) => class == Class::Cluster,
        Principal::Unauthenticated => class == Class::Open,
    };
    if allowed { None } else { Some(what_would_do(principal, class)) }
}

/// What the socket in the data directory allows without a token: exactly init, status, code, shares, sealing this
/// node; and health, which says less than status.
fn on_the_machine(action: Action) -> bool {
    matches!(
        action,
        Action::Init
            | Action::Health
            | Action::SealStatus
            | Action::ClusterStatus
            | Action::ShowCode
            | Action::SubmitShare
            | Action::SealThisNode
    )
}

fn what_would_do(principal: &Principal, class: Class) -> Missing {
    match (class, principal) {
        (Class::Machine, _) => Missing::LocalSocket,
        (Class::Cluster, _) => Missing::Member,
        (_, Principal::Unauthenticated | Principal::LocalSocket | Principal::Member(_)) => {
            Missing::Credential
        }
        (_, Principal::Root { .. } | Principal::Service { .. }) => Missing::RootToken,
    }
}

impl Permit {
    /// Whether this permit is for `action` on exactly `key`.
    #[must_use]
    pub fn covers(&self, action: Action, key: Option<&KeyName>) -> bool {
        self.action == action && self.key.as_ref() == key
    }

    /// Whose permit it is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// What it permits.
    pub fn action(&self) -> Action {
        self.action
    }

    /// On which key.
    pub fn key(&self) -> Option<&KeyName> {
        self.key.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use keyclave_types::ids::NodeId;
    use keyclave_types::request::TokenId;

    use super::*;

    fn root() -> Principal {
        Principal::Root { token: TokenId([1; 12]) }
    }

    fn service() -> Principal {
        Principal::Service { subject: "billing".parse().unwrap(), token: TokenId([2; 12]) }
    }

    fn member() -> Principal {
        Principal::Member(NodeId::new(1).unwrap())
    }

    /// One row per action: root, service, local socket, member, nobody.
    const TABLE: [(Action, [bool; 5]); 38] = {
        const ANYONE: [bool; 5] = [true, true, true, false, true];
        const NOT_SOCKET: [bool; 5] = [true, true, false, false, true];
        const SOCKET: [bool; 5] = [false, false, true, false, false];
        const KNOWN: [bool; 5] = [true, true, false, false, false];
        const ROOT: [bool; 5] = [true, false, false, false, false];
        const ROOT_AND_SOCKET: [bool; 5] = [true, false, true, false, false];
        const CLUSTER: [bool; 5] = [false, false, false, true, false];
        [
            (Action::Health, ANYONE),
            (Action::SealStatus, ANYONE),
            (Action::SubmitShare, ANYONE),
            (Action::Login, NOT_SOCKET),
            (Action::Join, NOT_SOCKET),
            (Action::Init, SOCKET),
            (Action::ShowCode, SOCKET),
            (Action::SealThisNode, SOCKET),
            (Action::Encrypt, KNOWN),
            (Action::Decrypt, KNOWN),
            (Action::CreateKey, KNOWN),
            (Action::UpdateKey, KNOWN),
            (Action::RotateKey, KNOWN),
            (Action::SetKeyEnabled, KNOWN),
            (Action::DestroyKeyVersion, KNOWN),
            (Action::GetKey, KNOWN),
            (Action::ListKeys, KNOWN),
            (Action::CreateToken, ROOT),
            (Action::RevokeToken, ROOT),
            (Action::ListTokens, ROOT),
            (Action::SealNode, ROOT),
            (Action::SealCluster, ROOT),
            (Action::Admit, ROOT),
            (Action::CreateJoinToken, ROOT),
            (Action::ClusterStatus, ROOT_AND_SOCKET),
            (Action::ListMembers, ROOT),
            (Action::PromoteMember, ROOT),
            (Action::RemoveMember, ROOT),
            (Action::ChangeAddress, ROOT),
            (Action::StepDown, ROOT),
            (Action::AcceptTime, ROOT),
            (Action::Diagnose, ROOT),
            (Action::ReadAudit, ROOT),
            (Action::Reflect, KNOWN),
            (Action::ReadMetrics, KNOWN),
            (Action::RotateDue, CLUSTER),
            (Action::ReserveUses, CLUSTER),
            (Action::Housekeep, CLUSTER),
        ]
    };

    #[test]
    fn every_role_may_do_exactly_what_the_table_says() {
        let roles = [root(), service(), Principal::LocalSocket, member(), Principal::Unauthenticated];
        for (action, row) in TABLE {
            for (role, allowed) in roles.iter().zip(row) {
                assert_eq!(decide(role, action, None).is_ok(), allowed, "{role:?} {action:?}");
            }
        }
        let listed: std::collections::BTreeSet<_> = TABLE.iter().map(|(action, _)| *action).collect();
        assert_eq!(listed, Action::ALL.into_iter().collect());
    }

    #[test]
    fn a_no_says_what_is_missing() {
        let missing =
            |who: &Principal, action| decide(who, action, None).map_err(|denied| denied.missing).err();
        assert_eq!(missing(&Principal::Unauthenticated, Action::Encrypt), Some(Missing::Credential));
        assert_eq!(missing(&Principal::LocalSocket, Action::Encrypt), Some(Missing::Credential));
        assert_eq!(missing(&service(), Action::CreateToken), Some(Missing::RootToken));
        assert_eq!(missing(&root(), Action::Init), Some(Missing::LocalSocket));
        assert_eq!(missing(&root(), Action::RotateDue), Some(Missing::Member));
    }

    #[test]
    fn a_permit_is_for_one_action_on_one_key() {
        let app: KeyName = "app".parse().unwrap();
        let app2: KeyName = "app2".parse().unwrap();
        let permit = decide(&service(), Action::Decrypt, Some(&app)).unwrap();
        assert!(permit.covers(Action::Decrypt, Some(&app)));
        assert!(!permit.covers(Action::Decrypt, Some(&app2)));
        assert!(!permit.covers(Action::Decrypt, None));
        assert!(!permit.covers(Action::Encrypt, Some(&app)));
        let any = decide(&service(), Action::Decrypt, None).unwrap();
        assert!(!any.covers(Action::Decrypt, Some(&app)));
    }
}
