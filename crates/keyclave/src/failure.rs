//! How a command ends when it does not end well: what happened, what to do next, and the exit status.
//!
//! 1: failed, refused or not verified. 2: wrong usage, or the cluster is sealed.

use std::error::Error;
use std::fmt::Write as _;

use crate::arguments::Output;

/// A command's failure.
#[derive(Debug)]
pub(crate) struct Failure {
    /// One sentence that says what happened.
    what: String,
    /// One sentence that says what to do next.
    next: Option<String>,
    /// A stable name for machines.
    reason: String,
    status: u8,
}

impl Failure {
    /// It failed, was refused, or did not verify.
    pub(crate) fn failed(reason: &str, what: impl Into<String>) -> Self {
        Self { what: what.into(), next: None, reason: reason.to_owned(), status: 1 }
    }

    /// The command line cannot work as it is.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self { what: what.into(), next: None, reason: "USAGE".to_owned(), status: 2 }
    }

    /// The cluster is sealed.
    pub(crate) fn sealed(what: impl Into<String>) -> Self {
        Self { what: what.into(), next: None, reason: "NODE_SEALED".to_owned(), status: 2 }
    }

    /// An error with all its causes.
    pub(crate) fn from_error(reason: &str, error: &dyn Error) -> Self {
        Self::failed(reason, with_causes(error))
    }

    /// Adds what to do next.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// The process's exit status.
    pub(crate) fn status(&self) -> u8 {
        self.status
    }

    /// The failure as lines for standard error, in the form that was asked for.
    pub(crate) fn render(&self, output: Output) -> String {
        match output {
            Output::Json => {
                let body = serde_json::json!({
                    "ok": false, "reason": self.reason, "error": self.what, "next": self.next,
                });
                format!("{body}\n")
            }
            Output::Text => {
                let mut text = format!("keyclave: {}\n", printable(&self.what));
                if let Some(next) = &self.next {
                    let _ = writeln!(text, "  next: {}", printable(next));
                }
                text
            }
        }
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Many libraries repeat their cause in their own text.
        if !text.contains(&next) {
            let _ = write!(text, ": {next}");
        }
        cause = error.source();
    }
    text
}

/// What came from elsewhere, without control characters: a terminal obeys escape codes.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_code_never_reaches_the_terminal() {
        let failure = Failure::failed("X", "bad \u{1b}[2Jname");
        assert!(!failure.render(Output::Text).contains('\u{1b}'));
        assert!(!failure.render(Output::Json).contains('\u{1b}'));
    }

    #[test]
    fn causes_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::io::Error);
        let failure = Failure::from_error("X", &Outer(std::io::Error::other("inner")));
        assert_eq!(failure.render(Output::Text), "keyclave: outer: inner\n");
    }
}
