#!/bin/sh
# Brings this gateway up, or up to date, from a bundle that `millwright.fleet.pull` made for it: from a USB stick, or
# from wherever it was put. Needs no network but the way to the plant's broker, and of Debian's packages no more than
# python3 and openssh-client.
#
#   sh apply.sh BUNDLE.tar ALLOWED_SIGNERS     the first time: who may sign is yours to check
#   millwright-pull BUNDLE.tar                 from then on
#
# Exit codes: 0 applied (or already), 1 could not be applied, 2 wrong usage, 4 the bundle is refused.
set -eu
umask 077
kept=${MILLWRIGHT_PULL_DIR:-/var/lib/millwright/pull}
say() { echo "millwright-pull: $*" >&2; }

[ "$(id -u)" = 0 ] || [ -n "${MILLWRIGHT_PULL_DIR:-}" ] || { say "expected root"; exit 2; }
[ $# -ge 1 ] && [ $# -le 2 ] || { say "expected BUNDLE.tar, and the first time ALLOWED_SIGNERS"; exit 2; }
for program in python3 ssh-keygen tar flock; do
  command -v $program >/dev/null || { say "$program is missing"; exit 1; }
done
me=$(realpath -- "$0")
bundle=$1
signers=${2:-$kept/allowed_signers}
[ -f "$signers" ] || { say "$signers: no such file; name who may sign, the first time"; exit 2; }
if [ $# = 2 ] && [ -f $kept/allowed_signers ] && ! cmp -s "$2" $kept/allowed_signers; then
  say "this gateway knows other signers: remove $kept/allowed_signers first, if that is meant"
  exit 4
fi
mkdir -p $kept
exec 9>$kept/.lock
flock -n 9 || { say "another one runs"; exit 1; }

# Only what was verified is looked at: a copy, which nobody else can change meanwhile.
rm -rf $kept/new
mkdir $kept/new
trap 'rm -rf $kept/new' EXIT
cp -- "$bundle" $kept/new/bundle.tar
cp -- "$bundle.sig" $kept/new/bundle.tar.sig
ssh-keygen -Y verify -n millwright-pull -I millwright -f "$signers" -s $kept/new/bundle.tar.sig \
  <$kept/new/bundle.tar >/dev/null || { say "$bundle: the signature is not good"; exit 4; }
mkdir $kept/new/content
tar -C $kept/new/content --no-same-owner -xf $kept/new/bundle.tar
rm $kept/new/bundle.tar

python3 - $kept/new/content/manifest.json $kept/applied.json <<'PYTHON' || exit 4
import json, pathlib, sys
new = json.loads(pathlib.Path(sys.argv[1]).read_text())
kept = pathlib.Path(sys.argv[2])
old = json.loads(kept.read_text()) if kept.exists() else {"gateway": new["gateway"], "serial": 0}
if new["format"] != 1:
    sys.exit(f"millwright-pull: expected a bundle of format 1, got {new['format']}")
if new["gateway"] != old["gateway"]:
    sys.exit(f"millwright-pull: this gateway is {old['gateway']}, the bundle is for {new['gateway']}")
if new["serial"] < old["serial"]:
    sys.exit(f"millwright-pull: {new['serial']} is older than what was applied, {old['serial']}")
PYTHON
cp -- "$signers" $kept/new/signers
mv $kept/new/signers $kept/allowed_signers
rm -rf $kept/current
mv $kept/new/content $kept/current

# Ansible itself comes from the archive, too: wheels are zip files, and these few need no more than to be unpacked.
(
  cd $kept/current/wheelhouse
  for archive in *.tar; do
    ssh-keygen -Y verify -n millwright-wheelhouse -I millwright -f $kept/allowed_signers -s "$archive.sig" \
      <"$archive" >/dev/null || { say "$archive: the signature is not good"; exit 4; }
    python3 - "$archive" $kept/current/python <<'PYTHON'
import hashlib, io, re, sys, tarfile, zipfile
with tarfile.open(sys.argv[1], "r:") as tar:
    pinned = set(re.findall(r"sha256:([0-9a-f]{64})", tar.extractfile("requirements-pull.txt").read().decode()))
    for member in tar:
        if member.name.endswith(".whl") and member.isfile():
            data = tar.extractfile(member).read()
            if hashlib.sha256(data).hexdigest() in pinned:
                zipfile.ZipFile(io.BytesIO(data)).extractall(sys.argv[2])
PYTHON
  done
)
cd $kept/current
umask 022
# Not by PYTHONPATH, which everything that Ansible starts would inherit.
run='import sys; sys.path.insert(0, sys.argv.pop(1)); from ansible.cli.playbook import main; sys.exit(main())'
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
  ANSIBLE_HOME=$kept/current/.ansible ANSIBLE_COLLECTIONS_PATH=$kept/current/collections ANSIBLE_CONFIG=$kept/ansible.cfg \
  ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_INVENTORY_UNPARSED_WARNING=false \
  python3 -c "$run" $kept/current/python --inventory hosts.json millwright.fleet.site ||
  { say "not applied: see above; the same bundle may be tried again"; exit 1; }
cp manifest.json $kept/applied.json
if [ "$0" != /usr/local/sbin/millwright-pull ]; then
  install -m 0755 -- "$me" /usr/local/sbin/millwright-pull
fi
# The token is used up, and the archive unpacked where it belongs.
rm -rf $kept/current/wheelhouse/*.tar $kept/current/hosts.json $kept/current/python
say "applied"
