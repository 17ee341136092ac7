#!/bin/sh
# mysql97.sh DIR: unpacks the MySQL server of Debian's unstable suite, with the libraries that it wants, into DIR. It uses an apt
# configuration of its own: the system's packages and lists are left as they are.
set -eu
dir=$1
apt=$dir/apt
mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d/ 2>/dev/null | head -n 1 | tr -d ' ') ||
	mirror=
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
: >"$apt/status"
printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s sid main\n' "${mirror:-http://deb.debian.org/debian}" >"$apt/sources.list"
cat >"$apt/apt.conf" <<CONF
Dir::State::lists "$apt/lists"; Dir::State::status "$apt/status"; Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list"; Dir::Etc::sourceparts "/dev/null"; Dir::Etc::preferences "/dev/null"; Dir::Etc::preferencesparts "/dev/null";
APT::Sandbox::User ""; APT::Install-Recommends "false"; APT::Architecture "amd64"; Acquire::Languages "none"; Debug::NoLocking "true";
CONF
export APT_CONFIG="$apt/apt.conf"
apt-get -q update
apt-get -q -y --download-only install mysql-server-core
mkdir "$dir/tree"
for deb in "$apt"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$dir/tree"; done
for d in lib lib64 bin sbin; do
	if [ ! -e "$dir/tree/$d" ]; then ln -s "usr/$d" "$dir/tree/$d"; fi
done
chmod -R a+rX "$dir/tree"
