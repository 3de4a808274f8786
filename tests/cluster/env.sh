# Sourced by every script here: where things are, whose cluster is used, and
# the few functions that the scripts share. Bash only; sourcing it starts nothing.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
LOCAL=$ROOT/.local
BIN=$LOCAL/bin
STATE=$LOCAL/cluster
HERE=$ROOT/tests/cluster
# Debian keeps administration tools in sbin, which not every root shell has in its PATH.
export PATH="$BIN:$PATH:/usr/sbin:/sbin"

# What of a running cluster must be found again even if its clone is gone lives
# under /run, by network namespace: ports and bridge are one per namespace.
RUN=/run/kubernaut-cluster/$(stat -L -c %i /proc/self/ns/net)
SOCKET=$RUN/containerd/containerd.sock
BRIDGE=kn0

# Raised when state made by an older version of these scripts cannot be taken over.
FORMAT=1

die() { echo "${0##*/}: $*" >&2; exit 1; }
say() { echo "${0##*/}: $*" >&2; }

# True when KUBECONFIG names a cluster other than ours: then nothing local is started or built.
foreign_cluster() {
  [ -n "${KUBECONFIG:-}" ] && [ "$(realpath -m -- "$KUBECONFIG")" != "$STATE/kubeconfig" ]
}

# Makes kubectl and helm, here and in every program started from here, speak to the cluster in use.
use_cluster() {
  foreign_cluster || export KUBECONFIG=$STATE/kubeconfig
  local tool
  for tool in kubectl helm; do
    command -v "$tool" >/dev/null || die "$tool is not in PATH (the local one is built by tests/cluster/build)"
  done
}

clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# watched WHAT LOG COMMAND…: runs a long command with its output in LOG; says how
# long it has taken and what it is at: in place on a terminal, else every 15 s.
watched() {
  local what=$1 log=$2 begun=$SECONDS pid status=0 every=15 shown=-15 at
  shift 2
  mkdir -p "$(dirname "$log")"
  # Made here: the command may open it later than it is first looked at.
  : >"$log"
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  # An interrupt must not leave a compiler running that nobody waits for.
  trap 'kill "$pid" 2>/dev/null; trap - INT TERM; kill -INT $$' INT TERM
  [ ! -t 2 ] || every=1
  while kill -0 "$pid" 2>/dev/null; do
    if [ $((SECONDS - begun - shown)) -ge $every ]; then
      shown=$((SECONDS - begun))
      at=$(tail -n 1 "$log" 2>/dev/null | tr -cd '[:print:]' | cut -c -60)
      if [ -t 2 ]; then printf '\r\033[K%s %s  %s' "$what" "$(clock "$shown")" "$at" >&2
      else echo "$what $(clock "$shown")  $at" >&2; fi
    fi
    sleep 0.2
  done
  trap - INT TERM
  wait "$pid" || status=$?
  if [ -t 2 ]; then printf '\r\033[K' >&2; fi
  if [ $status -ne 0 ]; then
    tail -n 40 "$log" >&2
    die "$what failed after $(clock $((SECONDS - begun))); all of its output is in $log"
  fi
  echo "$what done in $(clock $((SECONDS - begun)))" >&2
}

# A process is known by its id and the tick it began at: ids are reused, the pair is not.
begun_at() { # PID
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # The name, in brackets, may hold spaces; after it come the state (a zombie has ended) and, 20th, the tick.
  # shellcheck disable=SC2086 # fields
  set -- ${stat##*) }
  [ "$1" != Z ] || return 1
  echo "${20}"
}
# The id of the recorded process NAME, if it still is that process.
running() { # NAME
  local pid tick
  read -r pid tick 2>/dev/null <"$RUN/pid/$1" || return 1
  [ "$(begun_at "$pid")" = "$tick" ] && echo "$pid"
}

# Without its warning, at each call, that cgroup v1 is deprecated.
ctr() { command ctr --address "$SOCKET" --namespace k8s.io "$@" 2> >(grep -v 'level=warning' >&2); }
