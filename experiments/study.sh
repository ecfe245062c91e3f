# What the `run` scripts of the studies share. A script sets `usage` (its text for --help) and `out` (its folder), sources
# this file with its own arguments, and calls the functions. Not a program.
# shellcheck shell=sh

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cd "$root"
seeds=5
jobs=$(getconf _NPROCESSORS_ONLN)
while [ $# -gt 0 ]; do
    case $1 in
    --seeds | --jobs | --out)
        if [ -z "${2:-}" ]; then echo "$usage" >&2; exit 2; fi
        eval "${1#--}=\$2"
        shift
        ;;
    --help | -h) echo "$usage"; exit 0 ;;
    *) echo "$usage" >&2; exit 2 ;;
    esac
    shift
done

# One run: ROW CONFIG SEED [override ...] into $out/ROW-SEED, unless it is finished there.
study_one() {
    row=$1 config=$2 seed=$3 folder=$out/$1-$3
    shift 3
    if grep -q '"status":[[:space:]]*"finished"' "$folder/summary.json" 2>/dev/null; then return; fi
    # No fallback here: a table about MNIST is made on MNIST.
    build/tally train "configs/$config.json" data.fallback=null "name=$row" "seed=$seed" "$@" --threads 1 --quiet \
        --no-report --out "$folder"
    echo "$folder done" >&2
}

if [ "${STUDY_ONE:-}" ]; then # a call of xargs below
    # shellcheck disable=SC2086
    study_one $STUDY_ONE
    exit
fi

# Trains every line "ROW CONFIG [override ...]" of $1 with each seed, $jobs at a time.
study_train() {
    mkdir -p "$out"
    for seed in $(seq 1 "$seeds"); do
        echo "$1" | while read -r row config overrides; do echo "$row $config $seed $overrides"; done
    done | xargs -P "$jobs" -I{} env STUDY_ONE={} sh "$0" --out "$out"
}

# The table of these rows' runs: mean ± standard error over the seeds.
study_table() {
    rows=$*
    set --
    for row in $rows; do
        for seed in $(seq 1 "$seeds"); do set -- "$@" "$out/$row-$seed"; done
    done
    build/tally inspect "$@"
}

# number KEY: the model's number of that key, not a layer's, in the JSON on standard input.
number() { sed "s/\"per_layer\".*//; s/.*\"$1\":\([-0-9.e]*\).*/\1/"; }

study_export_head() {
    echo "| config | tally export RUN ... | density | bytes | test error % of the run | of the export |"
    echo "|---|---|---|---|---|---|"
}

# ROW OPTIONS...: exports the row's runs with these options; a line of the table, mean ± standard error over the seeds.
study_export() {
    row=$1
    shift
    for seed in $(seq 1 "$seeds"); do
        said=$(build/tally export "$out/$row-$seed" "$@" --json -o "$out/$row-$seed/export.tally")
        echo "$(echo "$said" | number bytes) $(echo "$said" | number nonzero) $(echo "$said" | number weights)" \
            "$(echo "$said" | number error_before) $(echo "$said" | number error_after)"
    done | awk -v name="$row" -v options="$*" '
        function spread(sum, squares) { return NR > 1 ? sqrt((squares - sum * sum / NR) / (NR - 1) / NR + 1e-12) : 0 }
        { bytes += $1; bytes2 += $1 * $1; density += $2 / $3; before += $4; before2 += $4 * $4; after += $5; after2 += $5 * $5 }
        END {
            printf "| %s | `%s` | %.4f | %.0f ± %.0f | %.2f ± %.2f | %.2f ± %.2f |\n", name, options, density / NR, bytes / NR,
                spread(bytes, bytes2), before / NR, spread(before, before2), after / NR, spread(after, after2)
        }'
}
