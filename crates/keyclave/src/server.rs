//! `keyclave server`: from flags and file to a running node, and from a sealed one to a fresh process.

mod join;

use std::future::Future;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use keyclave_client::cluster::JoinNode;
use keyclave_server::config::{Config, ConfigError, File};
use keyclave_server::hardening::{harden_process, raise_open_files};
use keyclave_server::joiner::joiner_of;
use keyclave_server::run::{RunError, Stopped, run};
use keyclave_server::telemetry;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::arguments::Connection;
use crate::arguments::serving::ServerArguments;
use crate::failure::{Failure, with_causes};
use crate::output::Shown;

/// Serves until told to stop. A sealed node's process is replaced by a fresh one, since wiping leaves copies behind.
pub(crate) fn serve(arguments: ServerArguments, connection: &Connection) -> Result<Shown, Failure> {
    // Before anything else: once the file was replaced by an update, its name leads elsewhere. Not known in a root
    // without /proc, which matters only once it is sealed.
    let binary = std::env::current_exe();
    harden_process().map_err(|error| Failure::from_error("HARDENING", &error))?;
    let config = config(arguments, connection.socket.as_deref())?;
    telemetry::start(config.log_format, config.log_level)
        .map_err(|error| Failure::from_error("TELEMETRY", &error))?;
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error("RUNTIME", &error))?;
    let joiner = joiner_of(|address, token, ask| {
        let (identity, addresses, boot_public_key) = (ask.member, ask.addresses, ask.boot_public);
        join::call(address, token, JoinNode { identity, addresses, boot_public_key })
    });
    let stopped = runtime.block_on(async { run(config, joiner, told_to_stop()?).await.map_err(failed) });
    // Threads that still hold something must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match stopped? {
        Stopped::Shutdown => Ok(Shown::nothing()),
        Stopped::Sealed => Err(start_anew(binary)),
    }
}

fn config(arguments: ServerArguments, socket: Option<&Path>) -> Result<Config, Failure> {
    let wrong = |error: ConfigError| Failure::usage(with_causes(&error));
    let file = match &arguments.config {
        Some(path) => File::read(path).map_err(wrong)?,
        None => File::default(),
    };
    let flags = File {
        data_dir: arguments.data_dir,
        runtime_dir: arguments.runtime_dir,
        socket: socket.map(PathBuf::from),
        listen: arguments.listen,
        peer_listen: arguments.peer_listen,
        health_listen: arguments.health_listen,
        advertise: arguments.advertise,
        client_advertise: arguments.client_advertise,
        join: arguments.join,
        join_token_file: arguments.join_token_file,
        peers: arguments.peers,
        tls_certificate: arguments.tls_certificate,
        tls_key: arguments.tls_key,
        purge_after: arguments.purge_after,
        log_format: None,
        log_level: None,
    };
    file.with(flags).complete().map_err(wrong)
}

/// Resolves at the first SIGTERM or SIGINT; a second one ends the process at once.
fn told_to_stop() -> Result<impl Future<Output = ()> + Send, Failure> {
    let of = |kind| signal(kind).map_err(|error| Failure::from_error("SIGNAL", &error));
    let (mut terminate, mut interrupt) = (of(SignalKind::terminate())?, of(SignalKind::interrupt())?);
    Ok(async move {
        either(&mut terminate, &mut interrupt).await;
        tokio::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            std::process::exit(1);
        });
    })
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// The same binary with the same arguments in the same process id; returns only if that fails.
fn start_anew(binary: io::Result<PathBuf>) -> Failure {
    let error = match binary {
        Ok(binary) => Command::new(binary).args(std::env::args_os().skip(1)).exec(),
        Err(error) => error,
    };
    Failure::failed("START_ANEW", format!("the sealed node's process cannot start anew: {error}"))
        .next("start it again; it holds no key any more")
}

fn failed(error: RunError) -> Failure {
    let next = match &error {
        RunError::Directory(_) => "name another directory with --data-dir, or stop the process that uses it",
        RunError::Listen { .. } => "name a free address with --listen, --peer-listen or --health-listen",
        RunError::Socket(_) => "name another path with --socket",
        RunError::JoinRefused { .. } => "make a fresh token with `keyclave operator join-token`",
        RunError::Disk(_)
        | RunError::Certificate(_)
        | RunError::Authority(_)
        | RunError::CertificateFile { .. }
        | RunError::Entropy(_)
        | RunError::Start(_)
        | RunError::JoinAnswer
        | RunError::Become(_)
        | RunError::NotServing { .. }
        | RunError::Ended(_) => "",
    };
    Failure::from_error("SERVER", &error).next(next)
}
