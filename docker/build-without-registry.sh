#!/bin/sh
# Build the service's image without an image registry: debootstrap makes the base from Debian's packages, and
# buildah builds docker/Dockerfile on it. Neither Docker nor a pull from a registry is needed.
#
#   sudo docker/build-without-registry.sh              # build sparsemod:VERSION-cpu
#   sudo docker/build-without-registry.sh --try        # also run a whole search in a container of it
#
# It needs root, debootstrap, buildah, and access to Debian's and PyPI's packages. Variables:
#
#   SUITE          Debian release with Python 3.11 (bookworm)
#   MIRROR         Debian mirror (https://deb.debian.org/debian)
#   TORCH_INDEX    PyTorch's index; empty: PyPI's build with CUDA (https://download.pytorch.org/whl/cpu)
#   BUILD_OPTIONS  further options of `buildah build`, such as --isolation chroot inside a container

set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
suite=${SUITE:-bookworm}
mirror=${MIRROR:-https://deb.debian.org/debian}
torch_index=${TORCH_INDEX-https://download.pytorch.org/whl/cpu}
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$root/sparsemod/version.py")
base=localhost/sparsemod-base:$suite
image=sparsemod:$version-cpu
try=no

for option in "$@"; do
  case $option in
    --try) try=yes ;;
    *) echo "usage: $0 [--try]" >&2; exit 2 ;;
  esac
done
for program in debootstrap buildah; do
  if ! command -v "$program" >/dev/null; then
    echo "$program is missing: apt-get install debootstrap buildah" >&2
    exit 2
  fi
done
if [ -z "$version" ]; then
  echo "no version in sparsemod/version.py" >&2
  exit 2
fi

work=$(mktemp -d)
container=
cleanup() {
  if [ -n "$container" ]; then buildah rm "$container" >/dev/null || true; fi
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# The base: what docker/Dockerfile expects of its PYTHON_IMAGE, `python` with venv, pip and CA certificates.
packages=ca-certificates,python3,python3-venv,python3-pip,python-is-python3
debootstrap --variant=minbase --include="$packages" "$suite" "$work/root" "$mirror"
rm -rf "$work/root/var/cache/apt/archives" "$work/root/var/lib/apt/lists"
container=$(buildah from scratch)
buildah add "$container" "$work/root" /
buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd '["python3"]' "$container"
buildah commit "$container" "$base"
buildah rm "$container" >/dev/null
container=

# shellcheck disable=SC2086 # several options in one variable
buildah build --pull=never ${BUILD_OPTIONS-} \
  --build-arg "PYTHON_IMAGE=$base" --build-arg "TORCH_INDEX=$torch_index" \
  --file "$root/docker/Dockerfile" --tag "$image" "$root"
echo "built $image"

if [ "$try" = yes ]; then
  # Server, suggester and workers in one container search networks for digits until the end.
  container=$(buildah from --pull=never "$image")
  buildah run --user 10001:10001 "$container" -- sparsemod demo --no-serve --dir /tmp/demo
  echo "a search ran in a container of $image"
fi
