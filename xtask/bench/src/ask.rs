//! What the command line asks for.

use std::path::PathBuf;

/// The most seconds, rounds or clients.
const MOST: u64 = 1_000;

/// What is measured, and with what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// The binary.
    pub(crate) keyclave: PathBuf,
    /// Where etcd's files go, on the disk that is measured.
    pub(crate) scratch: PathBuf,
    /// How long each figure is measured.
    pub(crate) seconds: u64,
    /// How often.
    pub(crate) rounds: u64,
    /// How many clients at once, one after the other.
    pub(crate) clients: Vec<usize>,
}

impl Ask {
    /// None if the words do not say what to do.
    pub(crate) fn parse(arguments: &[String]) -> Option<Self> {
        let mut ask = Self {
            keyclave: PathBuf::new(),
            scratch: PathBuf::new(),
            seconds: 5,
            rounds: 3,
            clients: vec![1, 16, 64, 256],
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let value = words.next()?;
            match word.as_str() {
                "--keyclave" => ask.keyclave = value.into(),
                "--scratch" => ask.scratch = value.into(),
                "--seconds" => ask.seconds = number(value)?,
                "--rounds" => ask.rounds = number(value)?,
                "--clients" => ask.clients = value.split(',').map(clients).collect::<Option<_>>()?,
                _ => return None,
            }
        }
        let complete = !ask.keyclave.as_os_str().is_empty() && !ask.scratch.as_os_str().is_empty();
        complete.then_some(ask)
    }
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number| (1..=MOST).contains(number))
}

fn clients(text: &str) -> Option<usize> {
    number(text).and_then(|number| usize::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_or_missing_is_no_ask() {
        let parse = |line: &str| Ask::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let ask = parse("--keyclave k --scratch s --clients 1,64 --rounds 2").unwrap();
        assert_eq!((ask.clients, ask.rounds, ask.seconds), (vec![1, 64], 2, 5));
        for wrong in [
            "--keyclave k",
            "--scratch s",
            "--keyclave k --scratch s --rounds 0",
            "--keyclave k --scratch s --clients x",
            "--keyclave k --scratch s --rounds",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
