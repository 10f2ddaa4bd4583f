//! The README's five minutes, as they stand there: every line of the block is run, and must work.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a slow machine may need for all of it.
const TOUR_SECONDS_MAX: u64 = 90;

fn tour() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(path).expect("the README is in the checkout");
    let (_, section) = readme.split_once("## Five minutes").expect("the README has a tour");
    let (_, block) = section.split_once("```sh\n").expect("the tour begins as a shell block");
    let (block, _) = block.split_once("```").expect("the tour's block ends");
    assert!(block.lines().count() > 20, "the tour was not found in the README");
    block.to_owned()
}

#[test]
fn every_line_of_the_readmes_tour_works() {
    let directory = tempfile::tempdir().unwrap();
    let script = format!("set -euo pipefail\n{}\necho the tour has ended\n", tour());
    std::fs::write(directory.path().join("tour.sh"), script).unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_keyclave")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let output = std::fs::File::create(directory.path().join("output")).unwrap();
    let mut running = Command::new("bash")
        .arg("tour.sh")
        .current_dir(directory.path())
        .env("PATH", path)
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        // A group of its own, so that the servers it leaves behind can be ended with it.
        .process_group(0)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(TOUR_SECONDS_MAX);
    let status = loop {
        match running.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    let group = format!("-{}", running.id());
    let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
    let _ = running.wait();
    let mut told = String::new();
    for name in ["output", "node1.log", "node2.log"] {
        if let Ok(mut file) = std::fs::File::open(directory.path().join(name)) {
            file.read_to_string(&mut told).unwrap();
        }
    }
    assert!(status.is_some_and(|status| status.success()), "{told}");
    assert!(told.contains("the tour has ended"), "{told}");
    assert!(told.matches("the plan").count() >= 3, "{told}");
}
