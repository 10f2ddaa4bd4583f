//! The actions of the schema as entities, each with the groups that it is in.

use std::collections::HashMap;
use std::sync::LazyLock;

use cedar_policy::{Entity, EntityUid};

use crate::schema;

static ENTITIES: LazyLock<HashMap<EntityUid, Entity>> = LazyLock::new(|| {
    let entities = schema::schema().action_entities().expect("the schema is a constant without cycles");
    entities.iter().map(|entity| (entity.uid(), entity.clone())).collect()
});

/// The entity of one action; its groups are among its ancestors.
pub(crate) fn entity_of(action: &EntityUid) -> Option<Entity> {
    ENTITIES.get(action).cloned()
}
