//! What the default roles allow, as policy templates. A grant of a role is a link of its template.
//!
//! Used by `rules`, and shown by `access role get`. Deliberately absent: roles of users' own, which are groups with
//! policies.

use std::collections::HashMap;
use std::sync::LazyLock;

use cedar_policy::{EntityUid, PolicyId, PolicySet, SlotId, Template};
use keyclave_types::access::{Role, RoleGrant};

use crate::schema;

/// A role's policy, as people read it.
pub fn text_of(role: Role) -> &'static str {
    match role {
        Role::Administrator => "permit(principal in ?principal, action, resource);",
        Role::Operator => {
            "permit(principal in ?principal, action in [Action::\"seal\", Action::\"admit\", Action::\"members\", \
             Action::\"acceptTime\", Action::\"status\"], resource);"
        }
        Role::Auditor => "permit(principal in ?principal, action in Action::\"read\", resource);",
        Role::KeyOwner => {
            "permit(principal in ?principal, action in [Action::\"manage\", Action::\"destroy\", \
             Action::\"describe\", Action::\"list\"], resource in ?resource);"
        }
        Role::Application => {
            "permit(principal in ?principal, action in Action::\"use\", resource in ?resource);"
        }
        Role::Reader => {
            "permit(principal in ?principal, action in [Action::\"describe\", Action::\"list\"], \
             resource in ?resource);"
        }
    }
}

/// All templates, ready for linking.
static TEMPLATES: LazyLock<PolicySet> = LazyLock::new(|| {
    let mut set = PolicySet::new();
    for role in Role::ALL {
        let template = Template::parse(Some(PolicyId::new(role.as_str())), text_of(role));
        let template = template.expect("a constant, and a test reads it");
        set.add_template(template).expect("roles have different names");
    }
    set
});

pub(crate) fn templates() -> PolicySet {
    TEMPLATES.clone()
}

/// Adds the policy of one grant to a set that holds the templates; none if it cannot be added.
pub(crate) fn link(set: &mut PolicySet, id: &PolicyId, holder: EntityUid, grant: &RoleGrant) -> Option<()> {
    let mut slots = HashMap::from([(SlotId::principal(), holder)]);
    if grant.role().takes_prefix() {
        let everywhere = schema::prefix(&keyclave_types::name::KeyPrefix::default());
        slots.insert(SlotId::resource(), grant.prefix().map_or(everywhere, schema::prefix));
    }
    set.link(PolicyId::new(grant.role().as_str()), id.clone(), slots).ok()
}

#[cfg(test)]
mod tests {
    use cedar_policy::{ValidationMode, Validator};

    use super::*;

    #[test]
    fn every_role_fits_the_schema() {
        let result = Validator::new(schema::schema().clone()).validate(&templates(), ValidationMode::Strict);
        assert!(result.validation_passed_without_warnings(), "{result:?}");
    }
}
