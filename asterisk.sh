#!/usr/bin/env bash
# Manages the service on this machine; see ./asterisk.sh --help.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$root"
# shellcheck source=deploy/environment.sh
. deploy/environment.sh
run=$root/.run
env_file=${ENV_FILE:-.env} # another one where a command is another user's, e.g. migrate the owner's
start_limit_s=${START_LIMIT_S:-30}
stop_limit_s=35 # a request under way has 27 s
end_limit_s=5 # what did not start has none

usage() {
  cat <<'TEXT'
Usage: ./asterisk.sh COMMAND

  start      start the service on SERVICE_PORT (8018) and wait until it answers; exit 1 if it cannot
             place calls. ROLE=follower, on FOLLOWER_PORT, is another service: it may run beside.
             A process that does not answer within START_LIMIT_S (30) seconds is ended
  stop       stop it; requests under way are finished first
  restart    new code and new settings take over the port: no request is lost, the old process finishes
             those under way. If the new one cannot start, the old one goes on; exit 1
  status     does it run, can it place calls? (exit 1: it cannot, 3: it does not run)
  logs       follow asterisk_service.log; arguments go to tail, e.g. logs -n 200
  test       send real requests to the running service, a verdict a line. With CLIENT_ID,
             TEST_CODE and TEST_PHONE in the environment one of them places a call.
  demo       a call through a stand-in PBX, told phase by phase: its own database, its own service on
             port 8018; Ctrl-C stops them. --port N takes another port, --once stops after the call,
             --version 11, 13, 16 or 22 is the Asterisk that the stand-in imitates
  sandbox [NUMBER [start|stop|status|remove] [--version V] [--incoming S]]
             have one enterprise ring nobody: a stand-in PBX on its ip, a process of its own beside the
             service; every answer to it says so. Without NUMBER: list them
  check [NUMBER] [--json]
             look at an enterprise's PBX end to end, or at all of them; rings nobody. Each line is
             good or has its remedy; exit 0 if nothing is bad
  migrate    create or update the database schema callapi
  renew-cursor-key
             end every cursor (`next` of a page) that was given out
  host-keys | forget-host-key HOST | accept-host-key HOST KEY
             the pinned SSH host keys; forget one when a PBX was really re-installed
  rules NUMBER [--dialling on|off] [--allowed P...] [--denied P...] [--extensions E...] [--audit on|off]
             [--webhooks on|off]
             what an enterprise may do; rules --help tells more
  keys NUMBER [add [--name NAME] [--until TIME] | end NAME [--at TIME]]
             an enterprise's secrets beside the one in its table; a new one is shown once
  webhooks NUMBER [add URL [--types T...] [--scope all] [--extension E] | remove ID | rotate ID | test ID |
             resend ID --since TIME | log ID | enable ID]
             where an enterprise's events are sent, signed; a secret is shown once
  audit [NUMBER] [--number P] [--call ID] [--actor NAME] [--since TIME] [--last N]
             who rang whom, listened, transferred, hung up, changed something; the newest first
  purge --number P [--yes]
             forget a person's number; without --yes only say how much there is

Settings are environment variables; those of .env, a NAME=VALUE a line, come before them (ENV_FILE
names another such file). docs/settings.md lists them.
TEXT
}

settings() { "$python" deploy/settings.py "$@"; }

# What .env says is only read: no value of it ever reaches a shell's parser.
load_env() {
  local pair pairs
  # Whoever names a file means it: without it another service's settings would hold.
  [ -n "${ENV_FILE:-}" ] || [ -e "$env_file" ] || return 0
  mapfile -d '' -t pairs < <(settings env "$env_file")
  wait "$!" || return 1
  for pair in "${pairs[@]}"; do export "${pair?}" || return 1; done
}

environment() {
  ensure_environment "$root/shared/requirements.txt" "$root/deploy/requirements.txt"
}

prepare() { environment && load_env; }

# Where our service's pid is, and what it prints. A follower has files of its own: it may run beside
# an API, of another ENV_FILE.
kept() { if [ "${ROLE:-}" = follower ]; then echo "$run/follower-$1"; else echo "$run/$1"; fi; }

command_of() { { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null; }

# The pid of our running service, or nothing: a pid file alone may be stale, or name another's, also
# another service of this folder, or of another one.
service_pid() {
  local pid name
  pid=$(cat "$(kept asterisk.pid)" 2>/dev/null) || return 0
  [ "/proc/$pid/cwd" -ef "$root" ] || return 0
  name=$(kept handover)
  case "$(command_of "$pid")" in
    *"deploy/serve.py "*"/${name##*/} " | *"asterisk.py ") echo "$pid" ;;
  esac
}

# Whether a process has not ended. One that ends has lost its command line before; one whose end
# nobody has asked about, as in a container without an init, is Z.
runs() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) && [[ ${stat##*) } != Z* ]]
}

# A service of before deploy/serve.py, or of none, has nothing that could hand its port over.
hands_over() { [[ $(command_of "$1") == *deploy/serve.py* ]]; }

smoke() { "$python" deploy/smoke.py "$@"; }

fail() {
  echo "❌ $*" >&2
  return 1
}

migrate() { "$python" -m shared.operate migrate --sweep; }

# Ends a process, by force if it takes too long: it leads a session, and its workers go with it.
end() { # pid, seconds
  local waited=0
  kill "$1" 2>/dev/null || true
  while runs "$1"; do
    if [ "$waited" -ge $(($2 * 10)) ]; then
      kill -KILL -- "-$1" 2>/dev/null || true
      # It takes a moment to be gone, and whatever it holds, as its port, is free no sooner.
      for ((waited = 0; waited < 50; waited++)); do
        kill -0 -- "-$1" 2>/dev/null || break
        sleep 0.1
      done
      return 1
    fi
    sleep 0.1
    waited=$((waited + 1))
  done
}

# What a process could not start by, of all that the console says since: its own sentence, or the end
# of a traceback.
why() { # the console's bytes before
  local console
  console=$(kept console.log)
  [ "$(stat -c %s "$console")" -ge "$1" ] || set -- 0 # it was begun anew meanwhile
  tail -c "+$(($1 + 1))" "$console" | grep -aE '^(❌ |[A-Za-z_.]+(Error|Exception): )' | tail -n 1
}

start() {
  local pid console said
  console=$(kept console.log)
  pid=$(service_pid)
  if [ -n "$pid" ]; then
    echo "Already running, pid $pid."
    smoke status
    return
  fi
  if smoke port-taken; then
    fail "Port $(settings get port) is another program's (ss -ltnp names it): end that, or set SERVICE_PORT, a follower's FOLLOWER_PORT"
    return
  fi
  migrate || echo "Starting nevertheless; calls will answer 503." >&2
  : >"$console"
  setsid nohup "$python" deploy/serve.py "$(kept handover)" >>"$console" 2>&1 </dev/null 9>&- &
  pid=$!
  echo "$pid" >"$(kept asterisk.pid)"
  if smoke wait "$pid" "$start_limit_s"; then
    echo "Started, pid $pid: $(settings url)/health"
    smoke status
    return
  fi
  said=$(why 0) || if runs "$pid"; then said="no answer within $start_limit_s s"; else said="it ended"; fi
  end "$pid" "$end_limit_s" || true
  rm -f "$(kept asterisk.pid)"
  fail "It did not start: ${said#❌ }; ${console#"$root"/} tells more"
}

stop() {
  local pid
  pid=$(service_pid)
  if [ -z "$pid" ]; then
    echo "Not running."
    return
  fi
  end "$pid" "$stop_limit_s" || echo "It did not stop within $stop_limit_s s; killed." >&2
  rm -f "$(kept asterisk.pid)"
  echo "Stopped."
}

restart() {
  local pid before said waited=0
  pid=$(service_pid)
  if [ -z "$pid" ] || ! hands_over "$pid"; then
    stop
    start
    return
  fi
  if ! said=$(migrate 2>&1); then
    fail "Not restarted, the old process goes on, pid $pid: ${said##*$'\n'}"
    return
  fi
  echo "$said"
  name=$(kept handover)
  before=$(stat -c %s "$(kept console.log)")
  rm -f "$name.outcome"
  # Whoever gives up leaves no settings to another's restart.
  trap 'rm -f "$name.environment"' EXIT
  env -0 >"$name.environment"
  kill -HUP "$pid"
  # Once it is taken, the outcome is that of this restart, not of one that was under way.
  until [ ! -e "$name.environment" ] && [ -e "$name.outcome" ]; do
    if ! runs "$pid" || [ "$waited" -ge $((stop_limit_s * 10)) ]; then break; fi
    sleep 0.1
    waited=$((waited + 1))
  done
  case "$(cat "$name.outcome" 2>/dev/null)" in
    ok)
      echo "Restarted, pid $pid: $(settings url)/health"
      smoke status
      return
      ;;
    failed) said=$(why "$before") || said="the new one ended, or took too long" ;;
    *) said="it did not answer; ./asterisk.sh stop, then start" ;;
  esac
  fail "Not restarted, the old process goes on, pid $pid: ${said#❌ }; $(kept console.log | sed "s|^$root/||") tells more"
}

status() {
  local pid port
  pid=$(service_pid)
  if [ -z "$pid" ]; then
    port=$(settings get port) || return 1
    if smoke port-taken; then
      echo "Not running; what listens on port $port is another program, as a unit of systemd's is: ss -ltnp names it."
    else
      echo "Not running."
    fi
    return 3
  fi
  echo "Running, pid $pid."
  smoke status
}

# Follows the log of the settings: `tail -F` would wait for one that never comes.
logs() {
  local log=${LOG_FILE-asterisk_service.log}
  if [ -z "$log" ]; then
    fail "LOG_FILE is empty, so there is no log: what is printed is in .run/console.log, or the journal"
  elif [ ! -f "$log" ]; then
    fail "$log is no file: ./asterisk.sh start makes it, unless LOG_FILE is elsewhere, as it is for systemd in /var/log"
  elif [ ! -r "$log" ]; then
    fail "$log is not yours to read: ask as its owner, e.g. by sudo"
  else
    exec tail "${@:--n50}" -F "$log"
  fi
}

# One start or stop at a time, whoever calls. What is written from here on, the log too, is nobody
# else's to read: it tells who called whom.
alone() {
  local said
  umask 077
  if ! said=$({ mkdir -p "$run" && chmod 700 "$run" && : >>"$run/lock"; } 2>&1); then
    fail "The folder .run cannot be used, which has to be this user's: $said"
    return
  fi
  exec 9>"$run/lock"
  flock 9
  "$@"
}

case "${1:-}" in
  start) prepare && settings check && alone start ;;
  stop)
    # Whose pid it is: what is wrong is told, and forbids no stop, unless it may be another's.
    [ ! -e "$run" ] || prepare || [ -z "${ENV_FILE:-}" ]
    alone stop
    ;;
  restart) prepare && settings check && alone restart ;;
  status) prepare && status ;;
  logs)
    prepare
    shift
    logs "$@"
    ;;
  test) prepare && smoke test ;;
  demo)
    environment && ensure_environment "$root/demo/requirements.txt"
    shift
    exec "$python" -m demo "$@"
    ;;
  sandbox)
    prepare && ensure_environment "$root/demo/requirements.txt"
    shift
    exec "$python" -m demo.sandbox "$@"
    ;;
  check | migrate | renew-cursor-key | host-keys | forget-host-key | accept-host-key | rules | keys | webhooks | audit | purge | sweep)
    prepare && exec "$python" -m shared.operate "$@"
    ;;
  -h | --help | help) usage ;;
  *)
    usage >&2
    exit 2
    ;;
esac
