//! keyclave-audit
