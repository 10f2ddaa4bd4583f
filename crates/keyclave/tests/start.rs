//! What `keyclave server` says when it is told what cannot be: each ends with wrong usage and names what is wrong, and
//! nothing is made.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// How many bytes the kernel takes as the path of a socket, its closing zero included.
const SOCKET_PATH_BYTES: usize = 108;

/// What is said on standard error by a server that must end with status 2.
fn refused(arguments: &[&str]) -> String {
    let output = server(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(said.lines().count() < 10 && !said.contains("panicked"), "{said}");
    said
}

fn server(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyclave"));
    command.arg("server").args(arguments);
    command.args([
        "--listen",
        "127.0.0.1:1",
        "--peer-listen",
        "127.0.0.1:2",
        "--health-listen",
        "127.0.0.1:3",
    ]);
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_configuration_that_cannot_be_read_is_named_with_the_reason() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let (absent, directory, binary, locked) = (at("absent"), at("directory"), at("binary"), at("locked"));
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(&binary, b"data_dir = '\xff\xfe'").unwrap();
    std::fs::write(&locked, b"data_dir = '/d'").unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
    let mut cases = vec![
        (&absent, "No such file or directory"),
        (&directory, "Is a directory"),
        (&binary, "valid UTF-8"),
    ];
    // Whoever may read everything can read this one too.
    if std::fs::read(&locked).is_err() {
        cases.push((&locked, "Permission denied"));
    }
    for (path, why) in cases {
        let said = refused(&["--config", text(path)]);
        assert!(said.contains(text(path)) && said.contains(why), "{said}");
    }
}

#[test]
fn an_unknown_field_is_named_with_its_line_and_nothing_is_made() {
    let place = tempfile::tempdir().unwrap();
    let (config, data) = (place.path().join("keyclave.toml"), place.path().join("data"));
    for (line, named) in [
        ("tls_disabled = true", "tls_disabled"),
        ("listen = 7420", "listen"),
        ("log_level = 'everything'", "everything"),
        ("[seal]", "seal"),
        ("data_dir = '/twice'", "data_dir"),
        ("= 1", "line 2"),
    ] {
        std::fs::write(&config, format!("data_dir = '{}'\n{line}\n", text(&data))).unwrap();
        let said = refused(&["--config", text(&config)]);
        assert!(said.contains(text(&config)) && said.contains(named) && said.contains("line 2"), "{said}");
        assert!(!data.exists(), "{line}: a directory was made");
    }
}

#[test]
fn a_socket_path_that_the_kernel_would_cut_is_refused_with_its_length_and_the_way_out() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("d".repeat(SOCKET_PATH_BYTES));
    let said = refused(&["--data-dir", text(&data)]);
    assert!(said.contains("bytes long") && said.contains("--socket"), "{said}");
    let long = place.path().join("s".repeat(SOCKET_PATH_BYTES));
    let said = refused(&["--data-dir", text(place.path()), "--socket", text(&long)]);
    assert!(said.contains(text(&long)) && said.contains("at most 107"), "{said}");
    assert!(!data.exists());
    // With a short path beside it, a long data directory and a long runtime directory are no matter: this one fails
    // only at the ports, which come after.
    let (socket, runtime) = (place.path().join("s"), place.path().join("r".repeat(SOCKET_PATH_BYTES)));
    let output =
        server(&["--data-dir", text(&data), "--socket", text(&socket), "--runtime-dir", text(&runtime)])
            .args(["--tls-certificate", "/nowhere", "--tls-key", "/nowhere"])
            .output()
            .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("bytes long") && output.status.code() == Some(1), "{said}");
}
