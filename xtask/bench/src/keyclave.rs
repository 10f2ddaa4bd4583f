//! Keyclave's side: a cluster left by `keyclave demo --keep`, measured by `keyclave bench`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::failure::BenchError;
use crate::load::Figure;

/// Where the demo makes its directories for restart keys.
const MEMORY: &str = "/dev/shm";

/// Three servers that must be stopped.
pub(crate) struct KeyclaveCluster {
    program: PathBuf,
    endpoints: String,
    cacert: String,
    token: String,
    pids: Vec<String>,
    /// What the servers leave behind.
    directories: Vec<PathBuf>,
}

impl KeyclaveCluster {
    /// Starts it; the demo's steps show that it works.
    pub(crate) async fn start(program: &Path) -> Result<Self, BenchError> {
        let demo = Command::new(program)
            .args(["demo", "--keep", "--output", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| BenchError::Start { program: program.to_owned(), source })?;
        // The demo names its directories after itself.
        let named = demo.id().map(|pid| PathBuf::from(format!("{MEMORY}/keyclave-{pid}-0")));
        let output = demo.wait_with_output().await;
        let said = json(program, output)?;
        let missing = |expected| BenchError::Json { program: program.to_owned(), expected };
        let text = |name: &'static str| {
            said.get(name).and_then(Value::as_str).map(str::to_owned).ok_or(missing(name))
        };
        let nodes = said.get("nodes").and_then(Value::as_array).ok_or(missing("nodes"))?;
        let of = |field: &str| {
            let fields = nodes.iter().filter_map(|node| node.get(field));
            fields.map(|value| value.to_string().replace('"', "")).collect()
        };
        let endpoints: Vec<String> = of("endpoint");
        let (cacert, token) = (text("cacert")?, text("token")?);
        let root = Path::new(&cacert).parent().map(Path::to_owned);
        let directories = root.into_iter().chain(named).collect();
        let (program, endpoints) = (program.to_owned(), endpoints.join(","));
        Ok(Self { program, endpoints, cacert, token, pids: of("pid"), directories })
    }

    /// Acknowledged writes at the leader.
    pub(crate) async fn writes(&self, clients: usize, seconds: u64) -> Result<Figure, BenchError> {
        let output = Command::new(&self.program)
            .args(["bench", "--measure", "writes", "--at", "leader", "--output", "json"])
            .args(["--clients", &clients.to_string(), "--span", &format!("{seconds}s")])
            .args(["--endpoints", &self.endpoints, "--cacert", &self.cacert])
            .env("KEYCLAVE_TOKEN", &self.token)
            .stdin(Stdio::null())
            .output()
            .await;
        let said = json(&self.program, output)?;
        let missing = |expected| BenchError::Json { program: self.program.clone(), expected };
        let row = said.pointer("/rows/0").ok_or(missing("rows"))?;
        let number = |name: &'static str| row.get(name).and_then(Value::as_f64).ok_or(missing(name));
        Ok(Figure {
            per_second: number("per_second")?,
            p50_ms: number("p50_ms")?,
            p99_ms: number("p99_ms")?,
            failed: row.get("failed").and_then(Value::as_u64).ok_or(missing("failed"))?,
        })
    }

    /// Ends the servers and removes what they left. What cannot be removed stays: the figures are there already.
    pub(crate) async fn stop(self) {
        let _ = Command::new("kill").arg("-KILL").args(&self.pids).status().await;
        for directory in &self.directories {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

/// What a program printed, if it ended well.
fn json(program: &Path, output: std::io::Result<std::process::Output>) -> Result<Value, BenchError> {
    let program = || program.to_owned();
    let output = output.map_err(|source| BenchError::Start { program: program(), source })?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(BenchError::Ended { program: program(), status: output.status, stderr });
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|_| BenchError::Json { program: program(), expected: "ok" })
}
