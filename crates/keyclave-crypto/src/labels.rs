//! Every label and every associated-data layout, in one place, so that no two uses of one key can meet.
//!
//! A label is ASCII and ends in its only zero byte, so that no label is the beginning of another. Numbers are
//! big-endian. In each layout at most the last field has a length of its own; everything before it is fixed.

use keyclave_types::ciphertext::{HEADER_BYTES, Header};
use keyclave_types::ids::{ClusterId, RecordId};
use keyclave_types::position::Revision;

/// What one use of a key is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(&'static str);

impl Label {
    /// The label's bytes, its zero byte included.
    pub const fn bytes(self) -> &'static [u8] {
        self.0.as_bytes()
    }
}

/// A record under an epoch key: [`record`].
pub const RECORD: Label = Label("keyclave record 1\0");
/// A record's id under the index key: label ‖ kind (1) ‖ name.
pub const RECORD_ID: Label = Label("keyclave record id 1\0");
/// HKDF information for the wrapping key under a root.
pub const WRAP_KEY: Label = Label("keyclave keyring wrap key 1\0");
/// A wrapped keyring: label ‖ what its caller binds.
pub const WRAP: Label = Label("keyclave keyring 1\0");
/// The commitment to one whole share: SHA-256(label ‖ share).
pub const SHARE_COMMITMENT: Label = Label("keyclave share commitment 1\0");
/// The check sum in a share: the first bytes of SHA-256(label ‖ share up to it).
pub const SHARE_CHECK: Label = Label("keyclave share check 1\0");
/// A node's code: the beginning of SHA-256(label ‖ boot key's public half).
pub const NODE_CODE: Label = Label("keyclave node code 1\0");
/// HPKE information: a share on its way to the node of a ceremony.
pub const SHARE_TO_NODE: Label = Label("keyclave share to node 1\0");
/// HPKE information: the root on its way to a member that was vouched for.
pub const ROOT_TO_NODE: Label = Label("keyclave root to node 1\0");
/// A token under a token key: label ‖ kind's letter (1) ‖ id (12) ‖ secret (32).
pub const TOKEN: Label = Label("keyclave token 1\0");
/// What a restart key signs: label ‖ boot key's public half (32) ‖ TLS exporter.
pub const RESTART: Label = Label("keyclave restart 1\0");
/// What the writer key signs to show a sealed node who may have a share: label ‖ cluster (16) ‖ node (8) ‖ the signer's
/// boot key (32) ‖ the asking boot key (32) ‖ TLS exporter.
pub const SHARE_RECEIVER: Label = Label("keyclave share receiver 1\0");
/// What the writer key signs to tell a node that it was removed: label ‖ cluster (16) ‖ node (8) ‖ TLS exporter, which
/// has both ends' keys in its context.
pub const REMOVED: Label = Label("keyclave removed 1\0");
/// The dialler's proof under the peer key: label ‖ TLS exporter.
pub const PEER_DIALLER: Label = Label("keyclave peer dialler 1\0");
/// The acceptor's proof under the peer key: label ‖ TLS exporter.
pub const PEER_ACCEPTOR: Label = Label("keyclave peer acceptor 1\0");
/// An audit body under a segment key: label ‖ what its caller binds.
pub const AUDIT_BODY: Label = Label("keyclave audit body 1\0");
/// The MAC of a caller's associated data in an audit body: label ‖ associated data.
pub const AUDIT_ASSOCIATED_DATA: Label = Label("keyclave audit associated data 1\0");

/// All of them, for the test that they differ.
#[cfg(test)]
const ALL: [Label; 17] = [
    RECORD,
    RECORD_ID,
    WRAP_KEY,
    WRAP,
    SHARE_COMMITMENT,
    SHARE_CHECK,
    NODE_CODE,
    SHARE_TO_NODE,
    ROOT_TO_NODE,
    TOKEN,
    RESTART,
    SHARE_RECEIVER,
    REMOVED,
    PEER_DIALLER,
    PEER_ACCEPTOR,
    AUDIT_BODY,
    AUDIT_ASSOCIATED_DATA,
];

/// Where a record lies: a blob opens nowhere else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Which cluster.
    pub cluster: ClusterId,
    /// The kind's stored number.
    pub kind: u8,
    /// Which record.
    pub id: RecordId,
    /// Which state of it.
    pub revision: Revision,
}

/// Associated data of a record: label ‖ cluster id (16) ‖ kind (1) ‖ record id (16) ‖ revision (8).
pub(crate) fn record(place: &Place) -> Vec<u8> {
    [
        RECORD.bytes(),
        place.cluster.as_bytes(),
        &[place.kind],
        place.id.as_bytes(),
        &place.revision.0.to_be_bytes(),
    ]
    .concat()
}

/// Associated data of a message: header (21) ‖ the caller's associated data. It has no label, because the header's
/// first byte is the ciphertext's format and a version's key is used for messages only.
pub(crate) fn message_header(header: Header) -> [u8; HEADER_BYTES] {
    header.to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_label_begins_another() {
        for (at, label) in ALL.iter().enumerate() {
            assert_eq!(label.bytes().iter().position(|byte| *byte == 0), Some(label.bytes().len() - 1));
            assert!(ALL.iter().skip(at + 1).all(|other| other != label), "{label:?}");
        }
    }

    #[test]
    fn a_record_is_bound_to_every_part_of_its_place() {
        let place = Place {
            cluster: ClusterId::from_bytes([1; 16]),
            kind: 2,
            id: RecordId::from_bytes([3; 16]),
            revision: Revision(4),
        };
        let mut golden = b"keyclave record 1\0".to_vec();
        golden.extend([1; 16]);
        golden.push(2);
        golden.extend([3; 16]);
        golden.extend([0, 0, 0, 0, 0, 0, 0, 4]);
        assert_eq!(record(&place), golden);
    }
}
