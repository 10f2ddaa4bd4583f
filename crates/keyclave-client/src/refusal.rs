//! What a node said no with: the stable reason, a text for people, and what to do next.

use std::fmt;

use keyclave_proto::reason::Reason;
use keyclave_proto::status::{Details, POSITION_KEY};
use keyclave_types::position::Position;
use tonic::Status;

use crate::endpoint::Endpoint;

/// One refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The stable reason, as `KEY_NOT_FOUND`; empty if a proxy or the transport refused. Programs branch on this.
    pub reason: String,
    /// The gRPC code's name, as `NotFound`.
    pub code: String,
    /// For people.
    pub message: String,
    /// The wrong fields, and what is wrong with each.
    pub violations: Vec<(String, String)>,
    /// Where the ledger stood.
    pub position: Option<Position>,
    /// Who refused.
    pub endpoint: Endpoint,
}

impl Refusal {
    pub(crate) fn of(status: &Status, endpoint: &Endpoint) -> Self {
        let details = Details::of(status);
        Self {
            reason: details.reason,
            code: format!("{:?}", status.code()),
            message: status.message().to_owned(),
            violations: details.violations,
            position: details.metadata.get(POSITION_KEY).and_then(|text| text.parse().ok()),
            endpoint: endpoint.clone(),
        }
    }

    pub(crate) fn known_reason(&self) -> Option<Reason> {
        self.reason.parse().ok()
    }

    /// What to do next; empty where the message says all there is.
    pub fn advice(&self) -> &'static str {
        self.known_reason().map(advice).unwrap_or_default()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What helps against each reason.
fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::NodeSealed => "unseal it with `keyclave operator unseal`",
        Reason::NotInitialized => {
            "make a cluster with `keyclave operator init`, or join one with `keyclave server --join`"
        }
        Reason::AlreadyInitialized => "it is a member already; `keyclave operator status` shows of what",
        Reason::CatchingUp
        | Reason::NoLeader
        | Reason::NotConfirmed
        | Reason::ShuttingDown
        | Reason::Overloaded
        | Reason::NodeUnreachable
        | Reason::Deadline
        | Reason::Conflict
        | Reason::FloorAhead
        | Reason::MembershipBusy => "try again in a moment",
        Reason::AuditUnavailable => "look at that node's disk: its trail cannot be written",
        Reason::OutcomeUnknown => "look whether it was done, or repeat it with the same request id",
        Reason::Internal | Reason::PermitForeign => "look at that node's log",
        Reason::Unauthenticated => "set KEYCLAVE_TOKEN to a valid token of this cluster",
        Reason::Denied => "ask an administrator; `keyclave access explain` says what is missing",
        Reason::PersonsOnly => "let a person do it, with a token of their own",
        Reason::AuditHeld => "see who holds it with `keyclave audit trails`",
        Reason::AuditTampered => {
            "keep its audit directory as it is, look with `keyclave audit verify`, then `keyclave audit acknowledge`"
        }
        Reason::AuditRoom => "make room on that node's disk, or shorten `keyclave audit retention`",
        Reason::OtherNode => "name that node among the endpoints",
        Reason::LocalOnly => "run this on the node's own machine, against its socket",
        Reason::AccessHeadMismatch | Reason::RecordLost | Reason::AnchorBackwards => {
            "a node's store was damaged or changed by hand; compare the nodes' digests in `keyclave operator status`"
        }
        Reason::RequestIdOld => "look whether it was done, then do it anew",
        Reason::RequestIdAhead => {
            "the client has seen a position that this cluster has not; check its endpoints"
        }
        Reason::SecretShownOnce => {
            "the secret was shown to the first call only; revoke the token and make another"
        }
        Reason::OtherGeneration => "the cluster was restored; start the client anew and read again",
        Reason::ClockDoubtful => "check the machines' clocks, then `keyclave operator accept-time`",
        Reason::TimeBackwards => {
            "accept a time that is not behind the cluster's; `keyclave operator status` shows it"
        }
        Reason::KeyNotFound => "check the name with `keyclave key list`, and what the token may see",
        Reason::KeyExists => "choose another name",
        Reason::KeyDisabled => "enable it with `keyclave key enable`",
        Reason::KeyExpired => "extend its rules, or encrypt with another key",
        Reason::VersionUnknown => "see its versions with `keyclave key get`",
        Reason::VersionsMax => "destroy old versions, or let its rules do so",
        Reason::UsesExhausted => "rotate it with `keyclave key rotate`",
        Reason::WrongKey => "name the key that made the ciphertext",
        Reason::TokenNotRenewable => {
            "make one with `keyclave access token create --ttl SPAN --renewable SPAN`"
        }
        Reason::ClientRootNotFound => {
            "see the client roots with `keyclave access root list`; trust one with `put`"
        }
        Reason::ClientRootInvalid => "give the authority's own certificate, not one that it issued",
        Reason::ClientRootExists => "remove it there first, or use that name",
        Reason::IssuerNotFound => {
            "see the issuers with `keyclave access issuer list`; believe one with `put`"
        }
        Reason::KeySetInvalid => "give the issuer's public JWK set; docs/identities.md says where it is",
        Reason::IdentityNotFound => "see the identities with `keyclave access identity list`",
        Reason::IdentitySort => {
            "name it as the root's certificates do; `keyclave access root list` shows how"
        }
        Reason::IdentityInMetadata => "let the proxy pass connections through, or leave out the header",
        Reason::TooManyFailures => {
            "wait a few seconds, and look who sends wrong credentials from that address"
        }
        Reason::TokenNotFound => "list the tokens with `keyclave access`",
        Reason::LastAdministrator => "make another administrator with a token without end first",
        Reason::SubjectNotFound => {
            "see the subjects with `keyclave access subject list`; make one with `put`"
        }
        Reason::GroupNotFound => "see the groups with `keyclave access group list`; make one with `put`",
        Reason::GroupInUse => "take its members out with `keyclave access subject put` first",
        Reason::PolicyNotFound => "see the policies with `keyclave access policy list`",
        Reason::PolicyInvalid => "correct the text; docs/policies.md says what policies may speak about",
        Reason::ActionUnknown => "use a word of docs/policies.md, as encrypt or rotate",
        Reason::AccessMax => "remove what is not used any more",
        Reason::ApprovalsMissing => "let others approve it first",
        Reason::BoundCallersOnly => "come with the certificate that the credential is bound to",
        Reason::ShareWrong | Reason::ShareMalformed => "check the share for typing errors",
        Reason::ShareOtherSet => "the share is from another cluster, or from before a rekey",
        Reason::BootKeyChanged => "the process was restarted; compare its code again",
        Reason::BackOff => "wait a minute; a right share is taken at any time",
        Reason::AlreadyUnsealed => "give the share to a node that is sealed; see `keyclave operator status`",
        Reason::CeremonyElsewhere => {
            "give the share to the node that holds the ceremony, or reset that first"
        }
        Reason::CeremonyNotFound => "it has ended or its node was restarted: give the share again",
        Reason::AdmissionPolicy => "the cluster was made with another admission policy",
        Reason::CodeUnknown => "read the code again on that machine; it changes with each start",
        Reason::SealMarked | Reason::NotAdmitted => {
            "admit it with `keyclave operator admit NODE CODE`, or unseal it with shares"
        }
        Reason::JoinRefused => {
            "make a fresh token with `keyclave operator join-token`; one lives for an hour"
        }
        Reason::NodeNotFound => "see the members with `keyclave operator members`",
        Reason::OtherIncarnation => "remove the old member, then join with an empty directory as a new one",
        Reason::MembersMax => "remove a member first",
        Reason::NoSuccessor => "unseal another node, or wait until one has caught up",
        Reason::InvalidField
        | Reason::ItemsMax
        | Reason::PlaintextMax
        | Reason::AssociatedDataMax
        | Reason::RequestMax
        | Reason::MessageMax
        | Reason::TransactionMax
        | Reason::RequestIdReused
        | Reason::VersionDestroyed
        | Reason::VersionsExhausted
        | Reason::UsesNotCounted
        | Reason::RotateEveryOutOfRange
        | Reason::StalenessOutOfRange
        | Reason::NotDue
        | Reason::Undecryptable
        | Reason::TokenLifetime
        | Reason::NodesExhausted
        | Reason::LastMember
        | Reason::Horizon
        | Reason::RecordExists => "",
    }
}
