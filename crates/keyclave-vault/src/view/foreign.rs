//! Client roots, issuers and identities as the records of one view say them, parsed once. One that does not parse
//! believes nobody.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use keyclave_crypto::certificate::ClientRoot;
use keyclave_crypto::jwk::KeySet;
use keyclave_types::access::Subject;
use keyclave_types::identity::{
    CertificateNames, ClientRootDescription, Identity, IdentityDescription, IssuerDescription, IssuerName,
    RootName,
};

use crate::records::foreign::{ClientRootRecord, IdentityRecord, IssuerRecord};

/// Who is believed, and who is who.
#[derive(Clone, Default)]
pub(crate) struct ForeignRecords {
    roots: OrdMap<RootName, Arc<OpenedRoots>>,
    issuers: OrdMap<IssuerName, Arc<OpenedIssuer>>,
    identities: OrdMap<Identity, (Subject, u64)>,
}

/// The certificates of one record.
pub(crate) struct OpenedRoots {
    pub(crate) names: CertificateNames,
    pub(crate) roots: Vec<ClientRoot>,
}

/// One issuer with its keys.
pub(crate) struct OpenedIssuer {
    pub(crate) record: IssuerRecord,
    pub(crate) keys: KeySet,
}

impl ForeignRecords {
    pub(crate) fn put_root(&mut self, record: &ClientRootRecord) {
        let roots: Result<Vec<_>, _> = record.certificates.iter().map(|der| ClientRoot::parse(der)).collect();
        match roots {
            Ok(roots) => {
                let opened = OpenedRoots { names: record.names, roots };
                self.roots.insert(record.name.clone(), Arc::new(opened));
            }
            Err(_) => self.remove_root(&record.name),
        }
    }

    pub(crate) fn remove_root(&mut self, name: &RootName) {
        self.roots.remove(name);
    }

    pub(crate) fn put_issuer(&mut self, record: &IssuerRecord) {
        match KeySet::parse(record.keys.as_bytes()) {
            Ok(keys) => {
                let opened = OpenedIssuer { record: record.clone(), keys };
                self.issuers.insert(record.name.clone(), Arc::new(opened));
            }
            Err(_) => self.remove_issuer(&record.name),
        }
    }

    pub(crate) fn remove_issuer(&mut self, name: &IssuerName) {
        self.issuers.remove(name);
    }

    pub(crate) fn put_identity(&mut self, record: &IdentityRecord) {
        self.identities.insert(record.identity.clone(), (record.subject.clone(), record.credential_epoch));
    }

    pub(crate) fn remove_identity(&mut self, identity: &Identity) {
        self.identities.remove(identity);
    }

    pub(crate) fn roots(&self) -> impl ExactSizeIterator<Item = (&RootName, &OpenedRoots)> {
        self.roots.iter().map(|(name, roots)| (name, &**roots))
    }

    pub(crate) fn issuers(&self) -> impl ExactSizeIterator<Item = &OpenedIssuer> {
        self.issuers.values().map(|issuer| &**issuer)
    }

    pub(crate) fn identities_count(&self) -> usize {
        self.identities.len()
    }

    pub(crate) fn roots_after(
        &self,
        after: Option<&RootName>,
    ) -> impl Iterator<Item = ClientRootDescription> {
        self.roots.range((beyond(after), Bound::Unbounded)).map(|(name, opened)| ClientRootDescription {
            name: name.clone(),
            names: opened.names,
            certificates: opened.roots.iter().map(|root| (root.fingerprint(), root.not_after())).collect(),
        })
    }

    pub(crate) fn issuers_after(
        &self,
        after: Option<&IssuerName>,
    ) -> impl Iterator<Item = IssuerDescription> {
        self.issuers.range((beyond(after), Bound::Unbounded)).map(|(name, opened)| IssuerDescription {
            name: name.clone(),
            issuer: opened.record.issuer.clone(),
            audience: opened.record.audience.clone(),
            algorithms: opened.record.algorithms.clone(),
        })
    }

    /// `epoch` says which credentials of a subject count.
    pub(crate) fn identities_after(
        &self,
        after: Option<&Identity>,
        epoch: impl Fn(&Subject) -> Option<u64>,
    ) -> impl Iterator<Item = IdentityDescription> {
        let identities = self.identities.range((beyond(after), Bound::Unbounded));
        identities.map(move |(identity, (subject, made))| IdentityDescription {
            identity: identity.clone(),
            subject: subject.clone(),
            counts: epoch(subject) == Some(*made),
        })
    }
}

fn beyond<T: Clone>(after: Option<&T>) -> Bound<T> {
    after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()))
}
