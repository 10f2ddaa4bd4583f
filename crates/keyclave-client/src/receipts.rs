//! Receipts: what a node says about the audit record of a call, as `NODE.SEQUENCE.HASH`. A handle that collects them
//! keeps the last one of each call that was answered or refused by a node.

use std::sync::{Arc, Mutex, PoisonError};

use tonic::metadata::MetadataMap;

use crate::client::{Client, Settings};

/// The header of a reply.
const RECEIPT_HEADER: &str = "keyclave-receipt";
/// Receipts that are kept; older ones go.
const RECEIPTS_MAX: usize = 1_000;
/// Letters of a receipt: two numbers, a hash in hex, two dots.
const RECEIPT_BYTES_MAX: usize = 20 + 1 + 20 + 1 + 64;

/// The receipts of the calls of one or more handles. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Receipts(Arc<Mutex<Vec<String>>>);

impl Receipts {
    /// What was collected so far, oldest first.
    pub fn collected(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn note(&self, metadata: &MetadataMap) {
        let said = metadata.get(RECEIPT_HEADER).and_then(|value| value.to_str().ok());
        let fits = |said: &&str| said.len() <= RECEIPT_BYTES_MAX;
        if let Some(said) = said.filter(fits) {
            let mut collected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if collected.len() >= RECEIPTS_MAX {
                collected.remove(0);
            }
            collected.push(said.to_owned());
        }
    }
}

impl Client {
    /// A handle whose calls leave their receipts in `receipts`.
    pub fn with_receipts(&self, receipts: &Receipts) -> Self {
        let settings = Settings { receipts: Some(receipts.clone()), ..self.settings.clone() };
        Self { shared: Arc::clone(&self.shared), settings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_are_collected_in_order_and_nothing_longer_is() {
        let receipts = Receipts::default();
        for said in ["1.2.ab", &"x".repeat(200), "1.3.cd"] {
            let mut metadata = MetadataMap::new();
            metadata.insert(RECEIPT_HEADER, said.parse().unwrap());
            receipts.note(&metadata);
        }
        receipts.note(&MetadataMap::new());
        assert_eq!(receipts.collected(), ["1.2.ab", "1.3.cd"]);
    }
}
