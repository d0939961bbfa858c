#!/usr/bin/env bash
# base.sh ROOT: what stands for python:3.13-slim, which no container engine is here to get: a minimal
# Debian 13 whose own Python 3.13 is `python`, with pip, where the image has its own. As root.
set -euo pipefail

root=$1
home=/root
# shellcheck source=tests/debian.sh
. "$(dirname "${BASH_SOURCE[0]}")/../debian.sh"
site=$(mirror "${BARE_MIRROR:-}")
[ -n "$site" ] || { echo "apt uses no Debian mirror: name one in BARE_MIRROR." >&2; exit 1; }
use_proxy_of_apt
debootstrap --variant=minbase --include=python3,python3-venv trixie "$root" "$site"
chroot "$root" python3 -m venv /usr/local
find "$root/var/cache/apt" "$root/var/lib/apt/lists" -type f -delete # as there, where who installs updates first
copy_network
copy_pip_settings
