//! `access` and `audit` as values.

use std::path::PathBuf;

use clap::Subcommand;
use data_encoding::HEXLOWER_PERMISSIVE;
use keyclave_audit::note::NoteKey;
use keyclave_audit::record::Receipt;
use keyclave_types::access::{GroupName, PolicyName, RoleGrant, Subject, SubjectKind};
use keyclave_types::identity::{AddressRange, Identity};
use keyclave_types::ids::NodeId;
use keyclave_types::name::KeyName;
use keyclave_types::request::TokenId;
use keyclave_types::time::{Span, UnixMillis};

use crate::arguments::identities::{IdentityCommand, IssuerCommand, RootCommand};

/// Access.
#[derive(Debug, Subcommand)]
pub(crate) enum AccessCommand {
    /// Users and services: who they are and what they are part of.
    #[command(subcommand)]
    Subject(SubjectCommand),
    /// Groups of subjects.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Policies in Cedar's language.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Tokens of subjects.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Authorities whose certificates callers may come with.
    #[command(subcommand)]
    Root(RootCommand),
    /// Which subject a certificate or a JWT speaks for.
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Issuers whose JWTs are believed at login.
    #[command(subcommand)]
    Issuer(IssuerCommand),
    /// Swap a JWT of an issuer for a token of at most 15 minutes; needs no token.
    Login {
        /// A file with the JWT; - for standard input.
        #[arg(long, value_name = "FILE")]
        jwt_file: PathBuf,
        /// Write the token here instead of printing it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Say whether somebody may do something, and what decides that or is missing.
    Explain {
        /// Who, as user:NAME or service:NAME.
        subject: Subject,
        /// What, as policies say it: encrypt, decrypt, rotate, seal.
        action: String,
        /// On which key, or under which prefix with its closing slash; nothing for what is about the cluster.
        #[arg(default_value = "")]
        on: String,
    },
    /// Name everybody who may do something.
    WhoCan {
        /// What, as policies say it: encrypt, decrypt, rotate, seal.
        action: String,
        /// On which key, or under which prefix with its closing slash; nothing for what is about the cluster.
        #[arg(default_value = "")]
        on: String,
    },
    /// Check a table of expectations: lines of `allow|deny SUBJECT ACTION [KEY]`, # begins a comment.
    Test {
        /// The table; - for standard input.
        file: PathBuf,
    },
}

/// Subjects.
#[derive(Debug, Subcommand)]
pub(crate) enum SubjectCommand {
    /// Make one, or replace what it is part of.
    Put {
        /// Who, as user:NAME or service:NAME.
        subject: Subject,
        /// A role, as application@payments/ or operator; may be repeated.
        #[arg(long = "role", value_name = "ROLE[@PREFIX/]")]
        roles: Vec<RoleGrant>,
        /// A group that exists; may be repeated.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<GroupName>,
    },
    /// List them.
    List,
    /// End all credentials of one, at once and everywhere.
    RevokeCredentials {
        /// Whose.
        subject: Subject,
    },
    /// Remove one; its credentials end with it.
    Remove {
        /// Who.
        subject: Subject,
    },
}

/// Groups.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Make one, or replace its roles.
    Put {
        /// Its name.
        name: GroupName,
        /// A role of its members, as application@payments/ or operator; may be repeated.
        #[arg(long = "role", value_name = "ROLE[@PREFIX/]")]
        roles: Vec<RoleGrant>,
    },
    /// List them.
    List,
    /// Remove one that nobody is in.
    Remove {
        /// Which.
        name: GroupName,
    },
}

/// Policies.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Make one, or replace its text.
    Put {
        /// Its name.
        name: PolicyName,
        /// A file with one policy; - for standard input.
        file: PathBuf,
    },
    /// Print its text.
    Get {
        /// Which.
        name: PolicyName,
    },
    /// List their names.
    List,
    /// Remove one.
    Remove {
        /// Which.
        name: PolicyName,
    },
}

/// Tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make one; printed once.
    Create {
        /// Whom it speaks for, as user:NAME or service:NAME; a bare NAME is a service. See `access subject put`.
        #[arg(value_parser = token_subject)]
        subject: Subject,
        /// How long it lives; without end by default.
        #[arg(long, value_name = "SPAN")]
        ttl: Option<Span>,
        /// How long `access token renew` can prolong it, from now; not at all by default.
        #[arg(long, value_name = "SPAN", requires = "ttl")]
        renewable: Option<Span>,
        /// Bind it to the key of the first certificate in this PEM file: it counts only over connections that prove it.
        #[arg(long, value_name = "FILE", conflicts_with = "bind_identity")]
        bind_certificate: Option<PathBuf>,
        /// Bind it to whoever proves a certificate of this identity, as root:NAME:spiffe://ID or root:NAME:HOST.
        #[arg(long, value_name = "IDENTITY")]
        bind_identity: Option<Identity>,
        /// Where its callers may come from, as 10.0.0.0/8 or 2001:db8::/32; may be repeated.
        #[arg(long = "from", value_name = "CIDR")]
        sources: Vec<AddressRange>,
        /// Write it here instead of printing it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Prolong the token that this call comes with; nothing else of it changes.
    Renew,
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
        /// Signed notes of `audit anchors`, to find what was cut or rewritten as a whole.
        #[arg(long, value_name = "FILE", requires = "key")]
        anchors: Option<PathBuf>,
        /// The key that signed them, as `audit key` has shown it.
        #[arg(long)]
        key: Option<NoteKey>,
        /// A receipt of a reply, which must be in this trail.
        #[arg(long, value_name = "NODE.SEQUENCE.HASH")]
        holds: Vec<Receipt>,
    },
    /// Show how the trails stand: anchors, retention, a hold, alarms.
    Trails,
    /// Print how every node's trail stands as signed notes (C2SP checkpoints), for `verify`, `prove`, and auditors.
    Anchors {
        /// Only this node's.
        #[arg(long)]
        node: Option<NodeId>,
    },
    /// Print the key that signs anchors, as a C2SP verifier key. Keep it where nobody changes it.
    Key,
    /// Keep every record from now on, whatever its age.
    Hold {
        /// Why, for whoever reads it later.
        reason: String,
    },
    /// Let old records go again.
    Release,
    /// Change how long records are kept at least.
    Retention {
        /// A span, as 400d; `forever` keeps all.
        #[arg(value_parser = retention)]
        keep: Retention,
    },
    /// Let a node serve again whose trail was tampered with. That node must be among the endpoints.
    Acknowledge {
        /// Which node.
        node: NodeId,
    },
    /// Prove, from a directory of segments, that a record is in a signed tree, or that a tree continues an older one.
    #[command(group(clap::ArgGroup::new("claim").required(true)))]
    Prove {
        /// A node's `audit` directory, or a copy.
        directory: PathBuf,
        /// A signed note of this node's trail, from `audit anchors --node NODE`.
        #[arg(long, value_name = "FILE")]
        anchor: PathBuf,
        /// The key that signed it.
        #[arg(long)]
        key: NoteKey,
        /// The record with this number is in the tree (C2SP tlog-proof).
        #[arg(long, value_name = "SEQUENCE", group = "claim")]
        record: Option<u64>,
        /// The tree continues the one of this older note.
        #[arg(long, value_name = "FILE", group = "claim")]
        older: Option<PathBuf>,
    },
    /// Check a proof. Needs no trail, no cluster, and only the public key.
    #[command(group(clap::ArgGroup::new("against").required(true)))]
    CheckProof {
        /// What `audit prove` has printed.
        proof: PathBuf,
        /// The key that signed its checkpoint.
        #[arg(long)]
        key: NoteKey,
        /// A file with the record's line.
        #[arg(long, value_name = "FILE", group = "against")]
        record: Option<PathBuf>,
        /// The older note.
        #[arg(long, value_name = "FILE", group = "against")]
        older: Option<PathBuf>,
    },
}

/// How long records are kept; without end if none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention(pub(crate) Option<Span>);

fn retention(text: &str) -> Result<Retention, String> {
    match text {
        "forever" => Ok(Retention(None)),
        span => {
            span.parse().map(|span| Retention(Some(span))).map_err(|error| format!("{error}, or `forever`"))
        }
    }
}

fn token_id(text: &str) -> Result<TokenId, &'static str> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    let id = bytes.and_then(|bytes| bytes.try_into().ok()).map(TokenId);
    id.ok_or("expected the 24 characters of hex that `keyclave access token list` shows")
}

fn token_subject(text: &str) -> Result<Subject, keyclave_types::access::SubjectError> {
    match text.parse() {
        Ok(name) if !text.contains(':') => Ok(Subject { kind: SubjectKind::Service, name }),
        _ => text.parse(),
    }
}
