//! How a command ends when it does not end well: what happened, what to do next, and the exit status.
//!
//! 1: failed, refused or not verified. 2: wrong usage, or the cluster is sealed.

use std::error::Error;
use std::fmt::Write as _;

use keyclave_client::error::{OnceError, ReadError, WriteError};
use keyclave_client::refusal::Refusal;
use keyclave_client::seal::ShareError;
use serde_json::json;

use crate::arguments::Output;

/// The reason that a sealed node gives.
const SEALED: &str = "NODE_SEALED";

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
    /// What else a program may need, beside the fields that every failure has.
    details: Box<serde_json::Map<String, serde_json::Value>>,
}

impl Failure {
    /// It failed, was refused, or did not verify.
    pub(crate) fn failed(reason: &str, what: impl Into<String>) -> Self {
        Self::new(reason, what.into(), 1)
    }

    /// The command line cannot work as it is.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new("USAGE", what.into(), 2)
    }

    /// The cluster is sealed.
    pub(crate) fn sealed(what: impl Into<String>) -> Self {
        Self::new(SEALED, what.into(), 2)
    }

    fn new(reason: &str, what: String, status: u8) -> Self {
        Self { what, next: None, reason: reason.to_owned(), status, details: Box::default() }
    }

    /// An error with all its causes.
    pub(crate) fn from_error(reason: &str, error: &dyn Error) -> Self {
        Self::failed(reason, with_causes(error))
    }

    /// Adds what to do next.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into()).filter(|next: &String| !next.is_empty());
        self
    }

    /// Adds something for programs.
    pub(crate) fn detail(mut self, name: &str, value: serde_json::Value) -> Self {
        self.details.insert(name.to_owned(), value);
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
                let mut body = (*self.details).clone();
                body.insert("ok".to_owned(), false.into());
                body.insert("reason".to_owned(), self.reason.as_str().into());
                body.insert("error".to_owned(), self.what.as_str().into());
                body.insert("next".to_owned(), self.next.as_deref().into());
                format!("{}\n", serde_json::Value::Object(body))
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

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        if refusal.reason == SEALED {
            return Self::sealed(refusal.message.clone()).next(refusal.advice());
        }
        let mut what = refusal.message.clone();
        for (field, wrong) in &refusal.violations {
            let _ = write!(what, "; {field}: {wrong}");
        }
        let reason = if refusal.reason.is_empty() { &refusal.code } else { &refusal.reason };
        Self::failed(reason, what)
            .next(refusal.advice())
            .detail("endpoint", refusal.endpoint.to_string().into())
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let (what, next) = (error.to_string(), error.advice());
        match error {
            ReadError::Refused(refusal) => (*refusal).into(),
            ReadError::Sealed => Self::sealed(what).next(next),
            ReadError::NoAnswer(_) => Self::failed("NO_ANSWER", what).next(next),
            ReadError::OtherGeneration(_) => Self::failed("OTHER_GENERATION", what).next(next),
            ReadError::Answer(_) => Self::failed("ANSWER", what).next(next),
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        let (what, next) = (error.to_string(), error.advice());
        match error {
            WriteError::Refused(refusal) => (*refusal).into(),
            WriteError::Sealed => Self::sealed(what).next(next),
            WriteError::NotDone(_) => Self::failed("NO_ANSWER", what).next(next),
            WriteError::OutcomeUnknown { request_id, .. } => Self::failed("OUTCOME_UNKNOWN", what)
                .next("look whether it was done before doing it again")
                .detail("request_id", json!(request_id.to_string())),
            WriteError::OtherGeneration(_) => Self::failed("OTHER_GENERATION", what).next(next),
            WriteError::Answer(_) => Self::failed("ANSWER", what).next(next),
        }
    }
}

impl From<OnceError> for Failure {
    fn from(error: OnceError) -> Self {
        let (what, next) = (error.to_string(), error.advice());
        match error {
            OnceError::Refused(refusal) => (*refusal).into(),
            OnceError::Sealed => Self::sealed(what).next(next),
            OnceError::NotDone(_) => Self::failed("NO_ANSWER", what).next(next),
            OnceError::OutcomeUnknown(_) => Self::failed("OUTCOME_UNKNOWN", what).next(next),
            OnceError::OtherGeneration(_) => Self::failed("OTHER_GENERATION", what).next(next),
            OnceError::Answer(_) => Self::failed("ANSWER", what).next(next),
        }
    }
}

impl From<ShareError> for Failure {
    fn from(error: ShareError) -> Self {
        let (what, next) = (error.to_string(), error.advice());
        match error {
            ShareError::Text(_) => Self::failed("SHARE_MALFORMED", what).next(next),
            ShareError::BootKey(_) => Self::failed("BOOT_KEY", what).next(next),
            ShareError::Call(error) => error.into(),
        }
    }
}

/// An error's text followed by those of its causes.
pub(crate) fn with_causes(error: &dyn Error) -> String {
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
    fn a_sealed_cluster_ends_with_two_and_says_how_to_unseal() {
        let failure = Failure::from(ReadError::Sealed);
        assert_eq!(failure.status(), 2);
        assert!(failure.render(Output::Text).contains("keyclave operator unseal"));
        let refusal = Refusal {
            reason: "NODE_SEALED".to_owned(),
            code: "Unavailable".to_owned(),
            message: "this node is sealed".to_owned(),
            violations: vec![],
            position: None,
            endpoint: "https://a:1".parse().unwrap(),
        };
        let failure = Failure::from(refusal.clone());
        assert_eq!(failure.status(), 2);
        let object: serde_json::Value = serde_json::from_str(&failure.render(Output::Json)).unwrap();
        assert_eq!(object["reason"], "NODE_SEALED");
        assert_eq!(object["ok"], false);
        let denied = Refusal { reason: "DENIED".to_owned(), ..refusal };
        assert_eq!(Failure::from(denied).status(), 1);
    }

    #[test]
    fn what_is_wrong_with_which_field_is_told() {
        let refusal = Refusal {
            reason: "INVALID_FIELD".to_owned(),
            code: "InvalidArgument".to_owned(),
            message: "the request is wrong".to_owned(),
            violations: vec![("name".to_owned(), "is empty".to_owned())],
            position: None,
            endpoint: "https://a:1".parse().unwrap(),
        };
        let text = Failure::from(refusal).render(Output::Text);
        assert_eq!(text, "keyclave: the request is wrong; name: is empty\n");
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
