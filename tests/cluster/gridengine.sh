#!/bin/bash
# A real Grid Engine on this machine for tests: gridengine.sh up, then
# . "$CLUSTER_DIR/gridengine.env", at the end gridengine.sh down. As root on Debian 12. It listens
# on all interfaces and believes everybody: for tests only.
#
#   CLUSTER_DIR    where everything lies (default: nipype_group_cluster in the temporary folder)
#   SLOTS          slots of the queue (default: 4)
#   FINISHED_JOBS  jobs that "qstat -s z" still shows after their end (default: 0)
. "$(dirname "$0")/common.sh"
G=$CLUSTER_DIR/gridengine
DAEMONS=$G/daemons
export SGE_ROOT=$G/root SGE_CELL=default SGE_ND=1
export SGE_QMASTER_PORT=${SGE_QMASTER_PORT:-17444} SGE_EXECD_PORT=${SGE_EXECD_PORT:-17445}
PACKAGED=/usr/share/gridengine

write_cell() {
  local common=$SGE_ROOT/$SGE_CELL/common folder
  mkdir -p "$common" "$G"/{master/job_scripts,node,spool} || fail "cannot make $G"
  chmod 755 "$CLUSTER_DIR" "$G" "$G"/{master,node,spool}
  for folder in bin lib util utilbin; do
    ln -sfn /var/lib/gridengine/$folder "$SGE_ROOT/$folder"
  done
  echo "$HOST" >"$common/act_qmaster"
  # Loopback's address has the name localhost too; all names mean this host.
  echo "$HOST localhost $(hostname -f 2>/dev/null)" >"$common/host_aliases"
  cat >"$common/bootstrap" <<CONF
admin_user none
default_domain none
ignore_fqdn true
spooling_method berkeleydb
spooling_lib libspoolb
spooling_params $G/spool
binary_path /usr/lib/gridengine
qmaster_spool_dir $G/master
security_mode none
listener_threads 2
worker_threads 2
scheduler_threads 1
CONF
}

write_spool() {
  local tool=/usr/lib/gridengine
  sed -e "s|^execd_spool_dir.*|execd_spool_dir $G/node|" \
    -e 's|^min_uid.*|min_uid 0|' -e 's|^min_gid.*|min_gid 0|' \
    -e 's|^mailer.*|mailer /bin/true|' -e 's|^administrator_mail.*|administrator_mail none|' \
    -e 's|^load_report_time.*|load_report_time 00:00:01|' \
    -e "s|^finished_jobs.*|finished_jobs ${FINISHED_JOBS:-0}|" \
    -e 's|^reporting_params.*|reporting_params accounting=true reporting=false flush_time=00:00:01 accounting_flush_time=00:00:00 joblog=false sharelog=00:00:00|' \
    $PACKAGED/default-configuration >"$G/configuration"
  {
    $tool/spoolinit berkeleydb libspoolb "$G/spool" init &&
      $tool/spooldefaults configuration "$G/configuration" &&
      $tool/spooldefaults complexes $PACKAGED/util/resources/centry &&
      $tool/spooldefaults usersets $PACKAGED/util/resources/usersets &&
      $tool/spooldefaults managers root
  } >"$G/spool.log" 2>&1 || fail "spool: $(tail -n 3 "$G/spool.log")"
}

# configure OPTION TEXT...: an object of the queueing system from lines of text.
configure() {
  local option=$1
  shift
  printf '%s\n' "$@" >"$G/object"
  qconf "$option" "$G/object" >>"$G/qconf.log" 2>&1 || fail "qconf: $(tail -n 2 "$G/qconf.log")"
}

write_queue() {
  qconf -as "$HOST" >>"$G/qconf.log" 2>&1
  qconf -sel 2>/dev/null | grep -qx "$HOST" || configure -Ae "hostname $HOST" \
    'load_scaling NONE' 'complex_values NONE' 'user_lists NONE' 'xuser_lists NONE' \
    'projects NONE' 'xprojects NONE' 'usage_scaling NONE' 'report_variables NONE'
  configure -Ahgrp 'group_name @allhosts' "hostlist $HOST"
  configure -Ap 'pe_name smp' 'slots 999' 'user_lists NONE' 'xuser_lists NONE' \
    'start_proc_args NONE' 'stop_proc_args NONE' 'allocation_rule $pe_slots' \
    'control_slaves FALSE' 'job_is_first_task TRUE' 'urgency_slots min' \
    'accounting_summary FALSE' 'qsort_args NONE'
  # load_thresholds NONE: a busy machine still takes jobs.
  configure -Aq 'qname all.q' 'hostlist @allhosts' 'seq_no 0' 'load_thresholds NONE' \
    'suspend_thresholds NONE' 'nsuspend 1' 'suspend_interval 00:05:00' 'priority 0' \
    'min_cpu_interval 00:05:00' 'processors UNDEFINED' 'qtype BATCH INTERACTIVE' \
    'ckpt_list NONE' 'pe_list smp' 'rerun FALSE' "slots $SLOTS" 'tmpdir /tmp' 'shell /bin/sh' \
    'prolog NONE' 'epilog NONE' 'shell_start_mode posix_compliant' 'starter_method NONE' \
    'suspend_method NONE' 'resume_method NONE' 'terminate_method NONE' 'notify 00:00:60' \
    'owner_list NONE' 'user_lists NONE' 'xuser_lists NONE' 'subordinate_list NONE' \
    'complex_values NONE' 'projects NONE' 'xprojects NONE' 'calendar NONE' \
    'initial_state default' 's_rt INFINITY' 'h_rt INFINITY' 's_cpu INFINITY' \
    'h_cpu INFINITY' 's_fsize INFINITY' 'h_fsize INFINITY' 's_data INFINITY' \
    'h_data INFINITY' 's_stack INFINITY' 'h_stack INFINITY' 's_core INFINITY' \
    'h_core INFINITY' 's_rss INFINITY' 'h_rss INFINITY' 's_vmem INFINITY' 'h_vmem INFINITY'
  # Jobs start at once, not at the next of the scheduler's rounds.
  qconf -ssconf | sed -e 's/^schedule_interval.*/schedule_interval 0:0:1/' \
    -e 's/^flush_submit_sec.*/flush_submit_sec 1/' \
    -e 's/^flush_finish_sec.*/flush_finish_sec 1/' >"$G/scheduler"
  qconf -Msconf "$G/scheduler" >>"$G/qconf.log" 2>&1 || fail "qconf: $(tail -n 2 "$G/qconf.log")"
}

queue_is_up() { # the last column is empty where the queue is well
  qstat -f 2>/dev/null | awk '/^all\.q@/ && $4 != "-NA-" && NF == 5 {up = 1} END {exit !up}'
}

up() {
  require_root
  if running sge_qmaster && running sge_execd && queue_is_up; then
    return
  fi
  down
  mkdir -p "$G"
  resolve_host
  install gridengine-client gridengine-exec gridengine-master
  : >"$DAEMONS"
  write_cell
  write_spool
  start sge_qmaster "$G/qmaster.out" /usr/sbin/sge_qmaster
  wait_until 20 qconf -sconf || fail "qmaster: $(tail -n 3 "$G/qmaster.out")"
  write_queue
  start sge_execd "$G/execd.out" /usr/sbin/sge_execd
  wait_until 30 queue_is_up || fail "queue: $(qstat -f 2>&1)"
  cat >"$CLUSTER_DIR/gridengine.env" <<ENV
export SGE_ROOT=$SGE_ROOT SGE_CELL=$SGE_CELL
export SGE_QMASTER_PORT=$SGE_QMASTER_PORT SGE_EXECD_PORT=$SGE_EXECD_PORT
ENV
  echo 'echo ran' | timeout 60 qsub -sync y -j y -o "$G/proof" -S /bin/sh >/dev/null 2>&1
  grep -qx ran "$G/proof" 2>/dev/null || fail "no job runs: $(qstat -f 2>&1)"
  echo "Grid Engine is up: . $CLUSTER_DIR/gridengine.env"
}

queue_is_empty() {
  [ -z "$(qstat -u '*')" ]
}

down() {
  if running sge_qmaster; then
    timeout 20 qdel -u '*' >/dev/null 2>&1
    wait_until 15 queue_is_empty || timeout 20 qdel -f -u '*' >/dev/null 2>&1
  fi
  stop sge_execd
  stop sge_qmaster
  rm -rf "$G" "$CLUSTER_DIR/gridengine.env"
}

case ${1:-} in
up | down) "$1" ;;
*) fail "gridengine.sh up or gridengine.sh down" ;;
esac
