//! `operator init`: a vacant node becomes the first of a cluster. The first transaction is written with the new
//! keyring, the shares are shown once, and the node is sealed again until a threshold of them has been given back.
//!
//! The membership is saved last, so an init that was cut short leaves a vacant node and nothing of the attempt.

use std::sync::Arc;
use std::time::Duration;

use keyclave_audit::record::Target;
use keyclave_audit::trail::TrailError;
use keyclave_cluster::guard::Pins;
use keyclave_policy::Permit;
use keyclave_types::ids::{ClusterId, NodeId};
use keyclave_types::member::Addresses;
use keyclave_types::position::Generation;
use keyclave_types::seal::Threshold;
use keyclave_types::time::UnixMillis;
use keyclave_types::transaction::{LeaderId, TransactionOutcome};
use keyclave_vault::founding::{Founded, Founding, found};
use keyclave_vault::keyring::Keyring;
use keyclave_vault::occasion::{Now, Occasion};
use keyclave_vault::records::cluster::RejoinPolicy;
use keyclave_vault::refusal::Refusal;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::authority::{AuthorityError, AuthorityKeys, Issued};
use crate::home::{HomeError, Membership, ServingCertificate};
use crate::host::Host;
use crate::member::{Member, StartMemberError};
use crate::node::Node;
use crate::noting::Act;

/// How long the first election and the first transaction may take.
const FOUNDING_MS_MAX: u64 = 20_000;
/// Rest between two looks at who leads.
const REST_MS: u64 = 20;
/// Whom the root token names in the trail.
const OPERATOR: &str = "root";

/// A founded cluster, shown once.
pub struct FirstAnswer {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node's number.
    pub node: NodeId,
    /// The shares.
    pub shares: Vec<Zeroizing<String>>,
    /// The root token.
    pub root_token: Zeroizing<String>,
    /// The authority's certificate, DER.
    pub ca_certificate: Vec<u8>,
}

/// Why no cluster was founded. The node is as vacant as before.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// It belongs to a cluster already, or another init is under way.
    #[error("this node belongs to a cluster already")]
    AlreadyInitialized,
    /// An earlier init failed in this process.
    #[error("an earlier init failed half-way: restart this node, then try again")]
    Spent,
    /// It is told to join one.
    #[error("this node was started with --join; a cluster is made on a node without it")]
    Joining,
    /// No certificate could be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The disk failed.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Log, peers or trail did not start.
    #[error(transparent)]
    Start(#[from] StartMemberError),
    /// The first transaction was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The log did not begin.
    #[error("the log could not be begun")]
    Begin(#[from] keyclave_cluster::members::MembershipError),
    /// The trail could not be written.
    #[error("the audit trail could not be written; nothing is founded without it")]
    Trail(#[from] TrailError),
    /// The first transaction was not written in time.
    #[error("the first transaction was not written in time")]
    Written,
}

impl<H: Host> Node<H> {
    /// Founds a cluster on this vacant node.
    pub async fn init(
        &self,
        threshold: Threshold,
        rejoin: RejoinPolicy,
        permit: &Permit,
    ) -> Result<FirstAnswer, InitError> {
        let _only_one = self.becoming().try_lock().map_err(|_| InitError::AlreadyInitialized)?;
        if self.member().is_some() {
            return Err(InitError::AlreadyInitialized);
        }
        if self.is_spent() {
            return Err(InitError::Spent);
        }
        if self.is_joining() {
            return Err(InitError::Joining);
        }
        let now = self.world().clock.now();
        let authority = self.world().authority.found(now)?;
        let addresses = self.addresses().clone();
        let issued =
            self.world().authority.issue(&authority, std::slice::from_ref(&addresses.client), now)?;
        let beginning = Beginning { now, threshold, rejoin, addresses, authority, issued };
        let (founded, membership, member) = self.begin(permit, &beginning).await?;
        if let Err(error) = self.keep_founded(&beginning, &membership, &member) {
            // Whether the membership is on the disk is not known, so the log stays; the next start will see.
            self.give_up(member).await;
            return Err(error);
        }
        member.keys.drop_keyring();
        member.cluster.set_sealed(true);
        self.become_member(member);
        Ok(FirstAnswer {
            cluster: membership.cluster,
            node: membership.node,
            shares: founded.shares.iter().map(keyclave_crypto::share::Share::to_text).collect(),
            root_token: founded.token,
            ca_certificate: beginning.authority.certificate,
        })
    }

    /// From here on this directory belongs to the cluster.
    fn keep_founded(
        &self,
        beginning: &Beginning,
        membership: &Membership,
        member: &Member<H>,
    ) -> Result<(), InitError> {
        let certificate = ServingCertificate {
            chain: beginning.chain(),
            key: beginning.issued.key_pkcs8.to_vec(),
            address: beginning.addresses.client.clone(),
            expires_at: beginning.issued.expires_at,
        };
        self.home().save_certificate(&certificate)?;
        member.certificate.send_replace(Some(Arc::new(certificate)));
        Ok(self.home().save_membership(membership)?)
    }

    async fn begin(
        &self,
        permit: &Permit,
        beginning: &Beginning,
    ) -> Result<(Founded, Membership, Arc<Member<H>>), InitError> {
        let mut entropy = self.entropy();
        let cluster = ClusterId::from_bytes(entropy.array());
        let first = NodeId::new(1).ok_or(InitError::Written)?;
        let member_record = self.identity_member()?;
        let founding = beginning.founding(cluster, first, member_record)?;
        let occasion = Occasion {
            now: Now::Trusted(beginning.now),
            // Replaced by the real one once the log has begun; the transaction is made only once.
            leader: LeaderId { term: 0, node: first.get() },
            arrived_at: first,
        };
        let mut founded = found(permit, &founding, &occasion, &mut entropy)?;
        let pins = Pins { writer: founded.keyring.writer().public(), first, member: member_record };
        let membership =
            Membership { cluster, generation: Generation(1), node: first, pins, known: Vec::new() };
        let member = self.start_member(membership.clone(), true).await?;
        match self.write_first(&member, &mut founded).await {
            Ok(()) => Ok((founded, membership, member)),
            Err(error) => {
                self.give_up(member).await;
                Err(error)
            }
        }
    }

    async fn write_first(&self, member: &Member<H>, founded: &mut Founded) -> Result<(), InitError> {
        member.record(Act::new("Init").on(Target::Cluster).intended()).await?;
        let keyring: Arc<Keyring> = founded.keyring.clone();
        member.keys.hold(keyring);
        member.cluster.set_sealed(false);
        let deadline = Instant::now() + Duration::from_millis(FOUNDING_MS_MAX);
        member.cluster.initialize().await?;
        while Instant::now() < deadline {
            if let Some(leader) = member.cluster.leadership().mine {
                founded.transaction.decided_under = leader;
                let proposed = member.cluster.propose(founded.transaction.clone(), deadline).await;
                return match proposed {
                    Ok(proposed) if proposed.outcome == TransactionOutcome::Committed => Ok(()),
                    Ok(_) | Err(_) => Err(InitError::Written),
                };
            }
            tokio::time::sleep(Duration::from_millis(REST_MS)).await;
        }
        Err(InitError::Written)
    }
}

struct Beginning {
    now: UnixMillis,
    threshold: Threshold,
    rejoin: RejoinPolicy,
    addresses: Addresses,
    authority: AuthorityKeys,
    issued: Issued,
}

impl Beginning {
    /// The node's certificate and the authority's, so that a joining node can find the pinned one in it.
    fn chain(&self) -> Vec<Vec<u8>> {
        vec![self.issued.certificate.clone(), self.authority.certificate.clone()]
    }

    fn founding(
        &self,
        cluster: ClusterId,
        node: NodeId,
        member: keyclave_types::member::Member,
    ) -> Result<Founding<'_>, InitError> {
        Ok(Founding {
            cluster,
            generation: Generation(1),
            // The first entries are the membership, a blank and maybe more elections: revisions begin above them.
            applied_index: 1_000,
            node,
            member,
            addresses: self.addresses.clone(),
            threshold: self.threshold,
            rejoin: self.rejoin,
            // Approvals by others cannot be given yet, so nothing may need them.
            approvals_min: 0,
            operator: OPERATOR.parse().map_err(|_| InitError::Written)?,
            ca_pkcs8: &self.authority.key_pkcs8,
            ca_certificate: self.authority.certificate.clone(),
            certificate: self.chain(),
        })
    }
}
