//! The only place that prints: a command's result to standard output, everything else to standard error.
//!
//! Text or one JSON object, as asked. What came from a server is shown without control characters.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use zeroize::Zeroizing;

use crate::arguments::Output;
use crate::failure::Failure;

/// What a command that went well has to show. Wiped when dropped: it may hold a share or a token.
pub(crate) struct Shown {
    text: Zeroizing<String>,
    json: Zeroizing<String>,
    status: u8,
}

impl Shown {
    /// A text for people, and the same as one JSON object.
    pub(crate) fn new(text: impl Into<String>, json: &impl Serialize) -> Self {
        let json = serde_json::to_string(json).expect("maps with text keys and no custom serialisers");
        Self { text: Zeroizing::new(text.into()), json: Zeroizing::new(json), status: 0 }
    }

    /// Nothing: the command has written its result itself, or serves.
    pub(crate) fn nothing() -> Self {
        Self { text: Zeroizing::default(), json: Zeroizing::default(), status: 0 }
    }

    /// Shown all the same, but the process ends with `status`.
    pub(crate) fn with_status(mut self, status: u8) -> Self {
        self.status = status;
        self
    }

    /// The process's exit status.
    pub(crate) fn status(&self) -> u8 {
        self.status
    }

    /// What is printed, line end included.
    pub(crate) fn render(&self, output: Output) -> Zeroizing<String> {
        let body = match output {
            Output::Text => &self.text,
            Output::Json => &self.json,
        };
        let end = if body.is_empty() || body.ends_with('\n') { "" } else { "\n" };
        Zeroizing::new(format!("{}{end}", body.as_str()))
    }
}

/// Prints a result. A reader that went away is no failure of ours, but the result was not read.
pub(crate) fn show(shown: &Shown, output: Output) -> Result<(), Failure> {
    bytes(shown.render(output).as_bytes())
}

/// Says on standard error where answers are on record.
pub(crate) fn receipts(receipts: &[String]) {
    let mut errors = io::stderr().lock();
    for receipt in receipts {
        let clean: String = receipt.chars().filter(char::is_ascii_graphic).collect();
        // Nobody is left to tell if this fails.
        let _ = writeln!(errors, "receipt: {clean}");
    }
}

/// Writes bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::failed("STANDARD_OUTPUT", format!("the result cannot be written: {error}")))
}

/// Prints a failure. There is nobody to tell if even this fails.
pub(crate) fn failure(failure: &Failure, output: Output) {
    note(&failure.render(output));
}

/// One line for people, on standard error.
pub(crate) fn note(text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _ = io::stderr().lock().write_all(format!("{text}{end}").as_bytes());
}

/// Whether a person may see what is printed to standard error.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// Writes over the current line of the terminal; the cursor stays on it.
pub(crate) fn progress_line(text: &str) {
    let _ = io::stderr().lock().write_all(format!("\r\u{1b}[K{text}").as_bytes());
}

/// Asks a question on standard error and reads one line from the terminal.
pub(crate) fn ask(question: &str) -> io::Result<String> {
    let mut err = io::stderr().lock();
    err.write_all(question.as_bytes())?;
    err.flush()?;
    drop(err);
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_one_object_or_lines_and_ends_once() {
        let shown = Shown::new("two\nlines\n", &serde_json::json!({ "a": "b\n" }));
        assert_eq!(shown.render(Output::Text).as_str(), "two\nlines\n");
        assert_eq!(shown.render(Output::Json).as_str(), "{\"a\":\"b\\n\"}\n");
        assert_eq!(Shown::nothing().render(Output::Json).as_str(), "");
    }
}
