//! Verdicts of one subject that were found before. They live as long as the rules they were found under.
//!
//! A place names everything that a verdict can depend on: the action, the resource, the key's facts and, where any
//! policy of the subject looks at them, the circumstances. What looks at the time is not kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::action::Action;
use crate::question::{Circumstances, KeyFacts, Question, Resource};
use crate::source::Uses;
use crate::verdict::Verdict;

/// Resources with kept verdicts, for one subject.
const RESOURCES_MAX: usize = 1024;
/// Verdicts for one resource.
const VERDICTS_MAX: usize = 16;

#[derive(Default)]
pub(crate) struct Kept {
    verdicts: Mutex<HashMap<String, Vec<Found>>>,
}

struct Found {
    action: Action,
    facts: Option<KeyFacts>,
    circumstances: Option<Circumstances>,
    verdict: Arc<Verdict>,
}

/// Where a question's verdict is kept.
pub(crate) struct Place<'a> {
    /// A key's name, a prefix with its closing slash, or nothing for the cluster: no two can be the same.
    resource: &'a str,
    action: Action,
    facts: Option<&'a KeyFacts>,
    circumstances: Option<&'a Circumstances>,
}

impl<'a> Place<'a> {
    /// None if its verdict cannot be kept. A list under a prefix is too rare to be kept.
    pub(crate) fn of(question: &Question<'a>, uses: Uses) -> Option<Self> {
        let (resource, facts) = match question.resource {
            Resource::Key { name, facts } => (name.as_str(), Some(facts)),
            Resource::Cluster => ("", None),
            Resource::Prefix(_) | Resource::Chosen => return None,
        };
        let circumstances = uses.circumstances.then_some(question.circumstances);
        (!uses.time).then_some(Self { resource, action: question.action, facts, circumstances })
    }

    fn is(&self, found: &Found) -> bool {
        found.action == self.action
            && found.facts.as_ref() == self.facts
            && match (&found.circumstances, self.circumstances) {
                // The time is in the circumstances, and no policy here looks at it.
                (Some(kept), Some(asked)) => {
                    Circumstances { time: None, ..kept.clone() }
                        == Circumstances { time: None, ..asked.clone() }
                }
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            }
    }
}

impl Kept {
    pub(crate) fn get(&self, place: &Place<'_>) -> Option<Arc<Verdict>> {
        // A poisoned lock guards a cache: whatever is in it was put there whole.
        let verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        let found = verdicts.get(place.resource)?.iter().find(|found| place.is(found))?;
        Some(found.verdict.clone())
    }

    pub(crate) fn put(&self, place: &Place<'_>, verdict: Arc<Verdict>) {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if verdicts.len() >= RESOURCES_MAX {
            verdicts.clear();
        }
        let at = verdicts.entry(place.resource.to_owned()).or_default();
        if at.len() >= VERDICTS_MAX {
            at.clear();
        }
        at.push(Found {
            action: place.action,
            facts: place.facts.cloned(),
            circumstances: place.circumstances.cloned(),
            verdict,
        });
    }
}
