#!/usr/bin/env bash
# A Slurm cluster of one node on this machine, all of it below one folder, beside any Slurm that already runs here.
# usage: slurm_node.sh start DIR | stop DIR        After `start`, export SLURM_CONF=DIR/slurm.conf.
# Needs root, and slurm-wlm and munge of Debian or Ubuntu, which `start` installs where apt can.
# Exit code 3: it cannot be started here; the reason is on stderr.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"
work=$2

cannot() {
  echo "$*" >&2
  exit 3
}

# A port that nothing listens on.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 20000))
    (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null || break
  done
  echo "$port"
}

install_slurm() {
  command -v slurmctld > /dev/null && command -v munged > /dev/null && command -v sbatch > /dev/null && return
  command -v apt-get > /dev/null || cannot "no Slurm, and no apt-get to install it"
  # Packages start their services while they are installed; these have no configuration and stay off.
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge; } \
    > "$work/apt.log" 2>&1 || { tail -3 "$work/apt.log" >&2; cannot "slurm-wlm and munge could not be installed"; }
}

configure() {
  local host memory
  host=$(hostname -s)
  memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
  mkdir -p "$work"/{munge,state,spool,run}
  chmod 755 "$work" "$work"/*/
  head -c 1024 /dev/urandom > "$work/munge/key"
  chmod 400 "$work/munge/key"
  cat > "$work/slurm.conf" << C
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/run/slurmctld.pid
SlurmdPidFile=$work/run/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
KillWait=2
SchedulerParameters=sched_interval=2,batch_sched_delay=0
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=debug Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
C
}

start() {
  [ "$(id -u)" = 0 ] || cannot "starting Slurm needs root"
  mkdir -p "$work"
  install_slurm
  configure
  export SLURM_CONF="$work/slurm.conf"
  munged --force --key-file="$work/munge/key" --socket="$work/munge/socket" --pid-file="$work/run/munged.pid" \
    --log-file="$work/munged.log" --seed-file="$work/munge/seed" 2>> "$work/munged.err" || cannot "munged did not start: $(tail -2 "$work/munged.err")"
  slurmctld || cannot "slurmctld did not start"
  slurmd || cannot "slurmd did not start: $(tail -3 "$work/slurmd.log")"
  for _ in $(seq 100); do
    sinfo -h -o %T 2> /dev/null | grep -q idle && return
    sleep 0.2
  done
  cannot "the node did not become idle: $(tail -3 "$work/slurmctld.log" "$work/slurmd.log")"
}

stop() {
  local name pid
  for name in slurmd slurmctld munged; do
    pid=$(cat "$work/run/$name.pid" 2> /dev/null) || continue
    kill "$pid" 2> /dev/null || continue
    for _ in $(seq 50); do
      kill -0 "$pid" 2> /dev/null || break
      sleep 0.1
    done
  done
}

case $1 in
  start) start ;;
  stop) stop ;;
  *) echo "usage: $0 start DIR | stop DIR" >&2; exit 2 ;;
esac
