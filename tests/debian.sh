# Sourced by the scripts that put a Debian into a folder: tests/pbx/lab/lab.sh, tests/bare/rehearse.sh,
# tests/deploy/base.sh. What copies into it means the caller's root, and home, that of a user there.
# shellcheck shell=bash disable=SC2154

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

copy_in() { # a file, and where it belongs in there
  mkdir -p "$root$(dirname "$2")"
  cp -L "$1" "$root$2"
}

copy_network() {
  copy_in /etc/resolv.conf /etc/resolv.conf
  copy_in /etc/hosts /etc/hosts
}

# pip's configuration files, and the files (constraints, certificates) that they or PIP_* name.
copy_pip_settings() {
  local file files=() name word
  for file in /etc/pip.conf /etc/xdg/pip/pip.conf ~/.pip/pip.conf ~/.config/pip/pip.conf \
    "${PIP_CONFIG_FILE:-}"; do
    [ -f "$file" ] || continue
    files+=("$file")
    case "$file" in
      "$HOME"/*) copy_in "$file" "$home${file#"$HOME"}" ;;
      *) copy_in "$file" "$file" ;;
    esac
  done
  for word in /etc/ssl/certs/ca-certificates.crt \
    $([ ${#files[@]} -eq 0 ] || cat "${files[@]}") \
    $(for name in "${!PIP_@}"; do echo "${!name}"; done); do
    case "$word" in /*) if [ -f "$word" ]; then copy_in "$word" "$word"; fi ;; esac
  done
}
