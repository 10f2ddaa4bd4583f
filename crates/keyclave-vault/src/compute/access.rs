//! Answers about who may do what: lists, and the policy's own decision asked for others. All of it rests on the access
//! head, which is in every read set.

use std::num::NonZeroU32;

use keyclave_policy::{Action, Circumstances, Deciding, KeyFacts, Question, Resource, roles_that_would_do};
use keyclave_types::access::{GroupName, PolicyName, Subject};
use keyclave_types::identity::{Identity, IssuerName, RootName};
use keyclave_types::limits::PAGE_ITEMS_MAX;
use keyclave_types::request::{Able, AskedOn, Explanation, PolicyDescription};

use crate::compute::{Answering, ReadAnswer};
use crate::permission::facts_of;
use crate::records::RecordName;
use crate::records::access::PolicyRecord;
use crate::records::key::KeyMeta;
use crate::refusal::Refusal;

impl Answering<'_> {
    pub(super) fn list_subjects(&self, after: Option<&Subject>, page_items: NonZeroU32) -> ReadAnswer {
        let all = self.reader.view().indexes().access_records().subjects_after(after);
        let (page, more) = page(all, page_items);
        ReadAnswer::Subjects(page, more)
    }

    pub(super) fn list_groups(&self, after: Option<&GroupName>, page_items: NonZeroU32) -> ReadAnswer {
        let all = self.reader.view().indexes().access_records().groups_after(after);
        let (page, more) = page(all, page_items);
        ReadAnswer::Groups(page, more)
    }

    pub(super) fn list_policies(&self, after: Option<&PolicyName>, page_items: NonZeroU32) -> ReadAnswer {
        let all = self.reader.view().indexes().access_records().policies_after(after).cloned();
        let (page, more) = page(all, page_items);
        ReadAnswer::Policies(page, more)
    }

    pub(super) fn list_client_roots(&self, after: Option<&RootName>, page_items: NonZeroU32) -> ReadAnswer {
        let all = self.reader.view().indexes().foreign_records().roots_after(after);
        let (page, more) = page(all, page_items);
        ReadAnswer::ClientRoots(page, more)
    }

    pub(super) fn list_issuers(&self, after: Option<&IssuerName>, page_items: NonZeroU32) -> ReadAnswer {
        let all = self.reader.view().indexes().foreign_records().issuers_after(after);
        let (page, more) = page(all, page_items);
        ReadAnswer::Issuers(page, more)
    }

    pub(super) fn list_identities(&self, after: Option<&Identity>, page_items: NonZeroU32) -> ReadAnswer {
        let indexes = self.reader.view().indexes();
        let epoch = |subject: &Subject| indexes.access_records().epoch(subject);
        let (page, more) = page(indexes.foreign_records().identities_after(after, epoch), page_items);
        ReadAnswer::Identities(page, more)
    }

    pub(super) fn get_policy(&mut self, name: &PolicyName) -> Result<ReadAnswer, Refusal> {
        let found =
            self.reader.get::<PolicyRecord>(&RecordName::Policy(name)).ok_or(Refusal::PolicyUnknown)?;
        let (name, text, put_at) = (found.name.clone(), found.text.clone(), found.put_at);
        Ok(ReadAnswer::Policy(PolicyDescription { name, text, put_at }))
    }

    pub(super) fn explain(
        &mut self,
        subject: &Subject,
        action: &str,
        on: &AskedOn,
    ) -> Result<ReadAnswer, Refusal> {
        let facts = self.facts(on);
        let circumstances = Circumstances { time: self.now.relied(), ..Circumstances::default() };
        let question = question(action, on, &facts, &circumstances)?;
        let view = self.reader.view();
        let rules = view.rules().ok_or(Refusal::AccessHead)?;
        if !rules.subjects().any(|known| known == subject) {
            return Err(Refusal::SubjectUnknown);
        }
        let floor = view.indexes().access_records().floor();
        Ok(ReadAnswer::Explained(match rules.explain(floor, subject, &question) {
            Ok(permit) => {
                Explanation { allowed: true, by: words(permit.by()), missing: None, would_do: Vec::new() }
            }
            Err(no) => Explanation {
                allowed: false,
                by: words(&no.by),
                missing: Some(no.denied.missing.to_string()),
                would_do: if no.by.is_empty() { roles_that_would_do(&question) } else { Vec::new() },
            },
        }))
    }

    pub(super) fn who_can(&mut self, action: &str, on: &AskedOn) -> Result<ReadAnswer, Refusal> {
        let facts = self.facts(on);
        let circumstances = Circumstances { time: self.now.relied(), ..Circumstances::default() };
        let question = question(action, on, &facts, &circumstances)?;
        let view = self.reader.view();
        let rules = view.rules().ok_or(Refusal::AccessHead)?;
        let able = rules.who_can(view.indexes().access_records().floor(), &question);
        let able = able.map(|(subject, permit)| Able { subject: subject.clone(), by: words(permit.by()) });
        Ok(ReadAnswer::Able(able.collect()))
    }

    fn facts(&mut self, on: &AskedOn) -> KeyFacts {
        match on {
            AskedOn::Key(name) => {
                self.reader.get::<KeyMeta>(&RecordName::Key(name)).map_or_else(KeyFacts::absent, facts_of)
            }
            AskedOn::Prefix(_) | AskedOn::Cluster => KeyFacts::absent(),
        }
    }
}

fn question<'a>(
    action: &str,
    on: &'a AskedOn,
    facts: &'a KeyFacts,
    circumstances: &'a Circumstances,
) -> Result<Question<'a>, Refusal> {
    let action = Action::from_word(action).ok_or(Refusal::ActionUnknown)?;
    let resource = match on {
        AskedOn::Key(name) => Resource::Key { name, facts },
        AskedOn::Prefix(prefix) => Resource::Prefix(prefix),
        AskedOn::Cluster => Resource::Cluster,
    };
    Ok(Question { action, resource, circumstances })
}

fn words(by: &[Deciding]) -> Vec<String> {
    by.iter().map(ToString::to_string).collect()
}

/// So many of them, and whether there are more.
fn page<T>(all: impl Iterator<Item = T>, page_items: NonZeroU32) -> (Vec<T>, bool) {
    // At most PAGE_ITEMS_MAX, which fits.
    let items = page_items.get().min(PAGE_ITEMS_MAX) as usize;
    let mut page: Vec<T> = all.take(items + 1).collect();
    let more = page.len() > items;
    page.truncate(items);
    (page, more)
}
