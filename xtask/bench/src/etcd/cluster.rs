//! Three etcd processes on loopback that ask everybody for a certificate, as etcd's own defaults time them.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use super::certificates::{self, Certificates};
use super::find::EtcdBinary;
use super::put;
use crate::failure::BenchError;
use crate::load::{self, Figure};

const NODES: usize = 3;
/// How long they may take to agree on a leader.
const LEADER_S: u64 = 30;

/// The processes; they are killed, and their directory removed, when this value goes.
pub(crate) struct EtcdCluster {
    /// Held for their end.
    _nodes: Vec<Child>,
    /// The leader's client port.
    leader: u16,
    client: Arc<ClientConfig>,
    directory: PathBuf,
    /// Measurements so far: each puts keys of its own.
    rows: AtomicU64,
}

/// One node's two ports.
#[derive(Clone, Copy)]
struct Ports {
    client: u16,
    peer: u16,
}

impl EtcdCluster {
    /// Starts it and finds its leader.
    pub(crate) async fn start(binary: &EtcdBinary, scratch: &Path) -> Result<Self, BenchError> {
        let directory = scratch.join(format!("etcd-{}", std::process::id()));
        std::fs::create_dir_all(&directory)
            .map_err(|source| BenchError::File { path: directory.clone(), source })?;
        let certificates = certificates::make(&directory)?;
        let ports = free_ports()?;
        let nodes = (0..NODES).map(|node| start(binary, &directory, &certificates, &ports, node));
        let nodes = nodes.collect::<Result<_, _>>()?;
        let client = certificates.client;
        let mut cluster = Self { _nodes: nodes, leader: 0, client, directory, rows: AtomicU64::new(0) };
        cluster.leader = cluster.find_leader(&ports).await?;
        Ok(cluster)
    }

    /// Acknowledged puts of different keys at the leader.
    pub(crate) async fn puts(&self, clients: usize, seconds: u64) -> Result<Figure, BenchError> {
        let channels: Vec<Channel> =
            (0..clients).map(|_| put::connect(self.leader, Arc::clone(&self.client))).collect();
        let row = self.rows.fetch_add(1, Ordering::Relaxed);
        let call = move |channel: Channel, number: usize, sequence: u64| async move {
            let key = format!("bench/{row}/{number}/{sequence}");
            put::put(channel, key.as_bytes()).await
        };
        load::run(channels, Duration::from_secs(seconds), call).await
    }

    /// The node that a put shows to lead: the one whose own status names it.
    async fn find_leader(&self, ports: &[Ports]) -> Result<u16, BenchError> {
        let end = Instant::now() + Duration::from_secs(LEADER_S);
        while Instant::now() < end {
            for port in ports {
                let channel = put::connect(port.client, Arc::clone(&self.client));
                if put::leads(channel).await.unwrap_or(false) {
                    return Ok(port.client);
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
        Err(BenchError::NoLeader { waited_s: LEADER_S, logs: self.directory.clone() })
    }
}

impl Drop for EtcdCluster {
    fn drop(&mut self) {
        // A cluster without a leader leaves its logs, which the error names.
        if self.leader != 0 {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

fn start(
    binary: &EtcdBinary,
    directory: &Path,
    certificates: &Certificates,
    ports: &[Ports],
    node: usize,
) -> Result<Child, BenchError> {
    let own = ports.get(node).copied().unwrap_or(Ports { client: 0, peer: 0 });
    let url = |port: u16| format!("https://127.0.0.1:{port}");
    let all: Vec<String> =
        ports.iter().enumerate().map(|(node, ports)| format!("e{node}={}", url(ports.peer))).collect();
    let log_path = directory.join(format!("e{node}.log"));
    let log = File::create(&log_path).map_err(|source| BenchError::File { path: log_path, source })?;
    Command::new(&binary.server)
        .args(["--name", &format!("e{node}"), "--logger", "zap", "--log-level", "warn"])
        .arg("--data-dir")
        .arg(directory.join(format!("e{node}")))
        .args(["--listen-client-urls", &url(own.client), "--advertise-client-urls", &url(own.client)])
        .args(["--listen-peer-urls", &url(own.peer), "--initial-advertise-peer-urls", &url(own.peer)])
        .args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"])
        .args(["--client-cert-auth", "--peer-client-cert-auth"])
        .arg("--trusted-ca-file")
        .arg(&certificates.ca)
        .arg("--peer-trusted-ca-file")
        .arg(&certificates.ca)
        .arg("--cert-file")
        .arg(&certificates.certificate)
        .arg("--peer-cert-file")
        .arg(&certificates.certificate)
        .arg("--key-file")
        .arg(&certificates.key)
        .arg("--peer-key-file")
        .arg(&certificates.key)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| BenchError::Start { program: binary.server.clone(), source })
}

/// Ports on which nothing listens; all are held until all are known.
fn free_ports() -> Result<Vec<Ports>, BenchError> {
    let held: Vec<TcpListener> = (0..2 * NODES)
        .map(|_| TcpListener::bind(("127.0.0.1", 0)))
        .collect::<Result<_, _>>()
        .map_err(BenchError::Port)?;
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    let ports: Vec<u16> = held.iter().map(port).collect::<Result<_, _>>().map_err(BenchError::Port)?;
    Ok(ports
        .chunks_exact(2)
        .filter_map(|two| {
            let [client, peer] = *two else { return None };
            Some(Ports { client, peer })
        })
        .collect())
}
