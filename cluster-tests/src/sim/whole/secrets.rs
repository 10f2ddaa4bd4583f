//! What the people of a simulated cluster hold and pass to each other: shares, the root token, requests to join on
//! their way to the leader, and ciphertexts to be decrypted later.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyclave_node::joining::{JoinAnswer, JoinAsk};
use tokio::sync::oneshot;

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
    joins: VecDeque<Join>,
    join_tokens: BTreeMap<u64, String>,
    ciphertexts: BTreeMap<(Key, u32), Vec<u8>>,
}

/// A node that asks to be let in.
pub struct Join {
    /// Its number in the network.
    pub host: u64,
    /// Who.
    pub ask: JoinAsk,
    /// Where the answer goes.
    pub reply: oneshot::Sender<JoinAnswer>,
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

    /// Asks whoever leads.
    pub fn ask_to_join(&self, join: Join) {
        self.held().joins.push_back(join);
    }

    /// The next node that asks.
    pub fn next_join(&self) -> Option<Join> {
        self.held().joins.pop_front()
    }

    /// The join token that was made for a node.
    pub fn join_token(&self, host: u64) -> Option<String> {
        self.held().join_tokens.get(&host).cloned()
    }

    /// This join token was made for a node.
    pub fn keep_join_token(&self, host: u64, token: String) {
        self.held().join_tokens.insert(host, token);
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
