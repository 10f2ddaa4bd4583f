//! keyclave-node
