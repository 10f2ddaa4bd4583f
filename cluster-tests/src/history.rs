//! What happened in one run: everything that clients asked and were told, who led, what each node applied, which
//! faults were made. The invariants are pure functions over it; its hash tells whether two runs were the same.
//!
//! Deliberately absent: any judgement, and any clock (the moment comes in with each event).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

/// A record of the ledger by a small number; the harness maps it to a record id.
pub type Key = u32;

/// What a record held: its revision and a value that is written once in a run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Held {
    /// Revision of the record.
    pub revision: u64,
    /// Its content.
    pub value: u64,
}

/// One thing that a client asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Act {
    /// A transaction: what must stand, and what shall stand afterwards (`None` is absent).
    Transact {
        /// Preconditions: a revision, or absence.
        expects: BTreeMap<Key, Option<u64>>,
        /// Changes.
        changes: BTreeMap<Key, Option<Held>>,
    },
    /// A confirmed read of one record.
    Read {
        /// Which.
        key: Key,
    },
    /// Something asked of a key of the product.
    Key {
        /// Which.
        key: Key,
        /// What.
        act: KeyAct,
    },
}

/// One thing that a caller asks of a key of the product.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KeyAct {
    /// Make it.
    Create,
    /// Give it another version.
    Rotate,
    /// Allow it or stop it.
    SetEnabled(bool),
    /// Destroy the material of one version.
    Destroy(u32),
    /// Encrypt with the version that encrypts.
    Encrypt,
    /// Decrypt what this version encrypted.
    Decrypt(u32),
    /// Describe it.
    Describe,
}

/// What the caller was told about a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KeyAnswer {
    /// It is so afterwards: the version that encrypts, and whether it does anything.
    Is {
        /// The version that encrypts.
        primary: u32,
        /// Whether it does anything.
        enabled: bool,
    },
    /// Encrypted or decrypted with this version.
    Used(u32),
    /// There is no such key.
    Absent,
    /// There is one already.
    Exists,
    /// It is disabled.
    Disabled,
    /// The version's material is destroyed.
    Destroyed,
}

/// What the client was told. An act without an answer may or may not have happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The transaction was made, in the entry of this index.
    Committed {
        /// Log index.
        index: u64,
    },
    /// The transaction was not made: this record was not as expected, or the put was not above it.
    Conflict {
        /// Which record.
        key: Key,
    },
    /// What the record held.
    Found(Option<Held>),
    /// What the product said of a key.
    Key(KeyAnswer),
    /// The act surely had no effect and says nothing about any record.
    Refused,
}

/// One entry of a node's log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogLine {
    /// Its index.
    pub index: u64,
    /// Term of the leader that appended it.
    pub term: u64,
    /// That leader.
    pub leader: u64,
    /// Hash of all its stored bytes.
    pub hash: String,
}

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// A client began an act.
    Invoked {
        /// Numbers the act in the run.
        operation: u64,
        /// At which node.
        node: u64,
        /// What.
        act: Act,
    },
    /// The act was answered.
    Answered {
        /// Which act.
        operation: u64,
        /// How.
        answer: Answer,
    },
    /// A node saw itself lead.
    Leading {
        /// Which node.
        node: u64,
        /// In which term.
        term: u64,
    },
    /// A node stands at an index with a digest of its state.
    Applied {
        /// Which node.
        node: u64,
        /// Index of the last applied entry.
        index: u64,
        /// Digest of all records.
        digest: String,
    },
    /// A node's whole log at the end.
    Log {
        /// Which node.
        node: u64,
        /// Ascending; what was purged is not in it.
        entries: Vec<LogLine>,
    },
    /// A node's records at the end.
    Records {
        /// Which node.
        node: u64,
        /// Those that exist.
        records: BTreeMap<Key, Held>,
    },
    /// A fault began or ended.
    Fault {
        /// Its class, counted in the report.
        class: String,
        /// Where.
        node: u64,
    },
    /// The scheduled versions of a key that rotates by itself, as described.
    Scheduled {
        /// Which key.
        key: Key,
        /// How long its period is.
        every_ms: u64,
        /// Per version when it fell due, in the order of versions.
        due_ms: Vec<u64>,
        /// When the key was made.
        made_ms: u64,
        /// The clock when it was described.
        now_ms: u64,
        /// Whether the cluster had healed, so that nothing may be missing.
        at_rest: bool,
    },
    /// A lying member sent something that nobody may believe.
    Forged {
        /// Which node lies.
        node: u64,
        /// To which member.
        to: u64,
        /// What it sent.
        what: String,
        /// Whether it was taken for true.
        believed: bool,
        /// Hash of the entry in it, if there was one.
        hash: Option<String>,
    },
    /// A node's disk was put back to what it held earlier.
    RolledBack {
        /// Which node.
        node: u64,
        /// The last index of its log before.
        from: u64,
        /// The last index of its log afterwards.
        to: u64,
        /// The node that led from the earlier moment on, if it was one and the same.
        seen_by: Option<u64>,
    },
    /// A node that lied, or whose disk was put back, was taken out for good.
    CastOut {
        /// Which node.
        node: u64,
    },
    /// What nodes said to each other was searched for secrets.
    Overheard {
        /// Whether anything was said on connections that are not keyed. How many bytes depends on how headers are
        /// packed, which is not the seed's doing.
        plain_heard: bool,
        /// Who said something secret there.
        speakers: BTreeSet<u64>,
        /// Places on keyed connections that hold something secret.
        keyed_hits: u64,
    },
    /// A node's disk and trail were searched for secrets.
    Searched {
        /// Which node.
        node: u64,
        /// Bytes.
        bytes: u64,
        /// Places that hold something secret.
        hits: u64,
    },
    /// A node saw that it is sealed.
    Sealed {
        /// Which node.
        node: u64,
    },
    /// A node saw that it is unsealed.
    Unsealed {
        /// Which node.
        node: u64,
    },
    /// How many vote, as a leader has applied it.
    Voters {
        /// Which leader.
        node: u64,
        /// How many.
        count: u64,
    },
    /// An operator has come back from an errand.
    Errand {
        /// What it was.
        what: String,
        /// Whether the cluster said that it is done.
        done: bool,
    },
    /// A node came up.
    Started {
        /// Which node.
        node: u64,
    },
    /// A node's process could not go on and had to end.
    Stopped {
        /// Which node.
        node: u64,
        /// What it says.
        why: String,
    },
    /// The run could not go on, or did not come to where it should.
    Broken {
        /// Why.
        why: String,
    },
    /// All faults have ended; from here the cluster must heal.
    FaultsEnded,
    /// After the faults a write was acknowledged at every node's state.
    Healed,
}

/// One event and its moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Recorded {
    /// Simulated milliseconds since the start.
    pub at_ms: u64,
    /// What happened.
    pub event: Event,
}

/// Where events are written in the order in which they happen; clones write to the same history.
#[derive(Clone, Default)]
pub struct Recorder {
    events: Arc<Mutex<Vec<Recorded>>>,
    heard: Option<Hear>,
}

/// Somebody who hears of each event as it happens.
pub type Hear = Arc<dyn Fn(&Recorded) + Send + Sync>;

impl Recorder {
    /// An empty history whose events `hear` hears as they happen.
    pub fn heard_by(hear: Hear) -> Self {
        Self { heard: Some(hear), ..Self::default() }
    }

    /// Adds one event.
    pub fn record(&self, at_ms: u64, event: Event) {
        let recorded = Recorded { at_ms, event };
        if let Some(hear) = &self.heard {
            hear(&recorded);
        }
        self.lock().push(recorded);
    }

    /// Everything so far.
    pub fn history(&self) -> Vec<Recorded> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Recorded>> {
        // A writer that panicked left whole events behind: the vector is good.
        self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// One hash over all events: equal for equal histories.
pub fn hash(history: &[Recorded]) -> Result<String, serde_json::Error> {
    let mut hasher = blake3::Hasher::new();
    for recorded in history {
        hasher.update(&serde_json::to_vec(recorded)?);
        hasher.update(b"\n");
    }
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_content_order_and_moment() {
        let event = |at_ms, node| Recorded { at_ms, event: Event::Started { node } };
        let base = hash(&[event(1, 1), event(2, 2)]).unwrap();
        assert_eq!(base, hash(&[event(1, 1), event(2, 2)]).unwrap());
        assert_ne!(base, hash(&[event(2, 2), event(1, 1)]).unwrap());
        assert_ne!(base, hash(&[event(1, 1), event(3, 2)]).unwrap());
        assert_ne!(base, hash(&[event(1, 1)]).unwrap());
    }

    #[test]
    fn clones_of_a_recorder_write_one_history() {
        let recorder = Recorder::default();
        recorder.clone().record(1, Event::FaultsEnded);
        recorder.record(2, Event::Healed);
        assert_eq!(recorder.history().len(), 2);
    }
}
