//! What real callers ask and are told, as a history for the invariants.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use keyclave_client::Client;
use keyclave_client::crypto::DecryptWith;
use keyclave_client::error::{ReadError, WriteError};
use keyclave_client::refusal::Refusal;
use keyclave_types::key::{Algorithm, KeyDescription, KeyRules, KeyState, Version};
use keyclave_types::name::KeyName;
use tokio::time::Instant;

use crate::history::{Act, Answer, Event, Key, KeyAct, KeyAnswer, Recorded, Recorder};

/// What every message is bound to.
const ASSOCIATED_DATA: &[u8] = b"live";

/// One ciphertext per key and version.
type Ciphertexts = BTreeMap<(Key, u32), Vec<u8>>;

/// One history that many callers write, and the ciphertexts that they leave each other.
#[derive(Clone)]
pub struct Journal {
    recorder: Recorder,
    begun: Instant,
    operations: Arc<AtomicU64>,
    ciphertexts: Arc<Mutex<Ciphertexts>>,
}

/// One caller: what it asks is recorded before it is sent, what it is told after it came.
#[derive(Clone)]
pub struct Caller {
    journal: Journal,
    client: Client,
    node: u64,
}

/// What became of one call.
enum Told {
    /// This.
    Said(KeyAnswer),
    /// It surely had no effect, and says nothing of the key.
    Nothing,
    /// It may or may not have happened.
    Unknown,
    /// An answer that cannot be right.
    Wrong(String),
}

impl Journal {
    /// An empty one, whose moments count from here.
    pub fn begin() -> Self {
        Self {
            recorder: Recorder::default(),
            begun: Instant::now(),
            operations: Arc::default(),
            ciphertexts: Arc::default(),
        }
    }

    /// A caller at `node` (0 where the SDK chooses).
    pub fn caller(&self, client: Client, node: usize) -> Caller {
        Caller { journal: self.clone(), client, node: node as u64 }
    }

    /// Everything so far.
    pub fn history(&self) -> Vec<Recorded> {
        self.recorder.history()
    }

    /// Adds an event that is no call.
    pub fn record(&self, event: Event) {
        let at_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.recorder.record(at_ms, event);
    }

    fn ciphertext(&self, key: Key, version: u32) -> Option<Vec<u8>> {
        self.ciphertexts.lock().unwrap_or_else(PoisonError::into_inner).get(&(key, version)).cloned()
    }

    fn keep(&self, key: Key, version: u32, ciphertext: Vec<u8>) {
        let mut kept = self.ciphertexts.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry((key, version)).or_insert(ciphertext);
    }

    /// The highest version of a key of which there is a ciphertext.
    pub fn newest_ciphertext(&self, key: Key) -> Option<u32> {
        let kept = self.ciphertexts.lock().unwrap_or_else(PoisonError::into_inner);
        kept.range((key, 0)..=(key, u32::MAX)).next_back().map(|((_, version), _)| *version)
    }
}

impl Caller {
    /// Asks one thing; the answer, if there was one that says something of the key.
    pub async fn ask(&self, key: Key, act: KeyAct) -> Option<KeyAnswer> {
        let operation = self.journal.operations.fetch_add(1, Ordering::Relaxed);
        self.journal.record(Event::Invoked { operation, node: self.node, act: Act::Key { key, act } });
        let told = self.tell(key, act).await;
        let (answer, said) = match told {
            Told::Said(said) => (Answer::Key(said), Some(said)),
            Told::Nothing => (Answer::Refused, None),
            Told::Unknown => return None,
            Told::Wrong(why) => {
                self.journal.record(Event::Broken { why });
                return None;
            }
        };
        self.journal.record(Event::Answered { operation, answer });
        said
    }

    async fn tell(&self, key: Key, act: KeyAct) -> Told {
        let name = name(key);
        match act {
            KeyAct::Create => {
                let made = self.client.create_key(&name, Algorithm::Xaes256Gcm, KeyRules::default()).await;
                written(made.map(|answer| answer.value))
            }
            KeyAct::Rotate => written(self.client.rotate_key(&name).await.map(|answer| answer.value)),
            KeyAct::SetEnabled(true) => {
                written(self.client.enable_key(&name, None).await.map(|answer| answer.value))
            }
            KeyAct::SetEnabled(false) => {
                written(self.client.disable_key(&name, None).await.map(|answer| answer.value))
            }
            KeyAct::Destroy(version) => {
                let Some(version) = Version::new(version) else { return Told::Nothing };
                let destroyed = self.client.destroy_key_version(&name, version).await;
                written(destroyed.map(|answer| answer.value))
            }
            KeyAct::Encrypt => self.encrypt(key, &name).await,
            KeyAct::Decrypt(version) => self.decrypt(key, &name, version).await,
            KeyAct::Describe => {
                // Without a floor, so that only the product keeps this answer from being stale.
                self.client.forget_position();
                match self.client.get_key(&name).await {
                    Ok(answer) => Told::Said(is(&answer.value)),
                    Err(error) => unread(error),
                }
            }
        }
    }

    async fn encrypt(&self, key: Key, name: &KeyName) -> Told {
        self.client.forget_position();
        match self.client.encrypt(name, None, &message(key), ASSOCIATED_DATA).await {
            Ok(answer) => {
                let version = answer.value.version.get();
                self.journal.keep(key, version, answer.value.ciphertext);
                Told::Said(KeyAnswer::Used(version))
            }
            Err(error) => unread(error),
        }
    }

    async fn decrypt(&self, key: Key, name: &KeyName, version: u32) -> Told {
        let Some(ciphertext) = self.journal.ciphertext(key, version) else { return Told::Nothing };
        self.client.forget_position();
        match self.client.decrypt(DecryptWith::Key(name), &ciphertext, ASSOCIATED_DATA).await {
            Ok(answer) if *answer.value.plaintext != message(key) => {
                Told::Wrong(format!("a ciphertext of {name} version {version} opened as something else"))
            }
            Ok(answer) => Told::Said(KeyAnswer::Used(answer.value.version.get())),
            Err(error) => unread(error),
        }
    }
}

fn name(key: Key) -> KeyName {
    format!("live/k{key}").parse().expect("segments of small letters and digits")
}

fn message(key: Key) -> Vec<u8> {
    format!("what key {key} keeps").into_bytes()
}

fn is(described: &KeyDescription) -> KeyAnswer {
    KeyAnswer::Is { primary: described.primary.get(), enabled: described.state == KeyState::Enabled }
}

fn written(outcome: Result<KeyDescription, WriteError>) -> Told {
    match outcome {
        Ok(described) => Told::Said(is(&described)),
        Err(WriteError::Refused(refusal)) => refused(&refusal),
        Err(WriteError::Sealed | WriteError::NotDone(_)) => Told::Nothing,
        Err(WriteError::OutcomeUnknown { .. }) => Told::Unknown,
        Err(error @ (WriteError::OtherGeneration(_) | WriteError::Answer(_))) => {
            Told::Wrong(error.to_string())
        }
    }
}

/// A read without an answer changed nothing, so it is left out like a refusal.
fn unread(error: ReadError) -> Told {
    match error {
        ReadError::Refused(refusal) => refused(&refusal),
        ReadError::Sealed | ReadError::NoAnswer(_) => Told::Nothing,
        ReadError::OtherGeneration(_) | ReadError::Answer(_) => Told::Wrong(error.to_string()),
    }
}

fn refused(refusal: &Refusal) -> Told {
    match refusal.reason.as_str() {
        "KEY_NOT_FOUND" => Told::Said(KeyAnswer::Absent),
        "KEY_EXISTS" => Told::Said(KeyAnswer::Exists),
        "KEY_DISABLED" => Told::Said(KeyAnswer::Disabled),
        "VERSION_DESTROYED" => Told::Said(KeyAnswer::Destroyed),
        _ => Told::Wrong(format!("refused with {} {}: {refusal}", refusal.code, refusal.reason)),
    }
}
