#!/bin/sh
# The second witness to `faults`: the program itself, whose system calls strace makes fail, one after the other. A short
# training run; every call on its folder. Afterwards --resume, or the same command, must give the unbroken run's checkpoint.
#
#     strace.sh TALLY [EVERY]     only each EVERY-th of the calls
#
# Exit status 77, skipped, without strace or where it may not trace.
set -eu
tally=$1 every=${2:-1}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
export GOMP_SPINCOUNT=1000 # else the program starts itself anew
export ASAN_OPTIONS=detect_leaks=0 # it does not work under ptrace

if ! command -v strace >/dev/null || ! strace -o probe -e inject=getppid:error=EIO:when=1 true 2>probe; then
    echo "skipped: no strace, or it may not trace"
    exit 77
fi

cat >config.json <<'END'
{"data": {"set": {"digits": {"train": 60, "test": 20}}, "validation": 20},
 "model": ["flatten", {"linear": {"out": 8}}, "relu", {"linear": {"out": 10}}],
 "optim": {"weights": [{"counter": {"rate": 0.05}}], "others": ["adam"]},
 "train": {"epochs": 3, "batch": 20, "shards": 2}}
END
train="train config.json --out out --threads 1 --no-report --quiet"

# WHICH ERROR: system calls and what they fail with.
faults="openat:EACCES openat:EMFILE write:ENOSPC write:EIO fsync:EIO close:EIO rename:EACCES mkdir:ENOSPC unlink:EACCES
newfstatat:EIO access:EIO lseek:EIO"
calls=openat,write,fsync,close,rename,mkdir,unlink,newfstatat,access,lseek

rm -rf out
# shellcheck disable=SC2086 # words
strace -y -s 0 -o calls.txt -e trace=$calls "$tally" $train
cp out/checkpoint.safetensors whole

injected=0 harmless=0 failed=0 turn=0
wrong() {
    failed=$((failed + 1))
    echo "FAILED $fault, call $n: $1"
    sed 's/^/    /' err.txt
}

for fault in $faults; do
    call=${fault%:*} error=${fault#*:}
    # The numbers of those calls that name the folder or a file in it.
    for n in $(grep "^$call(" calls.txt | awk '/[</"]out[>"\/.]/ { print NR }'); do
        turn=$((turn + 1))
        [ $((turn % every)) -eq 0 ] || continue
        injected=$((injected + 1)) status=0
        rm -rf out
        # shellcheck disable=SC2086
        timeout 120 strace -o trace.txt -e trace="$call" -e "inject=$call:error=$error:when=$n" "$tally" $train \
            >out.txt 2>err.txt || status=$?
        grep -q INJECTED trace.txt || wrong "was not injected"
        case $status in
        0) harmless=$((harmless + 1)) ;;
        1) grep -q "^tally: ..*: ..*" err.txt || wrong "fails without a message" ;;
        *) wrong "exit status $status" ;;
        esac
        resume=
        [ $status -eq 0 ] || [ ! -e out/checkpoint.safetensors ] || resume=--resume
        # shellcheck disable=SC2086
        [ $status -eq 0 ] || "$tally" $train $resume 2>err.txt || wrong "fails afterwards, too"
        cmp -s whole out/checkpoint.safetensors || wrong "another checkpoint"
    done
done
echo "$injected faults by strace: $harmless harmless, $((injected - harmless)) told, $failed failed"
[ $failed -eq 0 ] && [ $injected -gt 0 ]
