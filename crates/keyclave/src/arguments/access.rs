//! `access` and `audit` as values.

use std::path::PathBuf;

use clap::Subcommand;
use data_encoding::HEXLOWER_PERMISSIVE;
use keyclave_types::name::KeyName;
use keyclave_types::request::{SubjectName, TokenId};
use keyclave_types::time::{Span, UnixMillis};

/// Access.
#[derive(Debug, Subcommand)]
pub(crate) enum AccessCommand {
    /// Tokens of services.
    #[command(subcommand)]
    Token(TokenCommand),
}

/// Tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make one; printed once.
    Create {
        /// Whom it names in the trail.
        subject: SubjectName,
        /// How long it lives; without end by default.
        #[arg(long, value_name = "SPAN")]
        ttl: Option<Span>,
        /// Write it here instead of printing it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List them, without their secrets.
    List,
    /// End one, at once and everywhere.
    Revoke {
        /// Its id, as the list shows it.
        #[arg(value_parser = token_id)]
        id: TokenId,
    },
}

/// The trail.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Search the trail.
    Search {
        /// Only about this key.
        #[arg(long)]
        key: Option<KeyName>,
        /// Only by this principal.
        #[arg(long)]
        principal: Option<String>,
        /// Only from this moment on, RFC 3339.
        #[arg(long)]
        since: Option<UnixMillis>,
        /// Only before this moment, RFC 3339.
        #[arg(long)]
        until: Option<UnixMillis>,
        /// At most so many records.
        #[arg(long, value_name = "COUNT", default_value_t = 1000)]
        limit: usize,
    },
    /// Check a directory of segments for changed, removed or cut records. Needs no cluster and no key.
    Verify {
        /// A node's `audit` directory, or a copy.
        directory: PathBuf,
    },
}

fn token_id(text: &str) -> Result<TokenId, &'static str> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    let id = bytes.and_then(|bytes| bytes.try_into().ok()).map(TokenId);
    id.ok_or("expected the 24 characters of hex that `keyclave access token list` shows")
}
