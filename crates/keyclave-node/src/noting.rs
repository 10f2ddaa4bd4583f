//! What a node puts on record of its own acts: nobody asked for them, and yet an auditor must see them.

use keyclave_audit::record::{Body, Class, OK, Phase, RecordDraft, Source, Target, Who};
use keyclave_types::ids::RequestId;
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
}

impl Act {
    /// An act named `operation` in the trail.
    pub(crate) fn new(operation: &'static str) -> Self {
        Self { operation, key: None, version: None, target: None }
    }

    /// The same, about a key's version.
    pub(crate) fn on_key(mut self, key: KeyName, version: Version) -> Self {
        (self.key, self.version) = (Some(key), Some(version));
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
        let mut body = Body::new(act.operation, Who::Node(self.local.node), Source::Inside);
        (body.key, body.version, body.target) = (act.key, act.version, act.target);
        let draft = RecordDraft {
            time: self.clock(),
            request: RequestId::from_bytes(self.entropy().array()),
            class: Class::Cluster,
            phase: Phase::Done,
            outcome: OK,
            body,
        };
        if let Err(error) = self.trail.record(draft).await {
            tracing::error!(%error, operation = act.operation, "an act of this node is not on record");
        }
    }
}
