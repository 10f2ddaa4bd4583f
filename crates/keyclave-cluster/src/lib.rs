//! keyclave-cluster
