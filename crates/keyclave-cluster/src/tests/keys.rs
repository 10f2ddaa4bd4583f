//! Real signatures from fixed seeds: 200 is the writer's, a node's own is its number.

use std::sync::atomic::{AtomicBool, Ordering};

use keyclave_types::ids::{Incarnation, NodeId};
use keyclave_types::member::{Member, NodePublicKey};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::keys::{EntryKeys, PublicKey, Signature};

const WRITER: u8 = 200;

pub(crate) struct TestKeys {
    me: NodeId,
    sealed: AtomicBool,
}

impl TestKeys {
    pub(crate) fn new(me: NodeId, sealed: bool) -> Self {
        Self { me, sealed: AtomicBool::new(sealed) }
    }

    pub(crate) fn set_sealed(&self, sealed: bool) {
        self.sealed.store(sealed, Ordering::SeqCst);
    }

    pub(crate) fn sealed(&self) -> bool {
        self.sealed.load(Ordering::SeqCst)
    }
}

impl EntryKeys for TestKeys {
    fn sign_as_writer(&self, message: &[u8]) -> Option<Signature> {
        (!self.sealed()).then(|| sign(WRITER, message))
    }

    fn sign_as_node(&self, message: &[u8]) -> Signature {
        sign_as(self.me, message)
    }

    fn verify(&self, public: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
    }
}

pub(crate) fn sign_as(node: NodeId, message: &[u8]) -> Signature {
    sign(u8::try_from(node.get()).unwrap(), message)
}

pub(crate) fn writer_public() -> PublicKey {
    public(WRITER)
}

/// The member record of `node` on its first data directory.
pub(crate) fn member(node: NodeId) -> Member {
    let number = u8::try_from(node.get()).unwrap();
    Member { incarnation: Incarnation::from_bytes([number; 16]), key: NodePublicKey(public(number)) }
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn public(seed: u8) -> PublicKey {
    pair(seed).public_key().as_ref().try_into().unwrap()
}

fn sign(seed: u8, message: &[u8]) -> Signature {
    pair(seed).sign(message).as_ref().try_into().unwrap()
}
