#!/usr/bin/env bash
# Manages the service on this machine; see ./asterisk.sh --help.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$root"
# shellcheck source=deploy/environment.sh
. deploy/environment.sh
run=$root/.run
stop_limit_s=35 # a request under way has 27 s

usage() {
  cat <<'TEXT'
Usage: ./asterisk.sh COMMAND

  start      start the service (port 8018) and wait until it answers
  stop       stop it; requests under way are finished first
  restart    stop, then start
  status     is it running, does it answer, has it a database? (exit 3: it does not run)
  logs       follow asterisk_service.log; arguments go to tail, e.g. logs -n 200
  test       send real requests to the running service, a verdict a line. With CLIENT_ID,
             TEST_CODE and TEST_PHONE in the environment one of them places a call.
  demo       a call through a stand-in PBX: its own database, its own service on port 8018;
             Ctrl-C stops them. --port N takes another port, --once stops after the call
  migrate    create or update the database schema callapi
  host-keys | forget-host-key HOST | accept-host-key HOST KEY
             the pinned SSH host keys; forget one when a PBX was really re-installed
  rules NUMBER [--dialling on|off] [--allowed P...] [--denied P...] [--extensions E...]
             what an enterprise may do; rules --help tells more

Settings are environment variables, read from .env too; README.md lists them.
TEXT
}

load_env() {
  if [ -f .env ]; then
    set -a
    # shellcheck disable=SC1091 # the operator's own file
    . ./.env
    set +a
  fi
}

environment() {
  ensure_environment "$root/shared/requirements.txt" "$root/deploy/requirements.txt"
}

setting() { "$python" -c "from shared.settings import load_settings as s; print(s().$1)"; }

# The pid of our running service, or nothing: a pid file alone may be stale, or name another's.
service_pid() {
  local pid
  pid=$(cat "$run/asterisk.pid" 2>/dev/null) || return 0
  if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q 'asterisk\.py'; then echo "$pid"; fi
}

smoke() { "$python" deploy/smoke.py "$@"; }

start() {
  local pid
  pid=$(service_pid)
  if [ -n "$pid" ]; then
    echo "Already running, pid $pid."
    return
  fi
  if smoke port-taken; then
    echo "Port $(setting service_port) is in use by another program; set SERVICE_PORT." >&2
    return 1
  fi
  { "$python" -m shared.operate migrate && "$python" -m shared.operate sweep; } || echo "Starting nevertheless; calls will answer 503." >&2
  setsid nohup "$python" asterisk.py >"$run/console.log" 2>&1 </dev/null 9>&- &
  pid=$!
  echo "$pid" >"$run/asterisk.pid"
  if smoke wait "$pid"; then
    echo "Started, pid $pid: http://127.0.0.1:$(setting service_port)/health"
  else
    echo "It did not start; the end of .run/console.log:" >&2
    tail -n 15 "$run/console.log" >&2
    kill "$pid" 2>/dev/null || true
    return 1
  fi
}

stop() {
  local pid waited=0
  pid=$(service_pid)
  if [ -z "$pid" ]; then
    echo "Not running."
    return
  fi
  kill "$pid"
  while [ -n "$(service_pid)" ]; do
    if [ "$waited" -ge $((stop_limit_s * 10)) ]; then
      echo "It did not stop within $stop_limit_s s; killed." >&2
      kill -KILL "$pid"
      break
    fi
    sleep 0.1
    waited=$((waited + 1))
  done
  rm -f "$run/asterisk.pid"
  echo "Stopped."
}

status() {
  local pid
  pid=$(service_pid)
  if [ -z "$pid" ]; then
    echo "Not running."
    return 3
  fi
  echo "Running, pid $pid."
  smoke status
}

# One start or stop at a time, whoever calls.
alone() {
  mkdir -p "$run"
  exec 9>"$run/lock"
  flock 9
  "$@"
}

case "${1:-}" in
  start) load_env && environment && alone start ;;
  stop) load_env && alone stop ;;
  restart) load_env && environment && alone stop && start ;;
  status) load_env && environment && status ;;
  logs)
    load_env
    shift
    exec tail "${@:--n50}" -F "${LOG_FILE:-asterisk_service.log}"
    ;;
  test) load_env && environment && smoke test ;;
  demo)
    environment && ensure_environment "$root/demo/requirements.txt"
    shift
    exec "$python" -m demo "$@"
    ;;
  migrate | host-keys | forget-host-key | accept-host-key | rules | sweep)
    load_env && environment && exec "$python" -m shared.operate "$@"
    ;;
  -h | --help | help) usage ;;
  *)
    usage >&2
    exit 2
    ;;
esac
