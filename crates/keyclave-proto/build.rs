//! Generates the wire types: every file under `proto/` goes through protox (so no protoc is needed) and
//! tonic-prost-build. Next to them it writes the descriptor sets and the list of all RPCs.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost_types::{FileDescriptorProto, FileDescriptorSet};
use protox::prost::Message as _;

/// The API that clients see.
const CLIENT_PACKAGE: &str = "keyclave.v1";

/// Messages that hold a plaintext, a credential or a share. `src/redacted.rs` gives them a `Debug` that prints
/// their name only; a message missing there does not compile.
const WITHOUT_DEBUG: [&str; 18] = [
    ".keyclave.v1.EncryptRequest",
    ".keyclave.v1.EncryptItem",
    ".keyclave.v1.DecryptResponse",
    ".keyclave.v1.DecryptedItem",
    ".keyclave.v1.SubmitShareRequest",
    ".keyclave.v1.ResetCeremonyRequest",
    ".keyclave.v1.AdmitRequest",
    ".keyclave.v1.CreateTokenResponse",
    ".keyclave.v1.LoginRequest",
    ".keyclave.v1.LoginResponse",
    ".keyclave.v1.InitResponse",
    ".keyclave.v1.JoinRequest",
    ".keyclave.v1.CreateJoinTokenResponse",
    ".keyclave.peer.v1.ForwardRequest",
    ".keyclave.peer.v1.ForwardResponse",
    ".keyclave.peer.v1.ForwardResponse.outcome",
    ".keyclave.peer.v1.RejoinRequest",
    ".keyclave.peer.v1.RelayShareRequest",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();

    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let client = FileDescriptorSet {
        file: descriptors.file.iter().filter(|f| f.package() == CLIENT_PACKAGE).cloned().collect(),
    };
    fs::write(out.join("client_descriptors.bin"), client.encode_to_vec())?;
    fs::write(out.join("rpcs.rs"), rpcs(&descriptors.file))?;
    tonic_prost_build::configure().skip_debug(WITHOUT_DEBUG).compile_fds(descriptors)?;
    Ok(())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

/// `&[Rpc { .. }, ..]`, in the order of the files.
fn rpcs(files: &[FileDescriptorProto]) -> String {
    let mut list = String::from("&[\n");
    for file in files {
        for service in &file.service {
            for method in &service.method {
                let (package, service, method) = (file.package(), service.name(), method.name());
                list.push_str(&format!(
                    "Rpc {{ package: {package:?}, service: {service:?}, method: {method:?}, \
                     path: \"/{package}.{service}/{method}\" }},\n"
                ));
            }
        }
    }
    list.push(']');
    list
}
