#!/usr/bin/env bash
# Builds the image without any other image: the static binary is compiled here.
#   docker/build.sh          lays out target/image and builds the image keyclave:dev from it
#   docker/build.sh layout   only lays out target/image (needs no container engine)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly IMAGE="${KEYCLAVE_IMAGE:-keyclave:dev}" LAYOUT=target/image

layout() {
    # The flag goes to the binary alone, which is what is linked, so everything else is shared with other builds.
    cargo rustc --locked --release --package keyclave --bin keyclave -- -C target-feature=+crt-static
    rm -rf "$LAYOUT"
    # The directories are there for their owner: a fresh volume takes after the directory that it is mounted over.
    mkdir -p "$LAYOUT"/directories/{var/lib/keyclave,run/keyclave,join}
    chmod 700 "$LAYOUT"/directories/{var/lib/keyclave,run/keyclave,join}
    # What is left at its place is not the dynamic binary that others expect there.
    mv target/release/keyclave "$LAYOUT/keyclave"
    chmod 755 "$LAYOUT/keyclave"
}

image() { docker build --file docker/Dockerfile --target local --tag "$IMAGE" .; }

case "${1:-all}" in
all) layout && image ;;
layout) layout ;;
image) image ;;
*) echo "usage: docker/build.sh [layout|image]" >&2 && exit 2 ;;
esac
