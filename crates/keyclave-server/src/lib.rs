//! keyclave-server
