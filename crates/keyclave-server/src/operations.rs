//! The API's services over the pipeline, one file each; and the same calls as they come forwarded from other nodes.

pub(crate) mod access;
pub(crate) mod audit;
pub(crate) mod cluster;
pub(crate) mod crypto;
pub(crate) mod joining;
pub(crate) mod key;
pub(crate) mod login;
pub(crate) mod seal;
mod seal_status;
mod trails;

pub(crate) mod forwarded;

use std::sync::Arc;

use keyclave_node::host::Host;
use tokio::sync::Semaphore;
use tonic::{Request, Status};

use crate::admission::Taking;
use crate::caller::Caller;
use crate::pipeline::{Pipeline, internal};

/// One node's API.
pub(crate) struct Api<H: Host> {
    pub(crate) pipeline: Pipeline<H>,
    /// Places for searches of the trail.
    searches: Arc<Semaphore>,
}

impl<H: Host> Api<H> {
    /// The API over a pipeline.
    pub(crate) fn new(pipeline: Pipeline<H>) -> Self {
        Self { pipeline, searches: Arc::new(Semaphore::new(audit::SEARCHES_MAX)) }
    }
}

impl<H: Host> Clone for Api<H> {
    fn clone(&self) -> Self {
        Self { pipeline: self.pipeline.clone(), searches: self.searches.clone() }
    }
}

/// The caller and the message of a request, whose answer and record are the operation's from here on.
pub(crate) fn take<T>(request: Request<T>) -> Result<(Caller, T), Status> {
    if let Some(taking) = request.extensions().get::<Taking>() {
        taking.taken();
    }
    let caller = Caller::of(&request).ok_or_else(|| internal("a request came through no listener"))?;
    Ok((caller, request.into_inner()))
}
