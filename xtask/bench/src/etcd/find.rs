//! etcd's binary: the one that is installed, or Debian's, unpacked beside the build without installing it.

use std::path::{Path, PathBuf};

use tokio::process::Command;

/// Debian's package that holds the server.
const PACKAGE: &str = "etcd-server";

/// The server and what it calls itself.
pub(crate) struct EtcdBinary {
    /// Where.
    pub(crate) server: PathBuf,
    /// Its version.
    pub(crate) version: String,
}

/// Finds or fetches it; otherwise says why there is none.
pub(crate) async fn find(scratch: &Path) -> Result<EtcdBinary, String> {
    let unpacked = scratch.join("unpacked");
    let server = unpacked.join("usr/bin/etcd");
    for candidate in [PathBuf::from("etcd"), server.clone()] {
        if let Some(version) = version(&candidate).await {
            return Ok(EtcdBinary { server: candidate, version });
        }
    }
    fetch(scratch, &unpacked).await?;
    let version = version(&server).await.ok_or_else(|| format!("{} does not run", server.display()))?;
    Ok(EtcdBinary { server, version })
}

async fn version(server: &Path) -> Option<String> {
    let output =
        Command::new(server).arg("--version").output().await.ok().filter(|out| out.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next()?.strip_prefix("etcd Version: ").map(str::to_owned)
}

/// Needs no rights: apt-get's `download` only fetches.
async fn fetch(scratch: &Path, unpacked: &Path) -> Result<(), String> {
    std::fs::create_dir_all(unpacked).map_err(|error| format!("{}: {error}", unpacked.display()))?;
    run(Command::new("apt-get").args(["download", PACKAGE]).current_dir(scratch)).await?;
    let files = std::fs::read_dir(scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
    let package = files.filter_map(Result::ok).map(|file| file.path()).find(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with(PACKAGE) && name.ends_with(".deb")
    });
    let package = package.ok_or_else(|| format!("apt-get fetched no {PACKAGE}"))?;
    run(Command::new("dpkg-deb").arg("-x").arg(package).arg(unpacked)).await
}

async fn run(command: &mut Command) -> Result<(), String> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let output =
        command.output().await.map_err(|error| format!("etcd is not here, and {program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("etcd is not here, and {program} ended with {}: {said}", output.status))
}
