#!/bin/sh
# Does the source keep the design's rules? usage: tests/layering.sh ROOT | --self-test
#
# The arrow    cli -> experiments, export -> layers | optim | datasets -> src; export -> infer; infer stands alone.
# Includes     quoted ones are written from the root and exist.
# Libraries    one outside library, one file.
# Size         at most 400 lines a file.
#
# tests/ may include anything, of any size. Each violation is a line "file:line: message"; exit 1 when there are any.
set -eu

check_tree() {
    cd -- "$1"
    rooms=
    for room in cli experiments export layers optim datasets src infer tests; do
        if [ -d $room ]; then rooms="$rooms $room"; fi
    done
    if [ ! -d src ]; then
        echo "layering: no src/ in $PWD"
        return 2
    fi
    # shellcheck disable=SC2086 # one word for each room
    find $rooms -type f \( -name '*.c' -o -name '*.h' -o -name '*.def' \) | LC_ALL=C sort | awk '
    BEGIN {
        limit = 400
        may["src"] = "src"
        may["layers"] = "layers src"
        may["optim"] = "optim src"
        may["datasets"] = "datasets src"
        may["experiments"] = "experiments layers optim datasets src"
        may["export"] = "export layers optim datasets src infer"
        may["cli"] = "cli experiments export layers optim datasets src infer"
        may["infer"] = "infer"
        may["tests"] = "any"
        # outside header, as it ends -> the one file that may name it
        home["cblas.h"] = home["f77blas.h"] = home["openblas_config.h"] = "src/blas.c"
        home["cJSON.h"] = home["cJSON_Utils.h"] = "src/json.c"
        home["png.h"] = "datasets/io/png.c"
        home["omp.h"] = "src/parallel.c"
        home["mpi.h"] = "experiments/dist.c"
    }

    function report(line, message) {
        printf "%s:%d: %s\n", path, line, message
        bad++
    }

    # A file that is being read here must not be opened and closed a second time.
    function there(name,    line, status) {
        if (name == path) return 1
        status = (getline line < name)
        close(name)
        return status >= 0
    }

    function check_quoted(target, line,    to) {
        to = target
        sub(/\/.*/, "", to)
        if (target ~ /^\// || target ~ /(^|\/)\.\.?(\/|$)/ || target !~ /\//)
            report(line, "\"" target "\": includes are written from the root, as \"src/base.h\"")
        else if (!(to in may))
            report(line, "\"" target "\": no room of the design is named " to)
        else if (!there(target))
            report(line, "\"" target "\": no such file from the root")
        else if (room != "tests" && index(" " may[room] " ", " " to " ") == 0)
            report(line, "\"" target "\": " room " may include only: " may[room])
    }

    function check_angled(target, line,    to, name) {
        to = name = target
        sub(/\/.*/, "", to)
        sub(/.*\//, "", name)
        if ((to in may) && there(target))
            report(line, "<" target ">: our own files are included with quotes")
        else if (room == "tests")
            return
        else if (path == "infer/example.c") # a program of its own, that shows the library to others
            return
        else if ((name in home) && home[name] != path)
            report(line, "<" target ">: only " home[name] " may include it")
        else if (name == "zlib.h" && path !~ /^datasets\/io\//)
            report(line, "<" target ">: only one file of datasets/io may include it")
        else if (name == "zlib.h" && zlib_home && zlib_home != path)
            report(line, "<" target ">: " zlib_home " has it already, and one file is the rule")
        else if (name == "zlib.h")
            zlib_home = path
    }

    function check_include(text, line,    target) {
        target = text
        sub(/^[ \t]*#[ \t]*include[ \t]*/, "", target)
        if (target ~ /^"/) {
            target = substr(target, 2)
            sub(/".*/, "", target)
            check_quoted(target, line)
        } else if (target ~ /^</) {
            target = substr(target, 2)
            sub(/>.*/, "", target)
            check_angled(target, line)
        } else
            report(line, "an include that is neither \"...\" nor <...> cannot be checked")
    }

    {
        path = room = $0
        sub(/\/.*/, "", room)
        lines = 0
        while ((status = (getline text < path)) > 0) {
            lines++
            if (text ~ /^[ \t]*#[ \t]*include/) check_include(text, lines)
        }
        close(path)
        if (status < 0) report(0, "cannot be read")
        if (lines > limit && room != "tests") report(limit + 1, lines " lines; at most " limit)
    }

    END {
        printf "layering: %d files, %d violations\n", NR, bad
        exit (bad > 0)
    }'
}

# --- self-test: a good tree must pass, a bad one must fail with exactly the lines it deserves ---------------------------

# put FILE LINE...: a file of these lines.
put() {
    mkdir -p "$(dirname "$1")"
    file=$1
    shift
    printf '%s\n' "$@" >"$file"
}

# lines COUNT: that many empty lines.
lines() { awk -v count="$1" 'BEGIN { while (count-- > 0) print "" }'; }

plant_good_tree() {
    put src/base.h '#include <stdio.h>'
    put src/ops.def 'OP(relu)'
    put src/blas.c '#include "src/base.h"' '#include <cblas.h>'
    put src/ops/relu.c '#include "src/ops.def" // twice' '  #  include"src/base.h"' '// #include "optim/x.h"'
    put src/json.c '#include <cjson/cJSON.h>'
    put src/parallel.c '#include <omp.h>'
    lines 400 >src/long.c
    put layers/model.h '#include "src/base.h"'
    put optim/sgd.h '#include "src/base.h"' '#include "optim/sgd.h"'
    put datasets/io/png.c '#include <png.h>'
    put datasets/io/gzip.c '#include <zlib.h>'
    put experiments/run.h '#include "layers/model.h"' '#include "optim/sgd.h"' '#include "src/base.h"'
    put experiments/dist.c '#include <mpi.h>' '#include "experiments/run.h"'
    put export/mtx.h '#include "layers/model.h"' '#include "infer/tally_infer.h"'
    put infer/tally_infer.h '#include <stdint.h>'
    put infer/example.c '#include <png.h>'
    put infer/tally_infer.c '#include "infer/tally_infer.h"'
    put cli/main.c '#include "experiments/run.h"' '#include "export/mtx.h"' '#include "infer/tally_infer.h"'
    put tests/test_all.c '#include "cli/main.c"' '#include <cblas.h>' '#include <zlib.h>'
    lines 401 >tests/long.c
}

plant_bad_tree() {
    plant_good_tree
    put cli/help.c '#include "tests/test_all.c"'
    put datasets/io/again.c '#include <zlib.h>'
    put datasets/mnist.c '#include <stdio.h>' '#include "optim/sgd.h"'
    put experiments/report.c '#include "export/mtx.h"'
    put export/onnx.c '' '#include "experiments/run.h"' '#include <zlib.h>' '#include <png.h>'
    put infer/extra.c '#include "src/base.h"'
    put layers/linear.c '#include "../src/base.h"' '#include "src/../src/base.h"' '#include "model.h"'
    put layers/norm.c '#include "optim/sgd.h"' '#include "src/gone.h"' '#include <src/base.h>' '#include HEADER'
    put optim/adam.h '#include "layers/model.h"' '# include <omp.h>'
    put src/ops.def '#include "layers/model.h"'
    put src/tape.c '#include <mpi.h>' '#include <openblas/cblas.h>' '#include <cJSON.h>' '#include "cjson/cJSON.h"'
    lines 401 >src/longer.c
    put tests/test_bad.c '#include "base.h"'
}

expect_bad_tree() {
    cat <<'EOF'
cli/help.c:1: "tests/test_all.c": cli may include only: cli experiments export layers optim datasets src infer
datasets/io/gzip.c:1: <zlib.h>: datasets/io/again.c has it already, and one file is the rule
datasets/mnist.c:2: "optim/sgd.h": datasets may include only: datasets src
experiments/report.c:1: "export/mtx.h": experiments may include only: experiments layers optim datasets src
export/onnx.c:2: "experiments/run.h": export may include only: export layers optim datasets src infer
export/onnx.c:3: <zlib.h>: only one file of datasets/io may include it
export/onnx.c:4: <png.h>: only datasets/io/png.c may include it
infer/extra.c:1: "src/base.h": infer may include only: infer
layers/linear.c:1: "../src/base.h": includes are written from the root, as "src/base.h"
layers/linear.c:2: "src/../src/base.h": includes are written from the root, as "src/base.h"
layers/linear.c:3: "model.h": includes are written from the root, as "src/base.h"
layers/norm.c:1: "optim/sgd.h": layers may include only: layers src
layers/norm.c:2: "src/gone.h": no such file from the root
layers/norm.c:3: <src/base.h>: our own files are included with quotes
layers/norm.c:4: an include that is neither "..." nor <...> cannot be checked
optim/adam.h:1: "layers/model.h": optim may include only: optim src
optim/adam.h:2: <omp.h>: only src/parallel.c may include it
src/longer.c:401: 401 lines; at most 400
src/ops.def:1: "layers/model.h": src may include only: src
src/tape.c:1: <mpi.h>: only experiments/dist.c may include it
src/tape.c:2: <openblas/cblas.h>: only src/blas.c may include it
src/tape.c:3: <cJSON.h>: only src/json.c may include it
src/tape.c:4: "cjson/cJSON.h": no room of the design is named cjson
tests/test_bad.c:1: "base.h": includes are written from the root, as "src/base.h"
layering: 32 files, 24 violations
EOF
}

self_test() {
    place=$(mktemp -d)
    trap 'rm -rf "$place"' EXIT
    mkdir "$place/good" "$place/bad"
    (cd "$place/good" && plant_good_tree)
    (cd "$place/bad" && plant_bad_tree)
    if ! (check_tree "$place/good"); then
        echo "layering: the good tree must pass"
        exit 1
    fi
    if (check_tree "$place/bad") >"$place/found"; then
        echo "layering: the bad tree must fail"
        exit 1
    fi
    expect_bad_tree >"$place/wanted"
    if ! diff "$place/wanted" "$place/found"; then
        echo "layering: wanted the lines marked <, found those marked >"
        exit 1
    fi
    echo "layering: the self-test found every violation"
}

case ${1:-} in
--self-test) self_test ;;
'' | -*)
    echo "usage: tests/layering.sh ROOT | --self-test"
    exit 2
    ;;
*) check_tree "$1" ;;
esac
