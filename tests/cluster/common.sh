# Shared by slurm.sh and gridengine.sh: sourced, never run.
#
# Everything private lies under CLUSTER_DIR. A daemon is remembered with its process number and
# the kernel's start time of it; a process is signalled only where both still hold.

CLUSTER_DIR=${CLUSTER_DIR:-${TMPDIR:-/tmp}/nipype_group_cluster}
SLOTS=${SLOTS:-4}
HOST=$(hostname -s)

fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

require_root() {
  [ "$(id -u)" = 0 ] || fail "run as root: the daemons start jobs for users"
}

# install PACKAGE...: the missing Debian packages, without the daemons that they would start.
install() {
  local package policy=/usr/sbin/policy-rc.d made= log=$CLUSTER_DIR/apt.log missing=()
  for package; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
      missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    made=yes
  fi
  {
    apt-get -q update
    DEBIAN_FRONTEND=noninteractive apt-get -qy --no-install-recommends install "${missing[@]}"
  } >"$log" 2>&1
  local status=$?
  [ -z "$made" ] || rm -f $policy
  [ $status = 0 ] || fail "cannot install ${missing[*]}: $(tail -n 3 "$log")"
}

# The host's own name has to resolve for both systems.
resolve_host() {
  getent hosts "$HOST" >/dev/null || echo "127.0.0.1 $HOST" >>/etc/hosts
}

start_time() { # of a live process; one that nobody has waited for yet counts as gone
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # What follows the name in brackets: state, parent, ... ; the start is field 20 of it.
  set -- ${stat##*) }
  [ "$1" != Z ] && echo "${20}"
}

lives() { # lives PID START
  [ -n "$1" ] && [ "$(start_time "$1")" = "$2" ]
}

# start NAME LOG COMMAND...: in the background and with a clean environment, as jobs inherit it.
start() {
  local name=$1 log=$2 variable environment
  shift 2
  environment=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    HOME="$HOME" LANG=C.UTF-8)
  for variable in SLURM_CONF SGE_ROOT SGE_CELL SGE_QMASTER_PORT SGE_EXECD_PORT SGE_ND; do
    [ -z "${!variable:-}" ] || environment+=("$variable=${!variable}")
  done
  setsid env -i "${environment[@]}" "$@" </dev/null >>"$log" 2>&1 &
  echo "$name $! $(start_time $!)" >>"$DAEMONS"
}

running() { # running NAME
  local name pid started
  [ -e "$DAEMONS" ] || return 1
  while read -r name pid started; do
    [ "$name" = "$1" ] && lives "$pid" "$started" && return 0
  done <"$DAEMONS"
  return 1
}

stop() { # stop NAME: politely, then not
  local name pid started tenths
  [ -e "$DAEMONS" ] || return 0
  while read -r name pid started; do
    [ "$name" = "$1" ] && lives "$pid" "$started" || continue
    kill -TERM "$pid"
    for ((tenths = 0; tenths < 150; tenths++)); do
      lives "$pid" "$started" || break
      sleep 0.1
    done
    if lives "$pid" "$started"; then
      kill -KILL "$pid"
    fi
  done <"$DAEMONS"
}

wait_until() { # wait_until SECONDS COMMAND...
  local fifths=$(($1 * 5))
  shift
  while ((fifths-- > 0)); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.2
  done
  return 1
}
