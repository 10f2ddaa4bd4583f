//! Requests of `AccessService`.

use keyclave_types::access::{Subject, SubjectKind};
use keyclave_types::identity::TokenTerms;
use keyclave_types::name::KeyPrefix;
use keyclave_types::position::Position;
use keyclave_types::request::{AskedOn, Read, TokenId, Write, WriteKind};

use super::field::{self, At};
use super::{Asked, Cause, Invalid};
use crate::page::{TokenPage, parse_named_token};
use crate::v1;

/// Bytes of a policy that are looked at; the policy's own limit is lower.
const POLICY_TEXT_BYTES_MAX: usize = 32 * 1024;
/// Bytes of a word for an action.
const ACTION_BYTES_MAX: usize = 64;

impl TryFrom<v1::CreateTokenRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::CreateTokenRequest) -> Result<Self, Invalid> {
        let subject = token_subject(&request.subject).at("subject")?;
        let ms = |ms: Option<u64>| ms.map(|ms| field::range(ms, 1, u64::MAX)).transpose();
        let terms = TokenTerms {
            lifetime_ms: ms(request.lifetime_ms).at("lifetime_ms")?,
            renewable_ms: ms(request.renewable_ms).at("renewable_ms")?,
            binding: field::binding(request.binding).at("binding")?,
            sources: field::sources(&request.sources)?,
        };
        field::write(WriteKind::CreateToken { subject, terms }, &request.request_id, request.floor)
    }
}

impl TryFrom<v1::RevokeTokenRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::RevokeTokenRequest) -> Result<Self, Invalid> {
        let id = TokenId(field::fixed(&request.token_id).at("token_id")?);
        field::write(WriteKind::RevokeToken { id }, &request.request_id, request.floor)
    }
}

/// The page is checked here and cut by [`TokenPage`]: the domain knows all tokens or none.
impl TryFrom<v1::ListTokensRequest> for Asked<Read> {
    type Error = Invalid;

    fn try_from(request: v1::ListTokensRequest) -> Result<Self, Invalid> {
        TokenPage::try_from(&request)?;
        Ok(Self { request: Read::ListTokens, floor: request.floor.map(Position::from) })
    }
}

/// A token's subject; a bare name is a service's.
fn token_subject(text: &str) -> Result<Subject, Cause> {
    if text.is_empty() || text.contains(':') {
        return field::subject(text);
    }
    Ok(Subject { kind: SubjectKind::Service, name: text.parse()? })
}

impl TryFrom<v1::PutSubjectRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::PutSubjectRequest) -> Result<Self, Invalid> {
        let subject = field::subject(&request.subject).at("subject")?;
        let (roles, groups) = (field::roles(&request.roles)?, field::groups(&request.groups)?);
        field::write(WriteKind::PutSubject { subject, groups, roles }, &request.request_id, request.floor)
    }
}

impl TryFrom<v1::RemoveSubjectRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::RemoveSubjectRequest) -> Result<Self, Invalid> {
        let subject = field::subject(&request.subject).at("subject")?;
        field::write(WriteKind::RemoveSubject { subject }, &request.request_id, request.floor)
    }
}

impl TryFrom<v1::RevokeCredentialsRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::RevokeCredentialsRequest) -> Result<Self, Invalid> {
        let subject = field::subject(&request.subject).at("subject")?;
        field::write(WriteKind::RevokeCredentials { subject }, &request.request_id, request.floor)
    }
}

impl TryFrom<v1::PutGroupRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::PutGroupRequest) -> Result<Self, Invalid> {
        let (name, roles) = (field::segment(&request.name).at("name")?, field::roles(&request.roles)?);
        field::write(WriteKind::PutGroup { name, roles }, &request.request_id, request.floor)
    }
}

impl TryFrom<v1::RemoveGroupRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::RemoveGroupRequest) -> Result<Self, Invalid> {
        let name = field::segment(&request.name).at("name")?;
        field::write(WriteKind::RemoveGroup { name }, &request.request_id, request.floor)
    }
}

/// Whether the text is a policy is for the policy's own room to say, to who may put one.
impl TryFrom<v1::PutPolicyRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::PutPolicyRequest) -> Result<Self, Invalid> {
        let name = field::segment(&request.name).at("name")?;
        field::short(request.text.len(), POLICY_TEXT_BYTES_MAX).at("text")?;
        field::write(WriteKind::PutPolicy { name, text: request.text }, &request.request_id, request.floor)
    }
}

impl TryFrom<v1::RemovePolicyRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::RemovePolicyRequest) -> Result<Self, Invalid> {
        let name = field::segment(&request.name).at("name")?;
        field::write(WriteKind::RemovePolicy { name }, &request.request_id, request.floor)
    }
}

macro_rules! listed {
    ($($message:ident => $read:ident),+ $(,)?) => {
        $(impl TryFrom<v1::$message> for Asked<Read> {
            type Error = Invalid;

            fn try_from(request: v1::$message) -> Result<Self, Invalid> {
                let after = parse_named_token(&request.page_token).at("page_token")?;
                let page_items = field::page_items(request.page_size)?;
                let request_floor = request.floor.map(Position::from);
                Ok(Self { request: Read::$read { after, page_items }, floor: request_floor })
            }
        })+
    };
}

listed!(
    ListSubjectsRequest => ListSubjects,
    ListGroupsRequest => ListGroups,
    ListPoliciesRequest => ListPolicies,
    ListClientRootsRequest => ListClientRoots,
    ListIssuersRequest => ListIssuers,
    ListIdentitiesRequest => ListIdentities,
);

impl TryFrom<v1::GetPolicyRequest> for Asked<Read> {
    type Error = Invalid;

    fn try_from(request: v1::GetPolicyRequest) -> Result<Self, Invalid> {
        let name = field::segment(&request.name).at("name")?;
        Ok(Self { request: Read::GetPolicy { name }, floor: request.floor.map(Position::from) })
    }
}

impl TryFrom<v1::ExplainRequest> for Asked<Read> {
    type Error = Invalid;

    fn try_from(request: v1::ExplainRequest) -> Result<Self, Invalid> {
        let subject = field::subject(&request.subject).at("subject")?;
        let (action, on) = (action(&request.action)?, asked_on(&request.on)?);
        Ok(Self { request: Read::Explain { subject, action, on }, floor: request.floor.map(Position::from) })
    }
}

impl TryFrom<v1::WhoCanRequest> for Asked<Read> {
    type Error = Invalid;

    fn try_from(request: v1::WhoCanRequest) -> Result<Self, Invalid> {
        let (action, on) = (action(&request.action)?, asked_on(&request.on)?);
        Ok(Self { request: Read::WhoCan { action, on }, floor: request.floor.map(Position::from) })
    }
}

fn action(text: &str) -> Result<String, Invalid> {
    field::short(text.len(), ACTION_BYTES_MAX).at("action")?;
    if text.is_empty() { Err(Cause::Missing).at("action") } else { Ok(text.to_owned()) }
}

/// Nothing is the cluster, what ends in a slash is a prefix; `/` alone is every key.
fn asked_on(text: &str) -> Result<AskedOn, Invalid> {
    match text {
        "" => Ok(AskedOn::Cluster),
        "/" => Ok(AskedOn::Prefix(KeyPrefix::default())),
        prefix if prefix.ends_with('/') => prefix.parse().map(AskedOn::Prefix).at("on"),
        name => name.parse().map(AskedOn::Key).at("on"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_at_least_a_millisecond() {
        let create = |lifetime_ms| {
            Asked::<Write>::try_from(v1::CreateTokenRequest {
                subject: "billing".to_owned(),
                lifetime_ms,
                request_id: vec![1; 16],
                ..Default::default()
            })
        };
        assert!(create(None).is_ok());
        assert!(create(Some(1)).is_ok());
        assert_eq!(create(Some(0)).unwrap_err().field, "lifetime_ms");
    }

    #[test]
    fn a_token_id_has_twelve_bytes() {
        for length in [0, 11, 13] {
            let request =
                v1::RevokeTokenRequest { token_id: vec![1; length], request_id: vec![1; 16], floor: None };
            assert_eq!(Asked::<Write>::try_from(request).unwrap_err().field, "token_id");
        }
    }
}
