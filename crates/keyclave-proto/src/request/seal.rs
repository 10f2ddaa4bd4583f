//! Requests of `SealService`.

use keyclave_types::ids::{CeremonyId, NodeId};
use keyclave_types::request::{NodeCode, Write, WriteKind};

use super::field::{self, At};
use super::{Asked, Cause, Invalid};
use crate::share_terms::{SubmitTerms, Vouched};
use crate::v1;

/// Bytes of one share, encrypted.
const ENCRYPTED_SHARE_BYTES_MAX: usize = 1024;
/// Characters of a code as it may be typed.
const CODE_BYTES_MAX: usize = 64;
/// A share that only one process can read.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptedShare {
    /// Encapsulated key and ciphertext.
    pub bytes: Vec<u8>,
    /// The boot key that it is encrypted to.
    pub boot_public_key: [u8; 32],
}

impl std::fmt::Debug for EncryptedShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EncryptedShare { .. }")
    }
}

/// One share on its way to one process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubmitShare {
    /// The node; the asked one if none.
    pub node: Option<NodeId>,
    /// The share.
    pub share: EncryptedShare,
    /// What it is given for.
    pub terms: SubmitTerms,
}

/// The end of a ceremony.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResetCeremony {
    /// Where; the asked node if none.
    pub node: Option<NodeId>,
    /// Which one.
    pub ceremony: CeremonyId,
    /// What allows it while the node is sealed.
    pub share: Option<EncryptedShare>,
}

impl TryFrom<v1::SubmitShareRequest> for SubmitShare {
    type Error = Invalid;

    fn try_from(request: v1::SubmitShareRequest) -> Result<Self, Invalid> {
        let node = match request.node {
            0 => None,
            number => Some(field::node(number).at("node")?),
        };
        let share = encrypted_share(request.encrypted_share, &request.boot_public_key)?;
        let ceremony = CeremonyId::from_bytes(field::fixed(&request.ceremony_id).at("ceremony_id")?);
        let vouch_for = request.vouch_for.map(vouched).transpose()?;
        let terms = SubmitTerms { ceremony, vouch_for, admit_all_members: request.admit_all_members };
        Ok(Self { node, share, terms })
    }
}

impl TryFrom<v1::ResetCeremonyRequest> for ResetCeremony {
    type Error = Invalid;

    fn try_from(request: v1::ResetCeremonyRequest) -> Result<Self, Invalid> {
        let ceremony = CeremonyId::from_bytes(field::fixed(&request.ceremony_id).at("ceremony_id")?);
        let node = match request.node {
            0 => None,
            number => Some(field::node(number).at("node")?),
        };
        let share = if request.encrypted_share.is_empty() {
            None
        } else {
            Some(encrypted_share(request.encrypted_share, &request.boot_public_key)?)
        };
        Ok(Self { node, ceremony, share })
    }
}

impl TryFrom<v1::SealNodeRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::SealNodeRequest) -> Result<Self, Invalid> {
        use v1::seal_node_request::Target;
        let change = match request.target {
            Some(Target::Node(number)) => WriteKind::SealNode { node: field::node(number).at("node")? },
            Some(Target::Cluster(true)) => WriteKind::SealCluster,
            Some(Target::Cluster(false)) | None => return Err(Cause::Missing).at("target"),
        };
        field::write(change, &request.request_id, None)
    }
}

impl TryFrom<v1::AdmitRequest> for Asked<Write> {
    type Error = Invalid;

    fn try_from(request: v1::AdmitRequest) -> Result<Self, Invalid> {
        let node = field::node(request.node).at("node")?;
        let code = code(&request.code).at("code")?;
        field::write(WriteKind::Admit { node, code }, &request.request_id, None)
    }
}

fn vouched(vouched: v1::Vouched) -> Result<Vouched, Invalid> {
    let node = field::node(vouched.node).at("vouch_for.node")?;
    Ok(Vouched { node, code: code(&vouched.code).at("vouch_for.code")? })
}

fn code(text: &str) -> Result<NodeCode, Cause> {
    field::short(text.len(), CODE_BYTES_MAX)?;
    Ok(text.parse()?)
}

fn encrypted_share(bytes: Vec<u8>, boot_public_key: &[u8]) -> Result<EncryptedShare, Invalid> {
    if bytes.is_empty() {
        return Err(Cause::Missing).at("encrypted_share");
    }
    field::short(bytes.len(), ENCRYPTED_SHARE_BYTES_MAX).at("encrypted_share")?;
    let boot_public_key = field::fixed(boot_public_key).at("boot_public_key")?;
    Ok(EncryptedShare { bytes, boot_public_key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealing_says_what_it_seals() {
        use v1::seal_node_request::Target;
        let seal = |target| {
            let request = v1::SealNodeRequest { target, request_id: vec![1; 16] };
            Asked::<Write>::try_from(request).map(|asked| asked.request.change)
        };
        assert_eq!(seal(Some(Target::Cluster(true))), Ok(WriteKind::SealCluster));
        let node = NodeId::new(2).unwrap();
        assert_eq!(seal(Some(Target::Node(2))), Ok(WriteKind::SealNode { node }));
        for wrong in [None, Some(Target::Cluster(false)), Some(Target::Node(0)), Some(Target::Node(65_536))] {
            assert!(seal(wrong).is_err());
        }
    }

    #[test]
    fn a_share_names_the_boot_key_it_is_for() {
        let submit = |share: usize, key: usize| {
            SubmitShare::try_from(v1::SubmitShareRequest {
                encrypted_share: vec![1; share],
                boot_public_key: vec![2; key],
                ceremony_id: vec![3; 16],
                ..Default::default()
            })
        };
        assert_eq!(submit(100, 32).unwrap().node, None);
        assert_eq!(submit(0, 32).unwrap_err().field, "encrypted_share");
        assert_eq!(submit(1025, 32).unwrap_err().field, "encrypted_share");
        assert_eq!(submit(100, 31).unwrap_err().field, "boot_public_key");
        assert_eq!(format!("{:?}", submit(1, 32).unwrap().share), "EncryptedShare { .. }");
    }

    #[test]
    fn an_endless_code_is_refused_before_it_is_read() {
        let request = v1::AdmitRequest { node: 1, code: "-".repeat(1 << 20), request_id: vec![1; 16] };
        let invalid = Asked::<Write>::try_from(request).unwrap_err();
        assert_eq!(invalid.cause, Cause::Long { most: 64, found: 1 << 20 });
    }
}
