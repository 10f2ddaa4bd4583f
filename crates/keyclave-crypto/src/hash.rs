//! SHA-256 over parts. Called by the trail's chain and for fingerprints of public bytes.
//!
//! Deliberately absent: separators. Callers put a label first and give every part but the last a fixed length.

use ring::digest;

/// SHA-256(part ‖ part ‖ …) (FIPS 180-4).
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in parts {
        hash.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    #[test]
    fn fips_180_example_holds_however_it_is_cut() {
        let golden = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(HEXLOWER.encode(&sha256(&[b"abc"])), golden);
        assert_eq!(HEXLOWER.encode(&sha256(&[b"a", b"", b"bc"])), golden);
    }
}
