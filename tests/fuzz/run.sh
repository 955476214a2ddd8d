#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# [FUZZ_SEED=N] run.sh PYTHON SECONDS: fuzzes every reader for SECONDS in all, the C++ ones beside the Python ones.
# What it finds is in build/fuzz-findings; an input there is run again by naming it:
# build/fuzz/tests/fuzz/fuzz_host FILE.
set -eu
cd "$(dirname "$0")/../.."
python=$(command -v "$1") seconds=$2
case $python in /*) ;; *) python=$PWD/$python ;; esac  # CMake looks elsewhere for a relative one
findings=build/fuzz-findings
mkdir -p "$findings"

found_clang() {
  for name in clang++ clang++-19 clang++-18 clang++-17 clang++-16 clang++-15 clang++-14; do
    command -v "$name" >/dev/null || continue
    # A clang without its runtime library (Debian: libclang-rt-N-dev) cannot link a fuzzer.
    echo 'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }' |
      "$name" -fsanitize=fuzzer,address -x c++ - -o "$findings/probe" 2>/dev/null || continue
    rm -f "$findings/probe"
    echo "$name"
    return
  done
}

install_clang() {
  if [ "$(id -u)" = 0 ]; then sudo=; else sudo="sudo -n"; fi
  command -v apt-get >/dev/null || return 0
  rt=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\)$/libclang-rt-\1-dev/p')
  echo "installing clang and ${rt:-its runtime} (libFuzzer)"
  $sudo apt-get install -y -qq clang $rt >/dev/null 2>&1 || $sudo apt-get update -qq >/dev/null 2>&1 &&
    $sudo apt-get install -y -qq clang $rt >/dev/null 2>&1 || true
}

cpp_readers() {
  readers="host samples replay sweep"
  each=$((seconds / 4 > 0 ? seconds / 4 : 1))
  status=0
  for reader in $readers; do
    mkdir -p "build/fuzz/corpus/$reader"
    log="$findings/$reader.log"
    if "build/fuzz/tests/fuzz/fuzz_$reader" -max_total_time="$each" ${FUZZ_SEED:+-seed="$FUZZ_SEED"} -timeout=5 -rss_limit_mb=1024 \
      -max_len=4096 -print_final_stats=1 -artifact_prefix="$findings/$reader-" \
      "build/fuzz/corpus/$reader" tests/fuzz/corpus/"$reader" >"$log" 2>&1; then
      echo "fuzz $reader: $(sed -n 's/stat::number_of_executed_units: *//p' "$log") inputs, 0 findings"
    else
      status=1
      tail -40 "$log"
      echo "fuzz $reader: a finding: see $findings"
    fi
  done
  return $status
}

clang=$(found_clang)
[ -n "$clang" ] || { install_clang && clang=$(found_clang); }
if [ -n "$clang" ]; then
  cmake -S . -B build/fuzz -DCMAKE_CXX_COMPILER="$clang" -DPYENERGY_PYTHON=OFF -DPYENERGY_FUZZ=ON \
    -DPython_EXECUTABLE="$python" >"$findings/build.log" 2>&1 &&
    cmake --build build/fuzz -j 2 --target fuzz_host fuzz_samples fuzz_replay fuzz_sweep \
      >>"$findings/build.log" 2>&1 || { tail -40 "$findings/build.log"; exit 1; }
  cpp_readers &
  cpp=$!
else
  echo "the C++ readers are not fuzzed: there is no clang with libFuzzer, and none could be installed" \
    "(Debian, Ubuntu: sudo apt-get install clang libclang-rt-14-dev)"
  cpp=
fi
status=0
OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 "$python" tests/fuzz ${FUZZ_SEED:+--seed "$FUZZ_SEED"} --seconds "$seconds" \
  --findings "$findings" || status=1
[ -z "$cpp" ] || wait "$cpp" || status=1
exit $status
