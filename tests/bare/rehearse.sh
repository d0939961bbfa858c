#!/usr/bin/env bash
# Rehearses a bare machine; see `rehearse.sh --help`.
set -euo pipefail

usage() {
  cat <<'EOF'
The two commands of README.md, as a stranger meets them: in a minimal system that has Python and its
venv alone, by an ordinary user, from a clean clone.

  rehearse.sh [SUITE]     bookworm (Debian 12, Python 3.11), trixie (Debian 13, 3.13) or noble (Ubuntu
                          24.04, 3.12); bookworm unless one is named
  --demo                  the first of the two commands alone: how long it takes until a call is placed
  --worktree              the files as they are here, uncommitted ones too, instead of a clone of HEAD

Runs as root on Debian or Ubuntu. Takes about two minutes, the first time one more and 0.7 GB:
the system is kept, the user's home is made anew. No process and no mount stays.
  BARE_DIR     where the system lies (default /var/tmp/bare-machine, with -SUITE of others than bookworm); its
               logs lie beside it
  BARE_MIRROR  the mirror (default: the one apt uses, for Ubuntu the folder /ubuntu beside its /debian)

  BARE_PORT    the port of the demo, where 8018 is not free

A mirror that has no Ubuntu is said, and is no failure: exit 77.

pip uses this machine's package index: its PIP_* and *_proxy variables, configuration files and
certificates. The network is this machine's too, so port 8018 must be free.
EOF
}

say() { printf 'rehearse.sh: [%3d s] %s\n' "$SECONDS" "$*"; }
die() {
  echo "rehearse.sh: $*" >&2
  exit 1
}

worktree='' demo='' suite=bookworm
for argument in "$@"; do
  case "$argument" in
    bookworm | trixie | noble) suite=$argument ;;
    --demo) demo=yes ;;
    --worktree) worktree=yes ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
[ "$EUID" -eq 0 ] || die "must be run as root, for it mounts and changes root."

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=tests/debian.sh
. "$project/tests/debian.sh"
# The kernel names a process's root without symbolic links; of_this_machine() compares with it.
other=-$suite
[ "$suite" != bookworm ] || other=''
root=$(realpath -m "${BARE_DIR:-/var/tmp/bare-machine$other}")
user=stranger
home=/home/$user
clone=$home/project
# What runs, a process group of its own. In the background, or a signal to this script would reach
# its trap only when the job is done.
job=''

# --- installing -------------------------------------------------------------------------

install_tools() {
  if command -v debootstrap && command -v git; then return; fi >/dev/null
  command -v apt-get >/dev/null || die "needs apt-get: only Debian and Ubuntu will do."
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap git; } \
    >"$root.apt.log" 2>&1 || die "apt-get cannot install debootstrap and git: see $root.apt.log."
}

# Debian's debootstrap has neither Ubuntu's script of this suite nor its keys: the script is the same as of
# all since gutsy, and the keys are Ubuntu's own package, which is known by its digest.
keyring_deb=pool/main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1_all.deb
keyring_digest=36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8
ubuntu_options() { # the mirror; sets options and script
  local deb=$root.keyring.deb
  python3 - "$1/$keyring_deb" "$deb" <<'PYTHON' || return 1
import sys, urllib.request
open(sys.argv[2], "wb").write(urllib.request.urlopen(sys.argv[1], timeout=30).read())
PYTHON
  echo "$keyring_digest  $deb" | sha256sum --check --quiet || die "Ubuntu's keys are not the known ones."
  dpkg-deb --extract "$deb" "$root.keyring"
  options+=("--components=main,universe" "--keyring=$root.keyring/usr/share/keyrings/ubuntu-archive-keyring.gpg")
  script=(/usr/share/debootstrap/scripts/gutsy)
}

install_system() {
  [ -d "$root" ] && return
  local site log=$root.debootstrap.log options=(--variant=minbase "--include=python3,python3-venv") script=()
  site=$(mirror "${BARE_MIRROR:-}")
  [ -n "$site" ] || die "apt uses no Debian mirror to have $suite from: name one in BARE_MIRROR."
  use_proxy_of_apt
  if [ "$suite" = noble ]; then
    [ -n "${BARE_MIRROR:-}" ] || site=${site%/}
    [ -n "${BARE_MIRROR:-}" ] || site=${site%/debian}/ubuntu
    if ! ubuntu_options "$site" 2>"$log"; then
      say "SKIPPED: $site has no Ubuntu; BARE_MIRROR names one that has."
      exit 77
    fi
  fi
  say "Installing a minimal $suite..."
  # Built aside and renamed when complete, so that a killed debootstrap is never taken for a system.
  setsid debootstrap "${options[@]}" "$suite" "$root.partial" "$site" "${script[@]}" >"$log" 2>&1 9>&- &
  job=$!
  wait "$job" || die "$suite cannot be had from $site: see $log."
  job=''
  chroot "$root.partial" useradd --create-home --shell /bin/bash "$user" 9>&-
  rm -rf "$root.keyring" "$root.keyring.deb"
  mv "$root.partial" "$root"
}

# --- furnishing -------------------------------------------------------------------------

mount_system() {
  mount -t proc proc "$root/proc"
  mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
  mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
}

# git would refuse root a checkout of another user's, as CI may have it.
trusting_git() { GIT_CONFIG_GLOBAL=$root.gitconfig git "$@"; }

copy_project() {
  local file
  printf '[safe]\n\tdirectory = *\n' >"$root.gitconfig"
  if [ -n "$worktree" ]; then
    mkdir -p "$root$clone"
    cd "$project"
    trusting_git ls-files -z --cached --others --exclude-standard |
      while IFS= read -r -d '' file; do
        if [ -e "$file" ]; then printf '%s\0' "$file"; fi # deleted, but not yet committed
      done | xargs -0 cp -P --parents -t "$root$clone"
  else
    # A hard link would share its owner with the checkout's own object.
    trusting_git clone --quiet --no-hardlinks "$project" "$root$clone"
  fi
  rm "$root.gitconfig"
}

furnish() {
  rm -rf --one-file-system "${root:?}$home"
  find "$root/tmp" "$root/var/tmp" -mindepth 1 -delete
  mkdir -m 700 "$root$home"
  copy_network
  copy_pip_settings
  copy_project
  chroot "$root" chown -R "$user:$user" "$home" 9>&-
}

# --- running ----------------------------------------------------------------------------

of_this_machine() { # pids of all that runs in the folder
  local process
  for process in /proc/[0-9]*; do
    case "$(readlink "$process/root" 2>/dev/null)" in
      "$root" | "$root.partial") echo "${process#/proc/}" ;;
    esac
  done
  return 0
}
none_left() { [ -z "$(of_this_machine)" ]; }

# The user has nothing of whoever starts this but the way to the package index.
as_user() (
  local name chroot
  chroot=$(type -P chroot)
  for name in $(compgen -e); do
    case "$name" in PIP_* | *_proxy | *_PROXY) ;; *) unset "$name" ;; esac
  done
  export HOME=$home USER=$user LOGNAME=$user SHELL=/bin/bash
  export PATH=/usr/local/bin:/usr/bin:/bin
  exec setsid "$chroot" --userspec="$user:$user" "$root" env -C "$clone" "$@"
)

rehearse() { # log, command: it must succeed and leave no process behind
  local log=$1 began=$SECONDS status=0 show
  shift
  say "$ $*"
  : >"$log"
  as_user "$@" >"$log" 2>&1 </dev/null 9>&- &
  job=$!
  tail -n +1 -f --pid="$job" -s 0.2 "$log" 9>&- &
  show=$!
  if [ -n "${awaited:-}" ]; then
    until grep -qF "$awaited" "$log" || ! kill -0 "$job" 2>/dev/null; do sleep 0.1; done
    say "The first call is placed $((SECONDS - began)) s after the command was given."
  fi
  wait "$job" || status=$?
  wait "$show" || true
  job=''
  [ "$status" -eq 0 ] || die "on a bare machine '$*' failed with exit code $status: see $log."
  within 30 none_left || die "on a bare machine '$*' left behind: $(named)"
  say "'$*' succeeded in $((SECONDS - began)) s."
}

named() { # what still runs in there
  local pid
  for pid in $(of_this_machine); do tr '\0' ' ' <"/proc/$pid/cmdline" && echo "(pid $pid);"; done
}

kill_all() { # signal
  local pid
  [ -z "$job" ] || kill "-$1" -- "-$job" 2>/dev/null || kill "-$1" "$job" 2>/dev/null || true
  for pid in $(of_this_machine); do kill "-$1" "$pid" 2>/dev/null || true; done
}

all_ended() { none_left && { [ -z "$job" ] || ! kill -0 -- "-$job" 2>/dev/null; }; }

halt() { # ends and unmounts all that a rehearsal, this or a killed one, started
  local mounted
  kill_all TERM
  within 5 all_ended || kill_all KILL
  within 60 all_ended || die "these do not end: $(named)"
  for mounted in "$root/dev/shm" "$root/dev/pts" "$root/proc"; do
    if mountpoint -q "$mounted"; then umount "$mounted"; fi
  done
  discard "$root.partial"
}

version() { chroot "$root" python3 --version 9>&-; }

mkdir -p "$(dirname "$root")"
exec 9>"$root.lock"
flock -n 9 || die "another rehearsal runs in $root; BARE_DIR takes another folder."
trap halt EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
halt
install_tools
install_system
furnish
mount_system
awaited='"success": true' rehearse "$root.demo.log" ./asterisk.sh demo --once ${BARE_PORT:+--port "$BARE_PORT"}
grep -qF '"success": true' "$root.demo.log" ||
  die "the demo placed no call on a bare machine: see $root.demo.log."
if [ -n "$demo" ]; then
  halt
  say "The first command of README.md places a call on a bare $suite, of $(version)."
  exit 0
fi
rehearse "$root.tests.log" tests/run
rehearse "$root.running.log" tests/run running
halt
say "Both commands of README.md succeed on a bare $suite, of $(version)."
