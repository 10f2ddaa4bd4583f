//! `keyclave encrypt` and `keyclave decrypt`.

use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use data_encoding::BASE64;
use keyclave_client::crypto::DecryptWith;
use keyclave_types::ciphertext::{self, FORMAT, Header, TEXT_PREFIX};
use keyclave_types::limits::PLAINTEXT_BYTES_MAX;
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::arguments::keys::{DecryptArguments, EncryptArguments};
use crate::arguments::{Connection, Output};
use crate::connection::client;
use crate::failure::Failure;
use crate::output::{self, Shown};
use crate::progress::watched;

/// What a ciphertext is longer than its plaintext, at most: header, nonce and tag, with room for later formats.
const OVERHEAD_BYTES_MAX: usize = 1024;
/// Bytes of the longest text form, white space around it included.
const TEXT_BYTES_MAX: usize = (PLAINTEXT_BYTES_MAX + OVERHEAD_BYTES_MAX).div_ceil(3) * 4 + 1024;

const TOO_LARGE_TO_ENCRYPT: &str =
    "encrypt it in pieces of at most 1 MiB, or with a key of your own and only that key with Keyclave";
const TOO_LARGE_TO_DECRYPT: &str = "check the file: `keyclave encrypt` writes nothing as large";

/// A decrypted message for programs.
#[derive(Serialize)]
struct DecryptedObject<'a> {
    key_version: u32,
    bytes: usize,
    plaintext_base64: &'a str,
}

/// Encrypts a file or standard input.
pub(crate) async fn encrypt(
    arguments: EncryptArguments,
    connection: &Connection,
    output: Output,
) -> Result<Shown, Failure> {
    if arguments.raw && arguments.out.is_none() && output == Output::Json {
        return Err(Failure::usage("--raw to standard output and --output json exclude each other")
            .next("name a file with --out, or leave one of them out"));
    }
    let client = client(connection)?;
    let plaintext = read(arguments.file.as_deref(), PLAINTEXT_BYTES_MAX, TOO_LARGE_TO_ENCRYPT)?;
    let aad = arguments.aad.as_bytes();
    let encrypting = client.encrypt(&arguments.key, arguments.version, &plaintext, aad);
    let answer = watched("encrypting", encrypting).await?;
    let text = ciphertext::to_text(&answer.value.ciphertext);
    let version = answer.value.version.get();
    let mut object = json!({
        "key": arguments.key.as_str(), "key_version": version, "position": answer.position.to_string(),
    });
    let body = if arguments.raw { answer.value.ciphertext } else { format!("{text}\n").into_bytes() };
    match (&arguments.out, output) {
        (Some(path), _) => {
            write(path, &body)?;
            insert(&mut object, "out", path.display().to_string());
            Ok(Shown::new(String::new(), &object))
        }
        (None, Output::Json) => {
            insert(&mut object, "ciphertext", text);
            Ok(Shown::new(String::new(), &object))
        }
        (None, Output::Text) => output::bytes(&body).map(|()| Shown::nothing()),
    }
}

/// Decrypts a file or standard input.
pub(crate) async fn decrypt(
    arguments: DecryptArguments,
    connection: &Connection,
    output: Output,
) -> Result<Shown, Failure> {
    let client = client(connection)?;
    let input = read(arguments.file.as_deref(), TEXT_BYTES_MAX, TOO_LARGE_TO_DECRYPT)?;
    let ciphertext = parse(&input)?;
    let with = arguments.key.as_ref().map_or(DecryptWith::AnyKey, DecryptWith::Key);
    let decrypting = client.decrypt(with, &ciphertext, arguments.aad.as_bytes());
    let answer = watched("decrypting", decrypting).await?;
    let (plaintext, version) = (answer.value.plaintext, answer.value.version.get());
    match (&arguments.out, output) {
        (Some(path), _) => {
            write(path, &plaintext)?;
            let out = path.display().to_string();
            let object = json!({ "key_version": version, "bytes": plaintext.len(), "out": out });
            Ok(Shown::new(String::new(), &object))
        }
        (None, Output::Json) => {
            let text = Zeroizing::new(BASE64.encode(&plaintext));
            let (bytes, plaintext_base64) = (plaintext.len(), text.as_str());
            Ok(Shown::new(String::new(), &DecryptedObject { key_version: version, bytes, plaintext_base64 }))
        }
        (None, Output::Text) => output::bytes(&plaintext).map(|()| Shown::nothing()),
    }
}

fn insert(object: &mut serde_json::Value, name: &str, value: String) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(name.to_owned(), value.into());
    }
}

/// The bytes of a ciphertext in either form.
fn parse(input: &[u8]) -> Result<Vec<u8>, Failure> {
    let wrong = |error: ciphertext::CiphertextError| {
        Failure::failed("CIPHERTEXT", error.to_string())
            .next("give what `keyclave encrypt` wrote, whole: the kc1. text, or the bytes of --raw")
    };
    let trimmed = input.trim_ascii_start();
    let bytes = match std::str::from_utf8(trimmed) {
        Ok(text) if text.starts_with(TEXT_PREFIX) => ciphertext::from_text(text).map_err(wrong)?,
        Ok(_) if input.first() != Some(&FORMAT) => return Err(wrong(ciphertext::CiphertextError::Text)),
        Ok(_) | Err(_) => input.to_vec(),
    };
    Header::parse(&bytes).map_err(wrong)?;
    Ok(bytes)
}

fn read(file: Option<&Path>, bytes_max: usize, next: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match file.filter(|path| *path != Path::new("-")) {
        Some(path) => {
            let named =
                |error| Failure::failed("FILE", format!("{} cannot be read: {error}", path.display()));
            limited(std::fs::File::open(path).map_err(named)?, bytes_max, next, named)
        }
        None => {
            let input = std::io::stdin();
            if input.is_terminal() && output::is_watched() {
                output::note("reading from the terminal; end with Ctrl-D");
            }
            limited(input.lock(), bytes_max, next, |error| Failure::from_error("STANDARD_INPUT", &error))
        }
    }
}

fn limited(
    source: impl Read,
    bytes_max: usize,
    next: &str,
    wrong: impl Fn(std::io::Error) -> Failure,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // Room for all of it at once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max + 1));
    source.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() > bytes_max {
        let what = format!("the input is larger than {bytes_max} bytes");
        return Err(Failure::failed("INPUT_MAX", what).next(next));
    }
    Ok(bytes)
}

/// Writes a file that only its owner may read: it may be a plaintext. One that is there keeps its mode.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|error| Failure::failed("FILE", format!("{} cannot be written: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use keyclave_types::ids::KeyId;
    use keyclave_types::key::Version;

    use super::*;

    fn ciphertext() -> Vec<u8> {
        let header = Header { key: KeyId::from_bytes([9; 16]), version: Version::FIRST };
        [header.to_bytes().as_slice(), b"body"].concat()
    }

    #[test]
    fn both_forms_of_a_ciphertext_are_read() {
        let bytes = ciphertext();
        assert_eq!(parse(&bytes).unwrap(), bytes);
        assert_eq!(parse(format!("\n {}\n", ciphertext::to_text(&bytes)).as_bytes()).unwrap(), bytes);
    }

    #[test]
    fn what_is_no_ciphertext_is_refused_with_its_cure() {
        let cut = &ciphertext()[..20];
        for wrong in [b"".as_slice(), b"hello", b"kc1.!!", b"kc1.", b"\x02chunked", cut] {
            let failure = parse(wrong).unwrap_err();
            assert!(failure.render(Output::Text).contains("keyclave encrypt"), "{wrong:?}");
        }
    }

    #[test]
    fn one_byte_over_the_limit_is_refused() {
        let wrong = |error: std::io::Error| Failure::from_error("X", &error);
        let read_all =
            |mut bytes: &[u8]| limited(&mut bytes, PLAINTEXT_BYTES_MAX, TOO_LARGE_TO_ENCRYPT, wrong);
        let right = vec![7; PLAINTEXT_BYTES_MAX];
        assert_eq!(read_all(&right).unwrap().len(), PLAINTEXT_BYTES_MAX);
        let large = vec![7; PLAINTEXT_BYTES_MAX + 1];
        let failure = read_all(&large).unwrap_err();
        assert!(failure.render(Output::Text).contains("1 MiB"));
    }

    #[test]
    fn the_longest_ciphertext_fits_the_reading_limit() {
        let longest = vec![0; PLAINTEXT_BYTES_MAX + OVERHEAD_BYTES_MAX];
        assert!(ciphertext::to_text(&longest).len() < TEXT_BYTES_MAX);
    }

    #[test]
    fn a_file_that_is_written_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        write(&path, b"secret").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(Some(&path), 6, "").unwrap().as_slice(), b"secret");
        assert!(write(Path::new("/no/such/directory/x"), b"").is_err());
    }
}
