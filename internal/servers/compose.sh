#!/bin/sh
# compose.sh FILE: fetches docker-compose from Debian unstable into FILE with an apt of its own, so that the system's
# package lists and packages stay as they are.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
: >"$work/status"
echo 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main' >"$work/sources.list"
cat >"$work/apt.conf" <<END
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "$work/lists";
Dir::State::Status "$work/status";
Dir::Cache "$work/cache";
Acquire::Languages "none";
APT::Sandbox::User "";
END
export APT_CONFIG="$work/apt.conf"
cd "$work"
apt-get -q update >/dev/null
apt-get -q download docker-compose >/dev/null
dpkg-deb -x docker-compose_*.deb root
mv root/usr/libexec/docker/cli-plugins/docker-compose "$1"
