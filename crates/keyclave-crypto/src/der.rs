//! The few fields of an X.509 certificate (RFC 5280) that the path verifier does not give out, read from strict DER.
//!
//! Called by [`crate::certificate`] for bytes that webpki has read too; what is not understood here makes the
//! certificate unusable. Deliberately absent: signatures, names that identify nobody, and writing.

use keyclave_types::time::UnixMillis;

const INTEGER: u8 = 0x02;
const BOOLEAN: u8 = 0x01;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// Explicit version, the two unique ids, explicit extensions.
const VERSION: u8 = 0xa0;
const ISSUER_UNIQUE_ID: u8 = 0x81;
const SUBJECT_UNIQUE_ID: u8 = 0x82;
const EXTENSIONS: u8 = 0xa3;
/// Of GeneralName: a DNS name and a URI.
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;

const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// id-kp-clientAuth, 1.3.6.1.5.5.7.3.2.
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

/// What a certificate says beside names and signatures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fields {
    /// From when on.
    pub(crate) not_before: UnixMillis,
    /// The last second of it, to its end.
    pub(crate) not_after: UnixMillis,
    /// SubjectPublicKeyInfo.
    pub(crate) public_key: Vec<u8>,
    /// Whether it may issue others, and through how many between.
    pub(crate) authority: Authority,
    /// None if nothing is said of it.
    pub(crate) key_usage: Option<KeyUsage>,
    /// Whether it says that it is for clients.
    pub(crate) for_clients: bool,
    /// The URIs among its alternative names.
    pub(crate) uris: Vec<String>,
    /// The DNS names among them.
    pub(crate) dns_names: Vec<String>,
}

/// Basic constraints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Authority {
    /// It issues nothing.
    No,
    /// It issues others, through at most so many authorities between.
    Yes { between_max: Option<u8> },
}

/// What its key may sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KeyUsage {
    /// Handshakes.
    pub(crate) digital_signature: bool,
    /// Certificates.
    pub(crate) certificates: bool,
}

/// The fields of a version 3 certificate; none if it is none.
pub(crate) fn fields(certificate: &[u8]) -> Option<Fields> {
    let mut outer = Reader(certificate);
    let mut whole = Reader(outer.read(SEQUENCE)?);
    outer.end()?;
    let mut tbs = Reader(whole.read(SEQUENCE)?);
    let mut version = Reader(tbs.read(VERSION)?);
    if version.read(INTEGER)? != [2] {
        return None;
    }
    tbs.read(INTEGER)?;
    tbs.read(SEQUENCE)?;
    tbs.read(SEQUENCE)?;
    let mut validity = Reader(tbs.read(SEQUENCE)?);
    let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
    validity.end()?;
    tbs.read(SEQUENCE)?;
    let (public_key, _) = tbs.element(SEQUENCE)?;
    let mut fields = Fields {
        not_before,
        not_after: not_after.after(999),
        public_key: public_key.to_vec(),
        authority: Authority::No,
        key_usage: None,
        for_clients: false,
        uris: Vec::new(),
        dns_names: Vec::new(),
    };
    tbs.optional(ISSUER_UNIQUE_ID)?;
    tbs.optional(SUBJECT_UNIQUE_ID)?;
    if let Some(extensions) = tbs.optional(EXTENSIONS)? {
        let mut explicit = Reader(extensions);
        let mut extensions = Reader(explicit.read(SEQUENCE)?);
        explicit.end()?;
        fields.extend(&mut extensions)?;
    }
    tbs.end()?;
    Some(fields)
}

impl Fields {
    fn extend(&mut self, extensions: &mut Reader<'_>) -> Option<()> {
        let mut seen: Vec<&[u8]> = Vec::new();
        while !extensions.is_empty() {
            let mut extension = Reader(extensions.read(SEQUENCE)?);
            let id = extension.read(OBJECT_IDENTIFIER)?;
            extension.optional(BOOLEAN)?;
            let value = extension.read(OCTET_STRING)?;
            extension.end()?;
            if seen.contains(&id) {
                return None;
            }
            seen.push(id);
            let mut value = Reader(value);
            match id {
                BASIC_CONSTRAINTS => self.authority = authority(value.read(SEQUENCE)?)?,
                KEY_USAGE => self.key_usage = Some(key_usage(value.read(BIT_STRING)?)?),
                EXTENDED_KEY_USAGE => {
                    let mut uses = Reader(value.read(SEQUENCE)?);
                    while !uses.is_empty() {
                        self.for_clients |= uses.read(OBJECT_IDENTIFIER)? == CLIENT_AUTH;
                    }
                }
                ALTERNATIVE_NAMES => self.names(value.read(SEQUENCE)?)?,
                _ => continue,
            }
            value.end()?;
        }
        Some(())
    }

    fn names(&mut self, names: &[u8]) -> Option<()> {
        let mut names = Reader(names);
        while !names.is_empty() {
            let (tag, _, content) = names.any()?;
            let into = match tag {
                DNS_NAME => &mut self.dns_names,
                URI => &mut self.uris,
                _ => continue,
            };
            // Both are IA5String: nothing beyond ASCII, and no byte that ends a string elsewhere.
            let text = std::str::from_utf8(content).ok().filter(|text| text.is_ascii())?;
            into.push(text.to_owned());
        }
        Some(())
    }
}

fn authority(constraints: &[u8]) -> Option<Authority> {
    let mut constraints = Reader(constraints);
    let is = match constraints.optional(BOOLEAN)? {
        None => false,
        Some([0xff]) => true,
        Some(_) => return None,
    };
    let between_max = match constraints.optional(INTEGER)? {
        None => None,
        Some([count @ 0..=0x7f]) => Some(*count),
        Some(_) => return None,
    };
    constraints.end()?;
    match is {
        true => Some(Authority::Yes { between_max }),
        false => between_max.is_none().then_some(Authority::No),
    }
}

/// Bit 0 is the first byte's highest (RFC 5280 section 4.2.1.3).
fn key_usage(bits: &[u8]) -> Option<KeyUsage> {
    let (unused, bits) = bits.split_first()?;
    let first = bits.first().copied().unwrap_or(0);
    (*unused < 8)
        .then_some(KeyUsage { digital_signature: first & 0x80 != 0, certificates: first & 0x04 != 0 })
}

fn time(from: &mut Reader<'_>) -> Option<UnixMillis> {
    let (tag, _, content) = from.any()?;
    let text = std::str::from_utf8(content).ok()?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            // RFC 5280 section 4.1.2.5.1.
            let century = if year < "50" { "20" } else { "19" };
            (format!("{century}{year}"), rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.to_owned(), rest)
        }
        _ => return None,
    };
    let digits = rest.strip_suffix('Z')?;
    if digits.len() != 10 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (month, rest) = digits.split_at_checked(2)?;
    let (day, rest) = rest.split_at_checked(2)?;
    let (hour, rest) = rest.split_at_checked(2)?;
    let (minute, second) = rest.split_at_checked(2)?;
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z").parse().ok()
}

/// What is left of some DER. Every element has a tag of one byte and its length in the shortest form.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn end(&self) -> Option<()> {
        self.is_empty().then_some(())
    }

    /// The next element: tag, all of it, its content.
    fn any(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81 => {
                let ([length], rest) = rest.split_first_chunk::<1>()?;
                (usize::from(*length).checked_sub(0x80)? + 0x80, rest)
            }
            0x82 => {
                let (length, rest) = rest.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*length)).checked_sub(0x100)? + 0x100, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let (whole, _) = self.0.split_at_checked(self.0.len() - rest.len())?;
        self.0 = rest;
        Some((*tag, whole, content))
    }

    /// The next element, of this tag: all of it, and its content.
    fn element(&mut self, tag: u8) -> Option<(&'a [u8], &'a [u8])> {
        let (found, whole, content) = self.any()?;
        (found == tag).then_some((whole, content))
    }

    /// The content of the next element, of this tag.
    fn read(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.element(tag).map(|(_, content)| content)
    }

    /// The content of the next element if it has this tag; the outer none if it is broken.
    fn optional(&mut self, tag: u8) -> Option<Option<&'a [u8]>> {
        if self.0.first() == Some(&tag) { self.read(tag).map(Some) } else { Some(None) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_shortest_length_is_read() {
        let read = |bytes: &[u8]| Reader(bytes).any().map(|(_, _, content)| content.len());
        assert_eq!(read(&[4, 0]), Some(0));
        assert_eq!(read(&[&[4, 0x81, 0x80], &[0; 128][..]].concat()), Some(128));
        assert_eq!(read(&[&[4, 0x82, 1, 0], &[0; 256][..]].concat()), Some(256));
        for wrong in [
            &[4, 0x81, 1, 0][..],
            &[4, 0x82, 0, 1, 0],
            &[4, 0x80, 0, 0],
            &[4, 1],
            &[4],
            &[],
            &[0x1f, 1, 0],
            &[4, 0x84, 0, 0, 0, 0],
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn moments_are_those_of_rfc_5280() {
        let at = |tag: u8, text: &str| {
            let bytes = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            time(&mut Reader(&bytes)).map(|at| at.to_string())
        };
        assert_eq!(at(UTC_TIME, "491231235959Z").as_deref(), Some("2049-12-31T23:59:59.000Z"));
        assert_eq!(at(UTC_TIME, "700101000000Z").as_deref(), Some("1970-01-01T00:00:00.000Z"));
        assert_eq!(at(GENERALIZED_TIME, "99991231235959Z").as_deref(), Some("9999-12-31T23:59:59.000Z"));
        for (tag, wrong) in [
            (UTC_TIME, "4912312359Z"),
            (UTC_TIME, "491231235959+0000"),
            (UTC_TIME, "491331235959Z"),
            (GENERALIZED_TIME, "20491231235959.5Z"),
            (GENERALIZED_TIME, "20490231235959Z"),
            (INTEGER, "491231235959Z"),
            (UTC_TIME, "\u{e4}1231235959Z"),
        ] {
            assert_eq!(at(tag, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn constraints_and_usages_are_read_bit_by_bit() {
        assert_eq!(authority(&[]), Some(Authority::No));
        assert_eq!(authority(&[1, 1, 0xff]), Some(Authority::Yes { between_max: None }));
        assert_eq!(authority(&[1, 1, 0xff, 2, 1, 3]), Some(Authority::Yes { between_max: Some(3) }));
        for wrong in [&[1, 1, 1][..], &[2, 1, 3], &[1, 1, 0xff, 2, 1, 0x80], &[1, 1, 0xff, 2, 1, 3, 0]] {
            assert_eq!(authority(wrong), None, "{wrong:?}");
        }
        let usage = |bits: &[u8]| key_usage(bits).map(|usage| (usage.digital_signature, usage.certificates));
        assert_eq!(usage(&[7, 0x80]), Some((true, false)));
        assert_eq!(usage(&[1, 0x06]), Some((false, true)));
        assert_eq!(usage(&[0]), Some((false, false)));
        assert_eq!((usage(&[]), usage(&[8, 0])), (None, None));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = fields(&bytes);
            let wrapped = [&[0x30, 0x82, 0x10, 0x00, 0x30, 0x82, 0x0f, 0x00][..], &bytes].concat();
            let _ = fields(&wrapped);
        }
    }
}
