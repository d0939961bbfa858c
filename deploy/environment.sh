# Sourced by asterisk.sh and tests/run: the project's Python environment, made once, kept in .venv.
# Expects root, the project's folder.
# shellcheck shell=bash
root=${root:?}

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
      2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "Python 3.11 or newer is needed: install python3 and python3-venv." >&2
  return 1
}

# ensure_environment LOCK...: makes .venv, or the folder named by venv, hold what the lock files
# name; quick when it does. Sets python to its interpreter.
ensure_environment() {
  local venv=${venv:-$root/.venv} base lock name line
  python=$venv/bin/python
  if [ ! -x "$python" ]; then
    base=$(find_python) || return 1
    echo "Making the Python environment (once, about a minute)..." >&2
    if ! "$base" -m venv "$venv" >/dev/null; then
      rm -rf "$venv"
      echo "$base cannot make an environment: install the package python3-venv." >&2
      return 1
    fi
  fi
  touch "$venv/installed"
  for lock in "$@"; do
    name=${lock#"$root"/}
    line="$name $(cksum <"$lock")"
    grep -qxF "$line" "$venv/installed" && continue
    echo "Installing $name..." >&2
    # A lock is complete; pip would want the hashes of what it calls by another name, with extras.
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
      -r "$lock" || {
      echo "The packages of $name could not be installed; see above." >&2
      return 1
    }
    sed -i "\\|^$name |d" "$venv/installed"
    echo "$line" >>"$venv/installed"
  done
}
