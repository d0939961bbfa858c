# Sourced by the scripts that put a Debian into a folder: tests/pbx/lab/lab.sh, tests/bare/rehearse.sh.
# shellcheck shell=bash

# The mirror given, else whatever this machine's apt uses.
mirror() {
  if [ -n "$1" ]; then
    echo "$1"
  else
    # shellcheck disable=SC2016 # $(SITE) is for apt-get
    apt-get indextargets --format '$(SITE)' | grep -m 1 -E '/debian/?$' || true
  fi
}

# debootstrap does not read apt's settings.
use_proxy_of_apt() {
  local proxy=''
  eval "$(apt-config shell proxy Acquire::http::Proxy)"
  [ -z "$proxy" ] || export http_proxy=$proxy
}

discard() { # a folder that debootstrap may have mounted things in
  local target
  while read -r _ target _; do
    case "$target" in "$1"/*) umount -l "$target" ;; esac
  done < <(tac /proc/mounts)
  rm -rf --one-file-system "$1"
}

within() { # seconds, then a command to repeat until it succeeds
  local until=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $until ] || return 1
    sleep 0.05
  done
}
