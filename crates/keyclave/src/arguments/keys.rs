//! `key`, `encrypt` and `decrypt` as values.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keyclave_types::key::{Algorithm, KeyRules, Version};
use keyclave_types::name::{KeyName, KeyPrefix};
use keyclave_types::time::{Span, UnixMillis};

/// A key's rules.
#[derive(Debug, Args)]
pub(crate) struct RulesArguments {
    /// A fresh version every so often, as in 90d; from 1m up.
    #[arg(long, value_name = "SPAN")]
    pub(crate) rotate_every: Option<Span>,
    /// Destroy what is older than the newest so many versions.
    #[arg(long, value_name = "COUNT")]
    pub(crate) keep_versions: Option<std::num::NonZeroU32>,
    /// No encryption from this moment on, RFC 3339.
    #[arg(long, value_name = "TIME")]
    pub(crate) encrypt_until: Option<UnixMillis>,
    /// Answers may rest on a confirmation this old, at most 60s. Lowering it takes as long as the old bound.
    #[arg(long, value_name = "SPAN")]
    pub(crate) staleness_max: Option<Span>,
}

impl From<RulesArguments> for KeyRules {
    fn from(rules: RulesArguments) -> Self {
        Self {
            rotate_every_ms: rules.rotate_every.map(|span| span.ms),
            keep_versions: rules.keep_versions,
            encrypt_until: rules.encrypt_until,
            staleness_max_ms: rules.staleness_max.map_or(0, |span| span.ms),
        }
    }
}

fn version(text: &str) -> Result<Version, &'static str> {
    text.parse().ok().and_then(Version::new).ok_or("expected the number of a version, from 1 on")
}

/// Keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key.
    Create {
        /// Its name: segments of a-z 0-9 . _ - joined by slashes.
        name: KeyName,
        /// Its type: xaes256-gcm or aes256-gcm.
        #[arg(long = "type", value_name = "TYPE", default_value = "xaes256-gcm")]
        algorithm: Algorithm,
        /// Its rules.
        #[command(flatten)]
        rules: RulesArguments,
    },
    /// List keys.
    List {
        /// Only under this prefix.
        #[arg(default_value = "")]
        prefix: KeyPrefix,
    },
    /// Show a key and its versions.
    Get {
        /// Which.
        name: KeyName,
    },
    /// Replace a key's rules.
    Update {
        /// Which.
        name: KeyName,
        /// The rules from now on; what is left out is lifted.
        #[command(flatten)]
        rules: RulesArguments,
    },
    /// Add a version that encrypts from now on.
    Rotate {
        /// Which.
        name: KeyName,
    },
    /// Allow a key, or one version, again.
    Enable {
        /// Which.
        name: KeyName,
        /// Only this version.
        #[arg(id = "key-version", long, value_name = "VERSION", value_parser = version)]
        version: Option<Version>,
    },
    /// Stop a key, or one version, until it is enabled.
    Disable {
        /// Which.
        name: KeyName,
        /// Only this version.
        #[arg(id = "key-version", long, value_name = "VERSION", value_parser = version)]
        version: Option<Version>,
    },
    /// Destroy one version for good.
    Destroy {
        /// Which.
        name: KeyName,
        /// Which version.
        #[arg(id = "key-version", long, value_name = "VERSION", value_parser = version)]
        version: Version,
    },
}

/// Encrypt.
#[derive(Debug, Args)]
pub(crate) struct EncryptArguments {
    /// What to encrypt; standard input by default or as `-`.
    pub(crate) file: Option<PathBuf>,
    /// Under which key.
    #[arg(long)]
    pub(crate) key: KeyName,
    /// With which version; the primary by default.
    #[arg(id = "key-version", long, value_name = "VERSION", value_parser = version)]
    pub(crate) version: Option<Version>,
    /// Text that is authenticated with it and must be given again to decrypt.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) aad: String,
    /// Where to write; standard output by default.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Write bytes instead of the text form.
    #[arg(long)]
    pub(crate) raw: bool,
}

/// Decrypt.
#[derive(Debug, Args)]
pub(crate) struct DecryptArguments {
    /// What to decrypt, bytes or text form; standard input by default or as `-`.
    pub(crate) file: Option<PathBuf>,
    /// Only with this key; without it the ciphertext's header chooses.
    #[arg(long)]
    pub(crate) key: Option<KeyName>,
    /// The text that was authenticated with it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) aad: String,
    /// Where to write; standard output by default.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}
