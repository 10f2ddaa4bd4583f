//! Versions' keys that were opened lately, expanded for their algorithm, so that a busy key is opened once.
//!
//! Bounded: two generations of at most [`GENERATION_KEYS_MAX`]; what is not used while one fills is dropped and
//! wiped. An entry is for one state of one record, and a fold that changes the record drops it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyclave_crypto::message::MessageKey;
use keyclave_types::ids::RecordId;
use keyclave_types::position::Revision;

const GENERATION_KEYS_MAX: usize = 1024;

#[derive(Default)]
pub(crate) struct OpenedKeys(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: BTreeMap<RecordId, (Revision, Arc<MessageKey>)>,
    old: BTreeMap<RecordId, (Revision, Arc<MessageKey>)>,
}

impl OpenedKeys {
    /// The key of this state of the record; opened by `open` if it is not here.
    pub(crate) fn get(
        &self,
        id: RecordId,
        revision: Revision,
        open: impl FnOnce() -> Option<MessageKey>,
    ) -> Option<Arc<MessageKey>> {
        if let Some(key) = self.lock().find(id, revision) {
            return Some(key);
        }
        let key = Arc::new(open()?);
        self.lock().keep(id, revision, Arc::clone(&key));
        Some(key)
    }

    /// Drops whatever is here of the record.
    pub(crate) fn forget(&self, id: RecordId) {
        let mut generations = self.lock();
        generations.young.remove(&id);
        generations.old.remove(&id);
    }

    /// A panic elsewhere leaves the maps whole: each change is one insert or remove.
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn find(&mut self, id: RecordId, revision: Revision) -> Option<Arc<MessageKey>> {
        if let Some((found, key)) = self.young.get(&id) {
            return (*found == revision).then(|| Arc::clone(key));
        }
        let (found, key) = self.old.remove(&id)?;
        self.keep(id, found, Arc::clone(&key));
        (found == revision).then_some(key)
    }

    fn keep(&mut self, id: RecordId, revision: Revision, key: Arc<MessageKey>) {
        if self.young.len() >= GENERATION_KEYS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, (revision, key));
    }
}

#[cfg(test)]
mod tests {
    use keyclave_crypto::secret::Secret;
    use keyclave_types::key::Algorithm;

    use super::*;

    fn id(number: u128) -> RecordId {
        RecordId::from_bytes(number.to_be_bytes())
    }

    fn key() -> Option<MessageKey> {
        Some(MessageKey::new(Algorithm::Xaes256Gcm, &Secret::from_fn("key", |bytes| bytes.fill(7))))
    }

    fn must_not_open() -> Option<MessageKey> {
        panic!("opened although it is here")
    }

    #[test]
    fn a_key_is_opened_once_for_each_state_of_its_record() {
        let keys = OpenedKeys::default();
        assert!(keys.get(id(1), Revision(1), key).is_some());
        assert!(keys.get(id(1), Revision(1), must_not_open).is_some());
        assert!(keys.get(id(1), Revision(2), || None).is_none());
        keys.forget(id(1));
        assert!(keys.get(id(1), Revision(1), || None).is_none());
    }

    #[test]
    fn what_is_used_stays_and_the_rest_is_dropped() {
        let keys = OpenedKeys::default();
        for number in 0..4 * GENERATION_KEYS_MAX as u128 {
            keys.get(id(number + 1), Revision(1), key);
            if number > 0 {
                assert!(keys.get(id(1), Revision(1), must_not_open).is_some());
            }
        }
        let generations = keys.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION_KEYS_MAX);
    }
}
