#!/usr/bin/env bash
# Makes a cluster of the three containers of docker/compose.yaml, which must run: initialises the first, gives back a
# threshold of the shares, and lets the others join with one token each. The shares and the root token are shown once;
# they are written to docker/shown-once (or the directory given), for their owner alone. Hand each share to another
# person and remove the directory.
#   docker/setup.sh [DIRECTORY]
set -euo pipefail
umask 077

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
shown="${1:-$here/shown-once}"
readonly here shown SHARES=5 THRESHOLD=3 SETTLE_SECONDS_MAX=60

if docker compose version >/dev/null 2>&1; then
    compose() { docker compose --file "$here/compose.yaml" "$@"; }
else
    compose() { docker-compose --file "$here/compose.yaml" "$@"; }
fi

fail() {
    echo "setup: $*" >&2
    exit 1
}

# The id of a service's container, which must be there.
container() {
    local id
    id="$(compose ps -q "$1")"
    [[ -n "$id" ]] || fail "$1 is not there: first \`docker compose --file $here/compose.yaml up -d\`"
    printf '%s' "$id"
}

# Runs keyclave in the first container, over the operator's socket; what is secret goes in on standard input.
keyclave() { docker exec -i "$first" /keyclave "$@" --socket /var/lib/keyclave/keyclave.sock; }

# Waits until a container's health is the word given.
until_health() {
    local id="$1" wanted="$2" word='' begun=$SECONDS
    until word="$(docker exec "$id" /keyclave operator health 2>&1)" && [[ "$word" == "$wanted" ]]; do
        ((SECONDS - begun < SETTLE_SECONDS_MAX)) || fail "${3:-a node} is not $wanted after $SETTLE_SECONDS_MAX s: $word"
        sleep 0.3
    done
}

first="$(container node1)"
[[ ! -e "$shown/root.token" ]] || fail "$shown holds the secrets of a cluster already: move it away"
mkdir -p "$shown"

until_health "$first" vacant node1
keyclave operator init --shares "$SHARES" --threshold "$THRESHOLD" >"$shown/init.txt" </dev/null
grep -o 'kclo_[A-Za-z0-9]*' "$shown/init.txt" >"$shown/root.token"
sed -n '/BEGIN CERTIFICATE/,/END CERTIFICATE/p' "$shown/init.txt" >"$shown/ca.pem"
for number in $(seq "$SHARES"); do
    grep -o 'kcsh1-[A-Za-z0-9-]*' "$shown/init.txt" | sed -n "${number}p" >"$shown/share-$number"
done
rm "$shown/init.txt"
echo "setup: node1 is initialised; $SHARES shares, the root token and the CA's certificate are in $shown"

for number in $(seq "$THRESHOLD"); do
    keyclave operator unseal <"$shown/share-$number"
done
until_health "$first" unsealed node1

for node in node2 node3; do
    id="$(container "$node")"
    keyclave --token-file /dev/stdin operator join-token --out "/join/$node.token" <"$shown/root.token" >/dev/null
    until_health "$id" unsealed "$node"
    echo "setup: $node has joined and is unsealed"
done

cat <<END
setup: done. To use it from this machine:
  export KEYCLAVE_ENDPOINTS=https://127.0.0.1:${KEYCLAVE_PORT_1:-7420},https://127.0.0.1:${KEYCLAVE_PORT_2:-7430},https://127.0.0.1:${KEYCLAVE_PORT_3:-7440}
  export KEYCLAVE_CACERT=$shown/ca.pem KEYCLAVE_TOKEN=\$(cat $shown/root.token)
  keyclave operator status
END
