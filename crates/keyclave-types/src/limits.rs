//! Every limit that two rooms must agree on, unit last in the name.

/// Transactions in one log entry.
pub const BATCH_TRANSACTIONS_MAX: usize = 512;
/// Stored bytes of one log entry's batch. A batch closes before it would exceed this.
pub const BATCH_BYTES_MAX: usize = 60 * 1024;
/// Stored bytes of one transaction; a larger one is refused when it is decided.
pub const TRANSACTION_BYTES_MAX: usize = 48 * 1024;
/// Bytes of one record's blob; sled keeps values under 64 KiB inline.
pub const BLOB_BYTES_MAX: usize = 40 * 1024;
/// Bytes that one stored value may claim, snapshots' chunks included.
pub const STORED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Shares of the root key.
pub const SHARES_MAX: u8 = 255;
/// The least threshold: one share must never be the root.
pub const THRESHOLD_MIN: u8 = 2;

/// Plaintext of one encryption until chunked files exist.
pub const PLAINTEXT_BYTES_MAX: usize = 1024 * 1024;
/// Associated data of one encryption.
pub const ASSOCIATED_DATA_BYTES_MAX: usize = 64 * 1024;
/// Items in one batch request.
pub const BATCH_ITEMS_MAX: usize = 1000;
/// Plaintext and associated data of one whole batch request.
pub const BATCH_REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// One message from a client on the wire.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Keys in one page of a list.
pub const PAGE_ITEMS_MAX: u32 = 1000;
/// Keys in one page of a list when the caller does not say.
pub const PAGE_ITEMS_DEFAULT: u32 = 100;

/// Shortest period between rotations of one key.
pub const ROTATE_EVERY_MS_MIN: u64 = 60_000;
/// Longest period between rotations of one key: ten years.
pub const ROTATE_EVERY_MS_MAX: u64 = 10 * 365 * 24 * 3_600_000;
/// Removed nodes that the ledger remembers, so that each can be told when it comes back; older ones are forgotten.
pub const REMOVED_NODES_MAX: usize = 16;
/// Largest staleness that a key's owner may allow.
pub const STALENESS_MS_MAX: u64 = 60_000;
/// Versions that one key may have at the same time.
pub const KEY_VERSIONS_MAX: u32 = 100_000;
/// Uses of a counted version that a node reserves at a time.
pub const USES_PER_BLOCK: u64 = 1 << 20;
/// Messages under one key with random 96-bit nonces (NIST SP 800-38D: 2^32, and well before it).
pub const RANDOM_NONCE_MESSAGES_MAX: u64 = 1 << 31;

/// How long a join token lives.
pub const JOIN_TOKEN_MS: u64 = 3_600_000;
/// Nodes of one cluster.
pub const MEMBERS_MAX: usize = 7;
