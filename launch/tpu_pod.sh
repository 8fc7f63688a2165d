#!/usr/bin/env bash
# Runs contrastive_jax.main on every worker of a Cloud TPU slice, created where there is none.
#
#   launch/tpu_pod.sh --name=NAME --zone=ZONE --accelerator-type=TYPE --version=VERSION \
#     [OPTION...] -- --config=FILE --workdir=/FOLDER [--config.field=value ...]
#
#   --name=NAME               of the slice; one that exists is used as it is
#   --zone=ZONE               such as us-central2-b
#   --accelerator-type=TYPE   such as v4-32
#   --version=VERSION         runtime of the workers, such as tpu-ubuntu2204-base
#   --spot                    create a spot slice: cheaper, can be taken away at any time
#   --setup=COMMAND           run on every worker first, each time: mount what --workdir is on,
#                             install a Python (3.11 to 3.13 is needed; Ubuntu 22.04 has 3.10)
#   --delete                  delete the slice at the end, also after a failure or Ctrl-C
#   --keep                    keep the slice, which costs money until it is deleted; the default
#   --dry-run                 print the commands instead of running them
#
# What follows -- goes to contrastive_jax.main. The code that runs is the last commit. The workdir
# has to be on a file system that every worker mounts: the same command again resumes there, on a
# new slice too. The Google Cloud project is that of `gcloud config`.
set -euo pipefail

fail() {
  local line="$*"
  echo "error: ${line//$'\n'/ }" >&2
  exit 2
}

# check OPTION VALUE PATTERN MEANING
check() {
  [[ $2 =~ $3 ]] || fail "$1='$2': must be $4"
}

# committed FILE
committed() {
  [ "$(git cat-file -t "HEAD:$1" 2> /dev/null)" = blob ]
}

# Prints a command as one line from which a shell reads the same words.
show() {
  local word line='' quote="'" escaped="'\\''"
  for word; do
    case $word in
      '' | *[!A-Za-z0-9_@%+=:,./-]*) word="'${word//$quote/$escaped}'" ;;
    esac
    line+=" $word"
  done
  printf '%s\n' "${line# }"
}

run() {
  if [ -n "$dry_run" ]; then
    show "$@"
  else
    show "$@" >&2
    "$@"
  fi
}

name='' zone='' type='' version='' spot='' setup='' delete='' dry_run=''
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  case $1 in
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --accelerator-type=*) type=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --setup=*) setup=${1#*=} ;;
    --spot) spot=yes ;;
    --delete) delete=yes ;;
    --keep) delete='' ;;
    --dry-run) dry_run=yes ;;
    --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit ;;
    *) fail "$1: no such option; see --help, and put what is for contrastive_jax.main behind --" ;;
  esac
  shift
done
[ $# -eq 0 ] || shift
config='' workdir=''
for argument; do
  case $argument in
    --config=*) config=${argument#*=} ;;
    --workdir=*) workdir=${argument#*=} ;;
  esac
done

cd "$(dirname "$0")/.."
check --name "$name" '^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$' 'lower-case letters, digits and hyphens'
check --zone "$zone" '^[a-z]+-[a-z]+[0-9]+-[a-z0-9]+$' 'a zone such as us-central2-b'
check --accelerator-type "$type" '^[a-z]+[0-9]+[a-z]*-[0-9]+$' 'a type such as v4-32'
check --version "$version" '^[a-z0-9][a-z0-9.-]*$' 'a runtime such as tpu-ubuntu2204-base'
[[ $setup != *$'\n'* ]] || fail "--setup='$setup': must be one line"
# Before anything is paid for: what every worker would refuse, or each would write for itself.
check 'behind --: --workdir' "$workdir" '^/' 'an absolute path that every worker mounts'
file=${config%%:*}
committed "$file" || { [[ $file != *[/.]* ]] && committed "configs/$file.py"; } ||
  fail "behind --: --config='$config': must be a file of the last commit, which is what is copied," \
    "or the name of one in its configs/"
[ -z "$(git status --porcelain)" ] || echo 'note: what is not committed is not copied' >&2

tpu=(gcloud compute tpus tpu-vm)
on_all=(ssh "$name" "--zone=$zone" --worker=all)
describe=("${tpu[@]}" describe "$name" "--zone=$zone" '--format=value(state)')
create=("${tpu[@]}" create "$name" "--zone=$zone" "--accelerator-type=$type" "--version=$version"
  ${spot:+--spot})
archive=build/$name.tar.gz
# The code is replaced, not added to, so that no file of an older commit stays.
# shellcheck disable=SC2016  # the workers expand it
install='set -e; mkdir -p contrastive_jax; cd contrastive_jax; rm -rf contrastive_jax configs;
tar -xzf ../contrastive_jax.tar.gz;
python=$(command -v python3.13 python3.12 python3.11 python3 | head -n 1);
"$python" -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))" || {
echo "error: $(hostname) has $("$python" --version), and needs 3.11 to 3.13: choose another
--version, or install one by --setup" >&2; exit 1; };
"$python" -m venv .venv; .venv/bin/pip install -q -e ".[tpu]"'
# Unbuffered, or the log would come in blocks, hours late.
main='cd contrastive_jax && PYTHONUNBUFFERED=1 .venv/bin/python -m contrastive_jax.main'
main+=$(printf ' %q' "$@")

delete_at_the_end() {
  [ -n "$delete" ] || return 0
  trap 'delete_and_exit "$?"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}
delete_and_exit() {
  run "${tpu[@]}" delete "$name" "--zone=$zone" --quiet || echo "error: $name is not deleted" >&2
  exit "$1"
}

# Sets `state`, empty if there is no such slice. Fails if gcloud cannot tell, and `why` is its reason.
look_up() {
  local errors found=yes
  errors=$(mktemp)
  state=$("${describe[@]}" 2> "$errors") || found=
  why=$(< "$errors")
  rm -f "$errors"
  [ -z "$found" ] || return 0
  case $why in
    *NOT_FOUND* | *'not found'*) state='' ;;
    *) return 1 ;;
  esac
}

create_it() {
  local errors why status=0
  # Before it is there, because it costs money from then on, also after Ctrl-C.
  delete_at_the_end
  errors=$(mktemp)
  run "${create[@]}" 2>&1 | tee "$errors" >&2 || status=$?
  why=$(< "$errors")
  rm -f "$errors"
  [ "$status" -ne 0 ] || return 0
  case $why in
    # It is somebody else's.
    *ALREADY_EXISTS* | *[Aa]'lready exists'*) trap - EXIT ;;
    # What was refused is not there; what was only not waited for may be.
    *)
      if look_up && [ -z "$state" ]; then
        trap - EXIT
      elif [ -z "$delete" ]; then
        echo "note: $name may be there all the same, and then costs money; to delete it:" \
          "$(show "${tpu[@]}" delete "$name" "--zone=$zone")" >&2
      fi
      ;;
  esac
  exit "$status"
}

if [ -n "$dry_run" ]; then
  show cd "$PWD"
  show "${describe[@]}"
  echo "$(show "${create[@]}")  # unless it says READY"
else
  # A slice that only could not be looked up is not to be made, nor deleted in the end.
  look_up || { echo "error: $name cannot be looked up: $why" >&2; exit 1; }
  case $state in
    READY) echo "using $name" >&2 ;;
    '') create_it ;;
    *)
      echo "error: $name is $state: wait until it is READY, or delete it and start again:" \
        "$(show "${tpu[@]}" delete "$name" "--zone=$zone")" >&2
      exit 1
      ;;
  esac
fi
delete_at_the_end
run mkdir -p build
run git archive "--output=$archive" HEAD
run "${tpu[@]}" scp "$archive" "$name:contrastive_jax.tar.gz" "--zone=$zone" --worker=all
[ -z "$setup" ] || run "${tpu[@]}" "${on_all[@]}" "--command=$setup"
run "${tpu[@]}" "${on_all[@]}" "--command=${install//$'\n'/ }"
run "${tpu[@]}" "${on_all[@]}" "--command=$main"
