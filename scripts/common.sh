# What the scripts beside this file share. To be sourced by bash.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools="$root/.tools"
# Used by the scripts that source this file.
# shellcheck disable=SC2034
python="$tools/venv/bin/python"

say() { printf '==> %s\n' "$*"; }

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# Becomes a server: to be called with & behind. It gets SIGTERM when this script ends, however that comes, and
# Ctrl-C on the terminal does not reach it: the script stops it in its turn.
become_server() {
  exec setpriv --pdeathsig TERM setsid "$@"
}

# Asks a process to stop, waits up to ten seconds, then kills it; does nothing when it is gone.
stop_process() {
  local pid=$1 tick
  kill -TERM "$pid" 2>/dev/null || return 0
  for ((tick = 0; tick < 100; tick++)); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
}

# Mount points below a directory, innermost first. The kernel writes spaces in them as \040.
mounts_below() {
  local directory=$1 point
  while read -r _ _ _ _ point _; do
    point=$(printf '%b' "$point")
    [[ $point == "$directory"/* ]] && printf '%s\n' "$point"
  done </proc/self/mountinfo | sort -r
}

unmount_below() {
  local point
  while IFS= read -r point; do
    say "unmounting $point, which was left mounted"
    fusermount3 -u "$point" 2>/dev/null || fusermount3 -u -z "$point" || umount -l "$point" || true
  done < <(mounts_below "$1")
}

# Waits until `file` is there, while `pid` lives; fails with the end of `log` otherwise.
wait_for_file() {
  local file=$1 pid=$2 log=$3 seconds=$4 tick
  for ((tick = 0; tick < seconds * 10; tick++)); do
    [[ -s $file ]] && return 0
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  [[ -s $file ]] && return 0
  tail -n 40 "$log" >&2
  return 1
}
