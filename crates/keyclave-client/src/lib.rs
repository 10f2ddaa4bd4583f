//! keyclave-client
