//! One server process: this very binary with the arguments of a node.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use keyclave_client::Client;
use keyclave_client::seal::SealStatus;
use keyclave_types::member::HostPort;
use rustix::process::{Pid, Signal, kill_process};

use super::place::NodePlace;
use super::wait::until;
use crate::failure::Failure;

/// How long a process may take until its socket answers.
const START: Duration = Duration::from_secs(20);
/// How long one question over its socket may take.
const QUESTION: Duration = Duration::from_secs(5);
/// How long it may take to end by itself.
const END: Duration = Duration::from_secs(10);
/// Lines of a log that are shown when a server ends by itself.
const LOG_LINES: usize = 5;

/// What one node is started with, each time alike.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Its number on this machine, from 1.
    pub(crate) number: usize,
    /// Its directories.
    pub(crate) place: NodePlace,
    /// Its client port.
    pub(crate) clients: SocketAddr,
    /// Its peer port.
    pub(crate) peers: SocketAddr,
    /// Its health port.
    pub(crate) health: SocketAddr,
    /// A cluster to join, and the file that will hold the token.
    pub(crate) join: Option<(SocketAddr, PathBuf)>,
}

/// Its running process. It is killed when this value goes, unless it is left.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    left: bool,
}

impl Node {
    /// Starts the process; its log is appended to.
    pub(crate) fn start(&self) -> Result<Process, Failure> {
        let wrong = |error: std::io::Error| {
            Failure::failed("START", format!("node {} cannot be started: {error}", self.number))
        };
        let log =
            OpenOptions::new().append(true).create(true).mode(0o600).open(&self.place.log).map_err(wrong)?;
        let child = Command::new(std::env::current_exe().map_err(wrong)?)
            .args(self.arguments())
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(wrong)?)
            .stderr(log)
            // Ctrl-C at the terminal is for the command, which then ends its servers.
            .process_group(0)
            .spawn()
            .map_err(wrong)?;
        Ok(Process { child, left: false })
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["server".into()];
        let mut flag = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        flag("--data-dir", self.place.data.clone().into());
        if let Some(runtime) = &self.place.runtime {
            flag("--runtime-dir", runtime.clone().into());
        }
        flag("--listen", self.clients.to_string().into());
        flag("--peer-listen", self.peers.to_string().into());
        flag("--health-listen", self.health.to_string().into());
        if let Some((address, token_file)) = &self.join {
            flag("--join", address.to_string().into());
            flag("--join-token-file", token_file.clone().into());
        }
        arguments
    }

    /// The client port's address as the SDK takes it.
    pub(crate) fn client_address(&self) -> HostPort {
        self.clients.to_string().parse().expect("an IPv4 address and a port that is not 0")
    }

    /// What clients connect to.
    pub(crate) fn endpoint(&self) -> String {
        format!("https://{}", self.clients)
    }

    /// A client over the operator's socket.
    pub(crate) fn over_socket(&self) -> Result<Client, Failure> {
        Client::local(&self.place.socket())
            .deadline(QUESTION)
            .build()
            .map_err(|error| Failure::from_error("CLIENT", &error))
    }

    /// Waits until the socket answers.
    pub(crate) async fn answers(&self, process: &mut Process) -> Result<SealStatus, Failure> {
        let client = self.over_socket()?;
        let mut ended = None;
        let what = format!("starting node {}", self.number);
        let found = until(&what, START, || {
            ended = process.ended();
            let (client, gone) = (client.clone(), ended.is_some());
            async move {
                if gone {
                    // Whatever is returned ends the waiting; the failure is made below.
                    return Ok(None);
                }
                client.seal_status().await.map(Some).map_err(|error| error.to_string())
            }
        });
        let found = found.await;
        match (found, ended) {
            (Ok(Some(status)), _) => Ok(status),
            (Ok(None), Some(status)) => Err(self.ended_by_itself(status)),
            (Ok(None), None) => Err(Failure::failed("START", format!("node {} gave no answer", self.number))),
            (Err(failure), _) => Err(failure.next(format!("read its log, {}", self.place.log.display()))),
        }
    }

    fn ended_by_itself(&self, status: ExitStatus) -> Failure {
        let log = std::fs::read_to_string(&self.place.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(LOG_LINES).collect();
        let last: Vec<_> = lines.into_iter().rev().collect();
        Failure::failed(
            "START",
            format!("node {} ended by itself ({status}):\n{}", self.number, last.join("\n")),
        )
        .next(format!("read its log, {}", self.place.log.display()))
    }
}

impl Process {
    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Kills it as a crash would: SIGKILL.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end: SIGTERM.
    pub(crate) fn ask_to_end(&self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits until it has ended; kills it if it does not.
    pub(crate) async fn end(&mut self) -> Result<(), Failure> {
        let ended = until("stopping a server", END, || {
            let ended = self.ended();
            std::future::ready(ended.ok_or_else(|| "it still runs".to_owned()))
        });
        match ended.await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::failed("STOP", format!("a server did not end well: {status}"))),
            Err(failure) => {
                self.kill();
                Err(failure)
            }
        }
    }

    /// Lets it run on when this value goes.
    pub(crate) fn leave(&mut self) {
        self.left = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.left {
            self.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command as Asked};
    use crate::local::place::Place;

    #[test]
    fn what_a_node_is_started_with_is_what_the_server_takes() {
        let place = Place::fresh().unwrap();
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let node = Node {
            number: 2,
            place: place.node(2),
            clients: address(21_001),
            peers: address(21_002),
            health: address(21_003),
            join: Some((address(21_004), place.root().join("token"))),
        };
        let line = std::iter::once(OsString::from("keyclave")).chain(node.arguments());
        let Asked::Server(server) = Arguments::try_parse_from(line).unwrap().command else {
            panic!("another command");
        };
        assert_eq!(server.data_dir, Some(node.place.data.clone()));
        assert_eq!(server.listen, Some(node.clients));
        assert_eq!(server.join.unwrap().port(), 21_004);
    }
}
