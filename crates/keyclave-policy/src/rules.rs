//! All rules at once: who is in which groups, which roles and policies there are. Built by the vault from one view
//! and replaced whole whenever anything in it changes.
//!
//! A question meets only what can concern it: per subject a slice, kept, in it what the key's name selects.
//! Deliberately absent: the floor under all rules (`decide`), and where the rules are kept.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision as CedarDecision, Entities, Entity, EntityUid,
    PolicyId, PolicySet, Request, RestrictedExpression,
};
use keyclave_types::access::{GroupName, RoleGrant, Subject};
use keyclave_types::key::{Algorithm, KeyState};
use keyclave_types::name::KeyPrefix;

use crate::kept::{Kept, Place};
use crate::question::{Circumstances, KeyFacts, Question, Resource};
use crate::source::{Policy, Uses};
use crate::verdict::{Deciding, Verdict, Why};
use crate::{roles, schema};

/// Slices that are kept at the same time; with one more, all are made anew.
const SLICES_MAX: usize = 4096;
/// Stack that evaluating may use. Cedar stops with an error, and so with a no, before it runs out.
const STACK_BYTES: usize = 4 * 1024 * 1024;
/// Below this much stack left, evaluating gets one of its own.
const STACK_LEFT_BYTES: usize = 512 * 1024;

/// What a subject is part of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Its groups.
    pub groups: BTreeSet<GroupName>,
    /// Its own roles.
    pub roles: BTreeSet<RoleGrant>,
}

/// All rules of one moment.
#[derive(Default)]
pub struct Rules {
    subjects: BTreeMap<Subject, Membership>,
    groups: BTreeMap<GroupName, BTreeSet<RoleGrant>>,
    /// Policies by the entity that their head names as principal; without one under none.
    policies: HashMap<Option<EntityUid>, Vec<Policy>>,
    slices: Mutex<HashMap<Subject, Arc<Slice>>>,
}

impl Rules {
    /// The rules that these subjects, groups and policies make.
    pub fn new(
        subjects: BTreeMap<Subject, Membership>,
        groups: BTreeMap<GroupName, BTreeSet<RoleGrant>>,
        policies: impl IntoIterator<Item = Policy>,
    ) -> Self {
        let mut by_principal: HashMap<_, Vec<_>> = HashMap::new();
        for policy in policies {
            by_principal.entry(policy.principal()).or_default().push(policy);
        }
        Self { subjects, groups, policies: by_principal, slices: Mutex::default() }
    }

    /// Every subject that there is.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.subjects.keys()
    }

    /// What the rules say, without the floor. A subject that is not there gets nothing.
    pub(crate) fn verdict(&self, subject: &Subject, question: &Question<'_>) -> Arc<Verdict> {
        let Some(slice) = self.slice(subject) else { return Arc::new(Verdict::nothing_permits()) };
        slice.verdict(question)
    }

    fn slice(&self, subject: &Subject) -> Option<Arc<Slice>> {
        // A poisoned lock guards a cache: whatever is in it was put there whole.
        let mut slices = self.slices.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slice) = slices.get(subject) {
            return Some(slice.clone());
        }
        let slice = Arc::new(self.cut(subject, self.subjects.get(subject)?));
        if slices.len() >= SLICES_MAX {
            slices.clear();
        }
        slices.insert(subject.clone(), slice.clone());
        Some(slice)
    }

    /// Everything that can concern one subject.
    fn cut(&self, subject: &Subject, membership: &Membership) -> Slice {
        let me = schema::subject(subject);
        let mut slice = Slice::of(me.clone());
        let mut parents = HashSet::new();
        for grant in &membership.roles {
            parents.extend(slice.grant(&me, None, grant));
        }
        for name in &membership.groups {
            let group = schema::group(name);
            let mut roles = HashSet::new();
            for grant in self.groups.get(name).into_iter().flatten() {
                roles.extend(slice.grant(&group, Some(name), grant));
            }
            slice.entities.push(Entity::new_no_attrs(group.clone(), roles.clone()));
            parents.extend(roles);
            parents.insert(group);
        }
        slice.entities.push(Entity::new_no_attrs(me.clone(), parents.clone()));
        for concerned in parents.into_iter().chain([me]).map(Some).chain([None]) {
            for policy in self.policies.get(&concerned).into_iter().flatten() {
                slice.add(policy);
            }
        }
        slice
    }
}

/// One grant or policy in a slice.
#[derive(Clone)]
enum Rule {
    Policy(Policy),
    Grant { id: PolicyId, holder: EntityUid, via: Option<GroupName>, grant: RoleGrant },
}

/// What can concern one subject.
struct Slice {
    subject: EntityUid,
    /// The subject and its groups.
    entities: Vec<Entity>,
    /// By the entity that the rule's head names as resource; without one under none.
    rules: HashMap<Option<EntityUid>, Vec<Rule>>,
    uses: Uses,
    kept: Kept,
}

impl Slice {
    fn of(subject: EntityUid) -> Self {
        Self {
            subject,
            entities: Vec::new(),
            rules: HashMap::new(),
            uses: Uses::default(),
            kept: Kept::default(),
        }
    }

    /// Adds a role, and gives it as an entity for policies to speak of, if it holds everywhere.
    fn grant(&mut self, holder: &EntityUid, via: Option<&GroupName>, grant: &RoleGrant) -> Option<EntityUid> {
        let prefix = grant.prefix().cloned().unwrap_or_default();
        let resource = grant.role().takes_prefix().then(|| schema::prefix(&prefix));
        // No role is called `policy`, as the ids of policies begin, and none has a space in its name.
        let id = PolicyId::new(format!("{grant} {holder}"));
        let rule = Rule::Grant { id, holder: holder.clone(), via: via.cloned(), grant: grant.clone() };
        self.rules.entry(resource).or_default().push(rule);
        grant.prefix().is_none().then(|| schema::role(grant.role()))
    }

    fn add(&mut self, policy: &Policy) {
        self.uses.time |= policy.uses().time;
        self.uses.circumstances |= policy.uses().circumstances;
        self.rules.entry(policy.resource()).or_default().push(Rule::Policy(policy.clone()));
    }

    fn verdict(&self, question: &Question<'_>) -> Arc<Verdict> {
        let place = Place::of(question, self.uses);
        if let Some(verdict) = place.as_ref().and_then(|place| self.kept.get(place)) {
            return verdict;
        }
        let verdict = Arc::new(stacker::maybe_grow(STACK_LEFT_BYTES, STACK_BYTES, || self.ask(question)));
        if let Some(place) = place {
            self.kept.put(&place, verdict.clone());
        }
        verdict
    }

    fn ask(&self, question: &Question<'_>) -> Verdict {
        let Some(action) = schema::action(question.action) else { return Verdict::nothing_permits() };
        let (resource, above) = resource_of(&question.resource);
        let concerned: Vec<&Rule> = above
            .iter()
            .chain([&resource])
            .cloned()
            .map(Some)
            .chain([None])
            .filter_map(|uid| self.rules.get(&uid))
            .flatten()
            .collect();
        let asked = set_of(&concerned).zip(self.facts(question, action, resource, above));
        let Some((policies, (request, entities))) = asked else { return Verdict::failed(Vec::new()) };
        let response = Authorizer::new().is_authorized(&request, &policies, &entities);
        let name =
            |id: &PolicyId| concerned.iter().find(|rule| *rule.id() == *id).map(|rule| rule.deciding());
        let failed: Vec<_> = response
            .diagnostics()
            .errors()
            .filter_map(|AuthorizationError::PolicyEvaluationError(error)| name(error.policy_id()))
            .collect();
        if response.diagnostics().errors().next().is_some() {
            return Verdict::failed(failed);
        }
        let mut by: Vec<_> = response.diagnostics().reason().filter_map(name).collect();
        by.sort_unstable();
        match (response.decision(), by.is_empty()) {
            (CedarDecision::Allow, _) => Verdict { allowed: true, why: Why::Permitted, by },
            (CedarDecision::Deny, false) => Verdict { allowed: false, why: Why::Forbidden, by },
            (CedarDecision::Deny, true) => Verdict::nothing_permits(),
        }
    }

    /// The request and everything that its evaluation may look up.
    fn facts(
        &self,
        question: &Question<'_>,
        action: EntityUid,
        resource: EntityUid,
        above: Vec<EntityUid>,
    ) -> Option<(Request, Entities)> {
        let context = Context::from_pairs(circumstances(question.circumstances)).ok()?;
        let mut entities = self.entities.clone();
        entities.push(crate::actions::entity_of(&action)?);
        let attributes = match question.resource {
            Resource::Key { facts, .. } => key_attributes(facts),
            Resource::Prefix(_) | Resource::Chosen | Resource::Cluster => HashMap::new(),
        };
        entities.push(Entity::new(resource.clone(), attributes, above.iter().cloned().collect()).ok()?);
        entities.extend(above.into_iter().map(|uid| Entity::new_no_attrs(uid, HashSet::new())));
        let entities = Entities::from_entities(entities, None).ok()?;
        let request = Request::new(self.subject.clone(), action, resource, context, None).ok()?;
        Some((request, entities))
    }
}

impl Rule {
    fn id(&self) -> &PolicyId {
        match self {
            Self::Policy(policy) => policy.cedar().id(),
            Self::Grant { id, .. } => id,
        }
    }

    fn deciding(&self) -> Deciding {
        match self {
            Self::Policy(policy) => Deciding::Policy(policy.name().clone()),
            Self::Grant { via, grant, .. } => Deciding::Role { grant: grant.clone(), via: via.clone() },
        }
    }
}

/// None if one of them cannot be among the others: a set that misses a rule could permit what the rule forbids.
fn set_of(rules: &[&Rule]) -> Option<PolicySet> {
    let grants = rules.iter().any(|rule| matches!(rule, Rule::Grant { .. }));
    let mut set = if grants { roles::templates() } else { PolicySet::new() };
    for rule in rules {
        match rule {
            Rule::Policy(policy) => set.add(policy.cedar().clone()).ok()?,
            Rule::Grant { id, holder, grant, .. } => roles::link(&mut set, id, holder.clone(), grant)?,
        }
    }
    Some(set)
}

/// The resource, and the prefixes that it lies under, nearest first.
fn resource_of(resource: &Resource<'_>) -> (EntityUid, Vec<EntityUid>) {
    match resource {
        Resource::Key { name, .. } => (schema::key(name), schema::above(name.as_str())),
        Resource::Prefix(prefix) if prefix.as_str().is_empty() => {
            (schema::prefix(&KeyPrefix::default()), Vec::new())
        }
        Resource::Prefix(prefix) if prefix.as_str().ends_with('/') => {
            (schema::prefix(prefix), schema::above(prefix.as_str()))
        }
        // It begins with the key of that very name, which lies beside the prefix and not under it.
        Resource::Prefix(prefix) => {
            let mut above = schema::above(prefix.as_str());
            (above.remove(0), above)
        }
        // Chosen keys are asked for one by one; as a whole they are no key.
        Resource::Chosen | Resource::Cluster => (schema::cluster(), Vec::new()),
    }
}

fn key_attributes(facts: &KeyFacts) -> HashMap<String, RestrictedExpression> {
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let state = match facts.state {
        None => "absent",
        Some(KeyState::Enabled) => "enabled",
        Some(KeyState::Disabled) => "disabled",
    };
    let tags = facts.tags.iter().map(|tag| text(tag));
    HashMap::from([
        ("class".to_owned(), text("symmetric")),
        ("algorithm".to_owned(), text(facts.algorithm.map_or("none", Algorithm::as_str))),
        ("usage".to_owned(), text("encrypt")),
        ("state".to_owned(), text(state)),
        ("exportable".to_owned(), RestrictedExpression::new_bool(facts.exportable)),
        ("tags".to_owned(), RestrictedExpression::new_set(tags)),
    ])
}

fn circumstances(from: &Circumstances) -> Vec<(String, RestrictedExpression)> {
    let flag = RestrictedExpression::new_bool;
    // A number beyond i64 compares as the largest there is.
    let number = |number: u64| RestrictedExpression::new_long(i64::try_from(number).unwrap_or(i64::MAX));
    let given = [
        ("mtls", Some(flag(from.mtls))),
        ("bound", Some(flag(from.bound))),
        ("source", from.source.map(|source| RestrictedExpression::new_ip(source.to_string()))),
        ("time", from.time.map(|time| number(time.0))),
        ("version", from.version.map(|version| number(version.get().into()))),
        ("associatedData", Some(flag(from.associated_data))),
        ("purpose", from.purpose.clone().map(RestrictedExpression::new_string)),
        ("batch", Some(number(from.batch_items.into()))),
        ("approvals", Some(number(from.approvals.into()))),
    ];
    given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
