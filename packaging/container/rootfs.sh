#!/bin/sh
# Assembles the root file system of the container image: the program, the libraries it needs, the system's authorities, its user, and nothing
# else. Used by the Containerfile and by the tests.
#
# usage: rootfs.sh PROGRAM FOLDER
set -eu
program=$1
root=$2
mkdir -p "$root/usr/bin" "$root/etc/portcullis" "$root/etc/ssl/certs" "$root/var/lib/portcullis" "$root/tmp"
install -m 0755 "$program" "$root/usr/bin/portcullis"
# What the program is linked with, at the same paths, and the loader that finds it there.
ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    install -m 0755 "$(readlink -f "$library")" "$root$library"
done
# For upstreams that are verified by the system's authorities.
if [ -r /etc/ssl/certs/ca-certificates.crt ]; then
    install -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
fi
printf 'portcullis:x:10001:10001::/var/lib/portcullis:/nonexistent\n' >"$root/etc/passwd"
printf 'portcullis:x:10001:\n' >"$root/etc/group"
chmod 0750 "$root/var/lib/portcullis"
chmod 1777 "$root/tmp"
