//! `access root|identity|issuer` as values.

use std::path::PathBuf;

use clap::Subcommand;
use keyclave_types::access::Subject;
use keyclave_types::identity::{CertificateNames, Identity, IssuerName, JwtAlgorithm, RootName};

/// Client roots.
#[derive(Debug, Subcommand)]
pub(crate) enum RootCommand {
    /// Trust an authority to issue callers' certificates, or replace it.
    Put {
        /// What it is called here.
        name: RootName,
        /// Its certificate, PEM; several in one file while one follows another. - for standard input.
        file: PathBuf,
        /// How names are taken from what it issues: spiffe (the only URI) or dns (the only DNS name).
        #[arg(long, value_name = "SORT", default_value = "spiffe")]
        names: CertificateNames,
    },
    /// List them.
    List,
    /// Trust one no longer, at once and on open connections too.
    Remove {
        /// Which.
        name: RootName,
    },
}

/// Identities.
#[derive(Debug, Subcommand)]
pub(crate) enum IdentityCommand {
    /// Say which subject a certificate or a JWT speaks for.
    Put {
        /// Who, as root:NAME:spiffe://ID, root:NAME:HOST or issuer:NAME:SUBJECT.
        identity: Identity,
        /// Who that is here, as user:NAME or service:NAME; see `access subject put`.
        subject: Subject,
    },
    /// List them.
    List,
    /// Say that one is nobody, at once and on open connections too.
    Remove {
        /// Which.
        identity: Identity,
    },
}

/// Issuers.
#[derive(Debug, Subcommand)]
pub(crate) enum IssuerCommand {
    /// Believe an issuer's JWTs, or replace how they are believed.
    Put {
        /// What it is called here.
        name: IssuerName,
        /// Exactly what stands in its JWTs' iss.
        #[arg(long, value_name = "ISS")]
        issuer: String,
        /// Exactly what must stand in their aud.
        #[arg(long, value_name = "AUD")]
        audience: String,
        /// What they may be signed with; may be repeated.
        #[arg(long = "algorithm", value_name = "ALG", default_value = "RS256")]
        algorithms: Vec<JwtAlgorithm>,
        /// A file with its public keys, a JWK set; - for standard input.
        #[arg(long, value_name = "FILE")]
        jwks: PathBuf,
    },
    /// List them.
    List,
    /// Believe one no longer; tokens that were given for its JWTs end at once.
    Remove {
        /// Which.
        name: IssuerName,
    },
}
