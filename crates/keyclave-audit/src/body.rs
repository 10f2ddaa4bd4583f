//! A record's body as one JSON object in a fixed order: whole, to be sealed, or plain, without a name, an
//! identity or an address in it.

use data_encoding::HEXLOWER;
use keyclave_types::request::TokenId;

use crate::record::{Body, POLICIES_MAX, Source, Target, Who};
use crate::text;

/// How much of a body is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fields {
    /// All of it; what is written is sealed.
    Whole,
    /// What may stand on a disk as it is.
    Plain,
}

/// Appends the body.
pub(crate) fn write(body: &Body, fields: Fields, to: &mut Vec<u8>) {
    let mut object = Object { to, first: true };
    object.text("operation", body.operation);
    match fields {
        Fields::Whole => whole(body, &mut object),
        Fields::Plain => plain(body, &mut object),
    }
    object.number("code", body.code.into());
    object.number("items", body.items.into());
    object.number("bytes_in", body.bytes_in);
    object.number("bytes_out", body.bytes_out);
    if let (Fields::Whole, Some(mac)) = (fields, &body.associated_data) {
        object.hex("associated_data", mac);
    }
    if let (Fields::Whole, Some(purpose)) = (fields, &body.purpose) {
        object.text("purpose", purpose.as_str());
    }
    if let Some(position) = body.transaction {
        object.position("transaction", position.generation.0, position.index);
    }
    object.number("duration_us", body.duration_us);
    object.to.push(b'}');
}

fn whole(body: &Body, object: &mut Object<'_>) {
    who(&body.who, object);
    object.text("source", &source(body.source));
    if let Some(key) = &body.key {
        object.text("key", key.as_str());
    }
    if let Some(version) = body.version {
        object.number("version", version.get().into());
    }
    if let Some(target) = &body.target {
        object.text("target", &self::target(target));
    }
    if !body.policies.is_empty() {
        object.names("policies", body.policies.iter().take(POLICIES_MAX));
    }
    if let Some(revision) = body.policy_revision {
        object.number("policy_revision", revision.0);
    }
    if let Some(view) = body.view {
        object.position("view", view.generation.0, view.index);
    }
}

fn plain(body: &Body, object: &mut Object<'_>) {
    match &body.who {
        Who::Service { .. } => object.text("who", "service"),
        Who::Certificate { subject, .. } => object.text("who", subject.kind.as_str()),
        Who::User { .. } => object.text("who", "user"),
        Who::Nobody | Who::LocalSocket | Who::Node(_) => object.text("who", &name(&body.who)),
    }
    match body.source {
        Source::Address(_) => object.text("source", "remote"),
        Source::LocalSocket | Source::Member(_) | Source::Inside => {
            object.text("source", &source(body.source))
        }
    }
    match &body.target {
        Some(place @ (Target::Node(_) | Target::Cluster)) => object.text("target", &target(place)),
        Some(Target::Token(_) | Target::Service(_) | Target::User(_) | Target::Policy(_)) | None => {}
    }
    if let Some(view) = body.view {
        object.position("view", view.generation.0, view.index);
    }
}

fn who(who: &Who, object: &mut Object<'_>) {
    object.text("who", &name(who));
    match who {
        Who::Service { token, .. } | Who::User { token, .. } => {
            object.hex("token", &token.0);
        }
        Who::Certificate { authority, .. } => object.hex("authority", authority),
        Who::Nobody | Who::LocalSocket | Who::Node(_) => {}
    }
}

fn name(who: &Who) -> String {
    match who {
        Who::Nobody => "nobody".to_owned(),
        Who::LocalSocket => "socket".to_owned(),
        Who::Node(node) => format!("node:{node}"),
        Who::Service { subject, .. } => format!("service:{subject}"),
        Who::Certificate { subject, .. } => subject.to_string(),
        Who::User { subject, .. } => format!("user:{subject}"),
    }
}

fn source(source: Source) -> String {
    match source {
        Source::Address(address) => address.to_string(),
        Source::LocalSocket => "socket".to_owned(),
        Source::Member(node) => format!("node:{node}"),
        Source::Inside => "inside".to_owned(),
    }
}

fn target(target: &Target) -> String {
    match target {
        Target::Node(node) => format!("node:{node}"),
        Target::Token(TokenId(id)) => format!("token:{}", HEXLOWER.encode(id)),
        Target::Service(subject) => format!("service:{subject}"),
        Target::User(subject) => format!("user:{subject}"),
        Target::Policy(name) => format!("policy:{name}"),
        Target::Cluster => "cluster".to_owned(),
    }
}

/// A JSON object under construction.
struct Object<'a> {
    to: &'a mut Vec<u8>,
    first: bool,
}

impl Object<'_> {
    fn field(&mut self, name: &str) {
        self.to.extend_from_slice(if self.first { b"{\"" } else { b",\"" });
        self.first = false;
        self.to.extend_from_slice(name.as_bytes());
        self.to.extend_from_slice(b"\":");
    }

    fn text(&mut self, name: &str, text: &str) {
        self.field(name);
        self.to.push(b'"');
        text::escape(text, self.to);
        self.to.push(b'"');
    }

    fn number(&mut self, name: &str, number: u64) {
        self.field(name);
        text::decimal(number, self.to);
    }

    fn hex(&mut self, name: &str, bytes: &[u8]) {
        self.field(name);
        self.to.push(b'"');
        text::hex(bytes, self.to);
        self.to.push(b'"');
    }

    fn position(&mut self, name: &str, generation: u64, index: u64) {
        self.field(name);
        self.to.push(b'"');
        text::decimal(generation, self.to);
        self.to.push(b'.');
        text::decimal(index, self.to);
        self.to.push(b'"');
    }

    fn names<'n>(&mut self, name: &str, names: impl Iterator<Item = &'n String>) {
        self.field(name);
        for (at, each) in names.enumerate() {
            self.to.extend_from_slice(if at == 0 { b"[\"" } else { b",\"" });
            text::escape(each, self.to);
            self.to.push(b'"');
        }
        self.to.push(b']');
    }
}
