//! Reads the parts of a line that were written in one fixed way, and nothing else: no white space, no other order,
//! no number with a leading zero. Called for lines and headers.

use data_encoding::HEXLOWER;

/// What is left of a line.
pub(crate) struct Scan<'a>(pub(crate) &'a [u8]);

impl<'a> Scan<'a> {
    /// Exactly these bytes.
    pub(crate) fn literal(&mut self, bytes: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(bytes)?;
        Some(())
    }

    /// A decimal number.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let digits = self.while_true(|byte| byte.is_ascii_digit());
        if digits.len() > 1 && digits.first() == Some(&b'0') {
            return None;
        }
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Letters, digits and underscores: at least one.
    pub(crate) fn word(&mut self) -> Option<&'a str> {
        let word = self.while_true(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        std::str::from_utf8(word).ok().filter(|word| !word.is_empty())
    }

    /// `N` bytes in lower-case hex.
    pub(crate) fn hex<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (digits, rest) = self.0.split_at_checked(2 * N)?;
        let mut bytes = [0; N];
        HEXLOWER.decode_mut(digits, &mut bytes).ok()?;
        self.0 = rest;
        Some(bytes)
    }

    /// Nothing is left.
    pub(crate) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    fn while_true(&mut self, keep: impl Fn(u8) -> bool) -> &'a [u8] {
        let length = self.0.iter().take_while(|byte| keep(**byte)).count();
        let (kept, rest) = self.0.split_at_checked(length).unwrap_or((self.0, &[]));
        self.0 = rest;
        kept
    }
}
