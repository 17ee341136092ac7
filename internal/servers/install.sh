#!/bin/sh
# install.sh PACKAGE...: installs Debian packages, as root, so that no service starts that did not run before: no cluster
# of PostgreSQL is made, Redis is neither started nor enabled. What it sets aside for that it puts back, also when it fails.
set -eu
export DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1
policy=/usr/sbin/policy-rc.d
conf=/etc/postgresql-common/createcluster.conf
shipped=/usr/share/postgresql-common/createcluster.conf
kept=$(mktemp -d)

restore() {
	if [ -e "$kept/policy-made" ]; then rm -f "$policy"; fi
	if [ -e "$kept/conf" ]; then
		cp -p "$kept/conf" "$conf"
	elif [ -e "$kept/conf-made" ]; then
		rm -f "$conf" "$conf.ucf-dist"
		if [ -e "$shipped" ]; then cp "$shipped" "$conf"; else rmdir /etc/postgresql-common 2>/dev/null || true; fi
	fi
	rm -rf "$kept"
}
trap restore EXIT

# quietly shows what a command prints only if it fails.
quietly() {
	"$@" >"$kept/log" 2>&1 </dev/null || {
		cat "$kept/log" >&2
		exit 1
	}
}
trap 'exit 1' INT TERM HUP

if [ ! -e "$policy" ]; then
	touch "$kept/policy-made"
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
if [ -e "$conf" ]; then cp -p "$conf" "$kept/conf"; else touch "$kept/conf-made"; fi
mkdir -p "$(dirname "$conf")"
printf 'create_main_cluster = false\n' >>"$conf"

had_redis=$(dpkg-query -W -f='${db:Status-Status}' redis-server 2>/dev/null || true)
quietly apt-get update -q
quietly apt-get install -q -y --no-install-recommends -o Dpkg::Options::=--force-confold "$@"
if [ "$had_redis" != installed ] && command -v systemctl >/dev/null 2>&1; then
	systemctl disable redis-server >/dev/null 2>&1 || true # not installed, or no systemd at work: nothing to disable
fi
