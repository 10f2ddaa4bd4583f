//! Ranges of addresses (RFC 4632, RFC 4291): `10.0.0.0/8`, `2001:db8::/32`, or one address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The addresses that begin with the same bits. IPv4 addresses written as IPv6 ones are the IPv4 ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    first: IpAddr,
    bits: u8,
}

/// Why a text is no range.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum AddressRangeError {
    /// No address before the slash.
    #[error("expected an address or a range of them, as 10.0.0.0/8 or 2001:db8::/32")]
    Address,
    /// No count of bits behind it.
    #[error("behind the slash stands how many bits are fixed: at most 32 for IPv4 and 128 for IPv6")]
    Bits,
    /// It names an address inside the range instead of the range.
    #[error("bits behind the fixed ones are set; did you mean {0}?")]
    Inside(AddressRange),
}

impl AddressRange {
    /// Whether `address` lies in it.
    pub fn covers(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                cut(first.to_bits().into(), 32, self.bits) == cut(address.to_bits().into(), 32, self.bits)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                cut(first.to_bits(), 128, self.bits) == cut(address.to_bits(), 128, self.bits)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    fn beginning(self) -> Self {
        let first = match self.first {
            IpAddr::V4(first) => {
                let kept = cut(first.to_bits().into(), 32, self.bits) << (32 - self.bits);
                IpAddr::V4(u32::try_from(kept).unwrap_or(u32::MAX).into())
            }
            IpAddr::V6(first) => {
                let kept = cut(first.to_bits(), 128, self.bits).checked_shl(128 - u32::from(self.bits));
                IpAddr::V6(kept.unwrap_or(0).into())
            }
        };
        Self { first, bits: self.bits }
    }
}

/// The leading `bits` of a number of `width` bits.
fn cut(number: u128, width: u8, bits: u8) -> u128 {
    number.checked_shr(u32::from(width - bits)).unwrap_or(0)
}

impl FromStr for AddressRange {
    type Err = AddressRangeError;

    fn from_str(text: &str) -> Result<Self, AddressRangeError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| AddressRangeError::Address)?;
        // One of IPv4 in IPv6's clothes would count its bits from another place.
        if first.to_canonical() != first {
            return Err(AddressRangeError::Address);
        }
        let width = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) && !bits.starts_with("00") => {
                bits.parse().map_err(|_| AddressRangeError::Bits)?
            }
            Some(_) => return Err(AddressRangeError::Bits),
        };
        if bits > width {
            return Err(AddressRangeError::Bits);
        }
        let range = Self { first, bits };
        let beginning = range.beginning();
        if beginning == range { Ok(range) } else { Err(AddressRangeError::Inside(beginning)) }
    }
}

impl TryFrom<String> for AddressRange {
    type Error = AddressRangeError;

    fn try_from(text: String) -> Result<Self, AddressRangeError> {
        text.parse()
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

impl fmt::Debug for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AddressRange({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(range: &str, address: &str) -> bool {
        range.parse::<AddressRange>().unwrap().covers(address.parse().unwrap())
    }

    #[test]
    fn a_range_covers_what_begins_alike_and_nothing_else() {
        assert!(covers("10.0.0.0/8", "10.255.255.255") && !covers("10.0.0.0/8", "11.0.0.0"));
        assert!(covers("10.1.2.3", "10.1.2.3") && !covers("10.1.2.3", "10.1.2.2"));
        assert!(covers("10.1.2.2/31", "10.1.2.3") && !covers("10.1.2.2/31", "10.1.2.4"));
        assert!(covers("0.0.0.0/0", "255.1.1.1") && !covers("0.0.0.0/0", "::1"));
        assert!(covers("::/0", "2001:db8::1") && !covers("::/0", "10.0.0.1"));
        assert!(covers("2001:db8::/32", "2001:db8:ffff::1") && !covers("2001:db8::/32", "2001:db9::"));
        assert!(covers("10.0.0.0/8", "::ffff:10.0.0.1"), "the same address in another form");
        assert!(!covers("::/0", "::ffff:10.0.0.1"));
    }

    #[test]
    fn a_range_is_read_as_it_is_printed() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "2001:db8::/33", "::1/128", "10.1.2.3/32"] {
            assert_eq!(text.parse::<AddressRange>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/008",
            "::/129",
            "a/8",
            "10.0.0.0/8/8",
            "::ffff:10.0.0.0/104",
            "010.0.0.0/8",
            "10.0.0.0/8 ",
        ] {
            assert!(wrong.parse::<AddressRange>().is_err(), "{wrong:?}");
        }
        let inside = "10.1.0.0/8".parse::<AddressRange>().unwrap_err();
        assert_eq!(inside, AddressRangeError::Inside("10.0.0.0/8".parse().unwrap()));
    }
}
