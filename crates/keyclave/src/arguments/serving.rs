//! `server`, `dev` and `demo` as values.

use std::path::PathBuf;

use clap::Args;
use keyclave_types::member::HostPort;

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
    /// Listening address for health and metrics, over TLS [default: 0.0.0.0:7422].
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
    /// How long a destroyed version waits until the stores are rewritten without it, as in 10m [default and most: 30m].
    #[arg(long, value_name = "TIME")]
    pub(crate) purge_after: Option<keyclave_server::config::PurgeAfter>,
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
