//! One server process: started, killed, stopped and let go on.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use keyclave_client::Client;
use keyclave_types::member::HostPort;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::LiveError;

/// How long a process may take until its socket answers, or until it ends.
const START: Duration = Duration::from_secs(20);
/// How long one question over its socket may take.
const QUESTION: Duration = Duration::from_secs(5);
/// Between two looks at something that another process does.
const REST: Duration = Duration::from_millis(30);
/// Lines of a log that are shown when a server ends by itself.
const LOG_LINES: usize = 12;

/// What one node is started with, each time alike.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its number in the test, from 1.
    pub number: usize,
    /// Its data directory.
    pub data: PathBuf,
    /// Its runtime directory.
    pub runtime: Option<PathBuf>,
    /// Where its log goes.
    pub log: PathBuf,
    /// Its client port.
    pub clients: SocketAddr,
    /// Its peer port.
    pub peers: SocketAddr,
    /// Its health port.
    pub health: SocketAddr,
    /// A cluster to join, and the file that will hold the token.
    pub join: Option<(SocketAddr, PathBuf)>,
    /// A command that runs the server as its arguments, as `ip netns exec NAME` does; empty for none.
    pub within: Vec<OsString>,
}

/// Its running process; killed when this value goes.
#[derive(Debug)]
pub struct Server {
    number: usize,
    child: Child,
    log: PathBuf,
}

impl Node {
    /// Starts the process; its log is appended to.
    pub fn start(&self) -> Result<Server, LiveError> {
        let log = std::fs::OpenOptions::new().append(true).create(true).open(&self.log);
        let log = log.map_err(LiveError::system("opening a server's log"))?;
        let errors = log.try_clone().map_err(LiveError::system("opening a server's log"))?;
        let mut words = self.within.clone();
        words.push(binary()?.into());
        words.extend(self.arguments());
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        let child = command.spawn().map_err(LiveError::system("starting a server"))?;
        Ok(Server { number: self.number, child, log: self.log.clone() })
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["server".into()];
        let mut flag = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        flag("--data-dir", self.data.clone().into());
        if let Some(runtime) = &self.runtime {
            flag("--runtime-dir", runtime.clone().into());
        }
        flag("--socket", self.socket().into());
        flag("--listen", self.clients.to_string().into());
        flag("--peer-listen", self.peers.to_string().into());
        flag("--health-listen", self.health.to_string().into());
        // Stores are rewritten under every test's load, a while after it has destroyed something.
        flag("--purge-after", "1s".into());
        if let Some((address, token_file)) = &self.join {
            flag("--join", address.to_string().into());
            flag("--join-token-file", token_file.clone().into());
        }
        arguments
    }

    /// Beside the log and not in the data directory, so that it outlives a file system that goes away.
    fn socket(&self) -> PathBuf {
        self.log.with_extension("sock")
    }

    /// The client port's address as the SDK takes it.
    pub fn client_address(&self) -> HostPort {
        self.clients.to_string().parse().expect("an address and a port that is not 0")
    }

    /// A client over the operator's socket.
    pub fn over_socket(&self) -> Result<Client, LiveError> {
        Ok(Client::local(&self.socket()).deadline(QUESTION).build()?)
    }

    /// Waits until the socket answers.
    pub async fn answers(&self, server: &mut Server) -> Result<(), LiveError> {
        let client = self.over_socket()?;
        let answered = until("starting a node", START, async || match client.seal_status().await {
            Ok(_) => Ok(None),
            Err(error) => server.ended().map(Some).ok_or_else(|| error.to_string()),
        });
        match answered.await? {
            None => Ok(()),
            Some(status) => {
                Err(LiveError::Ended { number: self.number, status, log: end_of(&self.log, LOG_LINES) })
            }
        }
    }
}

impl Server {
    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until it ends by itself; how, and the end of its log.
    pub async fn end(&mut self) -> Result<(ExitStatus, String), LiveError> {
        let ended = until("the end of a server", START, async || {
            self.ended().ok_or_else(|| format!("node {} runs on", self.number))
        });
        let status = ended.await?;
        Ok((status, end_of(&self.log, LOG_LINES)))
    }

    /// Its process; a seal replaces what runs in it and keeps the number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, as a crash.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGSTOP: it is there and does nothing.
    pub fn stop(&self) -> Result<(), LiveError> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT: it goes on as if no time had passed.
    pub fn go_on(&self) -> Result<(), LiveError> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), LiveError> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(LiveError::Node(self.number))?;
        kill_process(pid, signal).map_err(|error| LiveError::system("sending a signal")(error.into()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Looks until there is something; after `limit` fails with what was missing at the last look.
pub async fn until<T, Look>(what: &'static str, limit: Duration, mut look: Look) -> Result<T, LiveError>
where
    Look: AsyncFnMut() -> Result<T, String>,
{
    let end = Instant::now() + limit;
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(missing) if Instant::now() >= end => {
                return Err(LiveError::TimedOut { what, limit, missing });
            }
            Err(_) => sleep(REST).await,
        }
    }
}

/// The last lines of a file.
fn end_of(path: &Path, count: usize) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(count).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// The product: beside this test in the target directory, whichever profile it was built in.
fn binary() -> Result<PathBuf, LiveError> {
    if let Some(named) = std::env::var_os("KEYCLAVE_BINARY") {
        return Ok(named.into());
    }
    let test = std::env::current_exe().map_err(LiveError::system("finding this test's own file"))?;
    // target/PROFILE/deps/TEST
    let beside = test.ancestors().nth(2).unwrap_or(Path::new(".")).join("keyclave");
    if beside.is_file() { Ok(beside) } else { Err(LiveError::Binary(beside)) }
}
