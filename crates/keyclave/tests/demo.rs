//! The demo as everybody runs it: real processes, real files, every step.

use std::process::{Command, Stdio};

use serde_json::Value;

#[test]
fn every_step_of_the_demo_goes_well_and_nothing_is_left_behind() {
    let place = tempfile::Builder::new().prefix("kc").tempdir_in("/tmp").unwrap();
    let demo = Command::new(env!("CARGO_BIN_EXE_keyclave"))
        .args(["demo", "--output", "json"])
        .env("TMPDIR", place.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&demo.stderr);
    assert!(demo.status.success(), "{told}");
    let lines: Vec<_> = demo.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 1, "one object and nothing else");
    let object: Value = serde_json::from_slice(lines[0]).unwrap();
    assert_eq!(object["ok"], true);
    let steps = object["steps"].as_array().unwrap();
    for name in
        ["init", "encrypt", "decrypt", "rotate", "kill-leader", "unseal-cluster", "search", "verify-trail"]
    {
        let step = steps.iter().find(|step| step["name"] == name);
        let step = step.unwrap_or_else(|| panic!("no step {name}: {object}"));
        assert_eq!(step["ok"], true, "{name}");
        assert!(step["ms"].is_u64(), "{name}");
    }
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "its directories are gone");
}
