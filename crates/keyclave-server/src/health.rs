//! How the process stands, in one word, for machines that probe. Said by [`crate::monitoring`] and
//! [`crate::grpc_health`]; it tells nothing that a closed port would not.

use std::sync::Arc;

use keyclave_node::host::Host;
use keyclave_node::node::Node;

/// The state of a process, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// It serves.
    Unsealed,
    /// It runs and holds no key.
    Sealed,
    /// It belongs to no cluster yet.
    Vacant,
    /// It runs, but something keeps it from serving.
    Failing,
}

impl Health {
    pub(crate) const ALL: [Self; 4] = [Self::Unsealed, Self::Sealed, Self::Vacant, Self::Failing];

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unsealed => "unsealed",
            Self::Sealed => "sealed",
            Self::Vacant => "vacant",
            Self::Failing => "failing",
        }
    }

    /// 200 while it serves; 503 otherwise, so that a probe tells serving from the rest.
    pub(crate) fn status(self) -> &'static str {
        match self {
            Self::Unsealed => "200 OK",
            Self::Sealed | Self::Vacant | Self::Failing => "503 Service Unavailable",
        }
    }
}

/// Where it is asked for, as it is at that moment. Clones share it.
#[derive(Clone)]
pub(crate) struct Healths(Arc<dyn Fn() -> Health + Send + Sync>);

impl Healths {
    /// What `now` says.
    pub(crate) fn new(now: impl Fn() -> Health + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// What `node` is.
    pub(crate) fn of<H: Host>(node: &Node<H>) -> Self {
        let node = node.clone();
        Self::new(move || match node.member() {
            None => Health::Vacant,
            Some(member) if member.trail().status().stopped.is_some() => Health::Failing,
            Some(member) if member.serving().is_ok() => Health::Unsealed,
            Some(_) => Health::Sealed,
        })
    }

    /// How the process stands.
    pub(crate) fn now(&self) -> Health {
        (self.0)()
    }
}
