#!/bin/sh
# Runs a command with what it needs, installing what is missing on Debian 12 as root.
#
#   tools/with.sh THING... -- COMMAND [ARG...]     (from the folder of go.mod)
#
# Things: go opus alsa pulse redis chromium ffmpeg gstreamer fonts srtp espeak ip nft certutil pebble. Nothing is asked of
# the network when nothing is missing. Where something cannot be installed, one line says what and why, and the exit code
# is 1.
set -eu

want_go=1.26.8  # as in go.mod; internal/arch holds the two together
first_auto=1.21 # the first Go that fetches a newer one by itself

fail() {
	echo "make: $*" >&2
	exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# at_least A B: version A is B or later.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

# go_version PROGRAM prints its version without asking for another toolchain; nothing if it is none.
go_version() { (cd / && GOTOOLCHAIN=local "$1" version 2>/dev/null) | sed -n 's/^go version go\([0-9.]*\).*/\1/p'; }

# fetched_go prints where this script's own toolchain lies, or would.
fetched_go() {
	case $(uname -m) in
	x86_64) arch=amd64 ;;
	aarch64) arch=arm64 ;;
	*) arch=$(uname -m) ;;
	esac
	echo "${GOMODCACHE:-${GOPATH:-$HOME/go}/pkg/mod}/golang.org/toolchain@v0.0.1-go$want_go.linux-$arch"
}

# find_go LEAST prints the first Go of that version or later.
find_go() {
	for g in "$(command -v go || true)" /usr/local/go/bin/go "$(fetched_go)/bin/go"; do
		[ -x "$g" ] || continue
		v=$(go_version "$g")
		if [ -n "$v" ] && at_least "$v" "$1"; then
			echo "$g"
			return
		fi
	done
}

# missing prints the Debian packages of a thing that is not there.
missing() {
	case $1 in
	go)
		[ -n "$(find_go $first_auto)" ] || have go || echo golang-go
		[ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
		;;
	opus)
		have gcc || echo gcc libc6-dev
		have pkg-config || echo pkg-config
		pkg-config --exists opus 2>/dev/null || echo libopus-dev
		pkg-config --exists opusfile 2>/dev/null || echo libopusfile-dev # for a plain "go build", without our tag
		;;
	alsa) pkg-config --exists alsa 2>/dev/null || echo libasound2-dev ;;
	pulse)
		have pulseaudio && have parec || echo pulseaudio pulseaudio-utils
		# ALSA's way to the sound server
		[ -n "$(find /usr/lib -name libasound_module_pcm_pulse.so 2>/dev/null)" ] || echo libasound2-plugins
		;;
	redis) have redis-server || echo redis-server ;;
	chromium) have chromium || have chromium-browser || have google-chrome || echo chromium ;;
	ffmpeg) have ffmpeg || echo ffmpeg ;;
	gstreamer) # srtpenc is of -bad
		have gst-launch-1.0 && gst-inspect-1.0 --exists opusenc && gst-inspect-1.0 --exists rtpopuspay &&
			gst-inspect-1.0 --exists srtpenc || echo gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
		;;
	fonts) have fc-list && [ -n "$(fc-list :lang=vi)" ] || echo fontconfig fonts-dejavu-core ;;
	srtp) pkg-config --exists libsrtp2 2>/dev/null || echo libsrtp2-dev ;;
	espeak) have espeak-ng || echo espeak-ng ;;
	ip) have ip || echo iproute2 ;;
	nft) have nft || echo nftables ;;
	certutil) have certutil || echo libnss3-tools ;; # to install a certificate authority in Chromium
	pebble) have pebble && have pebble-challtestsrv || echo pebble ;; # an ACME server
	*) fail "tools/with.sh knows no \"$1\"" ;;
	esac
}

# install PACKAGE... as root, quietly, and without letting a package start a service.
install() (
	have apt-get || fail "missing: $* (Debian's names). Install them with this system's package manager."
	[ "$(id -u)" = 0 ] || fail "missing: $*. Run as root: apt-get install $*"
	echo "make: installing $*" >&2
	log=$(mktemp)
	policy=/usr/sbin/policy-rc.d # Debian's way to keep a package from starting its service
	if [ -e $policy ]; then
		trap 'rm -f "$log"' EXIT
	else
		trap 'rm -f "$log" $policy' EXIT
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod +x $policy
	fi
	export DEBIAN_FRONTEND=noninteractive
	apt="apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=2 -o Acquire::http::Timeout=20"
	$apt update >"$log" 2>&1 || true # an old list may do; the next line tells
	if ! $apt install --no-install-recommends "$@" >>"$log" 2>&1; then
		fail "cannot install $*: $(sed -n 's/^[EW]: //p' "$log" | head -n 1) (no network?)"
	fi
	case " $* " in *" redis-server "*)
		# Only the program is wanted: no server at the next start of the machine either.
		update-rc.d redis-server disable >/dev/null 2>&1 || true
		! have systemctl || systemctl disable redis-server >/dev/null 2>&1 || true
		;;
	esac
)

# bootstrap_go fetches the Go that we want as a module, with a Go too old to do so by itself:
# Debian 12 has 1.19. The checksum database vouches for it, as for every module.
bootstrap_go() {
	old=$(command -v go) || fail "Go $want_go is missing. See https://go.dev/doc/install"
	dir=$(fetched_go)
	echo "make: $old is Go $(go_version "$old"); fetching Go $want_go" >&2
	said=$(cd / && GO111MODULE=on GOFLAGS='' "$old" mod download "golang.org/toolchain@${dir##*@}" 2>&1) ||
		fail "cannot fetch Go $want_go (no network?): $(echo "$said" | tail -n 1)"
	chmod +x "$dir"/bin/* "$dir"/pkg/tool/*/* # modules are stored without the right to be run
}

packages=
things=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
	things="$things $1 "
	packages="$packages $(missing "$1")"
	shift
done
[ $# -gt 1 ] || fail "usage: tools/with.sh THING... -- COMMAND [ARG...]"
shift
packages=$(echo $packages) # one space between, none around
# shellcheck disable=SC2086 # a word a package
[ -z "$packages" ] || install $packages
case "$things" in *" go "*)
	go=$(find_go $want_go)
	[ -n "$go" ] || go=$(find_go $first_auto)
	if [ -z "$go" ]; then
		bootstrap_go
		go=$(find_go $want_go)
	fi
	[ -n "$go" ] || fail "Go $want_go is missing. See https://go.dev/doc/install"
	at_least "$(go_version "$go")" $want_go || export GOTOOLCHAIN=auto # fetches the Go that go.mod names
	PATH=$(dirname "$go"):$PATH
	export PATH
	# All modules at once: without a network each package of each would complain. What the programs
	# need may be there all the same.
	if ! said=$(go mod download 2>&1) && ! GOPROXY=off go list -deps ./streamer ./relay ./client >/dev/null 2>&1; then
		fail "cannot fetch the Go modules (no network?): $(echo "$said" | tail -n 1)"
	fi
	;;
esac
exec "$@"
