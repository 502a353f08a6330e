#!/usr/bin/env bash
# Installs Docker on a Debian machine and starts it, as root, where no service manager does. Safe to run
# again: what is in place stays as it is.
#   bash ci/testbed/docker.sh         install and start
#   bash ci/testbed/docker.sh stop    stop the engine
# Exit code 4: it can't be done on this machine, and the last line says why.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
wrapper=/usr/local/sbin/runc-caps
log=/var/log/dockerd.log
pidfile=/var/run/docker.pid

fail() { echo "docker.sh: $*" >&2; exit 4; }
answers() { docker info >/dev/null 2>&1; }
# Bit 24 of the bounding set is CAP_SYS_RESOURCE; without it runc can't start privileged containers.
lacks_sys_resource() { (((16#$(awk '/^CapBnd/ {print $2}' /proc/self/status) >> 24 & 1) == 0)); }
# The pid in Docker's pid file, if that is a Docker engine.
engine() {
  local pid
  pid=$(cat "$pidfile" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] && echo "$pid"
}

install_packages() {
  local missing=()
  { command -v dockerd && command -v docker; } >/dev/null || missing+=(docker.io)
  command -v iptables >/dev/null || missing+=(iptables)
  command -v debootstrap >/dev/null || missing+=(debootstrap)
  command -v jq >/dev/null || missing+=(jq)
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || fail "missing ${missing[*]}, and no apt-get: install them with this system's package manager"
  echo "installing ${missing[*]}"
  apt-get update -qq || fail "apt-get update failed: is a Debian mirror reachable?"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    fail "apt-get install ${missing[*]} failed"
}

# kind's advice for one node; the limits belong to the machine, not to a container.
raise_inotify() {
  local name want
  for setting in max_user_watches=524288 max_user_instances=512; do
    name=${setting%=*} want=${setting#*=}
    if (($(cat "/proc/sys/fs/inotify/$name") < want)); then
      if (echo "$want" >"/proc/sys/fs/inotify/$name") 2>/dev/null; then
        echo "set fs.inotify.$name to $want"
      else
        echo "docker.sh: fs.inotify.$name is below $want and can't be raised here" >&2
      fi
    fi
  done
}

start() {
  if [ -d /run/systemd/system ] && ! lacks_sys_resource; then
    systemctl enable --now docker >/dev/null 2>&1 || fail "systemctl could not start docker: journalctl -u docker"
    return
  fi
  local args=()
  if lacks_sys_resource; then
    install -m 755 "$here/runc-caps" "$wrapper"
    args+=(--add-runtime "caps=$wrapper" --default-runtime caps)
  fi
  engine >/dev/null || rm -f "$pidfile"
  setsid nohup dockerd "${args[@]}" >"$log" 2>&1 </dev/null &
  started=$!
}

stop() {
  local pid
  pid=$(engine) || { echo "no Docker engine is running"; return; }
  kill "$pid"
  # Where the first process doesn't reap, what has ended stays as a zombie.
  for _ in $(seq 120); do
    grep -q '^State:.[^Z]' "/proc/$pid/status" 2>/dev/null || { echo "Docker stopped"; return; }
    sleep 0.25
  done
  fail "Docker (pid $pid) did not stop in 30 s"
}

[ "$(id -u)" = 0 ] || fail "run it as root"
exec 9>/var/lock/tempo-stack-docker.lock
flock 9
case ${1-start} in
  stop) stop; exit ;;
  start) ;;
  *) echo "usage: docker.sh [start|stop]" >&2; exit 2 ;;
esac
install_packages
raise_inotify
if answers; then
  if lacks_sys_resource && ! docker info --format '{{.DefaultRuntime}}' | grep -qx caps; then
    fail "Docker answers, but this machine lacks CAP_SYS_RESOURCE and Docker's default runtime doesn't allow for that: stop Docker (bash ci/testbed/docker.sh stop, or as it was started) and run this again"
  fi
  echo "Docker $(docker info --format '{{.ServerVersion}}') answers"
  exit
fi
started=
start 9>&-
for _ in $(seq 120); do
  [ -z "$started" ] || kill -0 "$started" 2>/dev/null || break
  if answers; then
    echo "Docker $(docker info --format '{{.ServerVersion}}') started"
    exit
  fi
  sleep 0.25
done
[ -z "$started" ] || tail -n 5 "$log" >&2
fail "Docker does not answer"
