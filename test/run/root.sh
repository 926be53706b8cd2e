# To be sourced: bare Debian systems to try things in, made by debootstrap.
#
# The archive of a bare system is kept in $ROOTS for the next time. What is run
# in one has mounts and processes of its own, which end with it.
ROOTS=${DG_ROOTS:-/var/cache/deletion_guard/roots}

# mirror LABEL: the address that apt has for "Debian" or "Debian-Security".
mirror()
{
	apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Label: $1" | sed -n 1p
}

# Why there can be no such system here, if so.
root_impossible()
{
	if [ "$(id -u)" -ne 0 ]; then
		echo "only root can make one"
	elif ! command -v debootstrap >/dev/null; then
		echo "debootstrap is not installed"
	elif [ -z "$(mirror Debian)" ]; then
		echo "apt knows no mirror of Debian"
	elif ! unshare --mount --pid --fork true 2>/dev/null; then
		echo "no namespaces of its own can be had"
	fi
}

# root_make SUITE DIRECTORY: a bare system; or says why not, and fails.
root_make()
{
	local archive=$ROOTS/$1.tar log=$2.log suite=$1 how=

	mkdir -p "$ROOTS" "$2"
	# a month old: packages have moved on
	[ -z "$(find "$archive" -mtime +30 2>/dev/null)" ] || rm "$archive"
	if [ -e "$archive" ]; then
		tar -C "$2" -xf "$archive"
		return
	fi
	[ "$suite" != experimental ] || suite=sid
	# a release that is younger than debootstrap is made as the newest it knows
	[ -e "/usr/share/debootstrap/scripts/$suite" ] || how=/usr/share/debootstrap/scripts/sid
	# what it mounts goes with it, should it be stopped
	if ! unshare --mount --pid --fork --kill-child --mount-proc debootstrap --variant=minbase --include=ca-certificates "$suite" "$2" "$(mirror Debian)" $how >"$log" 2>&1; then
		echo "debootstrap: $(tail -1 "$log")"
		return 1
	fi
	case $1 in
		experimental) echo "deb $(mirror Debian) experimental main" ;;
		bookworm | trixie) [ -z "$(mirror Debian-Security)" ] || echo "deb $(mirror Debian-Security) $1-security main" ;;
	esac >>"$2/etc/apt/sources.list"
	# A mirror that stands still: its date is not looked at, its signatures are.
	printf 'Acquire::Check-Valid-Until "false";\nAcquire::Check-Date "false";\n' >"$2/etc/apt/apt.conf.d/99mirror"
	tar -C "$2" -cf "$archive.$$" . && mv "$archive.$$" "$archive"
}

# root_run DIRECTORY COMMAND...: as root of that system.
root_run()
{
	local root=$1

	shift
	unshare --mount --pid --fork --kill-child sh -c '
		mount --make-rprivate / && mount -t proc proc "$0/proc" && mount -t tmpfs tmpfs "$0/dev/shm" &&
		exec chroot "$0" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"' \
		"$root" "$@" </dev/null
}
