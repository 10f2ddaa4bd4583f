//! What openraft carries as a snapshot: the signed checkpoint that it is of, and its records in chunks.

use std::fmt;

use futures::stream::BoxStream;

/// A snapshot's contents on their way out; without contents where there is no checkpoint yet.
pub(crate) struct SnapshotBody(Option<Captured>);

struct Captured {
    checkpoint: Vec<u8>,
    chunks: BoxStream<'static, Vec<u8>>,
}

impl SnapshotBody {
    /// Nothing to send: openraft asked before there was a checkpoint.
    pub(crate) fn nothing() -> Self {
        Self(None)
    }

    /// The stored checkpoint entry and the chunks of the state that it signs.
    pub(crate) fn captured(checkpoint: Vec<u8>, chunks: BoxStream<'static, Vec<u8>>) -> Self {
        Self(Some(Captured { checkpoint, chunks }))
    }

    /// The checkpoint and the chunks, if there are any.
    pub(crate) fn into_parts(self) -> Option<(Vec<u8>, BoxStream<'static, Vec<u8>>)> {
        self.0.map(|captured| (captured.checkpoint, captured.chunks))
    }
}

impl fmt::Debug for SnapshotBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SnapshotBody")
    }
}
