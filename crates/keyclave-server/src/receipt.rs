//! The receipt for a call's record, on its way from the pipeline to the reply's headers: `keyclave-receipt:
//! NODE.SEQUENCE.HASH`, which `audit verify --holds` finds in that node's trail.

use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderValue};
use keyclave_audit::record::{Receipt, RecordDraft};

/// The header of a reply.
pub(crate) const RECEIPT_HEADER: &str = "keyclave-receipt";

/// Where the receipt for a call's last record is put.
#[derive(Clone, Default)]
pub(crate) struct ReceiptPlace(Arc<Mutex<Option<Receipt>>>);

impl ReceiptPlace {
    /// Puts it there.
    pub(crate) fn put(&self, receipt: Receipt) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(receipt);
    }

    /// Says in the headers of a reply what was put here.
    pub(crate) fn show(&self, headers: &mut HeaderMap) {
        let receipt = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = receipt.and_then(|receipt| HeaderValue::from_str(&receipt.to_string()).ok()) {
            headers.insert(RECEIPT_HEADER, value);
        }
    }
}

/// A draft, and where its receipt goes.
pub(crate) struct Recorded {
    pub(crate) draft: RecordDraft,
    pub(crate) receipt: Option<ReceiptPlace>,
}

impl From<RecordDraft> for Recorded {
    fn from(draft: RecordDraft) -> Self {
        Self { draft, receipt: None }
    }
}

#[cfg(test)]
mod tests {
    use keyclave_types::ids::NodeId;

    use super::*;

    #[test]
    fn the_last_receipt_is_shown_and_none_is_no_header() {
        let (place, mut headers) = (ReceiptPlace::default(), HeaderMap::new());
        place.show(&mut headers);
        assert!(headers.is_empty());
        for sequence in [1, 2] {
            place.put(Receipt { node: NodeId::new(3).unwrap(), sequence, hash: [0xab; 32] });
        }
        place.show(&mut headers);
        assert_eq!(headers[RECEIPT_HEADER], format!("3.2.{}", "ab".repeat(32)));
    }
}
