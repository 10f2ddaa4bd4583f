//! What a node puts on record of its own acts: nobody asked for them, and yet an auditor must see them.

use keyclave_audit::record::{Body, Class, OK, PENDING, Phase, RecordDraft, Source, Target, Who};
use keyclave_audit::trail::TrailError;
use keyclave_types::ids::{NodeId, RequestId};
use keyclave_types::key::Version;
use keyclave_types::name::KeyName;

use crate::host::Host;
use crate::member::Member;

/// One act of a node's own.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    operation: &'static str,
    key: Option<KeyName>,
    version: Option<Version>,
    target: Option<Target>,
    source: Source,
    phase: Phase,
    outcome: &'static str,
}

impl Act {
    /// An act named `operation` in the trail.
    pub(crate) fn new(operation: &'static str) -> Self {
        Self {
            operation,
            key: None,
            version: None,
            target: None,
            source: Source::Inside,
            phase: Phase::Done,
            outcome: OK,
        }
    }

    /// The same, about a key.
    pub(crate) fn on_key(mut self, key: KeyName) -> Self {
        self.key = Some(key);
        self
    }

    /// The same, about that version of it.
    pub(crate) fn of_version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// The same, not done yet: recorded before it is proposed.
    pub(crate) fn intended(mut self) -> Self {
        (self.phase, self.outcome) = (Phase::Intent, PENDING);
        self
    }

    /// The same, ended with this word: a stable reason if it was refused.
    pub(crate) fn ended(mut self, outcome: &'static str) -> Self {
        self.outcome = outcome;
        self
    }

    /// The same, asked for by another member.
    pub(crate) fn asked_by(mut self, node: NodeId) -> Self {
        self.source = Source::Member(node);
        self
    }

    /// The same, about something else.
    pub(crate) fn on(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }
}

impl<H: Host> Member<H> {
    /// Puts an act on record. It has happened already: a trail that refuses ends the process by itself.
    pub(crate) async fn note(&self, act: Act) {
        let operation = act.operation;
        if let Err(error) = self.record(act).await {
            tracing::error!(%error, operation, "an act of this node is not on record");
        }
    }

    /// Puts an act on record before it has any effect; without the record it must have none.
    pub(crate) async fn record(&self, act: Act) -> Result<(), TrailError> {
        let mut body = Body::new(act.operation, Who::Node(self.local.node), act.source);
        (body.key, body.version, body.target) = (act.key, act.version, act.target);
        let draft = RecordDraft {
            time: self.clock(),
            request: RequestId::from_bytes(self.entropy().array()),
            class: Class::Cluster,
            phase: act.phase,
            outcome: act.outcome,
            body,
        };
        self.trail.record(draft).await.map(|_| ())
    }
}
