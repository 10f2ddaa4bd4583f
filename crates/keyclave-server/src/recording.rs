//! From a call to its audit records: one draft that grows with what becomes known, recorded as intent, done or
//! withheld.

use keyclave_audit::record::{Body, Class, OK, PENDING, Phase, RecordDraft, Source, Target, Who};
use keyclave_policy::{Action, Class as ActionClass, Credential, Deciding, Principal};
use keyclave_types::access::{Subject, SubjectKind};
use keyclave_types::ids::RequestId;
use keyclave_types::time::UnixMillis;
use tonic::{Code, Status};

use crate::caller::Caller;
use crate::origin::Origin;
use crate::receipt::{ReceiptPlace, Recorded};

/// One call on its way to being recorded.
pub(crate) struct Recording {
    request: RequestId,
    class: Class,
    arrived: tokio::time::Instant,
    receipt: ReceiptPlace,
    pub(crate) body: Body,
}

impl Recording {
    /// A call that asks for `action`, named `operation` in the trail.
    pub(crate) fn new(caller: &Caller, request: RequestId, action: Action, operation: &'static str) -> Self {
        let source = match caller.origin {
            Origin::Network(address) => Source::Address(address),
            Origin::LocalSocket => Source::LocalSocket,
        };
        let who = if caller.is_local() { Who::LocalSocket } else { Who::Nobody };
        Self {
            request,
            class: class(action),
            arrived: caller.arrived,
            receipt: caller.receipt.clone(),
            body: Body::new(operation, who, source),
        }
    }

    /// Who it turned out to be.
    pub(crate) fn by(&mut self, principal: &Principal) {
        self.body.who = match principal {
            Principal::Subject {
                subject: Subject { kind, name },
                credential: Credential::Token(token),
                ..
            } => {
                let (subject, token) = (name.clone(), *token);
                match kind {
                    SubjectKind::User => Who::User { subject, token },
                    SubjectKind::Service => Who::Service { subject, token },
                }
            }
            Principal::Subject { subject, credential: Credential::Certificate(authority), .. } => {
                Who::Certificate { subject: subject.clone(), authority: *authority }
            }
            Principal::LocalSocket => Who::LocalSocket,
            Principal::Member(node) => Who::Node(*node),
            Principal::Unauthenticated => Who::Nobody,
        };
    }

    /// Whom a JWT names that is being swapped for a token.
    pub(crate) fn logs_in(&mut self, subject: &Subject) {
        let name = subject.name.clone();
        self.body.target = Some(match subject.kind {
            SubjectKind::User => Target::User(name),
            SubjectKind::Service => Target::Service(name),
        });
    }

    /// What decided whether they may.
    pub(crate) fn decided_by(&mut self, by: &[Deciding]) {
        self.body.policies = by.iter().map(ToString::to_string).collect();
    }

    /// Before a write is proposed.
    pub(crate) fn intent(&self, now: UnixMillis) -> RecordDraft {
        self.draft(now, Phase::Intent, PENDING)
    }

    /// It is done.
    pub(crate) fn done(&self, now: UnixMillis) -> Recorded {
        self.with_receipt(self.draft(now, Phase::Done, OK))
    }

    /// It ended with a refusal.
    pub(crate) fn refused(&self, now: UnixMillis, status: &Status) -> Recorded {
        let mut draft = self.draft(now, Phase::Done, reason_word(status));
        draft.body.code = code_number(status.code());
        self.with_receipt(draft)
    }

    /// An answer was made and not given, because what it rests on had changed.
    pub(crate) fn withheld(&self, now: UnixMillis) -> RecordDraft {
        self.draft(now, Phase::Withheld, "CHANGED")
    }

    /// The record that an answer goes with: its receipt goes with the answer.
    fn with_receipt(&self, draft: RecordDraft) -> Recorded {
        Recorded { draft, receipt: Some(self.receipt.clone()) }
    }

    fn draft(&self, time: UnixMillis, phase: Phase, outcome: &'static str) -> RecordDraft {
        let mut body = self.body.clone();
        body.duration_us = u64::try_from(self.arrived.elapsed().as_micros()).unwrap_or(u64::MAX);
        RecordDraft { time, request: self.request, class: self.class, phase, outcome, body }
    }
}

/// So many refusals of callers without a valid credential were counted and not recorded one by one.
pub(crate) fn counted(request: RequestId, time: UnixMillis, number: u32) -> RecordDraft {
    let mut body = Body::new("RefusedCounted", Who::Nobody, Source::Inside);
    body.items = number;
    let outcome = keyclave_proto::reason::Reason::Unauthenticated.as_str();
    RecordDraft { time, request, class: Class::Open, phase: Phase::Done, outcome, body }
}

/// The stable reason of a refusal, or its gRPC code where it has none.
fn reason_word(status: &Status) -> &'static str {
    let reason = keyclave_proto::status::Details::of(status).known_reason();
    reason.map_or("OTHER", keyclave_proto::reason::Reason::as_str)
}

fn code_number(code: Code) -> u8 {
    u8::try_from(i32::from(code)).unwrap_or(2)
}

fn class(action: Action) -> Class {
    match action.class() {
        ActionClass::Open => Class::Open,
        ActionClass::Machine => Class::Machine,
        ActionClass::Known => Class::Known,
        ActionClass::Use => Class::Use,
        ActionClass::Manage => Class::Manage,
        ActionClass::Danger => Class::Danger,
        ActionClass::Read => Class::Read,
        ActionClass::Operate => match action {
            Action::CreateToken
            | Action::RevokeToken
            | Action::ChangeIdentities
            | Action::ChangePolicies
            | Action::Approve => Class::Access,
            _ => Class::Operate,
        },
        ActionClass::Cluster => Class::Cluster,
    }
}
