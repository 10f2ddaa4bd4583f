//! How a key is shown: as lines, and as JSON.

use keyclave_types::key::{
    KeyDescription, KeyRules, KeyState, Purge, VersionDescription, VersionOrigin, VersionState,
};
use keyclave_types::position::Position;
use keyclave_types::time::{Span, UnixMillis};
use serde_json::{Value, json};

use crate::table::{Table, pairs};

/// A key with its rules and versions, for people.
pub(super) fn key_text(key: &KeyDescription) -> String {
    let mut lines = vec![
        ("type", key.algorithm.to_string()),
        ("state", state(key.state).to_owned()),
        ("id", key.id.to_string()),
        ("made", key.created_at.to_string()),
    ];
    lines.extend(rules_lines(&key.rules));
    if let Some(at) = key.rotates_at {
        lines.push(("rotates next", at.to_string()));
    }
    let counted = key.algorithm.messages_max();
    if let Some(most) = counted {
        lines.push(("messages", format!("at most {most} per version")));
    }
    let mut table = Table::new(["  VERSION", "STATE", "MADE", "WHY", "USES RESERVED", "ON DISKS"]);
    for version in key.versions.iter().rev() {
        let primary = if version.version == key.primary { " *" } else { "" };
        table.row([
            format!("  {}{primary}", version.version),
            version_state(version),
            version.created_at.to_string(),
            origin(version.origin),
            counted.map_or_else(|| "-".to_owned(), |_| version.uses_reserved.to_string()),
            on_disks(version),
        ]);
    }
    format!("{}\n{}\n{}", key.name, pairs(&lines), table.lines())
}

/// Many keys, one line each.
pub(super) fn list_text(keys: &[KeyDescription]) -> String {
    if keys.is_empty() {
        return "no keys".to_owned();
    }
    let mut table = Table::new(["NAME", "TYPE", "STATE", "PRIMARY", "ROTATES NEXT"]);
    for key in keys {
        table.row([
            key.name.to_string(),
            key.algorithm.to_string(),
            state(key.state).to_owned(),
            key.primary.to_string(),
            key.rotates_at.map_or_else(|| "-".to_owned(), |at| at.to_string()),
        ]);
    }
    table.lines()
}

/// A key for programs. Times are RFC 3339.
pub(super) fn key_json(key: &KeyDescription, position: Position) -> Value {
    json!({
        "name": key.name.as_str(),
        "id": key.id.to_string(),
        "type": key.algorithm.as_str(),
        "state": state(key.state),
        "created_at": key.created_at.to_string(),
        "rules": {
            "rotate_every_ms": key.rules.rotate_every_ms,
            "keep_versions": key.rules.keep_versions,
            "encrypt_until": moment(key.rules.encrypt_until),
            "staleness_max_ms": key.rules.staleness_max_ms,
        },
        "rotates_at": moment(key.rotates_at),
        "primary": key.primary.get(),
        "versions": key.versions.iter().map(version_json).collect::<Vec<_>>(),
        "position": position.to_string(),
    })
}

fn version_json(version: &VersionDescription) -> Value {
    let (origin, due) = match version.origin {
        VersionOrigin::Created => ("created", None),
        VersionOrigin::Requested => ("requested", None),
        VersionOrigin::Scheduled { due } => ("scheduled", Some(due)),
    };
    let state = match version.state {
        VersionState::Enabled => "enabled",
        VersionState::Disabled => "disabled",
        VersionState::Destroyed => "destroyed",
    };
    json!({
        "version": version.version.get(),
        "state": state,
        "created_at": version.created_at.to_string(),
        "origin": origin,
        "due": moment(due),
        "destroyed_at": moment(version.destroyed_at),
        "uses_reserved": version.uses_reserved,
        "purge": purge_json(&version.purges),
    })
}

/// Of a destroyed version, what may be left of its sealed material, in all and node by node.
fn purge_json(purges: &[Purge]) -> Value {
    if purges.is_empty() {
        return Value::Null;
    }
    let word = |purged| if purged { "purged" } else { "pending" };
    json!({
        "state": word(purges.iter().all(|purge| purge.purged)),
        "nodes": purges
            .iter()
            .map(|purge| json!({ "node": purge.node.get(), "state": word(purge.purged) }))
            .collect::<Vec<_>>(),
    })
}

/// As [`purge_json`], in words.
fn on_disks(version: &VersionDescription) -> String {
    let nodes = |purged| {
        let such = version.purges.iter().filter(|purge| purge.purged == purged);
        such.map(|purge| purge.node.to_string()).collect::<Vec<_>>().join(", ")
    };
    match (version.state, nodes(true), nodes(false)) {
        (VersionState::Enabled | VersionState::Disabled, _, _) => "kept".to_owned(),
        (VersionState::Destroyed, purged, pending) => match (purged.is_empty(), pending.is_empty()) {
            (true, true) => "-".to_owned(),
            (false, true) => format!("purged at {purged}"),
            (true, false) => format!("pending at {pending}"),
            (false, false) => format!("purged at {purged}; pending at {pending}"),
        },
    }
}

fn rules_lines(rules: &KeyRules) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(ms) = rules.rotate_every_ms {
        lines.push(("rotates every", Span { ms }.to_string()));
    }
    if let Some(versions) = rules.keep_versions {
        lines.push(("keeps", format!("the newest {versions} versions")));
    }
    if let Some(until) = rules.encrypt_until {
        lines.push(("encrypts until", until.to_string()));
    }
    if rules.staleness_max_ms > 0 {
        let staleness = Span { ms: rules.staleness_max_ms };
        lines.push(("staleness", format!("answers may be {staleness} old")));
    }
    lines
}

fn moment(at: Option<UnixMillis>) -> Option<String> {
    at.map(|at| at.to_string())
}

fn state(state: KeyState) -> &'static str {
    match state {
        KeyState::Enabled => "enabled",
        KeyState::Disabled => "disabled",
    }
}

fn version_state(version: &VersionDescription) -> String {
    match (version.state, version.destroyed_at) {
        (VersionState::Enabled, _) => "enabled".to_owned(),
        (VersionState::Disabled, _) => "disabled".to_owned(),
        (VersionState::Destroyed, Some(at)) => format!("destroyed {at}"),
        (VersionState::Destroyed, None) => "destroyed".to_owned(),
    }
}

fn origin(origin: VersionOrigin) -> String {
    match origin {
        VersionOrigin::Created => "made with the key".to_owned(),
        VersionOrigin::Requested => "asked for".to_owned(),
        VersionOrigin::Scheduled { due } => format!("due {due}"),
    }
}

#[cfg(test)]
mod tests {
    use keyclave_types::ids::{KeyId, NodeId};
    use keyclave_types::key::{Algorithm, Version};
    use keyclave_types::position::Generation;

    use super::*;

    fn key() -> KeyDescription {
        let version = |number, state, origin| VersionDescription {
            version: Version::new(number).unwrap(),
            state,
            created_at: UnixMillis(1_000),
            origin,
            destroyed_at: None,
            uses_reserved: 0,
            purges: Vec::new(),
        };
        KeyDescription {
            name: "app/a".parse().unwrap(),
            id: KeyId::from_bytes([1; 16]),
            algorithm: Algorithm::Xaes256Gcm,
            state: KeyState::Enabled,
            created_at: UnixMillis(0),
            rules: KeyRules { rotate_every_ms: Some(86_400_000), ..KeyRules::default() },
            rotates_at: Some(UnixMillis(86_400_000)),
            primary: Version::new(2).unwrap(),
            versions: vec![
                version(1, VersionState::Disabled, VersionOrigin::Created),
                version(2, VersionState::Enabled, VersionOrigin::Scheduled { due: UnixMillis(500) }),
            ],
        }
    }

    #[test]
    fn people_see_the_newest_version_first_and_why_each_came() {
        let text = key_text(&key());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "app/a");
        assert!(text.contains("rotates every  1d"), "{text}");
        let newest = lines.iter().position(|line| line.trim_start().starts_with("2 *")).unwrap();
        assert!(lines[newest].contains("due 1970-01-01T00:00:00.500Z"), "{text}");
        assert!(lines[newest + 1].contains("disabled"), "{text}");
    }

    #[test]
    fn what_may_be_left_of_a_destroyed_version_is_said_node_by_node() {
        let mut key = key();
        let mut say = |purged: [bool; 3]| {
            let nodes = (1..).filter_map(NodeId::new).zip(purged);
            key.versions[0].purges = nodes.map(|(node, purged)| Purge { node, purged }).collect();
            key.versions[0].state = VersionState::Destroyed;
            let object = key_json(&key, Position { generation: Generation(1), index: 7 });
            assert!(object["versions"][1]["purge"].is_null());
            assert!(key_text(&key).contains("  kept"), "{}", key_text(&key));
            let purge = object["versions"][0]["purge"].clone();
            let states: Vec<_> =
                purge["nodes"].as_array().unwrap().iter().map(|n| n["state"].clone()).collect();
            assert_eq!(states, purged.map(|purged| if purged { "purged" } else { "pending" }));
            (key_text(&key), purge["state"].as_str().unwrap().to_owned())
        };
        let (text, all) = say([true, false, true]);
        assert!(text.contains("purged at 1, 3; pending at 2") && all == "pending", "{text}");
        let (text, all) = say([true; 3]);
        assert!(text.contains("purged at 1, 2, 3") && all == "purged", "{text}");
        assert!(say([false; 3]).0.contains("pending at 1, 2, 3"));
    }

    #[test]
    fn programs_see_the_same() {
        let position = Position { generation: Generation(1), index: 7 };
        let object = key_json(&key(), position);
        assert_eq!(object["primary"], 2);
        assert_eq!(object["type"], "xaes256-gcm");
        assert_eq!(object["versions"][1]["origin"], "scheduled");
        assert_eq!(object["versions"][1]["due"], "1970-01-01T00:00:00.500Z");
        assert_eq!(object["rules"]["rotate_every_ms"], 86_400_000);
        assert_eq!(object["position"], "1.7");
    }
}
