#!/usr/bin/env bash
# A real SLURM of one node on this machine, from Debian's slurm-wlm and munge: to try the workflow's
# cluster profile where there is no cluster. Needs root; without systemd, cgroups and accounting.
# usage: single_node.sh start | stop
set -euo pipefail

stop() {
    pkill -x slurmd || true
    pkill -x slurmctld || true
    pkill -x munged || true
}

start() {
    command -v slurmctld > /dev/null || apt-get install --yes --no-install-recommends slurm-wlm munge
    host=$(hostname -s)
    memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
    install -d -o munge -g munge -m 0755 /run/munge
    install -d -m 0755 /var/spool/slurmctld /var/spool/slurmd /etc/slurm
    [ -f /etc/munge/munge.key ] || mungekey --create
    cat > /etc/slurm/slurm.conf << CONF
ClusterName=one
SlurmctldHost=$host
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
MinJobAge=3600
NodeName=$host CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
    runuser -u munge -- munged
    slurmctld
    slurmd
    for _ in $(seq 30); do
        sinfo --noheader --format %T 2> /dev/null | grep -q idle && break
        scontrol update "nodename=$host" state=resume 2> /dev/null || true
        sleep 1
    done
    sinfo
}

"${1:?start or stop}"
