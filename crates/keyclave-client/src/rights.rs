//! Who may do what: subjects, groups, policies, and why.

use keyclave_proto::request::Invalid;
use keyclave_proto::v1;
use keyclave_types::access::{GroupName, PolicyName, RoleGrant, Subject};
use keyclave_types::request::{Able, Explanation, GroupDescription, PolicyDescription, SubjectDescription};
use keyclave_types::time::UnixMillis;

use crate::client::{Answer, Client, answer};
use crate::error::{ReadError, WriteError};
use crate::keys::PageToken;
use crate::wire;

/// One page of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page<T> {
    /// What is on it, in order.
    pub items: Vec<T>,
    /// What to ask the next page with; none on the last.
    pub next: Option<PageToken>,
}

/// Every write here: the message out of the request id and floor, and nothing in the answer.
macro_rules! write {
    ($self:ident, $call:ident, $message:ident { $($field:ident: $value:expr),+ $(,)? }) => {{
        let make = |request_id, floor| v1::$message { $($field: $value,)+ request_id, floor };
        let send = |channel, request| async move { wire::access(channel).$call(request).await };
        Ok(answer($self.write(make, send).await?, |_| Ok(()))?)
    }};
}

/// Every list here.
macro_rules! list {
    ($self:ident, $call:ident, $request:ident => $response:ident . $items:ident, $page_size:ident, $after:ident, $each:expr) => {{
        let page_token = $after.map(|token| token.0).unwrap_or_default();
        let request = v1::$request { page_size: $page_size, page_token, floor: $self.floor() };
        let send = |channel, request| async move { wire::access(channel).$call(request).await };
        let parse = |response: v1::$response| {
            let items = response.$items.into_iter().map($each).collect::<Result<_, Invalid>>()?;
            Ok(Page { items, next: PageToken::of(response.next_page_token) })
        };
        Ok(answer($self.read(request, send).await?, parse)?)
    }};
}

mod identities;

impl Client {
    /// Makes a subject, or replaces what it is part of.
    pub async fn put_subject(&self, subject: &SubjectDescription) -> Result<Answer<()>, WriteError> {
        let v1::Subject { subject, roles, groups } = subject.into();
        write!(
            self,
            put_subject,
            PutSubjectRequest { subject: subject.clone(), roles: roles.clone(), groups: groups.clone() }
        )
    }

    /// Removes a subject; its credentials end with it.
    pub async fn remove_subject(&self, subject: &Subject) -> Result<Answer<()>, WriteError> {
        write!(self, remove_subject, RemoveSubjectRequest { subject: subject.to_string() })
    }

    /// Ends every credential of a subject at once.
    pub async fn revoke_credentials(&self, subject: &Subject) -> Result<Answer<()>, WriteError> {
        write!(self, revoke_credentials, RevokeCredentialsRequest { subject: subject.to_string() })
    }

    /// One page of subjects; `page_size` 0 leaves it to the server.
    pub async fn list_subjects(
        &self,
        page_size: u32,
        after: Option<PageToken>,
    ) -> Result<Answer<Page<SubjectDescription>>, ReadError> {
        list!(self, list_subjects, ListSubjectsRequest => ListSubjectsResponse.subjects, page_size, after,
            TryInto::try_into)
    }

    /// Makes a group, or replaces its roles.
    pub async fn put_group(&self, group: &GroupDescription) -> Result<Answer<()>, WriteError> {
        let v1::Group { name, roles } = group.into();
        write!(self, put_group, PutGroupRequest { name: name.clone(), roles: roles.clone() })
    }

    /// Removes a group that no subject is in.
    pub async fn remove_group(&self, name: &GroupName) -> Result<Answer<()>, WriteError> {
        write!(self, remove_group, RemoveGroupRequest { name: name.to_string() })
    }

    /// One page of groups; `page_size` 0 leaves it to the server.
    pub async fn list_groups(
        &self,
        page_size: u32,
        after: Option<PageToken>,
    ) -> Result<Answer<Page<GroupDescription>>, ReadError> {
        list!(self, list_groups, ListGroupsRequest => ListGroupsResponse.groups, page_size, after, TryInto::try_into)
    }

    /// Makes a policy, or replaces its text.
    pub async fn put_policy(&self, name: &PolicyName, text: &str) -> Result<Answer<()>, WriteError> {
        write!(self, put_policy, PutPolicyRequest { name: name.to_string(), text: text.to_owned() })
    }

    /// Removes a policy.
    pub async fn remove_policy(&self, name: &PolicyName) -> Result<Answer<()>, WriteError> {
        write!(self, remove_policy, RemovePolicyRequest { name: name.to_string() })
    }

    /// A policy's text.
    pub async fn policy(&self, name: &PolicyName) -> Result<Answer<PolicyDescription>, ReadError> {
        let request = v1::GetPolicyRequest { name: name.to_string(), floor: self.floor() };
        let send = |channel, request| async move { wire::access(channel).get_policy(request).await };
        let parse = |response: v1::GetPolicyResponse| {
            let (name, put_at) = (wire::parsed(&response.name, "name")?, UnixMillis(response.put_at_unix_ms));
            Ok(PolicyDescription { name, text: response.text, put_at })
        };
        Ok(answer(self.read(request, send).await?, parse)?)
    }

    /// One page of policies' names; `page_size` 0 leaves it to the server.
    pub async fn list_policies(
        &self,
        page_size: u32,
        after: Option<PageToken>,
    ) -> Result<Answer<Page<PolicyName>>, ReadError> {
        list!(self, list_policies, ListPoliciesRequest => ListPoliciesResponse.names, page_size, after,
            |name: String| wire::parsed(&name, "names"))
    }

    /// Whether somebody may do something (in the words of policies), and why. `on` is a key, a prefix with its
    /// closing slash, or nothing for what is about the cluster.
    pub async fn explain(
        &self,
        subject: &Subject,
        action: &str,
        on: &str,
    ) -> Result<Answer<Explanation>, ReadError> {
        let (subject, action, on) = (subject.to_string(), action.to_owned(), on.to_owned());
        let request = v1::ExplainRequest { subject, action, on, floor: self.floor() };
        let send = |channel, request| async move { wire::access(channel).explain(request).await };
        let parse = |response: v1::ExplainResponse| {
            let would_do = response.would_do.iter().map(|grant| wire::parsed::<RoleGrant>(grant, "would_do"));
            Ok(Explanation {
                allowed: response.allowed,
                by: response.by,
                missing: Some(response.missing).filter(|missing| !missing.is_empty()),
                would_do: would_do.collect::<Result<_, _>>()?,
            })
        };
        Ok(answer(self.read(request, send).await?, parse)?)
    }

    /// Who may do something.
    pub async fn who_can(&self, action: &str, on: &str) -> Result<Answer<Vec<Able>>, ReadError> {
        let request = v1::WhoCanRequest { action: action.to_owned(), on: on.to_owned(), floor: self.floor() };
        let send = |channel, request| async move { wire::access(channel).who_can(request).await };
        let parse = |response: v1::WhoCanResponse| {
            let able = response
                .able
                .into_iter()
                .map(|able| Ok(Able { subject: wire::parsed(&able.subject, "able.subject")?, by: able.by }));
            able.collect::<Result<Vec<_>, Invalid>>()
        };
        Ok(answer(self.read(request, send).await?, parse)?)
    }
}
