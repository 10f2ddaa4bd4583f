//! keyclave-crypto
