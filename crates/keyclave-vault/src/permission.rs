//! Whether a principal may do something, asked of one view: what the policy needs to know is read here, and noted.
//!
//! Called once per request by the pipeline and by the leader, and per ciphertext where each chooses its key.

use keyclave_policy::{
    Action, Came, Circumstances, Deciding, KeyFacts, Permit, Principal, Question, Resource, Target, decide,
};

use crate::occasion::Now;
use crate::reader::Reader;
use crate::reads::ReadSet;
use crate::records::RecordName;
use crate::records::key::KeyMeta;
use crate::refusal::{Refusal, Refused};
use crate::view::View;

/// A no, what it rests on, and what decided it.
#[derive(Debug)]
pub struct Unpermitted {
    /// The no.
    pub refused: Refused,
    /// What forbids it, or could not be evaluated.
    pub by: Vec<Deciding>,
}

/// A yes, and what it rests on.
#[derive(Debug)]
pub struct Permitted {
    /// The yes.
    pub permit: Permit,
    /// What was read to decide it.
    pub reads: ReadSet,
}

/// Whether `principal` may do `action` with `target`, coming so.
pub fn permit(
    view: &View,
    principal: &Principal,
    action: Action,
    target: Target<'_>,
    circumstances: &Circumstances,
    now: Now,
) -> Result<Permitted, Unpermitted> {
    let mut reader = Reader::new(view);
    let decided = ask(&mut reader, principal, action, target, circumstances, now);
    let reads = reader.into_reads();
    match decided {
        Ok(permit) => Ok(Permitted { permit, reads }),
        Err((refusal, by)) => Err(Unpermitted { refused: Refused { refusal, reads }, by }),
    }
}

/// [`permit`], noting what is read with what else the request reads.
pub(crate) fn ask(
    reader: &mut Reader<'_>,
    principal: &Principal,
    action: Action,
    target: Target<'_>,
    circumstances: &Circumstances,
    now: Now,
) -> Result<Permit, (Refusal, Vec<Deciding>)> {
    let foundations = reader.foundations();
    let view = reader.view();
    let rules = view.rules().filter(|_| foundations.is_ok()).ok_or((Refusal::AccessHead, Vec::new()))?;
    let Came { mtls, bound } = principal.came();
    let circumstances = Circumstances { time: now.relied(), mtls, bound, ..circumstances.clone() };
    let facts = match target {
        Target::Key(name) => {
            reader.get::<KeyMeta>(&RecordName::Key(name)).map_or_else(KeyFacts::absent, facts_of)
        }
        Target::Prefix(_) | Target::Chosen | Target::Cluster => KeyFacts::absent(),
    };
    let resource = match target {
        Target::Key(name) => Resource::Key { name, facts: &facts },
        Target::Prefix(prefix) => Resource::Prefix(prefix),
        Target::Chosen => Resource::Chosen,
        Target::Cluster => Resource::Cluster,
    };
    let floor = view.indexes().access_records().floor();
    decide(rules, floor, principal, &Question { action, resource, circumstances: &circumstances })
        .map_err(|no| (no.denied.into(), no.by))
}

pub(crate) fn facts_of(meta: &KeyMeta) -> KeyFacts {
    KeyFacts { algorithm: Some(meta.algorithm), state: Some(meta.state), ..KeyFacts::absent() }
}
