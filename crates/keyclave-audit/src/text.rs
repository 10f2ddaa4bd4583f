//! A caller's own words: limited when they arrive, escaped when they are written.
//!
//! Everything outside printable ASCII, and the quote and the backslash, is written as a JSON escape, so that
//! neither a newline nor U+2028 nor a direction mark ever stands in a line as itself.

/// Bytes of a caller's words that are kept.
pub const TEXT_BYTES_MAX: usize = 256;

/// A caller's words, at most [`TEXT_BYTES_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text(String);

impl Text {
    /// The beginning of `words`, cut between two characters.
    pub fn limited(words: &str) -> Self {
        Self(words.get(..words.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default().to_owned())
    }

    /// The words.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Appends `text` as the inside of a JSON string.
pub(crate) fn escape(text: &str, to: &mut Vec<u8>) {
    for character in text.chars() {
        match character {
            '"' => to.extend_from_slice(b"\\\""),
            '\\' => to.extend_from_slice(b"\\\\"),
            ' '..='~' => to.push(character as u8),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    to.extend_from_slice(b"\\u");
                    for shift in [12, 8, 4, 0] {
                        to.push(hex_digit((*unit >> shift & 0xf) as u8));
                    }
                }
            }
        }
    }
}

/// Appends `bytes` in lower-case hex.
pub(crate) fn hex(bytes: &[u8], to: &mut Vec<u8>) {
    for byte in bytes {
        to.push(hex_digit(byte >> 4));
        to.push(hex_digit(byte & 0xf));
    }
}

/// Appends `number` in decimal.
pub(crate) fn decimal(number: u64, to: &mut Vec<u8>) {
    let (mut digits, mut rest) = ([0; 20], number);
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    to.extend(digits.iter().skip(digits.len() - used));
}

fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut bytes = Vec::new();
        escape(text, &mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn nothing_that_could_end_a_line_or_a_string_stands_as_itself() {
        assert_eq!(
            escaped("a\n\"b\"\\\u{2028}\u{202e}\u{1b}[0m\u{7f}"),
            r#"a\u000a\"b\"\\\u2028\u202e\u001b[0m\u007f"#
        );
        assert_eq!(escaped("ü😀"), r"\u00fc\ud83d\ude00");
    }

    #[test]
    fn what_is_escaped_reads_back_as_json() {
        for text in ["", "plain", "\u{0}\r\n\t\"\\/", "\u{2028}\u{2029}\u{feff}", "🦀 und Ä"] {
            assert_eq!(serde_json::from_str::<String>(&format!("\"{}\"", escaped(text))).unwrap(), text);
        }
    }

    #[test]
    fn words_are_cut_between_characters() {
        let text = Text::limited(&"ä".repeat(300));
        assert_eq!(text.as_str().chars().count(), 128);
        let odd = Text::limited(&format!("x{}", "ä".repeat(300)));
        assert_eq!(odd.as_str().len(), 255);
        assert_eq!(Text::limited("short").as_str(), "short");
    }

    #[test]
    fn numbers_and_hex_print_as_the_standard_library_does() {
        for number in [0, 1, 9, 10, 255, 1_000_000, u64::MAX] {
            let mut bytes = Vec::new();
            decimal(number, &mut bytes);
            assert_eq!(String::from_utf8(bytes).unwrap(), number.to_string());
        }
        let mut bytes = Vec::new();
        hex(&[0x00, 0x9f, 0xa0, 0xff], &mut bytes);
        assert_eq!(bytes, b"009fa0ff");
    }
}
