#!/bin/bash
# A real Slurm on this machine for tests: slurm.sh up, then . "$CLUSTER_DIR/slurm.env",
# at the end slurm.sh down. As root on Debian 12; on loopback only.
#
#   CLUSTER_DIR  where everything lies (default: nipype_group_cluster in the temporary folder)
#   SLOTS        processors that the node offers, more than there are if you like (default: 4)
. "$(dirname "$0")/common.sh"
S=$CLUSTER_DIR/slurm
DAEMONS=$S/daemons
export SLURM_CONF=$S/slurm.conf

write_configuration() {
  local memory
  memory=$(awk '/^MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
  cat >"$S/slurm.conf" <<CONF
ClusterName=tests
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=${SLURMCTLD_PORT:-17817}
SlurmdPort=${SLURMD_PORT:-17818}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$S/munge/socket
CredType=cred/munge
StateSaveLocation=$S/state
SlurmdSpoolDir=$S/spool
SlurmctldPidFile=$S/slurmctld.pid
SlurmdPidFile=$S/slurmd.pid
SlurmctldLogFile=$S/slurmctld.log
SlurmdLogFile=$S/slurmd.log
PlugStackConfig=$S/plugstack.conf
SwitchType=switch/none
MpiDefault=none
TaskPlugin=task/none
ProctrackType=proctrack/linuxproc
# A look at memory every second, and the end of a job that takes more than it asked for.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=$((memory / SLOTS))
SchedulerParameters=batch_sched_delay=1,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
KillWait=5
MinJobAge=300
ReturnToService=2
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$SLOTS RealMemory=$memory State=UNKNOWN
PartitionName=main Nodes=$HOST Default=YES MaxTime=INFINITE State=UP
CONF
  : >"$S/plugstack.conf"
  printf 'CgroupAutomount=no\nCgroupPlugin=cgroup/v1\n' >"$S/cgroup.conf"
}

node_is_up() {
  sinfo -h -o %T 2>/dev/null | grep -qE '^(idle|mixed|allocated)$'
}

controller_is_up() {
  scontrol ping 2>/dev/null | grep -q ' is UP'
}

up() {
  require_root
  if running slurmctld && running slurmd && node_is_up; then
    return
  fi
  down
  mkdir -p "$S"/{state,spool,munge} || fail "cannot make $S"
  chmod 755 "$CLUSTER_DIR" "$S" "$S/munge"
  resolve_host
  install munge slurm-client slurmctld slurmd
  : >"$DAEMONS"
  write_configuration
  (umask 077 && head -c 1024 /dev/urandom >"$S/munge/key")
  # --force: the folder may lie where others cannot look.
  start munged "$S/munged.out" munged --foreground --force --key-file="$S/munge/key" \
    --socket="$S/munge/socket" --pid-file="$S/munge/pid" --seed-file="$S/munge/seed" \
    --log-file="$S/munge/log"
  wait_until 10 test -S "$S/munge/socket" || fail "munged: $(tail -n 3 "$S/munged.out")"
  start slurmctld "$S/slurmctld.out" slurmctld -D -f "$S/slurm.conf"
  wait_until 20 controller_is_up || fail "slurmctld: $(tail -n 5 "$S/slurmctld.log")"
  start slurmd "$S/slurmd.out" slurmd -D -f "$S/slurm.conf" -N "$HOST"
  wait_until 20 node_is_up || fail "slurmd: $(tail -n 5 "$S/slurmd.log")"
  echo "export SLURM_CONF=$S/slurm.conf" >"$CLUSTER_DIR/slurm.env"
  timeout 30 sbatch -W -Q -o "$S/proof" --wrap 'echo ran' >/dev/null 2>&1
  grep -qx ran "$S/proof" 2>/dev/null || fail "no job runs: $(tail -n 5 "$S/slurmd.log")"
  echo "Slurm is up: . $CLUSTER_DIR/slurm.env"
}

queue_is_empty() {
  [ -z "$(squeue -h)" ]
}

down() {
  if running slurmctld; then
    timeout 10 scancel --state=PENDING --quiet --user=root 2>/dev/null
    timeout 10 scancel --quiet --user=root 2>/dev/null
    wait_until 15 queue_is_empty
  fi
  local daemon
  for daemon in slurmd slurmctld munged; do
    stop $daemon
  done
  rm -rf "$S" "$CLUSTER_DIR/slurm.env"
}

case ${1:-} in
up | down) "$1" ;;
*) fail "slurm.sh up or slurm.sh down" ;;
esac
