#!/bin/sh
# Installs what make build has made: programs in $PREFIX/bin, systemd units in /etc/systemd/system, and sample
# configurations in /etc/dongthanh, where an existing one is never touched. With DESTDIR it only lays the files out, for
# who builds packages; without, it makes the user dongthanh and tells systemd of the units. It starts nothing.
set -eu
PREFIX=${PREFIX:-/usr/local}
DESTDIR=${DESTDIR:-}
cd "$(dirname "$0")/.."

install -d "$DESTDIR$PREFIX/bin" "$DESTDIR/etc/systemd/system" "$DESTDIR/etc/dongthanh"
for program in streamer relay client; do
	install -m 755 "bin/$program" "$DESTDIR$PREFIX/bin/$program"
	sed "s|/usr/local/bin|$PREFIX/bin|" "configs/systemd/dongthanh-$program.service" >"$DESTDIR/etc/systemd/system/dongthanh-$program.service"
	chmod 644 "$DESTDIR/etc/systemd/system/dongthanh-$program.service"
	if [ ! -e "$DESTDIR/etc/dongthanh/$program.yaml" ]; then
		sed "s|dir: var/$program|dir: /var/lib/dongthanh/$program|" "configs/$program.yaml" >"$DESTDIR/etc/dongthanh/$program.yaml"
		chmod 644 "$DESTDIR/etc/dongthanh/$program.yaml"
	fi
done
[ -z "$DESTDIR" ] || exit 0

id dongthanh >/dev/null 2>&1 || useradd --system --user-group --home-dir /var/lib/dongthanh --shell /usr/sbin/nologin dongthanh
for program in streamer relay client; do # so that enrolling and zone import can come before the first start
	install -d -m 700 -o dongthanh -g dongthanh "/var/lib/dongthanh/$program"
done
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
echo "installed; next: systemctl enable --now dongthanh-streamer (or -relay, -client)" >&2
