//! keyclave-proto
