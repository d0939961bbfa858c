#!/usr/bin/env bash
# Starts and stops every service of this deployment; see ./all.sh --help.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$root/services.d
is_restart=
limit_s=${SERVICE_LIMIT_S:-300} # the first start of all installs its packages

usage() {
  cat <<'TEXT'
Usage: ./all.sh start | stop | restart | status

One line a service: a mark, its name, its exit status, and the last line that it said.

  start      every service, in the order of the files' names; what runs already stays as it is
  stop       every service, in the reverse order
  restart    stop all that have no restart of their own, then in order: restart, or start
  status     exit 3 if one does not run

A service is an executable file in services.d/, named NN-name (two digits), called with start, stop or
status: whoever adds a file there adds a service. One that has a line `# restart: its own` is called with
restart, too, and takes over from itself. It exits with
  0  done, or it runs well
  3  of status: it does not run
  6  it is not configured here, and left out
and with anything else where something is wrong; of what it says the last line is shown. What it starts
must not stay in the foreground: after SERVICE_LIMIT_S (300) seconds it is ended. One that fails stops
none of the others. Exit 1 if any did.
TEXT
}

# In the order of their names. What editors and package managers leave beside them is no service.
services() {
  local path
  for path in "$folder"/*; do
    if [[ ${path##*/} =~ ^[0-9]{2}-[A-Za-z0-9_-]+$ ]]; then echo "$path"; fi
  done
}

# Whether it takes over from itself. It has to say so: what knows no restart may do nothing and exit 0.
restarts_itself() { grep -aqx '# restart: its own' "$1" 2>/dev/null; }

# Runs one service; says its line and returns its exit status. What it prints goes into a file: a
# daemon that it leaves behind may keep a pipe open for ever.
run() { # path, command
  local name mark said status=0
  name=${1##*/}
  if [ ! -f "$1" ] || [ ! -x "$1" ]; then
    echo "❌ $name [126] is no executable file: chmod +x services.d/$name"
    return 126
  fi
  timeout --kill-after=5 "$limit_s" "$1" "$2" >"$output" 2>&1 </dev/null 9>&- || status=$?
  said=$(grep -a . "$output" | tail -n 1)
  said=${said#✅ } said=${said#❌ } # the mark is ours
  if [ "$status" -eq 0 ]; then mark='✅'; else mark='❌'; fi
  case "$status" in
    6) mark='➖' ;;
    3) if [ "$2" = status ]; then mark='➖'; fi ;;
    124 | 137) said="did not finish within $limit_s s and was ended; before that: $said" ;;
  esac
  printf '%s %s [%d] %s\n' "$mark" "$name" "$status" "${said:-said nothing}"
  return "$status"
}

# Runs all of them; 0, or 1 if one failed, or 3 if all that is wrong is that one does not run.
all() { # command
  local path command status worst=0 paths
  mapfile -t paths < <(if [ "$1" = stop ]; then services | tac; else services; fi)
  if [ "${#paths[@]}" -eq 0 ]; then
    echo "There is no service in services.d/." >&2
    return 1
  fi
  for path in "${paths[@]}"; do
    status=0 command=$1
    if [ -n "$is_restart" ] && restarts_itself "$path"; then
      [ "$1" = start ] || continue
      command=restart
    fi
    run "$path" "$command" || status=$?
    case "$command $status" in
      *' 0' | *' 6') ;;
      'status 3') [ "$worst" -ne 0 ] || worst=3 ;;
      *) worst=1 ;;
    esac
  done
  return "$worst"
}

restart() {
  local status=0
  is_restart=yes
  all stop || status=$?
  all start || status=$?
  return "$status"
}

case "${1:-}" in
  start | stop | restart | status)
    [ "$#" -eq 1 ] || { usage >&2; exit 2; }
    ;;
  -h | --help | help) usage; exit ;;
  *) usage >&2; exit 2 ;;
esac

umask 077
mkdir -p "$root/.run"
output=$(mktemp)
trap 'rm -f "$output"' EXIT
if [ "$1" != status ]; then # one start or stop at a time, whoever calls
  exec 9>"$root/.run/all.lock"
  flock 9
fi
if [ "$1" = restart ]; then restart; else all "$1"; fi
