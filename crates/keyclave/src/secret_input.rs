//! Where secrets come from: a file, the environment, a prompt without echo, standard input. Never an argument.

use std::io::{IsTerminal, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::failure::Failure;

/// The environment variable that may hold a token.
const TOKEN_VARIABLE: &str = "KEYCLAVE_TOKEN";
/// Bytes of a token or share that are read.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// The caller's token: of the file if one is named, else of the environment.
pub(crate) fn token(file: Option<&Path>) -> Result<Option<Zeroizing<String>>, Failure> {
    match file {
        Some(path) => read_file(path).map(Some),
        None => match std::env::var(TOKEN_VARIABLE) {
            Ok(text) => Ok(Some(trimmed(&Zeroizing::new(text)))),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(Failure::usage(format!("{TOKEN_VARIABLE} is not a token: it is not text")))
            }
        },
    }
}

/// One share: of the file, of a prompt where there is a terminal, else of standard input.
pub(crate) fn share(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    if let Some(path) = file {
        return read_file(path);
    }
    if std::io::stdin().is_terminal() {
        let typed = rpassword::prompt_password("Share: ")
            .map_err(|error| Failure::from_error("PROMPT", &error))
            .map(Zeroizing::new)?;
        return Ok(trimmed(&typed));
    }
    read(std::io::stdin().lock()).map_err(|error| Failure::from_error("STANDARD_INPUT", &error))
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    std::fs::File::open(path)
        .and_then(read)
        .map_err(|error| Failure::failed("FILE", format!("{} cannot be read: {error}", path.display())))
}

fn read(source: impl Read) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    source.take(SECRET_BYTES_MAX).read_to_string(&mut text)?;
    Ok(trimmed(&text))
}

fn trimmed(text: &Zeroizing<String>) -> Zeroizing<String> {
    Zeroizing::new(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_without_its_line_end_and_a_missing_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "kcls_x\n").unwrap();
        assert_eq!(token(Some(&path)).unwrap().unwrap().as_str(), "kcls_x");
        let failure = token(Some(Path::new("/no/such/file"))).unwrap_err();
        assert!(failure.render(crate::arguments::Output::Text).contains("/no/such/file"));
    }
}
