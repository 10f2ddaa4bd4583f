//! The search for secrets where they must not be: every 16-byte window of every form (raw, hexadecimal, base64 at each
//! of its three alignments) of everything that must not be there. Used by the simulator and by the live tests.

use std::collections::HashSet;

/// Bytes that must not lie anywhere one after the other.
pub const WINDOW_BYTES: usize = 16;
/// What was never written; no window is all zeros.
const PAGE: [u8; 4096] = [0; 4096];

type Window = [u8; WINDOW_BYTES];

/// Every window of every form of every secret.
#[derive(Default)]
pub struct Windows {
    all: HashSet<Window>,
    /// Whether any window begins with these two bytes.
    begins: Vec<bool>,
}

impl Windows {
    /// Adds every form of a secret.
    pub fn add(&mut self, secret: &[u8]) {
        self.add_form(secret);
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        self.add_form(hex.as_bytes());
        self.add_form(hex.to_uppercase().as_bytes());
        for shift in 0..3 {
            for alphabet in ["+/", "-_"] {
                // The letters that depend on what stands before and after are left out.
                let text = base64(secret.get(shift..).unwrap_or_default(), alphabet.as_bytes());
                let whole = secret.len().saturating_sub(shift) / 3 * 4;
                self.add_form(text.get(..whole).unwrap_or(&text));
            }
        }
    }

    /// Adds one form of a secret, as it stands.
    pub fn add_form(&mut self, form: &[u8]) {
        self.begins.resize(1 << 16, false);
        for window in form.windows(WINDOW_BYTES) {
            // Counts and lengths between the keys of a keyring are no secret.
            if window.iter().filter(|byte| **byte == 0).count() > WINDOW_BYTES / 4 {
                continue;
            }
            if let Some(begins) = beginning(window).and_then(|at| self.begins.get_mut(at)) {
                *begins = true;
            }
            self.all.extend(Window::try_from(window));
        }
    }

    /// How many windows there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// In how many places of `bytes` one of them stands.
    pub fn found_in(&self, bytes: &[u8]) -> usize {
        let mut hits = 0;
        let mut at = 0;
        while let Some(window) = bytes.get(at..at + WINDOW_BYTES) {
            // Most of a process's memory was never touched.
            if let Some(page) = bytes.get(at..at + PAGE.len()).filter(|page| **page == PAGE) {
                at += page.len() - WINDOW_BYTES;
                continue;
            }
            let may_be = beginning(window).and_then(|at| self.begins.get(at)).copied().unwrap_or(false);
            if may_be && self.all.contains(window) {
                hits += 1;
            }
            at += 1;
        }
        hits
    }
}

fn beginning(window: &[u8]) -> Option<usize> {
    let ([one, two], _) = window.split_first_chunk()?;
    Some(usize::from(*one) << 8 | usize::from(*two))
}

fn base64(bytes: &[u8], last_two: &[u8]) -> Vec<u8> {
    let mut letters: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').collect();
    letters.extend_from_slice(last_two);
    let sixes = bytes.chunks(3).flat_map(|three| {
        let joined = three.iter().fold(0_u32, |joined, byte| joined << 8 | u32::from(*byte));
        let joined = joined << (8 * (3 - three.len()));
        (0..=three.len()).map(move |at| joined >> (18 - 6 * at) & 63)
    });
    sixes.filter_map(|six| letters.get(usize::try_from(six).ok()?).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_every_form_and_every_alignment() {
        let secret: Vec<u8> = (0..32_u8).map(|at| at.wrapping_mul(37).wrapping_add(91)).collect();
        let mut windows = Windows::default();
        windows.add(&secret);
        assert_eq!(base64(b"keyclave!", b"+/"), b"a2V5Y2xhdmUh");
        for before in 0..4 {
            let around = [&vec![1; before][..], &secret, &[2; 7]].concat();
            assert!(windows.found_in(&around) > 0);
            assert!(windows.found_in(&base64(&around, b"+/")) > 0, "{before}");
            assert!(windows.found_in(&base64(&around, b"-_")) > 0, "{before}");
            let hex: String = around.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(windows.found_in(hex.as_bytes()) > 0);
        }
        let (short, _) = secret.split_at(WINDOW_BYTES - 1);
        assert_eq!(windows.found_in(short), 0);
        assert_eq!(windows.found_in(&[7; 4096]), 0);
    }
}
