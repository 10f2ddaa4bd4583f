//! `operator` as a value.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use keyclave_client::cluster::AdmissionPolicy;
use keyclave_server::config::HEALTH_PORT;
use keyclave_types::ids::NodeId;
use keyclave_types::member::HostPort;
use keyclave_types::request::NodeCode;
use keyclave_types::time::UnixMillis;

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
        /// What lets a restarted node fetch the root from its peers.
        #[arg(long, value_enum, default_value_t = Admission::Strict)]
        admission: Admission,
        /// Encrypt a share to this age recipient (age1…); give it once for each share, in order.
        #[arg(long = "recipient", value_name = "AGE-RECIPIENT")]
        recipients: Vec<String>,
        /// Write the cluster's CA certificate here.
        #[arg(long, value_name = "FILE")]
        cacert_out: Option<PathBuf>,
    },
    /// Give one share, from the prompt, standard input or a file.
    Unseal {
        /// The node to give it to [default: the one that holds the ceremony, else the one that is asked].
        #[arg(long)]
        node: Option<NodeId>,
        /// The node's code, as its log or socket shows it; without it the code is shown and must be confirmed.
        #[arg(long)]
        code: Option<NodeCode>,
        /// The code of a node that the share is to vouch for; given at its own socket, a share vouches for that node.
        #[arg(long, value_name = "CODE", conflicts_with = "reset")]
        node_code: Option<NodeCode>,
        /// A file that holds the share.
        #[arg(long, value_name = "FILE")]
        share_file: Option<PathBuf>,
        /// Once unsealed, let every current member in for ten minutes (clusters with `--admission members`).
        #[arg(long, conflicts_with = "reset")]
        all_members: bool,
        /// Start the ceremony over instead; the share only shows that you may.
        #[arg(long)]
        reset: bool,
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
    /// Say in one word how the process on this machine is: unsealed, sealed, vacant (in no cluster yet) or failing.
    ///
    /// Ends with 0 while the process does its part, sealed or not, and with 1 when it is failing or does not answer:
    /// what a supervisor or a container's health check asks.
    Health {
        /// Its health port.
        #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, HEALTH_PORT)))]
        address: SocketAddr,
        /// End with 2 unless it is unsealed: what a load balancer asks.
        #[arg(long)]
        unsealed: bool,
    },
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
    /// Let the cluster's time go on after a jump on which no quorum of clocks agreed.
    AcceptTime {
        /// What the time is, RFC 3339.
        time: UnixMillis,
    },
}

/// What lets a restarted node fetch the root from its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Admission {
    /// A restart key, a share given on the machine, or an operator's admission.
    Strict,
    /// Also any current member, for ten minutes after an unseal with --all-members.
    Members,
    /// Nothing: shares for each node.
    Off,
}

impl From<Admission> for AdmissionPolicy {
    fn from(admission: Admission) -> Self {
        match admission {
            Admission::Strict => Self::Strict,
            Admission::Members => Self::Members,
            Admission::Off => Self::Off,
        }
    }
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
