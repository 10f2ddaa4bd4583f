//! The command line as a value: every command, every flag, with the text of `--help`.
//!
//! Parsed once in `main`. Deliberately absent: a flag or argument that takes a secret; shares and tokens come from
//! files, the environment, a prompt or standard input.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use keyclave_types::ids::NodeId;
use keyclave_types::key::Algorithm;
use keyclave_types::member::HostPort;
use keyclave_types::name::{KeyName, KeyPrefix};
use keyclave_types::request::NodeCode;
use keyclave_types::time::Span;

/// Keep encryption keys on three or five machines of your own: stored once, sealed, rotated on time, used only by
/// whoever may, every use on record, reachable from any node.
#[derive(Debug, Parser)]
#[command(name = "keyclave", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Where and how to connect.
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// How results are printed.
    #[arg(long, value_enum, global = true, default_value_t = Output::Text, help_heading = "Output")]
    pub(crate) output: Output,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Where and how to connect.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// Nodes to connect to, `https://host:port`, separated by commas; the first that answers serves.
    #[arg(long, global = true, env = "KEYCLAVE_ENDPOINTS", value_delimiter = ',', hide_env_values = true)]
    pub(crate) endpoints: Vec<String>,
    /// The cluster's CA certificate, PEM.
    #[arg(long, global = true, env = "KEYCLAVE_CACERT", value_name = "FILE", hide_env_values = true)]
    pub(crate) cacert: Option<PathBuf>,
    /// A file that holds the token; without it the environment variable KEYCLAVE_TOKEN does.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The operator's socket of a node on this machine, instead of endpoints.
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// How long one call may take.
    #[arg(long, global = true, value_name = "SPAN", default_value = "10s")]
    pub(crate) timeout: Span,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node.
    Server(ServerArguments),
    /// Run one unsealed node for development, and print its endpoint and token.
    Dev(DevArguments),
    /// Run a real three-node cluster on this machine and show what it does.
    Demo(DemoArguments),
    /// Initialise, unseal, seal and look after a cluster.
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Create and look after keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Encrypt a file or standard input.
    Encrypt(EncryptArguments),
    /// Decrypt a file or standard input.
    Decrypt(DecryptArguments),
    /// Give and withdraw access.
    #[command(subcommand)]
    Access(AccessCommand),
    /// Search and verify the trail.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Manual,
}

/// Run a node. Flags win over the file.
#[derive(Debug, Args)]
pub(crate) struct ServerArguments {
    /// Configuration file, TOML.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where everything durable lies.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A tmpfs directory for the restart key, so that a restarted process needs nobody.
    #[arg(long, value_name = "DIR")]
    pub(crate) runtime_dir: Option<PathBuf>,
    /// Listening address for clients [default: 0.0.0.0:7420].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// Listening address for peers [default: 0.0.0.0:7421].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) peer_listen: Option<std::net::SocketAddr>,
    /// Listening address for health and metrics [default: 0.0.0.0:7422].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) health_listen: Option<std::net::SocketAddr>,
    /// HOST:PORT at which peers reach this node.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Option<HostPort>,
    /// HOST:PORT at which clients reach this node.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) client_advertise: Option<HostPort>,
    /// The client HOST:PORT of a member, to join its cluster.
    #[arg(long, value_name = "HOST:PORT", requires = "join_token_file")]
    pub(crate) join: Option<HostPort>,
    /// The file that holds, or will hold, the join token.
    #[arg(long, value_name = "FILE")]
    pub(crate) join_token_file: Option<PathBuf>,
    /// Use this address for a peer instead of the recorded one; may be repeated.
    #[arg(long = "peer", value_name = "NODE=HOST:PORT")]
    pub(crate) peers: Vec<keyclave_server::config::PeerOverride>,
    /// A certificate chain of your own for clients, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// Its private key, PKCS#8 PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
}

/// Run one node for development.
#[derive(Debug, Args)]
pub(crate) struct DevArguments {
    /// Where to keep it; a fresh temporary directory by default.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// Run a real three-node cluster on this machine.
#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Leave the servers running and print commands to try.
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Look after a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// Make a cluster out of the node whose socket is given; prints the shares and the root token, once.
    Init {
        /// Shares to make.
        #[arg(long, default_value_t = 5)]
        shares: u8,
        /// Shares needed to unseal.
        #[arg(long, default_value_t = 3)]
        threshold: u8,
        /// Write the cluster's CA certificate here.
        #[arg(long, value_name = "FILE")]
        cacert_out: Option<PathBuf>,
    },
    /// Give one share, from the prompt, standard input or a file.
    Unseal {
        /// The node to give it to [default: the one that is asked].
        #[arg(long)]
        node: Option<NodeId>,
        /// The node's code, as its log or socket shows it; without it the code is shown and must be confirmed.
        #[arg(long)]
        code: Option<NodeCode>,
        /// A file that holds the share.
        #[arg(long, value_name = "FILE")]
        share_file: Option<PathBuf>,
    },
    /// Vouch for one process of one node by its code.
    Admit {
        /// Which node.
        node: NodeId,
        /// Its code.
        code: NodeCode,
    },
    /// Print the code of the node whose socket is given.
    Code,
    /// Seal a node, or all of them.
    Seal {
        /// Which node [default: the one whose socket is given].
        #[arg(long, conflicts_with = "cluster")]
        node: Option<NodeId>,
        /// All of them.
        #[arg(long)]
        cluster: bool,
    },
    /// Show nodes, leader, seal state and what needs attention.
    Status,
    /// Make a token that lets one node join within an hour.
    JoinToken {
        /// Write it here instead of printing it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List, remove and readdress members.
    #[command(subcommand)]
    Members(MembersCommand),
    /// Make the leader hand over.
    StepDown {
        /// To which node.
        #[arg(long)]
        to: Option<NodeId>,
    },
}

/// Members of the cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum MembersCommand {
    /// List them.
    List,
    /// Remove one.
    Remove {
        /// Which.
        node: NodeId,
    },
    /// Change where one is reached.
    Address {
        /// Which.
        node: NodeId,
        /// Where peers reach it.
        peer: HostPort,
        /// Where clients reach it.
        client: HostPort,
    },
}

/// A key's rules.
#[derive(Debug, Args)]
pub(crate) struct RulesArguments {
    /// A fresh version every so often, as in 90d; from 1m up.
    #[arg(long, value_name = "SPAN")]
    pub(crate) rotate_every: Option<Span>,
    /// Destroy what is older than the newest so many versions.
    #[arg(long, value_name = "COUNT")]
    pub(crate) keep_versions: Option<std::num::NonZeroU32>,
    /// Answers may rest on a confirmation this old, at most 60s.
    #[arg(long, value_name = "SPAN")]
    pub(crate) staleness_max: Option<Span>,
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
        #[arg(long = "key-version", value_name = "VERSION")]
        version: Option<u32>,
    },
    /// Stop a key, or one version, until it is enabled.
    Disable {
        /// Which.
        name: KeyName,
        /// Only this version.
        #[arg(long = "key-version", value_name = "VERSION")]
        version: Option<u32>,
    },
    /// Destroy one version for good.
    Destroy {
        /// Which.
        name: KeyName,
        /// Which version.
        #[arg(long = "key-version", value_name = "VERSION")]
        version: u32,
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
    #[arg(long = "key-version", value_name = "VERSION")]
    pub(crate) version: Option<u32>,
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
        subject: KeyName,
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
        id: String,
    },
}

/// The trail.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Search the trail of the node that is asked.
    Search {
        /// Only about this key.
        #[arg(long)]
        key: Option<KeyName>,
        /// Only by this principal.
        #[arg(long)]
        principal: Option<String>,
        /// Only from this moment on, RFC 3339.
        #[arg(long)]
        since: Option<String>,
        /// Only before this moment, RFC 3339.
        #[arg(long)]
        until: Option<String>,
    },
    /// Check a directory of segments for changed, removed or cut records. Needs no cluster and no key.
    Verify {
        /// A node's `audit` directory, or a copy.
        directory: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_argument_takes_a_secret() {
        fn walk(command: &clap::Command) {
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                let secret = ["share", "token", "secret", "password"].contains(&id);
                assert!(!secret, "{} {id}", command.get_name());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Arguments::command());
    }
}
