//! What the people of a simulated cluster hold and pass to each other: shares, tokens, errands for the operator, and
//! ciphertexts to be decrypted later.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::operator::Errand;
use crate::history::Key;

/// Shared by all nodes of a run. Clones share it.
#[derive(Clone, Default)]
pub struct Secrets {
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    shares: Vec<String>,
    root_token: Option<String>,
    errands: VecDeque<Errand>,
    tickets: BTreeMap<u64, String>,
    ciphertexts: BTreeMap<(Key, u32), Vec<u8>>,
}

impl Secrets {
    /// The cluster was founded.
    pub fn founded(&self, shares: Vec<String>, root_token: String) {
        let mut held = self.held();
        held.shares = shares;
        held.root_token = Some(root_token);
    }

    /// The shares; none before the cluster was founded.
    pub fn shares(&self) -> Vec<String> {
        self.held().shares.clone()
    }

    /// The root token.
    pub fn root_token(&self) -> Option<String> {
        self.held().root_token.clone()
    }

    /// Sends the operator.
    pub fn send(&self, errand: Errand) {
        self.held().errands.push_back(errand);
    }

    /// The operator's next errand.
    pub fn next_errand(&self) -> Option<Errand> {
        self.held().errands.pop_front()
    }

    /// The join token that was made for the node with this number in the network.
    pub fn ticket(&self, host: u64) -> Option<String> {
        self.held().tickets.get(&host).cloned()
    }

    /// Every join token that is at hand.
    pub fn tickets(&self) -> Vec<String> {
        self.held().tickets.values().cloned().collect()
    }

    /// This join token was made for a node.
    pub fn keep_ticket(&self, host: u64, token: String) {
        self.held().tickets.insert(host, token);
    }

    /// This node's join token is of no use.
    pub fn drop_ticket(&self, host: u64) {
        self.held().tickets.remove(&host);
    }

    /// Keeps a ciphertext of a key's version.
    pub fn keep(&self, key: Key, version: u32, ciphertext: Vec<u8>) {
        self.held().ciphertexts.insert((key, version), ciphertext);
    }

    /// The versions of a key of which a ciphertext was kept.
    pub fn kept(&self, key: Key) -> Vec<u32> {
        let of_key = |(of, version): &(Key, u32)| (*of == key).then_some(*version);
        self.held().ciphertexts.keys().filter_map(of_key).collect()
    }

    /// A kept ciphertext.
    pub fn ciphertext(&self, key: Key, version: u32) -> Option<Vec<u8>> {
        self.held().ciphertexts.get(&(key, version)).cloned()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Every change is whole before anything can panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
