#!/bin/sh
# The inference library as others meet it. usage: tests/infer_install.sh ROOT BUILD [CC [CXX]]
#
# Builds infer/ alone, static and shared, and installs it: exactly the files it should, symbols that are its own, no
# writable globals, nothing wanted but libc and libm. The example builds against the installed library by pkg-config
# and by find_package, and says of a picture what `tally infer` says. Exit 1 at the first thing that is not so.
set -eu

root=$1
build=$2
CC=${3:-cc}
CXX=${4:-c++}
export CC
unset CFLAGS CXXFLAGS LDFLAGS TALLY_DATA
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

die() {
    echo "infer_install: $*"
    exit 1
}

# quietly COMMAND...: shows its output only when it fails.
quietly() {
    if "$@" >log 2>&1; then return 0; fi
    cat log
    die "failed: $*"
}

# same WHAT FOUND WANTED: two lists, which must be equal.
same() {
    if [ "$2" = "$3" ]; then return 0; fi
    printf 'found:\n%s\nwanted:\n%s\n' "$2" "$3"
    die "$1"
}

# installed PREFIX: its files, without what differs between systems: lib64, lib/x86_64-linux-gnu.
installed() {
    (cd "$1" && find . ! -type d | sed -e 's|^\./||' -e 's|^lib[^/]*/|lib/|' -e 's|^lib/[^/]*-linux-[^/]*/|lib/|' |
        sed 's|Config-[a-z]*\.cmake|Config-TYPE.cmake|' | LC_ALL=C sort)
}

package="include/tally_infer.h
lib/cmake/TallyInfer/TallyInferConfig-TYPE.cmake
lib/cmake/TallyInfer/TallyInferConfig.cmake
lib/cmake/TallyInfer/TallyInferConfigVersion.cmake"

# --- what is installed ----------------------------------------------------------------------------------------------

for kind in static shared; do
    shared=OFF
    if [ $kind = shared ]; then shared=ON; fi
    quietly cmake -S "$root/infer" -B $kind-build -DBUILD_SHARED_LIBS=$shared -DCMAKE_INSTALL_LIBDIR=lib \
        -DCMAKE_C_FLAGS='-Werror -pedantic'
    quietly cmake --build $kind-build --target tally_infer
    quietly cmake --install $kind-build --component infer --prefix "$work/$kind"
done
quietly cmake --install "$build" --component infer --prefix "$work/whole"
same "what infer/ alone installs" "$(installed static)" "$package
lib/libtally_infer.a
lib/pkgconfig/tally-infer.pc"
same "what Tally's build installs as infer" "$(installed whole)" "$(installed static)"
version=$(sed -n 's/^Version: //p' static/lib/pkgconfig/tally-infer.pc)
same "what a shared build installs" "$(installed shared)" "$package
lib/libtally_infer.so
lib/libtally_infer.so.${version%%.*}
lib/libtally_infer.so.$version
lib/pkgconfig/tally-infer.pc"

# --- symbols --------------------------------------------------------------------------------------------------------

declared=$(sed 's|/\*.*||; s|^ \*.*||' "$root/infer/tally_infer.h" | grep -o 'tally_[a-z_]*(' | tr -d '(' | LC_ALL=C sort -u)
[ "$(echo "$declared" | wc -l)" -gt 10 ] || die "the header's functions were not found: $declared"
same "functions that the shared library shows" \
    "$(nm -D --defined-only shared/lib/libtally_infer.so | awk '{ print $NF }' | LC_ALL=C sort)" "$declared"

nm -f sysv static/lib/libtally_infer.a | tr -d ' ' >symbols
awk -F'|' '$3 ~ /^[TR]$/' symbols | grep -q tally_run || die "nm's list was not understood"
strays=$(awk -F'|' '$3 ~ /^[A-TV-Z]$/ && $1 !~ /^tally_/ { print $1 }' symbols)
same "symbols of the static library that do not begin with tally_" "$strays" ""
# Constants that hold addresses are writable for the loader only.
writable=$(awk -F'|' '$3 ~ /^[bBdDsSC]$/ && $7 !~ /^\.data\.rel\.ro/ { print $1 }' symbols)
same "writable globals" "$writable" ""
talking=$(awk -F'|' '$3 == "U" { print $1 }' symbols |
    grep -E '^(_?_?(f|v|vf)?printf(_chk)?|f?puts|f?putc|putchar|fopen|fwrite|write|std(out|err|in)|abort|_?exit|__assert.*)$' ||
    true)
same "functions that print or end the program" "$talking" ""
quietly "$CC" -shared -nostdlib -Wl,-z,defs -o alone.so -Wl,--whole-archive static/lib/libtally_infer.a \
    -Wl,--no-whole-archive -lm -lc -lgcc

# --- built against, from C and C++ ----------------------------------------------------------------------------------

# flags KIND OPTION...: pkg-config's word, with the installed library first.
flags() {
    kind=$1
    shift
    PKG_CONFIG_PATH="$work/$kind/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}" pkg-config "$@"
}

strict="-Wall -Wextra -pedantic -Werror"
for kind in static shared; do
    # shellcheck disable=SC2046,SC2086 # one word for each flag
    quietly "$CC" -std=c99 $strict -o $kind-example "$root/infer/example.c" $(flags $kind --cflags --libs tally-infer libpng) \
        "-Wl,-rpath,$work/$kind/lib"
done
cat >user.cpp <<'EOF'
#include <tally_infer.h>
int main() {
    tally_model *model;
    tally_error error;
    return tally_model_load(&model, "no model", 8, nullptr, &error) == TALLY_BAD_FILE && !model ? 0 : 1;
}
EOF
if command -v "$CXX" >/dev/null 2>&1; then
    # shellcheck disable=SC2046,SC2086
    quietly "$CXX" -std=c++11 $strict -o user user.cpp $(flags static --cflags --libs tally-infer)
    quietly ./user
else
    echo "infer_install: no C++ compiler, so the header was not read by one"
fi
mkdir package
cat >package/CMakeLists.txt <<EOF
cmake_minimum_required(VERSION 3.20)
project(user LANGUAGES C)
set(CMAKE_C_STANDARD 99)
find_package(TallyInfer $version REQUIRED)
find_package(PNG REQUIRED)
add_executable(user $root/infer/example.c)
target_link_libraries(user PRIVATE Tally::infer PNG::PNG)
EOF
for kind in static shared; do
    quietly cmake -S package -B package/$kind "-DCMAKE_PREFIX_PATH=$work/$kind" -DCMAKE_C_FLAGS="$strict"
    quietly cmake --build package/$kind
done

# --- and run --------------------------------------------------------------------------------------------------------

cat >small.json <<'EOF'
{"name": "small", "data": {"set": {"digits": {"train": 1000, "test": 20}}, "validation": 100},
 "model": ["flatten", {"linear": {"out": 16}}, "relu", {"linear": {"out": 10}}],
 "optim": {"weights": ["counter"], "others": ["adam"]}, "train": {"epochs": 2, "batch": 50, "shards": 1}}
EOF
quietly "$build/tally" train small.json --no-report --quiet --out run
quietly "$build/tally" export run --format tally -o digits.tally
quietly "$build/tally" eval run --inputs inputs.npy
cat >to_png.c <<'EOF'
#include <png.h>
#include <stdio.h>
int main(int argc, char **argv) {
    png_image image = {.version = PNG_IMAGE_VERSION, .width = 28, .height = 28, .format = PNG_FORMAT_GRAY};
    unsigned char pixels[28 * 28];
    return argc == 2 && fread(pixels, 1, sizeof pixels, stdin) == sizeof pixels &&
           png_image_write_to_file(&image, argv[1], 0, pixels, 0, NULL) ? 0 : 1;
}
EOF
# shellcheck disable=SC2046
quietly "$CC" -o to_png to_png.c $(pkg-config --cflags --libs libpng)
for i in 0 1 2 3 4 5 6 7; do
    tail -c +$((129 + 784 * i)) inputs.npy | ./to_png digit.png || die "no picture of digit $i"
    wanted=$("$build/tally" infer digits.tally --input digit.png --json | sed 's/.*"class":\([0-9]*\),"top.*/\1/')
    for program in ./static-example ./shared-example package/static/user package/shared/user; do
        same "class of digit $i by $program" "$($program digits.tally digit.png)" "$wanted"
    done
    echo "$wanted" >>classes
done
[ "$(sort -u classes | wc -l)" -ge 3 ] || die "the model calls every digit the same: $(cat classes)"
if ./static-example digits.tally small.json 2>error; then die "a text passed for a picture"; fi
same "what is said of a text" "$(cat error)" "small.json: Not a PNG file"
if ./static-example small.json digit.png 2>error; then die "a text passed for a model"; fi
same "what is said of a text" "$(cat error)" 'small.json: not a Tally model: it does not begin with "TLYN"'
echo "infer_install: installed, built against and run"
