//! Answers to "who may" and "what is missing": the same decision, asked for others.
//!
//! Called by the server for `access explain`, `access who-can` and `access test`.

use std::collections::{BTreeMap, BTreeSet};

use keyclave_types::access::{Role, RoleGrant, Subject, SubjectKind};

use crate::decide::{Floor, No, Permit, decide};
use crate::principal::{Came, Credential, Principal};
use crate::question::{Question, Resource};
use crate::rules::{Membership, Rules};

impl Rules {
    /// What would be said if `subject` asked.
    pub fn explain(&self, floor: Floor, subject: &Subject, question: &Question<'_>) -> Result<Permit, No> {
        decide(self, floor, &as_if(subject), question)
    }

    /// Every subject that would get a yes.
    pub fn who_can<'a>(
        &'a self,
        floor: Floor,
        question: &Question<'_>,
    ) -> impl Iterator<Item = (&'a Subject, Permit)> {
        self.subjects()
            .filter_map(move |subject| Some((subject, self.explain(floor, subject, question).ok()?)))
    }
}

/// The subject as if it had come with some token of its own.
fn as_if(subject: &Subject) -> Principal {
    use keyclave_types::request::TokenId;
    Principal::Subject {
        subject: subject.clone(),
        credential: Credential::Token(TokenId([0; 12])),
        came: Came::default(),
    }
}

pub(crate) fn roles_that_would_do(question: &Question<'_>) -> Vec<RoleGrant> {
    let narrowest = match question.resource {
        Resource::Key { name, .. } => name.as_str().rsplit_once('/').map(|(folder, _)| format!("@{folder}/")),
        Resource::Prefix(prefix) if !prefix.as_str().is_empty() => {
            Some(format!("@{}/", prefix.as_str().trim_end_matches('/')))
        }
        Resource::Prefix(_) | Resource::Chosen | Resource::Cluster => None,
    };
    let grant = |role: Role| match (&narrowest, role.takes_prefix()) {
        (Some(prefix), true) => format!("{role}{prefix}").parse().ok(),
        (_, _) => Some(RoleGrant::everywhere(role)),
    };
    Role::ALL.into_iter().filter_map(grant).filter(|grant| would_do(grant, question)).collect()
}

fn would_do(grant: &RoleGrant, question: &Question<'_>) -> bool {
    let Ok(name) = "somebody".parse() else { return false };
    let somebody = Subject { kind: SubjectKind::User, name };
    let membership = Membership { roles: BTreeSet::from([grant.clone()]), ..Membership::default() };
    let rules = Rules::new(BTreeMap::from([(somebody.clone(), membership)]), BTreeMap::new(), []);
    rules.verdict(&somebody, question).allowed
}
