#!/bin/bash
# Makes the root file system of an image for one program: the program, the libraries it loads and the loader, CA certificates, a user.
#   tools/make-rootfs.sh PROGRAM FOLDER
set -euo pipefail
program=$1
root=$2
rm -rf "$root"
mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/tmp"
install -m 755 -s "$program" "$root/usr/bin/"
# Libraries keep their paths, so that the loader finds them without a cache. A line is "name => path (address)", or "path (address)" for the loader.
libraries=$(ldd "$program" | sed -n 's|^\s*\(.* => \)\?\(/[^ ]*\) (0x.*|\2|p')
[ -n "$libraries" ] || { echo "$program: ldd names no library" >&2; exit 1; }
for library in $libraries; do install -D -m 755 "$(readlink -f "$library")" "$root$library"; done
install -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
# Where OpenSSL looks by default.
mkdir -p "$root/usr/lib/ssl"
ln -s /etc/ssl/certs/ca-certificates.crt "$root/usr/lib/ssl/cert.pem"
echo 'nonroot:x:65532:65532::/nonexistent:/usr/sbin/nologin' > "$root/etc/passwd"
echo 'nonroot:x:65532:' > "$root/etc/group"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
chmod 1777 "$root/tmp"
