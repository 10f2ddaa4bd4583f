//! Single fields of requests, each with its limit. Called by the other files of this folder only.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use keyclave_types::access::{GroupName, RoleGrant, Subject};
use keyclave_types::identity::{AddressRange, Identity, JwtAlgorithm, TokenBinding};
use keyclave_types::ids::{NodeId, RequestId};
use keyclave_types::key::Version;
use keyclave_types::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use keyclave_types::member::HostPort;
use keyclave_types::name::{KeyName, Segment};
use keyclave_types::position::{Generation, Position};
use keyclave_types::request::{Write, WriteKind};

use super::{Asked, Cause, Invalid};
use crate::v1;

/// Roles of one subject or group.
const ROLES_MAX: usize = 100;
/// Groups of one subject.
const GROUPS_MAX: usize = 100;

/// Ranges of addresses of one token.
const SOURCES_MAX: usize = 32;
/// Bytes of an identity: a SPIFFE id, and what stands before it.
const IDENTITY_BYTES_MAX: usize = 2_048 + 128;

/// Names the field that a cause is about.
pub(crate) trait At<T> {
    fn at(self, field: &str) -> Result<T, Invalid>;
}

impl<T, E: Into<Cause>> At<T> for Result<T, E> {
    fn at(self, field: &str) -> Result<T, Invalid> {
        self.map_err(|cause| Invalid { field: field.to_owned(), cause: cause.into() })
    }
}

/// A write with its request id and floor.
pub(super) fn write(
    change: WriteKind,
    id: &[u8],
    floor: Option<v1::Position>,
) -> Result<Asked<Write>, Invalid> {
    let request_id = request_id(id)?;
    Ok(Asked { request: Write { request_id, change }, floor: floor.map(Position::from) })
}

pub(super) fn request_id(bytes: &[u8]) -> Result<RequestId, Invalid> {
    fixed(bytes).at("request_id").map(RequestId::from_bytes)
}

pub(crate) fn key_name(text: &str, field: &str) -> Result<KeyName, Invalid> {
    if text.is_empty() {
        return Err(Cause::Missing).at(field);
    }
    text.parse().at(field)
}

/// Somebody, as `user:NAME` or `service:NAME`.
pub(crate) fn subject(text: &str) -> Result<Subject, Cause> {
    if text.is_empty() { Err(Cause::Missing) } else { Ok(text.parse()?) }
}

/// A name of one segment.
pub(crate) fn segment(text: &str) -> Result<Segment, Cause> {
    if text.is_empty() { Err(Cause::Missing) } else { Ok(text.parse()?) }
}

pub(crate) fn roles(texts: &[String]) -> Result<BTreeSet<RoleGrant>, Invalid> {
    few(texts.len(), ROLES_MAX).at("roles")?;
    let roles = texts.iter().map(|text| text.parse::<RoleGrant>().map_err(Cause::from));
    roles.collect::<Result<_, _>>().at("roles")
}

pub(crate) fn groups(texts: &[String]) -> Result<BTreeSet<GroupName>, Invalid> {
    few(texts.len(), GROUPS_MAX).at("groups")?;
    texts.iter().map(|text| segment(text)).collect::<Result<_, _>>().at("groups")
}

fn few(found: usize, most: usize) -> Result<(), Cause> {
    if found > most { Err(Cause::Items { most, found }) } else { Ok(()) }
}

/// What a token is tied to.
pub(crate) fn binding(binding: Option<v1::TokenBinding>) -> Result<TokenBinding, Cause> {
    use v1::token_binding::To;
    match binding.map(|binding| binding.to) {
        None => Ok(TokenBinding::Free),
        // Tied to something that this version does not know is not the same as free.
        Some(None) => Err(Cause::Missing),
        Some(Some(To::KeySha256(key))) => fixed(&key).map(TokenBinding::Key),
        Some(Some(To::Identity(identity))) => Ok(TokenBinding::Identity(identity.parse()?)),
    }
}

pub(crate) fn sources(texts: &[String]) -> Result<BTreeSet<AddressRange>, Invalid> {
    few(texts.len(), SOURCES_MAX).at("sources")?;
    let ranges = texts.iter().map(|text| text.parse::<AddressRange>().map_err(Cause::from));
    ranges.collect::<Result<_, _>>().at("sources")
}

pub(crate) fn algorithms(texts: &[String]) -> Result<BTreeSet<JwtAlgorithm>, Invalid> {
    few(texts.len(), JwtAlgorithm::ALL.len()).at("algorithms")?;
    let algorithms = texts.iter().map(|text| text.parse::<JwtAlgorithm>().map_err(Cause::from));
    algorithms.collect::<Result<_, _>>().at("algorithms")
}

pub(crate) fn identity(text: &str) -> Result<Identity, Cause> {
    short(text.len(), IDENTITY_BYTES_MAX)?;
    if text.is_empty() { Err(Cause::Missing) } else { Ok(text.parse()?) }
}

/// A text that is only compared: at most `most` bytes; none if empty.
pub(super) fn text(text: String, most: usize) -> Result<Option<String>, Cause> {
    short(text.len(), most)?;
    Ok(Some(text).filter(|t| !t.is_empty()))
}

/// Exactly `N` bytes.
pub(crate) fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Cause> {
    match bytes.try_into() {
        Ok(fixed) => Ok(fixed),
        Err(_) if bytes.is_empty() => Err(Cause::Missing),
        Err(_) => Err(Cause::Bytes { expected: N, found: bytes.len() }),
    }
}

pub(super) fn short(found: usize, most: usize) -> Result<(), Cause> {
    if found > most { Err(Cause::Long { most, found }) } else { Ok(()) }
}

pub(crate) fn version(number: u32) -> Result<Version, Cause> {
    Version::new(number).ok_or(Cause::Range { least: 1, most: u32::MAX.into(), found: 0 })
}

pub(super) fn optional_version(number: Option<u32>) -> Result<Option<Version>, Invalid> {
    number.map(version).transpose().at("version")
}

pub(crate) fn node(number: u64) -> Result<NodeId, Cause> {
    NodeId::new(number).ok_or(Cause::Range { least: 1, most: NodeId::MAX, found: number })
}

pub(super) fn address(text: &str) -> Result<HostPort, Cause> {
    if text.is_empty() { Err(Cause::Missing) } else { Ok(text.parse()?) }
}

pub(super) fn range(found: u64, least: u64, most: u64) -> Result<u64, Cause> {
    if (least..=most).contains(&found) { Ok(found) } else { Err(Cause::Range { least, most, found }) }
}

/// How many items a page may have; 0 asks for the default.
pub(crate) fn page_items(size: u32) -> Result<NonZeroU32, Invalid> {
    let wanted = if size == 0 { PAGE_ITEMS_DEFAULT } else { size };
    let most = u64::from(PAGE_ITEMS_MAX);
    range(wanted.into(), 1, most).at("page_size")?;
    NonZeroU32::new(wanted).ok_or(Cause::Range { least: 1, most, found: 0 }).at("page_size")
}

impl From<v1::Position> for Position {
    fn from(position: v1::Position) -> Self {
        Self { generation: Generation(position.generation), index: position.index }
    }
}

impl From<Position> for v1::Position {
    fn from(position: Position) -> Self {
        Self { generation: position.generation.0, index: position.index }
    }
}
