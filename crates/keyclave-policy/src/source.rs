//! A policy from its text: limits that hold before anything parses, then the parser, then what is asked of a policy
//! that is to be stored.
//!
//! Called by the vault: [`Policy::check`] when one is put, [`Policy::read`] when one is opened from a record.
//! Deliberately absent: templates, sets of policies, schemas of users' own.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Effect, EntityUid, ParseErrors, PolicyId, PolicySet, PrincipalConstraint,
    ResourceConstraint, ValidationMode, Validator,
};
use keyclave_types::access::PolicyName;

use crate::schema::{self, EntityProblem};

/// Bytes of one policy.
pub const POLICY_BYTES_MAX: usize = 16 * 1024;
/// Brackets of any kind inside each other. The parser recurses: some 144 abort a process, 36 in a debug build.
pub const POLICY_NESTING_MAX: usize = 16;
/// Operators, attribute steps, conditions and `if` in one policy. Chains of them recurse as well.
pub const POLICY_OPERATORS_MAX: usize = 64;

/// Stack for the parser and the checker. It lies on the heap, and what is not used of it costs nothing.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// One policy, parsed. Cheap to clone.
#[derive(Clone)]
pub struct Policy {
    name: PolicyName,
    cedar: Arc<cedar_policy::Policy>,
    /// The same without its conditions, as a forbid; none if it has no conditions.
    strictest: Option<Arc<cedar_policy::Policy>>,
    uses: Uses,
}

/// What a policy looks at beyond who, what and which.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Uses {
    /// The time, so that its decision cannot be kept.
    pub(crate) time: bool,
    /// Anything else of how the caller came and what they ask.
    pub(crate) circumstances: bool,
}

/// Why a text is not a policy that can be stored.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Too long.
    #[error("a policy has at most {max} bytes, this one has {found}")]
    Bytes {
        /// The limit.
        max: usize,
        /// Its length.
        found: usize,
    },
    /// Something outside ASCII that is not in a string.
    #[error("line {line}: only ASCII may stand outside strings")]
    Character {
        /// Where, from 1.
        line: usize,
    },
    /// Too deep.
    #[error("line {line}: brackets are nested deeper than {max}")]
    Nesting {
        /// Where, from 1.
        line: usize,
        /// The limit.
        max: usize,
    },
    /// Too many operators.
    #[error("a policy has at most {max} operators, attribute steps, conditions and ifs")]
    Operators {
        /// The limit.
        max: usize,
    },
    /// It does not parse, or is not exactly one policy without slots.
    #[error("it is not one policy: {0}")]
    Syntax(#[source] Box<ParseErrors>),
    /// It speaks about something that the schema does not know, compares what cannot be compared, or can never hold.
    #[error("it does not fit the schema: {0}")]
    Schema(#[source] SchemaProblem),
    /// It names an entity that cannot exist.
    #[error("{entity}: {problem}")]
    Entity {
        /// As the policy names it.
        entity: String,
        /// What is wrong with it.
        problem: EntityProblem,
    },
    /// It lets everyone do everything, or something with everything.
    #[error("it permits everyone; say whom, or both what and on which keys")]
    PermitAll,
}

/// What the checker says.
#[derive(Debug, thiserror::Error)]
pub enum SchemaProblem {
    /// An error.
    #[error("{0}")]
    Error(#[source] Box<cedar_policy::ValidationError>),
    /// A warning, which counts as much.
    #[error("{0}")]
    Warning(#[source] Box<cedar_policy::ValidationWarning>),
}

impl Policy {
    /// The policy of a text that is to be stored: everything is asked of it.
    pub fn check(name: &PolicyName, text: &str) -> Result<Self, PolicyError> {
        let policy = Self::read(name, text)?;
        stacker::grow(STACK_BYTES, || {
            policy.entities_exist()?;
            if policy.permits_all() { Err(PolicyError::PermitAll) } else { policy.fits_schema() }
        })?;
        Ok(policy)
    }

    /// The policy of a text that was checked when it was stored.
    pub fn read(name: &PolicyName, text: &str) -> Result<Self, PolicyError> {
        keeps_limits(text)?;
        // Roles' templates are called by one word.
        let id = PolicyId::new(format!("policy {name}"));
        stacker::grow(STACK_BYTES, || {
            let cedar = cedar_policy::Policy::parse(Some(id.clone()), text)
                .map_err(|errors| PolicyError::Syntax(Box::new(errors)))?;
            let uses = uses_of(&cedar);
            let strictest = cedar.has_non_scope_constraint().then(|| Arc::new(strictest(id, &cedar)));
            Ok(Self { name: name.clone(), cedar: Arc::new(cedar), strictest, uses })
        })
    }

    /// The policy as it is to those against whom its conditions turn: it forbids whatever its head names. Also a permit
    /// does, because conditions that cannot be evaluated deny.
    #[must_use]
    pub fn at_its_strictest(&self) -> Self {
        match &self.strictest {
            None => self.clone(),
            Some(strictest) => {
                let (name, cedar) = (self.name.clone(), strictest.clone());
                Self { name, cedar, strictest: None, uses: Uses::default() }
            }
        }
    }

    /// Its name.
    pub fn name(&self) -> &PolicyName {
        &self.name
    }

    /// Whether it takes away instead of giving.
    pub fn forbids(&self) -> bool {
        self.cedar.effect() == Effect::Forbid
    }

    pub(crate) fn cedar(&self) -> &cedar_policy::Policy {
        &self.cedar
    }

    pub(crate) fn uses(&self) -> Uses {
        self.uses
    }

    /// Whom it concerns; none if its head does not limit that to an entity.
    pub(crate) fn principal(&self) -> Option<EntityUid> {
        match self.cedar.principal_constraint() {
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
            PrincipalConstraint::In(uid)
            | PrincipalConstraint::Eq(uid)
            | PrincipalConstraint::IsIn(_, uid) => Some(uid),
        }
    }

    /// What it concerns; none if its head does not limit that to an entity.
    pub(crate) fn resource(&self) -> Option<EntityUid> {
        match self.cedar.resource_constraint() {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
            ResourceConstraint::In(uid) | ResourceConstraint::Eq(uid) | ResourceConstraint::IsIn(_, uid) => {
                Some(uid)
            }
        }
    }

    fn entities_exist(&self) -> Result<(), PolicyError> {
        let named = self.cedar.entity_literals().into_iter().chain(self.principal()).chain(self.resource());
        for uid in named {
            if let Some(problem) = schema::problem_of(&uid) {
                return Err(PolicyError::Entity { entity: uid.to_string(), problem });
            }
        }
        Ok(())
    }

    /// A permit for everyone must say what and on what; conditions do not count, because they can be true of anyone.
    fn permits_all(&self) -> bool {
        let any_action = matches!(self.cedar.action_constraint(), ActionConstraint::Any);
        !self.forbids() && self.principal().is_none() && (any_action || self.resource().is_none())
    }

    fn fits_schema(&self) -> Result<(), PolicyError> {
        let mut alone = PolicySet::new();
        let added = alone.add((*self.cedar).clone());
        debug_assert!(
            added.is_ok(),
            "an empty set holds no policy of this name, and Policy::parse gives no link"
        );
        let result = Validator::new(schema::schema().clone()).validate(&alone, ValidationMode::Strict);
        let error = result.validation_errors().next().cloned().map(Box::new).map(SchemaProblem::Error);
        let warning =
            || result.validation_warnings().next().cloned().map(Box::new).map(SchemaProblem::Warning);
        match error.or_else(warning) {
            Some(problem) => Err(PolicyError::Schema(problem)),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Policy({})", self.name)
    }
}

/// Looks at the bytes once, without recursion, so that what the parser is given cannot hurt it.
fn keeps_limits(text: &str) -> Result<(), PolicyError> {
    if text.len() > POLICY_BYTES_MAX {
        return Err(PolicyError::Bytes { max: POLICY_BYTES_MAX, found: text.len() });
    }
    let mut scan = Scan { line: 1, depth: 0, operators: 0 };
    let mut bytes = text.bytes().peekable();
    let mut word = Vec::new();
    while let Some(byte) = bytes.next() {
        let letter = byte.is_ascii_alphanumeric() || byte == b'_';
        if letter {
            word.push(byte);
            continue;
        }
        scan.word(&word);
        word.clear();
        match byte {
            b'\n' => scan.line += 1,
            b'"' => scan.string(&mut bytes),
            b'/' if bytes.peek() == Some(&b'/') => while bytes.next_if(|next| *next != b'\n').is_some() {},
            b'(' | b'[' | b'{' => scan.open()?,
            b')' | b']' | b'}' => scan.depth = scan.depth.saturating_sub(1),
            b'&' | b'|' | b'+' | b'-' | b'*' | b'!' | b'.' | b'<' | b'>' | b'=' => {
                // `&&`, `||`, `==`, `<=`, `>=`, `!=` are one operator each.
                bytes.next_if(|next| {
                    matches!(next, b'&' | b'|' | b'=')
                        && matches!(byte, b'&' | b'|' | b'=' | b'<' | b'>' | b'!')
                });
                scan.operators += 1;
            }
            0x80.. => return Err(PolicyError::Character { line: scan.line }),
            _ => {}
        }
    }
    scan.word(&word);
    if scan.operators > POLICY_OPERATORS_MAX {
        return Err(PolicyError::Operators { max: POLICY_OPERATORS_MAX });
    }
    Ok(())
}

/// Where the scan of a text stands.
struct Scan {
    line: usize,
    depth: usize,
    operators: usize,
}

impl Scan {
    fn word(&mut self, word: &[u8]) {
        // Each condition is one more `&&`.
        if matches!(word, b"if" | b"in" | b"has" | b"like" | b"is" | b"when" | b"unless") {
            self.operators += 1;
        }
    }

    fn open(&mut self) -> Result<(), PolicyError> {
        self.depth += 1;
        if self.depth > POLICY_NESTING_MAX {
            return Err(PolicyError::Nesting { line: self.line, max: POLICY_NESTING_MAX });
        }
        Ok(())
    }

    fn string(&mut self, bytes: &mut impl Iterator<Item = u8>) {
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' => return,
                b'\\' => drop(bytes.next()),
                b'\n' => self.line += 1,
                _ => {}
            }
        }
    }
}

/// A forbid of what the policy's head names, without conditions; of everything if that cannot be told.
fn strictest(id: PolicyId, policy: &cedar_policy::Policy) -> cedar_policy::Policy {
    let head = policy.to_json().ok().and_then(|mut json| {
        let fields = json.as_object_mut()?;
        fields.insert("effect".to_owned(), "forbid".into());
        fields.insert("conditions".to_owned(), serde_json::Value::Array(Vec::new()));
        cedar_policy::Policy::from_json(Some(id.clone()), json).ok()
    });
    head.unwrap_or_else(|| {
        let all = cedar_policy::Policy::parse(Some(id), "forbid(principal, action, resource);");
        all.expect("a constant, and a test reads it")
    })
}

/// Which parts of the circumstances a policy's conditions look at. What cannot be told counts as all of them.
fn uses_of(policy: &cedar_policy::Policy) -> Uses {
    if !policy.has_non_scope_constraint() {
        return Uses::default();
    }
    let Ok(json) = policy.to_json() else { return Uses { time: true, circumstances: true } };
    let mut attributes = BTreeSet::new();
    let mut whole = false;
    let mut unseen = vec![&json];
    while let Some(value) = unseen.pop() {
        match value {
            serde_json::Value::Array(items) => unseen.extend(items),
            serde_json::Value::Object(fields) => {
                let step = fields.get(".").or_else(|| fields.get("has"));
                let of_context = step.and_then(|step| step.get("left")).is_some_and(is_context);
                match step.and_then(|step| step.get("attr")).and_then(|attr| attr.as_str()) {
                    Some(attribute) if of_context => drop(attributes.insert(attribute.to_owned())),
                    Some(_) | None => {
                        whole |= is_context(value);
                        unseen.extend(fields.values());
                    }
                }
            }
            _ => {}
        }
    }
    Uses {
        time: whole || attributes.contains("time"),
        circumstances: whole || attributes.iter().any(|attribute| attribute != "time"),
    }
}

fn is_context(value: &serde_json::Value) -> bool {
    value.get("Var").and_then(|var| var.as_str()) == Some("context")
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
