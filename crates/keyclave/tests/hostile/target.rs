//! One real server process, an honest client that never stops calling it, and how much memory it has.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use keyclave_client::Client;
use keyclave_client::dial::{Anchor, Dial, Stream, Tls};
use keyclave_client::endpoint::Endpoint;
use keyclave_types::key::Algorithm;
use keyclave_types::name::KeyName;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// `keyclave dev`, and what it printed.
pub(crate) struct Target {
    dev: Child,
    _told: BufReader<ChildStdout>,
    place: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    pub(crate) pid: u64,
    ca_pem: Vec<u8>,
    tls: Tls,
}

impl Target {
    /// A server that is unsealed and has a key `app/k`.
    pub(crate) async fn start() -> Self {
        let place = tempfile::Builder::new().prefix("kc").tempdir_in("/tmp").unwrap();
        let mut dev = Command::new(env!("CARGO_BIN_EXE_keyclave"))
            .args(["dev", "--output", "json"])
            .env("TMPDIR", place.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(dev.stdout.take().unwrap());
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        let ca_pem = std::fs::read(text("cacert")).unwrap();
        let target = Self {
            address: text("endpoint").strip_prefix("https://").unwrap().parse().unwrap(),
            token: text("token"),
            pid: ready["pid"].as_u64().unwrap(),
            tls: Tls::new(&Anchor::from_pem(&ca_pem).unwrap()),
            ca_pem,
            _told: told,
            place,
            dev,
        };
        let client = target.client();
        client.create_key(&key(), Algorithm::Xaes256Gcm, Default::default()).await.unwrap();
        target
    }

    /// A client with a valid token and a connection of its own.
    pub(crate) fn client(&self) -> Client {
        let endpoint: Endpoint = format!("https://{}", self.address).parse().unwrap();
        Client::builder().endpoints([endpoint]).ca_pem(&self.ca_pem).token(&self.token).build().unwrap()
    }

    /// A TLS connection that speaks whatever is written to it. None if the server turned it away.
    pub(crate) async fn connect(&self) -> Option<Box<dyn Stream>> {
        self.tls.dial(&format!("https://{}", self.address).parse().unwrap()).await.ok()
    }

    /// Bytes of memory that the server's process holds.
    pub(crate) fn resident(&self) -> u64 {
        resident(self.pid)
    }

    /// Whether any log of the process holds `text`.
    pub(crate) fn log_holds(&self, text: &str) -> bool {
        let mut directories = vec![self.place.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else if path.extension().is_some_and(|end| end == "log")
                    && String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains(text)
                {
                    return true;
                }
            }
        }
        false
    }

    /// Begins honest calls one after another.
    pub(crate) fn honest(&self) -> Honest {
        let (client, pid) = (self.client(), self.pid);
        let state = Arc::new(HonestState::default());
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while !shared.stop.load(Ordering::Acquire) {
                client.encrypt(&key(), None, b"plain", b"").await.expect("an honest call was refused");
                shared.done.fetch_add(1, Ordering::AcqRel);
                shared.peak.fetch_max(resident(pid), Ordering::AcqRel);
            }
        });
        Honest { state, task }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Asked to end, it ends its server and removes its directory.
        let _ = Command::new("kill").args(["-TERM", &self.dev.id().to_string()]).status();
        let _ = self.dev.wait();
    }
}

pub(crate) fn key() -> KeyName {
    "app/k".parse().unwrap()
}

fn resident(pid: u64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[derive(Default)]
struct HonestState {
    stop: AtomicBool,
    done: AtomicU64,
    peak: AtomicU64,
}

/// Honest calls under way.
pub(crate) struct Honest {
    state: Arc<HonestState>,
    task: JoinHandle<()>,
}

impl Honest {
    /// Waits until so many more have been answered; panics if one was refused.
    pub(crate) async fn answered(&self, more: u64) {
        let target = self.state.done.load(Ordering::Acquire) + more;
        while self.state.done.load(Ordering::Acquire) < target {
            assert!(!self.task.is_finished(), "an honest call was refused");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// The most memory that the server was seen to have since this was last asked.
    pub(crate) fn peak(&self) -> u64 {
        self.state.peak.swap(0, Ordering::AcqRel)
    }

    /// Ends them.
    pub(crate) async fn end(self) {
        self.state.stop.store(true, Ordering::Release);
        self.task.await.expect("an honest call was refused");
    }
}
