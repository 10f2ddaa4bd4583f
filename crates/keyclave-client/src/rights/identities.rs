//! Who callers are to others: client roots, issuers, identities.

use keyclave_proto::answer::certificate_names;
use keyclave_proto::request::Invalid;
use keyclave_proto::v1;
use keyclave_types::access::Subject;
use keyclave_types::identity::{
    ClientRootDescription, ClientRootSettings, Identity, IdentityDescription, IssuerDescription, IssuerName,
    IssuerSettings, RootName,
};

use super::Page;
use crate::client::{Answer, Client, answer};
use crate::error::{ReadError, WriteError};
use crate::keys::PageToken;
use crate::wire;

impl Client {
    /// Trusts authorities to issue callers' certificates, or replaces them.
    pub async fn put_client_root(&self, root: &ClientRootSettings) -> Result<Answer<()>, WriteError> {
        write!(
            self,
            put_client_root,
            PutClientRootRequest {
                name: root.name.to_string(),
                names: certificate_names(root.names).into(),
                certificates: root.certificates.clone(),
            }
        )
    }

    /// Trusts them no longer, on open connections too.
    pub async fn remove_client_root(&self, name: &RootName) -> Result<Answer<()>, WriteError> {
        write!(self, remove_client_root, RemoveClientRootRequest { name: name.to_string() })
    }

    /// One page of client roots; `page_size` 0 leaves it to the server.
    pub async fn list_client_roots(
        &self,
        page_size: u32,
        after: Option<PageToken>,
    ) -> Result<Answer<Page<ClientRootDescription>>, ReadError> {
        list!(self, list_client_roots, ListClientRootsRequest => ListClientRootsResponse.client_roots, page_size,
            after, TryInto::try_into)
    }

    /// Believes an issuer's JWTs, or replaces how they are believed.
    pub async fn put_issuer(&self, issuer: &IssuerSettings) -> Result<Answer<()>, WriteError> {
        write!(
            self,
            put_issuer,
            PutIssuerRequest {
                name: issuer.name.to_string(),
                issuer: issuer.issuer.clone(),
                audience: issuer.audience.clone(),
                algorithms: issuer.algorithms.iter().map(ToString::to_string).collect(),
                jwks: issuer.keys.clone(),
            }
        )
    }

    /// Believes them no longer.
    pub async fn remove_issuer(&self, name: &IssuerName) -> Result<Answer<()>, WriteError> {
        write!(self, remove_issuer, RemoveIssuerRequest { name: name.to_string() })
    }

    /// One page of issuers; `page_size` 0 leaves it to the server.
    pub async fn list_issuers(
        &self,
        page_size: u32,
        after: Option<PageToken>,
    ) -> Result<Answer<Page<IssuerDescription>>, ReadError> {
        list!(self, list_issuers, ListIssuersRequest => ListIssuersResponse.issuers, page_size, after,
            TryInto::try_into)
    }

    /// Says which subject an identity is.
    pub async fn put_identity(
        &self,
        identity: &Identity,
        subject: &Subject,
    ) -> Result<Answer<()>, WriteError> {
        write!(
            self,
            put_identity,
            PutIdentityRequest { identity: identity.to_string(), subject: subject.to_string() }
        )
    }

    /// Says that it is nobody.
    pub async fn remove_identity(&self, identity: &Identity) -> Result<Answer<()>, WriteError> {
        write!(self, remove_identity, RemoveIdentityRequest { identity: identity.to_string() })
    }

    /// One page of identities; `page_size` 0 leaves it to the server.
    pub async fn list_identities(
        &self,
        page_size: u32,
        after: Option<PageToken>,
    ) -> Result<Answer<Page<IdentityDescription>>, ReadError> {
        list!(self, list_identities, ListIdentitiesRequest => ListIdentitiesResponse.identities, page_size, after,
            TryInto::try_into)
    }
}
