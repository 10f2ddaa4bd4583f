//! The versions of one key: where each stands, how one is added, how one is destroyed.

use keyclave_crypto::message::MessageKey;
use keyclave_crypto::secret::Secret;
use keyclave_types::ids::NodeId;
use keyclave_types::key::{
    KeyDescription, KeyState, Purge, Version, VersionDescription, VersionOrigin, VersionState,
};
use keyclave_types::limits::KEY_VERSIONS_MAX;
use keyclave_types::time::UnixMillis;
use std::sync::Arc;

use crate::draft::Draft;
use crate::reader::Reader;
use crate::records::RecordName;
use crate::records::cluster::{NodeCounter, RewritingOrder, Rewritten};
use crate::records::key::{KeyMeta, MATERIAL_FORMAT, Usage, VERSIONS_PER_PAGE, VersionMeta, VersionPage};
use crate::refusal::Refusal;

/// When a key's next version is due, if the leader would make it: not of a disabled key, not one that would never
/// encrypt, not one too many.
pub(crate) fn due_at(meta: &KeyMeta) -> Option<UnixMillis> {
    let at = meta.rotates_at?;
    let ends_before = meta.rules.encrypt_until.is_some_and(|end| end <= at);
    let full = room_for_another(meta).is_err();
    (meta.state == KeyState::Enabled && !ends_before && !full).then_some(at)
}

/// The version below which all are to be destroyed and not all are.
pub(crate) fn prune_below(meta: &KeyMeta) -> Option<Version> {
    let keep = meta.rules.keep_versions?;
    let first_kept = Version::new(meta.newest.get().checked_sub(keep.get())?.checked_add(1)?)?;
    (meta.oldest < first_kept).then_some(first_kept)
}

/// The order to rewrite the stores after which the page's last destroyed versions were destroyed, and when the first
/// of those was.
pub(crate) fn last_destroyed(page: &VersionPage) -> Option<(u64, UnixMillis)> {
    let destroyed = page.versions.iter().filter_map(|found| found.destroyed_after.zip(found.destroyed_at));
    let last = destroyed.clone().map(|(after, _)| after).max()?;
    let first = destroyed.filter(|(after, _)| *after == last).map(|(_, at)| at).min()?;
    Some((last, first))
}

/// Whether the key may have another version.
pub(crate) fn room_for_another(meta: &KeyMeta) -> Result<Version, Refusal> {
    let held = meta.newest.get().saturating_sub(meta.oldest.get()).saturating_add(1);
    if held >= KEY_VERSIONS_MAX {
        return Err(Refusal::VersionsMax { limit: KEY_VERSIONS_MAX });
    }
    meta.newest.next().ok_or(Refusal::VersionsExhausted)
}

pub(crate) fn page_of(version: Version) -> u32 {
    (version.get() - 1) / VERSIONS_PER_PAGE
}

fn slot_of(version: Version) -> usize {
    // Below VERSIONS_PER_PAGE, which fits.
    ((version.get() - 1) % VERSIONS_PER_PAGE) as usize
}

impl VersionPage {
    fn at(&self, version: Version) -> Option<&VersionMeta> {
        if self.page == page_of(version) { self.versions.get(slot_of(version)) } else { None }
    }

    fn at_mut(&mut self, version: Version) -> Option<&mut VersionMeta> {
        if self.page == page_of(version) { self.versions.get_mut(slot_of(version)) } else { None }
    }

    fn first(&self) -> u32 {
        self.page.saturating_mul(VERSIONS_PER_PAGE).saturating_add(1)
    }
}

impl<'a> Reader<'a> {
    /// The page that a version of this key stands on.
    pub(crate) fn page(&mut self, meta: &KeyMeta, version: Version) -> Result<&'a VersionPage, Refusal> {
        if version > meta.newest {
            return Err(Refusal::VersionUnknown { version });
        }
        match self.get::<VersionPage>(&RecordName::VersionPage(meta.id, page_of(version))) {
            Some(page) => Ok(page),
            None if version < meta.oldest => Err(Refusal::Destroyed { version }),
            None => Err(Refusal::RecordLost),
        }
    }

    /// One version of this key, in whatever state.
    pub(crate) fn version(&mut self, meta: &KeyMeta, version: Version) -> Result<VersionMeta, Refusal> {
        self.page(meta, version)?.at(version).copied().ok_or(Refusal::RecordLost)
    }

    /// The key of a version that may be used.
    pub(crate) fn message_key(
        &mut self,
        meta: &KeyMeta,
        version: Version,
    ) -> Result<Arc<MessageKey>, Refusal> {
        if meta.state == KeyState::Disabled {
            return Err(Refusal::Disabled);
        }
        match self.version(meta, version)?.state {
            VersionState::Enabled => {}
            VersionState::Disabled => return Err(Refusal::Disabled),
            VersionState::Destroyed => return Err(Refusal::Destroyed { version }),
        }
        let id = self.view().id_of(&RecordName::VersionMaterial(meta.id, version));
        let revision = self.held(id).ok_or(Refusal::RecordLost)?.revision;
        let view = self.view();
        let open = || {
            let material = view.open_secret(id, MATERIAL_FORMAT)?;
            let material = Secret::from_slice("version material", material.expose())?;
            Some(MessageKey::new(meta.algorithm, &material))
        };
        view.opened_keys().get(id, revision, open).ok_or(Refusal::RecordLost)
    }

    /// The number of the last order to rewrite the stores. That it was read makes it hold when the transaction
    /// commits: what is destroyed under it is destroyed before the next one is given.
    pub(crate) fn rewriting_order(&mut self) -> u64 {
        self.get::<RewritingOrder>(&RecordName::RewritingOrder).map_or(0, |order| order.number)
    }

    /// Says of each destroyed version, node by node, whether something of its secret may still lie on a disk.
    pub(crate) fn describe_purges(&mut self, meta: &KeyMeta, versions: &mut [VersionDescription]) {
        if versions.iter().all(|version| version.state != VersionState::Destroyed) {
            return;
        }
        // Who is a member: joining and leaving both write the counter.
        self.get::<NodeCounter>(&RecordName::NodeCounter);
        let nodes: Vec<_> = self.view().nodes().iter().map(|node| (node.node, node.incarnation)).collect();
        let mut done = Vec::with_capacity(nodes.len());
        for (node, incarnation) in nodes {
            let found = self.get::<Rewritten>(&RecordName::Rewritten(node));
            let own = found.filter(|found| found.incarnation == incarnation);
            done.push((node, own.map_or(0, |found| found.number)));
        }
        for described in versions.iter_mut().filter(|version| version.state == VersionState::Destroyed) {
            let after = self.version(meta, described.version).ok().and_then(|found| found.destroyed_after);
            let purge = |(node, number): &(NodeId, u64)| Purge {
                node: *node,
                purged: after.is_some_and(|after| *number > after),
            };
            described.purges = done.iter().map(purge).collect();
        }
    }

    /// The key with these of its versions.
    pub(crate) fn describe(&mut self, meta: &KeyMeta, versions: Vec<VersionDescription>) -> KeyDescription {
        KeyDescription {
            name: meta.name.clone(),
            id: meta.id,
            algorithm: meta.algorithm,
            state: meta.state,
            created_at: meta.created_at,
            rules: meta.rules,
            rotates_at: meta.rotates_at,
            primary: meta.newest,
            versions,
        }
    }

    /// All versions that are on record, oldest first.
    pub(crate) fn describe_versions(&mut self, meta: &KeyMeta) -> Result<Vec<VersionDescription>, Refusal> {
        let mut descriptions = Vec::new();
        let mut before = Some(page_of(meta.newest));
        while let Some(number) = before {
            let page = self.get::<VersionPage>(&RecordName::VersionPage(meta.id, number));
            let needed = number >= page_of(meta.oldest);
            let Some(page) = page else {
                if needed {
                    return Err(Refusal::RecordLost);
                }
                break;
            };
            for (offset, version) in page.versions.iter().enumerate().rev() {
                let number = u32::try_from(offset).ok().and_then(|offset| page.first().checked_add(offset));
                let number = number.and_then(Version::new).ok_or(Refusal::RecordLost)?;
                descriptions.push(self.describe_version(meta, number, version));
            }
            before = number.checked_sub(1);
        }
        descriptions.reverse();
        Ok(descriptions)
    }

    pub(crate) fn describe_version(
        &mut self,
        meta: &KeyMeta,
        version: Version,
        found: &VersionMeta,
    ) -> VersionDescription {
        let counted = meta.algorithm.messages_max().is_some();
        let usage = counted.then(|| self.get::<Usage>(&RecordName::Usage(meta.id, version))).flatten();
        VersionDescription {
            version,
            state: found.state,
            created_at: found.created_at,
            origin: found.origin,
            destroyed_at: found.destroyed_at,
            purges: Vec::new(),
            uses_reserved: usage.map_or(0, |usage| usage.reserved),
        }
    }
}

impl Draft<'_> {
    /// Puts `version` of this key on record: the first, or the one after the newest.
    pub(crate) fn put_version(
        &mut self,
        meta: &KeyMeta,
        version: Version,
        origin: VersionOrigin,
    ) -> Result<VersionDescription, Refusal> {
        let made = VersionMeta {
            state: VersionState::Enabled,
            created_at: self.now(),
            origin,
            destroyed_at: None,
            destroyed_after: None,
        };
        let number = page_of(version);
        let found = self.reader.get::<VersionPage>(&RecordName::VersionPage(meta.id, number));
        let mut page =
            found.cloned().unwrap_or(VersionPage { key: meta.id, page: number, versions: Vec::new() });
        if page.versions.len() != slot_of(version) {
            return Err(Refusal::RecordLost);
        }
        page.versions.push(made);
        self.put(&page);
        let material: Secret<32> = self.entropy.secret("version material");
        self.put_secret(&RecordName::VersionMaterial(meta.id, version), MATERIAL_FORMAT, material.expose());
        Ok(self.reader.describe_version(meta, version, &made))
    }

    /// Changes one version on its page.
    pub(crate) fn change_version(
        &mut self,
        meta: &KeyMeta,
        version: Version,
        change: impl FnOnce(&mut VersionMeta),
    ) -> Result<VersionDescription, Refusal> {
        let mut page = self.reader.page(meta, version)?.clone();
        let found = page.at_mut(version).ok_or(Refusal::RecordLost)?;
        change(found);
        let changed = *found;
        self.put(&page);
        Ok(self.reader.describe_version(meta, version, &changed))
    }

    /// Destroys every version from the oldest up to, not including, `end`, on one page and at most that page;
    /// the key's new oldest version.
    pub(crate) fn destroy_page_below(&mut self, meta: &KeyMeta, end: Version) -> Result<Version, Refusal> {
        let (now, order) = (self.now(), self.reader.rewriting_order());
        let mut page = self.reader.page(meta, meta.oldest)?.clone();
        let mut version = meta.oldest;
        while version < end {
            let Some(found) = page.at_mut(version) else { break };
            if found.state != VersionState::Destroyed {
                mark_destroyed(found, now, order);
                self.delete_material(meta, version);
            }
            version = version.next().ok_or(Refusal::VersionsExhausted)?;
        }
        self.put(&page);
        Ok(version)
    }

    /// Destroys one version; the key's new oldest version and what there is to say of the destroyed one.
    pub(crate) fn destroy_version(
        &mut self,
        meta: &KeyMeta,
        version: Version,
    ) -> Result<(Version, VersionDescription), Refusal> {
        let (now, order) = (self.now(), self.reader.rewriting_order());
        let description = self.change_version(meta, version, |found| mark_destroyed(found, now, order))?;
        self.delete_material(meta, version);
        let mut oldest = meta.oldest;
        if oldest == version {
            let page = self.reader.page(meta, version)?;
            let gone = |at: Version| {
                at == version || page.at(at).is_some_and(|found| found.state == VersionState::Destroyed)
            };
            while gone(oldest) {
                oldest = oldest.next().ok_or(Refusal::VersionsExhausted)?;
            }
        }
        Ok((oldest, description))
    }

    fn delete_material(&mut self, meta: &KeyMeta, version: Version) {
        self.delete(&RecordName::VersionMaterial(meta.id, version));
        if meta.algorithm.messages_max().is_some() {
            self.delete(&RecordName::Usage(meta.id, version));
        }
    }
}

fn mark_destroyed(version: &mut VersionMeta, now: UnixMillis, order: u64) {
    version.state = VersionState::Destroyed;
    version.destroyed_at = Some(now);
    version.destroyed_after = Some(order);
}
