//! Descriptions: one key, a page of keys, all tokens. No secret is opened.

use std::num::NonZeroU32;

use keyclave_types::limits::PAGE_ITEMS_MAX;
use keyclave_types::name::{KeyName, KeyPrefix};
use keyclave_types::request::TokenDescription;

use crate::compute::{Answering, ReadAnswer};
use crate::reads::SetRead;
use crate::records::RecordName;
use crate::records::key::KeyMeta;
use crate::refusal::Refusal;

impl Answering<'_> {
    pub(super) fn describe_key(&mut self, name: &KeyName) -> Result<ReadAnswer, Refusal> {
        let meta = self.reader.get::<KeyMeta>(&RecordName::Key(name)).ok_or(Refusal::NotFound)?;
        self.allows(meta.rules.staleness_max_ms);
        let mut versions = self.reader.describe_versions(meta)?;
        self.reader.describe_purges(meta, &mut versions);
        Ok(ReadAnswer::Key(self.reader.describe(meta, versions)))
    }

    pub(super) fn list_keys(
        &mut self,
        prefix: &KeyPrefix,
        after: Option<&KeyName>,
        page_items: NonZeroU32,
    ) -> Result<ReadAnswer, Refusal> {
        // At most PAGE_ITEMS_MAX, which fits.
        let items = page_items.get().min(PAGE_ITEMS_MAX) as usize;
        let mut names = self.reader.view().indexes().names(prefix, after);
        let page: Vec<_> = names.by_ref().take(items).map(|(_, id)| *id).collect();
        let more = names.next().is_some();
        drop(names);
        let mut keys = Vec::with_capacity(page.len());
        for id in &page {
            let meta = self.reader.key_at(*id).ok_or(Refusal::RecordLost)?;
            keys.push(self.reader.describe(meta, Vec::new()));
        }
        let next = keys.last().filter(|_| more).map(|key| key.name.clone());
        self.reader.note_set(SetRead::Keys {
            prefix: prefix.clone(),
            after: after.cloned(),
            through: next.clone(),
            found: page,
        });
        Ok(ReadAnswer::Keys { keys, next })
    }

    pub(super) fn list_tokens(&mut self) -> Result<ReadAnswer, Refusal> {
        let found: Vec<_> = self.reader.view().indexes().tokens().map(|(_, id)| *id).collect();
        let mut tokens = Vec::with_capacity(found.len());
        for id in &found {
            let token = self.reader.token_at(*id).ok_or(Refusal::RecordLost)?;
            tokens.push(TokenDescription {
                id: token.id,
                subject: token.subject.clone(),
                created_at: token.created_at,
                expires_at: token.expires_at,
                renewable_until: token.renewal.map(|renewal| renewal.until),
                binding: token.binding.clone(),
                sources: token.sources.clone(),
            });
        }
        self.reader.note_set(SetRead::Tokens { found });
        Ok(ReadAnswer::Tokens(tokens))
    }
}
