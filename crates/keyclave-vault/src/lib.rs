//! keyclave-vault
