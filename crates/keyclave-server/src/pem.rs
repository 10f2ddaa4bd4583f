//! PEM text of certificates, as clients and files want it.

use data_encoding::BASE64;

/// Characters of one line (RFC 7468).
const LINE: usize = 64;

/// One certificate.
pub(crate) fn certificate(der: &[u8]) -> String {
    let body = BASE64.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in body.as_bytes().chunks(LINE) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [1, 47, 48, 49, 500] {
            let der: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let read = CertificateDer::from_pem_slice(certificate(&der).as_bytes()).unwrap();
            assert_eq!(read.as_ref(), der);
        }
    }
}
