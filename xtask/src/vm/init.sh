#!/bin/busybox sh
# The first process of the machine that `cargo xtask vm` starts. What stands behind a line `@@ NAME` is that section.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tracefs trace /sys/kernel/tracing
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up

echo "@@ kernel"
uname -r

echo "@@ doctor"
gostray doctor --json

# Every probe: births, deaths, and with --park each wait.
gostray run --json --park on -- exact -n "$BIRTHS" -m "$DEATHS" >/tmp/said 2>/tmp/json &
gostray=$!
for _ in $(seq 60); do
    grep -q ^done /tmp/said && break
    sleep 1
done
# The last deaths are on their way still.
sleep 3
kill -TERM $gostray
wait $gostray
echo "@@ exact"
cat /tmp/said
echo "@@ run"
cat /tmp/json

demo >/tmp/said &
demo=$!
sleep 2
gostray attach $demo --json --duration "$WATCH" >/tmp/json 2>/tmp/errors
kill -TERM $demo
wait $demo
echo "@@ demo"
cat /tmp/said
echo "@@ attach"
cat /tmp/json /tmp/errors

echo "@@ end"
poweroff -f
