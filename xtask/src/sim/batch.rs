//! Many runs of the simulator, each a process, as many at a time as the machine has cores.

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::report::Outcome;
use crate::failure::TaskError;

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// What decides everything in it.
    pub(crate) seed: u64,
    /// How many nodes; else the seed decides.
    pub(crate) nodes: Option<u64>,
    /// A bug that is built in for this run.
    pub(crate) planted: Option<String>,
    /// Whether its nodes are whole.
    pub(crate) whole: bool,
    /// Whether it also has the faults that change a cluster for good.
    pub(crate) rough: bool,
}

impl Run {
    /// As a command line.
    pub(crate) fn arguments(&self, seed: &str) -> String {
        let nodes = self.nodes.map(|nodes| format!(" --nodes {nodes}")).unwrap_or_default();
        let planted = self.planted.as_ref().map(|name| format!(" --planted {name}")).unwrap_or_default();
        let whole = if self.whole { " --whole" } else { "" };
        let rough = if self.rough { " --rough" } else { "" };
        format!("{seed} {}{nodes}{planted}{whole}{rough}", self.seed)
    }
}

/// Real time after which a run is ended: it hangs.
const RUN_MS_MAX: u64 = 180_000;
const POLL_MS: u64 = 5;
/// How much of a run's errors is kept.
const ERRORS_BYTES_MAX: usize = 4_000;

/// Runs all, handing each outcome over as it comes; stops early when `take` says so.
pub(crate) fn all(
    program: &Path,
    runs: &[Run],
    mut take: impl FnMut(Outcome) -> bool,
) -> Result<(), TaskError> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut waiting: VecDeque<&Run> = runs.iter().collect();
    let mut going: Vec<Going> = Vec::new();
    let mut wanted = true;
    while !going.is_empty() || (wanted && !waiting.is_empty()) {
        while wanted && going.len() < jobs {
            let Some(run) = waiting.pop_front() else { break };
            going.push(Going::start(program, run)?);
        }
        let mut still = Vec::new();
        for mut run in going {
            if run.ended()? { wanted &= take(run.outcome()?) } else { still.push(run) }
        }
        going = still;
        std::thread::sleep(Duration::from_millis(POLL_MS));
    }
    Ok(())
}

/// One run alone, its narration on the terminal.
pub(crate) fn replay(program: &Path, run: &Run) -> Result<Outcome, TaskError> {
    let mut command = command(program, run);
    command.arg("--narrate").stderr(Stdio::inherit());
    let child = command.spawn().map_err(|source| TaskError::Start { program: "sim", source })?;
    Going { run: run.clone(), child, begun: Instant::now() }.outcome()
}

struct Going {
    run: Run,
    child: Child,
    begun: Instant,
}

impl Going {
    fn start(program: &Path, run: &Run) -> Result<Self, TaskError> {
        let child =
            command(program, run).spawn().map_err(|source| TaskError::Start { program: "sim", source })?;
        Ok(Self { run: run.clone(), child, begun: Instant::now() })
    }

    fn ended(&mut self) -> Result<bool, TaskError> {
        let ended = self.child.try_wait().map_err(|source| TaskError::Start { program: "sim", source })?;
        if ended.is_none() && self.begun.elapsed() > Duration::from_millis(RUN_MS_MAX) {
            // Its report is missing then, which counts as broken.
            self.child.kill().map_err(|source| TaskError::Start { program: "sim", source })?;
        }
        Ok(ended.is_some())
    }

    /// Reads what it printed. A run prints little (a report and a panic), which fits into the pipes.
    fn outcome(mut self) -> Result<Outcome, TaskError> {
        let wrong = |source| TaskError::Start { program: "sim", source };
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_end(&mut output).map_err(wrong)?;
        }
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_end(&mut errors).map_err(wrong)?;
        }
        let status = self.child.wait().map_err(wrong)?;
        let last = String::from_utf8_lossy(&output).lines().last().map(str::to_owned);
        let report = last.and_then(|line| serde_json::from_str(&line).ok());
        let errors = errors.split_at(errors.len().saturating_sub(ERRORS_BYTES_MAX)).1;
        let errors = format!("{status}: {}", String::from_utf8_lossy(errors));
        Ok(Outcome { run: self.run, report, errors })
    }
}

fn command(program: &Path, run: &Run) -> Command {
    let mut command = Command::new(program);
    command
        .args(run.arguments("--seed").split(' '))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        (place, path)
    }

    fn runs(count: u64) -> Vec<Run> {
        (0..count)
            .map(|seed| Run { seed, nodes: Some(3), planted: None, whole: false, rough: false })
            .collect()
    }

    const REPORT: &str = r#"echo noise; echo "{\"nodes\":3,\"hash\":\"h$2\",\"simulated_ms\":1,\"acknowledged\":1,\"answered\":1,\"unanswered\":0,\"faults\":{},\"verdicts\":{\"healed\":\"held\"}}""#;

    #[test]
    fn every_run_gives_its_report() {
        let (_place, program) = shell(REPORT);
        let mut hashes = Vec::new();
        all(&program, &runs(5), |outcome| {
            hashes.push(outcome.hash().unwrap().to_owned());
            true
        })
        .unwrap();
        hashes.sort();
        assert_eq!(hashes, ["h0", "h1", "h2", "h3", "h4"]);
    }

    #[test]
    fn a_run_that_dies_is_broken_and_keeps_its_words() {
        let (_place, program) = shell("echo oh no >&2; exit 3");
        all(&program, &runs(1), |outcome| {
            assert!(!outcome.is_good());
            assert!(outcome.errors.contains("oh no"), "{}", outcome.errors);
            true
        })
        .unwrap();
    }

    #[test]
    fn no_further_run_starts_once_enough_was_seen() {
        let (_place, program) = shell(REPORT);
        let mut seen = 0;
        all(&program, &runs(50), |_| {
            seen += 1;
            false
        })
        .unwrap();
        assert!(seen < 50, "{seen}");
    }
}
