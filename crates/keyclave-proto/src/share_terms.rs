//! What a share is given for, as the associated data of its encryption: whoever relays a share can neither change it
//! nor use the share in another ceremony, for another process, or to another end.
//!
//! Made by keyclave-client, read by the node that a share is encrypted to. Every form begins with its format and names
//! the ceremony, whose id changes when it ends: a share that was captured counts only where it has counted already.
//!
//! Deliberately absent: the boot key, to which the encryption itself binds the share.

use keyclave_types::ids::{CeremonyId, NodeId};
use keyclave_types::request::NodeCode;

const FORMAT: u8 = 0x02;
const SUBMIT: u8 = 0x01;
const RESET: u8 = 0x02;
const REJOIN: u8 = 0x03;

/// One process of one node, by its code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vouched {
    /// Its node.
    pub node: NodeId,
    /// Its code.
    pub code: NodeCode,
}

/// What a share does that is to be counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubmitTerms {
    /// The ceremony that it is given to.
    pub ceremony: CeremonyId,
    /// The process that it vouches for.
    pub vouch_for: Option<Vouched>,
    /// Whether all members are let in for a while once the cluster is unsealed.
    pub admit_all_members: bool,
}

/// What a share is given for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ShareTerms {
    /// It is to be counted.
    Submit(SubmitTerms),
    /// It ends this ceremony.
    Reset(CeremonyId),
}

impl ShareTerms {
    /// format (1) ‖ 0x01 ‖ ceremony (16) ‖ all members (1) ‖ nothing, or node (8) ‖ code (29); or format (1) ‖ 0x02 ‖
    /// ceremony (16).
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Submit(SubmitTerms { ceremony, vouch_for, admit_all_members }) => {
                let mut bytes = [&[FORMAT, SUBMIT], ceremony.as_bytes().as_slice()].concat();
                bytes.push(u8::from(*admit_all_members));
                if let Some(Vouched { node, code }) = vouch_for {
                    bytes.extend_from_slice(&node.get().to_be_bytes());
                    bytes.extend_from_slice(code.as_str().as_bytes());
                }
                bytes
            }
            Self::Reset(ceremony) => [&[FORMAT, RESET], ceremony.as_bytes().as_slice()].concat(),
        }
    }

    /// Reads [`Self::to_bytes`] back; nothing for anything that it does not make.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let ([FORMAT, kind], rest) = bytes.split_first_chunk::<2>()? else { return None };
        let (ceremony, rest) = rest.split_first_chunk::<16>()?;
        let ceremony = CeremonyId::from_bytes(*ceremony);
        let terms = match (*kind, rest) {
            (RESET, []) => Self::Reset(ceremony),
            (SUBMIT, [all @ (0 | 1), vouched @ ..]) => {
                let vouch_for = if vouched.is_empty() { None } else { Some(read_vouched(vouched)?) };
                Self::Submit(SubmitTerms { ceremony, vouch_for, admit_all_members: *all == 1 })
            }
            (_, _) => return None,
        };
        // One text for one meaning: a code in small letters is read and is not what was encrypted.
        (terms.to_bytes() == bytes).then_some(terms)
    }

    /// The ceremony that the share names.
    pub fn ceremony(&self) -> CeremonyId {
        match self {
            Self::Submit(terms) => terms.ceremony,
            Self::Reset(ceremony) => *ceremony,
        }
    }
}

/// A share that a sealed node shows an unsealed peer so that it vouches for the sealed one: format (1) ‖ 0x03 ‖
/// exporter of their connection ‖ the sealed process's boot key (32).
pub fn rejoin_terms(exporter: &[u8], boot_public_key: &[u8; 32]) -> Vec<u8> {
    [&[FORMAT, REJOIN], exporter, boot_public_key.as_slice()].concat()
}

fn read_vouched(bytes: &[u8]) -> Option<Vouched> {
    let (node, code) = bytes.split_first_chunk::<8>()?;
    let node = NodeId::new(u64::from_be_bytes(*node))?;
    let code = std::str::from_utf8(code).ok()?.parse().ok()?;
    Some(Vouched { node, code })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submit(vouch: bool, admit_all_members: bool) -> ShareTerms {
        let code = "ABCDE-FGHIJ-KLMNO-PQRST-UVWXY".parse().unwrap();
        let vouched = Vouched { node: NodeId::new(2).unwrap(), code };
        let ceremony = CeremonyId::from_bytes([7; 16]);
        ShareTerms::Submit(SubmitTerms { ceremony, vouch_for: vouch.then_some(vouched), admit_all_members })
    }

    #[test]
    fn golden_terms_stay() {
        let id = [7; 16];
        assert_eq!(submit(false, true).to_bytes(), [&[2, 1][..], &id, &[1]].concat());
        let vouching = [&[2, 1][..], &id, &[0], &[0, 0, 0, 0, 0, 0, 0, 2], b"ABCDE-FGHIJ-KLMNO-PQRST-UVWXY"];
        assert_eq!(submit(true, false).to_bytes(), vouching.concat());
        assert_eq!(ShareTerms::Reset(CeremonyId::from_bytes(id)).to_bytes(), [&[2, 2][..], &id].concat());
        assert_eq!(rejoin_terms(&[1; 32], &[9; 32]), [&[2, 3][..], &[1; 32], &[9; 32]].concat());
    }

    #[test]
    fn terms_read_back_and_nothing_else_is_read() {
        let all =
            [submit(false, false), submit(true, true), ShareTerms::Reset(CeremonyId::from_bytes([1; 16]))];
        for terms in all {
            let bytes = terms.to_bytes();
            assert_eq!(ShareTerms::from_bytes(&bytes), Some(terms));
            for cut in 0..bytes.len() {
                // Without its vouching a submission is a shorter one, which the encryption tells apart.
                assert!(cut == 19 || ShareTerms::from_bytes(&bytes[..cut]).is_none(), "{cut}");
            }
            assert_eq!(ShareTerms::from_bytes(&[bytes.as_slice(), &[0]].concat()), None);
            let lower = String::from_utf8_lossy(&bytes).to_lowercase().into_bytes();
            assert!(lower == bytes || ShareTerms::from_bytes(&lower).is_none());
        }
    }
}
