#!/bin/sh
# Process 1 of the node: makes it, starts its components and keeps them running. It starts in new mount, pid,
# network, UTS and IPC namespaces (up.ts). Its end is the end of everything in the node.
#
#   init.sh NAME STATE PROGRAMS CGROUP…
#
# NAME is the cluster's and that of its control group, CGROUP… the directories of that; STATE is the cluster's
# directory, PROGRAMS that of its programs.
#
# Files: the root is a tmpfs, with this machine's programs (/usr) read-only, STATE as /cluster and PROGRAMS as
# /cluster/bin; what can become large is in STATE. Nothing else of this machine is in sight.
# Network: loopback, and an interface that has the node's addresses and nobody at its other end. There is no
# link to the machine and no default route: what isn't in the cluster is unreachable at once.
# Kernel: /proc/sys is read-only but for the network's part, which is the namespace's own. The kubelet
# insists on some values that are the machine's; it is shown what it wants to see.
set -eu
name=$1
state=$2
programs=$3
shift 3
# All that is started from here on is in the node's control group, where `down` finds it.
for group; do echo 0 >"$group/system/cgroup.procs"; done
# /proc is still the machine's, so this is the number by which the machine knows this process.
read -r pid _ </proc/self/stat
echo "$pid" >"$state/node.pid"

root=$state/root
mount -t tmpfs -o mode=755 node "$root"
cd "$root"
mkdir -p usr etc/cni/net.d proc sys dev run tmp root cluster old \
  var/tmp var/log opt/cni/bin var/lib/etcd var/lib/containerd var/lib/kubelet var/lib/cni
mount --bind /usr usr
mount -o remount,bind,ro usr
# On a merged-/usr system these are links.
for each in bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$each" ]; then
    cp -P "/$each" "$each"
  elif [ -d "/$each" ]; then
    mkdir "$each"
    mount --bind "/$each" "$each"
    mount -o remount,bind,ro "$each"
  fi
done
cp -r /etc/alternatives /etc/ld.so.cache etc/
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
# In a hybrid set-up the unified hierarchy has no controllers, and only confuses.
[ ! -d sys/fs/cgroup/unified ] || umount sys/fs/cgroup/unified
mount --rbind /dev dev
mount -t tmpfs -o mode=755 run run
mount --bind "$state" cluster
mount --bind "$programs" cluster/bin
for each in etcd containerd kubelet cni; do mount --bind "$state/data/$each" "var/lib/$each"; done
mount --bind "$state/log" var/log
pivot_root . old
cd /
umount -l /old
rmdir /old
mount --make-rshared /

export PATH=/cluster/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
hostname node
mkdir /run/sysctl
mount --bind /proc/sys /proc/sys
mount --bind /proc/sys/net /proc/sys/net
for each in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
  kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  shown=/run/sysctl/$(echo "${each%=*}" | tr / .)
  echo "${each#*=}" >"$shown"
  mount --bind "$shown" "/proc/sys/${each%=*}"
done
mount -o remount,bind,ro /proc/sys

ip link set lo up
ip link add eth0 type veth peer name nobody
ip address add 172.31.99.2/24 dev eth0
ip address add fd00:172:31:99::2/64 dev eth0 nodad
ip link set nobody up
ip link set eth0 up
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
# So that answers from one pod to another pass kube-proxy's rules as well.
[ ! -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
[ ! -e /proc/sys/net/bridge/bridge-nf-call-ip6tables ] || echo 1 >/proc/sys/net/bridge/bridge-nf-call-ip6tables
printf '127.0.0.1 localhost\n::1 localhost\n172.31.99.2 node\n' >/etc/hosts
echo 'root:x:0:0:root:/root:/bin/sh' >/etc/passwd
echo 'root:x:0:' >/etc/group
: >/etc/resolv.conf
cp /cluster/etc/cni.conflist /etc/cni/net.d/cluster.conflist

# keep NAME COMMAND…: runs a component, and again a second after its end.
keep() {
  component=$1
  shift
  while :; do
    if "$@"; then status=0; else status=$?; fi
    echo "$component ended with status $status"
    sleep 1
  done >>"/cluster/log/$component.log" 2>&1 </dev/null &
}

cd /cluster/pki
# Nothing of the cluster outlives the machine, so etcd needn't wait for its disk.
keep etcd etcd --name=node --data-dir=/var/lib/etcd --unsafe-no-fsync --log-level=warn \
  --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
  --listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380 \
  --initial-cluster=node=http://127.0.0.1:2380
keep containerd containerd --config=/cluster/etc/containerd.toml
keep kube-apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
  --advertise-address=172.31.99.2 --secure-port=6443 --allow-privileged=true \
  --service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112 \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
  --client-ca-file=ca.crt --tls-cert-file=apiserver.crt --tls-private-key-file=apiserver.key \
  --kubelet-client-certificate=apiserver-kubelet-client.crt \
  --kubelet-client-key=apiserver-kubelet-client.key --kubelet-certificate-authority=ca.crt \
  --kubelet-preferred-address-types=InternalIP \
  --service-account-issuer=https://kubernetes.default.svc.cluster.local \
  --service-account-key-file=service-accounts.key --service-account-signing-key-file=service-accounts.key

# The kubelet would wait long before it tries again to get an image that isn't there yet.
until ctr version >/dev/null 2>&1; do sleep 0.1; done
for image in /cluster/images/*.tar; do
  ctr --namespace k8s.io images import "$image" >>/cluster/log/images.log 2>&1
  rm "$image"
done
# Those below try again only after a while, too.
until [ "$(curl --silent --cacert ca.crt https://127.0.0.1:6443/readyz)" = ok ]; do sleep 0.1; done
keep kube-controller-manager kube-controller-manager --kubeconfig=controller-manager.kubeconfig \
  --authentication-kubeconfig=controller-manager.kubeconfig \
  --authorization-kubeconfig=controller-manager.kubeconfig \
  --bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials=true \
  --allocate-node-cidrs=true --cluster-cidr=10.244.0.0/16,fd00:10:244::/56 \
  --service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112 \
  --service-account-private-key-file=service-accounts.key --root-ca-file=ca.crt
keep kube-scheduler kube-scheduler --kubeconfig=scheduler.kubeconfig \
  --authentication-kubeconfig=scheduler.kubeconfig --authorization-kubeconfig=scheduler.kubeconfig \
  --bind-address=127.0.0.1 --leader-elect=false
keep kubelet kubelet --config=/cluster/etc/kubelet.yaml --kubeconfig=kubelet.kubeconfig \
  --cgroup-root="/$name" --hostname-override=node --node-ip=172.31.99.2,fd00:172:31:99::2
keep kube-proxy kube-proxy --config=/cluster/etc/kube-proxy.yaml
# Waits for ever, and for the processes whose parents have ended.
wait
