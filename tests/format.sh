#!/bin/sh
# Are all C files as .clang-format wants them? usage: tests/format.sh [ROOT]
# Exit 0 yes, 1 no, 77 not checked, because there is no clang-format or one older than 14.
set -eu

root=${1:-$(dirname -- "$0")/..}
tool=${CLANG_FORMAT:-clang-format}
cd -- "$root"

if ! command -v "$tool" >/dev/null 2>&1; then
    echo "skipped: no clang-format"
    exit 77
fi
major=$("$tool" --version | sed -n 's/.*version \([0-9][0-9]*\)\..*/\1/p')
if [ "${major:-0}" -lt 14 ]; then
    echo "skipped: clang-format ${major:-of unknown version}; 14 or later is wanted"
    exit 77
fi

# The tracked files; outside a git checkout, or where git knows none, all files but those of builds and runs.
files=$(git ls-files -- '*.c' '*.h' 2>/dev/null || true)
if [ -z "$files" ]; then
    files=$(find . -name '.?*' -prune -o -path './build*' -prune -o -path ./runs -prune -o -path ./data -prune -o \
        -type f \( -name '*.c' -o -name '*.h' \) -print)
fi
if [ -z "$files" ]; then
    echo "format: no C files in $PWD"
    exit 1
fi

list=$(mktemp)
trap 'rm -f "$list"' EXIT
# A tracked file may have been deleted since.
printf '%s\n' "$files" | while IFS= read -r file; do
    if [ -f "$file" ]; then printf '%s\0' "$file"; fi
done >"$list"
if ! xargs -0 "$tool" --dry-run --Werror <"$list"; then
    echo "format: the files above differ; clang-format -i FILE puts them right"
    exit 1
fi
echo "format: $(tr -cd '\0' <"$list" | wc -c) files as clang-format $major wants them"
