#!/bin/bash
# Runs inside the Debian image: collect.sh OUT FILE… copies files into OUT/root with the libraries they
# need, and writes the packages they come from to OUT/packages. Links stay links, their targets follow.
set -euo pipefail
out=$1
shift
mkdir -p "$out/root"
declare -A seen packages
take() {
  local path=$1 target
  [ -z "${seen[$path]-}" ] || return 0
  seen[$path]=1
  local dir
  # /bin and /lib are links in Debian: a file is put where it really lies.
  dir=$(realpath "$(dirname "$path")")
  target=$dir/$(basename "$path")
  mkdir -p "$out/root$dir"
  cp -a "$target" "$out/root$dir/"
  local owner
  owner=$(dpkg-query -S "$target" 2>/dev/null || dpkg-query -S "${target#/usr}" 2>/dev/null || true)
  owner=${owner%%:*}
  # Made by the package's script, so that dpkg knows no owner.
  [[ $target != /etc/ssl/certs/* ]] || owner=ca-certificates
  [ -z "$owner" ] || packages[${owner%%,*}]=1
  if [ -L "$target" ]; then
    # One hop at a time: Debian's alternatives are links to links.
    local next
    next=$(readlink "$target")
    [[ $next == /* ]] || next=$dir/$next
    take "$next"
  elif [ -d "$target" ]; then
    # Plug-ins need libraries, too.
    local inner
    for inner in "$target"/*; do take "$inner"; done
  elif ldd "$target" >/dev/null 2>&1; then
    while read -r library; do take "$library"; done < <(ldd "$target" | grep -oE '/[^ ]+\.so[^ ]*')
  fi
}
# Unquoted: a name may be a pattern.
for file in $*; do take "$file"; done
for link in bin sbin lib lib64; do
  [ ! -d "$out/root/usr/$link" ] || ln -s "usr/$link" "$out/root/$link"
done
if [ -x "$out/root/usr/bin/busybox" ] || [ -x "$out/root/bin/busybox" ]; then
  for applet in $(/bin/busybox --list); do
    [ "$applet" = busybox ] || ln -sf busybox "$out/root/usr/bin/$applet"
  done
fi
for package in "${!packages[@]}"; do dpkg-query -W -f '${Package}=${Version}\n' "$package" | head -n 1; done | sort >"$out/packages"
