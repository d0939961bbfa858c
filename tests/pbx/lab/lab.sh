#!/usr/bin/env bash
# Real PBXs for the tests; see `lab.sh --help`.
set -euo pipefail

usage() {
  cat <<'EOF'
A real Asterisk with a real sshd and SIP phones, in a folder, on loopback only.

  lab.sh up 16|22       install it if need be and start what is not running
  lab.sh down 16|22     stop what `up` started
  lab.sh status 16|22   say whether it runs (exit code 1 if not)
  lab.sh rx 16|22 'core show channels concise'
                        run an Asterisk command, without ssh

Runs as root on Debian or Ubuntu. The first `up` takes about a minute and 0.5 GB.
  LAB_DIR     where the folders lie (default /var/tmp/asterisk-lab)
  LAB_MIRROR  the Debian mirror (default: the one apt uses)

                        16 (bullseye)        22 (forky)
  Asterisk, driver      16, chan_sip (SIP)   22, chan_pjsip (PJSIP)
  OpenSSH               8.4                  10
  ssh                   127.0.0.1:25059      127.0.0.1:25060
  ssh, no forwarding    127.0.0.1:25069      127.0.0.1:25070
  AMI (lab / lab)       127.0.0.1:15038      127.0.0.1:15039

ssh takes root and operator, both with the password lab-password or the key
$LAB_DIR/id_ed25519. operator may not open Asterisk's control socket, but has
passwordless sudo for /usr/sbin/asterisk.

Context inoffice:
  150 151 1501   answer at once           155   busy at once
  152            busy after 1.5 s         156 159  as 154, with sound (RTP)
  153            no answer (6 s)          157   nothing listens: UDP port 15320 (16)
  154            answers after 1.5 s            or 15520 (22) is free for a test
  160            as 154, but hangs up 1.5 s after its answer
  161            with sound, answers after 2 s and hangs up 4 s later
  163            a phone that has never registered
  164            a phone that is asked each second whether it is there, and is not
  170            an included context has it, but _1XX, of the context itself, comes first
  7              only the included context has it
  +375290000001  talks 4 s, hangs up      +375290000004  not found
  +375290000002  busy                     +375290000005  talks on
  +375290000003  no answer (6 s)          +375290000006  as ...001, with sound (RTP)
  any other number of 2 digits or more: answers at once
Context park: 900 answers and hangs up, 901 stays an hour, 902 echoes.
Context patient: 162 does not answer, and is rung for 60 s.
Context switched: every extension comes by a `switch` from inoffice;
context withswitch includes it.
Context plans: dialplans as people have them (plans/extensions.conf). Its phones and carriers are
tests/pbx/softphone.py, on UDP port 15330 (16) or 15530 (22): none but while a test runs.
EOF
}

die() {
  echo "lab.sh: $*" >&2
  exit 1
}

case "${1:-}" in -h | --help) usage; exit 0 ;; esac
verb=${1:-} version=${2:-}
case "$verb" in up | down | status | rx) ;; *) usage >&2; exit 2 ;; esac
case "$version" in
  16)
    suite=bullseye tech=SIP ssh_port=25059 sip_port=15160 ami_port=15038 phone_base=15250 rtp_base=21000
    packages=(asterisk-voicemail) # later ones have it in asterisk-modules
    ;;
  22)
    suite=forky tech=PJSIP ssh_port=25060 sip_port=15170 ami_port=15039 phone_base=15450 rtp_base=22000
    packages=()
    ;;
  *) usage >&2; exit 2 ;;
esac
[ "$EUID" -eq 0 ] || die "must be run as root, for it mounts and changes root."

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/debian.sh
. "$here/../../debian.sh"
# The kernel names a process's root without symbolic links; alive() compares with it.
LAB_DIR=$(realpath -m "${LAB_DIR:-/var/tmp/asterisk-lab}")
root=$LAB_DIR/$version
run=$LAB_DIR/run$version
client_key=$LAB_DIR/id_ed25519
password=lab-password

# Name, UDP port above phone_base, scenario in phones/ ("-": nobody answers there).
phones=(
  "150 0 answer" "151 1 answer" "1501 2 answer" "152 51 busy" "153 52 no-answer"
  "154 53 answer-1500ms" "155 54 busy-at-once" "156 60 answer-1500ms-rtp"
  "157 70 -" "159 62 answer-1500ms-rtp" "160 63 talk-1500ms" "161 64 talk-4s-rtp"
  "162 65 no-answer"
  "trunk 49 answer" "trunktalk 58 talk-4s" "trunkbusy 55 busy" "trunkna 56 no-answer"
  "trunk404 59 not-found" "trunkslow 57 answer-2s" "trunkrtp 61 talk-4s-rtp"
)

# Those of the plans, all behind one port.
plan_port=$((phone_base + 80))
mapfile -t plan_phones < <(seq 201 260; seq 301 360; printf '%s\n' carrier carrier2)

# A clean environment: a PBX must not see the settings of whoever starts it.
enter=(env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 chroot "$root")
inside() { "${enter[@]}" "$@"; }

# --- installing -------------------------------------------------------------------------

install_tools() {
  if command -v debootstrap && command -v sipp && command -v ss; then return; fi >/dev/null
  command -v apt-get >/dev/null || die "needs apt-get: only Debian and Ubuntu will do."
  { apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap sip-tester iproute2; } \
    >"$LAB_DIR/apt.log" 2>&1 ||
    die "apt-get cannot install debootstrap and sip-tester: see $LAB_DIR/apt.log."
}

install_system() {
  [ -d "$root" ] && return
  local site log=$LAB_DIR/debootstrap$version.log
  local script=/usr/share/debootstrap/scripts/$suite options=(--variant=minbase)
  site=$(mirror "${LAB_MIRROR:-}")
  [ -n "$site" ] || die "apt uses no Debian mirror to have $suite from: name one in LAB_MIRROR."
  if [ ! -e "$script" ]; then
    # A suite newer than debootstrap itself: sid's script serves it, and the keyring of this
    # machine is as old, so it cannot know the suite's key.
    script=/usr/share/debootstrap/scripts/sid
    options+=(--no-check-gpg)
  fi
  use_proxy_of_apt
  # Built aside and renamed when complete, so that a killed debootstrap is never taken for a PBX.
  discard "$root.partial"
  debootstrap "${options[@]}" \
    --include=asterisk,asterisk-modules,asterisk-core-sounds-en-gsm,openssh-server,sudo \
    "$suite" "$root.partial" "$site" "$script" >"$log" 2>&1 ||
    die "Debian $suite (for PBX $version) cannot be had from $site: see $log."
  mv "$root.partial" "$root"
}

# By the PBX's own apt, for debootstrap adds nothing to a folder that is there already.
install_packages() {
  local log=$LAB_DIR/apt$version.log
  [ "${#packages[@]}" -eq 0 ] || inside dpkg -s "${packages[@]}" >/dev/null 2>&1 || {
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # no service is to be started
    chmod 755 "$root/usr/sbin/policy-rc.d"
    use_proxy_of_apt
    # The lists are as old as the folder, and a mirror has only what is newest.
    { inside apt-get -o Acquire::http::Proxy="${http_proxy:-}" update -qq &&
      inside env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::http::Proxy="${http_proxy:-}" \
        install -y -qq --no-install-recommends "${packages[@]}"; } >"$log" 2>&1 ||
      die "PBX $version cannot get ${packages[*]}: see $log."
  }
}

# --- configuring ------------------------------------------------------------------------

write_modules() {
  echo '[modules]'
  echo 'autoload=yes'
  # Drivers without hardware, services without a server, and those that take other ports.
  for module in chan_alsa chan_oss chan_console app_jack res_hep chan_dahdi chan_mgcp \
    chan_skinny chan_unistim pbx_ael pbx_dundi chan_iax2 chan_ooh323 chan_motif res_corosync \
    cdr_pgsql cel_pgsql app_voicemail_odbc app_voicemail_imap; do
    echo "noload => $module.so"
  done
  [ $tech = PJSIP ] || printf 'noload => %s\n' res_pjsip.so chan_pjsip.so
}

write_logger() {
  # Only the verbose log tells which channel a ChanSpy listens to.
  cat <<'EOF'
[general]
dateformat=%F %T.%3q
[logfiles]
console => notice,warning,error
full => notice,warning,error,verbose(5)
EOF
}

write_dialplan() {
  local number=0 trunk wait_s
  cat <<EOF
[general]
static=yes
[inoffice]
exten => 150,hint,$tech/150
exten => 151,hint,$tech/151
exten => 1501,1,Dial($tech/1501,30)
exten => 153,1,Dial($tech/153,6)
exten => _1XX,1,Dial($tech/\${EXTEN},30)
EOF
  for trunk in trunktalk trunkbusy trunkna trunk404 trunkslow trunkrtp; do
    number=$((number + 1)) wait_s=60
    [ $trunk != trunkna ] || wait_s=6
    echo "exten => +37529000000$number,1,Dial($tech/\${EXTEN}@$trunk,$wait_s)"
  done
  cat <<EOF
exten => _+X.,1,Dial($tech/\${EXTEN}@trunk,60)
exten => _X.,1,Dial($tech/\${EXTEN}@trunk,60)
include => included
[included]
exten => 170,1,Answer()
 same => n,Wait(2)
exten => 7,1,Answer()
 same => n,Wait(2)
[park]
exten => 900,1,Answer()
 same => n,Hangup()
exten => 901,1,Answer()
 same => n,Wait(3600)
exten => 902,1,Answer()
 same => n,Echo()
[patient]
exten => 162,1,Dial($tech/162,60)
[switched]
switch => Loopback/\${EXTEN}@inoffice
[withswitch]
include => switched
EOF
  plan extensions.conf
}

# What is written for both drivers, for this PBX's.
plan() { sed "s|TECH/|$tech/|g" "$here/plans/$1"; }

write_sip() {
  local name offset
  cat <<EOF
[general]
context=default
udpbindaddr=127.0.0.1:$sip_port
directmedia=no
qualify=no
[office](!)
type=friend
host=127.0.0.1
context=inoffice
insecure=port,invite
disallow=all
allow=ulaw
EOF
  for phone in "${phones[@]}"; do
    read -r name offset _ <<<"$phone"
    printf '[%s](office)\nport=%s\n' "$name" $((phone_base + offset))
  done
  for name in "${plan_phones[@]}"; do
    printf '[%s](office)\ncontext=plans\nport=%s\n' "$name" "$plan_port"
    case "$name" in carrier*) ;; *) printf 'defaultuser=%s\n' "$name" ;; esac
  done
  printf '[163]\ntype=friend\nhost=dynamic\ncontext=inoffice\n'
  printf '[164](office)\nport=%s\nqualify=500\nqualifyfreq=1\n' $((phone_base + 66))
  printf '[city](office)\ntype=peer\ncontext=from-trunk\nport=%s\n' $((phone_base + 67))
}

write_pjsip() {
  local name offset user
  cat <<EOF
[transport-udp]
type=transport
protocol=udp
bind=127.0.0.1:$sip_port
[office](!)
type=endpoint
context=inoffice
disallow=all
allow=ulaw
direct_media=no
transport=transport-udp
[office-aor](!)
type=aor
qualify_frequency=0
EOF
  for phone in "${phones[@]}"; do
    read -r name offset _ <<<"$phone"
    case "$name" in trunk*) user='' ;; *) user=$name@ ;; esac # a trunk takes any number
    printf '[%s](office)\naors=%s\n[%s](office-aor)\ncontact=sip:%s127.0.0.1:%s\n' \
      "$name" "$name" "$name" "$user" $((phone_base + offset))
  done
  for name in "${plan_phones[@]}"; do
    case "$name" in carrier*) user='' ;; *) user=$name@ ;; esac
    printf '[%s](office)\ncontext=plans\naors=%s\n[%s](office-aor)\ncontact=sip:%s127.0.0.1:%s\n' \
      "$name" "$name" "$name" "$user" "$plan_port"
  done
  printf '[163](office)\naors=163\n[163](office-aor)\nmax_contacts=1\n'
  printf '[164](office)\naors=164\n[164](office-aor)\ncontact=sip:164@127.0.0.1:%s\n' \
    $((phone_base + 66))
  printf 'qualify_frequency=1\nqualify_timeout=0.5\n'
  # All that calls here comes from one address: by which trunk, the caller says himself.
  printf '[city](office)\ncontext=from-trunk\n[city-calls]\ntype=identify\nendpoint=city\n'
  printf 'match_header=X-Trunk: city\n'
}

write_sshd() { # port
  cat <<EOF
Port $1
ListenAddress 127.0.0.1
PidFile /run/sshd-$1.pid
PermitRootLogin yes
PasswordAuthentication yes
UsePAM yes
UseDNS no
Subsystem sftp internal-sftp
EOF
  # Later ones keep an address out that fails often, as tests do that are all from one.
  if [ "$version" = 22 ]; then echo "PerSourcePenaltyExemptList 127.0.0.1"; fi
}

# What a PBX's files were written by: an older or another lab.sh's are written anew. It stands last,
# for Asterisk tells the numbers of lines.
configuration() {
  echo "; written by $(cat "$here/lab.sh" "$here"/plans/* | cksum)"
}
is_configured() {
  [ "$(tail -n 1 "$root/etc/asterisk/extensions.conf" 2>/dev/null)" = "$(configuration)" ]
}

configure() {
  local etc=$root/etc/asterisk user home file
  write_modules >"$etc/modules.conf"
  write_logger >"$etc/logger.conf"
  # Else it takes some of a phone's, which no phone holds while it is not there.
  printf '[general]\nrtpstart=%d\nrtpend=%d\n' $rtp_base $((rtp_base + 999)) >"$etc/rtp.conf"
  { write_dialplan && configuration; } >"$etc/extensions.conf"
  for file in queues voicemail res_parking; do plan $file.conf >"$etc/$file.conf"; done
  if [ $tech = SIP ]; then write_sip >"$etc/sip.conf"; else write_pjsip >"$etc/pjsip.conf"; fi
  printf '[general]\nenabled=yes\nport=%s\nbindaddr=127.0.0.1\n[lab]\nsecret=lab\n%s\n%s\n' \
    "$ami_port" read=all write=all >"$etc/manager.conf"
  write_sshd "$ssh_port" >"$root/etc/ssh/lab.conf"
  { write_sshd $((ssh_port + 10)) && echo AllowStreamLocalForwarding no; } \
    >"$root/etc/ssh/lab-no-forwarding.conf"
  inside ssh-keygen -A >/dev/null

  # Debian has a group of this name already, hence -g.
  inside id operator >/dev/null 2>&1 || inside useradd -m -s /bin/bash -g operator operator
  echo 'operator ALL=(root) NOPASSWD: /usr/sbin/asterisk' >"$root/etc/sudoers.d/operator"
  chmod 440 "$root/etc/sudoers.d/operator"
  echo "127.0.0.1 localhost $(hostname)" >"$root/etc/hosts" # or sudo warns that it knows no host
  for user in root operator; do
    echo "$user:$password" | inside chpasswd
    home=$(inside sh -c "echo ~$user")
    inside install -d -m 700 -o "$user" -g "$user" "$home/.ssh"
    cp "$client_key.pub" "$root$home/.ssh/authorized_keys"
    inside chown "$user:$user" "$home/.ssh/authorized_keys"
    chmod 600 "$root$home/.ssh/authorized_keys"
  done
}

make_client_key() {
  [ -s "$client_key" ] && [ -s "$client_key.pub" ] && return
  local made=/root/.lab-key # in there, for this machine may have no ssh-keygen
  rm -f "$root$made" "$root$made.pub"
  inside ssh-keygen -q -t ed25519 -N '' -C asterisk-lab -f "$made"
  mv "$root$made.pub" "$client_key.pub"
  mv "$root$made" "$client_key"
}

# --- running ----------------------------------------------------------------------------

pid_of() { cat "$root/run/$1" 2>/dev/null || true; }
alive() { # a pid file under /run, and whether its process is one of this PBX's
  local pid
  pid=$(pid_of "$1")
  [ -n "$pid" ] && [ "$(readlink "/proc/$pid/root" 2>/dev/null)" = "$root" ]
}
is_phone() { # a pid number may have passed on to a stranger
  [ "$(cat "/proc/$1/comm" 2>/dev/null)" = sipp ] &&
    [ "$(readlink "/proc/$1/cwd" 2>/dev/null)" = "$run" ]
}
bound() { ss -Hlun "src 127.0.0.1:$1" | grep -q .; }
booted() { # -rx does not heed SIGTERM while it waits
  timeout -s KILL 5 "${enter[@]}" asterisk -rx 'core waitfullybooted' 2>/dev/null |
    grep -q 'fully booted'
}

mount_system() {
  mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
  mountpoint -q "$root/dev/pts" ||
    mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
  mkdir -p "$root/run/sshd" "$root/run/asterisk"
  inside chown -R asterisk:asterisk /run/asterisk /var/lib/asterisk /var/log/asterisk \
    /var/spool/asterisk
}

start_asterisk() {
  alive asterisk/asterisk.pid || {
    # A PBX has a machine of its own: what tests it, or runs beside it, must not slow it down.
    setsid nohup nice -n -5 "${enter[@]}" asterisk -f -U asterisk -G asterisk \
      >"$run/asterisk.log" 2>&1 </dev/null 9>&- &
  }
  within 120 booted || die "Asterisk $version does not start: see $run/asterisk.log."
}

start_sshd() { # port, configuration
  alive "sshd-$1.pid" ||
    inside /usr/sbin/sshd -f "/etc/ssh/$2" -E "/var/log/sshd-$1.log" </dev/null 9>&- ||
    die "sshd of PBX $version does not start on port $1: see $root/var/log/sshd-$1.log."
  within 60 alive "sshd-$1.pid" || die "sshd of PBX $version does not listen on port $1."
}

start_phones() {
  local name offset scenario port media_port=$((phone_base + 9000))
  mkdir -p "$run/phones"
  # 20 s of a constant sample: any sound will do.
  [ -s "$run/tone.ul" ] || head -c 160000 /dev/zero | tr '\0' '\325' >"$run/tone.ul"
  cd "$run"
  for phone in "${phones[@]}"; do
    read -r name offset scenario <<<"$phone"
    port=$((phone_base + offset))
    media_port=$((media_port + 10)) # sipp tries only a hundred above its default, for all of them
    if [ "$scenario" = - ] || is_phone "$(cat "phones/$name.pid" 2>/dev/null)"; then continue; fi
    : >"phones/$name.invites"
    setsid nohup sipp -sf "$here/phones/$scenario.xml" -i 127.0.0.1 -p $port -mp $media_port \
      -nostdin -trace_logs -log_file "phones/$name.invites" \
      >/dev/null 2>"phones/$name.errors" </dev/null 9>&- &
    echo $! >"phones/$name.pid"
  done
  for phone in "${phones[@]}"; do
    read -r name offset scenario <<<"$phone"
    [ "$scenario" = - ] || within 60 bound $((phone_base + offset)) ||
      die "phone $name of PBX $version does not start: see $run/phones/$name.errors."
  done
}

running() {
  alive asterisk/asterisk.pid && alive "sshd-$ssh_port.pid" && alive "sshd-$((ssh_port + 10)).pid"
}

up() {
  mkdir -p "$run"
  {
    flock 8 # the tools and the key belong to both PBXs
    install_tools 8>&-
  } 8>"$LAB_DIR/lock"
  exec 9>"$run/lock"
  flock 9
  install_system
  {
    flock 8
    make_client_key
  } 8>"$LAB_DIR/lock"
  install_packages
  is_configured || down
  running || configure
  mount_system
  start_asterisk
  start_sshd "$ssh_port" lab.conf
  start_sshd $((ssh_port + 10)) lab-no-forwarding.conf
  start_phones
  status
}

of_this_pbx() { # pids of all that runs in the folder: all of it was started by `up`
  local process
  for process in /proc/[0-9]*; do
    [ "$(readlink "$process/root" 2>/dev/null)" = "$root" ] && echo "${process#/proc/}"
  done
  return 0
}
none_left() { [ -z "$(of_this_pbx)" ]; }

down() {
  local file pid
  for file in "$run"/phones/*.pid; do
    pid=$(cat "$file" 2>/dev/null || true)
    if is_phone "$pid"; then kill "$pid"; fi
    rm -f "$file"
  done
  for pid in $(of_this_pbx); do
    kill -TERM "$pid" 2>/dev/null || true
    kill -CONT "$pid" 2>/dev/null || true # a test may have left it stopped
  done
  within 5 none_left || for pid in $(of_this_pbx); do kill -KILL "$pid" 2>/dev/null || true; done
  within 60 none_left || die "PBX $version does not stop."
  for mounted in "$root/dev/pts" "$root/proc"; do
    if mountpoint -q "$mounted"; then umount "$mounted"; fi
  done
}

status() {
  running || {
    echo "PBX $version is down"
    return 1
  }
  echo "PBX $version is up: ssh root@127.0.0.1:$ssh_port"
}

case "$verb" in
  up) up ;;
  down) down ;;
  status) status ;;
  rx)
    [ $# -eq 3 ] || die "rx takes one command, quoted."
    inside asterisk -rx "$3"
    ;;
esac
