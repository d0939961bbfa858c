# Sourced by asterisk.sh and tests/run: the project's Python environment, made once, kept in .venv.
# Expects root, the project's folder.
# shellcheck shell=bash
root=${root:?}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
    if [ -n "$candidate" ] && is_new_enough "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  echo "❌ Python 3.11 or newer is needed: install python3 and python3-venv, or name it: PYTHON=..." >&2
  return 1
}

# ensure_environment LOCK...: makes .venv, or the folder named by venv, hold what the lock files
# name; quick when it does. Sets python to its interpreter.
ensure_environment() {
  local venv=${venv:-$root/.venv} base lock name line
  python=$venv/bin/python
  if ! is_new_enough "$python"; then # nor is one whose system was upgraded under it
    base=$(find_python) || return 1
    echo "Making the Python environment (once, about a minute)..." >&2
    if ! "$base" -m venv --clear "$venv" >/dev/null; then
      rm -rf "$venv"
      echo "❌ $base cannot make an environment: install the package python3-venv." >&2
      return 1
    fi
  fi
  [ -e "$venv/installed" ] || touch "$venv/installed" || return 1
  for lock in "$@"; do
    name=${lock#"$root"/}
    line="$name $(cksum <"$lock")"
    grep -qxF "$line" "$venv/installed" && continue
    echo "Installing $name..." >&2
    # A lock is complete; pip would want the hashes of what it calls by another name, with extras.
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
      -r "$lock" || {
      echo "❌ The packages of $name could not be installed, see above: is there a way to the registry?" >&2
      return 1
    }
    sed -i "\\|^$name |d" "$venv/installed"
    echo "$line" >>"$venv/installed"
  done
}
