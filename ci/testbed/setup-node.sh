#!/bin/bash
# Runs inside the node image that is being made: turns a Debian root, with kind's own files and the
# Kubernetes programs copied over it, into a node. Follows the Dockerfile of kind's base image
# (images/base in the module sigs.k8s.io/kind).
set -euo pipefail

# What a copy through Go's module cache loses: it is read-only and knows no executable files.
find /kind /etc/containerd /etc/systemd/system /etc/sysctl.d /etc/default -type f -exec chmod 644 {} +
chmod 755 /kind /kind/bin /kind/bin/*.sh /usr/local/bin/* /usr/local/sbin/* /usr/bin/kubelet /usr/bin/kubeadm /usr/bin/kubectl

# A container has no hardware, no consoles and no disks to look after.
find /lib/systemd/system/sysinit.target.wants/ -name systemd-tmpfiles-setup.service -delete
rm -f /lib/systemd/system/multi-user.target.wants/* /etc/systemd/system/*.wants/* \
  /lib/systemd/system/local-fs.target.wants/* /lib/systemd/system/basic.target.wants/* \
  /lib/systemd/system/sockets.target.wants/*udev* /lib/systemd/system/sockets.target.wants/*initctl*
echo ReadKMsg=no >>/etc/systemd/journald.conf
systemctl enable kubelet.service containerd.service undo-mount-hacks.service \
  refuse-unknown-services.service 2>/dev/null
systemctl mask systemd-binfmt.service 2>/dev/null

# kind expects containerd where its own build puts it, and Debian's plugins where Kubernetes looks.
ln -sf /usr/bin/containerd /usr/bin/ctr /usr/local/bin/
mkdir -p /opt/cni/bin /etc/kubernetes/manifests
cp /usr/lib/cni/* /opt/cni/bin/

# runc-caps is runc where nothing is missing.
sed -i -e 's#SystemdCgroup = true#&\n    BinaryName = "/usr/local/sbin/runc-caps"#' \
  -e 's#restrict_oom_score_adj = false#restrict_oom_score_adj = true#' \
  -e "s#sandbox_image = .*#sandbox_image = \"$PAUSE_IMAGE\"#" /etc/containerd/config.toml
grep -q runc-caps /etc/containerd/config.toml && grep -qF "$PAUSE_IMAGE" /etc/containerd/config.toml
sed -i -e '/^OOMScoreAdjust/d' -e '/^Limit/d' /etc/systemd/system/containerd.service
ctr oci spec | jq '.hooks.createContainer += [{path: "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' \
  >/etc/containerd/cri-base.json

# The images of Kubernetes, unpacked when they are first used.
containerd >/tmp/containerd.log 2>&1 &
pid=$!
for _ in $(seq 100); do ctr version >/dev/null 2>&1 && break; sleep 0.1; done
ctr -n k8s.io images import --all-platforms --no-unpack /images.tar >/dev/null || { cat /tmp/containerd.log >&2; exit 1; }
kill "$pid"
wait "$pid" || true
rm -rf /images.tar /tmp/containerd.log /setup-node.sh
