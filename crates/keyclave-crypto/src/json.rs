//! JSON (RFC 8259) of which every reader understands the same: a repeated member is refused, at any depth.
//!
//! Called for the headers, claims and keys that others make. Deliberately absent: numbers that are no whole ones, which
//! are kept as [`Json::Other`], and writing.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Json {
    /// A whole number that is not negative.
    Number(u64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object.
    Object(Members),
    /// Whatever nothing here reads: null, true, false, any other number.
    Other,
}

/// An object's members.
pub(crate) type Members = BTreeMap<String, Json>;

/// An object's members; none if the bytes are no object, repeat a member, or have anything behind it.
pub(crate) fn object(bytes: &[u8]) -> Option<Members> {
    match serde_json::from_slice(bytes) {
        Ok(Json::Object(members)) => Some(members),
        Ok(_) | Err(_) => None,
    }
}

impl Json {
    /// The string.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(_) | Self::List(_) | Self::Object(_) | Self::Other => None,
        }
    }

    /// The number.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(_) | Self::List(_) | Self::Object(_) | Self::Other => None,
        }
    }

    /// The array.
    pub(crate) fn list(&self) -> Option<&[Json]> {
        match self {
            Self::List(list) => Some(list),
            Self::Text(_) | Self::Number(_) | Self::Object(_) | Self::Other => None,
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reading)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated members")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut members = Members::new();
        while let Some((name, value)) = entries.next_entry()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is repeated"));
            }
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_and_nothing_else_is_one() {
        let read = object(br#" {"a": "b", "c": [1, -1, 1.0, null, true], "d": {"a": 2}} "#).unwrap();
        assert_eq!(read["a"].text(), Some("b"));
        let list = [Json::Number(1), Json::Other, Json::Other, Json::Other, Json::Other];
        assert_eq!(read["c"].list(), Some(list.as_slice()));
        assert_eq!(read["d"], Json::Object(Members::from([("a".to_owned(), Json::Number(2))])));
        for wrong in ["", "[]", "1", "{}{}", "{} a", "{\"a\":1,}", "{'a':1}", "\u{feff}{}"] {
            assert_eq!(object(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), None);
    }

    #[test]
    fn a_repeated_member_is_refused_at_any_depth_and_in_any_spelling() {
        for wrong in [
            r#"{"alg":"a","alg":"a"}"#,
            r#"{"alg":"a","\u0061lg":"b"}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":[{"b":1,"b":1}]}"#,
        ] {
            assert_eq!(object(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn depth_ends_before_the_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(4000), "]".repeat(4000));
        assert_eq!(object(deep.as_bytes()), None);
    }
}
