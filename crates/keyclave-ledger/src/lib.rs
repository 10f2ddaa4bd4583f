//! keyclave-ledger
