//! A container engine of the test's own: dockerd with its own data root and socket, gone with its directory at the end.
//! Without root, the engine that is there.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cluster_tests::live::{LiveError, until};
use rustix::process::{Pid, Signal, kill_process};

/// How long the daemon may take to start or to end.
const DAEMON: Duration = Duration::from_secs(30);
/// How long one command may take, the image's building and a container's stop included.
const COMMAND: Duration = Duration::from_secs(120);
/// Away from the networks that other engines take.
const POOL: &str = "10.213.0.0/16";

/// The engine, and where its client's files lie.
pub(crate) struct Engine {
    daemon: Option<Child>,
    passes: bool,
    directory: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Engine {
    /// An engine; or why there is none.
    pub(crate) async fn start(directory: &Path) -> Result<Self, LiveError> {
        std::fs::create_dir(directory).map_err(LiveError::system("making a directory"))?;
        let mut engine =
            Self { daemon: None, passes: false, directory: directory.to_owned(), environment: Vec::new() };
        engine.set("DOCKER_CONFIG", directory.join("client").display().to_string());
        engine.compose(&["version"]).await?;
        if rustix::process::geteuid().is_root() {
            engine.set("DOCKER_HOST", format!("unix://{}", directory.join("engine.sock").display()));
            engine.daemon = Some(engine.spawn()?);
            // Where bridged packets pass the machine's firewall, another engine's rules may drop ours. A machine without
            // a firewall needs no rule.
            engine.passes = engine.run("iptables", &among_containers("-I")).await.is_ok();
        }
        until(
            "the start of a container engine",
            if engine.daemon.is_some() { DAEMON } else { Duration::ZERO },
            async || engine.docker(&["info"]).await.map_err(|error| error.to_string()),
        )
        .await?;
        Ok(engine)
    }

    /// Sets a variable for every command.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.environment.push((name, value.into()));
    }

    /// Without rules of its own in the machine's firewall, which it would leave behind: ports are published by a process.
    fn spawn(&self) -> Result<Child, LiveError> {
        let at = |name: &str| self.directory.join(name).into_os_string();
        let log = std::fs::File::create(self.directory.join("engine.log"));
        let log = log.map_err(LiveError::system("making the engine's log"))?;
        let errors = log.try_clone().map_err(LiveError::system("making the engine's log"))?;
        // Told to end should the test's process go without doing so.
        Command::new("setpriv")
            .args([
                "--pdeathsig",
                "TERM",
                "dockerd",
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
            ])
            .args(["--default-address-pool", &format!("base={POOL},size=24"), "--shutdown-timeout", "5"])
            .args([OsStr::new("--data-root"), &at("data"), "--exec-root".as_ref(), &at("exec")])
            .args([OsStr::new("--pidfile"), &at("engine.pid")])
            .arg("--host")
            .arg(format!("unix://{}", self.directory.join("engine.sock").display()))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(LiveError::system("starting dockerd"))
    }

    /// `docker ARGUMENTS`; what it printed.
    pub(crate) async fn docker(&self, arguments: &[&str]) -> Result<String, LiveError> {
        self.run("docker", arguments).await
    }

    /// `docker compose ARGUMENTS`, or the older command of its own.
    pub(crate) async fn compose(&self, arguments: &[&str]) -> Result<String, LiveError> {
        match self.run("docker-compose", arguments).await {
            Err(LiveError::System { .. }) => self.docker(&[&["compose"], arguments].concat()).await,
            done => done,
        }
    }

    /// A program with the engine's environment; its standard output.
    pub(crate) async fn run(&self, program: &str, arguments: &[&str]) -> Result<String, LiveError> {
        let mut command = Command::new(program);
        command.args(arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        let (out, err) = (self.directory.join("stdout"), self.directory.join("stderr"));
        let file = |path| std::fs::File::create(path).map_err(LiveError::system("making a file"));
        command.stdin(Stdio::null()).stdout(file(&out)?).stderr(file(&err)?);
        let mut child = command.spawn().map_err(LiveError::system("starting a command of the engine"))?;
        let ended = until("a command of the engine", COMMAND, async || {
            child.try_wait().ok().flatten().ok_or_else(|| format!("{program} {}", arguments.join(" ")))
        })
        .await;
        let status = match ended {
            Ok(status) => status,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        let said = |path| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        if status.success() {
            return Ok(said(&out));
        }
        let command = format!("{program} {}", arguments.join(" "));
        Err(LiveError::Tool { command, said: format!("{status}: {} {}", said(&out), said(&err)) })
    }

    /// Ends the daemon, and with it its containers.
    pub(crate) async fn end(mut self) -> Result<(), LiveError> {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        terminate(&daemon);
        until("the end of the container engine", DAEMON, async || {
            daemon.try_wait().ok().flatten().ok_or_else(|| "dockerd runs on".to_owned())
        })
        .await?;
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // There is one only after a failure: the daemon stops its containers before it ends.
        if let Some(daemon) = &mut self.daemon {
            terminate(daemon);
            let _ = daemon.wait();
        }
        if self.passes {
            let _ = Command::new("iptables").args(among_containers("-D")).status();
        }
    }
}

/// A rule that lets containers of the test speak to each other.
fn among_containers(act: &str) -> [&str; 8] {
    [act, "FORWARD", "-s", POOL, "-d", POOL, "-j", "ACCEPT"]
}

fn terminate(daemon: &Child) {
    if let Some(pid) = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
}
