//! Who is believed about callers, and who callers are: client roots, issuers, identities. Each changes the access head.

use keyclave_crypto::certificate::ClientRoot;
use keyclave_crypto::jwk::KeySet;
use keyclave_types::access::Subject;
use keyclave_types::identity::{ClientRootSettings, Identity, IssuerName, IssuerSettings, RootName};
use keyclave_types::request::WriteAnswer;

use crate::decide::access::{Change, administrators_stay, room};
use crate::draft::Draft;
use crate::records::access::SubjectRecord;
use crate::records::foreign::{ClientRootRecord, IdentityRecord, IssuerRecord};
use crate::records::{Body, RecordName};
use crate::refusal::Refusal;
use crate::view::HeldBody;

/// Names of client roots of one cluster: a certificate that nobody is known by is tried under each.
const ROOTS_MAX: usize = 16;
/// Certificates under one name.
const ROOT_CERTIFICATES_MAX: usize = 4;
/// Issuers of one cluster.
const ISSUERS_MAX: usize = 64;
/// Issuers with one name in `iss`: each signature is tried with all of them.
const ISSUERS_OF_ONE_NAME_MAX: usize = 8;
/// Identities of one cluster.
const IDENTITIES_MAX: usize = 100_000;

pub(super) fn put_root(draft: &mut Draft<'_>, root: &ClientRootSettings) -> Result<WriteAnswer, Refusal> {
    if root.certificates.is_empty() || root.certificates.len() > ROOT_CERTIFICATES_MAX {
        return Err(Refusal::RootUnusable);
    }
    let mut fingerprints = Vec::new();
    for certificate in &root.certificates {
        fingerprints.push(ClientRoot::parse(certificate).map_err(|_| Refusal::RootUnusable)?.fingerprint());
    }
    let known = draft.reader.view().indexes().foreign_records().roots();
    let (there, mut taken) = (known.len(), false);
    for (name, opened) in known {
        // One certificate under two names would make of one caller two identities.
        taken |= *name != root.name
            && opened.roots.iter().any(|other| fingerprints.contains(&other.fingerprint()));
    }
    if taken {
        return Err(Refusal::RootKnown);
    }
    let ClientRootSettings { name, names, certificates } = root.clone();
    put(draft, &ClientRootRecord { name, names, certificates }, there, ROOTS_MAX)
}

pub(super) fn remove_root(draft: &mut Draft<'_>, name: &RootName) -> Result<WriteAnswer, Refusal> {
    remove::<ClientRootRecord>(draft, &RecordName::ClientRoot(name), Refusal::RootUnknown)
}

pub(super) fn put_issuer(draft: &mut Draft<'_>, issuer: &IssuerSettings) -> Result<WriteAnswer, Refusal> {
    KeySet::parse(issuer.keys.as_bytes()).map_err(|_| Refusal::KeySetUnusable)?;
    if issuer.algorithms.is_empty() {
        return Err(Refusal::KeySetUnusable);
    }
    let known = draft.reader.view().indexes().foreign_records().issuers();
    let there = known.len();
    let alike =
        known.filter(|other| other.record.issuer == issuer.issuer && other.record.name != issuer.name);
    if alike.count() >= ISSUERS_OF_ONE_NAME_MAX {
        return Err(Refusal::AccessMax { limit: ISSUERS_OF_ONE_NAME_MAX });
    }
    let IssuerSettings { name, issuer, audience, algorithms, keys } = issuer.clone();
    put(draft, &IssuerRecord { name, issuer, audience, algorithms, keys }, there, ISSUERS_MAX)
}

pub(super) fn remove_issuer(draft: &mut Draft<'_>, name: &IssuerName) -> Result<WriteAnswer, Refusal> {
    remove::<IssuerRecord>(draft, &RecordName::Issuer(name), Refusal::IssuerUnknown)
}

/// The root or issuer must be there, so that a mistyped name does not wait for whoever comes to be called so.
pub(super) fn put_identity(
    draft: &mut Draft<'_>,
    identity: &Identity,
    subject: &Subject,
) -> Result<WriteAnswer, Refusal> {
    match identity {
        Identity::Certificate { root, name } => {
            let found = draft.reader.get::<ClientRootRecord>(&RecordName::ClientRoot(root));
            if found.ok_or(Refusal::RootUnknown)?.names != name.kind() {
                return Err(Refusal::IdentitySort);
            }
        }
        Identity::Claim { issuer, .. } => {
            draft.reader.get::<IssuerRecord>(&RecordName::Issuer(issuer)).ok_or(Refusal::IssuerUnknown)?;
        }
    }
    let found = draft.reader.get::<SubjectRecord>(&RecordName::Subject(subject));
    let credential_epoch = found.ok_or(Refusal::SubjectUnknown)?.credential_epoch;
    let there = draft.reader.view().indexes().foreign_records().identities_count();
    let record = IdentityRecord { identity: identity.clone(), subject: subject.clone(), credential_epoch };
    put(draft, &record, there, IDENTITIES_MAX)
}

pub(super) fn remove_identity(draft: &mut Draft<'_>, identity: &Identity) -> Result<WriteAnswer, Refusal> {
    remove::<IdentityRecord>(draft, &RecordName::Identity(identity), Refusal::IdentityUnknown)
}

fn put<T: HeldBody + Body + PartialEq + 'static>(
    draft: &mut Draft<'_>,
    record: &T,
    there: usize,
    limit: usize,
) -> Result<WriteAnswer, Refusal> {
    let found = draft.reader.get::<T>(&record.name());
    room(found.is_some(), there, limit)?;
    if found == Some(record) {
        return Ok(WriteAnswer::Done);
    }
    draft.put(record);
    administrators_stay(draft, Change::Foreign)
}

fn remove<T: HeldBody + 'static>(
    draft: &mut Draft<'_>,
    name: &RecordName<'_>,
    unknown: Refusal,
) -> Result<WriteAnswer, Refusal> {
    draft.reader.get::<T>(name).ok_or(unknown)?;
    draft.delete(name);
    administrators_stay(draft, Change::Foreign)
}
