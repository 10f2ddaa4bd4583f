//! `AccessService`: subjects, groups, policies, tokens, and why somebody may or may not.

use keyclave_crypto::certificate::ClientRoot;
use keyclave_crypto::jwk::KeySet;
use keyclave_node::host::Host;
use keyclave_policy::{Action, Policy};
use keyclave_proto::answer::explained;
use keyclave_proto::page::{TokenPage, named_token};
use keyclave_proto::reason::Reason;
use keyclave_proto::v1;
use keyclave_proto::v1::access_service_server::AccessService;
use keyclave_types::identity::IssuerName;
use keyclave_vault::compute::ReadAnswer;
use tonic::{Request, Response, Status};

use super::{Api, login, take};
use crate::pipeline::internal;
use crate::writing::Rpc;

/// Every write of this service: the same way for all of them.
macro_rules! write {
    ($self:ident, $request:ident, $operation:literal, $action:ident) => {{
        let (caller, message) = take($request)?;
        let path = concat!("/keyclave.v1.AccessService/", $operation);
        let rpc = Rpc { path, operation: $operation, action: Action::$action };
        Ok(Response::new($self.pipeline.write(caller, rpc, message).await?))
    }};
}

/// Every read of this service: asks, and makes the response out of the one kind of answer that fits.
macro_rules! read {
    ($self:ident, $request:ident, $operation:literal, $action:ident, $answer:pat => $response:expr) => {{
        let (caller, message) = take($request)?;
        match $self.pipeline.read(&caller, $operation, Action::$action, message).await? {
            ($answer, position) => {
                let mut response = $response;
                response.position = Some(position.into());
                Ok(Response::new(response))
            }
            _ => Err(internal("something else was answered than was asked for")),
        }
    }};
}

impl<H: Host> Api<H> {
    /// Says what is wrong with something to who may change identities.
    async fn said<M, R>(
        &self,
        request: Request<M>,
        operation: &'static str,
        reason: Reason,
        error: &impl std::error::Error,
    ) -> Result<Response<R>, Status> {
        let (caller, _) = take(request)?;
        let wrong =
            keyclave_proto::status::status(reason, &error.to_string(), std::collections::BTreeMap::new());
        let refused = self.pipeline.said(&caller, operation, Action::ChangeIdentities, &wrong).await;
        refused.map(|(response, _)| response)
    }
}

#[tonic::async_trait]
impl<H: Host> AccessService for Api<H> {
    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        write!(self, request, "CreateToken", CreateToken)
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        write!(self, request, "RevokeToken", RevokeToken)
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        let page = match TokenPage::try_from(request.get_ref()) {
            Ok(page) => page,
            Err(invalid) => {
                let (caller, _) = take(request)?;
                let refused =
                    self.pipeline.invalid(&caller, "ListTokens", Action::ListTokens, &invalid).await;
                return refused.map(|(response, _)| response);
            }
        };
        read!(self, request, "ListTokens", ListTokens, ReadAnswer::Tokens(tokens) => {
            let (tokens, next_page_token) = page.cut(tokens);
            let tokens = tokens.iter().map(Into::into).collect();
            v1::ListTokensResponse { position: None, tokens, next_page_token }
        })
    }

    async fn renew_token(
        &self,
        request: Request<v1::RenewTokenRequest>,
    ) -> Result<Response<v1::RenewTokenResponse>, Status> {
        write!(self, request, "RenewToken", RenewToken)
    }

    async fn login(&self, request: Request<v1::LoginRequest>) -> Result<Response<v1::LoginResponse>, Status> {
        let (caller, message) = take(request)?;
        login::login(&self.pipeline, caller, message).await.map(Response::new)
    }

    /// What is wrong with certificates is said only to who may put them.
    async fn put_client_root(
        &self,
        request: Request<v1::PutClientRootRequest>,
    ) -> Result<Response<v1::PutClientRootResponse>, Status> {
        let wrong = request.get_ref().certificates.iter().find_map(|der| ClientRoot::parse(der).err());
        if let Some(error) = wrong {
            return self.said(request, "PutClientRoot", Reason::ClientRootInvalid, &error).await;
        }
        write!(self, request, "PutClientRoot", ChangeIdentities)
    }

    async fn remove_client_root(
        &self,
        request: Request<v1::RemoveClientRootRequest>,
    ) -> Result<Response<v1::RemoveClientRootResponse>, Status> {
        write!(self, request, "RemoveClientRoot", ChangeIdentities)
    }

    async fn list_client_roots(
        &self,
        request: Request<v1::ListClientRootsRequest>,
    ) -> Result<Response<v1::ListClientRootsResponse>, Status> {
        read!(self, request, "ListClientRoots", ReadAccess, ReadAnswer::ClientRoots(page, more) => {
            let next = page.last().filter(|_| more).map(|last| named_token(&last.name));
            let client_roots = page.iter().map(Into::into).collect();
            v1::ListClientRootsResponse { position: None, client_roots, next_page_token: next.unwrap_or_default() }
        })
    }

    /// What is wrong with keys is said only to who may put them.
    async fn put_issuer(
        &self,
        request: Request<v1::PutIssuerRequest>,
    ) -> Result<Response<v1::PutIssuerResponse>, Status> {
        let message = request.get_ref();
        // What is wrong with the rest of the message is said first, as of any.
        let named = message.name.parse::<IssuerName>().is_ok();
        if let (true, Err(error)) = (named, KeySet::parse(message.jwks.as_bytes())) {
            return self.said(request, "PutIssuer", Reason::KeySetInvalid, &error).await;
        }
        write!(self, request, "PutIssuer", ChangeIdentities)
    }

    async fn remove_issuer(
        &self,
        request: Request<v1::RemoveIssuerRequest>,
    ) -> Result<Response<v1::RemoveIssuerResponse>, Status> {
        write!(self, request, "RemoveIssuer", ChangeIdentities)
    }

    async fn list_issuers(
        &self,
        request: Request<v1::ListIssuersRequest>,
    ) -> Result<Response<v1::ListIssuersResponse>, Status> {
        read!(self, request, "ListIssuers", ReadAccess, ReadAnswer::Issuers(page, more) => {
            let next = page.last().filter(|_| more).map(|last| named_token(&last.name));
            let issuers = page.iter().map(Into::into).collect();
            v1::ListIssuersResponse { position: None, issuers, next_page_token: next.unwrap_or_default() }
        })
    }

    async fn put_identity(
        &self,
        request: Request<v1::PutIdentityRequest>,
    ) -> Result<Response<v1::PutIdentityResponse>, Status> {
        write!(self, request, "PutIdentity", ChangeIdentities)
    }

    async fn remove_identity(
        &self,
        request: Request<v1::RemoveIdentityRequest>,
    ) -> Result<Response<v1::RemoveIdentityResponse>, Status> {
        write!(self, request, "RemoveIdentity", ChangeIdentities)
    }

    async fn list_identities(
        &self,
        request: Request<v1::ListIdentitiesRequest>,
    ) -> Result<Response<v1::ListIdentitiesResponse>, Status> {
        read!(self, request, "ListIdentities", ReadAccess, ReadAnswer::Identities(page, more) => {
            let next = page.last().filter(|_| more).map(|last| named_token(&last.identity));
            let identities = page.iter().map(Into::into).collect();
            v1::ListIdentitiesResponse { position: None, identities, next_page_token: next.unwrap_or_default() }
        })
    }

    async fn put_subject(
        &self,
        request: Request<v1::PutSubjectRequest>,
    ) -> Result<Response<v1::PutSubjectResponse>, Status> {
        write!(self, request, "PutSubject", ChangeIdentities)
    }

    async fn remove_subject(
        &self,
        request: Request<v1::RemoveSubjectRequest>,
    ) -> Result<Response<v1::RemoveSubjectResponse>, Status> {
        write!(self, request, "RemoveSubject", ChangeIdentities)
    }

    async fn revoke_credentials(
        &self,
        request: Request<v1::RevokeCredentialsRequest>,
    ) -> Result<Response<v1::RevokeCredentialsResponse>, Status> {
        write!(self, request, "RevokeCredentials", RevokeToken)
    }

    async fn list_subjects(
        &self,
        request: Request<v1::ListSubjectsRequest>,
    ) -> Result<Response<v1::ListSubjectsResponse>, Status> {
        read!(self, request, "ListSubjects", ReadAccess, ReadAnswer::Subjects(page, more) => {
            let next = page.last().filter(|_| more).map(|last| named_token(&last.subject));
            let subjects = page.iter().map(Into::into).collect();
            v1::ListSubjectsResponse { position: None, subjects, next_page_token: next.unwrap_or_default() }
        })
    }

    async fn put_group(
        &self,
        request: Request<v1::PutGroupRequest>,
    ) -> Result<Response<v1::PutGroupResponse>, Status> {
        write!(self, request, "PutGroup", ChangeIdentities)
    }

    async fn remove_group(
        &self,
        request: Request<v1::RemoveGroupRequest>,
    ) -> Result<Response<v1::RemoveGroupResponse>, Status> {
        write!(self, request, "RemoveGroup", ChangeIdentities)
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        read!(self, request, "ListGroups", ReadAccess, ReadAnswer::Groups(page, more) => {
            let next = page.last().filter(|_| more).map(|last| named_token(&last.name));
            let groups = page.iter().map(Into::into).collect();
            v1::ListGroupsResponse { position: None, groups, next_page_token: next.unwrap_or_default() }
        })
    }

    /// What is wrong with a text is said only to who may put policies.
    async fn put_policy(
        &self,
        request: Request<v1::PutPolicyRequest>,
    ) -> Result<Response<v1::PutPolicyResponse>, Status> {
        let message = request.get_ref();
        let checked = message.name.parse().ok().map(|name| Policy::check(&name, &message.text));
        if let Some(Err(error)) = checked {
            let (caller, _) = take(request)?;
            let wrong = keyclave_proto::status::status(
                Reason::PolicyInvalid,
                &error.to_string(),
                std::collections::BTreeMap::new(),
            );
            let refused = self.pipeline.said(&caller, "PutPolicy", Action::ChangePolicies, &wrong).await;
            return refused.map(|(response, _)| response);
        }
        write!(self, request, "PutPolicy", ChangePolicies)
    }

    async fn remove_policy(
        &self,
        request: Request<v1::RemovePolicyRequest>,
    ) -> Result<Response<v1::RemovePolicyResponse>, Status> {
        write!(self, request, "RemovePolicy", ChangePolicies)
    }

    async fn get_policy(
        &self,
        request: Request<v1::GetPolicyRequest>,
    ) -> Result<Response<v1::GetPolicyResponse>, Status> {
        read!(self, request, "GetPolicy", ReadAccess, ReadAnswer::Policy(policy) => {
            let (name, put_at_unix_ms) = (policy.name.to_string(), policy.put_at.0);
            v1::GetPolicyResponse { position: None, name, text: policy.text, put_at_unix_ms }
        })
    }

    async fn list_policies(
        &self,
        request: Request<v1::ListPoliciesRequest>,
    ) -> Result<Response<v1::ListPoliciesResponse>, Status> {
        read!(self, request, "ListPolicies", ReadAccess, ReadAnswer::Policies(page, more) => {
            let next = page.last().filter(|_| more).map(named_token);
            let names = page.iter().map(ToString::to_string).collect();
            v1::ListPoliciesResponse { position: None, names, next_page_token: next.unwrap_or_default() }
        })
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        read!(self, request, "Explain", ReadAccess, ReadAnswer::Explained(explanation) => explained(&explanation))
    }

    async fn who_can(
        &self,
        request: Request<v1::WhoCanRequest>,
    ) -> Result<Response<v1::WhoCanResponse>, Status> {
        read!(self, request, "WhoCan", ReadAccess, ReadAnswer::Able(able) => {
            v1::WhoCanResponse { position: None, able: able.iter().map(Into::into).collect() }
        })
    }
}
