//! keyclave-policy
