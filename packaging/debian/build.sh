#!/bin/sh
# Builds the Debian package around a program that is built already, and prints where it is.
#
# usage: build.sh PROGRAM FOLDER
set -eu
program=$1
out=$2
here=$(dirname "$(readlink -f "$0")")
version=$("$program" --version | cut -d ' ' -f 2)
architecture=$(dpkg --print-architecture)
# The package runs where there is a C library at least as new as the one it was built with.
libc=$(getconf GNU_LIBC_VERSION | cut -d ' ' -f 2)
mkdir -p "$out"
root=$(mktemp -d "$out/root.XXXXXX")
trap 'rm -rf "$root"' EXIT
chmod 0755 "$root"

put() {
    install -D -m "$1" "$2" "$root$3"
}

put 0755 "$program" /usr/bin/portcullis
strip --strip-unneeded "$root/usr/bin/portcullis" 2>/dev/null || true
put 0644 "$here/../systemd/portcullis.service" /lib/systemd/system/portcullis.service
put 0640 "$here/portcullis.yaml" /etc/portcullis/portcullis.yaml
put 0644 "$here/copyright" /usr/share/doc/portcullis/copyright
mkdir -p "$root/usr/share/man/man1" "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions" \
    "$root/usr/share/fish/vendor_completions.d" "$root/DEBIAN"
gzip -9 --no-name <"$here/portcullis.1" >"$root/usr/share/man/man1/portcullis.1.gz"
gzip -9 --no-name <"$here/../../CHANGELOG.md" >"$root/usr/share/doc/portcullis/changelog.gz"
"$program" completions bash >"$root/usr/share/bash-completion/completions/portcullis"
"$program" completions zsh >"$root/usr/share/zsh/vendor-completions/_portcullis"
"$program" completions fish >"$root/usr/share/fish/vendor_completions.d/portcullis.fish"
find "$root/usr/share" -type f -exec chmod 0644 {} +
find "$root" -type d -exec chmod 0755 {} +

printf '/etc/portcullis/portcullis.yaml\n' >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    install -m 0755 "$here/$script" "$root/DEBIAN/$script"
done
cat >"$root/DEBIAN/control" <<CONTROL
Package: portcullis
Version: $version
Architecture: $architecture
Maintainer: The Portcullis authors <portcullis@localhost>
Section: net
Priority: optional
Depends: libc6 (>= $libc), libgcc-s1, adduser
Recommends: ca-certificates
Installed-Size: $(du -k -s "$root/usr" | cut -f 1)
Description: API gateway that is secure by default
 Stands in front of HTTP APIs and lets through only what is named, known,
 allowed, within its share and well-formed; and can say afterwards who did
 what.
CONTROL
package="$out/portcullis_${version}_${architecture}.deb"
# A quarter larger than with the default compression, in a tenth of the time.
dpkg-deb -Zgzip --root-owner-group --build "$root" "$package" >&2
printf '%s\n' "$package"
